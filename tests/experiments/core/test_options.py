"""Options of `traceward run` that are refused: one line that names the option, exit code 2, no run folder."""

import json
import re

import pytest

from experiments.cli import main
from experiments.commands.run import load_config, override
from irl.types import InputError
from reward_models.config_json import encode


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """What `traceward run ...` prints when it refuses; it leaves nothing behind."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            main(["run", *arguments])
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line.startswith("traceward: ")]
        assert (stop.value.code, out, len(lines)) == (2, "", 1), err
        assert sorted(tmp_path.rglob("*")) == before, "the folder is not claimed"
        return lines[0].removeprefix("traceward: ")

    return run


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("smoke", "--seed -1", "--seed: expected at least 0, got -1"),
        ("smoke", "--seed 2147483648", "--seed: expected less than 2147483648, got 2147483648"),
        ("smoke", f"--seed {10**4000}", "--seed: expected "),
        ("smoke", "--seed 1.5", "--seed: expected INT, got '1.5'"),
        ("smoke", "--seed=True", "--seed: expected INT, got 'True'"),
        ("smoke", "--reward.members 0", "--reward.members: expected at least 1, got 0"),
        ("smoke", "--reward.members 1000000000", "--reward.members: expected at most 1000, got 1000000000"),
        ("smoke", "--rerank.samples 0", "--rerank.samples: expected at least 1, got 0"),
        ("smoke", "--rerank.problems 0", "--rerank.problems: expected at least 1, got 0"),
        ("smoke", "--policy.batch-size=0", "--policy.batch-size: expected at least 1, got 0"),
        ("smoke", "--policy.schedule.steps -5", "--policy.schedule.steps: expected at least 1, got -5"),
        ("smoke", "--policy.schedule.save_every 0", "--policy.schedule.save_every: expected at least 1, got 0"),
        ("smoke", "--policy.schedule.log_every 0", "--policy.schedule.log_every: expected at least 1, got 0"),
        ("smoke", "--reward.round_schedule.steps 0", "--reward.round_schedule.steps: expected at least 1, got 0"),
        (
            "smoke",
            "--reward.evaluations 9",
            "--reward.evaluations: expected at most 8, the steps of its schedule, got 9",
        ),
        ("smoke", "--improvement.evaluations 0", "--improvement.evaluations: expected at least 1, got 0"),
        (
            "smoke",
            "--policy.algorithm.optimiser.learning_rate nan",
            "--policy.algorithm.optimiser.learning_rate: expected a finite number, got nan",
        ),
        (
            "smoke",
            "--policy.algorithm.optimiser.learning_rate -1e-3",
            "--policy.algorithm.optimiser.learning_rate: expected more than 0.0, got -0.001",
        ),
        (
            "smoke",
            "--reward.warm_up.optimiser.learning_rate 1e400",
            "--reward.warm_up.optimiser.learning_rate: expected a finite number, got inf",
        ),
        (
            "smoke",
            "--policy.algorithm.optimiser.total_steps 3",
            "--policy.algorithm.optimiser.total_steps 3: AdamW.warmup_steps: expected at most 3, its total_steps, got",
        ),
        ("smoke", "--search.guide.width 0", "--search.guide.width: expected at least 1, got 0"),
        ("smoke", "--search.guide.temperature -1", "--search.guide.temperature: expected at least 0"),
        ("smoke", "--reward.negatives.temperatures", "--reward.negatives.temperatures: expected at least 1 values"),
        ("smoke", "--reward.negatives.temperatures 1 -1", "--reward.negatives.temperatures.1: expected at least 1e-06"),
        ("smoke", "--reward.negatives.resets 1", "--reward.negatives.resets: expected 0 or at least 2, one for each"),
        ("smoke", "--reward.negatives.hard 1.01", "--reward.negatives.hard: expected at most 1.0, got 1.01"),
        ("smoke", "--reward.demonstrations.sizes", "--reward.demonstrations.sizes: expected at least 1 values"),
        ("smoke", "--reward.demonstrations.sizes 0", "--reward.demonstrations.sizes.0: expected at least 2, got 0"),
        ("smoke", "--encoding.max_length 1", "--encoding.max_length: expected at least 2, got 1"),
        ("smoke", "--encoding.max_steps 0", "--encoding.max_steps: expected at least 1, got 0"),
        ("smoke", "--domain.held_out 1262", "--domain.held_out: expected at most 1261, got 1262"),
        (
            "smoke",
            "--policy.network.vocab_size 10",
            "--policy.network.vocab_size: expected at least 48, the tokenizer's vocabulary, got 10",
        ),
        (
            "smoke",
            "--reward.network.decoder.vocab_size 47",
            "--reward.network.decoder.vocab_size: expected at least 48, the tokenizer's vocabulary, got 47",
        ),
        ("smoke", "--policy.batch_size 0 --reward.batch_size 5", "--policy.batch_size: expected at least 1, got 0"),
        ("smoke", "--policy.batch_size 8 --reward.batch_size 0", "--reward.batch_size: expected at least 1, got 0"),
        ("gsm8k_errors", "--seeds 0 0", r"--seeds: expected distinct values, got \(0, 0\)"),
        ("gsm8k_errors", "--seeds", "--seeds: expected at least 1 values"),
        ("gsm8k_errors", "--seeds 0 -3", "--seeds.1: expected at least 0, got -3"),
        (
            "gsm8k_errors",
            "--judges.0.aggregate median",
            "--judges.0.aggregate: expected one of .*, got 'median'",
        ),
        ("gsm8k_errors", "--candidates.1.problems 0", "--candidates.1.problems: expected at least 1, got 0"),
        (
            "hh_preferences",
            "--data.validation 0.9",
            r"--data.validation 0.9: PairFiles\.held_out: expected shares",
        ),
        ("cartpole_gail", "--imitator.reward_map wgan", "--imitator.reward_map: expected one of .*'fkl', got 'wgan'"),
        ("cartpole_gail", "--learner.discount 1.5", "--learner.discount: expected at most 1.0, got 1.5"),
        ("cartpole_gail", "--learner.hidden 64 0", "--learner.hidden.1: expected at least 1, got 0"),
        ("cliff_mce_irl", "--world.width 2", "--world.width: expected at least 3, got 2"),
        ("cliff_mce_irl", "--episode 0", "--episode: expected at least 1, got 0"),
    ],
)
def test_an_option_out_of_range_is_named_and_nothing_is_written(refusal, config, options, message):
    said = refusal(config, "--output", "out", *options.split())
    assert re.match(message, said), said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--policy.demonstrations.file missing.jsonl", "missing.jsonl: no such file"),
        (
            "--policy.row_length 20",
            r"policy\.row_length: expected at least \d+, the tokens of the longest trace, got 20",
        ),
        (
            "--policy.batch_size 4096",
            r"policy\.batch_size: 4096 exceeds the \d+ rows of 200 demonstrations; lower it or give more data",
        ),
        ("--encoding.max_length 9", "all 200 traces are over the limit; raise encoding.max_length"),
    ],
)
def test_a_run_that_its_data_refuse_leaves_no_folder(refusal, options, message):
    assert re.match(message, refusal("smoke", "--output", "out", *options.split()))


def test_a_refused_run_keeps_the_folder_of_an_earlier_one(tmp_path, monkeypatch, refusal):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("kept")
    assert "holds no run" in refusal("smoke", "--output", "out")
    refusal("smoke", "--output", "out", "--seed", "-1", "--overwrite")
    assert (tmp_path / "out" / "precious").read_text() == "kept"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("members", 0, "config.reward: FitReward.members: expected at least 1, got 0"),
        ("members", "1", "config.reward: FitReward.members: expected an integer, got '1'"),
        ("members", True, "config.reward: FitReward.members: expected an integer, got True"),
        ("whole_share", -0.5, r"config.reward: FitReward.whole_share: expected at least 0"),
        ("schedule", 1, "config.reward: unexpected field 'schedule'"),
    ],
)
def test_a_config_json_is_checked_like_the_options(tmp_path, refusal, field, value, message):
    config = encode(load_config("smoke"), "config")
    config["reward"][field] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    said = refusal("config.json", "--output", "out")
    assert re.match(rf"config\.json: {message}", said), said


def test_a_config_file_with_a_value_out_of_range_is_named_with_its_line(tmp_path, refusal):
    (tmp_path / "mine.py").write_text("from irl.train import Schedule\nconfig = Schedule(steps=-1)\n")
    assert refusal("mine.py") == "mine.py, line 2: Schedule.steps: expected at least 1, got -1"


def test_a_number_that_may_be_none_is_an_option():
    assert override(load_config("cliff_mce_irl"), ["--episode", "50"]).episode == 50
    with pytest.raises(InputError, match="--maxent 3: expected None, or one of its fields"):
        override(load_config("cliff_mce_irl"), ["--maxent", "3"])


def test_an_option_that_leaves_another_field_out_of_range_is_named_too():
    option = ["--reward.warm_up_schedule.steps", "2"]
    message = r"--reward\.warm_up_schedule\.steps 2: FitReward\.evaluations: expected at most 2, the steps of its sched"
    with pytest.raises(InputError, match=message):
        override(load_config("quickstart"), [*option, "--title", "x"])


def test_an_error_that_no_option_causes_alone_names_the_field():
    options = ["--reward.negatives.temperatures", *"111", "--reward.negatives.resets", "2"]
    with pytest.raises(
        InputError, match=r"^Negatives\.resets: expected 0 or at least 3, one for each temperature, got 2"
    ):
        override(load_config("quickstart"), options)
