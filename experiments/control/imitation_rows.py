"""What an imitation came to, as rows of a report: returns beside the expert's, learned rewards beside the true ones."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.control.backends import Backend, of_seed, random_agent
from experiments.control.reward_truth import of_rollout, of_trajectories, truth_rows
from experiments.control.true_rewards import TrueReward
from experiments.core.run_folder import RunFolder
from experiments.reporting.report import read_metrics, result_row
from irl.control.agent import Agent, AgentState
from irl.control.trajectories.trajectory import Trajectory
from irl.control.types import Transitions

Row = dict[str, Any]
DEMONSTRATIONS = "demonstrations"


def return_rows(
    name: str, backend: Backend, earned: np.ndarray, expert: np.ndarray | None, run: RunFolder, episodes: int
) -> list[Row]:
    """Returns [seeds, episodes] beside the expert's, where they are known, and those of actions at random."""
    chance = backend.returns(random_agent(backend.action), None, run.key("random"), episodes, 1, explore=True)[0]
    seeds = len(earned)
    rows = [result_row(f"{name}: return", earned, DEMONSTRATIONS, f"{seeds} seeds, {episodes} episodes each")]
    rows.append(
        result_row(f"{name}: return of the worst seed", earned[earned.mean(axis=1).argmin()], DEMONSTRATIONS, "")
    )
    if expert is not None:
        rows.append(result_row("expert", expert, "none", "return"))
    rows.append(result_row("random actions", chance, "none", "return"))
    if expert is not None and expert.mean() != chance.mean():
        low, high = chance.mean(), expert.mean()
        rows.append(result_row(f"{name}: normalised return", (earned - low) / (high - low), DEMONSTRATIONS, "expert 1"))
    return rows


def reward_rows(
    backend: Backend,
    agent: Agent,
    states: AgentState,
    reward: Callable[[AgentState, Transitions], jax.Array],
    seeds: int,
    envs: int,
    run: RunFolder,
    *,
    expert: Sequence[Trajectory],
    true: TrueReward | None,
    discount: float,
) -> list[Row]:
    """The learned reward of every seed beside the true one, on steps of random actions, its policy and the expert.

    `expert` are episodes with rewards, or none; `true` the environment's reward as a function, where it is known.
    """
    key = run.key("reward data")
    shared = {"random actions": of_rollout(backend.rollout(random_agent(backend.action), None, key, envs))}
    if expert:
        shared["the expert"] = of_trajectories(expert)
    of_steps = jax.jit(reward)
    learned, visited = [], []
    for seed in range(seeds):
        state = of_seed(states, seed)
        own = of_rollout(backend.rollout(agent, state, jax.random.fold_in(key, seed), envs))
        learned.append(partial(of_steps, state))
        visited.append({**shared, "its own policy": own})
    return truth_rows(learned, visited, min(discount, 0.999), DEMONSTRATIONS, true=true)


def retrained_row(earned: np.ndarray) -> Row:
    """Of fresh policies on frozen rewards, [seeds, episodes]."""
    return result_row("fresh policy on the frozen reward: return", earned, DEMONSTRATIONS, "retrained")


def learning_curves(run: RunFolder, steps_each: int) -> list[dict[str, Any]]:
    """Returns of every seed, exploring, against steps of its environments."""
    series = []
    for stage, found in sorted(read_metrics(run.folder / "metrics.jsonl").items()):
        stage, _, seed = stage.partition("-seed-")
        if stage != "imitation":
            continue
        for name, values in found.items():
            if (name == "return" and seed) or name.startswith("return, seed"):
                label = f"return, seed {seed}" if seed else name
                x, y = [step * steps_each for step in values], list(values.values())
                series.append({"name": label, "role": "learned", "x": x, "y": y})
    panel = {"name": "return", "x_label": "steps of the environment", "y_label": "return", "series": series}
    return [panel] if series else []
