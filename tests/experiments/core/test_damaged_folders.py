"""Model folders with damaged JSON, as the commands load them: they load, or an InputError tells what is wrong."""

import json
import shutil
import stat

import jax
import numpy as np
import pytest

from experiments.cli import main
from experiments.commands.options import ModelOptions
from experiments.core.workspace import Workspace
from experiments.reporting.model_card import write_model_card
from irl.domains.countdown.countdown import Countdown
from irl.domains.gsm8k.exercises import Calculations
from irl.evaluation.audit import Finding
from irl.rewards import open_scorer
from irl.rewards.questions import question_of
from irl.text.encode import Encoder
from irl.text.tokenize import END, PAD, number_tokenizer, prose_tokenizer
from irl.types import Candidate, Candidates, InputError
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.manifest import Provenance, digest_of, digest_of_file
from reward_models.folders.native import save_folder
from reward_models.folders.opening import layout_of
from reward_models.folders.peft import save_peft
from reward_models.networks.adapters import LowRank
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, StepEnds
from reward_models.networks.regret import RegretConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

pytestmark = pytest.mark.usefixtures("shared_programs")

NUMBERS = number_tokenizer()
PROSE = prose_tokenizer(["some words\n"], 300)
SIZES = {"num_layers": 1, "dim": 8, "num_heads": 2, "num_kv_heads": 1, "head_dim": 4, "hidden_dim": 8}
GAME = DecoderConfig(vocab_size=NUMBERS.get_vocab_size(), **SIZES)
TEXT = DecoderConfig(vocab_size=PROSE.get_vocab_size(), context_length=96, **SIZES)
OURS = {
    "advantage": SoftAdvantageConfig(decoder=GAME),
    "critic": CriticConfig(decoder=GAME),
    "ensemble": EnsembleConfig(member=CriticConfig(decoder=GAME), members=2, shared="trunk"),
    "claims": RegretConfig(decoder=GAME, judged=(NUMBERS.token_to_id("1"), NUMBERS.token_to_id(END))),
}
SCORE = HeadedDecoderConfig(decoder=TEXT, head=LinearHead(), read=LastToken())
STEPS = HeadedDecoderConfig(decoder=TEXT, head=LinearHead(labels=2, bias=True), read=StepEnds(), information="none")
HUB = {"sequence": SCORE, "token": STEPS, "causal": TEXT}
KINDS = (*OURS, *HUB, "adapters")
VALUES = (
    *(None, True, 0, -1, 3, 10**12, 10**400, 1.5, 1e-300, 1e300, "", "state", [], ["x"], [[[[]]]], {}),
    *({"class": "x"}, {"0": 1}, [None], "\ud800", "\x00"),
)
TEXTS = ("", "{", "[]", "3", "null", '"text"', "[" * 200_000, '{"a": 1, "a": 2}', "NaN", "\ufeff{}", "9" * 5_000)
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
CHAT = json.dumps({"chat_template": TEMPLATE, "eos_token": {"content": END}})


def random_params(network):
    return network.make().init(jax.random.key(0))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of every kind."""
    root = tmp_path_factory.mktemp("folders")
    for name, network in OURS.items():
        windows = Calculations.name if name == "claims" else "whole trace" if name == "critic" else "states"
        about = Provenance(environment="Countdown", seed=3, windows=windows, trained_on="hands", metrics={"auc": 0.5})
        given = {"params": random_params(network), "network": network, "spec": network.make().spec}
        save_folder(root / name, **given, tokenizer_json=NUMBERS.to_str(), manifest=about)
    files = {"tokenizer.json": PROSE.to_str(), "tokenizer_config.json": CHAT}
    tokens = {"pad_token": PROSE.token_to_id(PAD), "eos_token": PROSE.token_to_id(END)}
    for name, network in HUB.items():
        params = random_params(network)
        save_hugging_face(root / name, network=network, params=params, files=files, shard_bytes=6_000, **tokens)
    network = SCORE.adapted(LowRank(rank=2))
    save_peft(
        root / "adapters", network=network, params=random_params(network), base_model=str(root / "causal"), files=files
    )
    return root


def sign(folder):
    """Write the digests of a folder of ours again, as somebody who edits it by hand may do."""
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_text())
        names = [name for name in manifest["files"] if (folder / name).is_file()]
        manifest["files"] |= {name: digest_of_file(folder / name) for name in names}
        content = json.dumps(manifest | {"digest": "0" * 64}).encode()
        file.write_text(json.dumps(manifest | {"digest": digest_of(content)}))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass  # it holds no manifest, or none any more


def load(folder):
    """What the commands do with a folder of any kind."""
    base = folder.parent / "causal" if layout_of(folder) == "peft" else None
    words = "a,b" if layout_of(folder) == "hugging_face" and folder.name == "causal" else None
    return open_scorer(folder, base=base, step_tokens=words)


def places(value, place=()):
    """The places of all values in a JSON value."""
    yield place
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(min(len(value), 3)):
            yield from places(value[key], (*place, key))


def mutated(text, rng):
    """A JSON text with one value changed or one key removed, or another text."""
    if rng.random() < 0.1:
        return TEXTS[rng.integers(len(TEXTS))]
    value = json.loads(text)
    *parents, last = (found := [place for place in places(value) if place])[rng.integers(len(found))]
    node = value
    for key in parents:
        node = node[key]
    if rng.random() < 0.15 and isinstance(node, dict):
        del node[last]
    else:
        node[last] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(value)


def attack(folders, name, rng, tmp_path):
    """Damage one JSON file of a folder; the error, or None where the folder still loads."""
    copy = tmp_path / name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folders / name, copy)
    files = sorted(copy.glob("*.json"))
    file = files[rng.integers(len(files))]
    file.write_text(mutated(file.read_text(), rng))
    sign(copy)
    try:
        load(copy)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", KINDS)
def test_undamaged_folders_of_all_kinds_load_and_score(folders, name):
    options = {"base": folders / "causal"} if name == "adapters" else {}
    options |= {"step_tokens": "a,b"} if name == "causal" else {}
    scorer, loaded = ModelOptions(model=folders / name, **options).open(), load(folders / name)
    assert scorer.spec == loaded.spec
    texts = ("10 - 4 = 6 (left: 5 6 6)\n5 * 6 = 30 (left: 6 30)", "10 - 5 = 5 (left: 4 5 6)")
    texts = ("1+1 = 2", "1+1 = 11") if name == "claims" else texts
    candidates = tuple(Candidate(text=text) for text in texts)
    found = scorer.answers([question_of(Candidates(id="hand-7", prompt="4 5 6 10", candidates=candidates), "row")])
    assert np.isfinite(found.trace).all() and found.trace.shape == (2,), found.reasons
    assert found.trace[0] != found.trace[1]


@pytest.mark.parametrize("name", KINDS)
def test_only_input_errors_escape(folders, name, tmp_path):
    if name == "adapters":
        (tmp_path / "causal").symlink_to(folders / "causal")
    rng = np.random.default_rng(len(name))
    errors = [attack(folders, name, rng, tmp_path) for _ in range(25)]
    assert all(str(tmp_path) in error or "causal" in error for error in errors if error), errors
    assert sum(error is not None for error in errors) > 8


@pytest.mark.parametrize("name", KINDS)
def test_weights_have_the_permissions_of_other_files(folders, name):
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (folders / name).iterdir()}
    assert len(set(modes.values())) == 1, modes


@pytest.mark.parametrize("seed", range(3))
def test_100_of_100_bit_flips_are_found(folders, seed, tmp_path):
    """Of a reward model of a run, through the way in which the commands load it."""
    rng, copy = np.random.default_rng(seed), tmp_path / "advantage"
    shutil.copytree(folders / "advantage", copy)
    files = sorted(copy.iterdir())
    bits = np.cumsum([8 * file.stat().st_size for file in files])
    for bit in map(int, rng.integers(bits[-1], size=100)):
        number = int(np.searchsorted(bits, bit, side="right"))
        at, content = bit - (int(bits[number - 1]) if number else 0), files[number].read_bytes()
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        files[number].write_bytes(flipped)
        with pytest.raises(InputError, match=files[number].name):
            open_scorer(copy)
        files[number].write_bytes(content)
    open_scorer(copy)


def edit(file, change):
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


@pytest.fixture
def answers(tmp_path):
    file = tmp_path / "answers.jsonl"
    texts = ("10 - 4 = 6 (left: 5 6 6)\n5 * 6 = 30 (left: 6 30)", "10 - 5 = 5 (left: 4 5 6)")
    rows = [{"text": text, "correct": number == 0} for number, text in enumerate(texts)]
    file.write_text(json.dumps({"id": "hand-7", "prompt": "4 5 6 10", "candidates": rows}) + "\n")
    return file


def refused(capsys, *arguments):
    """What a command that exits with 2 writes to the standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and "Traceback" not in err and "panicked" not in err
    return err


def test_a_typo_in_the_manifest(folders, tmp_path, answers, capsys):
    folder = shutil.copytree(folders / "advantage", tmp_path / "model")
    edit(folder / "manifest.json", lambda manifest: manifest.update(windows="state"))
    for again in (False, True):
        if again:
            sign(folder)
        error = refused(capsys, "score", "--model", folder, "--candidates", answers)
        assert "manifest.json" in error
    with pytest.raises(
        InputError, match="windows: expected one of whole trace, states, ending, equations, mistakes, got 'state'"
    ):
        load(folder)


def test_a_folder_of_an_earlier_version(folders, tmp_path, answers, capsys):
    folder = shutil.copytree(folders / "advantage", tmp_path / "model")
    old = {"format": 1, "information": "demonstrations", "encoding": "0" * 64, "created_with": {}, "windows": "states"}
    (folder / "manifest.json").write_text(json.dumps(old))
    error = refused(capsys, "score", "--model", folder, "--candidates", answers)
    assert "format 1 of an earlier version" in error and "run the same `traceward run` command again" in error


def test_a_run_saves_an_older_folder_again(tmp_path):
    """Its stage counts as unfinished, so the same command goes through it and replaces the folder with its card."""
    workspace = Workspace(tmp_path, 3, environment=Countdown(), encoder=Encoder(NUMBERS, 96, 8))
    network = OURS["critic"]
    given = ("model", network, random_params(network), network.make().spec)
    workspace.save_model(*given, trained_on="hands")
    assert workspace.load_model("model").manifest.seed == 3
    edit(tmp_path / "model" / "manifest.json", lambda manifest: manifest.update(format=1))
    (tmp_path / "model" / "model_card.md").touch()
    assert workspace.load_model("model") is None
    workspace.save_model(*given, trained_on="hands")
    assert workspace.load_model("model").network == network
    assert not (tmp_path / "model" / "model_card.md").exists()


@pytest.mark.parametrize("name", ["sequence", "adapters"])
@pytest.mark.parametrize("label", [99, 1, -1])
def test_labels_that_the_head_does_not_have(folders, name, label, answers, capsys, monkeypatch):
    monkeypatch.chdir(folders)
    error = refused(capsys, "score", "--model", folders / name, "--input", answers, "--label", label)
    assert "label: " in error
    assert name == "adapters" or f"the head has 1 label, which is 0; got {label}" in error


@pytest.mark.parametrize("content", ["", "{}", "null", "[", '{"model": {"type": "BPE"}}'])
@pytest.mark.parametrize("name", ["advantage", "claims", "sequence"])
def test_damaged_tokenizers(folders, name, content, tmp_path):
    folder = shutil.copytree(folders / name, tmp_path / "model")
    (folder / "tokenizer.json").write_text(content)
    sign(folder)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        load(folder)


@pytest.mark.parametrize("name", ["advantage", "sequence"])
def test_a_tokenizer_that_panics(folders, name, tmp_path, capfd):
    """A template of tokens that are nowhere: the library finds out when it encodes, with a stack trace of Rust."""
    folder = shutil.copytree(folders / name, tmp_path / "model")
    piece = {"SpecialToken": {"id": "nowhere", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [piece], "pair": [piece], "special_tokens": {}}
    edit(folder / "tokenizer.json", lambda tokenizer: tokenizer.update(post_processor=template))
    sign(folder)
    with pytest.raises(InputError, match=r"tokenizer\.json: the tokenizer fails"):
        load(folder)
    assert capfd.readouterr().err == ""


def test_a_tokenizer_of_more_tokens(folders, tmp_path):
    folder = shutil.copytree(folders / "advantage", tmp_path / "model")
    (folder / "tokenizer.json").write_text(PROSE.to_str())
    sign(folder)
    with pytest.raises(InputError, match=rf"tokenizer\.json: .*but the model knows {GAME.vocab_size} ids"):
        load(folder)


@pytest.fixture
def overflowing(folders, tmp_path):
    """Weights that are finite, with scores that are not."""

    def make(name, factor):
        network = OURS[name]
        params = jax.tree.map(lambda leaf: np.clip(np.asarray(leaf) * factor, -3e38, 3e38), random_params(network))
        about = Provenance(environment="Countdown", windows="equations" if name == "claims" else "states")
        given = {"params": params, "network": network, "spec": network.make().spec}
        save_folder(tmp_path / name, **given, tokenizer_json=NUMBERS.to_str(), manifest=about)
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", ["advantage", "critic", "ensemble"])
@pytest.mark.parametrize("command, factor", [("score", 1e9), ("rerank", 1e12), ("evaluate", 1e20), ("score", 3e38)])
def test_scores_that_are_not_finite_are_refused(overflowing, name, command, factor, answers, tmp_path, capsys):
    """Scores that a norm of infinite values would make finite, and wrong, among them."""
    folder = overflowing(name, np.float32(factor))
    more = [] if command == "evaluate" else ["--output", tmp_path / "out.jsonl"]
    error = refused(capsys, command, "--model", folder, "--candidates", answers, *more)
    assert "hand-7, candidate 0: the score is" in error
    assert "not a finite number" in error and not (tmp_path / "out.jsonl").exists()


def test_claims_that_are_not_finite_are_refused(overflowing, tmp_path, capsys):
    file = tmp_path / "sums.jsonl"
    file.write_text(json.dumps({"id": "a", "prompt": "sum", "candidates": [{"text": "1+1 = 2"}]}) + "\n")
    error = refused(capsys, "score", "--model", overflowing("claims", np.float32(1e12)), "--candidates", file)
    assert "a, candidate 0: the score is " in error and "not a finite number" in error


@pytest.mark.parametrize("name", ["sequence", "token"])
def test_conversations_that_are_not_finite_are_refused(folders, name, tmp_path):
    network = HUB[name]
    params = random_params(network)
    params["head"]["kernel"] = np.full(params["head"]["kernel"].shape, 3e38, np.float32) * np.array([-1, 1])[
        : network.head.labels
    ].astype(np.float32)
    tokens = {"pad_token": PROSE.token_to_id(PAD), "files": {"tokenizer.json": PROSE.to_str()}}
    save_hugging_face(tmp_path / "model", network=network, params=params, **tokens)
    texts = (Candidate(text="words"), Candidate(text="other words"))
    question = question_of(Candidates(id="q-3", prompt="why", candidates=texts), "row")
    with pytest.raises(InputError, match=r"q-3, candidate \d: the score is .*not a finite number"):
        load(tmp_path / "model")([question])


def test_a_card_of_a_damaged_folder(folders, tmp_path):
    folder = shutil.copytree(folders / "critic", tmp_path / "model")
    edit(folder / "config.json", lambda config: config["spec"].update(information="none"))
    with pytest.raises(InputError, match=r"config\.json: damaged or edited"):
        write_model_card(folder, {"auc": Finding(0.5, 0.4, 0.6, 10)})
