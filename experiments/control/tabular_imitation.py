"""`traceward run` of inverse RL in tabular worlds, where exact comparison with the truth is possible.

The expert is the soft-optimal policy of the true reward. Maximum causal entropy IRL, and MaxEnt IRL for comparison,
learn a reward twice: from the expert's exact occupancy, where the optimum is known in closed form (the learned policy
has the same occupancy), and from demonstrations, sampled anew for every seed. Regularisation (`l2`) applies to
demonstrations only, which may not visit all states. All computations are in float64.

Reported for the soft-optimal policy of each learned reward, in the true dynamics:

    occupancy error    largest |mu_pi(s, a) - mu_E(s, a)|
    regret             the expert's true discounted return minus that of the policy
    EPIC, STARC        distances of the learned to the true reward, exact, STARC minimal: with uniform weights, and
                       weighted by the expert's transitions. STARC requires a discount below 1
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.core.frame import Results, StagedRun
from experiments.core.run_folder import RunFolder
from experiments.reporting.report_records import result_row
from irl.algorithms.base import Algorithm
from irl.control.tabular.base import TabularIrl
from irl.control.tabular.cliff_world import CliffWorld
from irl.control.tabular.demonstrations import empirical_transitions, length, sample
from irl.control.tabular.full_batch import Fitted, minimise
from irl.control.tabular.maxent_irl import MaxEntIrl
from irl.control.tabular.mce_irl import MceIrl
from irl.control.tabular.mdp import (
    TabularMdp,
    TabularWorld,
    WorldConfig,
    check,
    check_reward,
    occupancy,
    policy_value,
    soft_value_iteration,
    start_value,
    transition_occupancy,
    transition_reward,
)
from irl.control.tabular.rewards import LinearReward, TabularReward, TabularRewardConfig
from irl.evaluation.reward_distance import Dynamics, epic_distance, minimal, starc_distance
from irl.types import InputError
from reward_models.folders.tensor_file import save_arrays
from reward_models.ranges import Count, Few, Positive, Rows, Size
from reward_models.records import record

Row = dict[str, Any]
INFORMATION = "demonstrations"


@record
class TabularImitation(StagedRun[RunFolder]):
    """MCE-IRL, and MaxEnt IRL for comparison, in one tabular world."""

    title: str
    world: WorldConfig = CliffWorld()
    reward: TabularRewardConfig = LinearReward()
    one_hot: bool = True
    """One parameter per state, instead of the features of the world."""
    mce: MceIrl = MceIrl(l2=1e-3)
    maxent: MaxEntIrl | None = MaxEntIrl(l2=1e-3)
    """None for worlds with an infinite horizon, which it does not support."""
    demonstrations: Rows = 100
    """Trajectories per seed."""
    episode: Size | None = None
    """Length of trajectories if the horizon is infinite."""
    steps: Count = 1000
    """Most steps of the optimiser."""
    tolerance: Positive = 1e-8
    """Tolerance of the gradient norm."""
    seeds: Few = 5

    def open(self, folder: Path) -> RunFolder:
        return RunFolder(folder, 0)

    def stages(self, run: RunFolder) -> Results:
        return imitate(self, run)


class Expert(NamedTuple):
    """The soft-optimal policy of the true reward."""

    transitions: Float[Array, "states actions states"]
    policy: Float[Array, "*time states actions"]
    value: float

    @property
    def occupancy(self) -> Float[Array, "states actions"]:
        return self.transitions.sum(axis=-1)


class Method(NamedTuple):
    """An algorithm with and without regularisation."""

    name: str
    settings: TabularIrl
    exact: Algorithm
    regularised: Algorithm
    reward: TabularReward

    def fit(self, algorithm: Algorithm, counts: Array, key: jax.Array, config: TabularImitation) -> Fitted:
        batch = self.settings.statistics(counts)
        return minimise(algorithm, batch, key, steps=config.steps, tolerance=config.tolerance)


def imitate(config: TabularImitation, run: RunFolder) -> Results:
    """Learn and compare. A run takes seconds, so an interrupted one starts from the beginning."""
    with jax.enable_x64(True):
        world = config.world.make()
        check(world.mdp)
        check_reward(world.mdp, world.reward)
        methods, expert = _methods(config, world), _expert(world)
        counts = _sampled_counts(config, world.mdp, expert, run)
        headline = _references(config, world, expert, counts)
        tables = {"true reward": world.reward}
        for method in methods:
            exact = method.fit(method.exact, expert.transitions, run.key("exact"), config)
            fitted = [method.fit(method.regularised, each, run.key("demonstrations"), config) for each in counts]
            rewards = [method.reward.apply(each.params) for each in (exact, *fitted)]
            headline += _rows(f"{method.name}, exact occupancy", config, world, expert, [exact], rewards[:1])
            headline += _rows(f"{method.name}, demonstrations", config, world, expert, fitted, rewards[1:])
            tables |= {f"{method.name}, exact": rewards[0], f"{method.name}, demonstrations": jnp.stack(rewards[1:])}
        maps = _maps(world, expert, tables)
        save_arrays(run.folder / "rewards.safetensors", {name: np.asarray(t) for name, t in tables.items()})
    parts = {"environment": type(config.world).__name__, "maps": maps}
    return Results(headline=headline, information=INFORMATION, seeds=range(config.seeds), parts=parts)


def _expert(world: TabularWorld) -> Expert:
    policy = soft_value_iteration(world.mdp, world.reward).policy
    return Expert(transition_occupancy(world.mdp, policy), policy, _return(world, policy))


def _return(world: TabularWorld, policy: Array) -> float:
    return float(start_value(world.mdp, policy_value(world.mdp, world.reward, policy)))


def _sampled_counts(config: TabularImitation, mdp: TabularMdp, expert: Expert, run: RunFolder) -> list[Array]:
    """Counts of transitions in the demonstrations of each seed."""
    length("TabularImitation.episode", mdp, config.episode)
    draw = partial(sample, mdp, expert.policy, count=config.demonstrations, steps=config.episode)
    keys = jax.random.split(run.key("demonstrations"), config.seeds)
    return [empirical_transitions(mdp, draw(key=key)) for key in keys]


def _methods(config: TabularImitation, world: TabularWorld) -> list[Method]:
    if config.maxent is not None and world.mdp.horizon is None:
        raise InputError("TabularImitation.maxent: expected None with an infinite horizon; set it so, or a horizon")
    reward = config.reward.make(jnp.eye(world.mdp.states) if config.one_hot else world.features)
    settings = {"MCE-IRL": config.mce} | ({} if config.maxent is None else {"MaxEnt IRL": config.maxent})
    return [
        Method(name, each, replace(each, l2=0.0).make(world.mdp, reward), each.make(world.mdp, reward), reward)
        for name, each in settings.items()
    ]


def _references(config: TabularImitation, world: TabularWorld, expert: Expert, counts: list[Array]) -> list[Row]:
    """Returns of the expert and of random actions, and the sampling error of the demonstrations."""
    errors = [float(jnp.abs(each.sum(axis=-1) - expert.occupancy).max()) for each in counts]
    uniform = jnp.full((world.mdp.states, world.mdp.actions), 1 / world.mdp.actions)
    note = f"{config.demonstrations} per seed"
    return [
        result_row("expert: true return", [expert.value], "none", "soft-optimal, discounted"),
        result_row("random actions: true return", [_return(world, uniform)], "none", "discounted"),
        result_row("demonstrations themselves: occupancy error", errors, "none", note),
    ]


def _rows(
    name: str, config: TabularImitation, world: TabularWorld, expert: Expert, fitted: list[Fitted], rewards: list[Array]
) -> list[Row]:
    """Means over fits of the quantities in the module docstring."""
    converged = sum(bool(each.converged) for each in fitted)
    notes = {"occupancy error": f"{converged} of {len(fitted)} within the tolerance, {config.tolerance:g}"}
    each = [_numbers(world, expert, reward) for reward in rewards]
    return [
        result_row(f"{name}: {what}", [numbers[what] for numbers in each], INFORMATION, notes.get(what, ""))
        for what in each[0]
    ]


def _numbers(world: TabularWorld, expert: Expert, reward: Array) -> dict[str, float]:
    policy = soft_value_iteration(world.mdp, reward).policy
    error = float(jnp.abs(occupancy(world.mdp, policy) - expert.occupancy).max())
    regret = expert.value - _return(world, policy)
    return {"occupancy error": error, "regret": regret} | _distances(world, expert, reward)


def _distances(world: TabularWorld, expert: Expert, reward: Array) -> dict[str, float]:
    """Exact distances: 0 same preferences, 1 opposite ones."""
    learned, true = (np.asarray(transition_reward(world.mdp, table)) for table in (reward, world.reward))
    discount, weights = float(world.mdp.discount), np.asarray(expert.transitions / expert.transitions.sum())
    distances = {
        "EPIC distance": epic_distance(learned, true, discount),
        "EPIC distance, weighted by the expert": epic_distance(learned, true, discount, coverage=weights),
    }
    if discount == 1:
        return distances
    dynamics, pairs = Dynamics(np.asarray(world.mdp.transition), discount), weights.sum(axis=-1)
    return distances | {
        "STARC distance": starc_distance(learned, true, dynamics, minimal),
        "STARC distance, weighted by the expert": starc_distance(learned, true, dynamics, minimal, pairs),
    }


def _maps(world: TabularWorld, expert: Expert, tables: dict[str, Array]) -> list[dict[str, Any]]:
    """Maps of rewards, from demonstrations those of the first seed, and of the expert's visits."""
    width = world.width or world.mdp.states
    maps = {name: table[0] if table.ndim == 2 else table for name, table in tables.items()}
    maps["the expert's visits to a state"] = expert.occupancy.sum(axis=-1)
    panels = [{"name": name, "cells": np.asarray(t).reshape(-1, width).tolist()} for name, t in maps.items()]
    return [{"name": "rewards of states", "panels": panels}]
