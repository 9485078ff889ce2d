"""The commands on files: what they answer, and what they say of files, folders and options that are not right."""

import errno
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from experiments.cli import main
from experiments.commands.run import load_config
from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import Demonstrations, encode_traces, of_file
from experiments.traces.experiment import Experiment
from irl.domains.countdown.countdown import Countdown
from irl.policies.language_model import LanguageModel
from irl.rewards.rows import RowScorer
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from irl.types import InputError, Problem, Step, Trace
from reward_models.folders.native import encoding_of
from reward_models.folders.opening import open_model
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.registry import forget
from reward_models.types import ScoreSpec

pytestmark = pytest.mark.usefixtures("shared_programs")

TOKENIZER = number_tokenizer()
TINY = DecoderConfig(
    vocab_size=TOKENIZER.get_vocab_size(), num_layers=1, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=32
)
RIGHT = "10 - 4 = 6 (left: 5 6 6)\n6 * 5 = 30 (left: 6 30)\n30 - 6 = 24 (left: 24)\nAnswer: (10 - 4) * 5 - 6 = 24"
SAME_ANSWER = (
    "5 * 6 = 30 (left: 4 10 30)\n10 - 4 = 6 (left: 6 30)\n30 - 6 = 24 (left: 24)\nAnswer: 5 * (10 - 4) - 6 = 24"
)
WRONG = "Steps:\n4 + 5 = 9 (left: 6 9 10)\nAnswer: 4 + 5 + 6 + 10 = 25"
NO_ANSWER = "10 - 4 = 6 (left: 5 6 6)\r\n6 * 5 = 30 (left: 6 30)"
NONE = "6 - 4 = 2 (left: 2 5 10)\nAnswer: None"
PROSE = "Let us think: \u20ac 24?! \U0001f600 (left: "
MALFORMED = (NO_ANSWER, NONE, PROSE, "", " \n\t\r\n", "Steps:\n")
WITHOUT_STEP = ("", " \n\t\r\n", "Steps:\n")
FIRST = (WRONG, RIGHT, *MALFORMED, RIGHT, SAME_ANSWER)
SECOND = ("1 + 2 = 3 (left: 3 4 7)\nAnswer: 1 + 2 + 4 + 7 = 14", "Answer: (7 - 2 + 1) * 4 = 24")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def traceward(capsys):
    """A command, in this process: exit code, standard output and standard error."""

    def run(*arguments) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return Outcome(stop.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A run folder with a random reward in `model` and a random policy in `policy`."""
    folder = tmp_path_factory.mktemp("run")
    workspace = Workspace(folder, 0, environment=Countdown(), encoder=Encoder(TOKENIZER, 96, 8))
    network = SoftAdvantageConfig(decoder=TINY)
    params, spec = network.make().init(jax.random.key(0)), network.make().spec
    workspace.save_model("model", network, params, spec, windows=workspace.windows)
    workspace.save_model("policy", TINY, params, ScoreSpec("reward", "sum", "demonstrations"))
    return folder


@pytest.fixture
def model(models):
    return models / "model"


@pytest.fixture
def model_copy(model, tmp_path):
    """For those who will damage it."""
    return shutil.copytree(model, tmp_path / "model")


def record(id, prompt, texts, labels=None):
    labels = [None] * len(texts) if labels is None else labels
    rows = [
        {"text": t} if label is None else {"text": t, "correct": label} for t, label in zip(texts, labels, strict=True)
    ]
    return {"id": id, "prompt": prompt, "candidates": rows}


def is_right(text):
    return text in (RIGHT, SAME_ANSWER, SECOND[1])


LABELLED = (
    record("first", "4 5 6 10", FIRST, [is_right(text) for text in FIRST]),
    record("second", "1 2 4 7", SECOND, [is_right(text) for text in SECOND]),
)
UNLABELLED = (record("first", "4 5 6 10", FIRST), record("second", "1 2 4 7", SECOND))


def write(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(lzma.compress(text.encode()) if path.suffix == ".xz" else text.encode())
    return path


@pytest.fixture
def candidates(tmp_path):
    return write(tmp_path / "candidates.jsonl", LABELLED)


def holds(folder):
    """All files of a folder, byte for byte."""
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


# ------------------------------------------------------------------------------------------------ help


@pytest.mark.parametrize(
    ("command", "mentioned"),
    [
        ((), ("run CONFIG", "score", "rerank", "evaluate", "report FOLDER")),
        (("run",), ("--output", "--overwrite", "--seed", "config.json")),
        (("rerank",), ("--model", "--candidates", "--output", '"step_scores"', "standard output by default")),
        (("score",), ("--model", "--candidates", "--output", '"step_scores"')),
        (("evaluate",), ("--model", "--candidates", '"correct"')),
        (("report",), ("FOLDER", "report.html", "report.json")),
        (("run", "smoke"), ("--reward.rounds", "--policy.schedule.steps", "--rerank.samples", "--seed")),
    ],
    ids=lambda value: " ".join(value) if value in ((), ("run", "smoke")) or len(value) == 1 else "",
)
def test_help(traceward, command, mentioned):
    code, out, err = traceward(*command, "--help")
    assert (code, err) == (0, "")
    for word in mentioned:
        assert word in out


@pytest.mark.parametrize("command", [(), ("run",), ("report",)])
def test_without_arguments(traceward, command):
    code, out, _ = traceward(*command)
    assert code == 2
    assert out.startswith("usage: traceward")


def test_unknown_command(traceward):
    assert traceward("rank") == (
        2,
        "",
        "traceward: unknown command 'rank'; expected one of run, score, rerank, evaluate, convert, ratings, report\n",
    )


@pytest.mark.parametrize("command", ["rerank", "score", "evaluate"])
def test_options_of_candidate_commands(traceward, model, candidates, command):
    code, _, err = traceward(command, "--model", model)
    assert code == 2
    assert "--candidates" in err
    code, _, err = traceward(command, "--modle", model, "--candidates", candidates)
    assert code == 2
    assert "--modle" in err and "--model" in err.replace("--modle", "")


def test_console_script(model, candidates):
    """`traceward`, as packaging installs it, answers on a pipe, and what it answers is JSON lines and nothing else."""
    script = Path(sys.executable).with_name("traceward")
    assert script.exists(), "run `pip install -e . --no-deps`"
    command = [script, "rerank", "--model", model, "--candidates", candidates]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=candidates.parent)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["first", "second"]
    assert "chosen by the learned reward (demonstrations)" in done.stderr


# -------------------------------------------------------------------------------------- rerank, score


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_rerank(traceward, model, tmp_path, suffix):
    path = write(tmp_path / f"candidates.jsonl{suffix}", LABELLED)
    code, out, err = traceward("rerank", "--model", model, "--candidates", path)
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["id"] for answer in answers] == ["first", "second"]
    for answer, asked in zip(answers, LABELLED, strict=True):
        assert list(answer) == ["id", "chosen", "scores", "step_scores"]
        texts = [candidate["text"] for candidate in asked["candidates"]]
        assert len(answer["scores"]) == len(answer["step_scores"]) == len(texts), "no candidate is dropped"
        finite = [-np.inf if score is None else score for score in answer["scores"]]
        assert answer["chosen"] == int(np.argmax(finite))
        assert [score is None for score in answer["scores"]] == [text in WITHOUT_STEP for text in texts]
        for text, score, steps in zip(texts, answer["scores"], answer["step_scores"], strict=True):
            assert len(steps) == len(Countdown().split_steps(text))
            assert score is None or score == pytest.approx(sum(steps), rel=1e-5), "the declared aggregate is the sum"
    first = answers[0]["scores"]
    assert first[FIRST.index(RIGHT)] == first[len(FIRST) - 2], "equal texts, equal scores"
    assert len(set(first) - {None}) == len({*FIRST} - {*WITHOUT_STEP}), "different texts, different scores"
    assert "12 candidates: 4 correct, 6 malformed, 2 wrong\n" in err
    assert f"{path}: 3 of 12 candidates have no score\n  row 1 (first), candidate 5: there is no step in it; " in err


def summary(err):
    """The named values of the summary, with their intervals."""
    found = re.findall(r"^(\w[^\n]*?)\s+(\d\.\d{3}) \[(\d\.\d{3}), (\d\.\d{3})\]$", err, re.MULTILINE)
    return {name: tuple(map(float, values)) for name, *values in found}


def test_rerank_sums_up(traceward, model, candidates):
    code, out, err = traceward("rerank", "--model", model, "--candidates", candidates)
    assert code == 0
    rows = summary(err)
    assert list(rows) == [
        "chosen by the learned reward (demonstrations)",
        "majority vote",
        "majority weighted by exp(score)",
        "majority weighted by exp(score / deviation)",
        "shortest candidate",
        "one candidate at random",
        "oracle",
    ]
    chosen = [json.loads(line)["chosen"] for line in out.splitlines()]
    right = [asked["candidates"][index]["correct"] for asked, index in zip(LABELLED, chosen, strict=True)]
    value = {name: row[0] for name, row in rows.items()}
    assert value["chosen by the learned reward (demonstrations)"] == pytest.approx(np.mean(right))
    # first: RIGHT twice and SAME_ANSWER agree against one WRONG; second: two answers, the first of them wins
    assert value["majority vote"] == pytest.approx((1 + 0) / 2)
    scores = [np.array([-np.inf if s is None else s for s in json.loads(line)["scores"]]) for line in out.splitlines()]
    together = np.concatenate(scores)
    for name, scale in (("score", 1.0), ("score / deviation", together[np.isfinite(together)].std())):
        won = []
        for asked, own in zip(LABELLED, scores, strict=True):
            votes, labels = {}, {}
            for each, score in zip(asked["candidates"], own, strict=True):
                answer = Countdown().answer_key(Problem(id="a", prompt=asked["prompt"]), each["text"])
                labels.setdefault(answer, []).append(each["correct"])
                if answer is not None:
                    votes[answer] = votes.get(answer, 0.0) + np.exp((score - max(own)) / scale)
            won.append(np.mean(labels[max(votes, key=votes.get)]))
        assert value[f"majority weighted by exp({name})"] == pytest.approx(np.mean(won))
    short = [
        min(asked["candidates"], key=lambda each: len(each["text"].strip()) or 10**6)["correct"] for asked in LABELLED
    ]
    assert value["shortest candidate"] == pytest.approx(np.mean(short))
    assert value["one candidate at random"] == pytest.approx((3 / 10 + 1 / 2) / 2)
    assert value["oracle"] == 1
    assert f"share of the oracle's: {np.mean(right):.3f}\n" in err


def test_rerank_compares_with_the_likelihood_of_a_policy(traceward, model, models, candidates):
    code, _, err = traceward("rerank", "--model", model, "--candidates", candidates, "--policy", models / "policy")
    assert code == 0
    policy = open_model(models / "policy")
    encoder = Encoder(TOKENIZER, 4096, 256)
    right, per_character = [], []
    for asked in LABELLED:
        texts = [each["text"] for each in asked["candidates"]]
        fitting = [i for i, text in enumerate(texts) if text not in WITHOUT_STEP]
        rows = encoder.many([asked["prompt"]] * len(fitting), [Countdown().split_steps(texts[i]) for i in fitting])
        batch = encoder.batch(rows, [0] * len(rows), 128)
        found = np.asarray(LanguageModel(network=policy.network).log_prob(policy.params, batch)).sum(axis=1)
        right.append(asked["candidates"][fitting[int(np.argmax(found))]]["correct"])
        length = np.array([len(texts[i].strip()) for i in fitting])
        per_character.append(asked["candidates"][fitting[int(np.argmax(found / length))]]["correct"])
    rows = summary(err)
    assert rows["log-probability of the policy"][0] == pytest.approx(np.mean(right))
    assert rows["log-probability of the policy per character"][0] == pytest.approx(np.mean(per_character))
    code, _, err = traceward("rerank", "--model", model, "--candidates", candidates, "--policy", model)
    assert code == 2 and "expected a policy that a run saved" in err


def test_rerank_without_labels(traceward, model, tmp_path, candidates):
    path = write(tmp_path / "unlabelled.jsonl", UNLABELLED)
    code, out, err = traceward("rerank", "--model", model, "--candidates", path)
    assert code == 0
    assert "no problem has the label 'correct' on all its candidates: no accuracy\n" in err
    assert summary(err) == {}
    assert out == traceward("rerank", "--model", model, "--candidates", candidates).out, "labels change no answer"


def test_rerank_counts_only_labelled_problems(traceward, model, tmp_path):
    path = write(tmp_path / "some.jsonl", (UNLABELLED[0], LABELLED[1]))
    err = traceward("rerank", "--model", model, "--candidates", path).err
    assert summary(err)["one candidate at random"][0] == 0.5


def test_scores_do_not_depend_on_the_company(traceward, model, tmp_path):
    """Alone, in another order, beside others: a candidate keeps its score, and the order of the file stays."""
    together = traceward("rerank", "--model", model, "--candidates", write(tmp_path / "a.jsonl", UNLABELLED)).lines
    backwards = [record(row["id"], row["prompt"], [c["text"] for c in row["candidates"]][::-1]) for row in UNLABELLED]
    turned = traceward("rerank", "--model", model, "--candidates", write(tmp_path / "b.jsonl", backwards[::-1])).lines
    assert [answer["id"] for answer in turned] == ["second", "first"]
    single = [record(f"{i}", "4 5 6 10", [text]) for i, text in enumerate(FIRST)]
    alone = traceward("rerank", "--model", model, "--candidates", write(tmp_path / "c.jsonl", single)).lines

    def known(scores):
        return np.array([np.nan if score is None else score for score in scores])

    first = known(together[0]["scores"])
    np.testing.assert_allclose(known(turned[1]["scores"])[::-1], first, rtol=1e-5)
    np.testing.assert_allclose(known(turned[0]["scores"])[::-1], known(together[1]["scores"]), rtol=1e-5)
    np.testing.assert_allclose([known(answer["scores"])[0] for answer in alone], first, rtol=1e-5)
    assert np.isnan(first).sum() == len(WITHOUT_STEP)


def test_score(traceward, model, candidates, tmp_path):
    reranked = traceward("rerank", "--model", model, "--candidates", candidates).lines
    output = tmp_path / "scores.jsonl.xz"
    code, out, err = traceward("score", "--model", model, "--candidates", candidates, "--output", output)
    assert (code, out) == (0, "")
    assert "9 candidates scored; information level: demonstrations\n" in err
    rows = [json.loads(line) for line in lzma.decompress(output.read_bytes()).decode().splitlines()]
    expected = [
        (answer["id"], index, score, steps)
        for answer in reranked
        for index, (score, steps) in enumerate(zip(answer["scores"], answer["step_scores"], strict=True))
    ]
    assert [(row["id"], row["candidate"], row["score"], row["step_scores"]) for row in rows] == expected
    assert rows[0]["steps"] == WRONG.splitlines()[1:], "the header is no step"
    scored, skipped = rows[0], rows[FIRST.index("")]
    assert list(scored) == ["id", "candidate", "score", "step_scores", "steps"]
    assert list(skipped) == [*scored, "reason"] and skipped["reason"].startswith("there is no step in it; ")


def test_candidates_without_a_score_are_never_chosen(traceward, model, tmp_path):
    """They have the score null; of a problem without any score the first candidate is chosen."""
    rows = [
        record("none", "4 5 6 10", ["", "\n"]),
        record("foreign", "Tom has 3 apples.", [RIGHT, WRONG], [True, False]),
        record("long", "4 5 6 10", [RIGHT + " + 0" * 20_000, WRONG]),
    ]
    path = write(tmp_path / "in.jsonl", rows)
    code, out, err = traceward("rerank", "--model", model, "--candidates", path)
    assert code == 0, err
    answers = [json.loads(line) for line in out.splitlines()]
    assert answers[0] == {"id": "none", "chosen": 0, "scores": [None, None], "step_scores": [[], []]}
    assert answers[1] == {"id": "foreign", "chosen": 0, "scores": [None, None], "step_scores": [[], []]}
    assert answers[2]["chosen"] == 1 and answers[2]["scores"][0] is None
    assert f"{path}: 5 of 6 candidates have no score\n" in err
    assert "\n  row 2 (foreign), candidate 0: prompt 'Tom has 3 apples.': expected numbers" in err
    assert re.search(r"\n  row 3 \(long\), candidate 0: \d+ tokens are over the limit of 16384; ", err)
    assert re.search("^6 candidates: .*2 with a foreign prompt", err, re.MULTILINE)
    code, out, err = traceward("rerank", "--model", model, "--candidates", path, "--strict")
    assert (code, out) == (2, "")
    assert f"traceward: {path}: row 1 (none), candidate 0: there is no step in it" in err


@pytest.mark.parametrize("command", ["rerank", "score", "evaluate"])
def test_a_file_without_any_score(traceward, model, tmp_path, command):
    rows = [record("p", "4 5 6 10", ["", "\n"], [True, False])]
    path, output = write(tmp_path / "in.jsonl", rows), () if command == "evaluate" else ("--output", tmp_path / "out")
    code, out, err = traceward(command, "--model", model, "--candidates", path, *output)
    assert (code, out) == (2, "")
    assert f"traceward: {path}: none of its 2 candidates has a score: row 1 (p), candidate 0: there is no step" in err
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]


def test_rerank_the_samples_of_gpt4(traceward, model, shared_data, tmp_path):
    path, output = shared_data / "game24" / "gpt4_cot_ranks_901_950.jsonl.xz", tmp_path / "chosen.jsonl"
    code, out, err = traceward("rerank", "--model", model, "--candidates", path, "--output", output)
    assert (code, out) == (0, "")
    asked = [json.loads(line) for line in lzma.decompress(path.read_bytes()).decode().splitlines()]
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert [answer["id"] for answer in answers] == [row["id"] for row in asked]
    assert [len(answer["scores"]) for answer in answers] == [100] * 50
    assert "5000 candidates: 254 correct, " in err
    right = sum(row["candidates"][answer["chosen"]]["correct"] for row, answer in zip(asked, answers, strict=True))
    assert summary(err)["chosen by the learned reward (demonstrations)"][0] == pytest.approx(right / 50)
    labels = np.array([[candidate["correct"] for candidate in row["candidates"]] for row in asked])
    assert summary(err)["one candidate at random"][0] == pytest.approx(labels.mean(), abs=5e-4)
    assert summary(err)["oracle"][0] == labels.any(1).mean()


# --------------------------------------------------------------------------------- evaluate, report


def test_evaluate(traceward, model, tmp_path):
    rows = [
        record("a", "4 5 6 10", [RIGHT, RIGHT, WRONG, NONE], [True, True, False, False]),
        record("b", "1 2 4 7", [WRONG, NONE, "", PROSE], [False] * 4),
    ]
    code, out, _ = traceward("evaluate", "--model", model, "--candidates", write(tmp_path / "pool.jsonl", rows))
    assert code == 0
    assert "2 problems, 95% bootstrap intervals over problems" in out
    assert "…" not in out, "no number may be cut off on a narrow screen"
    for heading in ("candidates", "learned reward", "majority", "shortest", "oracle", "demonstrations", "verifier"):
        assert heading in out
    means = [re.findall(r"\d\.\d{3}", line) for line in out.splitlines() if re.match(r"│ \d", line)]
    assert len(means) == 3, "1, 2 and 4 candidates"
    assert means[0] == ["0.250"] * 4, "one candidate is one candidate, whoever chooses"
    # two of four drawn: one of them is right for a but for the draw {WRONG, NONE}: 1 - 1/6, half of it over both
    assert [row[3] for row in means] == ["0.250", "0.417", "0.500"]
    assert means[2][1] == "0.500", "two votes for the right answer against one"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (UNLABELLED, r"problem 'first': a candidate without 'correct'"),
        (LABELLED, r"problems have 2 to 10 candidates; make them equal"),
    ],
)
def test_evaluate_needs_labels_and_equal_numbers(traceward, model, tmp_path, rows, message):
    path = write(tmp_path / "pool.jsonl", rows)
    code, out, err = traceward("evaluate", "--model", model, "--candidates", path)
    assert (code, out) == (2, "")
    assert f"traceward: {path}: {message}\n" in err


def test_report(traceward, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"title": "A title of its own"}))
    code, out, err = traceward("report", tmp_path)
    assert (code, err) == (0, "")
    assert out == f"{tmp_path / 'report.html'}\n"
    assert "A title of its own" in (tmp_path / "report.html").read_text()


def test_report_of_no_run(traceward, tmp_path):
    code, _, err = traceward("report", tmp_path / "nowhere")
    assert (code, err) == (2, f"traceward: {tmp_path / 'nowhere'}: no such run folder\n")
    code, _, err = traceward("report", tmp_path)
    assert code == 2
    assert err.startswith(f"traceward: {tmp_path / 'report.json'}")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------ bad candidates


GOOD = json.dumps(LABELLED[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": empty; expected one JSON object per line"),
        ("\n\n", ": empty; expected one JSON object per line"),
        (f"{GOOD}\n{{oops\n", ", line 2, column 2: malformed JSON "),
        (f"{GOOD}\n\n[1]\n", r", line 3: expected an object \{...\}, got list; write one object per row"),
        (
            json.dumps(record("x", "solve this", [RIGHT])),
            r": none of its 1 candidates has a score: row 1 \(x\), candidate 0: prompt 'solve this': expected numbers",
        ),
    ],
    ids=["empty", "blank", "json", "list", "prompt"],
)
@pytest.mark.parametrize("command", ["rerank", "score"])
def test_bad_candidates(traceward, model, tmp_path, command, content, message):
    """Exit code 2 and file and line; an output of an earlier day stays as it was."""
    assert_file_is_refused(traceward, command, model, tmp_path, content, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "1 2 3 4"}\n', "field candidates: missing; present: prompt"),
        ('{"prompts": "1 2 3 4", "candidates": [{"text": ""}]}', "field prompt: missing; .* rename it"),
        ('{"prompt": "1 2 3 4", "candidates": []}', "field candidates: expected at least one entry"),
        ('{"prompt": "1 2", "candidates": [{"text": 3}]}', r"field candidates\[0\].text: expected a string"),
    ],
    ids=["missing", "renamed", "none", "number"],
)
@pytest.mark.parametrize("command", ["rerank", "score", "score --strict"])
def test_bad_rows_of_candidates(traceward, model, tmp_path, command, content, message):
    """`rerank` needs every row; `score` lists rows that do not fit, and refuses a file of which none fits."""
    place = ", line 1, " if command == "rerank" else "(.|\n)* row 1: "
    assert_file_is_refused(traceward, command, model, tmp_path, content, place + message)


@pytest.mark.parametrize("strict", [(), ("--strict",)])
def test_a_bad_row_among_good_ones(traceward, model, tmp_path, strict):
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text(f'{GOOD}\n{{"prompt": "1 2 3 4"}}\n')
    code, _, err = traceward("score", "--model", model, "--candidates", path, "--output", output, *strict)
    assert code == (2 if strict else 0)
    assert re.search("row 2.*: field candidates: missing; present: prompt", err), err
    assert output.exists() == (not strict)


def test_an_id_for_each_problem(traceward, model, tmp_path):
    message = ", line 2, field id: 'first' is already used on line 1; give each problem its own"
    assert_file_is_refused(traceward, "rerank", model, tmp_path, f"{GOOD}\n{GOOD}\n", message)


def assert_file_is_refused(traceward, command, model, tmp_path, content, message):
    """Exit code 2 with file and message on the standard error; the older output and the folder are unchanged."""
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text(content)
    output.write_text("the answers of yesterday\n")
    before = holds(tmp_path)
    code, out, err = traceward(*command.split(), "--model", model, "--candidates", path, "--output", output)
    assert (code, out) == (2, "")
    assert re.search(rf"^traceward: {re.escape(str(path))}.*{message}", err, re.MULTILINE), err
    assert holds(tmp_path) == before, "nothing written, nothing left lying about"


def test_bad_last_line_of_many_blocks(traceward, model, tmp_path):
    """The answers of blocks before it were made already: they must not replace the old file either."""
    rows = [record(f"{i}", "4 5 6 10", [WRONG, ""]) for i in range(70)]
    path, output = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    with open(path, "a") as file:
        file.write('{"id": "last", "prompt": "4 5 6 10"')
    output.write_text("old")
    code, _, err = traceward("rerank", "--model", model, "--candidates", path, "--output", output)
    assert code == 2
    assert f"{path}, line 71, column " in err
    assert output.read_text() == "old"
    assert {entry.name for entry in tmp_path.iterdir()} == {"in.jsonl", "out.jsonl"}


def test_candidates_that_are_not_there(traceward, model, tmp_path):
    code, _, err = traceward("rerank", "--model", model, "--candidates", tmp_path / "no.jsonl")
    assert code == 2
    assert f"traceward: {tmp_path / 'no.jsonl'}: no such file; check the path and its ending\n" in err
    code, _, err = traceward("rerank", "--model", model, "--candidates", tmp_path)
    assert code == 2
    assert f"traceward: {tmp_path}: cannot be read (Is a directory); check the path" in err


def test_cut_off_archive(traceward, model, tmp_path):
    path = write(tmp_path / "in.jsonl.xz", LABELLED)
    path.write_bytes(path.read_bytes()[:-20])
    code, _, err = traceward("rerank", "--model", model, "--candidates", path, "--output", tmp_path / "out")
    assert code == 2
    assert re.search(r"in\.jsonl\.xz, line \d: compressed data broken or cut off .*; copy or download", err)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------- bad output


@pytest.mark.parametrize("command", ["rerank", "score"])
def test_output_is_a_folder_or_the_input(traceward, model, candidates, command):
    before = holds(candidates.parent)
    given = command, "--model", model, "--candidates", candidates, "--output"
    folder = candidates.parent
    assert traceward(*given, folder) == (2, "", f"traceward: --output {folder}: is a folder; name a file\n")
    code, _, err = traceward(*given, candidates)
    assert (code, err) == (2, f"traceward: --output {candidates}: is the input file; choose another name\n")
    code, _, err = traceward(*given, folder / "no" / "out.jsonl")
    assert code == 2
    assert (
        f"traceward: {folder / 'no' / 'out.jsonl'}: not writable (No such file or directory); check the folder" in err
    )
    assert holds(folder) == before


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_disk_full_while_answers_are_written(traceward, model, candidates, tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    output = tmp_path / "out.jsonl"
    output.write_text("the answers of yesterday\n")
    before = holds(tmp_path)
    given = "rerank", "--model", model, "--candidates", candidates, "--output", output
    with monkeypatch.context() as patch:
        patch.setattr(f"irl.data.json_lines.os.{call}", full)
        code, _, err = traceward(*given)
    assert code == 2
    assert f"traceward: {output}: disk full; free some space and run again, nothing was overwritten\n" in err
    assert holds(tmp_path) == before
    assert traceward(*given).code == 0
    assert len(output.read_text().splitlines()) == 2


# --------------------------------------------------------------------------------------- bad models


def refused(traceward, model, candidates):
    """The message, after checking that nothing was answered and the folder is as it was."""
    before = holds(model) if model.is_dir() else None
    code, out, err = traceward("rerank", "--model", model, "--candidates", candidates)
    assert (code, out) == (2, "")
    assert err.startswith("traceward: ") and err.count("\n") == 1, err
    assert before is None or holds(model) == before
    return err.removeprefix("traceward: ").rstrip("\n")


def test_model_of_another_encoding(traceward, model_copy, candidates):
    file = model_copy / "tokenizer.json"
    changed = file.read_text().replace('"Answer: "', '"Antwort: "')
    assert changed != file.read_text()
    file.write_text(changed)
    sha, wanted = encoding_of(changed)[:12], encoding_of(TOKENIZER.to_str())[:12]
    why = f"damaged or edited since it was saved (sha256 {sha}, but manifest.json has {wanted})"
    message = f"{file}: {why}; copy or save the model again"
    assert refused(traceward, model_copy, candidates) == message


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "manifest.json"])
def test_model_folder_with_a_file_missing(traceward, model_copy, candidates, name):
    (model_copy / name).unlink()
    advice = "half copied, or no model folder; copy or save it again"
    assert refused(traceward, model_copy, candidates) == f"{model_copy}: {name} missing: {advice}"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "manifest.json"])
def test_model_folder_with_a_file_cut_off(traceward, model_copy, candidates, name):
    file = model_copy / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    message = refused(traceward, model_copy, candidates)
    assert message.startswith(str(file))
    assert "copy or save the model again" in message


def test_model_folder_that_is_none(traceward, candidates, tmp_path):
    assert "no such folder; expected a model folder" in refused(traceward, tmp_path / "no", candidates)
    assert refused(traceward, candidates.parent, candidates).startswith(f"{candidates.parent}: model.safetensors, ")


def test_weights_of_another_network(traceward, model_copy, candidates):
    config = json.loads((model_copy / "config.json").read_text())
    config["network"]["decoder"]["dim"] = 24
    (model_copy / "config.json").write_text(json.dumps(config))
    message = refused(traceward, model_copy, candidates)
    assert message.startswith(f"{model_copy / 'config.json'}: damaged or edited since it was saved")


def test_a_policy_is_no_reward(traceward, models, candidates):
    policy = models / "policy"
    advice = "the reward is the folder 'model' of a run"
    assert refused(traceward, policy, candidates) == f"{policy}: holds a policy, not a reward model; {advice}"


def test_model_of_an_unknown_environment(traceward, model_copy, candidates):
    file = model_copy / "manifest.json"
    file.write_text(file.read_text().replace('"Countdown"', '"Chess"'))
    assert refused(traceward, model_copy, candidates).startswith(f"{file}: damaged or edited since it was saved")


OWN_DOMAIN = """from dataclasses import replace

from configs.smoke import config as smoke
from irl.domains.countdown.countdown import Countdown
from irl.text.windows import StepWindow, Windows
from reward_models.records import record


class PreviousStep(Windows):
    name = "previous step"

    def read(self, prompt, steps, *, ended=True):
        before = [prompt, *steps[:-1]]
        ends = [False] * (len(steps) - 1) + [ended]
        return [(StepWindow(*each),) for each in zip(before, [()] * len(steps), steps, ends)]


@record
class OwnDomain(Countdown):
    @property
    def windows(self):
        return PreviousStep()


config = replace(smoke, domain=OwnDomain())
"""


@pytest.fixture
def own_domain(tmp_path):
    """A .py config whose domain no other process knows."""
    file = tmp_path / "own_domain.py"
    file.write_text(OWN_DOMAIN)
    yield file
    forget(lambda module: str(file) in module)


def test_model_of_a_domain_and_windows_of_the_user(traceward, own_domain, tmp_path):
    domain = load_config(str(own_domain)).domain
    workspace = Workspace(tmp_path, 0, environment=domain, encoder=Encoder(TOKENIZER, 96, 8))
    network = SoftAdvantageConfig(decoder=TINY).make()
    params = network.init(jax.random.key(0))
    workspace.save_model("model", SoftAdvantageConfig(decoder=TINY), params, network.spec, windows=workspace.windows)
    forget(lambda module: str(own_domain) in module)

    model, prompt, texts = tmp_path / "model", "4 5 6 10", [RIGHT, SAME_ANSWER]
    row = {"id": "hand", "prompt": prompt, "candidates": [{"text": text} for text in texts]}
    candidates = write(tmp_path / "candidates.jsonl", [row])
    advice = "for a domain of your own, import its module first (--config FILE.py)"
    assert refused(traceward, model, candidates).endswith(f"got 'OwnDomain'; {advice}")
    chosen = traceward("rerank", "--model", model, "--candidates", candidates, "--config", own_domain)
    assert chosen.code == 0, chosen.err
    score = RowScorer(network, params, pad=workspace.encoder.pad)
    for text, steps in zip(texts, chosen.lines[0]["step_scores"], strict=True):
        lines = text.split("\n")
        ends = [False] * (len(lines) - 1) + [True]
        rows = workspace.encoder.many([prompt, *lines[:-1]], [[line] for line in lines], ends)
        np.testing.assert_allclose(steps, score(rows).step[:, 0], rtol=1e-5)


# --------------------------------------------------------------------------------------------- run


@pytest.fixture
def trained(monkeypatch):
    """`run` without the training: the calls it would have made."""
    calls = []
    monkeypatch.setattr(Experiment, "run", lambda *given: calls.append(given))
    return calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smok"], r"no config 'smok' in configs/; did you mean 'smoke'\? there are .*quickstart"),
        (["nothing.py"], r"nothing\.py: no such config file"),
        (["nothing.json"], r"nothing\.json: no such file"),
        (["smoke", "--reward.round", "1"], r"unknown option --reward\.round: did you mean --reward\.rounds"),
        (["smoke", "--overwrit"], r"unknown option --overwrit: --help lists the fields"),
        (["smoke", "--reward.rounds", "two"], r"--reward\.rounds: expected INT, got 'two'"),
        (["smoke", "--search", "False"], r"--search False: expected None, or one of its fields: --search\.FIELD"),
        (["smoke", "here"], r"options here: Unrecognized options"),
        (["smoke", "--output"], r"--output needs a value"),
    ],
)
def test_config_typos(traceward, trained, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = traceward("run", *arguments)
    assert (code, out) == (2, "")
    assert re.match(f"traceward: {message}", err), err
    assert trained == []
    assert list(tmp_path.iterdir()) == [], "no run folder is made"


SHORT = "from configs.smoke import config\nfrom dataclasses import replace\nfrom irl.train import Schedule\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{SHORT}Schedule(steps=1, stepz=3)\n", ", line 4: Schedule.stepz: unknown field; did you mean 'steps"),
        (
            f"{SHORT}config = replace(config, titel='x')\n",
            ", line 4: Experiment.titel: unknown field",
        ),
        ("from irl.algorithms.sft import SFT\n", ", line 1: ImportError: cannot import name 'SFT'"),
        ("config = Experimant()\n", ", line 1: NameError: name 'Experimant' is not defined"),
        ("config = 3\n", ": expected Experiment or Imitate or .* or TabularImitation as `config`, found int"),
        (f"{SHORT}del config\n", ": expected Experiment or .* or TabularImitation as `config`, found NoneType"),
    ],
)
def test_typos_in_a_config_file(traceward, trained, tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    code, _, err = traceward("run", path, "--output", tmp_path / "out")
    assert code == 2
    assert re.match(f"traceward: {re.escape(str(path))}{message}", err), err
    assert trained == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"rounds"', '"round"', "config.reward: unexpected field 'round' of FitReward; did you mean 'rounds'"),
        ('"Sft"', '"Sfd"', "config.policy.algorithm: unknown .*class 'Sfd'; known: Sft"),
        ("{", "", "malformed JSON"),
    ],
    ids=["field", "class", "json"],
)
def test_typos_in_a_json_config(traceward, trained, tmp_path, old, new, message):
    assert traceward("run", "smoke", "--output", tmp_path / "run").code == 0
    path = tmp_path / "changed.json"
    path.write_text((tmp_path / "run" / "config.json").read_text().replace(old, new, 1))
    code, _, err = traceward("run", path, "--output", tmp_path / "out")
    assert code == 2
    assert re.match(f"traceward: {re.escape(str(path))}.*: .*({message})", err), err
    assert len(trained) == 1 and not (tmp_path / "out").exists()


@pytest.fixture
def begun(traceward, trained, tmp_path):
    """A run folder that holds a config and something precious."""
    folder = tmp_path / "run"
    assert traceward("run", "smoke", "--output", folder).code == 0
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_text("precious")
    trained.clear()
    return folder


def test_goes_on_with_the_same_config(traceward, trained, begun):
    before = holds(begun)
    code, _, err = traceward("run", "smoke", f"--output={begun}")
    assert (code, err) == (0, f"{begun}: going on with the run that is there\n")
    assert len(trained) == 1 and holds(begun) == before
    assert traceward("run", begun / "config.json", "--output", begun).code == 0
    assert len(trained) == 2


def test_refuses_a_folder_of_another_config(traceward, trained, begun):
    before = holds(begun)
    code, _, err = traceward("run", "smoke", "--output", begun, "--reward.negatives.hard", "0.25")
    wanted = "config.reward.negatives.hard was 0.5, is 0.25"
    advice = "start anew with --overwrite, or take another --output"
    assert (code, err) == (2, f"traceward: {begun}: holds a run of another config ({wanted}); {advice}\n")
    assert trained == [] and holds(begun) == before


def test_overwrite_starts_anew_and_says_so(traceward, trained, begun):
    code, _, err = traceward("run", "smoke", "--output", begun, "--seed", "1", "--overwrite")
    assert (code, err) == (0, f"{begun}: what it held is removed (--overwrite)\n")
    assert [entry.name for entry in begun.iterdir()] == ["config.json"]
    assert json.loads((begun / "config.json").read_text())["seed"] == 1
    assert [entry.name for entry in begun.parent.iterdir()] == ["run"]
    assert len(trained) == 1


@pytest.mark.parametrize("content", ['{"format": 1, "network": {}}', None], ids=["a model's", "none"])
def test_overwrite_refuses_a_folder_without_a_run(traceward, trained, tmp_path, content):
    """Such as the model of a run, which has a config.json too, or somebody's home."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    if content is not None:
        (folder / "config.json").write_text(content)
    before = holds(folder)
    code, _, err = traceward("run", "smoke", "--output", folder, "--overwrite")
    advice = "it is not removed. Take another folder"
    assert (code, err) == (2, f"traceward: {folder}: holds no run (no config.json of one); {advice}\n")
    code, _, err = traceward("run", "smoke", "--output", folder)
    assert (code, err) == (2, f"traceward: {folder}: is not empty and holds no run; take another --output\n")
    assert trained == [] and holds(folder) == before


def test_output_of_a_run_is_a_file(traceward, trained, candidates):
    before = candidates.read_bytes()
    for more in ([], ["--overwrite"]):
        code, _, err = traceward("run", "smoke", "--output", candidates, *more)
        assert (code, err) == (2, f"traceward: {candidates}: is a file; name a folder by --output\n")
    assert candidates.read_bytes() == before and trained == []


def test_a_run_killed_as_it_began_can_begin_again(traceward, trained, tmp_path):
    """Between making the folder and naming its config.json."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json.new").write_text('{"class": "Exp')
    assert traceward("run", "smoke", "--output", tmp_path / "run").code == 0
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["config.json"]
    assert len(trained) == 1


def test_disk_full_during_a_run(traceward, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{tmp_path}/run/metrics.jsonl")

    monkeypatch.setattr(Experiment, "run", full)
    code, _, err = traceward("run", "smoke", "--output", tmp_path / "run")
    advice = "free some space and run the same command again: a run resumes from its last checkpoint"
    assert (code, err) == (2, f"traceward: {tmp_path}/run/metrics.jsonl: disk full; {advice}\n")


def test_other_errors_keep_their_traceback(monkeypatch, tmp_path):
    """Only what a person can mend is told in a sentence; a bug shows where it is."""
    monkeypatch.setattr(Experiment, "run", lambda *_: os.stat(tmp_path / "no"))
    with pytest.raises(FileNotFoundError):
        main(["run", "smoke", "--output", str(tmp_path / "run")])


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "run").mkdir()
    return Workspace(tmp_path / "run", 0, environment=Countdown(), encoder=Encoder(TOKENIZER, 96, 8))


def test_json_files_of_a_run_are_whole_or_as_before(workspace, monkeypatch):
    workspace.write_json("evaluation.json", {"value": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("experiments.core.run_folder.os.replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        workspace.write_json("evaluation.json", {"value": 2})
    assert json.loads((workspace.folder / "evaluation.json").read_text()) == {"value": 1}


def test_a_folder_in_the_place_of_the_metrics(workspace):
    (workspace.folder / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"metrics\.jsonl: expected a file, got a folder; move it away"):
        Workspace(workspace.folder, 0, environment=workspace.environment, encoder=workspace.encoder)


def test_a_metric_that_a_full_disk_cut_off_is_dropped(workspace):
    workspace.record("policy", 1, {"loss": 2.5})
    with open(workspace.folder / "metrics.jsonl", "a") as file:
        file.write('{"stage": "policy", "st')
    again = Workspace(workspace.folder, 0, environment=workspace.environment, encoder=workspace.encoder)
    again.record("policy", 2, {"loss": 1.5})
    lines = (workspace.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert again.read_metric("policy", "loss", 1) == 2.5


# -------------------------------------------------------------------------------- own demonstrations

LONG = {"prompt": "1 1 1 8", "steps": [f"1 + 1 = 2 (left: {' '.join('1' * 200)})", "Answer: 8"]}


def test_every_demonstration_too_long(traceward, tmp_path):
    path = write(tmp_path / "mine.jsonl", [LONG, {**LONG, "prompt": "1 1 2 6"}])
    given = "run", "smoke", "--output", tmp_path / "run", "--policy.demonstrations.file", path
    code, _, err = traceward(*given)
    assert code == 2
    assert "2 of 2 traces are over 96 tokens or 8 steps and left out; " in err
    wanted = "traceward: all 2 traces are over the limit; raise encoding.max_length or encoding.max_steps\n"
    assert err.endswith(wanted)


def test_some_demonstrations_too_long(workspace, capsys):
    """They are counted and said, never cut."""
    steps = [
        Trace(problem_id=p, prompt=p, steps=(Step(text="Answer: 8"),) * n) for p, n in (("1 1 1 8", 3), ("8 8", 9))
    ]
    rows = encode_traces(workspace, steps)
    assert [max(row.step_id) + 1 for row in rows] == [3]
    assert "1 of 2 traces are over 96 tokens or 8 steps and left out" in capsys.readouterr().err
    assert "1 of 2 traces are over" in (workspace.folder / "log.txt").read_text()


def test_demonstrations_of_the_test_are_left_out(workspace, tmp_path):
    test, train = (workspace.environment.problems(split)[0].prompt for split in ("test", "train"))
    rows = [{"prompt": prompt, "steps": ["Answer: 24"]} for prompt in (test, train)]
    path = write(tmp_path / "mine.jsonl", rows)
    traces = Demonstrations(file=str(path)).traces(workspace, "policy")
    assert [trace.prompt for trace in traces] == [train]


@pytest.mark.parametrize(
    "respelled",
    [
        lambda hand: hand[::-1],
        lambda hand: [*hand[2:], *hand[:2]],
        lambda hand: [*hand[:-1], f"{hand[-1]} "],
        lambda hand: [*hand[:-1], f"{hand[-1]} (target: 24)"],
        lambda hand: [*hand[:-1], f"{hand[-1]} (target: 31)"],
        lambda hand: [f"\t{hand[0]}  ", *hand[1:-1], f"{hand[-1]}\r\n"],
        lambda hand: [number.translate({ord("0") + d: 0xFF10 + d for d in range(10)}) for number in hand],
        lambda hand: [f"0{number}" for number in hand],
        lambda hand: [f"{number}\u200b" for number in hand],
        lambda hand: [*(f"{number}," for number in hand[:-1]), hand[-1]],
    ],
)
def test_hands_of_the_test_are_left_out_in_any_spelling(workspace, tmp_path, respelled):
    tests = [problem.prompt for problem in workspace.environment.problems("test")]
    train = workspace.environment.problems("train")[0].prompt
    rows = [{"prompt": " ".join(respelled(hand.split())), "steps": ["Answer: 24"]} for hand in tests]
    path = write(tmp_path / "mine.jsonl", [*rows, {"prompt": train, "steps": ["Answer: 24"]}])
    traces, overlaps = of_file(str(path), workspace.environment)
    assert [trace.prompt for trace in traces] == [train]
    assert [(each.records, each.total) for each in overlaps] == [(len(tests), len(tests) + 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "1 1 1 8"}], ", line 1, field steps: missing; present: prompt"),
        (
            [{"prompt": "4 5 6 10", "steps": ["x"]}],
            ": each of the 1 traces of mine.jsonl has a prompt of the test problems and is left out, so that nothing "
            "remains to train on; give files with different prompts",
        ),
        ([], ": empty; expected one JSON object per line"),
    ],
)
def test_bad_demonstrations(traceward, tmp_path, rows, message):
    path = write(tmp_path / "mine.jsonl", rows)
    given = "run", "smoke", "--output", tmp_path / "run", "--policy.demonstrations.file", path
    code, _, err = traceward(*given)
    assert code == 2
    assert f"traceward: {path}{message}\n" in err
