"""Rollouts of Gymnasium environments on the host, as a `Source` of batches for irl.train, and their evaluation.

    environments = VectorEnvironment("CartPole-v1", envs=8, seed=0)
    agent = Ppo().make(environments.observation_space, environments.action_space)
    rollouts = HostRollouts(environments, agent, time=128)
    train(Algorithm(agent.init, agent.step), rollouts, schedule, key, record=rollouts.recording(record), ...)

The policy acts on the host's processor, whichever device trains it, on copies of those arrays of the state that acting
depends on: a training step may donate its state, and replay buffers are never copied. Keys are
fold_in(seed, environment step).

With `overlap`, a rollout is collected by the policy of the previous step: its parameters are available while the
current step still runs (JAX dispatches asynchronously), so environments and learner run concurrently. The result does
not depend on timing; log-probabilities are those of the policy that acted. Without `overlap` the newest policy acts.
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
from irl.control.rollout.vector_environment import Episode, Json, VectorEnvironment
from irl.control.spaces import Discrete
from irl.control.types import Rollout, Transitions
from irl.types import InputError

Record = Callable[[int, Mapping[str, float]], None]
Act = Callable[[AgentState, Array, jax.Array], Any]
"""(state, observations, key) -> arrays with one row per observation"""

MOST_ROUNDS = 1000
"""Rounds with unrecorded episodes that are kept; older ones are dropped."""


class Actor:
    """A function of an agent's state, compiled for the host, whose inputs are the arrays that it depends on."""

    def __init__(self, act: Act, state: AgentState, observation: np.ndarray, seed: int):
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        self._used = used_leaves(act, shapes, observation, jax.random.key(seed))
        leaves, structure = jax.tree.flatten(shapes)
        self._host = jax.local_devices(backend="cpu")[0]

        def from_leaves(arrays: list[jax.Array], observation: Array, step: Array) -> Any:
            used = iter(arrays)
            full = [next(used) if u else jnp.zeros(x.shape, x.dtype) for u, x in zip(self._used, leaves, strict=True)]
            key = jax.random.fold_in(jax.random.key(seed), step)
            return act(jax.tree.unflatten(structure, full), observation, key)

        self._act = jax.jit(from_leaves)

    def copy(self, state: AgentState) -> list[jax.Array]:
        """Copies of the arrays that it depends on, also of a state that is still being computed."""
        used = [leaf for leaf, wanted in zip(jax.tree.leaves(state), self._used, strict=True) if wanted]
        return self.place([jnp.copy(leaf) for leaf in used])  # device_put alone keeps the buffer on one device

    def place(self, leaves: list[Any]) -> list[jax.Array]:
        return [jax.device_put(leaf, self._host, may_alias=False) for leaf in leaves]

    def __call__(self, leaves: list[jax.Array], observation: np.ndarray, step: int) -> Any:
        return jax.tree.map(np.asarray, self._act(leaves, observation, np.uint32(step)))


def used_leaves(act: Act, state: AgentState, observation: Any, key: jax.Array) -> list[bool]:
    """For each leaf of the state, whether the function depends on it."""
    program = jax.make_jaxpr(act)(state, observation, key).jaxpr
    used = {id(v) for equation in program.eqns for v in equation.invars} | {id(v) for v in program.outvars}
    count = len(jax.tree.leaves(state))
    return [id(v) in used for v in program.invars[:count]]


class Completed(NamedTuple):
    """Totals of the episodes that ended in one round."""

    round: int
    returns: float
    steps: int
    episodes: int


class HostRollouts:
    """A `Source` of rollouts of `time` steps; with demonstrations, of batches for imitators.

    Its state restores running episodes (vector_environment.py) and, with `overlap`, the policy that acts next.
    """

    def __init__(
        self,
        environments: VectorEnvironment,
        agent: Agent,
        *,
        time: int,
        demonstrations: Transitions | None = None,
        overlap: bool = False,
    ):
        if time < 1:
            raise InputError(f"HostRollouts: expected time of at least 1, got {time}")
        self._environments, self._agent, self._time = environments, agent, time
        self._demonstrations, self._overlap = demonstrations, overlap
        self._round = 0
        self._actor: Actor | None = None
        self._leaves: list[Any] | None = None
        self._completed: deque[Completed] = deque(maxlen=MOST_ROUNDS)

    def next(self, state: AgentState) -> Rollout | ImitationBatch:
        """The next rollout, by the policy of `state`, or with `overlap` by that of the previous state."""
        if self._actor is None:
            check_agent(self._agent, state, self._environments)
            self._actor = Actor(self._agent.act, state, self._environments.observation, self._environments.seed)
            self._leaves = self._actor.place(self._leaves) if self._leaves else None
        if self._leaves is None or not self._overlap:
            self._leaves = self._actor.copy(state)
        rollout = self._collect(self._actor, self._leaves)
        if self._overlap:
            self._leaves = self._actor.copy(state)
        return rollout if self._demonstrations is None else ImitationBatch(rollout, self._demonstrations)

    def recording(self, record: Record) -> Record:
        """`record` with further metrics of the episodes completed since its last call: return, length, episodes.

        Return and length are means. Without completed episodes there are no further metrics.
        """

        def with_episodes(step: int, metrics: Mapping[str, float]) -> None:
            due = [completed for completed in self._completed if completed.round <= step]
            for _ in due:
                self._completed.popleft()
            record(step, {**metrics, **_means(due)})

        return with_episodes

    def get_state(self) -> Json:
        """The position, the running episodes, and with `overlap` the policy that acts next."""
        leaves = [to_json(leaf) for leaf in self._leaves] if self._overlap and self._leaves is not None else None
        return {
            "round": self._round,
            "time": self._time,
            "overlap": self._overlap,
            "environments": self._environments.get_state(),
            "policy": leaves,
            "completed": [list(completed) for completed in self._completed],
        }

    def set_state(self, state: Json) -> None:
        """Resume from `get_state`. Raises InputError for a state with other settings."""
        for name, here in (("time", self._time), ("overlap", self._overlap)):
            if state[name] != here:
                difference = f"{name} was {state[name]}, is {here} now"
                raise InputError(f"rollouts: {difference}; resume with the same settings, or start a new run")
        self._environments.set_state(state["environments"])
        self._round = state["round"]
        self._completed = deque((Completed(*each) for each in state["completed"]), maxlen=MOST_ROUNDS)
        leaves = None if state["policy"] is None else [from_json(leaf) for leaf in state["policy"]]
        self._leaves = leaves if leaves is None or self._actor is None else self._actor.place(leaves)

    def _collect(self, actor: Actor, leaves: list[Any]) -> Rollout:
        self._round += 1
        rows: list[Rollout] = []
        episodes: list[Episode] = []
        first = (self._round - 1) * self._time
        for step in range(first, first + self._time):
            observation = self._environments.observation
            action, log_prob = actor(leaves, observation, step)
            (following, reward, terminated, truncated), completed = self._environments.step(action)
            episodes += completed
            rows.append(Rollout(observation, action, following, terminated, truncated, reward, log_prob))
        if episodes:
            returns, steps = sum(e.episode_return for e in episodes), sum(e.steps for e in episodes)
            self._completed.append(Completed(self._round, returns, steps, len(episodes)))
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
    """Returns of episodes with greedy or exploratory actions, in up to 16 vectorised environments.

    Raises InputError for an episode that has not ended after `most_steps`.
    """
    environments = VectorEnvironment(environment, envs=min(episodes, 16), seed=seed, **options)
    check_agent(agent, state, environments)
    acting = agent if explore else agent.exploiting()
    actor = Actor(lambda *inputs: acting.act(*inputs)[0], state, environments.observation, seed)
    leaves, returns = actor.copy(state), np.full(episodes, np.nan)
    for step in range(most_steps * -(-episodes // len(environments))):
        for episode in environments.step(actor(leaves, environments.observation, step))[1]:
            number = episode.number * len(environments) + episode.environment
            if number < episodes:
                returns[number] = episode.episode_return
        if not np.isnan(returns).any():
            environments.close()
            return returns
    advice = "give the environment a time limit (gymnasium.wrappers.TimeLimit)"
    raise InputError(f"{environments.name}: an episode did not end in {most_steps} steps; {advice}")


def check_agent(agent: Agent, state: AgentState, environments: VectorEnvironment) -> None:
    """Raise InputError if the spaces of the agent are not those of the environments."""
    observation, action = environments.observation_space, environments.action_space
    example = jax.ShapeDtypeStruct(environments.observation.shape, environments.observation.dtype)
    advice = f"make the agent for the spaces of {environments.name}: {observation}, {action}"
    try:
        actions = jax.eval_shape(agent.act, state, example, jax.random.key(0))[0]
    except (TypeError, ValueError) as error:
        problem = f"the agent cannot act on observations of shape {example.shape}, {example.dtype}"
        raise InputError(f"{environments.name}: {problem} ({error}); {advice}") from error
    expected = (len(environments), *action.shape)
    if actions.shape != expected or jnp.issubdtype(actions.dtype, jnp.integer) != isinstance(action, Discrete):
        problem = f"expected actions {np.dtype(action.dtype)}{list(expected)}, got {actions.dtype}{list(actions.shape)}"
        raise InputError(f"{environments.name}: {problem}; {advice}")


def to_json(array: ArrayLike) -> Json:
    """An array with its bytes in base64."""
    values = np.asarray(array)
    data = base64.b64encode(values.tobytes()).decode()
    return {"dtype": str(values.dtype), "shape": list(values.shape), "data": data}


def from_json(state: Json) -> np.ndarray:
    """The array of `to_json`."""
    data = base64.b64decode(state["data"])
    return np.frombuffer(data, jnp.dtype(state["dtype"])).reshape(state["shape"])


def _means(completed: list[Completed]) -> dict[str, float]:
    episodes = sum(each.episodes for each in completed)
    if not episodes:
        return {}
    returns, steps = (sum(values) for values in ([e.returns for e in completed], [e.steps for e in completed]))
    return {"return": returns / episodes, "length": steps / episodes, "episodes": float(episodes)}
