"""The one loop: goes on bit for bit, compiles once, divides the batch, and never saves what is not finite."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irl.algorithms.base import Algorithm
from irl.checkpoint import Checkpoints
from irl.sharding import make_mesh
from irl.text.pipeline import ArraySource
from irl.train import Schedule, evaluation_steps, train
from irl.types import InputError

OPTIMISER = optax.adam(1e-2)
KEY = jax.random.key(3)
STEPS = 12
SCHEDULE = Schedule(steps=STEPS, log_every=5, save_every=2)


class State(NamedTuple):
    params: dict[str, jax.Array]
    opt_state: optax.OptState
    step: jax.Array


class Toy(NamedTuple):
    """Regression with noise, and what its step was seen doing."""

    algorithm: Algorithm
    traced: list
    """One entry per trace of the step."""
    shardings: list
    """How the batch lay when the step was compiled."""


def toy(bad=lambda step, loss, grads: (loss, grads)) -> Toy:
    """`bad(step, loss, grads)` may spoil a step, counted from 1."""
    traced, shardings = [], []

    def init(key):
        params = {"w": jax.random.normal(key, (3,)), "b": jnp.zeros(())}
        return State(params, OPTIMISER.init(params), jnp.zeros((), jnp.int32))

    def step(state, batch, key):
        traced.append(batch.shape)
        jax.debug.inspect_array_sharding(batch, callback=shardings.append)
        noise = jax.random.uniform(key, batch.shape[:1])

        def loss_fn(params):
            error = batch @ params["w"] + params["b"] - batch.sum(1) + 0.1 * noise
            return jnp.mean(error**2)

        loss, grads = bad(state.step + 1, *jax.value_and_grad(loss_fn)(state.params))
        updates, opt_state = OPTIMISER.update(grads, state.opt_state)
        info = {"loss": loss, "step": state.step + 1}
        return State(optax.apply_updates(state.params, updates), opt_state, state.step + 1), info

    return Toy(Algorithm(init, step), traced, shardings)


TOY = toy()
"""For the tests that do not look into the step: compiled once for all of them."""


class Seen(NamedTuple):
    """What a call of the loop told its caller."""

    records: list
    advances: list


def run(folder, schedule=SCHEDULE, algorithm=TOY, **options) -> tuple[State, Seen]:
    seen = Seen([], [])
    data = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    state = train(
        algorithm.algorithm,
        ArraySource(data, 8, seed=1),
        schedule,
        KEY,
        checkpoints=Checkpoints(folder),
        record=lambda step, metrics: seen.records.append((step, metrics)),
        advance=seen.advances.append,
        **options,
    )
    return jax.device_get(state), seen


def assert_identical(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()


def saved_steps(folder):
    return sorted(int(entry.name) for entry in folder.iterdir())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The last state, and a folder for every checkpoint the run ever had, as if it had been killed there."""
    folder = tmp_path_factory.mktemp("whole")
    killed = {}

    class Kept(Checkpoints):
        def save(self, step, state, extra=None):
            super().save(step, state, extra)
            killed[step] = tmp_path_factory.mktemp("killed") / "run"
            shutil.copytree(folder / "run", killed[step])

    data = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    source, checkpoints = ArraySource(data, 8, seed=1), Kept(folder / "run")
    state = train(TOY.algorithm, source, SCHEDULE, KEY, checkpoints=checkpoints, record=lambda *_: None)
    return jax.device_get(state), killed


def test_learns_and_every_step_counts(undisturbed, tmp_path):
    """The random key and the batch of every step matter: or else going on bit for bit would prove little."""
    state, _ = undisturbed
    assert state.step == STEPS
    one_less, _ = run(tmp_path, Schedule(steps=STEPS - 1))
    assert not np.array_equal(one_less.params["w"], state.params["w"])


def test_saves_at_save_every_and_at_the_end(tmp_path, undisturbed):
    assert list(undisturbed[1]) == [2, 4, 6, 8, 10, 12]
    run(tmp_path, Schedule(steps=5, save_every=3))
    assert saved_steps(tmp_path) == [3, 5]


@pytest.mark.parametrize("killed_at", [2, 4, 6, 8, 10, 12])
def test_goes_on_bit_for_bit(undisturbed, killed_at, tmp_path):
    state, folders = undisturbed
    folder = shutil.copytree(folders[killed_at], tmp_path / "run")
    again, seen = run(folder)
    assert_identical(again, state)
    assert sum(seen.advances) == STEPS
    assert seen.advances == [killed_at] + [1] * (STEPS - killed_at)
    assert [step for step, _ in seen.records] == [step for step in (5, 10, 12) if step > killed_at]


def test_a_half_written_checkpoint_is_passed_over_with_a_warning(undisturbed, tmp_path, capfd):
    state, folders = undisturbed
    folder = shutil.copytree(folders[8], tmp_path / "run")
    files = [file for file in (folder / "8").rglob("*") if file.is_file() and file.parent != folder / "8"]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    again, seen = run(folder)
    assert seen.advances[0] == 6, "the checkpoint before the damaged one"
    assert_identical(again, state)
    warning = capfd.readouterr().err
    assert f"warning: {folder / '8'}: damaged, " in warning
    assert "has changed since it was written; not used" in warning


def test_metrics_of_a_step_are_recorded_before_its_checkpoint(tmp_path):
    """A run that is killed right after a save never sees that step again: its metrics must be there."""
    at_save = []

    class Watched(Checkpoints):
        def save(self, step, state, extra=None):
            at_save.append((step, [number for number, _ in records]))
            super().save(step, state, extra)

    records = []
    train(
        TOY.algorithm,
        ArraySource(np.ones((8, 3), np.float32), 8, seed=0),
        Schedule(steps=5, log_every=2, save_every=2),
        KEY,
        checkpoints=Watched(tmp_path),
        record=lambda step, metrics: records.append((step, metrics)),
    )
    assert at_save == [(2, [2]), (4, [2, 4]), (5, [2, 4, 5])]


def test_records_the_metrics_of_the_step_it_names(tmp_path):
    _, seen = run(tmp_path, Schedule(steps=11, log_every=4))
    assert [step for step, _ in seen.records] == [4, 8, 11]
    for step, metrics in seen.records:
        assert metrics["step"] == step
        assert set(metrics) == {"loss", "step"}
        assert all(type(value) is float for value in metrics.values())
    assert seen.advances == [1] * 11


def test_step_is_traced_once(tmp_path):
    """Over the whole run, over a run in parts, and again when another process goes on."""
    probe = toy()
    run(tmp_path, Schedule(steps=4, save_every=2), probe)
    assert len(probe.traced) == 1
    run(tmp_path, Schedule(steps=6, save_every=2), probe)
    assert len(probe.traced) == 1, "training in parts must not compile again"
    fresh = toy()
    _, seen = run(tmp_path, Schedule(steps=9, save_every=2), fresh)
    assert seen.advances[0] == 6
    assert len(fresh.traced) == 1, "a restored state must look like a fresh one to the compiler"


def test_the_batch_is_divided_over_four_devices(tmp_path):
    assert len(jax.devices()) == 4
    probe = toy()
    four, _ = run(tmp_path / "four", algorithm=probe)
    (sharding,) = probe.shardings
    assert len(sharding.device_set) == 4
    assert sharding.shard_shape((8, 3)) == (2, 3)
    single = toy()
    one, _ = run(tmp_path / "one", algorithm=single, mesh=make_mesh(devices=jax.devices()[:1]))
    assert [len(sharding.device_set) for sharding in single.shardings] == [1]
    np.testing.assert_allclose(four.params["w"], one.params["w"], rtol=1e-5)


def test_the_state_is_on_every_device(tmp_path):
    source = ArraySource(np.ones((8, 3), np.float32), 8, seed=0)
    for steps in (2, 4):  # begun, gone on with
        checkpoints = Checkpoints(tmp_path)
        state = train(
            TOY.algorithm, source, Schedule(steps=steps), KEY, checkpoints=checkpoints, record=lambda *_: None
        )
        for leaf in jax.tree.leaves(state):
            assert len(leaf.sharding.device_set) == 4
            assert leaf.sharding.is_fully_replicated


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    source = ArraySource(np.ones((9, 3), np.float32), 6, seed=0)
    with pytest.raises(InputError, match="6 rows do not divide over data x fsdp = 4; take a multiple of 4 rows"):
        train(TOY.algorithm, source, SCHEDULE, KEY, checkpoints=Checkpoints(tmp_path), record=lambda *_: None)


@pytest.mark.parametrize("devices", [1, 4])
def test_start_is_used_and_stays_the_callers(tmp_path, devices):
    """The step donates its state; a `start` that somebody still needs (a reference policy) must not go with it."""
    start, same = (TOY.algorithm.init(jax.random.key(99)) for _ in range(2))
    before = jax.device_get(same)  # not of `start`: an array that numpy looks into is copied, not donated
    mesh = make_mesh(devices=jax.devices()[:devices])
    trained, _ = run(tmp_path / "a", Schedule(steps=1), start=start, mesh=mesh)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(start))
    assert_identical(jax.device_get(start), before)
    moved = np.abs(trained.params["w"] - before.params["w"])
    assert moved.max() < 0.011, "one step of Adam with rate 0.01 away from `start`"
    assert moved.min() > 0
    fresh, _ = run(tmp_path / "b", Schedule(steps=1), mesh=mesh)
    assert np.abs(trained.params["w"] - fresh.params["w"]).max() > 0.1


def test_start_gives_way_to_a_checkpoint(tmp_path):
    whole, _ = run(tmp_path / "whole", Schedule(steps=6))
    run(tmp_path / "parts", Schedule(steps=4))
    start = TOY.algorithm.init(jax.random.key(99))
    parts, _ = run(tmp_path / "parts", Schedule(steps=6), start=start)
    assert_identical(parts, whole)


def test_a_finished_run_trains_no_more(undisturbed, tmp_path):
    state, folders = undisturbed
    folder = shutil.copytree(folders[STEPS], tmp_path / "run")
    probe = toy()
    again, seen = run(folder, algorithm=probe)
    assert_identical(again, state)
    assert probe.traced == []
    assert seen.records == []


def spoil_loss(value, at):
    return lambda step, loss, grads: (jnp.where(step == at, value, loss), grads)


@pytest.mark.parametrize(("value", "shown", "at"), [(jnp.nan, "nan", 6), (-jnp.inf, "-inf", 10)])
def test_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path, value, shown, at):
    with pytest.raises(InputError, match=rf"^step {at}: the loss is {shown}; nothing was saved after .* learning rate"):
        run(tmp_path, algorithm=toy(spoil_loss(value, at)))
    assert saved_steps(tmp_path) == [at - 4, at - 2]
    good, _ = run(tmp_path / "reference", Schedule(steps=at - 2))
    restored = Checkpoints(tmp_path).restore(None, TOY.algorithm.init(KEY))
    assert restored.step == at - 2
    assert_identical(jax.device_get(restored.state), good)


def test_non_finite_loss_between_saves_is_found_when_it_is_logged(tmp_path):
    schedule = Schedule(steps=20, log_every=5, save_every=4)
    with pytest.raises(InputError, match=r"^step 5: the loss is nan"):
        run(tmp_path, schedule, toy(spoil_loss(jnp.nan, 5)))
    assert saved_steps(tmp_path) == [4]


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    """A finite loss may have an infinite gradient: a checkpoint after that update would be the end of the run."""

    def spoil(step, loss, grads):
        return loss, jax.tree.map(lambda grad: jnp.where(step == 4, jnp.inf, 1.0) * grad, grads)

    with pytest.raises(InputError, match=r"^step 4: 2 of the parameters' arrays are NaN or infinite after it; nothing"):
        run(tmp_path, algorithm=toy(spoil))
    assert saved_steps(tmp_path) == [2]
    good, _ = run(tmp_path, Schedule(steps=2))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(good))
    assert good.step == 2


# ----------------------------------------------------------------------------------------------------- evaluations


class Kept:
    """An evaluator that keeps its rows, as the stages of a run do; `stop_at` kills the training in an evaluation."""

    def __init__(self, rows=None, stop_at=None):
        self.rows = {} if rows is None else rows
        self.measured, self.stop_at = [], stop_at

    def run(self, step, state):
        if step == self.stop_at:
            raise KeyboardInterrupt
        if step not in self.rows:
            assert int(state.step) == step, "the state is that of the step"
            assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state)), "on its devices"
            self.measured.append(step)
            self.rows[step] = {"weight": float(state.params["w"][0])}
        return [self.rows[step]]


def weights(seen):
    """What was recorded of evaluations; the last counts if a step was recorded twice."""
    return {step: metrics["weight"] for step, metrics in seen.records if "weight" in metrics}


@pytest.mark.parametrize(
    "steps, every, expected",
    [(12, 4, [4, 8, 12]), (12, 5, [5, 10, 12]), (12, None, [12]), (12, 12, [12]), (12, 30, [12]), (3, 1, [1, 2, 3])],
)
def test_evaluated_steps(steps, every, expected):
    assert evaluation_steps(steps, every) == expected


@pytest.mark.parametrize("steps, evaluations", [(12, 4), (12, 5), (7, 7), (7, 2), (1, 1), (100, 6), (1500, 4)])
def test_a_period_gives_at_most_so_many_evaluations(steps, evaluations):
    period = Schedule(steps=steps).period(evaluations)
    assert len(evaluation_steps(steps, period)) <= evaluations
    assert period == 1 or len(evaluation_steps(steps, period - 1)) > evaluations, "a shorter period gives more"


@pytest.mark.parametrize("every", [1, 3, 5, None])
def test_evaluations_change_nothing_and_are_recorded(undisturbed, every, tmp_path):
    evaluator = Kept()
    state, seen = run(tmp_path, evaluators=[evaluator], evaluate_every=every)
    assert_identical(state, undisturbed[0])
    steps = evaluation_steps(STEPS, every)
    assert evaluator.measured == steps and list(weights(seen)) == steps
    assert saved_steps(tmp_path) == [10, 12], "an evaluation saves nothing"
    for step in steps:
        first = next(metrics for number, metrics in seen.records if number == step)
        assert first["step"] == step, "its own metrics come first, at every evaluated step"
    assert weights(seen)[STEPS] == state.params["w"][0]


def test_several_evaluators_are_called_in_order_without_compiling_again(tmp_path):
    probe, calls = toy(), []

    class Named(Kept):
        def run(self, step, state):
            calls.append((step, self.rows["name"]))
            return []

    run(tmp_path, Schedule(steps=4), probe, evaluators=[Named({"name": n}) for n in "ab"], evaluate_every=2)
    assert calls == [(2, "a"), (2, "b"), (4, "a"), (4, "b")]
    assert len(probe.traced) == 1


KILLS = [(every, step) for every in (2, 3, 5) for step in evaluation_steps(STEPS, every)]


@pytest.mark.parametrize("every, stop_at", KILLS)
def test_killed_in_any_evaluation_it_ends_with_the_same_parameters_and_rows(undisturbed, every, stop_at, tmp_path):
    expected = Kept()
    _, whole = run(tmp_path / "whole", evaluators=[expected], evaluate_every=every)
    killed = Kept(stop_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", evaluators=[killed], evaluate_every=every)
    resumed = Kept(dict(killed.rows))
    state, seen = run(tmp_path / "killed", evaluators=[resumed], evaluate_every=every)
    assert_identical(state, undisturbed[0])
    assert resumed.rows == expected.rows
    assert {step: row["weight"] for step, row in expected.rows.items()} == weights(whole)
    assert set(resumed.measured).isdisjoint(killed.measured), "a kept evaluation is not measured again"
    done = stop_at // SCHEDULE.save_every * SCHEDULE.save_every if stop_at < STEPS else STEPS
    assert seen.advances == [*([done] if done else []), *[1] * (STEPS - done)]


def test_lost_rows_are_measured_again_from_checkpoints_that_exist(undisturbed, tmp_path):
    """Checkpoints 8 and 10 exist: 4 is lost, 8 is restored for its evaluation, 10 resumes, 12 is reached."""
    expected, folder = Kept(), shutil.copytree(undisturbed[1][10], tmp_path / "run")
    run(tmp_path / "whole", evaluators=[expected], evaluate_every=2)
    resumed = Kept()
    state, _ = run(folder, evaluators=[resumed], evaluate_every=2)
    assert_identical(state, undisturbed[0])
    assert resumed.rows == {step: expected.rows[step] for step in (8, 10, 12)}


def test_a_damaged_earlier_checkpoint_is_only_no_evaluation(undisturbed, tmp_path, capfd):
    folder = shutil.copytree(undisturbed[1][10], tmp_path / "run")
    (folder / "8" / "manifest.json").write_text("{")
    resumed = Kept()
    state, _ = run(folder, evaluators=[resumed], evaluate_every=2)
    assert_identical(state, undisturbed[0])
    assert list(resumed.rows) == [10, 12]
    assert f"warning: {folder / '8'}: half-written or damaged" in capfd.readouterr().err


def test_a_finished_training_is_evaluated_if_its_last_rows_are_missing(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed[1][STEPS], tmp_path / "run")
    probe, resumed = toy(), Kept()
    _, seen = run(folder, algorithm=probe, evaluators=[resumed], evaluate_every=None)
    assert probe.traced == [] and resumed.measured == [STEPS]
    assert weights(seen) == {STEPS: undisturbed[0].params["w"][0]}


def test_a_state_that_is_not_finite_is_not_evaluated(tmp_path):
    evaluator = Kept()
    with pytest.raises(InputError, match=r"^step 5: the loss is nan"):
        run(
            tmp_path,
            Schedule(steps=12, save_every=12),
            toy(spoil_loss(jnp.nan, 5)),
            evaluators=[evaluator],
            evaluate_every=1,
        )
    assert evaluator.measured == [1, 2, 3, 4]
