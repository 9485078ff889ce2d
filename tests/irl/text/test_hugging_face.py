"""Tokenizers of every family that Hugging Face folders bring: step ids, what ends a step, and the way back to text."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from irl.text.encode import Encoder
from irl.text.hugging_face import HuggingFaceEncoder, read_tokenizer
from irl.text.steps import step_rule
from irl.text.tokenize import character_tokenizer, prose_tokenizer
from irl.types import InputError
from reward_models.folders.tokenizer_files import read_folder

TEXTS = [f"Count on from {n}\n{n} is first\n\nnext is {n + 1}.\n  Done, at last.\n\n\n" for n in range(30)]
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
LLAMA3 = r" ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
"""Line breaks join the punctuation before them."""
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level(pattern=None, *, trim_offsets=True):
    """GPT-2; with a pattern Llama 3 and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None, trim_offsets=trim_offsets)
    split = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), behavior="isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, plain])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def sentencepiece(*, legacy):
    """BPE with byte fallback: Llama 2 and Gemma (legacy: spaces by a normalizer), Mistral (by the pre-tokenizer)."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    words = [text.replace("\n", " ") for text in TEXTS]
    if legacy:
        replace = normalizers.Replace(" ", "▁")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    space = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(space)
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL + bytes_, show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    state = json.loads(tokenizer.to_str())  # bytes are tokens of the model, not special ones
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIAL]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False, initial_alphabet=["\n"]
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def word_piece():
    """Line breaks are nothing but space between words to it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


FAMILIES = {
    "GPT-2": byte_level,
    "GPT-2, whole offsets": lambda: byte_level(trim_offsets=False),
    "Llama 3": lambda: byte_level(LLAMA3),
    "Llama 2": lambda: sentencepiece(legacy=True),
    "Mistral": lambda: sentencepiece(legacy=False),
    "Unigram": unigram,
    "WordPiece": word_piece,
}
LOSSLESS = [name for name in FAMILIES if name != "WordPiece"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of every family, and one with a chat template."""
    root = tmp_path_factory.mktemp("tokenizers")
    for name, build in FAMILIES.items():
        save(root / name, build(), eos_token="</s>", bos_token="<s>")
    save(root / "chat", byte_level(LLAMA3), eos_token="</s>", pad_token={"content": "<unk>"}, chat_template=CHATML)
    return root


def save(folder, tokenizer, **config):
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def encoder(folder, rule="lines"):
    tokenizer, rules = read_tokenizer(read_folder(folder))
    return HuggingFaceEncoder(tokenizer, 512, 16, step_rule(rule), rules=rules)


def texts_by_step(encoder, row):
    """What the tokens of every step say."""
    return [
        encoder.tokenizer.decode([t for t, s in zip(*row, strict=True) if s == step and t != encoder.end])
        for step in range(max(row.step_id) + 1)
    ]


STEPS = ("7 is first", "next is 8.", "Done, at last.")


def test_every_token_belongs_to_the_step_that_it_starts_in(folders, family):
    encode = encoder(folders / family)
    (row,) = encode.many(["Count on from 7"], [STEPS])
    assert [text.strip() for text in texts_by_step(encode, row)] == list(STEPS)
    assert row.tokens[-1] == encode.end and row.step_id[-1] == 2
    assert sorted(row.step_id) == row.step_id, "steps follow one another without a gap"
    head = encode.prompt("Count on from 7")
    assert row.tokens[: len(head)] == head and row.step_id == [-1] * len(head) + row.step_id[len(head) :]
    (begun,) = encode.many(["Count on from 7"], [STEPS[:2]], [False])
    assert begun.tokens == row.tokens[: len(begun.tokens)] and encode.end not in begun.tokens


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_step_ends_with_a_token_that_ends_steps(folders, name):
    """The stops of the sampler are the tokens with which the encoder ends a step, and no others."""
    encode = encoder(folders / name)
    (row,) = encode.many(["Count on from 7"], [STEPS])
    changes = [a for a, s, t in zip(row.tokens, row.step_id, row.step_id[1:], strict=False) if 0 <= s != t]
    inside = [a for a, s, t in zip(row.tokens, row.step_id, row.step_id[1:], strict=False) if 0 <= s == t]
    assert set(changes) <= set(encode.step_ends) and not set(inside) & set(encode.stops)
    assert encode.stops[0] == encode.end


def test_step_ends_of_every_kind(folders):
    def ends(name, rule="lines"):
        encode = encoder(folders / name, rule)
        return {encode.tokenizer.id_to_token(number) for number in encode.step_ends}

    assert ends("Llama 2") == {"<0x0A>"} == ends("Llama 2", "paragraphs"), "two newlines are two tokens"
    assert {"Ċ", "ĊĊ"} <= ends("GPT-2") and {"Ċ", ".Ċ"} <= ends("Llama 3")
    assert {"ĊĊ"} <= ends("GPT-2", "paragraphs") and "Ċ" not in ends("GPT-2", "paragraphs")
    assert "Ċ" in ends("GPT-2", r"\n(?=Step \d)"), "no token alone ends a step by such a rule"
    assert ends("WordPiece") == set()


@pytest.mark.parametrize("name", LOSSLESS)
def test_texts_come_back(folders, name):
    encode = encoder(folders / name)
    assert encode.unwritable(["p"] * len(TEXTS), TEXTS) == []


def test_what_a_tokenizer_cannot_write_is_counted(folders):
    """WordPiece writes no newline; Unigram without byte fallback no unknown character."""
    assert encoder(folders / "WordPiece").unwritable(["p"] * 2, ["a\nb", "first"]) == [0]
    assert encoder(folders / "Unigram").unwritable(["p"] * 2, ["7 is ∑", "7 is first"]) == [0]
    assert Encoder(character_tokenizer(), 64, 8).unwritable(["p"] * 2, ["7 is ∑", "7 is first"]) == [0]


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab .\n∑é"), min_size=1).filter(str.strip), st.sampled_from(["lines", "paragraphs"]))
def test_our_own_byte_pairs_write_anything(text, rule):
    assert Encoder(PROSE, 512, 64, step_rule(rule)).unwritable(["p"], [text]) == []


PROSE = prose_tokenizer(TEXTS, 330)


def test_a_chat_template_writes_the_prompt(folders):
    encode = encoder(folders / "chat")
    name = encode.tokenizer.id_to_token
    (row,) = encode.many(["Count on from 7"], [STEPS])
    before = encode.tokenizer.decode(encode.prompt("Count on from 7"), skip_special_tokens=False)
    assert before == "<|im_start|>user\nCount on from 7<|im_end|>\n<|im_start|>assistant\n"
    assert name(encode.end) == "<|im_end|>", "what the template writes behind the assistant, not eos_token"
    assert name(encode.pad) == "<unk>"
    assert encode.decode([t for t, s in zip(*row, strict=True) if s >= 0]) == "\n".join(STEPS)
    assert encode.rules.begin == [], "the template writes all special tokens"
    assert encoder(folders / "Mistral").prompt("a")[0] == 1, "without a template the tokenizer's own come first"


def test_a_prompt_that_would_merge_with_the_first_step_is_encoded_apart(folders):
    encode = encoder(folders / "Llama 3")
    (row,) = encode.many(["a\n"], [["\nb", "c"]])
    head = encode.prompt("a\n")
    assert row.tokens[: len(head)] == head
    assert encode.decode([t for t, s in zip(*row, strict=True) if s >= 0]) == "\nb\nc"


def test_folders_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"tokenizer.json: missing; download the tokenizer"):
        read_tokenizer(read_folder(tmp_path))
    save(tmp_path / "tokenizer", byte_level())
    with pytest.raises(InputError, match=r"eos_token: expected a token of tokenizer.json, got None"):
        read_tokenizer(read_folder(tmp_path / "tokenizer"))
