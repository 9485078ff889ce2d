"""Rows and curves of the report of a control run: returns, and learned rewards compared with true ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.control.backends import Backend, of_seed
from experiments.control.reward_truth import of_rollout, of_trajectories, truth_rows
from experiments.control.true_rewards import TrueReward
from experiments.core.run_folder import RunFolder
from experiments.reporting.report_records import read_metrics, result_row
from irl.control.agent import Agent, AgentState, random_agent
from irl.control.trajectories.trajectory import Trajectory
from irl.control.types import Transitions

Row = dict[str, Any]
DEMONSTRATIONS, PREFERENCES, TRUE = "demonstrations", "preferences", "true reward"


def random_returns(backend: Backend, run: RunFolder, episodes: int) -> np.ndarray:
    """Returns of random actions."""
    return backend.returns(random_agent(backend.action), None, run.key("random"), episodes, 1, explore=True)[0]


def return_rows(
    name: str, backend: Backend, returns: np.ndarray, expert: np.ndarray | None, run: RunFolder, episodes: int
) -> list[Row]:
    """Returns [seeds, episodes] of an imitator, of the expert if known, and of random actions."""
    random = random_returns(backend, run, episodes)
    seeds = len(returns)
    worst = returns[returns.mean(axis=1).argmin()]
    rows = [
        result_row(f"{name}: return", returns, DEMONSTRATIONS, f"{seeds} seeds, {episodes} episodes each"),
        result_row(f"{name}: return of the worst seed", worst, DEMONSTRATIONS, ""),
    ]
    if expert is not None:
        rows.append(result_row("expert", expert, "none", "return"))
    rows.append(result_row("random actions", random, "none", "return"))
    if expert is not None and expert.mean() != random.mean():
        low, high = random.mean(), expert.mean()
        normalised = (returns - low) / (high - low)
        rows.append(result_row(f"{name}: normalised return", normalised, DEMONSTRATIONS, "expert 1"))
    return rows


def reward_rows(
    backend: Backend,
    agent: Agent,
    states: AgentState,
    reward: Callable[[AgentState, Transitions], jax.Array],
    seeds: int,
    envs: int,
    run: RunFolder,
    information: str,
    *,
    discount: float,
    expert: Sequence[Trajectory] = (),
    true: TrueReward | None = None,
) -> list[Row]:
    """The learned reward of every seed against the true one, on steps of random actions, the policy and the expert.

    `expert` are episodes with rewards, if any; `true` is the environment's reward as a function, if known.
    """
    key = run.key("reward data")
    shared = {"random actions": of_rollout(backend.rollout(random_agent(backend.action), None, key, envs))}
    if expert:
        shared["the expert"] = of_trajectories(expert)
    compiled = jax.jit(reward)
    learned, data = [], []
    for seed in range(seeds):
        state = of_seed(states, seed)
        policy = of_rollout(backend.rollout(agent, state, jax.random.fold_in(key, seed), envs))
        learned.append(partial(compiled, state))
        data.append({**shared, "its own policy": policy})
    return truth_rows(learned, data, min(discount, 0.999), information, true=true)


def curves(
    run: RunFolder, stage: str, steps_each: int, references: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Training curves: returns of every seed, and of the stages `references` (name -> role); correlations of rewards.

    `steps_each` is the number of environment steps per step of the schedule.
    """
    metrics = read_metrics(run.folder / "metrics.jsonl")

    def curve(name: str, role: str, values: Mapping[int, float | None]) -> dict[str, Any]:
        x, y = [step * steps_each for step in values], list(values.values())
        return {"name": name, "role": role, "x": x, "y": y}

    returns, correlations = [], []
    for each, logged in sorted(metrics.items()):
        prefix, _, seed = each.partition("-seed-")
        if prefix != stage:
            continue
        for name, values in logged.items():
            if (name == "return" and seed) or name.startswith("return, seed"):
                returns.append(curve(f"return, seed {seed}" if seed else name, "learned", values))
        if "reward_correlation" in logged:
            correlations.append(curve("mean of seeds", "learned", logged["reward_correlation"]))
    returns += [
        curve(name, role, metrics[name]["return"]) for name, role in (references or {}).items() if name in metrics
    ]
    panels = [("return", returns), ("correlation of learned and true reward in a round", correlations)]
    return [
        {"name": name, "x_label": "steps of the environment", "y_label": name.split()[0], "series": series}
        for name, series in panels
        if series
    ]
