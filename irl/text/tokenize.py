"""Tokenizers: word-level for the number games, characters, byte-level BPE for prose. Saved as tokenizer.json."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from irl.types import InputError

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


def parse_tokenizer(text: str, where: str, vocab_size: int | None) -> Tokenizer:
    """The tokenizer of a model that reads `vocab_size` token ids (None: any), from the text of a tokenizer.json.

    Raises InputError, which names `where`, for text that is no tokenizer and for the tokenizer of another model.
    """
    with tokenizer_errors(where), _without_panic_message():
        tokenizer = Tokenizer.from_str(text)
        tokenizer.encode("", add_special_tokens=True)  # a template of unknown tokens is found only here
        vocabulary = tokenizer.get_vocab()
    token, number = max(vocabulary.items(), key=lambda entry: entry[1], default=("", -1))
    if vocab_size is not None and number >= vocab_size:
        ids = f"token {token!r} has the id {number}, but the model knows {vocab_size} ids"
        raise InputError(f"{where}: {ids}; take the tokenizer of this model")
    return tokenizer


@contextmanager
def tokenizer_errors(where: str) -> Iterator[None]:
    """What the tokenizers library raises as InputErrors: Exception itself, and panics of Rust, which derive from
    BaseException and have no class that could be imported."""
    try:
        yield
    except BaseException as error:  # everything else is raised again
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"{where}: the tokenizer fails ({error}); take the tokenizer.json of this model") from error


@contextmanager
def _without_panic_message() -> Iterator[None]:
    """Rust writes a stack trace to the standard error before a panic becomes an exception; it is left out."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _escape(word: str) -> str:
    return "".join(f"\\{c}" if c in "+*/()-.=|:" else ("\\n" if c == "\n" else c) for c in word)
