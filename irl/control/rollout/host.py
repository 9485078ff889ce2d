"""Acting on the host: rollouts in Gymnasium's environments as a `Source` of batches for irl.train, and evaluation.

    lanes = Lanes("CartPole-v1", envs=8, seed=0)
    agent = Ppo().make(lanes.observation_space, lanes.action_space)
    rollouts = HostRollouts(lanes, agent, time=128)
    train(Algorithm(agent.init, agent.step), rollouts, schedule, key, record=rollouts.recording(record), ...)

The policy acts on the host's processor, whatever device learns, with copies of those arrays of the state that acting
reads: the step may donate its own, and a replay buffer is never copied. Keys are fold_in(seed, environments' step).

With `overlap` a rollout is collected by the policy of one step before. Its parameters are at hand while the newest are
still being computed (jax dispatches a step and returns), so environments and learner work at the same time, and what
comes out depends on no timing. Log-probabilities are those of the policy that acted. Without it every rollout is made
by the newest policy.
"""

import base64
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from irl.control.agent import Agent, AgentState, ImitationBatch
from irl.control.environments.gymnasium_env import Make
from irl.control.rollout.vector_environment import Episode, Json, Lanes
from irl.control.spaces import Discrete
from irl.control.types import Rollout, Transitions
from irl.types import InputError

Record = Callable[[int, Mapping[str, float]], None]
Act = Callable[[AgentState, Array, jax.Array], Any]
"""(state, observations, key) -> arrays with a row per observation"""

MOST_ROUNDS = 1000
"""Rounds whose episodes wait to be recorded; of more, the oldest are forgotten."""


class Actor:
    """A function of an agent's state, compiled for the host, given only those arrays of the state that it reads."""

    def __init__(self, act: Act, state: AgentState, observation: np.ndarray, seed: int):
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        self._read = leaves_read(act, shapes, observation, jax.random.key(seed))
        leaves, structure = jax.tree.flatten(shapes)
        self._host = jax.local_devices(backend="cpu")[0]

        def of_leaves(read: list[jax.Array], observation: Array, step: Array) -> Any:
            given = iter(read)
            full = [next(given) if r else jnp.zeros(x.shape, x.dtype) for r, x in zip(self._read, leaves, strict=True)]
            key = jax.random.fold_in(jax.random.key(seed), step)
            return act(jax.tree.unflatten(structure, full), observation, key)

        self._act = jax.jit(of_leaves)

    def copy(self, state: AgentState) -> list[jax.Array]:
        """The arrays that it reads, as they will be once the step that makes them is done."""
        read = [leaf for leaf, wanted in zip(jax.tree.leaves(state), self._read, strict=True) if wanted]
        return self.place([jnp.copy(leaf) for leaf in read])  # device_put alone keeps the buffer on one device

    def place(self, leaves: list[Any]) -> list[jax.Array]:
        return [jax.device_put(leaf, self._host, may_alias=False) for leaf in leaves]

    def __call__(self, leaves: list[jax.Array], observation: np.ndarray, step: int) -> Any:
        return jax.tree.map(np.asarray, self._act(leaves, observation, np.uint32(step)))


def leaves_read(act: Act, state: AgentState, observation: Any, key: jax.Array) -> list[bool]:
    """Which leaves of the state the function uses."""
    program = jax.make_jaxpr(act)(state, observation, key).jaxpr
    used = {id(v) for equation in program.eqns for v in equation.invars} | {id(v) for v in program.outvars}
    count = len(jax.tree.leaves(state))
    return [id(v) in used for v in program.invars[:count]]


class Ended(NamedTuple):
    """Episodes that ended in one round."""

    round: int
    earned: float
    steps: int
    episodes: int


class HostRollouts:
    """A `Source` of rollouts of `time` steps in every lane; with demonstrations, of batches for imitators.

    Its state brings back the running episodes (environments/lanes.py) and, with `overlap`, the policy that acts next.
    """

    def __init__(
        self,
        lanes: Lanes,
        agent: Agent,
        *,
        time: int,
        demonstrations: Transitions | None = None,
        overlap: bool = False,
    ):
        if time < 1:
            raise InputError(f"HostRollouts: expected time of at least 1, got {time}")
        self._lanes, self._agent, self._time = lanes, agent, time
        self._demonstrations, self._overlap = demonstrations, overlap
        self._round = 0
        self._actor: Actor | None = None
        self._leaves: list[Any] | None = None
        self._ended: deque[Ended] = deque(maxlen=MOST_ROUNDS)

    def next(self, state: AgentState) -> Rollout | ImitationBatch:
        """The next rollout, by the policy of `state`, or with `overlap` by that of the state before."""
        if self._actor is None:
            check_agent(self._agent, state, self._lanes)
            self._actor = Actor(self._agent.act, state, self._lanes.observation, self._lanes.seed)
            self._leaves = self._actor.place(self._leaves) if self._leaves else None
        if self._leaves is None or not self._overlap:
            self._leaves = self._actor.copy(state)
        rollout = self._collect(self._actor, self._leaves)
        if self._overlap:
            self._leaves = self._actor.copy(state)
        return rollout if self._demonstrations is None else ImitationBatch(rollout, self._demonstrations)

    def recording(self, record: Record) -> Record:
        """`record` told, beside the metrics of a step, of the episodes that ended since it was last told.

        Mean `return` and `length`, and how many `episodes`; nothing of these where none ended.
        """

        def with_episodes(step: int, metrics: Mapping[str, float]) -> None:
            due = [ended for ended in self._ended if ended.round <= step]
            for _ in due:
                self._ended.popleft()
            record(step, {**metrics, **_means(due)})

        return with_episodes

    def get_state(self) -> Json:
        """The position, the lanes, and the policy that acts next where it is an old one."""
        leaves = [to_json(leaf) for leaf in self._leaves] if self._overlap and self._leaves is not None else None
        return {
            "round": self._round,
            "time": self._time,
            "overlap": self._overlap,
            "lanes": self._lanes.get_state(),
            "policy": leaves,
            "ended": [list(ended) for ended in self._ended],
        }

    def set_state(self, state: Json) -> None:
        """Go on where `get_state` was taken; InputError when that was with other settings."""
        for name, here in (("time", self._time), ("overlap", self._overlap)):
            if state[name] != here:
                difference = f"{name} was {state[name]}, is {here} now"
                raise InputError(f"rollouts: {difference}; resume with the same settings, or start a new run")
        self._lanes.set_state(state["lanes"])
        self._round = state["round"]
        self._ended = deque((Ended(*ended) for ended in state["ended"]), maxlen=MOST_ROUNDS)
        leaves = None if state["policy"] is None else [from_json(leaf) for leaf in state["policy"]]
        self._leaves = leaves if leaves is None or self._actor is None else self._actor.place(leaves)

    def _collect(self, actor: Actor, leaves: list[Any]) -> Rollout:
        self._round += 1
        rows: list[Rollout] = []
        episodes: list[Episode] = []
        first = (self._round - 1) * self._time
        for step in range(first, first + self._time):
            observation = self._lanes.observation
            action, log_prob = actor(leaves, observation, step)
            outcome, ended = self._lanes.step(action)
            episodes += ended
            rows.append(
                Rollout(
                    observation,
                    action,
                    outcome.next_observation,
                    outcome.terminated,
                    outcome.truncated,
                    outcome.reward,
                    log_prob,
                )
            )
        if episodes:
            earned, steps = sum(e.earned for e in episodes), sum(e.steps for e in episodes)
            self._ended.append(Ended(self._round, earned, steps, len(episodes)))
        return Rollout(*map(np.stack, zip(*rows, strict=True)))


def host_returns(
    environment: Make,
    agent: Agent,
    state: AgentState,
    episodes: int,
    seed: int,
    *,
    explore: bool = False,
    most_steps: int = 100_000,
    **options: Any,
) -> Float[np.ndarray, " episodes"]:
    """Returns of whole episodes, by what the agent thinks best, or as it explores. Up to 16 go side by side.

    InputError: an episode that has not ended after `most_steps`.
    """
    lanes = Lanes(environment, envs=min(episodes, 16), seed=seed, **options)
    check_agent(agent, state, lanes)
    act = (lambda *given: agent.act(*given)[0]) if explore else (lambda state, seen, key: agent.best(state, seen))
    actor = Actor(act, state, lanes.observation, seed)
    leaves, returns = actor.copy(state), np.full(episodes, np.nan)
    for step in range(most_steps * -(-episodes // len(lanes))):
        for episode in lanes.step(actor(leaves, lanes.observation, step))[1]:
            number = episode.number * len(lanes) + episode.lane
            if number < episodes:
                returns[number] = episode.earned
        if not np.isnan(returns).any():
            lanes.close()
            return returns
    advice = "give the environment a time limit (gymnasium.wrappers.TimeLimit)"
    raise InputError(f"{lanes.name}: an episode did not end in {most_steps} steps; {advice}")


def check_agent(agent: Agent, state: AgentState, lanes: Lanes) -> None:
    """InputError: the agent was made for other spaces than these environments'."""
    observation, action = lanes.observation_space, lanes.action_space
    given = jax.ShapeDtypeStruct(lanes.observation.shape, lanes.observation.dtype)
    advice = f"make the agent for the spaces of {lanes.name}: {observation}, {action}"
    try:
        made = jax.eval_shape(agent.act, state, given, jax.random.key(0))[0]
    except (TypeError, ValueError) as error:
        told = f"the agent cannot act on observations of shape {given.shape}, {given.dtype}"
        raise InputError(f"{lanes.name}: {told} ({error}); {advice}") from error
    expected = (len(lanes), *action.shape)
    if made.shape != expected or jnp.issubdtype(made.dtype, jnp.integer) != isinstance(action, Discrete):
        told = f"expected actions of shape {expected}, {np.dtype(action.dtype)}, got {made.shape}, {made.dtype}"
        raise InputError(f"{lanes.name}: {told}; {advice}")


def to_json(array: ArrayLike) -> Json:
    """An array as its bytes in base64."""
    values = np.asarray(array)
    data = base64.b64encode(values.tobytes()).decode()
    return {"dtype": str(values.dtype), "shape": list(values.shape), "data": data}


def from_json(state: Json) -> np.ndarray:
    """The array of `to_json`."""
    data = base64.b64decode(state["data"])
    return np.frombuffer(data, jnp.dtype(state["dtype"])).reshape(state["shape"])


def _means(due: list[Ended]) -> dict[str, float]:
    episodes = sum(ended.episodes for ended in due)
    if not episodes:
        return {}
    earned, steps = (sum(values) for values in ([e.earned for e in due], [e.steps for e in due]))
    return {"return": earned / episodes, "length": steps / episodes, "episodes": float(episodes)}
