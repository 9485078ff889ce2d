"""`traceward run` of imitation in control: learn a policy and a reward from demonstrations.

Pure-JAX environments train all seeds in one program; Gymnasium environments are stepped on the host (backends.py).
Reported are the returns of every seed, of the expert and of random actions, and, for imitators that learn a reward, its
agreement with the true reward (result_rows.py). The environment's own reward is never an input of an imitator; it is
recorded for the report only.
"""

import time
from collections.abc import Callable
from dataclasses import field, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.control.backends import Backend, EnvironmentConfig, PureJax, of_seed
from experiments.control.control_run import ControlRun, returns_on_frozen_reward, save_tree
from experiments.control.expert import Demonstrations, ExpertSource, TrainedExpert
from experiments.control.frame_strip import reading
from experiments.control.result_rows import DEMONSTRATIONS, Row, curves, return_rows, reward_rows
from experiments.control.true_rewards import TRUE_REWARDS
from experiments.core.frame import Results
from experiments.core.run_folder import RunFolder
from experiments.reporting.report_records import result_row
from irl.algorithms.base import Algorithm
from irl.control.agent import Agent, AgentState
from irl.control.algorithms.base import ImitationProblem, Imitator, LearnedReward
from irl.control.algorithms.behavioural_cloning import BehaviouralCloning, train_epochs
from irl.control.algorithms.gail import Gail
from irl.control.environments.absorbing import absorbing_trajectory
from irl.control.environments.scaled import moments_of, scaled, unscaled
from irl.control.learners.base import Learner
from irl.control.learners.ppo import Ppo
from irl.control.spaces import Discrete, Space
from irl.control.trajectories.trajectory import Trajectory, to_transitions
from irl.control.types import Transitions
from irl.train import Schedule
from irl.types import InputError
from reward_models.ranges import CountOrZero, Few, Rows, Size
from reward_models.records import record


@record
class Imitate(ControlRun):
    """One imitator in one environment."""

    information: ClassVar[str] = DEMONSTRATIONS

    title: str
    environment: EnvironmentConfig = PureJax()
    expert: ExpertSource = field(default_factory=lambda: TrainedExpert())
    imitator: Imitator = Gail()
    learner: Learner = Ppo()
    """Trained by GAIL, AIRL and density; the policy of behavioural cloning and DAgger."""
    warm_start: CountOrZero = 0
    """Epochs of behavioural cloning for the initial policy of GAIL, AIRL, density or DAgger."""
    envs: Size = 8
    time: Size = 256
    """Steps of a rollout in each environment: a step of the schedule is `envs * time` environment steps.

    SQIL and IQ-Learn train a fixed number of minibatches per rollout: use rollouts of 8 steps, or more updates.
    """
    schedule: Schedule = Schedule(steps=65, log_every=5, save_every=65)
    scale: bool = True
    """Standardise observations by the demonstrations."""
    absorbing: bool = False
    """Add absorbing states, for tasks with variable-length episodes."""
    retrain: CountOrZero = 0
    """Rounds of training of a new policy on the frozen reward; 0: none."""
    episodes: Rows = 100
    """Evaluation episodes per seed."""
    seeds: Few = 5

    def stages(self, run: RunFolder) -> Results:
        return imitate(self, run)


class Setting(NamedTuple):
    """The environment and demonstrations with transformed observations."""

    backend: Backend
    trajectories: list[Trajectory]
    demonstrations: Transitions
    transform: Callable[[Any], jax.Array]
    """Observations of the environment -> inputs of the imitator."""
    inverse: Callable[[Any], jax.Array]
    expert_policy: Callable[[Any, jax.Array], jax.Array] | None
    """(state of the expert, transformed observations) -> its actions, if it can be queried"""
    expert_state: AgentState


def imitate(config: Imitate, run: RunFolder) -> Results:
    """Run or resume an imitation."""
    environment = config.environment.backend()
    demonstrations = config.expert.run(run, environment)
    setting = prepare(config, environment, demonstrations)
    agent, reward = agent_of(config, setting)
    training = time.perf_counter()
    states = _train(config, run, setting, agent)
    seconds = time.perf_counter() - training
    name, backend, seeds = type(config.imitator).__name__, setting.backend, config.seeds
    returns = backend.returns(agent, states, run.key("evaluation"), config.episodes, seeds)
    headline = return_rows(name, backend, returns, demonstrations.returns, run, config.episodes)
    if reward is not None:
        headline += _reward_rows(config, run, setting, agent, states, reward)
    if reward is not None and config.retrain:
        learner, keys = config.learner.make(backend.observation, backend.action), ("retrain", "retrain")
        retrained = returns_on_frozen_reward(config, run, backend, learner, reward, states, "retraining", keys)
        headline.append(result_row("fresh policy on the frozen reward: return", retrained, DEMONSTRATIONS, "retrained"))
    save_tree(run.folder / "imitators.safetensors", agent.learned(states))
    config.measure(run, seconds)
    transformed = reading(agent, setting.transform)
    frames = environment.frames(
        run, f"{name} in {environment.name}", transformed, of_seed(states, 0), run.key("frames")
    )
    train_time = curves(run, "imitation", config.envs * config.time)
    return config.results(headline, train_time=train_time, frames=frames)


def prepare(config: Imitate, environment: Backend, demonstrations: Demonstrations) -> Setting:
    """Transform the observations of environment and demonstrations."""
    backend, trajectories = environment, demonstrations.trajectories
    transform = inverse = lambda observations: observations
    if config.scale:
        moments = moments_of(environment.observation, to_transitions(trajectories))
        backend = environment.standardised(moments)
        transform, inverse = (partial(f, environment.observation, moments) for f in (scaled, unscaled))
        trajectories = [replace(t, observations=np.asarray(transform(t.observations))) for t in trajectories]
    if config.absorbing:
        trajectories = [_absorbing(backend, t) for t in trajectories]
        transform, inverse = _with_indicator(backend.observation, transform, inverse)
        backend = backend.with_absorbing_end()
    transitions = jax.tree.map(jnp.asarray, to_transitions(trajectories))
    setting = Setting(backend, trajectories, transitions, transform, inverse, None, None)
    if demonstrations.expert is None:
        return setting
    agent, state = demonstrations.expert
    return setting._replace(expert_policy=lambda state, x: agent.greedy(state, inverse(x)), expert_state=state)


def _absorbing(backend: Backend, trajectory: Trajectory) -> Trajectory:
    observations, actions = absorbing_trajectory(
        backend.observation,
        trajectory.observations,
        trajectory.actions,
        terminal=trajectory.terminal,
        horizon=backend.horizon,
    )
    return replace(trajectory, observations=observations, actions=actions, terminal=False, rewards=None, infos=None)


def _with_indicator(space: Space, transform: Callable, inverse: Callable) -> tuple[Callable, Callable]:
    """Both functions with the indicator coordinate of the absorbing state."""
    if isinstance(space, Discrete):
        return transform, inverse
    return lambda x: jnp.pad(transform(x), ((0, 0), (0, 1))), lambda x: inverse(x[..., :-1])


def agent_of(config: Imitate, setting: Setting) -> tuple[Agent, LearnedReward | None]:
    """The imitator as an agent, and its learned reward, if it has one."""
    observation, action = setting.backend.observation, setting.backend.action
    learner = config.learner.make(observation, action)
    problem = ImitationProblem(observation, action, setting.demonstrations, setting.expert_policy, setting.expert_state)
    return config.imitator.imitate(learner, problem)


def _train(config: Imitate, run: RunFolder, setting: Setting, agent: Agent) -> AgentState:
    """The states of the trained agent, with an axis of seeds."""
    offline = config.imitator.offline(agent, setting.backend.action)
    if offline is not None:
        return cloned(config, run, setting, offline, config.schedule.steps)
    start = warm(config, run, setting, agent) if config.warm_start else None
    return setting.backend.train(
        run, "imitation", agent, setting.demonstrations, config.rounds(), config.seeds, start=start
    )


def cloned(config: Imitate, run: RunFolder, setting: Setting, algorithm: Algorithm, epochs: int) -> AgentState:
    """States of an agent, trained offline on the demonstrations, with an axis of seeds."""
    keys = jax.random.split(run.key("imitation"), config.seeds)
    fit = partial(train_epochs, algorithm, demonstrations=setting.demonstrations, epochs=epochs)
    states = [fit(algorithm.init(key), key=key)[0].agent for key in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def warm(config: Imitate, run: RunFolder, setting: Setting, agent: Agent) -> AgentState:
    """Initial states of the agent with cloned policies."""
    if not config.imitator.trains_learner:
        name = type(config.imitator).__name__
        raise InputError(f"warm_start: {name} does not train `learner`, whose policy is cloned; set warm_start 0")
    action = setting.backend.action
    learner = config.learner.make(setting.backend.observation, action)
    clones = cloned(config, run, setting, BehaviouralCloning().make(learner, action), config.warm_start)
    initial = jax.vmap(agent.init)(jax.random.split(run.key("warm start"), config.seeds))
    return agent.with_params(initial, clones.params)


def _reward_rows(
    config: Imitate, run: RunFolder, setting: Setting, agent: Agent, states: AgentState, reward: LearnedReward
) -> list[Row]:
    """With absorbing states, the true reward after termination is undefined: there is no EPIC and no expert data."""
    known = None if config.absorbing else TRUE_REWARDS.get(config.environment.id)

    def true(steps: Transitions) -> jax.Array:
        assert known is not None
        observation, following = setting.inverse(steps.observation), setting.inverse(steps.next_observation)
        return known(steps._replace(observation=observation, next_observation=following))

    return reward_rows(
        setting.backend,
        agent,
        states,
        reward,
        config.seeds,
        config.envs,
        run,
        DEMONSTRATIONS,
        discount=config.learner.discount,
        expert=[t for t in setting.trajectories if t.rewards is not None],
        true=None if known is None else true,
    )
