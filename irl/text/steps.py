r"""Where the steps of a text end: by lines, paragraphs, sentences, or a pattern of one's own.

A text is cut behind every separator. A step keeps its separator but for one newline, which the encoder writes between
steps (irl/text/encode.py). So steps that are joined by newlines and cut again are the same steps, whatever the rule:

    cut("\n".join(cut(text))) == cut(text)
"""

import re
from collections.abc import Callable
from functools import lru_cache

from irl.types import InputError

SplitSteps = Callable[[str], tuple[str, ...]]

PARAGRAPHS = r"\n[ \t]*\n\s*"
SENTENCES = r"(?<=[.!?])[ \t]*\n\s*|(?<=[.!?])[ \t]+(?=[\"'(\[]?[A-Z0-9\\$])|(?<=[.!?][\"')\]])\s+|\n+"
NAMED = {"lines": r"\s*?\n\s*?", "paragraphs": PARAGRAPHS, "sentences": SENTENCES}
"""The rules that have a name, as patterns of their separators."""


@lru_cache(maxsize=32)
def step_rule(rule: str) -> SplitSteps:
    """The function that cuts a text into steps.

    Args:
        rule: `lines`, `paragraphs`, `sentences`, or a regular expression that matches what separates two steps. A
            lookahead such as `\\n(?=Step \\d)` keeps the words that begin a step.

    Raises:
        InputError: The expression is malformed, or matches the empty text.
    """
    if rule == "lines":
        return _lines
    try:
        separator = re.compile(NAMED.get(rule, rule))
    except re.error as error:
        names = ", ".join(NAMED)
        raise InputError(f"steps: {rule!r} is not a regular expression ({error}); expected one or {names}") from None
    if separator.fullmatch(""):
        raise InputError(f"steps: {rule!r} matches the empty text; give a pattern of what separates two steps")

    def cut(text: str) -> tuple[str, ...]:
        steps, start = [], 0
        for match in separator.finditer(text):
            if match.end() > start:
                steps.append(text[start : match.end()])
                start = match.end()
        steps.append(text[start:])
        return _joined(steps)

    return cut


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in text.split("\n") if line.strip())


def _joined(pieces: list[str]) -> tuple[str, ...]:
    """Pieces without a word join the piece before. A step loses one newline at its end, the last step all space."""
    steps: list[str] = []
    for piece in pieces:
        if piece.strip():
            steps.append(piece.lstrip("\n"))
        elif steps:
            steps[-1] += piece
    return (*(step.removesuffix("\n") for step in steps[:-1]), *(step.rstrip() for step in steps[-1:]))
