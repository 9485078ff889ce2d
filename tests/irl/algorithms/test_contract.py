"""What every trace algorithm keeps to: one table, one test per promise.

The step is traced once, gradients are finite, equal keys give equal results, padding, order and repetition of rows
change nothing, several devices learn what one learns, and no label above the declared information level is read.
"""

import importlib
import inspect
import pkgutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import irl.algorithms
from irl.algorithms.base import Algorithm, GradientState, gradient_algorithm
from irl.sharding import make_mesh, place, shard_batch
from reward_models.types import INFORMATION_LEVELS, LabelledBatch, PackedPairBatch, PairBatch, TraceBatch
from tests.irl.algorithms.cases import CASES, ROWS, Case

KEY = jax.random.key(1)
LABELS = {"outcome": "outcome labels", "step_label": "step labels", "chosen": "preferences", "rejected": "preferences"}
"""Fields of batches that hold supervision, and the information level of each."""
pytestmark = pytest.mark.usefixtures("shared_programs")


class Learner(NamedTuple):
    """A case with its compiled step."""

    case: Case
    algorithm: Algorithm
    step: Any
    traced: list
    """One entry per tracing of the step."""


@pytest.fixture(scope="module")
def learners():
    """Compiled once for all tests of the module."""
    return {}


@pytest.fixture(params=CASES)
def learner(request, learners):
    if request.param not in learners:
        case, traced = CASES[request.param], []
        algorithm = case.make()

        def step(state, batch, key):
            traced.append(jax.tree.map(jnp.shape, batch))
            return algorithm.step(state, batch, key)

        learners[request.param] = Learner(case, algorithm, jax.jit(step), traced)
    return learners[request.param]


def run(learner, batches, place_state=lambda x: x, place_batch=lambda x: x):
    """(state, list of infos) after a step per batch."""
    state, infos = place_state(learner.algorithm.init(KEY)), []
    for number, batch in enumerate(batches):
        state, info = learner.step(state, place_batch(batch), jax.random.fold_in(KEY, number))
        infos.append(jax.device_get(info))
    return state, infos


def assert_identical(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(*map(jax.tree.leaves, (left, right)), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def assert_same_learning(learner, batches, others):
    """Equal losses and gradient norms, also after an update, up to the rounding of sums in another order."""
    for one, other in zip(run(learner, batches)[1], run(learner, others)[1], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=2e-4)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=2e-3, abs=2e-4)


# ----------------------------------------------------------------------------------------------------- the table


def configs_of_algorithms():
    """The config classes of all modules of irl.algorithms that make an `Algorithm`.

    Rounds combine algorithms; test_rounds.py tests them.
    """
    for module in pkgutil.iter_modules(irl.algorithms.__path__, "irl.algorithms."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            of_here = kind.__module__ == module.name and not inspect.isabstract(kind)
            if not of_here or "make" not in vars(kind):
                continue
            signature = inspect.signature(kind.make)
            combines = any(parameter.annotation is Algorithm for parameter in signature.parameters.values())
            if signature.return_annotation is Algorithm and not combines:
                yield kind


def test_every_algorithm_is_in_the_table():
    found = set(configs_of_algorithms())
    assert found == {type(case.config) for case in CASES.values()}
    assert len(found) >= 7


# ----------------------------------------------------------------------------------------------------- the step


def test_the_step_is_traced_once_and_everything_is_finite(learner):
    state, infos = run(learner, map(learner.case.batch, range(4)))
    assert learner.traced.count(jax.tree.map(jnp.shape, learner.case.batch(0))) == 1
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.params))
    for info in infos:
        assert {"loss", "grad_norm"} <= set(info)
        assert all(np.shape(value) == () and np.isfinite(value) for value in info.values())
        assert info["grad_norm"] > 0
    start = learner.algorithm.init(KEY).params
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, start)
    assert max(jax.tree.leaves(moved)) > 1e-3


def emptied(batch):
    """A batch in which nothing counts: no response, no step, no weight, no known label."""

    def change(node):
        if isinstance(node, TraceBatch):
            return node._replace(step_id=np.full_like(node.step_id, -1), step_mask=np.zeros_like(node.step_mask))
        return node

    def without(node):
        if not hasattr(node, "_fields"):
            return tuple(map(without, node)) if isinstance(node, tuple) else node
        node = node._replace(**{name: without(getattr(node, name)) for name in node._fields})
        nothing = {name: np.zeros_like(getattr(node, name)) for name in node._fields if "weight" in name}
        nothing |= {name: np.full_like(getattr(node, name), np.nan) for name in node._fields if "label" in name}
        return node._replace(**nothing)

    return without(on_traces(change, batch))


def test_a_batch_in_which_nothing_counts_moves_nothing_to_nan(learner):
    state, (info,) = run(learner, [emptied(learner.case.batch(0))])
    assert all(np.isfinite(value) for value in info.values())
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))


def test_the_same_key_gives_the_same_result_bit_for_bit(learner):
    batches = [learner.case.batch(seed) for seed in range(3)]
    assert_identical(run(learner, batches), run(learner, batches))


def test_the_state_has_parameters_and_moments_under_the_names_of_checkpoints(learner):
    state = learner.algorithm.init(KEY)
    assert state._fields[:2] == ("params", "opt_state")
    new, _ = learner.step(state, learner.case.batch(0), KEY)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


# ----------------------------------------------------------------------------------------------------- invariances


def on_traces(change, batch):
    """`change` applied to every `TraceBatch` of a batch."""
    return jax.tree.map(change, batch, is_leaf=lambda node: isinstance(node, TraceBatch))


def widened(batch, left, right):
    """Padding columns on either side of all traces."""

    def change(node):
        if not isinstance(node, TraceBatch):
            return node
        filler = {"tokens": 0, "segment": 0, "position": 0, "step_id": -1}
        pad = {
            name: np.pad(getattr(node, name), ((0, 0), (left, right)), constant_values=v) for name, v in filler.items()
        }
        return node._replace(**pad)

    return on_traces(change, batch)


def reordered(case, batch, rng):
    """Rows, or groups of rows, in another order."""
    groups = rng.permutation(ROWS // case.group)
    rows = (groups[:, None] * case.group + np.arange(case.group)).ravel()

    def take(leaf):
        return leaf[rows if len(leaf) == ROWS else groups]

    if isinstance(batch, PackedPairBatch):  # the pairs, which name the sequences of rows that stay
        traces, *pairs = batch
        return PackedPairBatch(traces, *map(take, pairs))
    return jax.tree.map(take, batch)


def repeated(batch):
    """Every row twice."""
    twice = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), batch)
    if isinstance(batch, PackedPairBatch):
        shift = batch.traces.step_mask.size
        sides = [np.concatenate([side, side + shift]) for side in (batch.chosen, batch.rejected)]
        return twice._replace(chosen=sides[0], rejected=sides[1])
    return twice


def test_order_padding_and_repetition_change_nothing(learner):
    """Losses are means over what exists: no learning rate depends on the size of a batch. Both sides are one shape."""
    rng = np.random.default_rng(5)
    batches = [learner.case.batch(seed) for seed in range(2)]
    shuffled = [reordered(learner.case, batch, rng) for batch in batches]
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (batches, shuffled)), strict=True))
    assert_same_learning(learner, batches, shuffled)
    for left, right in ((0, 3), (3, 0)):
        assert_same_learning(learner, batches, [widened(repeated(batch), left, right) for batch in shuffled])


def test_several_devices_learn_what_one_learns(learner):
    batches, mesh = [learner.case.batch(seed) for seed in range(3)], make_mesh()
    infos = run(learner, batches)[1]
    state, sharded = run(learner, batches, lambda x: place(mesh, x), lambda x: shard_batch(mesh, x))
    assert all(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves(state))
    for expected, found in zip(infos, sharded, strict=True):
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=5e-4), name


# ----------------------------------------------------------------------------------------------------- information


def labels_of(batch):
    """The label fields of a batch and of its parts."""
    found = set()
    nodes = [batch]
    while nodes:
        node = nodes.pop()
        if isinstance(node, tuple):
            found |= set(getattr(node, "_fields", ())) & set(LABELS)
            nodes += list(node)
    return found


def test_batches_hold_no_label_above_the_declared_level(learner):
    declared = type(learner.case.config).information
    assert declared in INFORMATION_LEVELS
    rank = INFORMATION_LEVELS.index
    for name in labels_of(learner.case.batch(0)):
        assert rank(LABELS[name]) <= rank(declared), f"{name} in a batch of an algorithm from {declared}"


def test_labels_of_outcomes_are_not_read_by_an_algorithm_on_steps(learner):
    """The one batch with two kinds of labels."""
    batch = learner.case.batch(0)
    if not isinstance(batch, LabelledBatch):
        assert "outcome" not in labels_of(batch)
        return
    other = batch._replace(outcome=np.full_like(batch.outcome, np.nan))
    assert_identical(run(learner, [batch]), run(learner, [other]))


def test_pairs_of_preferences_are_declared():
    kinds = {type(case.config) for case in CASES.values() if isinstance(case.batch(0), (PairBatch, PackedPairBatch))}
    assert {kind.information for kind in kinds} == {"preferences"}


# ----------------------------------------------------------------------------------------------------- the builder


def test_gradient_algorithm_by_hand():
    """Two steps of gradient descent on (w - 3)^2 with rate 1/4: 0, 3/2, 9/4."""

    def loss(params, batch):
        return (params["w"] - batch) ** 2, {"distance": batch - params["w"]}

    algorithm = gradient_algorithm(lambda key: {"w": jnp.zeros(())}, loss, optax.sgd(0.25))
    state = algorithm.init(KEY)
    assert type(state) is GradientState
    state, info = algorithm.step(state, jnp.float32(3), KEY)
    assert {name: float(value) for name, value in info.items()} == {"loss": 9, "distance": 3, "grad_norm": 6}
    assert state.params["w"] == 1.5
    state, info = algorithm.step(state, jnp.float32(3), KEY)
    assert state.params["w"] == 2.25 and info["loss"] == 2.25
