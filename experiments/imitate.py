"""`traceward run` of imitation in control: demonstrations teach a policy and a reward, in one compiled program.

All seeds are trained side by side (`jax.vmap`), rollouts and learning in one jit. Reported: return of every seed beside
the expert's and that of actions at random, and, where a reward was learned, how it orders what other policies do. The
environment's own reward is never shown to an imitator: it is counted for the report alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from experiments.expert import Demonstrated, DemonstrationFile, TrainedExpert
from experiments.report import read_metrics, write_report
from experiments.run_folder import RunFolder
from irl.algorithms.base import Algorithm, Info, State
from irl.control.agent import Agent, AgentState
from irl.control.airl import TransitionAirl
from irl.control.behavioural_cloning import BehaviouralCloning, train_epochs
from irl.control.density import Density
from irl.control.environments.base import Environment
from irl.control.environments.gymnax_env import jax_environment
from irl.control.environments.scaled import moments_of, scaled, scaled_environment
from irl.control.gail import Gail
from irl.control.in_graph import begin, collect, in_graph, returns
from irl.control.iq_learn import IqLearn
from irl.control.ppo import Ppo
from irl.control.rewarded import rewarded
from irl.control.sqil import Sqil
from irl.control.types import Rollout, Transitions
from irl.evaluation.estimators import bootstrap_interval
from irl.evaluation.metrics import spearman
from irl.train import Schedule
from irl.types import InputError

Imitator = Gail | TransitionAirl | Sqil | IqLearn | Density | BehaviouralCloning
Reward = Callable[[Transitions], jax.Array]
Row = dict[str, Any]
DEMONSTRATIONS = "demonstrations"
ROUNDS_AT_A_LOOK = 5


@dataclass(frozen=True, kw_only=True)
class Imitate:
    """One imitator in one pure-JAX environment."""

    title: str
    environment: str = "seals/CartPole-v0"
    """An id of gymnax, or a fixed-horizon variant: seals/CartPole-v0, seals/MountainCar-v0."""
    expert: TrainedExpert | DemonstrationFile = field(default_factory=lambda: TrainedExpert())
    imitator: Imitator = Gail()
    learner: Ppo = Ppo()
    """What GAIL, AIRL and density train, and the policy of behavioural cloning."""
    envs: int = 8
    time: int = 256
    """Steps of a rollout in each environment: a step of the schedule is `envs * time` steps of the environment.

    SQIL and IQ-Learn train a fixed number of minibatches a rollout: give them rollouts of 8 steps, or more updates.
    """
    schedule: Schedule = Schedule(steps=65, log_every=5, save_every=65)
    scale: bool = True
    """Observations in the units of the demonstrations."""
    retrain: int = 0
    """Rounds that a fresh policy is trained for on the frozen reward; 0: none is."""
    episodes: int = 100
    """Of each seed, for its return."""
    seeds: int = 5


class Scene(NamedTuple):
    """Where and from what is imitated."""

    environment: Environment
    demonstrations: Transitions


def run_imitate(config: Imitate, folder: Path, command: str) -> Path:
    """Run, or go on with, an imitation; returns the report."""
    begun, run = time.perf_counter(), RunFolder(folder, 0)
    world = jax_environment(config.environment)
    shown = config.expert.run(run, world)
    scene = _scene(config, world, shown.transitions)
    agent, reward = _agent(config, scene)
    states, seconds = _train(config, run, scene, agent)
    earned = np.asarray(_returns(config, scene, agent, states, run.key("evaluation")))
    references = _references(config, scene, shown, run)
    headline = _return_rows(config, earned, references)
    if reward is not None:
        headline += _reward_rows(config, run, scene, agent, states, reward)
    _save(run.folder / "imitators.safetensors", states.params)
    steps = config.schedule.steps * config.envs * config.time * config.seeds
    if seconds > 1:
        run.measured("environment steps, all seeds", steps, seconds, "start-up and compilation included")
    return _finish(config, run, headline, command, time.perf_counter() - begun)


def _scene(config: Imitate, world: Environment, demonstrations: Transitions) -> Scene:
    demonstrations = jax.tree.map(jnp.asarray, demonstrations)
    if not config.scale:
        return Scene(world, demonstrations)
    moments = moments_of(world, demonstrations)
    return Scene(scaled_environment(world, moments), scaled(world, moments, demonstrations))


LearnedReward = Callable[[AgentState, Transitions], jax.Array]
"""(state of a trained agent, transitions) -> the reward that carries over"""


def _agent(config: Imitate, scene: Scene) -> tuple[Agent, LearnedReward | None]:
    """The imitator as an agent, and the reward that it learns, if it does."""
    observation, action = scene.environment.observation, scene.environment.action
    learner = config.learner.make(observation, action)
    match config.imitator:
        case Gail() | TransitionAirl() as game:
            network = game.network.make(observation, action)
            return game.make(learner, observation, action), lambda state, t: network.portable(state.params, t)
        case IqLearn() as imitator:
            return imitator.make(observation, action), imitator.reward(observation, action)
        case Sqil() as imitator:
            return imitator.make(observation, action), None
        case Density() as density:
            reward = density.make(observation, action, scene.demonstrations)
            paid = rewarded(learner, reward)
            step = lambda state, batch, key: paid.step(state, batch.rollout, key)  # noqa: E731
            return paid._replace(step=step), lambda state, t: reward(t)
        case BehaviouralCloning():
            return learner, None
    raise InputError(f"imitator: expected one of {Imitator}, got {type(config.imitator).__name__}")


def _train(config: Imitate, run: RunFolder, scene: Scene, agent: Agent) -> tuple[AgentState, float]:
    """The trained agent's states, with an axis of seeds, and how long that took."""
    begun = time.perf_counter()
    if isinstance(config.imitator, BehaviouralCloning):
        cloning = config.imitator.make(agent, scene.environment.action)
        keys = jax.random.split(run.key("imitation"), config.seeds)
        fit = partial(train_epochs, cloning, demonstrations=scene.demonstrations, epochs=config.schedule.steps)
        states = [fit(cloning.init(key), key=key)[0].agent for key in keys]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), time.perf_counter() - begun
    one = in_graph(scene.environment, agent, envs=config.envs, time=config.time)
    source = Constant(scene.demonstrations)
    state = run.fit("imitation", over_seeds(one, config.seeds), source, config.schedule)
    return state.agent, time.perf_counter() - begun


class Constant:
    """A `Source` of one batch."""

    def __init__(self, batch: Any):
        self._batch = batch

    def next(self, state: Any = None) -> Any:
        return self._batch

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """There is no position."""


def over_seeds(algorithm: Algorithm, seeds: int) -> Algorithm:
    """Independent trainings side by side; metrics are means, returns those of every seed as well."""

    def init(key: jax.Array) -> State:
        return jax.vmap(algorithm.init)(jax.random.split(key, seeds))

    def step(state: State, batch: Any, key: jax.Array) -> tuple[State, Info]:
        state, each = jax.vmap(algorithm.step, in_axes=(0, None, 0))(state, batch, jax.random.split(key, seeds))
        own = {f"return, seed {seed}": each["return"][seed] for seed in range(seeds)}
        return state, jax.tree.map(jnp.mean, each) | own

    return Algorithm(init, step)


def _returns(config: Imitate, scene: Scene, agent: Agent, states: AgentState, key: jax.Array) -> jax.Array:
    """Returns [seeds, episodes] of what the agents think best."""
    one = partial(returns, scene.environment, agent, episodes=config.episodes)
    return jax.jit(jax.vmap(lambda state, key: one(state, key)))(states, jax.random.split(key, config.seeds))


def random_agent(environment: Environment) -> Agent:
    """Draws every action alike; boxes of actions must be bounded."""

    def act(state: AgentState, observations: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        space, rows = environment.action, len(observations)
        if hasattr(space, "n"):
            drawn = jax.random.randint(key, (rows,), 0, space.n)
        else:
            low, high = space.bounds()
            drawn = jax.random.uniform(key, (rows, *space.shape), minval=low, maxval=high)
        return drawn, jnp.zeros(rows)

    return Agent(
        init=lambda key: None,
        act=act,
        best=lambda state, observations: act(state, observations, jax.random.key(0))[0],
        log_prob=lambda state, observations, actions: jnp.zeros(len(observations)),
        step=lambda state, batch, key: (state, {}),
    )


def _references(config: Imitate, scene: Scene, shown: Demonstrated, run: RunFolder) -> dict[str, np.ndarray]:
    """Returns of the demonstrations and of actions at random."""
    found = {} if shown.returns is None else {"expert": shown.returns}
    agent = random_agent(scene.environment)
    drawn = returns(scene.environment, agent, None, run.key("random"), config.episodes, explore=True)
    return found | {"random actions": np.asarray(drawn)}


def _return_rows(config: Imitate, earned: np.ndarray, references: dict[str, np.ndarray]) -> list[Row]:
    name = type(config.imitator).__name__
    rows = [_row(f"{name}: return", earned, DEMONSTRATIONS, f"{config.seeds} seeds, {config.episodes} episodes each")]
    rows.append(_row(f"{name}: return of the worst seed", earned[earned.mean(axis=1).argmin()], DEMONSTRATIONS, ""))
    rows += [_row(reference, values, "none", "return") for reference, values in references.items()]
    if "expert" in references:
        low, high = references["random actions"].mean(), references["expert"].mean()
        rows.append(_row(f"{name}: normalised return", (earned - low) / (high - low), DEMONSTRATIONS, "expert 1"))
    return rows


def _reward_rows(
    config: Imitate, run: RunFolder, scene: Scene, agent: Agent, states: AgentState, reward: LearnedReward
) -> list[Row]:
    """What the learned reward says of each step beside the environment's, on data of three kinds of policy."""
    world, seeds = scene.environment, range(config.seeds)
    nobody = random_agent(world)
    key = run.key("reward data")
    kinds = {"random actions": _rollout(config, world, nobody, None, key)}
    rows = []
    correlations: dict[str, list[float]] = {}
    for seed in seeds:
        state = jax.tree.map(lambda leaf, seed=seed: leaf[seed], states)
        own = {**kinds, "its own policy": _rollout(config, world, agent, state, jax.random.fold_in(key, seed))}
        learned = {kind: np.asarray(reward(state, made.transitions())) for kind, made in own.items()}
        true = {kind: np.asarray(made.reward).reshape(-1) for kind, made in own.items()}
        for kind in own:
            correlations.setdefault(f"on {kind}", []).append(_rank(learned[kind], true[kind]))
        together = [np.concatenate(list(part.values())) for part in (learned, true)]
        correlations.setdefault("on both", []).append(_rank(*together))
    for kind, values in correlations.items():
        known = np.array([v for v in values if np.isfinite(v)])
        if len(known):
            rows.append(_row(f"learned and true reward of a step, {kind}", known, DEMONSTRATIONS, "rank correlation"))
    if config.retrain:
        rows.append(_retrained(config, run, scene, states, reward))
    return rows


def _rank(learned: np.ndarray, true: np.ndarray) -> float:
    return float("nan") if np.ptp(true) == 0 or np.ptp(learned) == 0 else spearman(learned, true)


def _rollout(config: Imitate, world: Environment, agent: Agent, state: AgentState, key: jax.Array) -> Rollout:
    lanes = begin(world, config.envs, key)
    return jax.jit(partial(collect, world, agent, time=world.horizon))(state, lanes, key)[1]


def _retrained(config: Imitate, run: RunFolder, scene: Scene, states: AgentState, reward: LearnedReward) -> Row:
    """The return of fresh policies that were trained on the frozen rewards."""
    learner = config.learner.make(scene.environment.observation, scene.environment.action)

    def one(state: AgentState, key: jax.Array) -> jax.Array:
        agent = rewarded(learner, partial(reward, state))
        algorithm = in_graph(scene.environment, agent, envs=config.envs, time=config.time)
        fresh = algorithm.init(key)
        keys = jax.random.split(key, config.retrain)
        trained = jax.lax.scan(lambda s, k: (algorithm.step(s, None, k)[0], None), fresh, keys)[0]
        return returns(scene.environment, agent, trained.agent, key, config.episodes)

    earned = jax.jit(jax.vmap(one))(states, jax.random.split(run.key("retrain"), config.seeds))
    return _row("fresh policy on the frozen reward: return", np.asarray(earned), DEMONSTRATIONS, "retrained")


def _row(name: str, values: np.ndarray, information: str, note: str) -> Row:
    mean, low, high = bootstrap_interval(np.asarray(values, np.float64))
    return {"name": name, "value": mean, "low": low, "high": high, "information": information, "note": note}


def _save(file: Path, params: Any) -> None:
    """Policies and rewards of all seeds, tensors named after their place in the params."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(params))
    named = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}
    safetensors.numpy.save_file(named, file)


def _learning_curves(config: Imitate, run: RunFolder) -> list[dict[str, Any]]:
    """Returns of every seed, exploring, against steps of its environments."""
    found = read_metrics(run.folder / "metrics.jsonl").get("imitation", {})
    each = config.envs * config.time
    series = [
        {"name": name, "role": "learned", "x": [step * each for step in values], "y": list(values.values())}
        for name, values in found.items()
        if name.startswith("return, seed")
    ]
    panel = {"name": "return", "x_label": "steps of the environment", "y_label": "return", "series": series}
    return [panel] if series else []


def _finish(config: Imitate, run: RunFolder, headline: list[Row], command: str, seconds: float) -> Path:
    report = {
        "title": config.title,
        "command": command,
        "information": DEMONSTRATIONS,
        "seeds": list(range(config.seeds)),
        "created": time.strftime("%Y-%m-%d %H:%M"),
        "environment": config.environment,
        "headline": headline,
        "train_time": _learning_curves(config, run),
        "throughput": run.throughput,
    }
    run.write_json("report.json", report)
    page = write_report(run.folder)
    run.show(headline)
    run.say(f"{seconds:.0f} s; report: {page}")
    return page
