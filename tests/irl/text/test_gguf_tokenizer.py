"""Tokenizers of GGUF files give the tokens of the tokenizers they were converted from."""

import pytest
from tokenizers import Regex, pre_tokenizers

from irl.text.hugging_face import HuggingFaceEncoder, read_tokenizer
from irl.text.steps import step_rule
from irl.types import InputError
from reward_models.folders.gguf_tokenizer import PRE_TOKENIZERS
from reward_models.folders.opening import open_model, tokenizer_files
from tests.gguf_files import ABSENT, SPECIAL, TEXTS, byte_level, sentence_piece, tiny_gguf

VARIED = [
    *TEXTS[:3],
    "",
    " ",
    "  12 and 1234567",
    "naïve café, 你好，世界 🙂 — ½ ٣",
    "def f(x):\n\treturn x  # don't\r\n\r\n\n",
    "<|im_start|>user\nhi<|im_end|> <|endoftext|>",
    "  two spaces, it's I'LL We'd\n ",
]
SPLITS = {
    "gpt-2": None,
    "smollm": pre_tokenizers.Digits(individual_digits=True),
}
CASED = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PATTERNS = {
    "llama-bpe": CASED + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": CASED + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def ids(tokenizer, text):
    return tokenizer.encode(text).ids


@pytest.mark.parametrize("pre", SPLITS)
def test_byte_level_vocabularies(tmp_path, pre):
    expected = byte_level(SPLITS[pre])
    tokenizer, _ = read_tokenizer(
        tokenizer_files(tiny_gguf(tmp_path / "a.gguf", tokenizer=expected, tokenizer__ggml__pre=pre))
    )
    for text in VARIED:
        assert ids(tokenizer, text) == ids(expected, text), text
        assert tokenizer.decode(ids(tokenizer, text)) == expected.decode(ids(expected, text))


@pytest.mark.parametrize("pre", PATTERNS)
def test_patterns_of_their_own(tmp_path, pre):
    expected = byte_level()
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(Regex(PATTERNS[pre]), behavior="isolated")
    expected.pre_tokenizer = pre_tokenizers.Sequence([split, plain])
    file = tiny_gguf(tmp_path / "a.gguf", tokenizer=byte_level(), tokenizer__ggml__pre=pre)
    tokenizer, _ = read_tokenizer(tokenizer_files(file))
    for text in VARIED:
        assert ids(tokenizer, text) == ids(expected, text), text
    composed = ids(tokenizer, "e\u0301") == ids(tokenizer, "é")
    assert composed is (pre == "qwen2"), "Qwen2 composes characters"


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_known_name(tmp_path, pre):
    tokenizer, _ = read_tokenizer(tokenizer_files(tiny_gguf(tmp_path / "a.gguf", tokenizer__ggml__pre=pre)))
    for text in VARIED:
        plain = text.replace("e\u0301", "é")
        assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False).endswith(plain), "nothing is lost"


def test_sentence_piece(tmp_path):
    expected, changes = sentence_piece()
    file = tiny_gguf(tmp_path / "a.gguf", without=ABSENT, **changes)
    tokenizer, rules = read_tokenizer(tokenizer_files(file))
    for text in VARIED:
        assert ids(tokenizer, text) == ids(expected, text), text
        assert tokenizer.decode(ids(tokenizer, text)) == expected.decode(ids(expected, text))
    assert (rules.begin, rules.end, rules.pad) == ([1], 2, 2), "a text begins with <s>, unless the file says no"
    file = tiny_gguf(tmp_path / "b.gguf", **changes, tokenizer__ggml__add_space_prefix=False)
    tokenizer, rules = read_tokenizer(tokenizer_files(file))
    assert rules.begin == [] and tokenizer.decode(ids(tokenizer, " first")) == " first"
    assert tokenizer.encode("first").tokens != expected.encode("first").tokens[1:]


def test_tokens_around_texts(tmp_path):
    both = {"tokenizer__ggml__add_bos_token": True, "tokenizer__ggml__add_eos_token": True}
    tokenizer, rules = read_tokenizer(tokenizer_files(tiny_gguf(tmp_path / "a.gguf", **both)))
    inside = tokenizer.encode("first", add_special_tokens=False).ids
    assert ids(tokenizer, "first") == [1, *inside, 2] and rules.begin == [1]
    assert tokenizer.encode("first", "first").ids == [1, *inside, 2, 1, *inside, 2]
    file = tiny_gguf(tmp_path / "b.gguf", without=["tokenizer.ggml.add_bos_token"], tokenizer__ggml__pre="llama-bpe")
    assert read_tokenizer(tokenizer_files(file))[1].begin == [1], "texts of Llama 3 begin with a token"


def test_the_chat_template_of_a_file(tmp_path):
    """Like that of a folder: it writes the prompt, and its end token ends a trace."""
    model = open_model(tiny_gguf(tmp_path / "model.gguf"))
    tokenizer, rules = read_tokenizer(model.files, model.network.vocab_size)
    encoder = HuggingFaceEncoder(tokenizer, 512, 16, step_rule("lines"), rules=rules)
    text = tokenizer.decode(encoder.prompt("Count on from 7"), skip_special_tokens=False)
    assert text == "<|im_start|>user\nCount on from 7<|im_end|>\n<|im_start|>assistant\n"
    assert rules.end == SPECIAL.index("<|im_end|>") and rules.pad == 0
    (row,) = encoder.many(["Count on from 7"], [["7 is first", "Done"]])
    assert row.tokens[-1] == rules.end and max(row.step_id) == 1


def test_a_token_that_is_defined_by_a_user(tmp_path):
    """It stays whole, and is no special token."""
    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "<think>"]
    changes = {
        "tokenizer__ggml__tokens": tokens,
        "tokenizer__ggml__token_type": [3, 3, 3, *[1] * 257, 4],
        "tokenizer__ggml__merges": ["a b"],
    }
    tokenizer, _ = read_tokenizer(tokenizer_files(tiny_gguf(tmp_path / "model.gguf", **changes)))
    assert tokenizer.encode("<think>ab").ids == [260, 259]
    assert tokenizer.decode([260]) == "<think>"


def test_merges_of_unknown_tokens(tmp_path):
    file = tiny_gguf(tmp_path / "model.gguf", tokenizer__ggml__merges=["a nothing"])
    with pytest.raises(InputError, match=r"model.gguf: tokenizer.json: the tokenizer fails"):
        read_tokenizer(tokenizer_files(file))
