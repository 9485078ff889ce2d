"""Chains of modular arithmetic: cheap problems with an exact label for every step.

A prompt such as "7 * 3 + 5 mod 13" is evaluated from left to right, without precedence, one operation per line:

    7 * 3 = 8
    8 + 5 = 0
    Answer: 0

Step i must continue from the value that step i-1 claims (legal), be calculated correctly (arithmetic), and have the
exact running value (solvable). A trace is correct if every step and the answer are correct. Operands and the start are
drawn from 1 .. modulus-1, so with a prime modulus a wrong value never becomes correct again.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from irl.canonical import canonical_text
from irl.text.windows import States, Windows
from irl.types import InputError, Problem, Step, StepVerdict, Trace, Verdict
from reward_models.ranges import Few, RowsOrZero, Seed
from reward_models.records import record

OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
_NUMBER = r"([0-9]{1,9})"
_OPERATION = re.compile(rf"{_NUMBER} *([-+*]) *{_NUMBER} *= *{_NUMBER}")
_ANSWER = re.compile(rf"Answer: *{_NUMBER}")
_PROMPT = re.compile(r"([0-9]{1,9})((?: [-+*] [0-9]{1,9})+) mod ([1-9][0-9]{0,8})")
_CHAIN = re.compile(r"0*([0-9]{1,9})((?: ?[-+*] ?0*[0-9]{1,9})+) ?mod ?0*([1-9][0-9]{0,8})")
"""A prompt in canonical text, with or without spaces and leading zeros."""
_TEST_SHARE = 0.2


class Chain(NamedTuple):
    """A parsed prompt."""

    start: int
    operations: tuple[tuple[str, int], ...]
    modulus: int

    @property
    def values(self) -> list[int]:
        """The exact running values: the start, then one per operation."""
        values = [self.start]
        for symbol, operand in self.operations:
            values.append(OPERATIONS[symbol](values[-1], operand) % self.modulus)
        return values

    @property
    def prompt(self) -> str:
        return " ".join([str(self.start), *(f"{s} {n}" for s, n in self.operations), f"mod {self.modulus}"])


class Claim(NamedTuple):
    """A line of a trace: `left symbol right = value`, or an answer: the symbol "=" and no operands."""

    symbol: str
    value: int
    left: int = 0
    right: int = 0


def parse_prompt(prompt: str) -> Chain:
    """The chain of a prompt. InputError for any other text."""
    match = _PROMPT.fullmatch(prompt)
    if not match:
        raise InputError(f"ModChain: expected a prompt like '7 * 3 + 5 mod 13', got {prompt!r}")
    words = match[2].split()
    operations = tuple((symbol, int(number)) for symbol, number in zip(words[::2], words[1::2], strict=True))
    return Chain(int(match[1]), operations, int(match[3]))


def parse_step(text: str) -> Claim | None:
    """The claim of a line; None if it is neither an operation nor an answer."""
    if match := _OPERATION.fullmatch(text.strip()):
        return Claim(match[2], int(match[4]), int(match[1]), int(match[3]))
    if match := _ANSWER.fullmatch(text.strip()):
        return Claim("=", int(match[1]))
    return None


def judge_steps(chain: Chain, claims: Sequence[Claim | None]) -> tuple[StepVerdict, ...]:
    """The exact verdict on each line; all parts of an unreadable line are wrong, and no line can continue it."""
    due = [*chain.operations, ("=", 0)]
    exact = [*chain.values[1:], chain.values[-1]]
    previous: int | None = chain.start
    verdicts = []
    for i, claim in enumerate(claims):
        in_time = i < len(due) and previous is not None
        verdict = StepVerdict(
            legal=claim is not None and in_time and _continues(claim, previous, due[i]),
            arithmetic=claim is not None and _calculates(claim, chain.modulus),
            solvable=claim is not None and in_time and claim.value == exact[i],
        )
        verdicts.append(verdict)
        previous = None if claim is None else claim.value
    return tuple(verdicts)


def _continues(claim: Claim, previous: int | None, due: tuple[str, int]) -> bool:
    """Whether the next operation is applied to the running value; an answer must repeat that value."""
    taken = claim.value if claim.symbol == "=" else claim.left
    return taken == previous and (claim.symbol, claim.right) == due


def _calculates(claim: Claim, modulus: int) -> bool:
    """Whether left symbol right = value is true; an answer has no calculation."""
    return claim.symbol == "=" or OPERATIONS[claim.symbol](claim.left, claim.right) % modulus == claim.value


@record
class ModChain:
    """Problems of `num_ops` operations modulo `modulus`; the hash of a prompt decides its split."""

    num_ops: Few = 5
    modulus: Annotated[int, Ge(2), Le(10**6)] = 13
    train_size: RowsOrZero = 1000
    test_size: RowsOrZero = 200
    seed: Seed = 0

    def verifies(self) -> bool:
        return True

    def problems(self, split: str) -> Sequence[Problem]:
        """Distinct prompts, the same for the same settings; a longer list begins with the shorter one."""
        sizes = {"train": self.train_size, "test": self.test_size}
        if split not in sizes:
            raise InputError(f"ModChain.problems: expected split train or test, got {split!r}")
        rng, size = np.random.default_rng(self.seed), sizes[split]
        problems: dict[str, Problem] = {}
        for _ in range(100 * size):
            if len(problems) == size:
                break
            chain = self._draw(rng)
            if _split_of(chain.prompt) == split:
                problems[chain.prompt] = _problem(chain)
        if len(problems) < size:
            few = f"ModChain: found only {len(problems)} of {size} different {split} problems"
            raise InputError(f"{few}; raise num_ops or modulus, or ask for fewer")
        return list(problems.values())

    def canonical(self, prompt: str) -> str:
        """The chain in canonical spelling, with its numbers below the modulus."""
        text = canonical_text(prompt)
        if (match := _CHAIN.fullmatch(text)) is None:
            return text
        modulus = int(match[3])
        operations = re.findall(r"([-+*]) ?([0-9]+)", match[2])
        reduced = tuple((symbol, int(number) % modulus) for symbol, number in operations)
        return Chain(int(match[1]) % modulus, reduced, modulus).prompt

    def expert(self, problem: Problem, rng: np.random.Generator) -> Trace:
        """The only correct derivation; it is deterministic."""
        del rng
        chain = parse_prompt(problem.prompt)
        steps = zip(chain.values, chain.operations, chain.values[1:], strict=False)
        lines = [f"{left} {symbol} {right} = {value}" for left, (symbol, right), value in steps]
        lines.append(f"Answer: {chain.values[-1]}")
        return Trace(problem_id=problem.id, prompt=problem.prompt, steps=tuple(Step(text=x) for x in lines))

    def split_steps(self, text: str) -> tuple[str, ...]:
        return tuple(line.strip() for line in text.split("\n") if line.strip())

    @property
    def windows(self) -> Windows:
        return RunningValue()

    def answer_key(self, problem: Problem, text: str) -> str | None:
        """The number of the last answer line, without leading zeros."""
        claims = [parse_step(line) for line in self.split_steps(text)]
        answers = [str(claim.value) for claim in claims if claim and claim.symbol == "="]
        return answers[-1] if answers else None

    def verify(self, problem: Problem, text: str) -> Verdict:
        """correct | wrong | malformed, with a reason, for any text."""
        chain, lines = parse_prompt(problem.prompt), self.split_steps(text)
        claims = [parse_step(line) for line in lines]
        steps = judge_steps(chain, claims)
        outcome, reason = _outcome(lines, claims, steps)
        return Verdict(outcome=outcome, steps=steps, reason=reason)

    def _draw(self, rng: np.random.Generator) -> Chain:
        numbers = [int(n) for n in rng.integers(1, self.modulus, self.num_ops + 1)]
        symbols = [list(OPERATIONS)[k] for k in rng.integers(0, len(OPERATIONS), self.num_ops)]
        return Chain(numbers[0], tuple(zip(symbols, numbers[1:], strict=True)), self.modulus)


class RunningValue(States):
    """The running value and the remaining operations, as a prompt; an answer and unreadable steps have no state."""

    def state_before(self, prompt: str, steps: Sequence[str], index: int) -> str | None:
        chain, claim = parse_prompt(prompt), parse_step(steps[index - 1]) if index else None
        due = chain.operations[index:]
        if steps[index].lower().startswith("answer") or not due or (index and claim is None):
            return None
        value = chain.start if claim is None else claim.value
        return Chain(value, due, chain.modulus).prompt


def _outcome(lines: Sequence[str], claims: Sequence[Claim | None], steps: Sequence[StepVerdict]) -> tuple[str, str]:
    if None in claims:
        bad = claims.index(None)
        return "malformed", f"step {bad + 1} is neither an operation nor an answer: {lines[bad][:80]!r}"
    if not any(claim and claim.symbol == "=" for claim in claims):
        return "malformed", "there is no answer line"
    for i, (line, step) in enumerate(zip(lines, steps, strict=True)):
        if not step.right:
            fault = "calculates wrongly" if step.legal else "does not continue the chain"
            return "wrong", f"step {i + 1} {fault}: {line!r}"
    return "correct", "every step is right"


def _problem(chain: Chain) -> Problem:
    name = f"modchain-{_digest(chain.prompt)[:12]}"
    return Problem(id=name, prompt=chain.prompt, truth={"answer": str(chain.values[-1])})


def _split_of(prompt: str) -> str:
    return "test" if int(_digest(prompt)[-8:], 16) < _TEST_SHARE * 16**8 else "train"


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()
