"""`traceward convert`: what it writes is the same model, in our reading and in that of transformers."""

import json
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.cli import main
from irl.rewards import open_scorer
from irl.rewards.opening import open_likelihood
from irl.rewards.questions import question_of
from irl.text.encode import Encoder
from irl.text.hugging_face import HuggingFaceEncoder, read_tokenizer
from irl.text.tokenize import PAD, number_tokenizer
from irl.types import Candidate, Candidates
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.manifest import Provenance, TextRules
from reward_models.folders.native import save_folder
from reward_models.folders.opening import open_model, tokenizer_files
from reward_models.folders.peft import save_peft
from reward_models.networks.adapters import LowRank
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.types import TraceBatch
from tests.gguf_files import DECODERS, TEXTS, random_params, tiny_gguf

pytestmark = pytest.mark.usefixtures("shared_programs")

NUMBERS = number_tokenizer()
GAME = DecoderConfig(
    vocab_size=NUMBERS.get_vocab_size(), num_layers=2, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=16
)
TRACE = "7 + 1 = 8 (left: 8)\nAnswer: 8"


def save(folder, network, windows="whole trace"):
    spec = (
        network.make().spec if not isinstance(network, DecoderConfig) else SoftAdvantageConfig(decoder=GAME).make().spec
    )
    params = random_params(network)
    about = Provenance(text=TextRules(steps="lines", answer="marked"), windows=windows)
    save_folder(folder, params=params, network=network, spec=spec, tokenizer_json=NUMBERS.to_str(), manifest=about)
    return params


def batch():
    ids = np.random.default_rng(0).integers(4, GAME.vocab_size, (2, 12))
    step = np.broadcast_to(np.maximum(np.arange(12) // 3 - 1, -1), ids.shape)
    position = np.broadcast_to(np.arange(12), ids.shape)
    whole = TraceBatch(ids, np.ones_like(ids), position, step, np.ones((2, 3), bool), np.arange(2))
    return jax.tree.map(jnp.asarray, whole)


def logits(network, params):
    decoder = network.make().bind(params)
    return np.asarray(decoder.logits(decoder.hidden(batch())))


@pytest.fixture
def convert(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["convert", *map(str, arguments)])
        return stop.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_gguf_file(convert, tmp_path, architecture):
    file = tiny_gguf(tmp_path / "model.gguf", architecture, kind="Q8_0")
    code, err = convert(file, tmp_path / "out")
    assert code == 0 and err == f"{tmp_path / 'out'}: saved in float32\n"
    before, after = open_model(file), open_model(tmp_path / "out")
    assert after.network == before.network and after.files.texts == before.files.texts
    assert jax.tree.all(jax.tree.map(np.array_equal, after.params, before.params))
    assert after.config["eos_token_id"] == 2 and after.config["pad_token_id"] == 0
    assert convert(file, tmp_path / "half", "--dtype", "bfloat16")[0] == 0
    assert open_model(tmp_path / "half").config["dtype"] == "bfloat16"


@pytest.mark.filterwarnings("ignore")
def test_transformers_reads_what_is_written(convert, tmp_path):
    """The same logits and the same token ids, of a GGUF file and of a policy that a run saved."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    file = tiny_gguf(tmp_path / "model.gguf", tokenizer__ggml__add_bos_token=True)
    params = save(tmp_path / "policy", GAME)
    assert convert(file, tmp_path / "gguf")[0] == convert(tmp_path / "policy", tmp_path / "ours")[0] == 0
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "gguf")
    tokenizer, rules = read_tokenizer(tokenizer_files(file))
    for text in TEXTS[:5]:
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
    turns = [{"role": "user", "content": "Count"}]
    written = theirs.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    encoder = HuggingFaceEncoder(tokenizer, 64, 8, rules=rules)
    assert theirs(written, add_special_tokens=False)["input_ids"] == encoder.prompt("Count")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert theirs("7 + 1\n")["input_ids"] == Encoder(number_tokenizer(), 64, 8).prompt("7 + 1")
    assert (theirs.pad_token, theirs.eos_token) == ("<pad>", "<eos>")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(np.array(batch().tokens))).logits.numpy()
    np.testing.assert_allclose(logits(GAME, params), expected, atol=1e-4)


def test_a_policy_comes_back_as_an_encoder_of_the_same_rows(convert, tmp_path):
    save(tmp_path / "policy", GAME)
    assert convert(tmp_path / "policy", tmp_path / "out")[0] == 0
    tokenizer, rules = read_tokenizer(tokenizer_files(tmp_path / "out"))
    again = HuggingFaceEncoder(tokenizer, 64, 8, rules=rules)
    steps = [TRACE.split("\n")]
    assert again.many(["7 + 1"], steps) == Encoder(number_tokenizer(), 64, 8).many(["7 + 1"], steps)


@pytest.mark.parametrize("adapters", [None, LowRank(rank=2)])
@pytest.mark.parametrize("kind", [CriticConfig, SoftAdvantageConfig])
def test_rewards_of_a_run(convert, tmp_path, kind, adapters):
    """The scores are the same; adapters are merged into the weights."""
    network = kind(decoder=replace(GAME, adapters=adapters))
    params = random_params(network)
    save_hugging_face(tmp_path / "out", network=network, params=params, pad_token=0)
    read = open_model(tmp_path / "out")
    expected = network.make().apply(params, batch())
    again = read.network if kind is CriticConfig else SoftAdvantageConfig(decoder=read.network)
    scores = again.make().apply(read.params, batch())
    np.testing.assert_allclose(scores.trace, expected.trace, atol=1e-4)
    if adapters is None:
        save(tmp_path / "reward", network, windows="states")
        code, err = convert(tmp_path / "reward", tmp_path / "command")
        assert code == 0 and "the model judges 'states', not whole traces" in err
        assert open_model(tmp_path / "command").network == read.network


def test_adapters_of_peft_are_merged(convert, tmp_path):
    base = replace(DECODERS["llama"], tie_embeddings=True)
    file = tiny_gguf(tmp_path / "base.gguf", network=base)
    network = SoftAdvantageConfig(decoder=replace(base, adapters=LowRank(rank=2)), information="none")
    plain = open_model(file).params
    own = {"adapters": jax.tree.map(lambda leaf: leaf + 0.1, random_params(network)["adapters"])}
    save_peft(tmp_path / "adapters", network=network, params=own, base_model=str(file))
    assert convert(tmp_path / "adapters", tmp_path / "out")[0] == 0
    read, adapted = open_model(tmp_path / "out"), open_model(tmp_path / "adapters")
    assert read.files.texts == adapted.files.texts, "the tokenizer of the base"
    merged = adapted.network.merged(adapted.params)[1]
    np.testing.assert_allclose(logits(read.network, read.params), logits(base, merged), atol=1e-5)
    assert np.abs(logits(base, merged) - logits(base, plain)).max() > 0.1


def test_a_language_model_as_a_policy(convert, tmp_path):
    """Its log-probabilities are those of the file, and it writes the same prompts."""
    file = tiny_gguf(tmp_path / "model.gguf")
    assert convert(file, tmp_path / "policy", "--to", "native")[0] == 0
    model = open_model(tmp_path / "policy")
    assert model.manifest.tokens == read_tokenizer(tokenizer_files(file))[1]
    assert model.manifest.trained_on == "converted from model.gguf"
    answers = tuple(Candidate(text=text) for text in ("7 is first\nnext is 8.", "Done"))
    question = question_of(Candidates(id="a", prompt="Count on from 7", candidates=answers), "a")
    scores = open_likelihood(tmp_path / "policy").answers([question])
    assert np.isfinite(scores.trace).all() and (scores.trace < 0).all()
    assert scores.step_texts[0] == ("7 is first", "next is 8.")
    assert np.array_equal(scores.trace, open_likelihood(file).answers([question]).trace)
    code, _ = convert(tmp_path / "policy", tmp_path / "back")
    assert code == 0
    again = open_model(tmp_path / "back")
    assert again.network == model.network and again.files.texts.keys() == {"tokenizer.json", "tokenizer_config.json"}
    assert read_tokenizer(again.files)[1] == model.manifest.tokens


def test_what_is_refused(convert, tmp_path):
    save(tmp_path / "ensemble", EnsembleConfig(member=CriticConfig(decoder=GAME), members=2))
    save(tmp_path / "policy", GAME)
    head = HeadedDecoderConfig(decoder=replace(GAME, tie_embeddings=True), head=LinearHead(), read=LastToken(skip=0))
    files = {"tokenizer.json": NUMBERS.to_str(), "tokenizer_config.json": json.dumps({"eos_token": "<eos>"})}
    save_hugging_face(
        tmp_path / "head", network=head, params=random_params(head), pad_token=NUMBERS.token_to_id(PAD), files=files
    )
    out = tmp_path / "out"
    for arguments, message in (
        (
            ["ensemble", out],
            r"not saved: network: transformers has no class for EnsembleConfig; expected a language model",
        ),
        (["policy", tmp_path / "head"], "exists; name a new folder"),
        (["policy", tmp_path / "policy" / "inside"], "is inside the model folder"),
        (["policy", out, "--to", "native"], "is in the layout of a run already; copy it"),
        (
            ["head", out, "--to", "native"],
            "expected a language model without a head or adapters, got HeadedDecoderConfig",
        ),
        (["head", out, "--base", "x"], "--base is for adapters; leave it out"),
        (["nothing", out], "no such folder"),
    ):
        code, err = convert(tmp_path / arguments[0], *arguments[1:])
        assert code == 2 and err.startswith("traceward: ") and message in err and err.count("\n") == 1, err
        assert not out.exists()
    assert convert(tmp_path / "head", out)[0] == 0
    assert open_scorer(out).spec == open_scorer(tmp_path / "head").spec
