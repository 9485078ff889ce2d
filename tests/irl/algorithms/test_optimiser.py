"""AdamW and Muon: who is updated how, the schedule read off the updates, and checkpoints of their state."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irl.algorithms.base import Algorithm
from irl.algorithms.optimiser import AdamW, Muon
from irl.checkpoint import Checkpoints
from irl.sharding import make_mesh
from irl.text.pipeline import ArraySource
from irl.train import Schedule, train
from irl.types import InputError

EVERY = pytest.mark.parametrize("kind", [AdamW, Muon])
SHAPES = {"blocks": {"kernel": (2, 12, 8), "scale": (2, 8)}, "embedding": (10, 8), "bias": (8,)}


def tree(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    shapes, structure = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    return structure.unflatten([jnp.array(scale * rng.standard_normal(shape), jnp.float32) for shape in shapes])


def first_update(config, gradient, params):
    optimiser = config.make()
    return jax.device_get(jax.jit(optimiser.update)(gradient, optimiser.init(params), params)[0])


PLAIN = {"learning_rate": 0.01, "warmup_steps": 0, "total_steps": 100, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def muon():
    gradient = tree(0)
    gradient["blocks"]["kernel"] *= jnp.logspace(0, 1, 8)  # directions of very unequal sizes
    return gradient, first_update(Muon(**PLAIN), gradient, tree(1))


def test_muon_orthogonalises_every_matrix_of_the_stack_for_itself(muon):
    gradient, update = muon
    for g, u in zip(gradient["blocks"]["kernel"], update["blocks"]["kernel"], strict=True):
        before, after = (np.linalg.svd(np.asarray(x, np.float64)) for x in (g, u))
        assert before.S[0] / before.S[-1] > 10
        # 5 Newton-Schulz steps leave singular values between about 0.7 and 1.2 of what they should be
        scale = 0.01 * 0.2 * np.sqrt(12)
        assert (after.S > 0.6 * scale).all() and (after.S < 1.3 * scale).all()
        # and the singular vectors alone: - U V^T.
        polar = -before.U[:, :8] @ before.Vh
        assert (u * polar).sum() / np.linalg.norm(u) / np.linalg.norm(polar) > 0.97
    # The root mean square of the update is that of Adam times 0.2, whatever the shape (Liu et al. 2025).
    assert np.sqrt((update["blocks"]["kernel"] ** 2).mean()) == pytest.approx(0.2 * 0.01, rel=0.2)


def nesterov(step, b1=0.9):
    """How much longer than Adam's the update of Nesterov's Adam is under a constant gradient (Dozat 2016)."""
    return b1 * (1 - b1**step) / (1 - b1 ** (step + 1)) + (1 - b1) / (1 - b1**step)


def test_muon_leaves_all_but_stacked_matrices_to_adam(muon):
    gradient, update = muon
    others = [(update[name], gradient[name]) for name in ("embedding", "bias")]
    others.append((update["blocks"]["scale"], gradient["blocks"]["scale"]))
    for u, g in others:  # Adam's first update is the sign of the gradient
        np.testing.assert_allclose(u, -0.01 * nesterov(1) * np.sign(g), rtol=1e-3)


def test_adamw_treats_all_leaves_alike_and_decays_all_but_norm_scales_and_biases():
    gradient, params = tree(0), tree(1)
    update = first_update(AdamW(**{**PLAIN, "weight_decay": 0.5}), gradient, params)
    blocks = [x["blocks"] for x in (update, gradient, params)]
    for group, name, decay in (
        (blocks, "kernel", 0.5),
        (blocks, "scale", 0.0),
        ((update, gradient, params), "embedding", 0.5),
        ((update, gradient, params), "bias", 0.0),
    ):
        u, g, p = (x[name] for x in group)
        np.testing.assert_allclose(u, -0.01 * (np.sign(g) + decay * p), atol=1e-5, err_msg=name)


@EVERY
def test_params_may_be_any_pytree(kind):
    for params in (jnp.ones(3), (jnp.ones(3), [jnp.ones((2, 2))])):
        update = kind(**PLAIN).make()
        state = update.init(params)
        updates, _ = jax.eval_shape(update.update, params, state, params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)


@EVERY
def test_schedule_rises_and_falls_to_its_endpoints(kind):
    """Under a constant gradient Adam's update is the learning rate itself."""
    config = kind(learning_rate=0.5, warmup_steps=4, total_steps=12, final_fraction=0.1, weight_decay=0.0)
    rates = np.array(rates_of(config, 16))
    if kind is Muon:
        rates /= [nesterov(step) for step in range(1, 17)]
    np.testing.assert_allclose(rates[:5], [0, 0.125, 0.25, 0.375, 0.5], rtol=1e-4, atol=1e-7)
    middle = 0.05 + 0.45 * (1 + np.cos(np.pi * 4 / 8)) / 2
    np.testing.assert_allclose(rates[8], middle, rtol=1e-4)
    np.testing.assert_allclose(rates[12:], 0.05, rtol=1e-4)
    assert (np.diff(rates[4:13]) < 0).all()


def rates_of(config, steps):
    optimiser, params = config.make(), {"bias": jnp.zeros(3)}
    state, update, rates = optimiser.init(params), jax.jit(optimiser.update), []
    for _ in range(steps):
        updates, state = update({"bias": jnp.ones(3)}, state, params)
        rates.append(float(-updates["bias"][0]))
    return rates


@EVERY
def test_warm_up_longer_than_the_schedule_is_refused(kind):
    message = (
        rf"{kind.__name__}\.warmup_steps: expected at most 49, its total_steps, got 50; lower .* or raise total_st"
    )
    with pytest.raises(InputError, match=message):
        kind(total_steps=49)
    assert kind(total_steps=50).warmup_steps == 50


@pytest.mark.parametrize("total", [1, 3])
def test_warm_up_as_long_as_the_schedule_reaches_the_peak(total):
    rates = rates_of(AdamW(learning_rate=0.5, warmup_steps=total, total_steps=total, weight_decay=0.0), 3)
    assert np.isfinite(rates).all() and max(rates) == pytest.approx(0.5, rel=1e-4)


def test_clipping_bounds_what_a_spike_adds_to_momentum():
    """After a gradient of norm 1000, clipped to 1, ten of norm 1 in other directions outweigh it."""
    optimiser, params = AdamW(**PLAIN).make(), {"bias": jnp.zeros(2)}
    state, update = optimiser.init(params), jax.jit(optimiser.update)
    _, state = update({"bias": jnp.array([1000.0, 0.0])}, state, params)
    for _ in range(10):
        updates, state = update({"bias": jnp.array([0.0, 1.0])}, state, params)
    assert 0 < -updates["bias"][0] < -updates["bias"][1] < 0.0101


@EVERY
def test_a_quadratic_is_reduced_and_its_state_goes_on_from_a_checkpoint(kind, tmp_path):
    target, params = tree(2), tree(3)
    optimiser = kind(learning_rate=0.5, warmup_steps=2, total_steps=60, weight_decay=0.0).make()

    def loss(params):
        return sum(jnp.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, (params, target)), strict=True))

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), state, value

    state, first = jax.jit(optimiser.init)(params), float(loss(params))
    for _ in range(30):
        params, state, _ = step(params, state)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(30, (params, state))
    restored = checkpoints.restore(30, jax.eval_shape(lambda: (params, state))).state
    assert jax.tree.structure(restored) == jax.tree.structure((params, state))
    runs = []
    for start in ((params, state), restored):
        params, state = start
        for _ in range(30):
            params, state, value = step(params, state)
        runs.append(params)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, *runs)))
    assert value < 0.02 * first


# --- gradient accumulation ----------------------------------------------------------------------------------


class State(NamedTuple):
    params: dict[str, jax.Array]
    opt_state: optax.OptState


def regression(config):
    """A linear map of stacked matrices fitted to rows of [x, y]; clipping is on, and bites."""
    optimiser = config.make()

    def init(key):
        params = {"kernel": jax.random.normal(key, (1, 3, 2)), "bias": jnp.zeros(2)}
        return State(params, optimiser.init(params))

    def loss_fn(params, rows):
        return jnp.mean((rows[:, :3] @ params["kernel"][0] + params["bias"] - rows[:, 3:]) ** 2)

    def step(state, rows, key):
        loss, grads = jax.value_and_grad(loss_fn)(state.params, rows)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state), {"loss": loss}

    return Algorithm(init, step)


DATA = np.random.default_rng(4).standard_normal((24, 5)).astype(np.float32)
SETTINGS = {"learning_rate": 0.1, "warmup_steps": 2, "total_steps": 5, "clip_norm": 0.5}


@EVERY
def test_k_small_batches_are_one_batch_of_k_times_the_rows(kind):
    """Three updates by 8 rows, and by 4 batches of 2 rows each: the parameters move at every fourth batch only."""
    large, small = regression(kind(**SETTINGS)), regression(kind(**SETTINGS, accumulate=4))
    key = jax.random.key(0)
    one, many = large.init(key), small.init(key)
    large_step, small_step = jax.jit(large.step), jax.jit(small.step)
    for update in range(3):
        rows = DATA[8 * update : 8 * update + 8]
        before = many.params
        for part in np.split(rows, 4):
            jax.tree.map(np.testing.assert_array_equal, many.params, before)
            many, _ = small_step(many, part, key)
        one, _ = large_step(one, rows, key)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), many.params, one.params)
    assert np.abs(one.params["kernel"] - large.init(key).params["kernel"]).max() > 0.02


@EVERY
def test_the_schedule_counts_updates(kind):
    config = {"learning_rate": 0.5, "warmup_steps": 2, "total_steps": 4, "weight_decay": 0.0}
    rates = rates_of(kind(**config, accumulate=3), 15)
    np.testing.assert_allclose(rates[2::3], rates_of(kind(**config), 5), rtol=1e-6)
    assert not np.any(rates[0::3]) and not np.any(rates[1::3])


def test_killed_in_the_middle_of_an_accumulation_it_goes_on_bit_for_bit(tmp_path):
    """Checkpoints at 2, 4, 6, 8 of an update at every third batch: at 2, 4 and 8 a sum is under way."""
    algorithm = regression(AdamW(**SETTINGS, accumulate=3))
    killed = {}

    class Kept(Checkpoints):
        def save(self, step, state, extra=None):
            super().save(step, state, extra)
            killed[step] = shutil.copytree(self.folder, tmp_path / f"killed_at_{step}")

    def run(checkpoints):
        source, schedule = ArraySource(DATA, 4, seed=1), Schedule(steps=9, save_every=2)
        options = {"checkpoints": checkpoints, "record": lambda *_: None}
        mesh = make_mesh(devices=jax.devices()[:1])
        return jax.device_get(train(algorithm, source, schedule, jax.random.key(1), mesh=mesh, **options))

    whole = run(Kept(tmp_path / "whole"))
    assert whole.opt_state.gradient_step == 3
    for folder in [killed[2], killed[4], killed[8]]:
        again = run(Checkpoints(folder))
        assert [leaf.tobytes() for leaf in jax.tree.leaves(again)] == [
            leaf.tobytes() for leaf in jax.tree.leaves(whole)
        ]


@EVERY
def test_less_than_a_batch_to_an_update_is_refused(kind):
    with pytest.raises(InputError, match="accumulate: expected at least 1, got 0"):
        kind(accumulate=0)
