"""What preference comparisons came to, as rows and curves of a report.

Learned and true reward of a step are set beside each other on actions at random and on what each policy does while it
explores: Pearson's correlation, which a reward's scale and offset do not change, and Spearman's of ranks.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from experiments.control.backends import random_agent
from experiments.core.run_folder import RunFolder
from experiments.reporting.report import read_metrics, result_row
from irl.control.agent import Agent
from irl.control.algorithms.preference_comparisons import State
from irl.control.environments.base import Environment
from irl.control.rollout.in_graph import begin, collect
from irl.control.types import Transitions
from irl.evaluation.metrics import spearman

Row = dict[str, Any]
PREFERENCES, TRUE = "preferences", "true reward"
EPISODES = 40
"""Of each policy, for correlations."""


def return_rows(earned: Float[np.ndarray, "seeds episodes"]) -> list[Row]:
    """Of all seeds, and of each."""
    seeds, episodes = earned.shape
    rows = [result_row("return", earned, PREFERENCES, f"{seeds} seeds, {episodes} episodes each")]
    return rows + [result_row(f"return, seed {seed}", values, PREFERENCES) for seed, values in enumerate(earned)]


def correlation_rows(
    environment: Environment,
    learner: Agent,
    paid: Callable[[State, Transitions], jax.Array],
    states: State,
    key: jax.Array,
    seeds: int,
) -> list[Row]:
    """Of `paid(state, transitions)` and the environment's reward; seeds where either is constant are left out."""
    keys = jax.random.split(key, seeds)
    rows = []
    for policy, agent in (("actions at random", random_agent(environment.action)), ("its own policy", learner)):
        both = jax.jit(jax.vmap(partial(_both_rewards, environment, agent, paid)))(states, keys)
        pairs = [(np.asarray(learned), np.asarray(true)) for learned, true in zip(*both, strict=True)]
        pairs = [pair for pair in pairs if min(map(np.ptp, pair)) > 0]
        for measure, note in ((_pearson, "Pearson's"), (spearman, "Spearman's")):
            if pairs:
                name = f"learned and true reward of a step, {policy}: {note} correlation"
                rows.append(result_row(name, np.array([measure(*pair) for pair in pairs]), PREFERENCES))
    return rows


def _both_rewards(
    environment: Environment,
    agent: Agent,
    paid: Callable[[State, Transitions], jax.Array],
    state: State,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Learned and true reward of every step of EPISODES."""
    of_lanes, of_steps = jax.random.split(key)
    lanes = begin(environment, EPISODES, of_lanes)
    made = collect(environment, agent, state.learner, lanes, of_steps, environment.horizon)[1]
    return paid(state, made.transitions()), made.reward.reshape(-1)


def _pearson(learned: np.ndarray, true: np.ndarray) -> float:
    return float(np.corrcoef(learned, true)[0, 1])


def curves(run: RunFolder, learned: str, beside: Mapping[str, str], steps_each: int) -> list[dict[str, Any]]:
    """Returns while learning, of each seed, and the mean of the stages `beside` by their role; how the reward fits."""
    logged = read_metrics(run.folder / "metrics.jsonl")
    own = logged.get(learned, {})
    returns = [_curve(name, "learned", y, steps_each) for name, y in own.items() if name.startswith("return, seed ")]
    done = [(stage, role) for stage, role in beside.items() if stage in logged]
    returns += [_curve(stage, role, logged[stage]["return"], steps_each) for stage, role in done]
    fit = [_curve("mean of seeds", "learned", own["reward_correlation"], steps_each)] if own else []
    panels = [("return", returns), ("correlation of learned and true reward in a round", fit)]
    return [
        {"name": name, "x_label": "steps of the environment", "y_label": name.split()[0], "series": series}
        for name, series in panels
        if series
    ]


def _curve(name: str, role: str, values: Mapping[int, float | None], steps_each: int) -> dict[str, Any]:
    x, y = [step * steps_each for step in values], list(values.values())
    return {"name": name, "role": role, "x": x, "y": y}
