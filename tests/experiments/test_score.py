"""`traceward score` on every shape of input and on downloaded folders; interrupted runs; what is refused."""

import gzip
import json
import re
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import experiments.score
from experiments.cli import main
from experiments.fit_claims import ClaimScorer
from experiments.workspace import Workspace
from irl.environments.countdown import Countdown
from irl.traces.claims import EQUATIONS
from irl.traces.encode import Encoder
from irl.traces.tokenize import number_tokenizer
from reward_models.checkpoint_folder import save_folder
from reward_models.hugging_face import save_hugging_face
from reward_models.manifest import Provenance
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead, StepEnds
from reward_models.networks.regret import RegretConfig
from reward_models.types import TraceBatch

pytestmark = pytest.mark.usefixtures("careless_compilation")

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
    tokens, note = tokenizer.to_str(), Provenance(windows=EQUATIONS.name)
    save_folder(folder, params=params, network=network, spec=spec, tokenizer_json=tokens, manifest=note)
    return folder, ClaimScorer(network, params, EQUATIONS, Encoder(tokenizer, EQUATIONS.longest, 1))


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
    assert err.startswith(f"traceward: {path}: {told} else; take the process model beside it")


def test_what_calculations_refuse(score, calculations, tmp_path):
    folder, _ = calculations
    path = write(tmp_path / "a.jsonl", [{"prompt": "p", "candidates": [{"text": "1+1 = 2"}, {"text": " "}]}])
    code, _, err = score("--model", folder, "--input", path)
    assert code == 2 and "row-1, candidate 1: an empty answer has no score" in err
    code, _, err = score("--model", folder, "--input", path, "--label", "0")
    assert code == 2 and "are for Hugging Face folders; leave them out" in err
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["network"]["decoder"]["dim"] = 16
    (other / "config.json").write_text(json.dumps(config))
    code, _, err = score("--model", other, "--input", path)
    assert code == 2 and err.startswith(f"traceward: {other}/model.safetensors: ")


# --- going on ---------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path, monkeypatch, downloaded):
    """Arguments of a command on twelve pairs in blocks of four candidates, and what it writes."""
    monkeypatch.setattr(experiments.score, "CANDIDATES_AT_ONCE", 4)
    rows = [{"id": i, "prompt": "why" * (i % 3 + 1), "chosen": "a" * i, "rejected": "b"} for i in range(1, 13)]
    path, output = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    return "--model", downloaded, "--input", path, "--output", output


def counted(monkeypatch, stop_after=None):
    """The numbers of questions that blocks were scored with, and an end after some blocks."""
    load, blocks = experiments.score.load_conversations, []

    def loading(*arguments, **options):
        scorer = load(*arguments, **options)

        def score(questions):
            if len(blocks) == stop_after:
                raise KeyboardInterrupt
            blocks.append([question.id for question in questions])
            return scorer(questions)

        score.spec = scorer.spec
        return score

    monkeypatch.setattr(experiments.score, "load_conversations", loading)
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
    assert f"{part}: going on after 12 candidates\n" in err and "24 candidates scored" in err
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert sorted(holds(tmp_path)) == ["in.jsonl", "out.jsonl"]


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


def interrupted(score, many, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        counted(patch, stop_after=1)
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
    with open(tmp_path / "in.jsonl", "a") as file:
        file.write('{"prompt": "one", "chosen": "more", "rejected": "row"}\n')
    code, _, err = score(*many)
    assert (code, err) == (2, f"traceward: {part}: was begun with another input; {advice}")
    code, _, err = score(*many, "--overwrite")
    assert code == 0
    assert f"{part}: removed (--overwrite)\n" in err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 26


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


def test_a_part_with_more_lines_than_there_are_candidates(score, many, tmp_path, monkeypatch):
    part = interrupted(score, many, monkeypatch, tmp_path)
    part.write_bytes(b"{}\n" * 25)
    code, _, err = score(*many)
    assert code == 2
    assert f"{part}: holds 25 lines for 24 candidates; delete it, or give --overwrite" in err


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
        ({"prompt": "p", "candidates": [{"text": "a"}, {"text": " "}]}, "row-1, candidate 1: an empty answer"),
        ({"prompt": "p", "completion": "a" * 100}, r"row-1, candidate 0: 1\d\d tokens are over .* context of 96"),
        ({"id": "mine", "prompt": "p", "chosen": "a", "rejected": "b" * 99}, "mine, candidate rejected: .* context"),
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
    assert code == 2 and "format 'completions' is not known; known are " in err
    code, _, err = score(*given, "--format", "messages")
    assert code == 2 and "no row fits the format messages" in err


def test_options_that_contradict(score, downloaded, ours, tmp_path):
    path = write(tmp_path / "a.jsonl", completions())
    for model in (downloaded, ours):
        code, _, err = score("--model", model, "--input", path, "--base", downloaded)
        told = "--base is for PEFT folders (adapter_config.json); leave it out"
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
        decoder=DecoderConfig(**{**vars(TINY), "vocab_size": 200}), head=LinearHead(), read=LastToken()
    )
    folder = save(tmp_path / "model", network)
    path = write(tmp_path / "a.jsonl", completions())
    code, _, err = score("--model", folder, "--input", path)
    assert code == 2
    assert re.search("tokenizer.json: token '.*' has the id 260, but the model knows 200 ids; take the tokenizer", err)
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
    assert f"traceward: {output}: not writable (No such file or directory); check the folder and run again" in err
