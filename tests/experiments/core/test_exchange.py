"""Classes of a config are exchanged by options; an algorithm of a user is one file and one config."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.commands.run import load_config, override
from experiments.core.exchange import candidates, class_name
from experiments.core.kinds import OFFERED, import_offered, is_offered, kinds_of_run
from experiments.text_rewards.fit_process import FitProcess
from experiments.traces.guided_search import GuidedSearch
from irl.algorithms.airl import Airl
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW, Muon, Optimiser
from irl.algorithms.pairs import PairAlgorithm
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.control.algorithms.gail import Gail
from irl.control.learners.sac import Sac
from irl.domains.bigbench_mistake.claims import Claims
from irl.domains.modchain import ModChain
from irl.types import InputError
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderNetwork
from reward_models.records import RECORDS
from reward_models.registry import classes

ROOT = Path(__file__).resolve().parents[3]
SMOKE = "smoke"


# ------------------------------------------------------------------------------------------ exchange


@pytest.mark.parametrize("name", ["airl", "Airl", "AIRL"])
def test_an_algorithm_is_exchanged_and_the_options_after_it_are_its_own(name):
    config = load_config(SMOKE)
    changed = override(config, ["--reward.critic", name, "--reward.critic.level", "step", "--seed", "3"])
    assert changed == replace(config, seed=3, reward=replace(config.reward, critic=Airl(level="step")))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--reward.critic", "bradley-terry", "--reward.critic.optimiser.learning-rate", "1e-3"],
        ["--reward.critic.optimiser.learning-rate", "1e-3", "--reward.critic", "bradley-terry"],
        ["--reward.critic=bradley_terry", "--reward.critic.optimiser.learning_rate=1e-3"],
    ],
)
def test_the_order_of_options_does_not_matter(arguments):
    assert override(load_config(SMOKE), arguments).reward.critic == BradleyTerry(optimiser=AdamW(learning_rate=1e-3))


def test_a_part_of_a_part_that_is_exchanged_is_exchanged():
    options = ["--reward.critic.optimiser", "muon", "--reward.critic", "bradley-terry", "--policy.algorithm.optimiser"]
    config = override(load_config(SMOKE), [*options, "muon"])
    assert config.reward.critic == BradleyTerry(optimiser=Muon()) and config.policy.algorithm.optimiser == Muon()


def test_domains_networks_stages_and_parts_of_control():
    config = load_config(SMOKE)
    assert override(config, ["--domain", "mod-chain", "--domain.modulus", "11"]).domain == ModChain(modulus=11)
    network = override(
        config, ["--reward.network", "critic", "--reward.network.decoder.num-layers", "2"]
    ).reward.network
    decoder = config.reward.network.decoder
    assert network == CriticConfig(decoder=replace(decoder, num_layers=2)), "required fields are those before"
    without = override(config, ["--search", "None"])
    assert override(without, ["--search", "guided-search"]).search == GuidedSearch()
    changed = override(load_config("cartpole_airl"), ["--imitator", "gail", "--learner", "sac"])
    assert (changed.imitator, changed.learner) == (Gail(), Sac())


def test_parts_of_a_tuple_are_exchanged():
    config = load_config("gsm8k_errors")
    process, calculations = config.judges
    options = ["--judges.0.trunk", "None", "--judges.1.windows", "claims", "--judges.1.windows.per-trace", "3"]
    changed = override(config, [*options, "--judges.0.model.base", "folder", "--data", "planted-errors"])
    process = replace(process, trunk=None, model=replace(process.model, base="folder"))
    assert changed.judges == (process, replace(calculations, windows=Claims(per_trace=3)))
    with pytest.raises(InputError, match=r"--judges\.0\.trunk fit: expected None, or .*, or a class: fit-trunk$"):
        override(config, ["--judges.0.trunk", "fit"])
    with pytest.raises(InputError, match=r"unknown option --judges\.2\.trunk: did you mean --judges"):
        override(config, ["--judges.2.trunk", "None"])


def test_parts_of_a_tuple_are_removed_and_exchanged_whole():
    """Options number the parts that remain."""
    config = load_config("gsm8k_errors")
    process, calculations = config.judges
    changed = override(config, ["--candidates.0", "None", "--candidates.1", "None", "--judges.1", "None"])
    assert changed == replace(config, candidates=(), judges=(process,))
    changed = override(config, ["--judges.0.rows", "8", "--judges.0", "None"])
    assert changed.judges == (replace(calculations, rows=8),)
    changed = override(load_config("bigbench_mistake"), ["--judges.0", "fit-process", "--judges.0.trunk", "None"])
    assert changed.judges == (FitProcess(trunk=None),)
    with pytest.raises(InputError, match=r"StepModel\.judges: expected at least 1"):
        override(config, ["--judges.0", "None", "--judges.1", "None"])
    with pytest.raises(InputError, match=r"--judges\.0 airl: expected None, or .* class: fit-process, fit-windows$"):
        override(config, ["--judges.0", "airl"])


def test_fields_that_are_only_valid_together_can_be_set_together():
    config = load_config("pendulum_preferences")
    changed = override(config, ["--answers", "answer-files", "--seeds", "1"])
    assert (class_name(type(changed.answers)), changed.seeds) == ("answer-files", 1)
    with pytest.raises(
        InputError, match=r"--answers answer-files: .*seeds: .* set it to 1|LearnFromComparisons\.seeds"
    ):
        override(config, ["--answers", "answer-files"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--reward.critic", "aril"],
            r"--reward\.critic aril: expected .* class: airl, bradley-terry, max-ent, pairwise-critic$",
        ),
        (
            ["--reward.critic", "gail"],
            r"--reward\.critic gail: expected .* class: airl, bradley-terry, max-ent, pairwise-critic$",
        ),
        (["--reward.critic", "None"], r"--reward\.critic None: expected one of its fields: --reward\.critic\.FIELD"),
        (["--reward.critic="], r"--reward\.critic : expected one of its fields"),
        (["--search", "beam"], r"--search beam: expected None, or one of its fields: .* class: guided-search$"),
        (["--domain", "chess"], r"--domain chess: expected .* class: countdown, .*mod-chain"),
        (["--reward.network", "headed-decoder"], "HeadedDecoderConfig has no default for head, read; write the config"),
        (["--reward.critic", "airl", "--reward.critic.mle", "0"], r"unknown option --reward\.critic\.mle"),
        (["--reward.critic", "airl", "--reward.critic.learning-rate", "-1"], r"learning.rate: expected"),
        (["--reward.crtic", "airl"], r"unknown option --reward\.crtic: did you mean --reward\.critic"),
    ],
)
def test_names_that_a_field_does_not_take(arguments, message):
    with pytest.raises(InputError, match=message):
        override(load_config(SMOKE), arguments)


# -------------------------------------------------------------------------------------- registration


def test_every_algorithm_network_and_optimiser_of_the_library_is_offered():
    assert set(candidates(PairAlgorithm).values()) >= {Airl, BradleyTerry, PairwiseCritic}
    assert set(candidates(Optimiser).values()) == {AdamW, Muon}
    assert CriticConfig in candidates(DecoderNetwork).values()
    assert {class_name(kind) for kind in kinds_of_run()} >= {"experiment", "imitate", "step-model"}


def test_no_two_classes_that_a_config_can_name_share_a_name():
    import_offered()
    offered = [kind for kind in classes() if is_offered(kind) and kind.__module__.startswith(OFFERED)]
    assert len(offered) > 80
    assert [kind for kind in offered if len(RECORDS[kind.__name__]) > 1] == []


# --------------------------------------------------------------------------------- an algorithm of a user

HINGE = '''"""A hinge on pairs of steps."""

import jax.numpy as jnp
import optax

from irl.algorithms.base import gradient_algorithm
from irl.algorithms.pairs import PairAlgorithm
from reward_models.ranges import Rate
from reward_models.records import record


@record
class Hinge(PairAlgorithm):
    learning_rate: Rate = 1e-3

    def make(self, network):
        def loss(params, pairs):
            expert, negative = (network.apply(params, side).trace for side in (pairs.expert, pairs.negative))
            return jnp.mean(jnp.maximum(1 - expert + negative, 0)), {}

        return gradient_algorithm(network.init, loss, optax.sgd(self.learning_rate))

    def batch(self, pairs):
        return pairs
'''
CONFIG = """from dataclasses import replace

from configs.smoke import config as smoke
{source}

config = replace(
    smoke, search=None, improvement=None, reward=replace(smoke.reward, critic=Hinge(learning_rate=1e-2), rounds=1)
)
"""
RUN = [sys.executable, "-c", "from experiments.cli import main; main()"]


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
    }


def test_an_algorithm_of_a_user_is_one_file_and_one_config(tmp_path, variables):
    """It trains, resumes, is exchanged on the command line and is read back; its config.json alone names the config."""

    def traceward(*arguments):
        command = [*RUN, *map(str, arguments)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=500)

    mine, run = tmp_path / "mine" / "my_config.py", tmp_path / "run"
    mine.parent.mkdir()
    mine.write_text(CONFIG.format(source="from my_hinge import Hinge"))
    (mine.parent / "my_hinge.py").write_text(HINGE)
    done = traceward("run", mine, "--output", run)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "reward-1-round-1"][-1] == 8
    assert json.loads((run / "config.json").read_text())["reward"]["critic"] == {
        "class": "Hinge",
        "learning_rate": 0.01,
    }

    weights = (run / "model/model.safetensors").read_bytes()
    (run / "report.html").unlink()
    for part in ("model", "checkpoints/reward-1-round-1/8"):
        (run / part).rename(tmp_path / part.replace("/", "-"))
    again = traceward("run", mine, "--output", run)
    assert again.returncode == 0 and "going on with the run that is there" in again.stderr, again.stderr
    assert (run / "model/model.safetensors").read_bytes() == weights

    candidates_file = tmp_path / "candidates.jsonl"
    texts = ("10 - 4 = 6 (left: 5 6 6)\n5 * 6 = 30 (left: 6 30)", "10 - 5 = 5 (left: 4 5 6)")
    row = {"id": "hand-7", "prompt": "4 5 6 10", "candidates": [{"text": text} for text in texts]}
    candidates_file.write_text(json.dumps(row) + "\n")
    chosen = traceward("rerank", "--model", run / "model", "--candidates", candidates_file)
    assert chosen.returncode == 0 and "hand-7" in chosen.stdout, chosen.stderr

    alone = traceward("run", run / "config.json", "--output", tmp_path / "other")
    assert alone.returncode == 2 and "Traceback" not in alone.stderr and not (tmp_path / "other").exists()
    assert "config.reward.critic: unknown class 'Hinge'" in alone.stderr
    assert f"pass the .py config {mine} in the place of config.json" in alone.stderr


@pytest.fixture
def refused(capsys, tmp_path):
    """What `traceward run FILE` answers to a config file that it refuses."""

    def run(text, *arguments, name="mine.py"):
        file = tmp_path / name
        file.write_text(text)
        with pytest.raises(SystemExit) as stop:
            main(["run", str(file), "--output", str(tmp_path / "run"), *arguments])
        assert stop.value.code == 2 and not (tmp_path / "run").exists()
        return capsys.readouterr().err

    return run


def test_a_class_with_the_name_of_another_is_refused(refused):
    text = HINGE.replace("class Hinge", "class Airl") + CONFIG.format(source="").replace("Hinge(", "Airl(")
    told = refused(text)
    assert "two classes have the name Airl, in " in told and "airl.py" in told and "mine.py; rename one of them" in told


def test_a_class_that_is_not_a_record_is_refused(refused):
    plain = HINGE.replace("@record", "@dataclass(frozen=True)").replace(
        "import optax\n", "from dataclasses import dataclass\nimport optax\n", 1
    )
    told = refused(plain + CONFIG.format(source=""))
    assert "Hinge in " in told and "decorate the class with reward_models.records.record" in told


def test_a_class_in_the_config_file_is_exchanged_and_may_be_defined_again(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            "from __future__ import annotations\n" + HINGE + CONFIG.format(source="")
        )
    for folder in ("first", "second", "second"):
        config = load_config(str(tmp_path / folder / "mine.py"))
        assert type(config.reward.critic).__name__ == "Hinge"
        changed = override(config, ["--reward.critic", "airl"])
        assert changed.reward.critic == Airl()
        back = override(changed, ["--reward.critic", "hinge", "--reward.critic.learning-rate", "1e-2"])
        assert back.reward.critic == config.reward.critic


def test_a_config_json_names_a_class_of_nobody(refused):
    written = '{"class": "Experiment", "title": "x", "reward": {"class": "os.system", "command": "true"}}'
    told = refused(written, name="config.json")
    assert "config.reward: unknown class 'os.system'" in told and "pass the .py config that defines it" in told


@pytest.mark.parametrize("extra", [3, [], {"os.system": 3}, "x"])
def test_files_of_classes_that_are_no_object(refused, extra):
    written = json.dumps({"class": "Experiment", "reward": {"class": "os.system"}, "defined in": extra})
    assert "pass the .py config that defines it" in refused(written, name="config.json")
