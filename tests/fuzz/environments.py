"""Prompts and texts of the reasoning domains: whatever a model may write is judged, split and read without an error."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from irl.domains.countdown.countdown import Countdown
from irl.domains.modchain import ModChain
from irl.domains.tree import Tree
from irl.text.readings import readings
from irl.text.windows import windows_of
from irl.types import Problem
from tests.fuzz import mutate
from tests.fuzz.cases import Case, Target

PROMPTS = (
    "4 5 6 10",
    "1 2 4 7 (target: 31)",
    "( [ { < ( ) >",
    "banana apple cherry",
    "Alice, Bob and Claire hold balls. Alice has a red ball, Bob has a blue ball. At the end, Alice has the\n"
    "Options:\n(A) red ball\n(B) blue ball\n(C) green ball",
)
TEXTS = (
    "10 - 4 = 6 (left: 5 6 6)\n6 * 5 = 30 (left: 6 30)\n30 - 6 = 24 (left: 24)\nAnswer: (10 - 4) * 5 - 6 = 24",
    "1/3 + 2/3 = 1 (left: 1 7)\nAnswer: 8 / (3 - 8/3) = 24",
    "48/2 = <<48/2=24>>24\n\n24 + 2 = 26\n#### 26",
    "Steps:\nAnswer: None",
    "We should process each input one by one and keep track of the stack.\n( ; stack: (\n[ ; stack: ( [",
    "(0) At the start: Alice: red ball, Bob: blue ball.\n(1) Alice and Bob swap balls: Alice: blue ball.",
    '(1) The first letter: "b": "banana".\n(2) We now have: (97) "apple" < (98) "banana".',
)
SIGNS = "0 1 -1 9 1/0 0/0 1/3 0.5 1e999 1e5 ** // ( ) (( )) = == (left: left: ) Answer: answer: + - * / % << >> <<1=>>"
LONG = ("9" * 5000, "(" * 300, "(" * 5000, "-" * 5000, "1+" * 3000, "9**9**9", "10**9", "1,000", "1.2.3")
ODD = ("####", "\n", "\r", "\u2028", "\x00", "\ud800", "²", "١٢", "−", "×", "÷", "½", "９", ".", "$", "<", ">")
PIECES = (
    *SIGNS.split(),
    *LONG,
    *ODD,
    *("stack:", "Alice", "(A)", "Options:"),
    "/".join("9" * 4 for _ in range(300)),
    " ".join("1" for _ in range(300)),
    "=".join("1" for _ in range(3000)),
    "(left: " + "1 " * 3000 + ")",
    "1/" + "9" * 4200,
    "9" * 4200 + " * " + "9" * 4200 + " = 1",
)


def _text(rng: Random, seeds: tuple[str, ...]) -> str:
    """A usual text with pieces put in, taken out or repeated, or pieces alone."""
    text = rng.choice(seeds) if rng.random() < 0.85 else ""
    for _ in range(rng.choice((0, 1, 1, 2, 4, 8))):
        at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        match rng.randrange(4):
            case 0 | 1:
                text = text[:at] + rng.choice((rng.choice(PIECES), " " + rng.choice(PIECES) + " ")) + text[at:]
            case 2:
                text = text[:at] + text[min(end, at + 6) :]
            case 3:
                text = text[:end] + text[at:end] * rng.choice((1, 1, 20)) + text[end:]
    return text[:60_000] if rng.random() < 0.98 else text * 5


def _judge(environment: Any, prompt: str, text: str) -> None:
    """Everything that evaluation does with an answer."""
    problem = Problem(id="p", prompt=prompt)
    environment.verify(problem, text)
    environment.answer_key(problem, text)
    steps = environment.split_steps(text)
    windows_of(environment).read(prompt, steps[:20])


def _draw_environment(rng: Random, prepared: Any, folder: Path) -> Case:
    environment: Any = rng.choice((Countdown(), Countdown(), ModChain(), Tree()))
    usual = environment.problems("test")
    prompt = rng.choice(usual).prompt if rng.random() < 0.7 else _text(rng, (*PROMPTS, rng.choice(usual).prompt))
    seeds: tuple[str, ...] = TEXTS
    if rng.random() < 0.3 and not isinstance(environment, Countdown):
        seeds = (prompt, "0", "1\n2\n3")
    text = _text(rng, seeds)
    read: Callable[[], None] = lambda: _judge(environment, prompt, text)  # noqa: E731
    return Case(read, ("prompt", "problem"), what=f"{type(environment).__name__} {prompt[:60]!r} {text[:120]!r}")


def _draw_claims(rng: Random, prepared: Any, folder: Path) -> Case:
    name = rng.choice(sorted(readings()))
    problem = rng.choice(PROMPTS) if rng.random() < 0.6 else _text(rng, PROMPTS)
    steps = [_text(rng, TEXTS) for _ in range(rng.choice((1, 2, 6)))]
    if rng.random() < 0.3:
        steps = [mutate.STRINGS[rng.randrange(len(mutate.STRINGS))] for _ in steps]
    read: Callable[[], Any] = lambda: readings()[name].read(problem, steps)  # noqa: E731
    return Case(read, ("problem",), what=f"{name} {problem[:60]!r} {steps[0][:120]!r}")


TARGETS = (
    Target("environments", 8, lambda folder: None, _draw_environment),
    Target("claims", 5, lambda folder: None, _draw_claims),
)
