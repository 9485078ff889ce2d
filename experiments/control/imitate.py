"""`traceward run` of imitation in control: demonstrations teach a policy and a reward.

Pure-JAX environments have all seeds trained side by side, rollouts and learning in one jit; Gymnasium's are stepped on
the host (experiments/control/backends.py). Reported: return of every seed beside the expert's and that of actions at
random, and, where a reward was learned, how it orders what other policies do (experiments/control/imitation_rows.py).
The environment's own reward is never shown to an imitator: it is counted for the report alone.
"""

import time
from collections.abc import Callable
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.control.backends import Backend, OfGymnasium, PureJax, Rounds, of_seed
from experiments.control.expert import Demonstrated, DemonstrationFile, PushingExpert, TrainedExpert
from experiments.control.frame_strip import Record, reading
from experiments.control.imitation_rows import (
    DEMONSTRATIONS,
    Row,
    learning_curves,
    retrained_row,
    return_rows,
    reward_rows,
)
from experiments.control.true_rewards import TRUE_REWARDS
from experiments.core.finish import finish_run
from experiments.core.kinds import Run
from experiments.core.run_folder import RunFolder
from irl.control.agent import Agent, AgentState
from irl.control.algorithms import adversarial, dagger
from irl.control.algorithms.base import Imitator, LearnedReward, Shown
from irl.control.algorithms.behavioural_cloning import BehaviouralCloning, train_epochs, warm_start
from irl.control.algorithms.gail import Gail
from irl.control.environments.absorbing import absorbing_trajectory
from irl.control.environments.scaled import moments_of, scaled, unscaled
from irl.control.learners.dqn import Dqn
from irl.control.learners.ppo import Ppo
from irl.control.learners.reward_override import rewarded_by
from irl.control.learners.sac import Sac
from irl.control.spaces import Discrete, Space
from irl.control.trajectories.trajectory import Trajectory, to_transitions
from irl.control.types import Transitions
from irl.train import Schedule
from irl.types import InputError
from reward_models.folders.tensor_file import save_arrays
from reward_models.ranges import CountOrZero, Few, Rows, Size
from reward_models.records import record


@record
class Imitate(Run):
    """One imitator in one environment."""

    title: str
    environment: PureJax | OfGymnasium = PureJax()
    expert: TrainedExpert | DemonstrationFile | PushingExpert = field(default_factory=lambda: TrainedExpert())
    imitator: Imitator = Gail()
    learner: Ppo | Sac | Dqn = Ppo()
    """What GAIL, AIRL and density train, and the policy of behavioural cloning and DAgger."""
    warm_start: CountOrZero = 0
    """Epochs of behavioural cloning that the policy of GAIL, AIRL, density or DAgger begins with."""
    envs: Size = 8
    time: Size = 256
    """Steps of a rollout in each environment: a step of the schedule is `envs * time` steps of the environment.

    SQIL and IQ-Learn train a fixed number of minibatches a rollout: give them rollouts of 8 steps, or more updates.
    """
    schedule: Schedule = Schedule(steps=65, log_every=5, save_every=65)
    scale: bool = True
    """Observations in the units of the demonstrations."""
    absorbing: bool = False
    """What comes after the end is imitated, too: for tasks that may end before their horizon."""
    retrain: CountOrZero = 0
    """Rounds that a fresh policy is trained for on the frozen reward; 0: none is."""
    episodes: Rows = 100
    """Of each seed, for its return."""
    seeds: Few = 5

    def rounds(self) -> Rounds:
        return Rounds(self.envs, self.time, self.schedule)

    def run(self, folder: Path, command: str) -> Path:
        return run_imitate(self, folder, command)


class Scene(NamedTuple):
    """Where and from what is imitated."""

    backend: Backend
    trajectories: list[Trajectory]
    """As the imitator sees them."""
    demonstrations: Transitions
    """Their steps."""
    read: Callable[[Any], jax.Array]
    """Observations of the environment as the imitator sees them, and `unread` back again."""
    unread: Callable[[Any], jax.Array]
    asked: Callable[[Any, jax.Array], jax.Array] | None
    """(state of the expert, observations of the backend) -> its actions, where it can be asked"""
    expert: AgentState
    """Its state."""


def run_imitate(config: Imitate, folder: Path, command: str) -> Path:
    """Run, or go on with, an imitation; returns the report."""
    begun, run = time.perf_counter(), RunFolder(folder, 0)
    world = config.environment.backend()
    shown = config.expert.run(run, world)
    scene = scene_of(config, world, shown)
    agent, reward = agent_of(config, scene)
    states, seconds = _train(config, run, scene, agent)
    backend, seeds = scene.backend, config.seeds
    earned = backend.returns(agent, states, run.key("evaluation"), config.episodes, seeds)
    headline = return_rows(type(config.imitator).__name__, backend, earned, shown.returns, run, config.episodes)
    if reward is not None:
        headline += _reward_rows(config, run, scene, agent, states, reward)
    if reward is not None and config.retrain:
        headline.append(_retrained(config, run, scene, states, reward))
    _save(run.folder / "imitators.safetensors", _learned(states))
    steps = config.schedule.steps * config.envs * config.time * seeds
    if seconds > 1:
        run.measured("environment steps, all seeds", steps, seconds, "start-up and compilation included")
    name = f"{type(config.imitator).__name__} in {world.name}"
    frames = world.frames(run, name, reading(agent, scene.read), of_seed(states, 0), run.key("frames"))
    return _finish(config, run, headline, frames, command, time.perf_counter() - begun)


def scene_of(config: Imitate, world: Backend, shown: Demonstrated) -> Scene:
    """The environment as the imitator sees it, and the demonstrations alike."""
    backend, trajectories = world, shown.trajectories
    read = unread = lambda observations: observations
    if config.scale:
        moments = moments_of(world.observation, to_transitions(trajectories))
        backend = world.in_units(moments)
        read, unread = partial(scaled, world.observation, moments), partial(unscaled, world.observation, moments)
        trajectories = [replace(t, observations=np.asarray(read(t.observations))) for t in trajectories]
    if config.absorbing:
        trajectories = [_absorbing(backend, t) for t in trajectories]
        read, unread = _before_the_end(backend.observation, read, unread)
        backend = backend.with_absorbing_end()
    demonstrations = jax.tree.map(jnp.asarray, to_transitions(trajectories))
    scene = Scene(backend, trajectories, demonstrations, read, unread, None, None)
    if shown.expert is None:
        return scene
    expert = shown.expert.agent
    return scene._replace(asked=lambda state, seen: expert.best(state, unread(seen)), expert=shown.expert.state)


def _absorbing(backend: Backend, trajectory: Trajectory) -> Trajectory:
    observations, actions = absorbing_trajectory(
        backend.observation,
        trajectory.observations,
        trajectory.actions,
        terminal=trajectory.terminal,
        horizon=backend.horizon,
    )
    return replace(trajectory, observations=observations, actions=actions, terminal=False, rewards=None, infos=None)


def _before_the_end(space: Space, read: Callable, unread: Callable) -> tuple[Callable, Callable]:
    """Both with the coordinate that says whether it is over."""
    if isinstance(space, Discrete):
        return read, unread
    return lambda seen: jnp.pad(read(seen), ((0, 0), (0, 1))), lambda seen: unread(seen[..., :-1])


def agent_of(config: Imitate, scene: Scene) -> tuple[Agent, LearnedReward | None]:
    """The imitator as an agent, and the reward that it learns, if it does."""
    observation, action = scene.backend.observation, scene.backend.action
    learner = config.learner.make(observation, action)
    shown = Shown(observation, action, scene.demonstrations, scene.asked, scene.expert)
    return config.imitator.imitate(learner, shown)


def _train(config: Imitate, run: RunFolder, scene: Scene, agent: Agent) -> tuple[AgentState, float]:
    """The trained agent's states, with an axis of seeds, and how long that took."""
    begun, start = time.perf_counter(), None
    if isinstance(config.imitator, BehaviouralCloning):
        states = cloned(config, run, scene, agent, config.imitator, config.schedule.steps)
        return states, time.perf_counter() - begun
    if config.warm_start:
        start = warm(config, run, scene, agent)
    states = scene.backend.train(
        run, "imitation", agent, scene.demonstrations, config.rounds(), config.seeds, start=start
    )
    return states, time.perf_counter() - begun


def cloned(
    config: Imitate, run: RunFolder, scene: Scene, agent: Agent, cloning: BehaviouralCloning, epochs: int
) -> AgentState:
    """States of the agent, cloned from the demonstrations, with an axis of seeds."""
    algorithm = cloning.make(agent, scene.backend.action)
    keys = jax.random.split(run.key("imitation"), config.seeds)
    fit = partial(train_epochs, algorithm, demonstrations=scene.demonstrations, epochs=epochs)
    states = [fit(algorithm.init(key), key=key)[0].agent for key in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def warm(config: Imitate, run: RunFolder, scene: Scene, agent: Agent) -> AgentState:
    """Fresh states of the agent whose policies are cloned ones."""
    if not config.imitator.has_policy:
        name = type(config.imitator).__name__
        raise InputError(f"warm_start: {name} trains no policy of a learner, which has a clone; set warm_start 0")
    learner = config.learner.make(scene.backend.observation, scene.backend.action)
    clones = cloned(config, run, scene, learner, BehaviouralCloning(), config.warm_start)
    fresh = jax.vmap(agent.init)(jax.random.split(run.key("warm start"), config.seeds))
    return warm_start(fresh, clones.params)


def _reward_rows(
    config: Imitate, run: RunFolder, scene: Scene, agent: Agent, states: AgentState, reward: LearnedReward
) -> list[Row]:
    """Where the end is absorbing, the true reward of what comes after it is nobody's: no EPIC, no expert's steps."""
    known = None if config.absorbing else TRUE_REWARDS.get(config.environment.id)

    def true(steps: Transitions) -> jax.Array:
        assert known is not None
        seen, after = scene.unread(steps.observation), scene.unread(steps.next_observation)
        return known(steps._replace(observation=seen, next_observation=after))

    paid = [t for t in scene.trajectories if t.rewards is not None]
    return reward_rows(
        scene.backend,
        agent,
        states,
        reward,
        config.seeds,
        config.envs,
        run,
        expert=paid,
        true=None if known is None else true,
        discount=config.learner.discount,
    )


def _retrained(config: Imitate, run: RunFolder, scene: Scene, states: AgentState, reward: LearnedReward) -> Row:
    """The return of fresh policies that were trained on the frozen rewards."""
    backend = scene.backend
    learner = config.learner.make(backend.observation, backend.action)
    agent, begin = rewarded_by(learner, reward)
    start = jax.vmap(begin)(states, jax.random.split(run.key("retrain"), config.seeds))
    rounds = config.rounds()._replace(schedule=replace(config.schedule, steps=config.retrain))
    trained = backend.train(run, "retraining", agent, None, rounds, config.seeds, start=start)
    earned = backend.returns(agent, trained, run.key("retrain"), config.episodes, config.seeds)
    return retrained_row(earned)


def _learned(states: AgentState) -> dict[str, Any]:
    """Policies of all seeds with the moments that they read observations by, and rewards."""
    match states:
        case adversarial.State():
            return {"reward": states.params} | _learned(states.learner)
        case dagger.GuidedState():
            return _learned(states.learner.cloning.agent)
    return {"policy": states.params, "moments": states.moments._asdict()}


def _save(file: Path, tree: Any) -> None:
    """Tensors are named after their place in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    named = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}
    save_arrays(file, named)


def _finish(
    config: Imitate, run: RunFolder, headline: list[Row], frames: list[Record], command: str, seconds: float
) -> Path:
    report = {
        "title": config.title,
        "command": command,
        "information": DEMONSTRATIONS,
        "seeds": list(range(config.seeds)),
        "environment": config.environment.id,
        "headline": headline,
        "train_time": learning_curves(run, config.envs * config.time),
        "frames": frames,
        "throughput": run.throughput,
    }
    return finish_run(run, report, seconds)
