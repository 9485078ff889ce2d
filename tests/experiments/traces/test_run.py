"""Whole runs: from the command line to the report, killed and gone on with, from config.json alone; every config."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass, replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
from experiments.cli import main
from experiments.commands.run import load_config, override
from experiments.core.kinds import Run
from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Experiment
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.negatives import Negatives
from irl.domains.countdown.countdown import Countdown
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from irl.train import Schedule
from irl.types import InputError
from reward_models.config_json import decode, encode
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.registry import REGISTERED

ROOT = Path(__file__).resolve().parents[3]
CONFIG_FILES = sorted(file for file in (ROOT / "configs").glob("*.py") if file.stem != "__init__")
MOST_LINES = 75
"""Of a config; 60 are the aim."""
WEIGHTS = ("policy/model.safetensors", "model/model.safetensors", "improved-policy/model.safetensors")
RESULTS = ("evaluation.json", "search.json", "improvement.json")
COMMAND = [sys.executable, "-c", "from experiments.cli import main; main()", "run"]
KILLS = 5


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Variables for the processes: one device, quick and careless compilation, done once for all of them."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, environment):
    """The smoke config, run from the command line and left alone: its folder and what it said on the screen."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    command = [*COMMAND, "smoke", "--output", folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


class Page(HTMLParser):
    """The headings of a page, and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.fetched, self._heading = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._heading = tag in ("h1", "h2")
        self.fetched += [value for name, value in attrs if name in ("src", "href") and not value.startswith("data:")]

    def handle_data(self, data):
        if self._heading:
            self.headings.append(data.strip())
            self._heading = False


def test_smoke_leaves_a_whole_run_folder(smoke):
    folder, said = smoke
    for name in ("config.json", "metrics.jsonl", "report.html", "report.json", "log.txt", *WEIGHTS, *RESULTS):
        assert (folder / name).stat().st_size > 0, name
    stages = {
        entry.name: sorted(int(step.name) for step in entry.iterdir()) for entry in (folder / "checkpoints").iterdir()
    }
    wanted = {"policy": 8, "reward-1-likelihood": 8, "reward-1-round-1": 8, "reward-1-round-2": 8, "improved-policy": 4}
    assert {stage: steps[-1] for stage, steps in stages.items()} == wanted
    assert len(list((folder / "figures").glob("*.png"))) >= 3
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in metrics} == set(wanted)
    evaluated = [line for line in metrics if "loss" not in line]
    assert all(np.isfinite(line["loss"]) for line in metrics if line not in evaluated)
    steps = [2, 4, 6, 8]  # of the likelihood, then the end of each round
    expected = {("reward-1-likelihood", step): {"pass@1", "rerank@16"} for step in steps}
    expected |= {(f"reward-1-round-{number}", 8): {"pass@1", "rerank@16"} for number in (1, 2)}
    expected |= {("improved-policy", step): {"gold", "proxy"} for step in (2, 4)}
    assert {(line["stage"], line["step"]): set(line) - {"stage", "step"} for line in evaluated} == expected
    page = Page((folder / "report.html").read_text())
    assert {"Smoke test", "Headline", "Test-time compute", "Search", "Throughput"} <= set(page.headings)
    assert [link for link in page.fetched if not link.startswith("#")] == []
    report = json.loads((folder / "report.json").read_text())
    assert report["seeds"] == [0]
    assert {row["name"] for row in report["headline"]} >= {"pass@1", "rerank@16", "cons@16", "pass@16"}
    log = (folder / "log.txt").read_text()
    assert f"report: {folder / 'report.html'}" in log and f"report: {folder / 'report.html'}" in said
    assert "\n\n" not in said, "a progress bar that nobody sees leaves no empty lines"


def stamps(folder):
    """When every file that costs something was written."""
    kept = [folder / name for name in (*WEIGHTS, *RESULTS)]
    for part in ("checkpoints", "samples"):
        kept += [file for file in (folder / part).rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in kept}


def test_the_same_folder_again_does_nothing_again(smoke, tmp_path, capsys):
    folder = shutil.copytree(smoke[0], tmp_path / "run")
    before, report = stamps(folder), (folder / "report.html").stat().st_mtime_ns
    metrics = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(SystemExit) as stop:
        main(["run", "smoke", "--output", str(folder)])
    assert stop.value.code == 0
    assert f"{folder}: going on with the run that is there" in capsys.readouterr().err
    assert stamps(folder) == before
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    assert (folder / "report.html").stat().st_mtime_ns > report, "but the report is written again"


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def test_damaged_files_of_stages_are_named_and_made_again(smoke, environment, tmp_path):
    """As after a full disk, an editor, or a flipped bit: the run ends with the same bytes."""
    whole, folder = smoke[0], tmp_path / "damaged"
    shutil.copytree(whole, folder)
    (folder / "search.json").write_text("[" * 100_000)
    (folder / "evaluation.json").write_text((folder / "evaluation.json").read_text().replace('"mean"', '"maen"', 1))
    cut(folder / "improvement.json")
    cut(folder / "policy/model.safetensors")
    (folder / "improved-policy/manifest.json").write_text("")
    (folder / "samples/improvement-look-2.json").write_text('{"step": 2, "gold": "high"}')
    cut(folder / "samples/test.npz")
    (folder / "throughput/sampling_test.json").write_text("{}")
    done = subprocess.run(
        [*COMMAND, "smoke", "--output", str(folder)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    for name in (
        "search.json",
        "evaluation.json",
        "improvement.json",
        "policy",
        "look-2.json",
        "test.npz",
    ):
        assert re.search(rf"warning: \S*{re.escape(name)}.*; this part of the run is computed again", done.stderr), name
    for name in (*WEIGHTS, *RESULTS, "config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def milestones(folder):
    """Files of a run in the order in which they appeared, the report aside."""
    names = [*WEIGHTS, *RESULTS, *(f"{p.parent.name}/{p.name}" for p in folder.glob("samples/*.npz"))]
    names += [str(step.relative_to(folder)) + "/manifest.json" for step in folder.glob("checkpoints/*/*")]
    names += [str(file.relative_to(folder)) for file in folder.glob("train_time/*.json")]
    return sorted(names, key=lambda name: (folder / name).stat().st_mtime_ns)


def random_moments(folder, rng):
    """One moment in every fifth of a run: after a file appears, and a little later."""
    names = milestones(folder)
    parts = [names[len(names) * part // KILLS : len(names) * (part + 1) // KILLS] for part in range(KILLS)]
    return [(rng.choice(part), rng.uniform(0, 0.4)) for part in parts]


def kill_at(command, environment, file, delay):
    """Start a process and kill it without warning a moment after the file is there; returns its exit code."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not file.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert file.exists(), f"{file} did not appear: {process.poll()}"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        return process.wait()
    finally:
        process.kill()
        process.communicate()


def test_killed_at_five_random_moments_and_run_from_the_json_alone(smoke, environment, tmp_path):
    """SIGKILL, again and again: whoever starts the command once more ends with the same bytes."""
    whole, folder = smoke[0], tmp_path / "killed"
    command = [*COMMAND, str(whole / "config.json"), "--output", str(folder)]
    moments = random_moments(whole, random.Random(20))
    assert len(moments) == KILLS
    for name, delay in moments:
        assert kill_at(command, environment, folder / name, delay) == -signal.SIGKILL, name
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    for name in (*WEIGHTS, *RESULTS, "config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), f"{name} after kills at {moments}"
    assert last_metrics(folder) == last_metrics(whole), "no metric is lost"
    ours, theirs = (json.loads((f / "report.json").read_text()) for f in (folder, whole))
    for part in ("headline", "train_time", "gold_proxy", "search", "audit", "problems"):
        assert ours[part] == theirs[part], part


def last_metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    metrics = {}
    for line in lines:
        metrics[line["stage"], line["step"]] = metrics.get((line["stage"], line["step"]), {}) | line
    return metrics


# ------------------------------------------------------------------------------------- every config


def by_name(file):
    return file.stem


@pytest.fixture(params=CONFIG_FILES, ids=by_name)
def config_file(request):
    return request.param


def test_configs_are_found():
    assert {"quickstart", "smoke"} <= {file.stem for file in CONFIG_FILES}
    assert Path(configs.__path__[0]) == ROOT / "configs"


def test_config_loads_and_comes_back_from_json(config_file):
    config = load_config(config_file.stem)
    assert isinstance(config, Run)
    written = json.loads(json.dumps(encode(config, "config"), allow_nan=False))
    assert decode(written, REGISTERED, "config") == config
    assert load_config(str(config_file)) == config, "by its path as by its name"


def test_config_is_short_and_tells_its_command(config_file):
    text = config_file.read_text()
    assert text.count("\n") <= MOST_LINES
    docstring = text.split('"""')[1]
    assert re.search(rf"^    .*traceward run {config_file.stem}\b", docstring, re.MULTILINE)
    assert "Expect" in docstring
    assert "ariation" in docstring or config_file.stem == "smoke"


def variations(file):
    """The options that a docstring proposes: `--a.b value`, up to the next mark of punctuation."""
    docstring = file.read_text().split('"""')[1]
    return [shlex.split(found) for found in re.findall(r"--[a-z][\w.-]* [\w.]*\w", docstring)]


def test_proposed_variations_are_options(config_file):
    config = load_config(config_file.stem)
    for arguments in variations(config_file):
        assert type(override(config, arguments)) is type(config), arguments
    assert variations(config_file) or config_file.stem == "smoke"


def test_parts_of_a_list_can_be_changed():
    config = load_config("gsm8k_errors")
    changed = override(config, ["--candidates.0.problems", "5"])
    first, *others = config.candidates
    assert changed == replace(config, candidates=(replace(first, problems=5), *others))
    with pytest.raises(
        InputError, match=r"unknown option --candidates\.9\.problems: did you mean --candidates\.[01]\.problems"
    ):
        override(config, ["--candidates.9.problems", "5"])


def test_stages_can_be_left_out():
    config = load_config("quickstart")
    assert config.search is not None and config.improvement is not None
    changed = override(config, ["--search", "None", "--improvement=None", "--seed", "3"])
    assert changed == replace(config, search=None, improvement=None, seed=3)


SMALL = {
    Schedule: {"steps": 2, "log_every": 1, "save_every": 2},
    Demonstrations: {"count": 24, "other_targets": 24},
    DecoderConfig: {"num_layers": 1, "dim": 16, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "hidden_dim": 32},
    Negatives: {"resets": 32, "temperatures": (1.0,), "samples_per_problem": 1, "sampled": 16},
    FitPolicy: {"batch_size": 4},
    FitReward: {"batch_size": 8, "warm_up_rows": 4, "rounds": 1, "evaluations": 1},
    ImprovePolicy: {"evaluations": 1},
    Countdown: {"held_out": 1250},
}


def shrunk(value):
    """The same config with little of everything; a number that is 0 stays 0."""
    if not is_dataclass(value):
        return value
    inner = {item.name: shrunk(getattr(value, item.name)) for item in fields(value)}
    small = {
        name: number for name, number in SMALL.get(type(value), {}).items() if inner[name] != 0 or name == "held_out"
    }
    return replace(value, **(inner | small))


@pytest.fixture(scope="module")
def stages(tmp_path_factory, shared_programs):
    """Policy and reward of a shrunk config, trained in this process on four devices; equal stages once."""

    @cache
    def policy(config):
        shared = workspace(config)
        return config.policy.run(shared), shared.folder

    @cache
    def reward(config):
        learned, folder = policy(without_reward(config))
        shared = workspace(config, shutil.copytree(folder, tmp_path_factory.mktemp("run") / "run"))
        evaluations = []
        params = config.reward.run(shared, learned, observe=lambda step, scorer: evaluations.append((step, scorer)))
        return shared, params, evaluations

    def workspace(config, folder=None):
        encoder = Encoder(number_tokenizer(), config.encoding.max_length, config.encoding.max_steps)
        where = folder or tmp_path_factory.mktemp("run")
        return Workspace(where, config.seed, environment=config.domain, encoder=encoder)

    def without_reward(config):
        plain = shrunk(load_config("smoke"))
        return replace(plain, policy=config.policy, domain=config.domain, encoding=config.encoding)

    return lambda config: reward(replace(config, title="", search=None, improvement=None, rounds=None))


WHOLE = ("smoke",)
"""The config of which a small version runs whole, above."""
TRACES = [f for f in CONFIG_FILES if isinstance(load_config(f.stem), Experiment)]
"""Models of text are stepped in test_text_models.py."""
STEPPED = [f for f in TRACES if f.stem not in WHOLE and load_config(f.stem).policy.base is None]
"""Those that start from a language model are stepped in test_base_model.py."""


@pytest.mark.parametrize("config_file", STEPPED, ids=by_name)
def test_config_can_be_stepped(config_file, stages):
    """Policy and reward learn for two steps, on four devices, and leave finite weights that a command can read.

    All but those that run whole.
    """
    assert len(jax.devices()) == 4
    config = shrunk(load_config(config_file.stem))
    workspace, params, evaluations = stages(config)
    metrics = last_metrics(workspace.folder)
    parts = ["likelihood", *(f"round-{number + 1}" for number in range(config.reward.rounds))]
    stages_of_reward = [f"reward-{member + 1}-{part}" for member in range(config.reward.members) for part in parts]
    wanted = {(stage, step) for stage in ("policy", *stages_of_reward) for step in (1, 2)}
    assert set(metrics) == wanted
    assert all(np.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in metrics.values())
    saved = workspace.load_model("model")
    member, members = config.reward.network, config.reward.members
    assert saved.network == (member if members == 1 else EnsembleConfig(member=member, members=members))
    assert saved.manifest.windows == "states"
    for given, kept in zip(jax.tree.leaves(params), jax.tree.leaves(saved.params), strict=True):
        np.testing.assert_array_equal(given, kept)
    expert = config.domain.expert(config.domain.problems("train")[0], np.random.default_rng(0))
    steps, scorer = [step for step, _ in evaluations], evaluations[-1][1]
    assert steps == [2 * (number + 1) for number in range(members * len(parts))]
    found = scorer([expert.prompt], [expert.text])
    assert np.isfinite(found.trace).all() and len(found.steps[0]) == len(expert.steps)
    again = config.reward.run(workspace, None)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, saved.params)), "read back, not learned"
