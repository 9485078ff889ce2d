"""The one training loop: source -> step -> metrics -> checkpoint -> evaluation.

Every algorithm is trained by this loop: offline data and rollouts differ in their `Source`, nothing else does.
Randomness is `fold_in(key, step)`. The loop fetches the metrics of a step after dispatching the next one, so
the device never waits for the host.

Evaluators run between two steps, on the state where it is. An evaluation changes no batch, no key and no state:
parameters are bit for bit those of a training without evaluations. A step that is saved and evaluated is saved first.
A resumed training therefore has every evaluation of the steps before its checkpoint, provided that the evaluators keep
their rows. It calls the evaluators again for the checkpoints that still exist, and for every step that it repeats:

    killed after the save of step n, before or in the evaluation of n    n is evaluated when the training resumes
    killed after the evaluation of n, before the next save               n is reached again and its rows are read back
    rows of n lost, checkpoint n exists                                  n is evaluated when the training resumes
    rows of n lost, no checkpoint n                                      n is evaluated only if it is reached again
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from irl.algorithms.base import Algorithm, State
from irl.checkpoint import Checkpoints
from irl.sharding import keep_in_place, make_in_place, make_mesh, place, shard_batch
from irl.text.pipeline import Source
from irl.types import InputError
from reward_models.frozen import join, split
from reward_models.ranges import Count
from reward_models.records import record

Row = Mapping[str, float]
Record = Callable[[int, Row], None]


@runtime_checkable
class Evaluator(Protocol):
    """Measures the state of a training on the way."""

    def run(self, step: int, state: State) -> Iterable[Row]:
        """The rows of the state after `step` steps; the loop records them as metrics of that step.

        The state is on its devices, and valid only during the call: the next step donates its arrays. The loop may ask
        for a step twice when a training is resumed; an evaluator that keeps its rows returns them then.
        """
        ...


@record
class Schedule:
    """How long to train, and how often to log and to save."""

    steps: Count
    log_every: Count = 10
    save_every: Count = 100

    def period(self, evaluations: int) -> int:
        """The fewest steps between two evaluations for which there are at most so many."""
        return -(-self.steps // evaluations)


def evaluation_steps(steps: int, every: int | None) -> list[int]:
    """The steps that are evaluated: every `every`-th, and the last."""
    return [*range(every or steps, steps, every or steps), steps]


def check_evaluations(stage: str, evaluations: int, schedule: Schedule) -> None:
    """Raises InputError if a stage is to be evaluated more often than it has training steps."""
    if evaluations > schedule.steps:
        expected = f"expected at most {schedule.steps}, the steps of its schedule"
        raise InputError(f"{stage}.evaluations: {expected}, got {evaluations}")


def train(
    algorithm: Algorithm,
    source: Source,
    schedule: Schedule,
    key: jax.Array,
    *,
    checkpoints: Checkpoints,
    record: Record,
    start: State | None = None,
    mesh: jax.sharding.Mesh | None = None,
    advance: Callable[[int], None] = lambda steps: None,
    evaluators: Sequence[Evaluator] = (),
    evaluate_every: int | None = None,
) -> State:
    """Train to the end of the schedule, from the newest checkpoint if there is one.

    The batch is divided over the mesh axes (data, fsdp), the state over (fsdp, tensor): see irl/sharding.py.

    Args:
        algorithm: What is trained.
        source: The batches.
        schedule: The number of steps, and how often metrics are logged and the state is saved.
        key: The base key; step n uses `fold_in(key, n)`.
        checkpoints: Where the state is saved and resumed from.
        record: Called with (step, metrics) every `log_every` steps, at evaluated steps and at the end, and with
            (step, row) for every row of an evaluator.
        start: The initial state in place of `algorithm.init(key)`, such as one with a pretrained trunk.
        mesh: All devices unless another mesh is given.
        advance: Called with n after every n completed steps.
        evaluators: Called after every `evaluate_every` steps and at the end.
        evaluate_every: None evaluates at the end only.

    Returns:
        The state after the last step.

    Raises:
        InputError: A loss or parameters that are not finite; the message has the step and the value, and the last
            checkpoint is from before that step.
    """
    mesh = make_mesh() if mesh is None else mesh
    state = _begin(mesh, algorithm.init, jax.random.fold_in(key, 0)) if start is None else place(mesh, start)
    trained, frozen = split(state)
    evaluation = _Evaluation(evaluators, set(evaluation_steps(schedule.steps, evaluate_every)), record)
    done = 0
    if checkpoints.latest() is not None:
        trained, extra, done = checkpoints.restore(None, trained)
        state = join(trained, frozen)
        source.set_state(extra["source"])
        advance(done)
        evaluation.resume(checkpoints, done, state)
    step = compile_step(algorithm.step, mesh)
    waiting: tuple[int, Any] | None = None
    for number in range(done + 1, schedule.steps + 1):
        batch = shard_batch(mesh, source.next(state))
        trained, info = step(split(state).trained, frozen, batch, jax.random.fold_in(key, number))
        state = join(trained, frozen)
        if waiting is not None:
            _report(waiting, record)
        advance(1)
        last, evaluating = number == schedule.steps, evaluation.due(number)
        waiting = (number, info) if number % schedule.log_every == 0 or last or evaluating else None
        saving = number % schedule.save_every == 0 or last
        if saving or evaluating:
            _finite(number, info, state)
            if waiting is not None:  # before the save: a training that is killed after it does not repeat this step
                _report(waiting, record)
                waiting = None
        if saving:
            checkpoints.save(number, trained, {"source": source.get_state()})
        if evaluating:
            evaluation.run(number, state)
    return state


def _begin(mesh: jax.sharding.Mesh, init: Callable[[jax.Array], State], key: jax.Array) -> State:
    """Compiled, an initialisation may differ in its last bits: done only where the mesh divides parameters."""
    divided = mesh.shape["fsdp"] * mesh.shape["tensor"] > 1
    return make_in_place(mesh, init, key) if divided else place(mesh, init(key))


@lru_cache(maxsize=16)
def compile_step(step: Callable, mesh: jax.sharding.Mesh) -> jax.stages.Wrapped:
    """The jitted step (trained, frozen, batch, key) -> (trained, info) on the parts of a state.

    The trained part is donated. An algorithm that is trained in several parts is compiled once.
    """

    def placed(trained: State, frozen: State, batch: Any, key: jax.Array) -> tuple[State, Any]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            state, info = step(join(trained, frozen), batch, key)
        return keep_in_place(mesh, split(state).trained), info

    return jax.jit(placed, donate_argnums=0)


class _Evaluation(NamedTuple):
    """The evaluators of a training with their steps."""

    evaluators: Sequence[Evaluator]
    steps: Collection[int]
    record: Record

    def due(self, step: int) -> bool:
        return bool(self.evaluators) and step in self.steps

    def run(self, step: int, state: State) -> None:
        for evaluator in self.evaluators:
            for row in evaluator.run(step, state):
                self.record(step, row)

    def resume(self, checkpoints: Checkpoints, done: int, state: State) -> None:
        """Evaluate the checkpoints that exist, up to that of step `done`, whose state is `state`."""
        for step in filter(self.due, reversed(checkpoints.steps())):
            if step < done:
                try:
                    earlier = join(checkpoints.restore(step, split(state).trained).state, split(state).frozen)
                except InputError:  # damaged: `restore` has warned, and the training resumes from `done`
                    continue
                self.run(step, earlier)
        if self.due(done):
            self.run(done, state)


def _report(waiting: tuple[int, Any], record: Record) -> None:
    number, info = waiting
    _finite(number, info)
    record(number, {name: float(value) for name, value in info.items()})


def _finite(number: int, info: Mapping[str, Any], state: State = None) -> None:
    loss = float(info["loss"])
    fault = "" if np.isfinite(loss) else f"the loss is {loss}"
    if not fault and state is not None:
        bad = sum(not jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(split(state.params).trained))
        fault = f"{bad} of the parameters' arrays are NaN or infinite after it" if bad else ""
    if fault:
        raise InputError(
            f"step {number}: {fault}; nothing was saved after the last finite step. Lower the "
            "learning rate, or start again from the last checkpoint"
        )
