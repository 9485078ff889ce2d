"""Runs of reward models of text, whole and tiny: folders that others read, the same after a stop, what is left out."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from experiments.cli import main
from experiments.commands.run import load_config, override
from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_process import FitProcess
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.fit_windows import ENDING, FitWindows
from experiments.text_rewards.pair_data import PairFiles
from experiments.text_rewards.preference_model import PreferenceModel
from experiments.text_rewards.step_candidates import SolutionCandidates
from experiments.text_rewards.step_data import PlantedErrors
from experiments.text_rewards.step_model import StepModel
from experiments.text_rewards.text_model import TextModel
from irl.algorithms.optimiser import AdamW
from irl.algorithms.sft import Sft
from irl.domains.bigbench_mistake import dyck
from irl.domains.bigbench_mistake.claims import Claims
from irl.domains.gsm8k.exercises import Calculations
from irl.rewards import open_scorer
from irl.rewards.questions import Question, steps_answer
from irl.train import Schedule
from irl.types import InputError
from reward_models.folders.hugging_face import load_hugging_face
from reward_models.folders.opening import layout_of
from reward_models.networks.adapters import LowRank
from tests.experiments.text_rewards.cases import DECODER, TINY, comparisons, save_base, write

pytestmark = pytest.mark.usefixtures("few_resamples", "shared_programs")

SHORT = Schedule(steps=2, log_every=1, save_every=1)
WINDOWS = {"decoder": TINY, "schedule": SHORT, "rows": 4}
CALCULATIONS = FitWindows(windows=Calculations(epoch=60), length=64, **WINDOWS)
ENDS = replace(ENDING, length=140, **WINDOWS)
TRUNK = FitTrunk(algorithm=Sft(optimiser=AdamW(learning_rate=1e-2)), schedule=SHORT, rows=4, length=128)
SIZES = {"model": TextModel(decoder=TINY, context=128), "trunk": TRUNK, "schedule": SHORT, "rows": 4, "length": 128}
WEIGHTS = "model.safetensors"


def gsm8k(count, first=0):
    rows = []
    for n in range(first, first + count):
        a, b = 11 + n, 3 + n % 7
        lines = f"So {a}*{b} = <<{a}*{b}={a * b}>>{a * b}.\nAnd {a * b}+{b} = <<{a * b}+{b}={a * b + b}>>{a * b + b}."
        rows.append({"question": f"Take {a} and {b}.", "answer": f"{lines}\n#### {a * b + b}"})
    return rows


@pytest.fixture(scope="module")
def steps_config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    answers = [{"text": "So 11*3 = 33.\nAnd 33+3 = 36.", "correct": True}, {"text": "So 12.", "correct": False}]
    long = {"text": f"So {'1 ' * 200}.", "correct": False}
    pool = write(folder / "pool.jsonl", [{"id": "0", "prompt": "Take 11 and 3.", "candidates": [*answers, long]}])
    return StepModel(
        title="Steps",
        data=PlantedErrors(
            train=write(folder / "train.jsonl", gsm8k(22)),
            test=write(folder / "test.jsonl", gsm8k(4, 50)),
            drills=2,
            demonstrated_drills=2,
        ),
        judges=(FitProcess(**SIZES), CALCULATIONS),
        ending=ENDS,
        candidates=(SolutionCandidates(file=pool),),
        seeds=(0, 1),
    )


@pytest.fixture(scope="module")
def pairs_config(tmp_path_factory):
    rows = comparisons(48)
    rows.append({**rows[0], "idx": 99, "response2": "far too long " * 80})
    path = write(tmp_path_factory.mktemp("data") / "pairs.jsonl", rows)
    return PreferenceModel(
        title="Pairs",
        data=PairFiles(train=(path,), validation=0.3, held_out=0.3),
        seeds=(0, 1),
        **SIZES,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory, steps_config, pairs_config):
    """Both runs, left alone."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "steps": run(steps_config, folder / "steps"),
        "pairs": run(pairs_config, folder / "pairs"),
    }


def run(config, folder):
    folder.mkdir(exist_ok=True)
    page = config.run(folder, "traceward run mine")
    assert page == folder / "report.html" and page.stat().st_size > 0
    return folder


@pytest.fixture(params=["steps", "pairs"])
def kind(request):
    return request.param


@pytest.fixture
def config(kind, steps_config, pairs_config):
    return {"steps": steps_config, "pairs": pairs_config}[kind]


def same_weights(one, other):
    for name in ("model", "model-seed-1"):
        assert (one / name / WEIGHTS).read_bytes() == (other / name / WEIGHTS).read_bytes()


LEVEL = {"steps": "demonstrations", "pairs": "preferences"}


def test_a_run_leaves_a_model_that_others_read(kind, whole, tmp_path):
    folder, level = whole[kind], LEVEL[kind]
    model = load_hugging_face(folder / "model")
    assert model.spec.information == level and model.network.decoder.dim == TINY.dim
    assert model.config["architectures"] == [
        {"steps": "LlamaForTokenClassification", "pairs": "LlamaForSequenceClassification"}[kind]
    ]
    given = write(tmp_path / "in.jsonl", [{"prompt": "Take 11 and 3.", "completion": "So 33.\nAnd 36."}])
    arguments = ["score", "--model", folder / "model", "--input", given, "--output", tmp_path / "out.jsonl"]
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 0
    (line,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert np.isfinite(line["score"])
    assert len(line["step_scores"]) == (2 if kind == "steps" else 1)
    card = (folder / "model" / "model_card.md").read_text()
    assert f"**Information level: {level}.**" in card and "transformers" in card
    assert {"steps": "errors planted by a program", "pairs": "preference pairs of pairs.jsonl"}[kind] in card


def test_a_score_of_calculations_is_read_too(whole, tmp_path):
    given = write(tmp_path / "in.jsonl", [{"prompt": "Take 11 and 3.", "completion": "So 11*3 = 33.\nAnd so on."}])
    arguments = ["score", "--model", whole["steps"] / "calculations-seed-1", "--input", given]
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments), "--output", str(tmp_path / "out.jsonl")])
    assert stop.value.code == 0
    (line,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert line["score"] <= line["step_scores"][0] <= 0 == line["step_scores"][1]
    card = (whole["steps"] / "calculations-seed-1" / "model_card.md").read_text()
    assert "human solutions of train.jsonl, without any error" in card and "plus that of its end" in card


def test_a_run_tells_what_it_found(kind, config, whole):
    folder = whole[kind]
    report = json.loads((folder / "report.json").read_text())
    assert (report["title"], report["command"], report["seeds"]) == (config.title, "traceward run mine", [0, 1])
    assert report["information"] == LEVEL[kind]
    names = {row["name"] for row in report["headline"]}
    wanted = {
        "steps": {
            "held-out kinds, process model: first wrong step found",
            "held-out kinds: log-probability",
            "kinds trained on: chance",
            "held-out kinds, calculations: first wrong step found",
            "held-out kinds, both: right trace found right",
            "pool: process model, min",
            "pool: both, sum",
            "pool: shortest",
            "pool: mean log-probability",
        },
        "pairs": {
            "pairs: accuracy",
            "pairs: accuracy, mean of seeds",
            "pairs: accuracy, standardised minimum of seeds",
            "pairs: accuracy, standardised mean of seeds less 0.5 variance",
            "pairs: accuracy of log-probability",
            "pairs: tie AUC",
            "pairs: spread of the gap",
        },
    }
    assert names >= wanted[kind]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    head = {"steps": "process", "pairs": "preferences"}[kind]
    stages = {"language-model", f"{head}-seed-0", f"{head}-seed-1"}
    stages |= {"calculations-seed-0", "calculations-seed-1", "ending"} if kind == "steps" else set()
    assert {(line["stage"], line["step"]) for line in metrics} == {(s, n) for s in stages for n in (1, 2)}
    assert all(np.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in metrics)


def test_overlaps_are_in_the_report_the_card_and_the_log(whole):
    folder = whole["steps"]
    rows = json.loads((folder / "report.json").read_text())["overlaps"]
    assert [(row["data"], row["held_out"], row["records"], row["removed"]) for row in rows] == [
        ("training problems", "the test set", 0, True),
        ("training problems", "the validation set", 0, True),
        ("validation problems", "the test set", 0, True),
        ("training problems", "candidates pool", 0, False),
    ]
    told = "No training prompt is in the held-out data (the test set, the validation set, candidates pool)."
    assert told in (folder / "log.txt").read_text() and told in (folder / "model" / "model_card.md").read_text()
    page = (folder / "report.html").read_text()
    assert "Overlap of training and held-out data" in page and "nothing is shared" in page


def test_pairs_of_test_prompts_are_removed_before_training(pairs_config, tmp_path):
    """The count is told before anything is trained."""
    rows = [{**row, "instruction": row["instruction"].upper() + "\n"} for row in comparisons(20)]
    data = replace(pairs_config.data, test=(write(tmp_path / "test.jsonl", rows),))
    config = replace(pairs_config, data=data, seeds=(0,))
    count = {each.data: each.records for each in data.overlaps()}
    assert count["training pairs"] > 0
    report, folder = json.loads((run(config, tmp_path / "run") / "report.json").read_text()), tmp_path / "run"
    assert report["overlaps"][0]["records"] == count["training pairs"] and report["overlaps"][0]["removed"]
    total = report["overlaps"][0]["total"]
    told = f"{count['training pairs']} of {total} training pairs removed: their prompts are in test set test."
    assert told in (folder / "log.txt").read_text().splitlines()[0]
    assert told in (folder / "model" / "model_card.md").read_text()
    assert "removed from the training data" in (folder / "report.html").read_text()


def test_answers_over_the_context_are_counted_and_told(kind, whole):
    log = (whole[kind] / "log.txt").read_text()
    told = {
        "steps": r"pool: 1 of 3 traces are left out, the first: 0-2",
        "pairs": r": 1 of \d+ pairs are left out, the first: ",
    }
    assert re.search(told[kind] + r".* tokens are over the model's context of 128", log), log


def test_the_same_again_and_after_a_stop(kind, config, whole, tmp_path, monkeypatch):
    """Stopped between trunk and head, and once more when all was done: the weights of the run left alone."""
    fit = RunFolder.fit

    def stopped(self, name, *given):
        if name != "language-model":
            raise KeyboardInterrupt
        return fit(self, name, *given)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(config, folder)
    assert not (folder / "model").exists() and (folder / "checkpoints" / "language-model").is_dir()
    same_weights(run(config, folder), whole[kind])
    before = (folder / "model" / WEIGHTS).stat().st_mtime_ns, (folder / "metrics.jsonl").read_text()
    same_weights(run(config, folder), whole[kind])
    assert before == ((folder / "model" / WEIGHTS).stat().st_mtime_ns, (folder / "metrics.jsonl").read_text())


def test_seeds_differ(kind, whole):
    assert (whole[kind] / "model" / WEIGHTS).read_bytes() != (whole[kind] / "model-seed-1" / WEIGHTS).read_bytes()


# --------------------------------------------------------------------- from a Hugging Face folder


@pytest.fixture
def downloaded(tmp_path):
    return save_base(tmp_path / "hub", replace(DECODER, tie_embeddings=True))


def from_folder(config, folder):
    given = {"model": TextModel(base=str(folder), context=256), "trunk": None}
    if isinstance(config, StepModel):
        return replace(config, judges=(replace(config.judges[0], **given), CALCULATIONS), seeds=(0,))
    return replace(config, seeds=(0,), **given)


def test_from_a_downloaded_model(kind, config, downloaded, tmp_path):
    folder = run(from_folder(config, downloaded), tmp_path / "run")
    model, base = load_hugging_face(folder / "model"), load_hugging_face(downloaded)
    for name in ("tokenizer.json",):
        assert (folder / "model" / name).read_text() == (downloaded / name).read_text()
    assert model.config["pad_token_id"] == base.config["pad_token_id"]
    embedding = [np.asarray(params["embedding"]) for params in (model.params["trunk"], base.params)]
    assert 0 < np.abs(embedding[0] - embedding[1]).max() < 0.1, "trained on from there"
    headline = json.loads((folder / "report.json").read_text())["headline"]
    assert not [row for row in headline if "log-probability" in row["name"]], "no language model was learned"


def test_a_process_model_of_adapters(steps_config, downloaded, tmp_path):
    config = from_folder(steps_config, downloaded)
    judge = replace(config.judges[0], adapters=LowRank(rank=2))
    folder = run(replace(config, judges=(judge,), candidates=()), tmp_path / "run")
    assert layout_of(folder / "model") == "peft"
    answer = steps_answer(["So 11*3 = 33.", "And 33+3 = 36."], "\n")
    scores = open_scorer(folder / "model").answers([Question("0", "Take 11 and 3.", (), (answer,))])
    assert len(scores.steps[0]) == 2 and scores.trace[0] <= min(scores.steps[0]) <= 0
    names = [row["name"] for row in json.loads((folder / "report.json").read_text())["headline"]]
    assert "held-out kinds: log-probability" in names, "that of the base"


def test_a_downloaded_model_without_a_padding_token_is_refused(config, downloaded, tmp_path):
    file = downloaded / "config.json"
    written = json.loads(file.read_text())
    for name in ("pad_token_id", "eos_token_id"):
        file.write_text(json.dumps({**written, name: None}))
        (tmp_path / "run").mkdir(exist_ok=True)
        wanted = f"config.json: {name}: expected a token id, got None: a reward model needs it; write the id into"
        with pytest.raises(InputError, match=wanted):
            from_folder(config, downloaded).run(tmp_path / "run", "")


# ----------------------------------------------------------------------------------- the two configs


@pytest.mark.parametrize("name", ["preferences_smollm2", "process_smollm2"])
def test_configs_on_a_language_model_can_be_stepped(name, pairs_config, steps_config, downloaded, tmp_path):
    """The configs as they are, but for sizes, files and a small base."""
    given, sizes = load_config(name), {"schedule": SHORT, "rows": 4, "length": 256}
    model = TextModel(base=str(downloaded), context=256)
    if isinstance(given, StepModel):
        judge = replace(given.judges[0], model=model, **sizes)
        config = replace(given, data=steps_config.data, candidates=(), judges=(judge,), ending=ENDS, seeds=(0,))
    else:
        config = replace(given, data=pairs_config.data, model=model, seeds=(0,), **sizes)
    assert layout_of(run(config, tmp_path / "run") / "model") == "peft"


def test_gsm8k_errors_can_be_stepped(steps_config, tmp_path):
    """The config as it is, but for sizes and files."""
    data, pool = steps_config.data, steps_config.candidates[0].file
    options = [
        "--data.train",
        data.train,
        "--data.test",
        data.test,
        "--data.drills",
        "2",
        "--data.demonstrated-drills",
        "2",
    ]
    config = override(
        load_config("gsm8k_errors"), [*options, "--candidates.0.file", pool, "--candidates.0.problems", "5"]
    )
    assert config.candidates[0] == SolutionCandidates(file=pool, problems=5)
    process, calculations = config.judges
    judges = replace(process, **SIZES), replace(calculations, **WINDOWS)
    judges = *judges[:1], replace(judges[1], windows=Calculations(epoch=60))
    config = replace(config, candidates=config.candidates[:1], judges=judges, ending=ENDS, seeds=(0,))
    folder = run(config, tmp_path / "run")
    assert load_hugging_face(folder / "model").spec.information == "demonstrations"


def test_hh_preferences_can_be_stepped(pairs_config, tmp_path):
    config = load_config("hh_preferences")
    others = write(
        tmp_path / "others.jsonl", [{**row, "instruction": f"Other {row['idx']}"} for row in comparisons(12)]
    )
    config = override(config, ["--data.train", *pairs_config.data.train, "--data.test", others])
    folder = run(replace(config, seeds=(0,), **SIZES), tmp_path / "run")
    assert load_hugging_face(folder / "model").spec.information == "preferences"


@pytest.fixture(scope="module")
def dyck_file(tmp_path_factory):
    rng, rows = np.random.default_rng(0), []
    for number in range(40):
        problem = dyck.problem("( ( (", rng)
        trace = dyck.flawed(problem, 0.5, rng) if number % 3 else dyck.written(problem, rng)
        row = {"input": trace.problem, "steps": trace.steps, "mistake_index": trace.wrong}
        rows.append({**row, "answer": "a", "target": "a"})
    return write(tmp_path_factory.mktemp("data") / "dyck_languages.jsonl", rows)


def test_bigbench_mistake_can_be_stepped(dyck_file, tmp_path):
    """And what it leaves is read by `traceward score`, which says when nothing is claimed."""
    file = shutil.copy(dyck_file, tmp_path / "dyck_languages.jsonl")
    config = override(load_config("bigbench_mistake"), ["--data.files", str(file), "--data.generated", "4"])
    assert config.judges[0].windows == Claims()
    tiny = replace(config.judges[0], length=64, **WINDOWS)
    config = replace(config, judges=(tiny,), ending=ENDS, seeds=(0, 1))
    folder = run(config, tmp_path / "run")
    report = json.loads((folder / "report.json").read_text())
    rows = {row["name"]: row for row in report["headline"]}
    found = rows["dyck_languages, claims: exact location, all traces"]
    assert found["information"] == report["information"] == "demonstrations"
    assert rows["dyck_languages: the rules, exact location, all traces"]["value"] > 0.9
    card = (folder / "claims-seed-1" / "model_card.md").read_text()
    assert "**Information level: demonstrations.**" in card and "never a wrong step" in card
    assert "the min of its steps plus that of its end" in card
    silent = write(tmp_path / "silent.jsonl", [{"prompt": "( [", "completion": "We should process.\nstack: empty"}])
    scored = ["score", "--model", str(folder / "claims-seed-0"), "--output", str(tmp_path / "out.jsonl"), "--input"]
    with pytest.raises(SystemExit) as stop:
        main([*scored, dyck_file])
    assert stop.value.code == 0 and len((tmp_path / "out.jsonl").read_text().splitlines()) == 40
    with pytest.raises(SystemExit) as stop:
        main([*scored, silent])
    assert stop.value.code == 2
    file.write_text(file.read_text() + "\n")
    with pytest.raises(InputError, match=r"dyck_languages\.jsonl: its content has changed since the run in"):
        run(config, folder)
    absent = replace(config.data, files=(str(tmp_path / "absent" / "dyck_languages.jsonl"),))
    with pytest.raises(InputError, match=r"dyck_languages\.jsonl: no such file"):
        run(replace(config, data=absent), tmp_path / "other")


def test_bigbench_mistake_labels_can_be_stepped(dyck_file, tmp_path):
    config = override(load_config("bigbench_mistake_labels"), ["--data.files", dyck_file, "--data.generated", "4"])
    given = SIZES | {"model": TextModel(decoder=TINY, context=256), "length": 256}

    def with_trunk(length):
        judge = replace(config.judges[0], **given | {"trunk": replace(TRUNK, length=length)})
        return replace(config, judges=(judge,), ending=ENDS, seeds=(0,))

    (tmp_path / "short").mkdir()
    with pytest.raises(InputError, match=r"no text fits into a row of 4 tokens; raise trunk\.length"):
        run(with_trunk(4), tmp_path / "short")
    config = with_trunk(256)
    folder = run(config, tmp_path / "run")
    assert load_hugging_face(folder / "model").spec.information == "step labels"
    names = [row["name"] for row in json.loads((folder / "report.json").read_text())["headline"]]
    assert "dyck_languages, process model: exact location, all traces" in names


def test_without_a_language_model(pairs_config):
    config = override(pairs_config, ["--trunk", "None", "--model.context", "64", "--seeds", "3"])
    assert config == replace(pairs_config, trunk=None, model=replace(pairs_config.model, context=64), seeds=(3,))
