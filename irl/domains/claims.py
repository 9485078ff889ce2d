"""Ways to read what steps claim: each claim is a window by itself, judged apart from all else.

    equations    what a text calculates (equations.py), whatever the problem
    mistakes     what the traces of BIG-Bench-Mistake's tasks say (mistakes/claims.py)

A soft Q-function of claims is learned from true ones alone; a step is as good as the worst token of its claims.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tokenizers import Tokenizer

from irl.domains.bigbench_mistake.claims import claims
from irl.domains.gsm8k.equations import equation_windows, equations
from irl.text.tokenize import END, character_tokenizer, number_tokenizer
from irl.text.windows import ENDING, StepWindow, ending_window
from reward_models.folders.manifest import Windows


class Reading(NamedTuple):
    """How steps are read."""

    name: Windows
    read: Callable[[str, Sequence[str]], list[tuple[StepWindow, ...]]]
    """The claims of every step of a trace, of a problem and its steps."""
    tokenizer: Callable[[], Tokenizer]
    judged: tuple[str, ...]
    """Tokens that count."""
    longest: int
    """Tokens of the longest claim; longer ones are not judged."""
    lack: str
    """What is said of answers without a claim."""
    wanted: str


def _equations(problem: str, steps: Sequence[str]) -> list[tuple[StepWindow, ...]]:
    return [tuple(window for each in equations(step) for window in equation_windows(each)) for step in steps]


def _ending(problem: str, steps: Sequence[str]) -> list[tuple[StepWindow, ...]]:
    return [(ending_window(step, closes=True),) if step is steps[-1] else () for step in steps]


EQUATIONS = Reading(
    name="equations",
    read=_equations,
    tokenizer=number_tokenizer,
    judged=(*"0123456789.", END),
    longest=96,
    lack="write no calculation",
    wanted="writes a calculation, such as 48/2 = 24 or <<48/2=24>>",
)
MISTAKES = Reading(
    name="mistakes",
    read=claims,
    tokenizer=character_tokenizer,
    judged=(*map(chr, range(32, 127)), END),
    longest=160,
    lack="claim nothing",
    wanted="claims something of a stack, of who has what or of an order of words",
)
ENDINGS = Reading(
    name="ending",
    read=_ending,
    tokenizer=character_tokenizer,
    judged=(END,),
    longest=ENDING + 8,
    lack="have no last step",
    wanted="has a last step",
)
READINGS = {reading.name: reading for reading in (EQUATIONS, MISTAKES, ENDINGS)}
