"""`traceward run` of inverse RL in tables, where everything can be compared with the truth exactly.

The expert is the soft-optimal policy of the true reward. Maximum causal entropy IRL, and MaxEnt IRL on paths beside it,
learn a reward of states twice: from the expert's exact occupancy measure, where the closed form is known (the learned
policy must visit what the expert visits), and from demonstrations drawn anew for every seed, beside the error that the
demonstrations themselves have. Regularisation (`l2`) is for demonstrations, which may leave states unseen; the exact
occupancy is matched without. All in float64.

Reported of the soft-optimal policy of each learned reward, in the true dynamics:

    occupancy error    largest |mu_pi(s, a) - mu_E(s, a)|
    regret             the expert's true return less the policy's, discounted
    EPIC, STARC        of the learned and the true reward, exact, STARC minimal: with all transitions alike, and weighed
                       by how often the expert makes them. STARC needs a discount below 1
"""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.core.finish import finish_run
from experiments.core.kinds import Run
from experiments.core.run_folder import RunFolder
from experiments.reporting.report import result_row
from irl.algorithms.base import Algorithm
from irl.control.tabular.cliff_world import CliffWorld
from irl.control.tabular.demonstrations import Trajectories, empirical_transitions, length, sample
from irl.control.tabular.full_batch import Fitted, minimise
from irl.control.tabular.maxent_irl import MaxEntIrl
from irl.control.tabular.mce_irl import MceIrl
from irl.control.tabular.mdp import (
    TabularMdp,
    TabularWorld,
    check,
    occupancy,
    policy_value,
    soft_value_iteration,
    start_value,
    transition_occupancy,
    transition_reward,
)
from irl.control.tabular.random_mdp import RandomMdp
from irl.control.tabular.rewards import LinearReward, MlpReward, TabularReward
from irl.evaluation.reward_distance import Dynamics, epic_distance, minimal, starc_distance
from irl.types import InputError
from reward_models.folders.tensor_file import save_arrays
from reward_models.ranges import Count, Few, Positive, Rows, Size
from reward_models.records import record

Row = dict[str, Any]
INFORMATION = "demonstrations"


@record
class TabularImitation(Run):
    """MCE-IRL, and MaxEnt IRL beside it, in one tabular world."""

    title: str
    world: CliffWorld | RandomMdp = CliffWorld()
    reward: LinearReward | MlpReward = LinearReward()
    one_hot: bool = True
    """Every state has a reward of its own; otherwise the reward reads the world's features."""
    mce: MceIrl = MceIrl(l2=1e-3)
    maxent: MaxEntIrl | None = MaxEntIrl(l2=1e-3)
    """None: left out, as it has to be where the horizon is infinite."""
    demonstrations: Rows = 100
    """Trajectories of each seed."""
    episode: Size | None = None
    """Their steps where the horizon is infinite."""
    steps: Count = 1000
    """Of the optimiser, at most."""
    tolerance: Positive = 1e-8
    """Of the gradient's norm, in visits."""
    seeds: Few = 5

    def run(self, folder: Path, command: str) -> Path:
        return run_tabular_imitation(self, folder, command)


class Expert(NamedTuple):
    """What the soft-optimal policy of the true reward does."""

    transitions: Float[Array, "states actions states"]
    policy: Float[Array, "*time states actions"]
    earned: float

    @property
    def occupancy(self) -> Float[Array, "states actions"]:
        return self.transitions.sum(axis=-1)


class Method(NamedTuple):
    """One way to learn a reward. The batch of its steps is made of counts of transitions."""

    name: str
    exact: Algorithm
    of_demonstrations: Algorithm
    reward: TabularReward
    pairs: bool
    """It reads counts of (s, a), not of (s, a, s')."""

    def fit(self, algorithm: Algorithm, counts: Array, key: jax.Array, config: TabularImitation) -> Fitted:
        batch = counts.sum(axis=-1) if self.pairs else counts
        return minimise(algorithm, batch, key, steps=config.steps, tolerance=config.tolerance)


def run_tabular_imitation(config: TabularImitation, folder: Path, command: str) -> Path:
    """Learn and compare; returns the report. A run takes seconds: one that was stopped begins anew."""
    begun, run = time.perf_counter(), RunFolder(folder, 0)
    with jax.enable_x64(True):
        world = config.world.make()
        check(world.mdp)
        methods, expert = _methods(config, world), _expert(world)
        shown = _demonstrated(config, world.mdp, expert, run)
        headline = _references(config, world, expert, shown)
        tables = {"true reward": world.reward}
        for method in methods:
            exact = method.fit(method.exact, expert.transitions, run.key("exact"), config)
            fitted = [
                method.fit(method.of_demonstrations, counts, run.key("demonstrations"), config) for counts in shown
            ]
            rewards = [method.reward.apply(each.params) for each in (exact, *fitted)]
            headline += _rows(f"{method.name}, exact occupancy", config, world, expert, [exact], rewards[:1])
            headline += _rows(f"{method.name}, demonstrations", config, world, expert, fitted, rewards[1:])
            tables |= {f"{method.name}, exact": rewards[0], f"{method.name}, demonstrations": jnp.stack(rewards[1:])}
        maps = _maps(config, world.mdp, expert, tables)
        save_arrays(folder / "rewards.safetensors", {name: np.asarray(t) for name, t in tables.items()})
    return _finish(config, run, headline, maps, command, time.perf_counter() - begun)


def _expert(world: TabularWorld) -> Expert:
    policy = soft_value_iteration(world.mdp, world.reward).policy
    return Expert(transition_occupancy(world.mdp, policy), policy, _return(world, policy))


def _return(world: TabularWorld, policy: Array) -> float:
    return float(start_value(world.mdp, policy_value(world.mdp, world.reward, policy)))


def _demonstrated(config: TabularImitation, mdp: TabularMdp, expert: Expert, run: RunFolder) -> list[Array]:
    """Counts of transitions, seed by seed."""
    length("TabularImitation.episode", mdp, config.episode)
    draw = partial(sample, mdp, expert.policy, count=config.demonstrations, steps=config.episode)
    keys = jax.random.split(run.key("demonstrations"), config.seeds)
    drawn: list[Trajectories] = [draw(key=key) for key in keys]
    return [empirical_transitions(mdp, trajectories) for trajectories in drawn]


def _methods(config: TabularImitation, world: TabularWorld) -> list[Method]:
    if config.maxent is not None and world.mdp.horizon is None:
        raise InputError(
            "TabularImitation.maxent: expected None where the world has no horizon; set it so, or a horizon"
        )
    features = jnp.eye(world.mdp.states) if config.one_hot else world.features
    reward = config.reward.make(features)

    def method(name: str, settings: MceIrl | MaxEntIrl) -> Method:
        exact = replace(settings, l2=0.0).make(world.mdp, reward)
        regularised = settings.make(world.mdp, reward) if settings.l2 else exact
        return Method(name, exact, regularised, reward, isinstance(settings, MceIrl))

    beside = [] if config.maxent is None else [method("MaxEnt IRL", config.maxent)]
    return [method("MCE-IRL", config.mce), *beside]


def _references(config: TabularImitation, world: TabularWorld, expert: Expert, shown: list[Array]) -> list[Row]:
    """What demonstrations are short of by chance, and returns to compare with."""
    errors = [float(jnp.abs(counts.sum(axis=-1) - expert.occupancy).max()) for counts in shown]
    uniform = jnp.full((world.mdp.states, world.mdp.actions), 1 / world.mdp.actions)
    return [
        result_row("expert: true return", [expert.earned], "none", "soft-optimal, discounted"),
        result_row("actions at random: true return", [_return(world, uniform)], "none", "discounted"),
        result_row(
            "demonstrations themselves: occupancy error", errors, "none", f"{config.demonstrations} of each seed"
        ),
    ]


def _rows(
    name: str, config: TabularImitation, world: TabularWorld, expert: Expert, fitted: list[Fitted], rewards: list[Array]
) -> list[Row]:
    """Means over fits of what the module's docstring lists."""
    done = sum(bool(each.converged) for each in fitted)
    notes = {"occupancy error": f"{done} of {len(fitted)} within the tolerance, {config.tolerance:g}"}
    each = [_numbers(world, expert, reward) for reward in rewards]
    return [
        result_row(f"{name}: {what}", [numbers[what] for numbers in each], INFORMATION, notes.get(what, ""))
        for what in each[0]
    ]


def _numbers(world: TabularWorld, expert: Expert, reward: Array) -> dict[str, float]:
    policy = soft_value_iteration(world.mdp, reward).policy
    error = float(jnp.abs(occupancy(world.mdp, policy) - expert.occupancy).max())
    return {"occupancy error": error, "regret": expert.earned - _return(world, policy)} | _distances(
        world, expert, reward
    )


def _distances(world: TabularWorld, expert: Expert, reward: Array) -> dict[str, float]:
    """Exact; 0 the same preferences, 1 the opposite ones."""
    learned, true = (np.asarray(transition_reward(world.mdp, table)) for table in (reward, world.reward))
    discount, made = float(world.mdp.discount), np.asarray(expert.transitions / expert.transitions.sum())
    found = {
        "EPIC distance": epic_distance(learned, true, discount),
        "EPIC distance, as the expert goes": epic_distance(learned, true, discount, coverage=made),
    }
    if discount == 1:
        return found
    dynamics = Dynamics(np.asarray(world.mdp.transition), discount)
    return found | {
        "STARC distance": starc_distance(learned, true, dynamics, minimal),
        "STARC distance, as the expert goes": starc_distance(learned, true, dynamics, minimal, made.sum(axis=-1)),
    }


def _maps(config: TabularImitation, mdp: TabularMdp, expert: Expert, tables: dict[str, Array]) -> list[dict[str, Any]]:
    """Rewards, of demonstrations that of the first seed, and visits of the expert, as the world lies."""
    width = config.world.width if isinstance(config.world, CliffWorld) else mdp.states
    shown = {name: table[0] if table.ndim == 2 else table for name, table in tables.items()}
    shown["the expert's visits to a state"] = expert.occupancy.sum(axis=-1)
    panels = [{"name": name, "cells": np.asarray(t).reshape(-1, width).tolist()} for name, t in shown.items()]
    return [{"name": "rewards of states", "panels": panels}]


def _finish(
    config: TabularImitation, run: RunFolder, headline: list[Row], maps: list[dict], command: str, seconds: float
) -> Path:
    report = {
        "title": config.title,
        "command": command,
        "information": INFORMATION,
        "seeds": list(range(config.seeds)),
        "environment": type(config.world).__name__,
        "headline": headline,
        "maps": maps,
    }
    return finish_run(run, report, seconds)
