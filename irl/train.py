"""The one training loop: source -> step -> metrics -> checkpoint.

Every algorithm is trained by this loop: offline data and rollouts differ in their `Source`, nothing else does.
Randomness is `fold_in(key, step)`. The loop fetches the metrics of a step after dispatching the next one, so
the device never waits for the host.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irl.algorithms.base import Algorithm, State
from irl.checkpoint import Checkpoints
from irl.sharding import keep_in_place, make_in_place, make_mesh, place, shard_batch
from irl.text.pipeline import Source
from irl.types import InputError
from reward_models.ranges import Count
from reward_models.records import record

Record = Callable[[int, Mapping[str, float]], None]


@record
class Schedule:
    """How long to train, and how often to log and to save."""

    steps: Count
    log_every: Count = 10
    save_every: Count = 100


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
) -> State:
    """Train to the end of the schedule, from the newest checkpoint where there is one.

    `start` replaces `algorithm.init(key)` (a fine-tuned trunk, say). `record(step, metrics)` is told every
    `log_every` steps, `advance(n)` whenever n more steps are behind us. A loss or parameters that are not finite
    stop with InputError naming step and value; the last checkpoint is from before it. The batch is divided over
    the mesh (data, fsdp), the state over (fsdp, tensor): see irl/sharding.py.
    """
    mesh = make_mesh() if mesh is None else mesh
    state = _begin(mesh, algorithm.init, jax.random.fold_in(key, 0)) if start is None else place(mesh, start)
    done = 0
    if checkpoints.latest() is not None:
        state, extra, done = checkpoints.restore(None, state)
        source.set_state(extra["source"])
        advance(done)
    step = compile_step(algorithm.step, mesh)
    waiting: tuple[int, Any] | None = None
    for number in range(done + 1, schedule.steps + 1):
        batch = shard_batch(mesh, source.next(state))
        state, info = step(state, batch, jax.random.fold_in(key, number))
        if waiting is not None:
            _report(waiting, record)
        advance(1)
        waiting = (number, info) if number % schedule.log_every == 0 or number == schedule.steps else None
        if number % schedule.save_every == 0 or number == schedule.steps:
            _finite(number, info, state)
            if waiting is not None:  # before the save: a run that is killed after it never comes back to this step
                _report(waiting, record)
                waiting = None
            checkpoints.save(number, state, {"source": source.get_state()})
    return state


def _begin(mesh: jax.sharding.Mesh, init: Callable[[jax.Array], State], key: jax.Array) -> State:
    """Compiled, an initialisation may differ in its last bits: done only where the mesh divides parameters."""
    divided = mesh.shape["fsdp"] * mesh.shape["tensor"] > 1
    return make_in_place(mesh, init, key) if divided else place(mesh, init(key))


@lru_cache(maxsize=16)
def compile_step(step: Callable, mesh: jax.sharding.Mesh) -> jax.stages.Wrapped:
    """The jitted step, which donates its state: an algorithm that is trained in several parts is compiled once."""

    def placed(state: State, batch: Any, key: jax.Array) -> tuple[State, Any]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            state, info = step(state, batch, key)
        return keep_in_place(mesh, state), info

    return jax.jit(placed, donate_argnums=0)


def _report(waiting: tuple[int, Any], record: Record) -> None:
    number, info = waiting
    _finite(number, info)
    record(number, {name: float(value) for name, value in info.items()})


def _finite(number: int, info: Mapping[str, Any], state: State = None) -> None:
    loss = float(info["loss"])
    found = "" if np.isfinite(loss) else f"the loss is {loss}"
    if not found and state is not None:
        bad = sum(not jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
        found = f"{bad} of the parameters' arrays are NaN or infinite after it" if bad else ""
    if found:
        raise InputError(
            f"step {number}: {found}; nothing was saved after the last finite step. Lower the "
            "learning rate, or start again from the last checkpoint"
        )
