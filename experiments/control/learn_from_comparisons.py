"""`traceward run` of preference comparisons in control: answers about fragments teach a reward, which teaches a policy.

Answers are given by a program that knows the environment's reward, all seeds side by side in one compiled program, or
by somebody: in files, or at the command line, one seed then. Reported: return of every seed beside that of actions at
random and of the same learner on the true reward, how learned and true reward of a step go together
(experiments/text_rewards/comparison_rows.py), and what a fresh policy earns by the frozen reward.
"""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.control.backends import InGraph, PureJax, Rounds, random_agent
from experiments.control.comparison_rows import PREFERENCES, TRUE, Row, correlation_rows, curves, return_rows
from experiments.core.finish import finish_run
from experiments.core.kinds import Run
from experiments.core.run_folder import RunFolder
from experiments.reporting.report import result_row
from irl.control.agent import Agent
from irl.control.algorithms.annotators import Gatherer, Synthetic, from_command_line, from_files
from irl.control.algorithms.preference_comparisons import PreferenceComparisons, State, learned_reward, with_gatherer
from irl.control.learners.ppo import Ppo
from irl.control.learners.reward_override import rewarded_by
from irl.control.rollout.in_graph import State as RunState
from irl.control.rollout.in_graph import collect, in_graph
from irl.control.types import Transitions
from irl.train import Schedule
from irl.types import InputError
from reward_models.folders.tensor_file import save_arrays
from reward_models.ranges import CountOrZero, Few, Rows, Size
from reward_models.records import record

STAGE, TRUTH, FRESH = "comparisons", "true reward", "frozen reward"


@record
class AnswerFiles:
    """Somebody writes answers_*.jsonl beside the queries_*.jsonl in the folder `queries` of the run."""

    def gatherer(self, folder: Path) -> Gatherer:
        return from_files(folder)


@record
class AnswersAtPrompt:
    """A person at the command line; what was answered is kept in the folder `queries` of the run."""

    rows: Rows = 10
    """Steps of a fragment that are shown."""

    def gatherer(self, folder: Path) -> Gatherer:
        return from_command_line(folder, rows=self.rows)


@record
class LearnFromComparisons(Run):
    """Preference comparisons in one pure-JAX environment."""

    title: str
    environment: PureJax = PureJax(id="Pendulum-v1")
    comparisons: PreferenceComparisons = PreferenceComparisons()
    answers: Synthetic | AnswerFiles | AnswersAtPrompt = Synthetic()
    learner: Ppo = Ppo()
    envs: Size = 8
    time: Size = 250
    """Steps of a rollout in each environment: a step of the schedule is `envs * time` steps of the environment."""
    schedule: Schedule = Schedule(steps=61, log_every=1, save_every=61)
    """Its first steps are the rounds that ask, the initial one included; the policy may go on after them."""
    truth: bool = True
    """The same learner is trained on the true reward, for comparison."""
    retrain: CountOrZero = 0
    """Rounds that a fresh policy is trained for on the frozen reward; 0: none is."""
    episodes: Rows = 500
    """Of each seed, for its return."""
    seeds: Few = 5

    def __post_init__(self):
        asking, length = len(self.comparisons.counts()), self.comparisons.length
        name = type(self).__name__
        if self.seeds != 1 and not isinstance(self.answers, Synthetic):
            kind = type(self.answers).__name__
            raise InputError(f"{name}.seeds: {kind} are of one training; set it to 1, not {self.seeds}")
        if self.time < length:
            raise InputError(f"{name}.time: expected at least {length}, the length of a fragment, got {self.time}")
        if self.schedule.steps < asking:
            told = f"expected {asking} or more, as the initial round and {asking - 1} others ask"
            raise InputError(f"{name}.schedule.steps: {told}; got {self.schedule.steps}")

    def rounds(self, steps: int | None = None) -> Rounds:
        schedule = self.schedule if steps is None else replace(self.schedule, steps=steps)
        return Rounds(self.envs, self.time, schedule)

    def run(self, folder: Path, command: str) -> Path:
        return run_learn_from_comparisons(self, folder, command)


def run_learn_from_comparisons(config: LearnFromComparisons, folder: Path, command: str) -> Path:
    """Run, or go on with, preference comparisons; returns the report. Unanswered: somebody has to answer first."""
    begun, run = time.perf_counter(), RunFolder(folder, 0)
    backend = config.environment.backend()
    learner = config.learner.make(backend.observation, backend.action)
    states = trained(config, run, backend, learner)
    seconds = time.perf_counter() - begun
    _save(run.folder / "rewards_and_policies.safetensors", states)
    headline = _headline(config, run, backend, learner, states)
    steps = config.schedule.steps * config.envs * config.time * config.seeds
    if seconds > 1:
        run.measured("environment steps, all seeds", steps, seconds, "start-up and compilation included")
    return _finish(config, run, headline, command, time.perf_counter() - begun)


def trained(config: LearnFromComparisons, run: RunFolder, backend: InGraph, learner: Agent) -> State:
    """Rewards and policies, with an axis of seeds."""
    if isinstance(config.answers, Synthetic):
        agent = config.comparisons.make(learner, backend.observation, backend.action, config.answers)
        return backend.train(run, STAGE, agent, None, config.rounds(), config.seeds)
    state = _asked(config, run, backend, learner, config.answers.gatherer(run.folder / "queries"))
    return jax.tree.map(lambda leaf: leaf[None], state)


def _asked(config: LearnFromComparisons, run: RunFolder, backend: InGraph, learner: Agent, gather: Gatherer) -> State:
    """One training with answers from outside, saved after every round."""
    agent = config.comparisons.make(learner, backend.observation, backend.action)
    parts, counts = config.comparisons.parts(learner, backend.observation, backend.action), config.comparisons.counts()
    counts += (0,) * (config.schedule.steps - len(counts))
    checkpoints, key = run.checkpoints(STAGE), run.key(STAGE)
    state = in_graph(backend.environment, agent, envs=config.envs, time=config.time).init(jax.random.fold_in(key, 0))
    if checkpoints.latest() is not None:
        state = checkpoints.restore(None, state).state

    def save(state: State, lanes: Any, info: dict[str, Any]) -> None:
        number, told = int(state.round), {name: float(value) for name, value in info.items()}
        if not np.isfinite(told["loss"]):
            raise InputError(
                f"round {number}: the loss is {told['loss']}; nothing of it was saved. Lower learning rates"
            )
        run.record(STAGE, number, told | {"return, seed 0": told["return"]})
        checkpoints.save(number, RunState(state, lanes))

    act = jax.jit(partial(collect, backend.environment, agent, time=config.time))
    return with_gatherer(parts, counts, gather, act, state.agent, state.lanes, key, save=save)[0]


def _save(file: Path, states: State) -> None:
    """Rewards and policies of all seeds with the moments that scale them, named after their place in the state."""
    reward, policy = ({"params": s.params, "moments": s.moments} for s in (states, states.learner))
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get({"reward": reward, "policy": policy}))
    named = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}
    save_arrays(file, named)


def _headline(
    config: LearnFromComparisons, run: RunFolder, backend: InGraph, learner: Agent, states: State
) -> list[Row]:
    """Every row of the report."""
    network, seeds = config.comparisons.network.make(backend.observation, backend.action), config.seeds

    def earned(stage: str, policies: Any) -> np.ndarray:
        return backend.returns(learner, policies, run.key(f"{stage}, evaluation"), config.episodes, seeds)

    def paid(state: State, transitions: Transitions) -> jax.Array:
        return learned_reward(network, state, transitions)

    rows = return_rows(earned(STAGE, states.learner))
    chance = backend.returns(random_agent(backend.action), None, run.key("random"), config.episodes, 1, explore=True)
    rows.append(result_row("actions at random: return", chance[0], "none"))
    if config.truth:
        policies = backend.train(run, TRUTH, learner, None, config.rounds(), seeds)
        rows.append(result_row("the same learner on the true reward: return", earned(TRUTH, policies), TRUE))
    rows += correlation_rows(backend.environment, learner, paid, states, run.key("steps"), seeds)
    if config.retrain:
        fresh_learner = replace(config.learner, decay=min(config.learner.decay, config.retrain))
        agent, begin = rewarded_by(fresh_learner.make(backend.observation, backend.action), paid)
        frozen = states._replace(opt_state=None, learner=None)
        start = jax.vmap(begin)(frozen, jax.random.split(run.key(FRESH), seeds))
        fresh = backend.train(run, FRESH, agent, None, config.rounds(config.retrain), seeds, start=start)
        rows.append(result_row("fresh policy on the frozen reward: return", earned(FRESH, fresh.learner), PREFERENCES))
    return [*rows, result_row("comparisons that were answered", np.asarray(states.data.known), PREFERENCES)]


def _finish(config: LearnFromComparisons, run: RunFolder, headline: list[Row], command: str, seconds: float) -> Path:
    report = {
        "title": config.title,
        "command": command,
        "information": PREFERENCES,
        "seeds": list(range(config.seeds)),
        "environment": config.environment.id,
        "headline": headline,
        "train_time": curves(run, STAGE, {TRUTH: "oracle", FRESH: "baseline"}, config.envs * config.time),
        "throughput": run.throughput,
    }
    return finish_run(run, report, seconds)
