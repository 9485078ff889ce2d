"""The contract of reward models, over the step critic with every aggregate and over the linear reward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.evaluation.metrics import within_prompt_auc
from irl.guidance.best_of_n import choose
from reward_models.aggregation import AGGREGATES
from reward_models.losses import bradley_terry_loss
from reward_models.networks.critic import CriticConfig, step_ends
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch
from tests.linear_reward import LinearConfig

DECODER = DecoderConfig(vocab_size=23, num_layers=2, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=16)
CONFIGS = {f"critic-{how}": CriticConfig(decoder=DECODER, aggregate=how) for how in AGGREGATES} | {
    "linear": LinearConfig(num_positions=6, vocab=23)
}
# How steps are put together does not touch what a step is worth: one aggregate stands for all where only
# steps and tokens are looked at.
FAMILIES = ["critic-sum", "linear"]
EVERY = list(CONFIGS)
WIDTH, STEPS, END = 14, 4, 2
TOLERANCE = 1e-5  # float32, scores of size 1 to 10


def row(tokens, steps, prompt=2):
    """(tokens, step ids) of a prompt, then steps of the given lengths; the last one ends with the end token."""
    ids = [-1] * prompt + [s for s, n in enumerate(steps) for _ in range(n)]
    assert len(tokens) == len(ids)
    return np.array(tokens), np.array(ids)


def batch(*rows, width=WIDTH, left=False, prompt_id=None):
    count = len(rows)
    out = TraceBatch(
        tokens=np.full((count, width), 7),
        segment=np.zeros((count, width), int),
        position=np.zeros((count, width), int),
        step_id=np.full((count, width), -1),
        step_mask=np.zeros((count, STEPS), bool),
        prompt_id=np.arange(count) if prompt_id is None else np.array(prompt_id),
    )
    for i, (tokens, step_id) in enumerate(rows):
        n = len(tokens)
        at = slice(width - n, width) if left else slice(0, n)
        out.tokens[i, at], out.step_id[i, at] = tokens, step_id
        out.segment[i, at], out.position[i, at] = 1, np.arange(n)
        out.step_mask[i, : max(step_id) + 1] = True
    return out


LONG = row([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, END], [3, 1, 4, 2])
SHORT = row([3, 1, 8, 2, 8, 1, END], [2, 3])
ONE_STEP = row([3, 1, 8, END], [2])
ROWS = (LONG, SHORT, ONE_STEP)
EMPTY = (np.array([], int), np.array([-1]))


class Model:
    """A network with parameters of its shapes and a jitted `apply` that counts how often it is traced."""

    def __init__(self, name):
        rng = np.random.default_rng(0)
        self.network = CONFIGS[name].make()
        self.traced = 0
        self.params = jax.tree.map(
            lambda leaf: 0.5 * rng.standard_normal(leaf.shape).astype(np.float32),
            jax.eval_shape(self.network.init, jax.random.key(0)),
        )

        def counted(params, traces):
            self.traced += 1
            return self.network.apply(params, traces)

        self.apply = jax.jit(counted)

    def __call__(self, *rows, **layout):
        return jax.device_get(self.apply(self.params, batch(*rows, **layout)))


@pytest.fixture(scope="module")
def model_of():
    models: dict[str, Model] = {}

    def get(name):
        if name not in models:
            models[name] = Model(name)
        return models[name]

    return get


def aggregate_by_hand(steps, how):
    match how:
        case "last":
            return steps[-1]
        case "min":
            return min(steps)
        case "prod":
            return np.prod(steps)
        case "mean":
            return sum(steps) / len(steps)
        case "sum":
            return sum(steps)


@pytest.mark.parametrize("name", EVERY)
def test_trace_score_is_the_declared_aggregate_of_step_scores(name, model_of):
    model = model_of(name)
    scores = model(*ROWS)
    how = model.network.spec.aggregate
    for i, (_, step_id) in enumerate(ROWS):
        steps = scores.step[i, : max(step_id) + 1].tolist()
        assert len(set(steps)) == len(steps), "steps must differ, or the aggregates could not be told apart"
        np.testing.assert_allclose(scores.trace[i], aggregate_by_hand(steps, how), rtol=1e-5, atol=TOLERANCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_of_a_step_sum_to_its_score_and_nothing_stands_elsewhere(name, model_of):
    scores = model_of(name)(*ROWS)
    for i, (tokens, step_id) in enumerate(ROWS):
        for step in range(STEPS):
            own = scores.token[i, : len(tokens)][step_id == step]
            np.testing.assert_allclose(own.sum(), scores.step[i, step], atol=TOLERANCE)
        assert (scores.token[i, len(tokens) :] == 0).all()
        assert (scores.token[i, : len(tokens)][step_id < 0] == 0).all()
        assert (scores.step[i, max(step_id) + 1 :] == 0).all()


def test_a_critic_speaks_at_the_last_token_of_each_step_and_at_most_0(model_of):
    scores = model_of("critic-sum")(*ROWS)
    assert np.flatnonzero(scores.token[0]).tolist() == [4, 5, 9, 11]
    assert np.flatnonzero(scores.token[1]).tolist() == [3, 6]
    assert (scores.token <= 0).all()
    ends = step_ends(jnp.array([[-1, 0, 0, 1, 1, 1], [0, 1, -1, 2, -1, -1]]))
    assert ends.tolist() == [[False, False, True, False, False, True], [True, True, False, True, False, False]]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_score_of_a_step_does_not_see_later_steps(name, step, model_of):
    model = model_of(name)
    tokens, step_id = LONG
    changed = np.where(step_id > step, (tokens + 4) % 23, tokens)
    whole, other = model(LONG), model((changed, step_id))
    np.testing.assert_allclose(whole.step[0, : step + 1], other.step[0, : step + 1], atol=TOLERANCE)
    assert np.abs(whole.step[0, step + 1 :] - other.step[0, step + 1 :]).max() > 1e-3
    keep = step_id <= step
    cut = model((tokens[keep], step_id[keep]))
    np.testing.assert_allclose(cut.step[0, : step + 1], whole.step[0, : step + 1], atol=TOLERANCE)


@pytest.mark.parametrize("name", EVERY)
def test_scores_do_not_depend_on_company_order_or_padding_side(name, model_of):
    model = model_of(name)
    scores = model(*ROWS)
    turned = jax.tree.map(lambda x: x[::-1], model(*reversed(ROWS)))
    layouts = {"order": turned}
    if name in FAMILIES:  # each layout compiles anew
        layouts["left"] = model(*ROWS, left=True)
        layouts["wide"] = model(*ROWS, width=WIDTH + 5)
    for what, other in layouts.items():
        np.testing.assert_allclose(other.trace, scores.trace, atol=TOLERANCE, err_msg=what)
        np.testing.assert_allclose(other.step, scores.step, atol=TOLERANCE, err_msg=what)
    alone = model(LONG)
    np.testing.assert_allclose(alone.trace[0], scores.trace[0], atol=TOLERANCE)
    np.testing.assert_allclose(alone.token[0], scores.token[0], atol=TOLERANCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_packed_traces_keep_their_step_scores(name, model_of):
    model = model_of(name)
    one, two = batch(LONG, width=len(LONG[0])), batch(SHORT, width=len(SHORT[0]))
    packed = TraceBatch(
        tokens=np.hstack([one.tokens, two.tokens]),
        segment=np.hstack([one.segment, 2 * two.segment]),
        position=np.hstack([one.position, two.position]),
        step_id=np.hstack([one.step_id, np.where(two.step_id < 0, -1, two.step_id + STEPS)]),
        step_mask=np.hstack([one.step_mask, two.step_mask]),
        prompt_id=np.zeros(1, int),
    )
    alone = model(*ROWS)
    together = model.apply(model.params, packed)
    expected = np.hstack([alone.step[0], alone.step[1]])
    np.testing.assert_allclose(together.step[0], expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_end_token_is_counted_once(name, model_of):
    """It adds its own token score and nothing else; what stands after it in the row adds nothing."""
    model = model_of(name)
    tokens, step_id = SHORT
    whole, without = model(SHORT), model((tokens[:-1], step_id[:-1]))
    end = whole.token[0, len(tokens) - 1]
    assert abs(end) > 1e-3
    earlier = [t for t in range(len(tokens) - 1) if whole.token[0, t] != 0]
    np.testing.assert_allclose(whole.trace[0], sum(whole.token[0, earlier]) + end, atol=TOLERANCE)
    np.testing.assert_allclose(whole.step[0, 0], without.step[0, 0], atol=TOLERANCE)
    behind = batch(SHORT)
    behind.tokens[0, len(tokens) :] = END
    np.testing.assert_array_equal(model.apply(model.params, behind).token, whole.token)


@pytest.mark.parametrize("name", ["critic-min", "linear"])  # min has an infinity inside
def test_gradients_are_finite_also_with_rows_of_padding(name, model_of):
    model = model_of(name)

    def loss(params, traces):
        scores = model.network.apply(params, traces)
        return jnp.sum(scores.trace**2) + jnp.sum(scores.token**2)

    gradient = jax.jit(jax.grad(loss))
    filled = gradient(model.params, batch(LONG, SHORT))
    padded = gradient(model.params, batch(LONG, EMPTY))
    only_padding = gradient(model.params, batch(EMPTY, EMPTY))
    for tree in (filled, padded, only_padding):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(filled)) > 1e-3
    assert all((leaf == 0).all() for leaf in map(np.asarray, jax.tree.leaves(only_padding)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_of_padding_scores_nothing(name, model_of):
    scores = model_of(name)(EMPTY, LONG, EMPTY)
    assert scores.trace[0] == scores.trace[2] == 0
    assert not scores.step[0].any() and not scores.token[0].any()
    np.testing.assert_allclose(scores.trace[1], model_of(name)(*ROWS).trace[0], atol=TOLERANCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_constant_per_prompt_changes_no_choice_no_rank_and_no_preference(name, model_of):
    trace = np.asarray(model_of(name)(*ROWS).trace, np.float64)
    prompt, labels = np.array([0, 0, 0]), np.array([0, 1, 1])
    two_prompts = np.concatenate([trace, -trace[::-1]])
    prompts, both_labels = np.concatenate([prompt, prompt + 1]), np.concatenate([labels, labels])
    moved = two_prompts + np.array([40.0, -40.0])[prompts]
    assert (np.argsort(moved) != np.argsort(two_prompts)).any(), "over all prompts the order does change"
    for rows in (slice(0, 3), slice(3, 6)):
        assert choose(moved[rows]) == choose(two_prompts[rows])
    ranked = within_prompt_auc(two_prompts, both_labels, prompts)
    assert within_prompt_auc(moved, both_labels, prompts).per_prompt.tolist() == ranked.per_prompt.tolist()
    chosen, rejected = (jnp.asarray(x, jnp.float32) for x in (two_prompts[[0, 3]], two_prompts[[1, 4]]))
    potential = jnp.array([-3.0, 4.0])
    np.testing.assert_allclose(
        bradley_terry_loss(chosen + potential, rejected + potential),
        bradley_terry_loss(chosen, rejected),
        atol=TOLERANCE,
    )


@pytest.mark.parametrize("name", ["critic-last", "linear"])
def test_apply_is_compiled_once_for_equal_shapes(name):
    model = Model(name)
    first = model(LONG, SHORT)
    second = model(ONE_STEP, EMPTY)
    model.params = jax.tree.map(lambda x: x + 1, model.params)
    third = model(LONG, SHORT)
    assert model.traced == 1
    assert first.trace[0] != second.trace[0] and first.trace[0] != third.trace[0]
