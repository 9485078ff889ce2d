"""The canonical form of a prompt, by which training and test data are compared.

Two prompts overlap when their canonical forms are equal, which hashing decides in linear time. The form removes
differences of spelling that leave the task the same: Unicode compatibility forms (full-width digits, ligatures), case,
whitespace and line ends, invisible characters, typographic quotes and dashes, digits of other scripts, and the speaker
names around a transcript with one turn. Words and punctuation stay: a paraphrase is another prompt.

A domain knows more about its prompts (`Environment.canonical`), such as that the order of the numbers is irrelevant.
"""

import re
import unicodedata
from functools import lru_cache

_CONTROLS = {ord(c): None for c in map(chr, (*range(0x20), *range(0x7F, 0xA0))) if not c.isspace()}
_IGNORABLE = re.compile(  # Unicode's Default_Ignorable_Code_Point
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")
_SPEAKERS = re.compile(r"^(?:(?:human|user): ?)+|(?: ?\bassistant:)+$")
_PUNCTUATION = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63"), "-"),
}
"""Typographic quotes, apostrophes, hyphens, dashes and the minus sign."""


def canonical_text(text: str) -> str:
    """The canonical form of a prompt of no particular domain.

    The Unicode part is compatibility caseless matching (The Unicode Standard, definition D146) after which
    default-ignorable characters are removed. A million prompts of 200 characters take a few seconds.
    """
    if text.isascii():
        text = " ".join(text.lower().split())
    else:  # a word may become nothing or several words
        text = " ".join(" ".join(map(_word, text.split())).split())
    if not text.isprintable():
        text = " ".join(text.translate(_CONTROLS).split())
    return _SPEAKERS.sub("", text) if text.endswith(":") or text.startswith(("human:", "user:")) else text


def _word(word: str) -> str:
    return word.lower() if word.isascii() else _unicode_word(word)


@lru_cache(maxsize=1 << 16)
def _unicode_word(word: str) -> str:
    word = _IGNORABLE.sub("", word.translate(_PUNCTUATION))
    word = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", word).casefold())
    word = unicodedata.normalize("NFKC", word.casefold()).translate(_PUNCTUATION)
    return _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), _IGNORABLE.sub("", word))
