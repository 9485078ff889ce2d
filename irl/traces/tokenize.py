"""Tokenizers: word-level for the number games, characters, byte-level BPE for prose. Saved as tokenizer.json."""

import hashlib
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, BEGIN, END, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
SPECIAL = (PAD, BEGIN, END, UNKNOWN)

_DIGITS = [*"0123456789", *(f" {digit}" for digit in "0123456789")]
_WORDS = [" + ", " - ", " * ", " / ", " = ", " (left:", ")\n", "Answer: ", " (target:", "\n"]
_SINGLES = ["/", ".", "-", " -", "(", " (", ")", " ", ",", "+", "*", "=", ":", " mod "]


def number_tokenizer() -> Tokenizer:
    """Digits one by one (with and without a leading space), operators and the fixed words of trace text.

    Lossless on everything the number games write; any other character becomes one `<unk>`.
    """
    words = [*_WORDS, *_DIGITS, *_SINGLES]
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    alternatives = "|".join(_escape(word) for word in sorted(words, key=len, reverse=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"{alternatives}|."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def character_tokenizer() -> Tokenizer:
    """A token for each printable character of ASCII and for the newline; any other character becomes one `<unk>`."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, "\n", *map(chr, range(32, 127))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def prose_tokenizer(texts: Iterable[str], vocabulary_size: int = 4096, more: Sequence[str] = ()) -> Tokenizer:
    """Byte-level BPE learned from texts: lossless on any text, digits one by one. `more` are further special tokens."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(" ?[0-9]"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[*SPECIAL, *more],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def fingerprint(tokenizer: Tokenizer) -> str:
    """sha256 of tokenizer.json: two encodings are the same when this is the same."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def _escape(word: str) -> str:
    return "".join(f"\\{c}" if c in "+*/()-.=|:" else ("\\n" if c == "\n" else c) for c in word)
