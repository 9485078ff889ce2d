"""What an imitation came to, as rows of a report: returns beside the expert's, learned rewards beside the true ones."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.arenas import Arena, of_seed, random_agent
from experiments.report import read_metrics
from experiments.run_folder import RunFolder
from irl.control.agent import Agent, AgentState
from irl.control.types import Transitions
from irl.evaluation.estimators import bootstrap_interval
from irl.evaluation.metrics import spearman

Row = dict[str, Any]
DEMONSTRATIONS = "demonstrations"


def return_rows(
    name: str, arena: Arena, earned: np.ndarray, expert: np.ndarray | None, run: RunFolder, episodes: int
) -> list[Row]:
    """Returns [seeds, episodes] beside the expert's, where they are known, and those of actions at random."""
    chance = arena.returns(random_agent(arena.action), None, run.key("random"), episodes, 1, explore=True)[0]
    seeds = len(earned)
    rows = [row(f"{name}: return", earned, DEMONSTRATIONS, f"{seeds} seeds, {episodes} episodes each")]
    rows.append(row(f"{name}: return of the worst seed", earned[earned.mean(axis=1).argmin()], DEMONSTRATIONS, ""))
    if expert is not None:
        rows.append(row("expert", expert, "none", "return"))
    rows.append(row("random actions", chance, "none", "return"))
    if expert is not None:
        low, high = chance.mean(), expert.mean()
        rows.append(row(f"{name}: normalised return", (earned - low) / (high - low), DEMONSTRATIONS, "expert 1"))
    return rows


def reward_rows(
    arena: Arena,
    agent: Agent,
    states: AgentState,
    reward: Callable[[AgentState, Transitions], jax.Array],
    seeds: int,
    envs: int,
    run: RunFolder,
) -> list[Row]:
    """What the learned reward says of each step beside the environment's, on data of two kinds of policy."""
    key = run.key("reward data")
    at_random = arena.rollout(random_agent(arena.action), None, key, envs)
    correlations: dict[str, list[float]] = {}
    of_steps = jax.jit(reward)
    for seed in range(seeds):
        state = of_seed(states, seed)
        own = arena.rollout(agent, state, jax.random.fold_in(key, seed), envs)
        kinds = {"random actions": at_random, "its own policy": own}
        learned = {kind: np.asarray(of_steps(state, made.transitions())) for kind, made in kinds.items()}
        true = {kind: np.asarray(made.reward).reshape(-1) for kind, made in kinds.items()}
        for kind in kinds:
            correlations.setdefault(f"on {kind}", []).append(_rank(learned[kind], true[kind]))
        together = [np.concatenate(list(part.values())) for part in (learned, true)]
        correlations.setdefault("on both", []).append(_rank(*together))
    rows = []
    for kind, values in correlations.items():
        known = np.array([v for v in values if np.isfinite(v)])
        if len(known):
            rows.append(row(f"learned and true reward of a step, {kind}", known, DEMONSTRATIONS, "rank correlation"))
    return rows


def _rank(learned: np.ndarray, true: np.ndarray) -> float:
    return float("nan") if np.ptp(true) == 0 or np.ptp(learned) == 0 else spearman(learned, true)


def retrained_row(earned: np.ndarray) -> Row:
    """Of fresh policies on frozen rewards, [seeds, episodes]."""
    return row("fresh policy on the frozen reward: return", earned, DEMONSTRATIONS, "retrained")


def row(name: str, values: np.ndarray, information: str, note: str) -> Row:
    """Mean and bootstrap interval of values [..., problems]."""
    mean, low, high = bootstrap_interval(np.asarray(values, np.float64))
    return {"name": name, "value": mean, "low": low, "high": high, "information": information, "note": note}


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
