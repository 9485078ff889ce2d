"""`traceward score` on every shape of input and on downloaded folders; interrupted runs; what is refused."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import experiments.commands.score
import irl.rewards
from experiments.cli import main
from experiments.core.workspace import Workspace
from irl.domains.countdown.countdown import Countdown
from irl.domains.gsm8k.exercises import Calculations
from irl.rewards import AnswerScorer
from irl.rewards.claims import ClaimScorer
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.manifest import Provenance
from reward_models.folders.native import save_folder
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead, StepEnds
from reward_models.networks.regret import RegretConfig
from reward_models.types import TraceBatch

pytestmark = pytest.mark.usefixtures("shared_programs")

CHATML = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
SPECIAL = ("<pad>", "<|start|>", "<|end|>", "<extra_0>")
ANSWERS = (("why", "b\n\ncause", "no"), ("how", "so", "a\n\nb\n\nc"), ("when", "at ten", "never"))


def byte_tokenizer():
    """A token per byte, one for two line breaks and one for each special text."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))} | {"ĊĊ": 256}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


TOKENIZER = byte_tokenizer()
PAD = TOKENIZER.token_to_id("<pad>")
TINY = DecoderConfig(
    vocab_size=TOKENIZER.get_vocab_size(),
    num_layers=1,
    dim=8,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    hidden_dim=12,
    context_length=96,
)
QWEN = DecoderConfig(**{**vars(TINY), "attention_bias": True})
OUTCOME = HeadedDecoderConfig(decoder=TINY, head=LinearHead(), read=LastToken())
PROCESS = HeadedDecoderConfig(decoder=QWEN, head=MLPHead(labels=2), read=StepEnds(), information="step labels")
COUNTDOWN = ("10 - 4 = 6 (left: 5 6 6)\n6 * 5 = 30 (left: 6 30)", "4 + 5 = 9 (left: 6 9 10)", "Answer: 4 + 5")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def score(capsys):
    """`traceward score`, in this process: exit code, standard output and standard error."""

    def run(*arguments) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["score", *map(str, arguments)])
        return Outcome(stop.value.code or 0, *capsys.readouterr())

    return run


def random_params(config):
    return config.make().init(jax.random.key(0))


def save(folder, network, params=None, **files):
    params = random_params(network) if params is None else params
    files = {"tokenizer.json": TOKENIZER.to_str(), **files}
    save_hugging_face(folder, network=network, params=params, pad_token=PAD, files=files)
    return folder


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
    """A score per trace, with a chat template."""
    config = json.dumps({"chat_template": CHATML})
    return save(tmp_path_factory.mktemp("hub") / "model", OUTCOME, **{"tokenizer_config.json": config})


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A model folder of ours."""
    folder, tokenizer = tmp_path_factory.mktemp("run"), number_tokenizer()
    network = CriticConfig(decoder=DecoderConfig(**{**vars(TINY), "vocab_size": tokenizer.get_vocab_size()}))
    workspace = Workspace(folder, 0, environment=Countdown(), encoder=Encoder(tokenizer, 96, 8))
    workspace.save_model("model", network, random_params(network), network.make().spec)
    return folder / "model"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def completions(rows=ANSWERS):
    return [{"prompt": p, "completion": text} for p, *texts in rows for text in texts]


def holds(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


# --- shapes of input --------------------------------------------------------------------------------------

SHAPES = {
    "completions": completions(),
    "completions as messages": [
        {"prompt": [user(p)], "completion": [assistant(text)]} for p, *texts in ANSWERS for text in texts
    ],
    "messages": [{"messages": [user(p), assistant(text)]} for p, *texts in ANSWERS for text in texts],
    "pairs": [{"prompt": p, "chosen": a, "rejected": b} for p, a, b in ANSWERS],
    "pairs as messages": [
        {"chosen": [user(p), assistant(a)], "rejected": [user(p), assistant(b)]} for p, a, b in ANSWERS
    ],
    "candidates": [{"prompt": p, "candidates": [{"text": a}, {"text": b}]} for p, a, b in ANSWERS],
    "labels": [{**row, "label": True} for row in completions()],
}


def test_every_shape_of_input_gives_the_same_scores(score, downloaded, tmp_path):
    found = {
        name: score("--model", downloaded, "--input", write(tmp_path / f"{i}.jsonl", rows))
        for i, (name, rows) in enumerate(SHAPES.items())
    }
    assert {name: outcome.code for name, outcome in found.items()} == dict.fromkeys(SHAPES, 0), found
    expected = [row["score"] for row in found["completions"].lines]
    assert len(set(expected)) == 6, "different texts, different scores"
    for name, outcome in found.items():
        assert [row["score"] for row in outcome.lines] == expected, name
        assert "6 candidates scored; information level: preferences\n" in outcome.err
    assert [row["candidate"] for row in found["pairs"].lines] == ["chosen", "rejected"] * 3
    assert [row["candidate"] for row in found["candidates"].lines] == [0, 1] * 3
    assert [row["id"] for row in found["pairs"].lines] == [f"row-{1 + i // 2}" for i in range(6)]
    assert [row["id"] for row in found["labels"].lines] == [f"row-{1 + i}" for i in range(6)]


def test_containers(score, downloaded, tmp_path):
    rows = completions(ANSWERS[:1])
    plain = score("--model", downloaded, "--input", write(tmp_path / "a.jsonl", rows)).out
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "c.json").write_text(json.dumps(rows, indent=2))
    for name in ("b.jsonl.gz", "c.json"):
        assert score("--model", downloaded, "--input", tmp_path / name).out == plain
    output = tmp_path / "out.jsonl.gz"
    assert score("--model", downloaded, "--input", tmp_path / "c.json", "--output", output).code == 0
    assert gzip.decompress(output.read_bytes()).decode() == plain
    assert not list(tmp_path.glob("*.part*")), "compressed output is written whole"


def test_parquet(score, downloaded, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(completions()), tmp_path / "a.parquet")
    plain = score("--model", downloaded, "--input", write(tmp_path / "a.jsonl", completions())).out
    assert score("--model", downloaded, "--input", tmp_path / "a.parquet").out == plain


def test_our_folders_read_every_shape_too(score, ours, tmp_path):
    rows = [{"prompt": "4 5 6 10", "candidates": [{"text": text} for text in COUNTDOWN]}]
    old = score("--model", ours, "--candidates", write(tmp_path / "a.jsonl", rows))
    new = score("--model", ours, "--input", tmp_path / "a.jsonl")
    apart = [{"prompt": "4 5 6 10", "completion": text} for text in COUNTDOWN]
    one = score("--model", ours, "--input", write(tmp_path / "b.jsonl", apart))
    assert [o.code for o in (old, new, one)] == [0, 0, 0], (old.err, new.err, one.err)
    assert [row["steps"] for row in old.lines] == [text.split("\n") for text in COUNTDOWN]
    for name in ("score", "step_scores", "steps"):
        assert [row[name] for row in old.lines] == [row[name] for row in new.lines] == [row[name] for row in one.lines]


# --- downloaded folders -----------------------------------------------------------------------------------


def by_hand(*pieces):
    names = {" ": "Ġ", "\n": "Ċ"}
    parts = [[p] if p in SPECIAL else ["ĊĊ"] if p == "\n\n" else [names.get(c, c) for c in p] for p in pieces]
    return [TOKENIZER.token_to_id(token) for part in parts for token in part]


def apply(network, tokens, step_id):
    tokens, step_id = np.array([tokens], np.int32), np.array([step_id], np.int32)
    position = np.arange(tokens.shape[1], dtype=np.int32)[None]
    mask = np.ones((1, step_id.max() + 1), bool)
    batch = TraceBatch(tokens, np.ones_like(tokens), position, step_id, mask, np.zeros(1, np.int32))
    return jax.device_get(jax.jit(network.make().apply)(random_params(network), batch))


def test_a_folder_with_a_chat_template_by_hand(score, downloaded, tmp_path):
    turns = [{"role": "system", "content": "be"}, user("why"), assistant("so"), user("oh"), assistant("b\n\nc")]
    (found,) = score("--model", downloaded, "--input", write(tmp_path / "a.jsonl", [{"messages": turns}])).lines
    before = []
    for role, said in (("system", "be"), ("user", "why"), ("assistant", "so"), ("user", "oh")):
        before += by_hand("<|start|>", f"{role}\n{said}", "<|end|>", "\n")
    before += by_hand("<|start|>", "assistant\n")
    said = by_hand("b", "\n\n", "c")
    step_id = [-1] * len(before) + [0] * 3 + [-1] * 2
    expected = apply(OUTCOME, before + said + by_hand("<|end|>", "\n"), step_id)
    np.testing.assert_allclose(found["score"], expected.trace[0], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(found["step_scores"], expected.trace, rtol=1e-5, atol=2e-6)
    assert found["steps"] == ["b\n\nc"]


def test_a_folder_as_transformers_4_writes_it(score, downloaded, tmp_path):
    """Its keys of config.json and tokenizer_config.json, and the files it puts beside them."""
    folder = shutil.copytree(downloaded, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for key in ("rope_parameters", "dtype", "problem_type", "traceward"):
        config.pop(key)
    config |= {"transformers_version": "4.51.0", "attention_dropout": 0.0, "use_cache": True, "pretraining_tp": 1}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    tokens = {str(TOKENIZER.token_to_id(token)): {"content": token, **flags} for token in SPECIAL}
    told = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": tokens,
        "additional_special_tokens": list(SPECIAL),
        "bos_token": None,
        "chat_template": CHATML,
        "clean_up_tokenization_spaces": False,
        "eos_token": {"__type": "AddedToken", "content": "<|end|>", **flags},
        "errors": "replace",
        "extra_special_tokens": {},
        "model_max_length": 10**30,
        "pad_token": "<pad>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    for name, value in (("config", config), ("tokenizer_config", told)):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2))
    for name in ("special_tokens_map", "added_tokens", "generation_config", "vocab"):
        (folder / f"{name}.json").write_text("{}")
    path = write(tmp_path / "a.jsonl", completions())
    assert score("--model", folder, "--input", path).out == score("--model", downloaded, "--input", path).out


def test_a_process_reward_model_by_hand(score, tmp_path):
    """Qwen's: plain text here, a marker behind every step, the product of the steps' probabilities."""
    folder = save(tmp_path / "model", PROCESS)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen2ForProcessRewardModel"]
    rows = [{"prompt": "why", "completions": ["a\nb", "c"], "labels": [True, False]}]
    (found,) = score("--model", folder, "--input", write(tmp_path / "a.jsonl", rows)).lines
    tokens = by_hand("why", "a\nb", "<extra_0>", "c", "<extra_0>")
    expected = apply(PROCESS, tokens, [-1] * 3 + [0] * 4 + [1] * 2)
    np.testing.assert_allclose(found["step_scores"], expected.step[0], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(found["score"], expected.trace[0], rtol=1e-5, atol=2e-6)
    assert found["steps"] == ["a\nb", "c"]


def chance_of_plus(tokens):
    """P(+) out of + and - as the next token, of the random language model TINY."""
    decoder, last = TINY.make(), len(tokens) - 1

    @jax.jit
    def logits(params, batch):
        bound = decoder.bind(params)
        return bound.logits(bound.hidden(batch))[0, last]

    tokens = np.array([tokens + [0] * (63 - last)], np.int32)
    there, position = np.ones_like(tokens), np.arange(64, dtype=np.int32)[None]
    batch = TraceBatch(tokens, there, position, there - 2, np.zeros((1, 1), bool), np.zeros(1, np.int32))
    plus, minus = (logits(decoder.init(jax.random.key(0)), batch)[by_hand(word)[0]] for word in "+-")
    return float(jax.nn.sigmoid(plus - minus))


@pytest.mark.parametrize("marker", [None, "<extra_0>"])
def test_a_language_model_that_judges_steps_by_hand(score, tmp_path, marker):
    """RLHFlow's turns and their mean; Math-Shepherd's tags and their lowest."""
    files = {"chat_template.jinja": CHATML} if marker is None else {}
    folder = save(tmp_path / "model", TINY, TINY.make().init(jax.random.key(0)), **files)
    rows = [{"prompt": "why", "completions": ["a", "b c"], "labels": [True, False]}]
    options = "--step-tokens", "+,-", *(() if marker is None else ("--step-marker", marker))
    path = write(tmp_path / "a.jsonl", rows)
    (found,) = score("--model", folder, "--input", path, *options).lines
    if marker is None:
        turn = "<|end|>", "\n", "<|start|>", "assistant\n"
        first = by_hand("<|start|>", "user\nwhy a", *turn)
        second = first + by_hand("+", "<|end|>", "\n", "<|start|>", "user\nb c", *turn)
    else:
        first = by_hand("why a ", marker)
        second = first + by_hand("\nb c ", marker)
    expected = [chance_of_plus(first), chance_of_plus(second)]
    np.testing.assert_allclose(found["step_scores"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["score"], np.mean(expected) if marker is None else min(expected), rtol=1e-5)
    assert found["steps"] == ["a", "b c"]


def test_a_template_that_asks_for_the_date(score, tmp_path):
    source = "{{ strftime_now('%d %b %Y') }}" + CHATML
    folder = save(tmp_path / "model", OUTCOME, **{"chat_template.jinja": source})
    path = write(tmp_path / "a.jsonl", completions())
    code, _, err = score("--model", folder, "--input", path)
    assert code == 2 and "asks for today's date, and scores would change with it; give a date" in err
    days = [score("--model", folder, "--input", path, "--date", f"2024-07-{day}") for day in (26, 27, 26)]
    assert [day.code for day in days] == [0, 0, 0]
    assert days[0].out == days[2].out != days[1].out


# --- calculations -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calculations(tmp_path_factory):
    """A folder as `traceward run gsm8k_errors` leaves it, and the scorer in it."""
    tokenizer, folder = number_tokenizer(), tmp_path_factory.mktemp("run") / "calculations-seed-0"
    decoder = DecoderConfig(**{**vars(TINY), "vocab_size": tokenizer.get_vocab_size()})
    network = RegretConfig(decoder=decoder, judged=tuple(tokenizer.token_to_id(digit) for digit in "0123456789"))
    params, spec = random_params(network), network.make().spec
    tokens, note = tokenizer.to_str(), Provenance(windows=Calculations.name)
    save_folder(folder, params=params, network=network, spec=spec, tokenizer_json=tokens, manifest=note)
    return folder, ClaimScorer(network.make(), params, Calculations(), Encoder(tokenizer, Calculations.longest, 1))


def test_calculations_are_scored_alone(score, calculations, tmp_path):
    """Steps by what they calculate, written out or annotated; none is 0; an answer is its lowest step."""
    folder, scorer = calculations
    answers = ["So 4*5 = 21.\nThen 21+3 = <<21+3=24>>24.\nIt is 24.", "Nothing to see.", "2+2 = 4\n\nor so"]
    asked = {"id": "Q", "prompt": "Q", "candidates": [{"text": text} for text in answers]}
    path = write(tmp_path / "a.jsonl", [asked])
    code, out, err = score("--model", folder, "--input", path)
    assert code == 0, err
    steps = [text.split("\n\n" if "\n\n" in text else "\n") for text in answers]
    lines, wanted = [json.loads(line) for line in out.splitlines()], scorer([("Q", row) for row in steps])
    assert [line["steps"] for line in lines] == steps
    for line, row in zip(lines, wanted, strict=True):
        np.testing.assert_allclose(line["step_scores"], row, atol=1e-5)
        assert line["score"] == min(line["step_scores"])
    assert lines[0]["step_scores"][2] == 0 > max(lines[0]["step_scores"][:2]) and lines[1]["score"] == 0
    assert "1 of 3 candidates write no calculation and score 0, as if all were right\n" in err
    assert "3 candidates scored; information level: demonstrations\n" in err
    assert score("--model", folder, "--candidates", path).out == out


@pytest.mark.parametrize("option", ["--input", "--candidates"])
def test_a_file_without_calculations(score, calculations, tmp_path, option):
    rows = [{"id": p, "prompt": p, "candidates": [{"text": text} for text in texts]} for p, *texts in ANSWERS]
    path, output = write(tmp_path / "a.jsonl", rows), tmp_path / "out.jsonl"
    code, out, err = score("--model", calculations[0], option, path, "--output", output)
    assert (code, out) == (2, "") and [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]
    told = (
        "none of its 6 candidates writes a calculation, such as 48/2 = 24 or <<48/2=24>>, and this model reads nothing"
    )
    assert err.startswith(f"traceward: {path}: {told} else; use the process model of the same run")


def test_what_calculations_refuse(score, calculations, tmp_path):
    folder, _ = calculations
    path = write(tmp_path / "a.jsonl", [{"prompt": "p", "candidates": [{"text": "1+1 = 2"}, {"text": " "}]}])
    code, out, err = score("--model", folder, "--input", path)
    assert code == 0 and "row 1, candidate 1: an empty answer has no score" in err
    assert [json.loads(line)["score"] is None for line in out.splitlines()] == [False, True]
    code, _, err = score("--model", folder, "--input", path, "--label", "0")
    assert code == 2 and "are for Hugging Face folders and GGUF files; leave" in err
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["network"]["decoder"]["dim"] = 16
    (other / "config.json").write_text(json.dumps(config))
    code, _, err = score("--model", other, "--input", path)
    assert code == 2 and err.startswith(f"traceward: {other}/config.json: damaged or edited since it was saved")


# --- going on ---------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path, monkeypatch, downloaded):
    """Arguments of a command on twelve pairs in blocks of four candidates, and what it writes."""
    monkeypatch.setattr(experiments.commands.score, "CANDIDATES_AT_ONCE", 4)
    rows = [{"id": i, "prompt": "why" * (i % 3 + 1), "chosen": "a" * i, "rejected": "b"} for i in range(1, 13)]
    path, output = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    return "--model", downloaded, "--input", path, "--output", output


def counted(monkeypatch, stop_after=None):
    """The numbers of questions that blocks were scored with, and an end after some blocks."""
    load, blocks = irl.rewards.open_scorer, []

    def loading(*arguments, **options):
        scorer = load(*arguments, **options)

        class Counted(AnswerScorer):
            spec = scorer.spec

            def answers(self, questions):
                if len(blocks) == stop_after:
                    raise KeyboardInterrupt
                blocks.append([question.id for question in questions])
                return scorer.answers(questions)

        return Counted()

    monkeypatch.setattr(irl.rewards, "open_scorer", loading)
    return blocks


def test_a_stopped_run_goes_on_to_the_same_bytes(score, many, tmp_path, monkeypatch):
    assert score(*many).code == 0
    whole = (tmp_path / "out.jsonl").read_bytes()
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [(row["id"], row["candidate"]) for row in rows] == [
        (str(i), name) for i in range(1, 13) for name in ("chosen", "rejected")
    ]
    assert sorted(holds(tmp_path)) == ["in.jsonl", "out.jsonl"]
    (tmp_path / "out.jsonl").write_text("yesterday's")
    with monkeypatch.context() as patch:
        counted(patch, stop_after=3)
        assert score(*many).code == 130
    part = tmp_path / "out.jsonl.part"
    assert part.read_bytes() == b"".join(whole.splitlines(keepends=True)[:12])
    assert (tmp_path / "out.jsonl").read_text() == "yesterday's", "an old output stays until a new one is whole"
    with monkeypatch.context() as patch:
        blocks = counted(patch)
        code, _, err = score(*many)
    assert code == 0
    assert blocks == [["7", "8"], ["9", "10"], ["11", "12"]], "nothing is scored twice"
    assert f"{part}: resuming, 12 candidates are scored\n" in err and "24 candidates scored" in err
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert sorted(holds(tmp_path)) == ["in.jsonl", "out.jsonl"]


def test_after_rows_are_mended_a_finished_output_is_scored_again_for_these_alone(score, many, tmp_path, monkeypatch):
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write(path, [{**row, "rejected": " "} if row["id"] == 5 else row for row in rows])
    assert score(*many).code == 0
    assert sorted(holds(tmp_path)) == ["in.jsonl", "out.jsonl", "out.jsonl.part.json"]
    write(path, rows)
    with monkeypatch.context() as patch:
        blocks = counted(patch)
        assert score(*many, "--max-tokens", "9000").code == 0
    assert blocks == [["5"]]
    assert sorted(holds(tmp_path)) == ["in.jsonl", "out.jsonl"], "nothing is left to mend"
    mended = output.read_bytes()
    assert score(*many).code == 0 and output.read_bytes() == mended


def test_a_finished_output_of_another_model_is_not_read(score, many, tmp_path, monkeypatch):
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write(path, [{**row, "rejected": " "} if row["id"] == 5 else row for row in rows])
    assert score(*many).code == 0
    output.write_bytes(
        output.read_bytes().replace(b'"candidate": "chosen", "score": ', b'"candidate": "chosen", "score": 9')
    )
    with monkeypatch.context() as patch:
        blocks = counted(patch)
        assert score(*many, "--date", "2024-07-26").code == 0
    assert len(blocks) == 6 and b'"score": 9' not in output.read_bytes()


def test_cut_anywhere_it_goes_on_to_the_same_bytes(score, many, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        counted(patch, stop_after=5)
        assert score(*many).code == 130
    part, note = tmp_path / "out.jsonl.part", tmp_path / "out.jsonl.part.json"
    twenty, identity = part.read_bytes(), note.read_bytes()
    assert score(*many).code == 0
    whole = (tmp_path / "out.jsonl").read_bytes()
    ends = [match.end() for match in re.finditer(b"\n", twenty)]
    for length in (0, 1, ends[0], ends[1] - 1, ends[6], ends[6] + 30, ends[18], len(twenty), len(whole)):
        part.write_bytes(whole[:length])
        note.write_bytes(identity)
        code, _, err = score(*many)
        assert code == 0, err
        assert (tmp_path / "out.jsonl").read_bytes() == whole


def interrupted(score, many, monkeypatch, tmp_path, blocks=1):
    with monkeypatch.context() as patch:
        counted(patch, stop_after=blocks)
        assert score(*many).code == 130
    return tmp_path / "out.jsonl.part"


def test_it_does_not_go_on_with_something_else(score, many, tmp_path, monkeypatch, downloaded):
    part = interrupted(score, many, monkeypatch, tmp_path)
    before = holds(tmp_path)
    advice = "give --overwrite to start anew, or delete it, or take another --output\n"
    code, _, err = score(*many, "--date", "2024-07-26")
    assert (code, err) == (2, f"traceward: {part}: was begun with another date; {advice}")
    other = shutil.copytree(downloaded, tmp_path / "other")
    (other / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML + "!"}))
    code, _, err = score("--model", other, *many[2:])
    assert (code, err) == (2, f"traceward: {part}: was begun with another model; {advice}")
    assert holds(tmp_path) == before
    code, _, err = score(*many, "--overwrite")
    assert code == 0
    assert f"{part}: removed (--overwrite)\n" in err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 24


EDITS = {
    "a mended answer": lambda rows: [*rows[:1], rows[1] | {"chosen": "mended"}, *rows[2:]],
    "a new row in front": lambda rows: [{"prompt": "new", "chosen": "x", "rejected": "y"}, *rows],
    "a row less": lambda rows: rows[:1] + rows[2:],
    "another order": lambda rows: rows[::-1],
    "another row at the end": lambda rows: [*rows, {"prompt": "new", "chosen": "x", "rejected": "y"}],
    "other ids": lambda rows: [row | {"id": f"{row['id']}-b"} for row in rows],
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_input_keeps_the_scores_of_its_other_rows(score, many, tmp_path, monkeypatch, edit):
    """Twice interrupted, edited in between: nothing is scored twice and the output is that of the edited input."""
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    before = [json.loads(line) for line in path.read_text().splitlines()]
    for stop in (2, 1):
        with monkeypatch.context() as patch:
            counted(patch, stop_after=stop)
            assert score(*many).code == 130
    after = EDITS[edit](before)
    write(path, after)
    with monkeypatch.context() as patch:
        blocks = counted(patch)
        code, _, err = score(*many)
    assert code == 0, err
    known = {(row["prompt"], row["chosen"]) for row in before[:6]}
    new = [row.get("id", f"row-{i}") for i, row in enumerate(after, 1) if (row["prompt"], row["chosen"]) not in known]
    assert [id for block in blocks for id in block] == list(map(str, new))
    resumed = [json.loads(line) for line in output.read_text().splitlines()]
    output.unlink()
    assert score(*many).code == 0
    fresh = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["id"], row["candidate"], row["steps"]) for row in resumed] == [
        (row["id"], row["candidate"], row["steps"]) for row in fresh
    ]
    np.testing.assert_allclose([row["score"] for row in resumed], [row["score"] for row in fresh], rtol=1e-5)
    assert sorted(holds(tmp_path)) == ["in.jsonl", "out.jsonl"]


def test_damaged_parts_are_scored_again(score, many, tmp_path, monkeypatch):
    """Any byte of the part or of its note: the bytes of the output are those of an undisturbed run."""
    part = interrupted(score, many, monkeypatch, tmp_path, blocks=3)
    note = tmp_path / "out.jsonl.part.json"
    lines, records = part.read_bytes(), note.read_bytes()
    assert score(*many).code == 0
    whole, rng = (tmp_path / "out.jsonl").read_bytes(), np.random.default_rng(0)
    first = records.index(b"\n") + 1
    for _ in range(4):
        for file, content, start in ((part, bytearray(lines), 0), (note, bytearray(records), first)):
            part.write_bytes(lines)
            note.write_bytes(records)
            content[rng.integers(start, len(content))] ^= 1 << int(rng.integers(8))
            file.write_bytes(content)
            code, _, err = score(*many)
            assert code == 0, err
            assert (tmp_path / "out.jsonl").read_bytes() == whole


@pytest.mark.parametrize("note", [None, "", "[]"])
def test_a_part_of_nobody_knows_what(score, many, tmp_path, monkeypatch, note):
    part = interrupted(score, many, monkeypatch, tmp_path)
    (tmp_path / "out.jsonl.part.json").unlink()
    if note is not None:
        (tmp_path / "out.jsonl.part.json").write_text(note)
    before = holds(tmp_path)
    code, _, err = score(*many)
    assert code == 2
    assert err.startswith(f"traceward: {part}: ") and "give --overwrite to start anew, or delete it" in err
    assert holds(tmp_path) == before


def test_a_part_of_garbage(score, many, tmp_path, monkeypatch):
    assert score(*many).code == 0
    whole = (tmp_path / "out.jsonl").read_bytes()
    part = interrupted(score, many, monkeypatch, tmp_path)
    part.write_bytes(b"{}\n" * 25)
    assert score(*many).code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_runs_of_one_output_started_at_once(ours, tmp_path):
    """One of them writes the output, whole; the others are refused and change nothing."""
    rows = [{"prompt": "4 5 6 10", "completion": f"{i} + 1 = {i + 1} (left: 5 6)"} for i in range(3000)]
    path, output = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    command = [Path(sys.executable).with_name("traceward"), "score", "--model", ours, "--input", path]
    started = [subprocess.Popen([*command, "--output", output], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [process.communicate(timeout=400)[1] for process in started]
    codes = [process.returncode for process in started]
    assert set(codes) <= {0, 2} and 0 in codes, errors
    for code, error in zip(codes, errors, strict=True):
        assert code == 0 or f"traceward: {output}: in use by process " in error
    assert [json.loads(line)["id"] for line in output.read_text().splitlines()] == [f"row-{i + 1}" for i in range(3000)]
    assert sorted(holds(tmp_path)) == ["in.jsonl", "out.jsonl"]


# --- skipped ----------------------------------------------------------------------------------------------

STEP = "10 - 4 = 6 (left: 5 6 6)"
FOREIGN = {"prompt": "Tom has 3 apples and buys 2. How many has he?", "completion": "3 + 2 = 5"}
UNFIT = [
    (
        {"prompt": "4 5 6 10", "completion": "\n".join([STEP] * 1700)},
        r"\d+ tokens are over the limit of 16384; .*--max-tokens",
    ),
    ({"prompt": "4 5 6 10", "completion": "1 + " * 25_000}, r"\d+ tokens are over the limit of 16384"),
    ({"prompt": "4 5 6 10", "completion": "9" * 600_000}, "600008 characters are over the limit of 16384 tokens"),
    ({"prompt": "4 5 6 10", "completion": "Answer: 5\n" * 3000}, r"\d+ tokens are over the limit of 16384"),
    ({"prompt": "4 5 6 10", "completion": "Steps:"}, "there is no step in it"),
    ({"prompt": "4 5 6 10", "completion": "The answer is thirty."}, r"\d+ of its 21 characters are unknown"),
    (FOREIGN, "prompt 'Tom has 3 apples.*expected numbers such as"),
]


@pytest.fixture(scope="module")
def windowed(ours):
    """The model of `ours`, reading steps in windows."""
    folder, tokenizer = ours.parent, number_tokenizer()
    network = CriticConfig(decoder=DecoderConfig(**{**vars(TINY), "vocab_size": tokenizer.get_vocab_size()}))
    workspace = Workspace(folder, 0, environment=Countdown(), encoder=Encoder(tokenizer, 96, 8))
    workspace.save_model("windowed", network, random_params(network), network.make().spec, windows=workspace.windows)
    return folder / "windowed"


@pytest.mark.parametrize("kind", ["whole", "windows"])
def test_candidates_that_do_not_fit_are_listed_and_skipped(score, ours, windowed, tmp_path, kind):
    """Every candidate keeps its line, and scores do not depend on the skipped ones."""
    model = {"whole": ours, "windows": windowed}[kind]
    good = [{"prompt": "4 5 6 10", "completion": text} for text in COUNTDOWN]
    expected = score("--model", model, "--input", write(tmp_path / "good.jsonl", good)).lines
    unfit = [entry for entry in UNFIT if kind == "windows" or "Answer: 5" not in entry[0]["completion"]]
    rows = [row for fit, (bad, _) in zip([*good, *[None] * 9], unfit, strict=False) for row in (bad, fit) if row]
    path = write(tmp_path / "in.jsonl", rows)
    for option in ("--input", "--candidates"):
        asked = rows
        if option == "--candidates":
            asked = [{"prompt": row["prompt"], "candidates": [{"text": row["completion"]}]} for row in rows]
        code, out, err = score("--model", model, option, write(path, asked), "--output", tmp_path / "out.jsonl")
        lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert (code, out) == (0, "") and len(lines) == len(rows), err
        assert f"{path}: {len(unfit)} of {len(rows)} candidates have no score\n" in err
        assert f"{len(good)} candidates scored; " in err
        assert [line["score"] for line in lines if "reason" not in line] == [line["score"] for line in expected]
        for line, row in zip(lines, rows, strict=True):
            reasons = [reason for bad, reason in unfit if bad is row]
            assert [line["score"] is None] == [bool(reasons)]
            for reason in reasons:
                assert list(line) == ["id", "candidate", "score", "step_scores", "steps", "reason"]
                assert re.match(reason, line["reason"]) and (line["step_scores"], line["steps"]) == ([], [])
                assert re.search(rf"\n  row {line['id'][4:]}, candidate 0: {reason}", err), err


@pytest.mark.parametrize("option", ["--input", "--candidates"])
def test_strict_stops_at_the_first_and_a_mended_input_resumes(score, ours, tmp_path, monkeypatch, option):
    monkeypatch.setattr(experiments.commands.score, "CANDIDATES_AT_ONCE", 2)
    rows = [
        {"id": f"{i}", "prompt": "4 5 6 10", "candidates": [{"text": text}]} for i, text in enumerate(COUNTDOWN * 2)
    ]
    bad = [*rows[:4], rows[4] | {"candidates": [{"text": " "}]}, *rows[5:]]
    path, output = write(tmp_path / "in.jsonl", bad), tmp_path / "out.jsonl"
    given = "--model", ours, option, path, "--output", output, "--strict"
    code, out, err = score(*given)
    assert (code, out) == (2, "") and not output.exists()
    assert f"traceward: {path}: row 5 (4), candidate 0: there is no step in it" in err
    assert err.endswith("; without --strict it is skipped\n")
    write(path, rows)
    code, _, err = score(*given)
    assert code == 0 and "resuming, 4 candidates are scored\n" in err
    resumed = output.read_bytes()
    assert score(*given).code == 0 and output.read_bytes() == resumed
    write(path, [*rows, {"id": "last", "prompt": 7}])
    code, _, err = score(*given)
    assert code == 2 and f"{path}: row 7 (last): field " in err


def test_a_higher_limit_resumes(score, ours, tmp_path, monkeypatch):
    """Only the candidates that were over the old limit are scored."""
    rows = [{"prompt": "4 5 6 10", "completion": text} for text in (COUNTDOWN[0], COUNTDOWN[2])]
    path, output = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    given = "--model", ours, "--input", path, "--output", output
    with monkeypatch.context() as patch:
        patch.setattr(
            experiments.commands.score.ScoredLines, "finish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert score(*given, "--max-tokens", 20).code == 130
    code, _, err = score(*given)
    assert code == 0 and "resuming, 1 candidates are scored\n" in err
    resumed = [json.loads(line)["score"] for line in output.read_text().splitlines()]
    assert score(*given).code == 0
    fresh = [json.loads(line)["score"] for line in output.read_text().splitlines()]
    np.testing.assert_allclose(resumed, fresh, rtol=1e-5)
    code, _, err = score(*given, "--max-tokens", 0)
    assert code == 2 and "--max-tokens 0: expected 1 or more" in err


def test_a_conversation_over_the_limit(score, downloaded, tmp_path):
    rows = [{"prompt": "p", "completion": "a"}, {"prompt": "p", "completion": "a" * 50}]
    path = write(tmp_path / "a.jsonl", rows)
    code, out, err = score("--model", downloaded, "--input", path, "--max-tokens", 60)
    assert code == 0 and [json.loads(line)["score"] is None for line in out.splitlines()] == [False, True]
    assert re.search(
        r"row 2, candidate 0: \d\d tokens are over the limit of 60; shorten it, or raise --max-tokens", err
    )


# VmHWM belongs to the memory of this program; ru_maxrss also counts the process that started it.
PEAK = (
    "import re, sys\n"
    "from experiments.cli import main\n"
    "try:\n    main(sys.argv[1:])\n"
    "finally:\n    print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) >> 10)"
)


@pytest.mark.parametrize("limit", [16_384, 40_000])
def test_long_answers_take_little_memory(ours, tmp_path, limit):
    """Answers of 40 KB and 100 KB, of one step and of thousands, are skipped or scored, beside a short one."""
    texts = [COUNTDOWN[0], "\n".join([STEP] * 1600), "1 + " * 25_000, "\n".join([STEP] * 4000)]
    path = write(tmp_path / "in.jsonl", [{"prompt": "4 5 6 10", "completion": text} for text in texts])
    options = "--model", ours, "--input", path, "--output", tmp_path / "out.jsonl", "--max-tokens", str(limit)
    done = subprocess.run([sys.executable, "-c", PEAK, "score", *options], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 900, "MB"
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["score"] is None for line in lines] == [False, limit == 16_384, True, True]


# --- every command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["downloaded", "calculations", "ours"])
def test_rerank_and_evaluate_take_every_folder_that_score_takes(score, capsys, request, tmp_path, kind):
    folder = request.getfixturevalue(kind)
    model = folder[0] if kind == "calculations" else folder
    first = "So 48/2 = 24." if kind == "calculations" else COUNTDOWN[0]
    texts = [[first, COUNTDOWN[1]], [" ", first]]
    rows = [
        {"id": f"{i}", "prompt": "4 5 6 10", "candidates": [{"text": t, "correct": n == 1} for n, t in enumerate(each)]}
        for i, each in enumerate(texts)
    ]
    given = "--model", model, "--candidates", write(tmp_path / "in.jsonl", rows)
    scores = [line["score"] for line in score(*given).lines]
    answers, tables = [], []
    for command, results in (("rerank", answers), ("evaluate", tables)):
        with pytest.raises(SystemExit) as stop:
            main([command, *map(str, given)])
        out, err = capsys.readouterr()
        assert not stop.value.code and "1 of 4 candidates have no score" in err, err
        results.append(out)
        if command == "rerank":
            assert ("majority vote" in err) == (kind == "ours") and "4 candidates" in err
    reranked = [json.loads(line) for line in answers[0].splitlines()]
    assert reranked[1]["chosen"] == 1 and reranked[1]["scores"][0] is None
    found = [score for row in reranked for score in row["scores"]]
    np.testing.assert_allclose(np.array(found, float), np.array(scores, float), rtol=1e-5)
    assert "learned reward" in tables[0] and ("majority" in tables[0]) == (kind == "ours")


# --- refused ----------------------------------------------------------------------------------------------


def test_rows_that_do_not_fit_are_told(score, downloaded, tmp_path):
    rows = [*completions(ANSWERS[:1]), {"prompt": "only"}, {"prompt": "p", "completion": ""}]
    code, out, err = score("--model", downloaded, "--input", write(tmp_path / "a.jsonl", rows))
    assert code == 0 and len(out.splitlines()) == 2
    assert "(completion): 4 rows, 2 records, 2 rows do not fit\n" in err
    assert "  row 3: field completion: missing" in err
    assert "  row 4: field completion: expected text, got an empty string" in err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "candidates": [{"text": ""}, {"text": " "}]},
            "none of its 2 candidates has .* row 1, .* an empty",
        ),
        ({"prompt": "p", "completion": "a" * 100}, r"row 1, candidate 0: 1\d\d tokens are over .* context of 96"),
        ({"id": "mine", "prompt": "p" * 99, "chosen": "a", "rejected": "b"}, r"row 1 \(mine\), .* chosen: .* context"),
        ({"prompt": "p"}, "no known format has the columns prompt"),
    ],
)
def test_answers_that_do_not_fit(score, downloaded, tmp_path, row, message):
    path = write(tmp_path / "a.jsonl", [row])
    before = holds(tmp_path)
    code, out, err = score("--model", downloaded, "--input", path, "--output", tmp_path / "out.jsonl")
    assert (code, out) == (2, "")
    assert re.search(rf"^traceward: {re.escape(str(path))}.*{message}", err), err
    assert holds(tmp_path) == before


def test_format_by_name(score, downloaded, tmp_path):
    path = write(tmp_path / "a.jsonl", completions())
    given = "--model", downloaded, "--input", path
    assert score(*given, "--format", "completion").out == score(*given).out
    code, _, err = score(*given, "--format", "completions")
    assert code == 2 and "unknown format 'completions'; expected one of " in err
    code, _, err = score(*given, "--format", "messages")
    assert code == 2 and "no row fits the format messages" in err


def test_options_that_contradict(score, downloaded, ours, tmp_path):
    path = write(tmp_path / "a.jsonl", completions())
    for model in (downloaded, ours):
        code, _, err = score("--model", model, "--input", path, "--base", downloaded)
        told = "--base is for adapters; leave it out"
        assert (code, err) == (2, f"traceward: {model}: {told}\n")
    for files in ((), ("--input", path, "--candidates", path)):
        code, _, err = score("--model", downloaded, *files)
        assert code == 2
        assert err.startswith("traceward: give the file to score by --input FILE, or by --candidates FILE")
    code, _, err = score("--model", downloaded, "--candidates", path, "--format", "completion")
    assert code == 2 and err.startswith("traceward: --format: --candidates has one format")
    hugging_face = ("--date", "2024-07-26"), ("--label", "0"), ("--dtype", "bfloat16"), ("--step-tokens", "+,-")
    for option in hugging_face:
        code, _, err = score("--model", ours, "--input", path, *option)
        assert code == 2
        told = "--date, --label, --dtype, --step-tokens and --step-marker are for Hugging Face folders"
        assert err.startswith(f"traceward: {ours}: {told}")


def test_a_language_model_is_no_reward(score, tmp_path):
    params = TINY.make().init(jax.random.key(0))
    folder = save(tmp_path / "model", TINY, params)
    code, _, err = score("--model", folder, "--input", write(tmp_path / "a.jsonl", completions()))
    assert code == 2
    assert f"{folder}: LlamaForCausalLM is a language model without a reward head; take a sequence or" in err
    assert "one that judges steps in words needs --step-tokens '+,-', and --step-marker where a word" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--step-tokens", "+"), "--step-tokens '+': expected two tokens with a comma between, such as '+,-'"),
        (("--step-tokens", "+,+"), "--step-tokens '+,+': expected two tokens"),
        (("--step-tokens", "+,-"), "model: there is no chat template to judge in turns with; name the --step-marker"),
        (("--step-tokens", "+,-", "--step-marker", "ки"), "'ки' is 4 tokens of this tokenizer, not one"),
        (("--step-tokens", "+,-", "--label", "0"), "model: --label: the first of --step-tokens is the score; leave it"),
        (("--step-marker", "ки"), "LlamaForCausalLM is a language model without a reward head"),
    ],
)
def test_language_models_that_are_not_told_how_to_judge(score, tmp_path, options, message):
    folder = save(tmp_path / "model", TINY, TINY.make().init(jax.random.key(0)))
    code, _, err = score("--model", folder, "--input", write(tmp_path / "a.jsonl", completions()), *options)
    assert code == 2 and message in err


def test_a_head_does_not_judge_in_words(score, downloaded, tmp_path):
    path = write(tmp_path / "a.jsonl", completions())
    for option in (("--step-tokens", "+,-"), ("--step-marker", "ки")):
        code, _, err = score("--model", downloaded, "--input", path, *option)
        assert code == 2
        assert "LlamaForSequenceClassification has a head and does not judge in words; leave them out" in err


@pytest.mark.parametrize("own", [{}, {"id": "mine"}, {"id": 7}])
def test_ids_are_kept(score, downloaded, tmp_path, own):
    """Of preferences and ranked answers too, in the scores and in what is told of rows that do not fit."""
    ranked = {"context": [user("p")], "completions": [{"rank": r, "completion": [assistant("ab"[r])]} for r in (0, 1)]}
    for name, row in (("pair", {"prompt": "p", "chosen": "a", "rejected": "b"}), ("ranks", ranked)):
        bad = {key: value if key in ("prompt", "context") else "" for key, value in row.items()}
        path = write(tmp_path / f"{name}.jsonl", [row | own, bad | own])
        code, out, err = score("--model", downloaded, "--input", path)
        assert code == 0
        assert [json.loads(line)["id"] for line in out.splitlines()] == [str(own.get("id", "row-1"))] * 2
        assert ("\n  row 2 ({id}): field " if own else "\n  row 2: field ").format(**own) in err


def test_a_tokenizer_of_another_model(score, tmp_path):
    network = HeadedDecoderConfig(
        decoder=DecoderConfig(**{**vars(TINY), "vocab_size": 259}), head=LinearHead(), read=LastToken()
    )
    folder, files = tmp_path / "model", {"tokenizer.json": TOKENIZER.to_str()}
    save_hugging_face(folder, network=network, params=random_params(network), pad_token=0, files=files)
    path = write(tmp_path / "a.jsonl", completions())
    code, _, err = score("--model", folder, "--input", path)
    assert code == 2
    assert re.search("tokenizer.json: token '.*' has the id 260, but the model knows 259 ids; take the tokenizer", err)
    (folder / "tokenizer.json").unlink()
    code, _, err = score("--model", folder, "--input", path)
    assert (code, err) == (
        2,
        f"traceward: {folder}/tokenizer.json: missing; download the tokenizer of this model too\n",
    )


def test_output_that_cannot_be_written(score, downloaded, tmp_path):
    path = write(tmp_path / "a.jsonl", completions())
    output = tmp_path / "no" / "out.jsonl"
    code, _, err = score("--model", downloaded, "--input", path, "--output", output)
    assert code == 2
    assert f"traceward: {output}: not writable (No such file or directory); check the folder" in err
