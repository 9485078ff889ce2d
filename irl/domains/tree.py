"""A prefix tree small enough for exact solutions: a ground truth for learners.

A trace picks one of `branching` symbols at each of `depth` positions. Its planted reward, in nats, is

    R(x, y) = sum_t position[t, y_t] + bigram[y_{t-1}, y_t] + leaf[x, y],    y_0 = the prompt token of x,

with independent normal entries, and the expert is the maximum-entropy one (Ziebart et al., AAAI 2008)

    pi_E(y|x) = exp(R(x, y)) / Z(x),   V(prefix) = log sum_{y extends prefix} exp R(x, y),   V(root) = log Z

V counts the reward already earned, so log pi_E(a|s) = V(s a) - V(s). Everything is exact, in float64 numpy.
Leaves are numbered in lexicographic order: leaf n passes through node n // branching**(depth - t) of level t.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int

from irl.canonical import canonical_text
from irl.types import InputError, Problem, Step, StepVerdict, Trace, Verdict
from reward_models.ranges import Rows, Seed, Share, Weight
from reward_models.records import record

_STEP = re.compile(r"([a-z])([0-9]{1,9})")
_SPELLED = re.compile(r"tree ?0*([0-9]{1,9})")
"""A prompt in canonical text."""
_PROMPT = re.compile(r"tree ([0-9]{1,9})")

LeafTable = Float[np.ndarray, "prompts leaves"]


def sample_leaves(
    reward: LeafTable, count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " count"], Int[np.ndarray, " count"]]:
    """`count` pairs (prompt, leaf): prompts in turn, leaves drawn from exp(reward)/Z by the inverse CDF."""
    cumulative = np.cumsum(np.exp(reward - reward.max(axis=1, keepdims=True)), axis=1)
    cumulative /= cumulative[:, -1:]
    prompts, uniform = np.arange(count) % len(reward), rng.random(count)
    leaves = [np.searchsorted(cumulative[x], u, side="right") for x, u in zip(prompts, uniform, strict=True)]
    return prompts, np.array(leaves, dtype=np.int64)


@record
class Tree:
    """The world of the module docstring: its exact arrays, and an `Environment` of texts.

    A trace reads "a3", "b1", ...: a letter for the position, a number for the choice, one step per line. It
    is correct when its reward reaches the `solved_quantile` of rewards under the expert (the best leaf always
    does), so the expert, who explores, is correct about one time in ten. One prompt in four is for testing.
    """

    depth: Annotated[int, Ge(1), Le(26)] = 6
    branching: Annotated[int, Ge(2), Le(64)] = 4
    num_prompts: Rows = 8
    position_scale: Weight = 0.7
    bigram_scale: Weight = 0.7
    leaf_scale: Weight = 0.0
    """Standard deviations of the planted weights; with leaf_scale alone each leaf has a reward of its own."""
    solved_quantile: Share = 0.9
    seed: Seed = 0

    # The exact world

    @property
    def num_leaves(self) -> int:
        return self.branching**self.depth

    @cached_property
    def choices(self) -> Int[np.ndarray, "leaves depth"]:
        """The symbols of every leaf, from 0."""
        return np.indices((self.branching,) * self.depth).reshape(self.depth, -1).T

    @cached_property
    def reward(self) -> LeafTable:
        """The planted R(x, y) of every trace, in nats."""
        rng = np.random.default_rng(self.seed)
        position = self.position_scale * rng.standard_normal((self.depth, self.branching))
        bigram = self.bigram_scale * rng.standard_normal((self.branching, self.branching))
        opening = self.bigram_scale * rng.standard_normal((self.num_prompts, self.branching))
        leaf = self.leaf_scale * rng.standard_normal((self.num_prompts, self.num_leaves))
        shared = position[np.arange(self.depth), self.choices].sum(axis=1)
        shared += bigram[self.choices[:, :-1], self.choices[:, 1:]].sum(axis=1)
        return shared + opening[:, self.choices[:, 0]] + leaf

    @cached_property
    def log_partition(self) -> Float[np.ndarray, " prompts"]:
        """log Z(x)."""
        return np.logaddexp.reduce(self.reward, axis=1)

    @property
    def log_posterior(self) -> LeafTable:
        """log pi_E(y|x)."""
        return self.reward - self.log_partition[:, None]

    # The same world as texts

    def verifies(self) -> bool:
        return True

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in ("train", "test"):
            raise InputError(f"Tree.problems: expected split train or test, got {split!r}")
        chosen = [x for x in range(self.num_prompts) if (x % 4 == 3) == (split == "test")]
        return [Problem(id=f"tree-{x}", prompt=f"tree {x}") for x in chosen]

    def canonical(self, prompt: str) -> str:
        text = canonical_text(prompt)
        match = _SPELLED.fullmatch(text)
        return f"tree {int(match[1])}" if match else text

    def expert(self, problem: Problem, rng: np.random.Generator) -> Trace:
        x = self._prompt(problem)
        _, leaves = sample_leaves(self.reward[x : x + 1], 1, rng)
        steps = tuple(Step(text=f"{chr(97 + t)}{k}") for t, k in enumerate(self.choices[leaves[0]]))
        return Trace(problem_id=problem.id, prompt=problem.prompt, steps=steps)

    def split_steps(self, text: str) -> tuple[str, ...]:
        return tuple(line.strip() for line in text.split("\n") if line.strip())

    def answer_key(self, problem: Problem, text: str) -> str | None:
        """The whole path, for example "3 1 0 2": a trace is its own answer."""
        path = self._path(text)
        return None if None in path or len(path) != self.depth else " ".join(map(str, path))

    def verify(self, problem: Problem, text: str) -> Verdict:
        """A step is legal when it names a branch of its position, solvable with a correct leaf below it."""
        below, path, verdicts = self._solved[self._prompt(problem)], self._path(text), []
        for choice in path:
            below = below[:0] if choice is None else below.reshape(self.branching, -1)[choice]
            verdict = StepVerdict(legal=choice is not None, arithmetic=True, solvable=bool(below.any()))
            verdicts.append(verdict)
        outcome, reason = ("correct", "a top reward") if below.any() else ("wrong", "the reward is too low")
        if len(path) != self.depth:
            outcome, reason = "malformed", f"{len(path)} steps where {self.depth} are due"
        if None in path:
            outcome, reason = "malformed", f"step {path.index(None) + 1} names no branch of its position"
        return Verdict(outcome=outcome, steps=tuple(verdicts), reason=reason)

    @cached_property
    def _solved(self) -> Bool[np.ndarray, "prompts leaves"]:
        """Which leaves are correct: reward at or above the quantile of rewards under the expert."""
        order = np.argsort(self.reward, axis=1)
        mass = np.cumsum(np.take_along_axis(np.exp(self.log_posterior), order, axis=1), axis=1)
        rank = np.minimum((mass < self.solved_quantile).sum(axis=1), self.num_leaves - 1)
        threshold = np.take_along_axis(self.reward, np.take_along_axis(order, rank[:, None], axis=1), axis=1)
        return self.reward >= threshold

    def _path(self, text: str) -> list[int | None]:
        return [self._choice(position, step) for position, step in enumerate(self.split_steps(text))]

    def _choice(self, position: int, step: str) -> int | None:
        match = _STEP.fullmatch(step)
        if not match or position >= self.depth or ord(match[1]) != 97 + position:
            return None
        return int(match[2]) if int(match[2]) < self.branching else None

    def _prompt(self, problem: Problem) -> int:
        match = _PROMPT.fullmatch(problem.prompt)
        if not match or int(match[1]) >= self.num_prompts:
            expected = f"Tree: expected a prompt from 'tree 0' to 'tree {self.num_prompts - 1}'"
            raise InputError(f"{expected}, got {problem.prompt!r}")
        return int(match[1])
