"""Traces of any domain go through every stage, from a file of 20 lines, with and without answers."""

import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from configs.own_traces_labelled import config as labelled
from configs.smoke import config as smoke
from experiments.cli import main
from experiments.commands.run import load_config, override
from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import encode_traces
from experiments.traces.experiment import Encoding
from experiments.traces.fit_reward import FitReward
from experiments.traces.negatives import Negatives
from experiments.traces.own_traces import OwnTraces
from experiments.traces.reward_stage import RewardFolder
from experiments.traces.sizes import Sizes
from irl.algorithms.optimiser import AdamW
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.domains.base import Removed
from irl.domains.countdown.countdown import Countdown
from irl.domains.files import TraceFiles
from irl.rewards import ask, open_scorer
from irl.rewards.questions import AnswersAsTexts
from irl.text.tokenizer_configs import Characters, HuggingFaceTokenizer
from irl.train import Schedule
from irl.types import InputError
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead

DECODER = DecoderConfig(vocab_size=384, num_layers=1, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=32)
pytestmark = pytest.mark.usefixtures("shared_programs")
FAST = AdamW(learning_rate=1e-2, warmup_steps=1, total_steps=6)
TINY = Sizes(
    network=DECODER,
    policy_steps=6,
    reward_steps=6,
    improvement_steps=2,
    search_problems=2,
    samples=4,
    max_steps=8,
    max_step_tokens=8,
)


def rows(answers):
    end = (lambda n: f"#### {n + 1}") if answers else (lambda n: "Done.")
    return [{"prompt": f"Count on from {n}", "steps": [f"{n} is first", f"next is {n + 1}", end(n)]} for n in range(20)]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def hugging_face_folder(folder):
    """Byte-level BPE with the chat template of Qwen's models."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([json.dumps(row) for row in rows(False)], trainer)
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    settings = {"chat_template": template, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return HuggingFaceTokenizer(folder=str(folder))


@pytest.fixture(scope="module", params=["bytes", "hugging face"])
def unanswered(request, tmp_path_factory, shared_programs):
    """A run through all five stages, with a tokenizer of our own and with one of Hugging Face."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "run").mkdir()
    files = {name: write(folder / f"{name}.jsonl", rows(False)[part]) for name, part in PARTS.items()}
    domain = TraceFiles(**{name: str(file) for name, file in files.items()})
    tokenizer = None if request.param == "bytes" else hugging_face_folder(folder / "tokenizer")
    config = OwnTraces(domain=domain, sizes=TINY, tokenizer=tokenizer)
    config.run(folder / "run", "traceward run own_traces")
    return folder / "run"


class Catalogue(Countdown):
    """A domain of a user that was read from files."""

    files = ("catalogue.csv",)

    def removed(self):
        return (Removed("hands of the catalogue", "the test problems", 2, 9),)

    def summary(self):
        return ("9 hands",)


def test_a_users_domain_that_reads_files_is_treated_as_traces_from_files():
    config = replace(smoke, domain=Catalogue(held_out=10), encoding=Encoding())
    (overlap,) = config.overlaps()
    assert overlap.sentence.startswith("2 of 9 hands of the catalogue removed")
    assert config.files() == ["catalogue.csv"] and config.summary() == ["9 hands"]


PARTS = {"train": slice(0, 14), "validation": slice(13, 16), "test": slice(16, 20)}


def test_sizes_and_time_are_reported_first(unanswered):
    lines = [line[20:] for line in (unanswered / "log.txt").read_text().splitlines()]
    assert re.match(r"sizes: \d+ tokens a trace, \d+ a response, 8 steps; 3\d\d tokens of vocabulary; 1 lay", lines[0])
    assert lines[1].startswith("estimated time: ")
    assert "policy 0.0 (6 steps), reward 0.0 (1 x 6 steps), samples 0.0 (4 of each of 4 problems)" in lines[1]
    assert "13 training traces of 13 prompts; 4 test problems; 3 validation traces" in lines[2]
    assert "1 of 14 training traces removed: their prompts are in the validation set." in lines
    assert "no trace of train.jsonl has an answer by the rule 'marked'" in lines
    assert lines[-1].startswith("took ")
    report = json.loads((unanswered / "report.json").read_text())
    assert any("validation traces" in sentence for sentence in report["summary"])
    panel = next(each for each in report["train_time"] if each["name"] == "validation traces")
    assert [line["name"] for line in panel["series"]] == ["policy", "reward-1-likelihood"]
    assert all(value < 0 for line in panel["series"] for value in line["y"])


def test_nothing_is_said_of_correctness_without_labels(unanswered):
    log = (unanswered / "log.txt").read_text()
    assert "correctness AUC" not in log and "expert-vs-correct" not in log


def test_a_run_is_resumed_with_its_own_data_only(unanswered):
    config = OwnTraces(domain=load_config(str(unanswered / "experiment.json")).domain, sizes=TINY)
    before = (unanswered / "experiment.json").read_bytes()
    config.run(unanswered, "again")
    assert (unanswered / "experiment.json").read_bytes() == before
    train = unanswered.parent / "train.jsonl"
    content = train.read_text()
    train.write_text(content + content[: content.index("\n") + 1].replace("Count on from 0", "Count on from 90"))
    with pytest.raises(InputError, match=r"train\.jsonl: its content has changed since the run in .* began; restore"):
        replace(config, domain=replace(config.domain)).run(unanswered, "again")
    train.write_text(content)


def test_everything_but_accuracy_is_reported_without_answers(unanswered):
    report = json.loads((unanswered / "report.json").read_text())
    names = [row["name"] for row in report["headline"]]
    assert names[0] == "ended" and "demonstration above samples" in names
    assert "mean reward after training on the learned reward" in names
    assert "test_time" not in report and report["search"][0]["name"].endswith("a finished trace")
    assert report["problems"] and report["audit"][0]["findings"]["truncation AUC"]["mean"] is not None
    assert all(trace["correct"] is None for problem in report["problems"] for trace in problem["best"])
    assert "accuracy is not reported" in (unanswered / "log.txt").read_text()
    assert (unanswered / "report.html").stat().st_size > 10_000


def test_the_model_scores_and_reranks_texts_of_the_domain(unanswered, tmp_path, capsys):
    candidates = [{"text": "7 is first\nnext is 8\nDone.", "correct": True}, {"text": "7 is first", "correct": False}]
    file = write(tmp_path / "in.jsonl", [{"prompt": "Count on from 7", "candidates": candidates}])
    with pytest.raises(SystemExit) as stop:
        main(["score", "--model", str(unanswered / "model"), "--input", str(file)])
    assert stop.value.code in (0, None)
    scored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(scored) == 2 and all(isinstance(line["score"], float) for line in scored)
    assert [len(line["step_scores"]) for line in scored] == [3, 1]
    with pytest.raises(SystemExit) as stop:
        main(["rerank", "--model", str(unanswered / "model"), "--candidates", str(file)])
    assert stop.value.code in (0, None)
    assert "chosen by the learned reward" in capsys.readouterr().err


@pytest.mark.parametrize("unanswered", ["bytes"], indirect=True)
def test_accuracy_is_reported_with_answers_and_a_critic_takes_rounds(unanswered, tmp_path):
    plain = load_config(str(unanswered / "experiment.json"))
    domain = TraceFiles(train=str(write(tmp_path / "traces.jsonl", rows(True))), held_out=0.2)
    (tmp_path / "run").mkdir()
    reward = FitReward(
        **{name: getattr(plain.reward, name) for name in ("demonstrations", "warm_up", "warm_up_schedule")},
        network=CriticConfig(decoder=DECODER),
        warm_up_rows=4,
        row_length=plain.reward.row_length,
        evaluations=1,
        critic=PairwiseCritic(optimiser=FAST),
        rounds=1,
        round_schedule=Schedule(steps=2),
        negatives=Negatives(resets=20, sampled=10, samples_per_problem=2, ends=20),
        batch_size=4,
    )
    config = replace(plain, domain=domain, reward=reward, search=None, improvement=None, seed=1)
    config.run(tmp_path / "run", "command")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    names = [row["name"] for row in report["headline"]]
    assert {"pass@1", "rerank@4", "pass@4"} <= set(names) and names.count("cons@4") == 1


@pytest.mark.parametrize("unanswered", ["bytes"], indirect=True)
def test_labels_of_the_file_train_an_outcome_model(unanswered, tmp_path):
    def judged(row, n):
        right, wrong = "\n".join(row["steps"]), "\n".join([*row["steps"][:2], f"#### {n}"])
        return {
            "prompt": row["prompt"],
            "candidates": [{"text": right, "correct": True}, {"text": wrong, "correct": False}],
        }

    file = write(tmp_path / "traces.jsonl", [judged(row, n) for n, row in enumerate(rows(True))])
    (tmp_path / "run").mkdir()
    sizes = replace(TINY, label_steps=3, improvement_steps=0, search_problems=0)
    config = replace(labelled, domain=TraceFiles(train=str(file), held_out=0.2), sizes=sizes)
    config.run(tmp_path / "run", "traceward run own_traces_labelled")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    compared = {row["name"]: row for row in report["headline"] if row["name"].startswith("better of a labelled pair")}
    assert [name.partition(": ")[2] for name in compared] == [
        "learned reward",
        "outcome model",
        "log-probability (sum)",
        "log-probability (mean)",
        "shorter",
    ]
    assert [row["information"] for row in compared.values()] == ["demonstrations", "outcome labels", *["none"] * 3]
    assert all(row["note"] == "4 pairs of test prompts" for row in compared.values())
    assert "outcome model@4" in {row["name"] for row in report["headline"]}
    assert "outcome model 0.0 (3 steps)" in (tmp_path / "run" / "log.txt").read_text()
    with pytest.raises(InputError, match=r"train\.jsonl: 0 pairs of a better and a worse trace by its labels; give"):
        replace(config, domain=load_config(str(unanswered / "experiment.json")).domain).plan()


def test_traces_over_the_limits_are_counted_with_limits_that_fit(tmp_path):
    records = [row | {"steps": row["steps"] * (1 + n // 10)} for n, row in enumerate(rows(False))]
    domain = TraceFiles(train=str(write(tmp_path / "traces.jsonl", records)), held_out=0.1)
    encoding = Encoding(max_length=256, max_steps=3, tokenizer=Characters())
    workspace = Workspace(tmp_path, 0, environment=domain, encoder=encoding.encoder(domain))
    traces = domain.demonstrations("train")
    over = sum(len(trace.steps) == 6 for trace in traces)
    assert len(encode_traces(workspace, traces)) == 18 - over
    limit = r"256 tokens or 3 steps and left out; \d+ tokens and 6 steps would fit 95% \(encoding or sizes: max_length"
    assert re.search(f"{over} of 18 traces are over {limit}", (tmp_path / "log.txt").read_text())
    with pytest.raises(InputError, match=r"all 18 traces are over the limit; raise encoding.max_length"):
        encode_traces(replace(workspace, encoder=replace(workspace.encoder, max_length=4)), traces)


def test_long_prompts_are_counted_once(tmp_path):
    long = [row | {"prompt": row["prompt"] + " please" * 30} for row in rows(False)[:5]]
    domain = TraceFiles(train=str(write(tmp_path / "traces.jsonl", [*long, *rows(False)[5:]])), held_out=0.1)
    encoding = Encoding(max_length=96, max_steps=8, max_response=40, tokenizer=Characters())
    workspace = Workspace(tmp_path, 0, environment=domain, encoder=encoding.encoder(domain))
    for _ in range(3):
        kept = workspace.problems("train")
    assert all(len(workspace.encoder.prompt(problem.prompt)) <= 56 for problem in kept)
    assert (tmp_path / "log.txt").read_text().count("train prompts are over 56 tokens and left out") == 1


def test_traces_that_the_tokenizer_cannot_write_are_refused(tmp_path):
    foreign = [{"prompt": f"Count on from {n}", "steps": [f"{n} → {n + 1}", "Done."]} for n in range(20)]
    domain = TraceFiles(train=str(write(tmp_path / "traces.jsonl", foreign)))
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"cannot write \d+ of \d+ training traces .*more than 1%.*give another"):
        OwnTraces(domain=domain, tokenizer=Characters(), sizes=TINY).run(tmp_path / "run", "traceward run own_traces")


def test_a_reward_of_a_hugging_face_folder_takes_the_place_of_one_that_is_trained(tmp_path):
    """It reranks and trains the policy, and reads texts by its own tokenizer and template."""
    tokenizer = hugging_face_folder(tmp_path / "tokenizer")
    network = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(labels=1), read=LastToken())
    files = {path.name: path.read_text() for path in (tmp_path / "tokenizer").iterdir()}
    params = network.make().init(jax.random.key(0))
    save_hugging_face(tmp_path / "hub", network=network, params=params, pad_token=0, files=files)
    domain = TraceFiles(train=str(write(tmp_path / "traces.jsonl", rows(False))), held_out=0.2)
    (tmp_path / "run").mkdir()
    config = OwnTraces(
        domain=domain, sizes=replace(TINY, search_problems=0), reward=RewardFolder(folder=str(tmp_path / "hub"))
    )
    config.run(tmp_path / "run", "traceward run own_traces --reward reward-folder")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["information"] == "preferences"
    names = [row["name"] for row in report["headline"]]
    assert "demonstration above samples" in names and "mean reward after training on the learned reward" in names
    assert not (tmp_path / "run" / "model").exists() and tokenizer.most <= DECODER.vocab_size
    shown = report["problems"][0]["best"][0]
    prompt, scorer = report["problems"][0]["prompt"], open_scorer(tmp_path / "hub")
    assert scorer.answers([ask(prompt, [shown["text"]])]).trace[0] == pytest.approx(shown["score"], abs=1e-5)
    twice = AnswersAsTexts(scorer)([prompt] * 3, [shown["text"], "", shown["text"]], [True, True, False])
    assert twice.trace[0] == twice.trace[2] == pytest.approx(shown["score"], abs=1e-5) and twice.trace[1] == -np.inf
    assert len(twice.steps[0]) == 1 and twice.steps[1] == [] and len(twice.step_texts) == 3


def test_a_tokenizer_and_a_reward_are_exchanged_on_the_command_line(tmp_path):
    tokenizer = hugging_face_folder(tmp_path / "tokenizer")
    options = ["--tokenizer", "hugging-face-tokenizer", "--tokenizer.folder", tokenizer.folder]
    options += ["--reward", "reward-folder", "--reward.folder", "hub"]
    changed = override(load_config("own_traces"), options)
    assert changed.tokenizer == tokenizer and changed.reward == RewardFolder(folder="hub")
    network = replace(load_config("smoke"), encoding=Encoding(tokenizer=tokenizer)).resolved()
    assert network.policy.network.vocab_size == tokenizer.most == network.reward.vocabulary
