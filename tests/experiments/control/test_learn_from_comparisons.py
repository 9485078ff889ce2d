"""Runs of preference comparisons, tiny: what they leave, that they go on where they stopped, answers of a person."""

import io
import json
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
import safetensors.numpy

from configs import pendulum_preferences
from experiments.control.backends import over_seeds
from experiments.control.learn_from_comparisons import (
    AnswerFiles,
    AnswersAtPrompt,
    LearnFromComparisons,
)
from experiments.core.run_folder import RunFolder
from irl.control.algorithms.annotators import QueryFolder, Unanswered
from irl.control.algorithms.preference_comparisons import PreferenceComparisons
from irl.control.learners.ppo import Ppo
from irl.control.rewards import RewardMlp
from irl.control.rollout.in_graph import in_graph
from irl.train import Schedule
from irl.types import InputError

TINY = LearnFromComparisons(
    title="tiny",
    comparisons=PreferenceComparisons(
        rounds=1, comparisons=4, initial=0.5, length=3, members=1, updates=2, batch=2, network=RewardMlp(hidden=(4,))
    ),
    learner=Ppo(epochs=1, minibatch=8, hidden=(4,)),
    envs=8,
    time=4,
    schedule=Schedule(steps=3, log_every=1, save_every=1),
    truth=False,
    episodes=2,
    seeds=2,
)
FILES = replace(TINY, answers=AnswerFiles(), seeds=1)
SAVED = "rewards_and_policies.safetensors"


pytestmark = pytest.mark.usefixtures("shared_programs")


def run(config, folder):
    folder.mkdir(exist_ok=True)
    page = config.run(folder, "traceward run mine")
    assert page.stat().st_size > 0
    return json.loads((folder / "report.json").read_text())


def same(one, other):
    one, other = (safetensors.numpy.load_file(folder / SAVED) for folder in (one, other))
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared_programs):
    folder = tmp_path_factory.mktemp("comparisons") / "run"
    return folder, run(replace(TINY, truth=True, retrain=2), folder)


def test_what_a_run_tells(finished):
    rows = {row["name"]: row for row in finished[1]["headline"]}
    kinds = ("random actions", "its own policy", "equal parts of these")
    correlations = {f"learned and true reward of a step, on {kind}" for kind in kinds}
    correlations |= {"learned and true return of an episode"}
    distances = {"EPIC distance", "STARC distance, minimal", "STARC distance, value-levelled"}
    returns = {"return", "return, seed 0", "return, seed 1", "fresh policy on the frozen reward: return"}
    levels = {name: row["information"] for name, row in rows.items()}
    assert levels == {
        **dict.fromkeys(returns | correlations | distances | {"comparisons that were answered"}, "preferences"),
        "random actions: return": "none",
        "the same learner on the true reward: return": "true reward",
    }
    assert all(-200 * 17 < rows[name]["value"] < 0 for name in returns)
    assert all(-1 <= rows[name]["value"] <= 1 for name in correlations)
    assert rows["comparisons that were answered"]["value"] == 4


def test_curves_of_a_run(finished):
    returns, correlation = finished[1]["train_time"]
    names = {series["name"]: series["role"] for series in returns["series"]}
    learned = {"return, seed 0": "learned", "return, seed 1": "learned"}
    assert names == learned | {"true reward": "oracle", "frozen reward": "baseline"}
    assert [series["x"] for series in returns["series"]] == [[32, 64, 96]] * 3 + [[32, 64]]
    assert correlation["series"][0]["x"] == [32, 64, 96]


def test_what_is_saved(finished):
    saved = safetensors.numpy.load_file(finished[0] / SAVED)
    assert {name.split(".")[0] for name in saved} == {"reward", "policy"}
    assert all(leaf.shape[0] == 2 for leaf in saved.values())


def test_a_stopped_run_ends_as_if_it_had_not_been(finished, tmp_path, monkeypatch):
    record, folder = RunFolder.record, tmp_path / "run"

    def stops(self, stage, step, metrics):
        if step == 2:
            raise KeyboardInterrupt
        record(self, stage, step, metrics)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunFolder, "record", stops)
        run(TINY, folder)
    assert RunFolder(folder, 0).checkpoints("comparisons").latest() == 1
    again, rows = run(TINY, folder), finished[1]["headline"]
    assert same(finished[0], folder)
    assert again["headline"] == [row for row in rows if "learner" not in row["name"] and "fresh" not in row["name"]]


def answer(folder, number, answers):
    QueryFolder(folder / "queries").write(number, {i: np.array(a, np.float32) for i, a in enumerate(answers)})


def test_answers_of_somebody(tmp_path, monkeypatch):
    """In files, with a stop; at the prompt, in one go: the same answers make the same run."""
    by_file, by_hand = tmp_path / "files", tmp_path / "prompt"
    with pytest.raises(Unanswered, match=r"queries_000.jsonl: 2 of 2 queries are not answered"):
        run(FILES, by_file)
    answer(by_file, 0, [(1, 0), (0, 1)])
    answer(by_file, 1, [(0.5, 0.5), (np.nan, np.nan)])
    told = {row["name"]: row["value"] for row in run(FILES, by_file)["headline"]}
    assert told["comparisons that were answered"] == 3
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n2\n=\ns\n"))
    run(replace(FILES, answers=AnswersAtPrompt(rows=2)), by_hand)
    assert same(by_file, by_hand)
    files = [f"{name}_00{number}.jsonl" for name in ("queries", "answers") for number in (0, 1)]
    assert all((by_file / "queries" / f).read_text() == (by_hand / "queries" / f).read_text() for f in files)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"schedule": Schedule(steps=1)},
            r"schedule.steps: expected at least 2, the number of rounds with queries; got 1",
        ),
        ({"answers": AnswerFiles()}, "seeds: expected 1 with AnswerFiles, got 2"),
        ({"answers": AnswersAtPrompt(), "seeds": 3}, "seeds: expected 1 with AnswersAtPrompt, got 3"),
        ({"seeds": 0}, "seeds: expected at least 1, got 0"),
        ({"envs": 0}, "envs: expected at least 1, got 0"),
        ({"time": 2}, "time: expected at least 3, the length of a fragment, got 2"),
    ],
)
def test_bad_settings(changes, told):
    with pytest.raises(InputError, match=told):
        replace(TINY, **changes)


def test_pendulum_fits_the_loop():
    """Traced, not compiled: the state keeps its shapes; losses and returns are scalars."""
    config = pendulum_preferences.config
    world = config.environment.backend().environment
    learner = config.learner.make(world.observation, world.action)
    agent = config.comparisons.make(learner, world.observation, world.action, config.answers)
    algorithm = over_seeds(in_graph(world, agent, envs=config.envs, time=config.time), config.seeds)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    after, info = jax.eval_shape(algorithm.step, state, None, jax.random.key(1))
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (state, after)]
    assert shapes[0] == shapes[1]
    assert {"loss", "return, seed 4", "reward_correlation"} <= set(info)
    assert all(leaf.shape == () for leaf in info.values())
