"""Reasoning domains as Gymnasium environments: a step of reasoning is a discrete action.

    gymnasium.make("irl.control.environments.reasoning:traceward/ModChain-v0", num_ops=3, modulus=7)

The reward is that of the exact verifier: 1 at the last step of a correct trace, else 0. It serves evaluation alone.
Imitators see observations and actions (`demonstrations`), never the reward.

    traceward/ModChain-v0     action: the value of the next operation
    traceward/Countdown-v0    action: two of the remaining numbers and an operation; the target is 24
"""

import itertools
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float, Int

from irl.control.trajectories.trajectory import Trajectory
from irl.domains import modchain
from irl.domains.countdown.countdown import TARGET, Countdown, parse_prompt, render_trace
from irl.domains.countdown.solver import Number, Operation, State, combine, format_number, insert, remove
from irl.domains.countdown.verifier import parse_number
from irl.domains.modchain import OPERATIONS, ModChain
from irl.types import InputError, Problem

SYMBOLS = tuple(OPERATIONS)
HAND = 4
"""Numbers in a hand of Countdown."""
WAYS = ("large + small", "large - small", "large * small", "large / small", "small / large")
PAIRS = tuple(itertools.combinations(range(HAND), 2))
"""Positions of the smaller and the larger number; the numbers are in ascending order."""
ONE_HOT = 49
"""Integers from 0 that an observation of Countdown encodes exactly."""
_LARGEST = math.log1p(13**HAND)
_OPERATION = re.compile(r"(\S+) ([-+*/]) (\S+) =")


class ReasoningSteps(gymnasium.Env, ABC):
    """A problem of `split` per episode, or the one given to `reset` as options={"problem": problem}."""

    def __init__(self, environment: ModChain | Countdown, split: str):
        self.environment = environment
        self.problems: Sequence[Problem] = environment.problems(split)
        self.problem = self.problems[0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        drawn = self.problems[int(self.np_random.integers(len(self.problems)))]
        self.problem = (options or {}).get("problem", drawn)
        self.begin()
        return self.observation(), self.info()

    def step(self, action: int | np.integer):
        truncated = not self.take(int(action))
        text = self.text()
        right = text is not None and self.environment.verify(self.problem, text).correct
        return self.observation(), float(right), text is not None, truncated and text is None, self.info()

    @abstractmethod
    def begin(self) -> None:
        """Start `problem`."""

    @abstractmethod
    def take(self, action: int) -> bool:
        """Take one step and return whether another may follow."""

    @abstractmethod
    def observation(self) -> Float[np.ndarray, " width"]:
        """The state of the trace."""

    @abstractmethod
    def text(self) -> str | None:
        """The whole trace once it has ended."""

    @abstractmethod
    def action_of(self, step: str) -> int | None:
        """The action of a line of a trace; None for a line that only states the answer."""

    def info(self) -> dict[str, Any]:
        return {}


class ModChainSteps(ReasoningSteps):
    """The observation is one-hot: the current value, then symbol and operand of every remaining operation in order."""

    def __init__(self, split: str = "train", **settings: Any):
        config = ModChain(**settings)
        super().__init__(config, split)
        self.modulus, self.num_ops = config.modulus, config.num_ops
        width = self.modulus + self.num_ops * (len(SYMBOLS) + self.modulus)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (width,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(self.modulus)

    def begin(self) -> None:
        self.chain = modchain.parse_prompt(self.problem.prompt)
        self.values = [self.chain.start]

    def take(self, action: int) -> bool:
        self.values.append(action)
        return True

    def observation(self) -> Float[np.ndarray, " width"]:
        rest = np.zeros((self.num_ops, len(SYMBOLS) + self.modulus), np.float32)
        for row, (symbol, operand) in zip(rest, self.chain.operations[len(self.values) - 1 :], strict=False):
            row[SYMBOLS.index(symbol)] = row[len(SYMBOLS) + operand] = 1
        value = np.zeros(self.modulus, np.float32)
        value[self.values[-1]] = 1
        return np.concatenate([value, rest.reshape(-1)])

    def text(self) -> str | None:
        if len(self.values) <= len(self.chain.operations):
            return None
        steps = zip(self.values, self.chain.operations, self.values[1:], strict=False)
        lines = [f"{left} {symbol} {operand} = {value}" for left, (symbol, operand), value in steps]
        return "\n".join([*lines, f"Answer: {self.values[-1]}"])

    def action_of(self, step: str) -> int | None:
        claim = modchain.parse_step(step)
        if claim is None or not 0 <= claim.value < self.modulus:
            raise InputError(f"ModChain: expected a step such as '7 * 3 = 8', got {step!r}")
        return None if claim.symbol == "=" else claim.value


class CountdownSteps(ReasoningSteps):
    """The observation has for each of four numbers, ascending: present, size, integer, and the number one-hot if small.

    The action is 5 * pair + way. An invalid action (no such number, a division by 0) changes nothing.
    `info["action_mask"]` has 1 for valid actions. An episode is truncated after `most_steps` steps.
    """

    def __init__(self, split: str = "train", most_steps: int = 12, **settings: Any):
        super().__init__(Countdown(**settings), split)
        self.most_steps = most_steps
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (HAND * (3 + ONE_HOT),), np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(PAIRS) * len(WAYS))

    def begin(self) -> None:
        self.numbers, target = parse_prompt(self.problem.prompt)
        if target != TARGET or len(self.numbers) > HAND:
            raise InputError(f"problem {self.problem.prompt!r}: expected up to {HAND} numbers and target {TARGET}")
        self.moves: list[Operation] = []
        self.steps = 0

    def take(self, action: int) -> bool:
        self.steps += 1
        operation = operation_of(self.numbers, action)
        if operation is not None:
            self.moves.append(operation)
            self.numbers = _after(self.numbers, operation)
        return self.steps < self.most_steps

    def observation(self) -> Float[np.ndarray, " width"]:
        rows = np.zeros((HAND, 3 + ONE_HOT), np.float32)
        for row, number in zip(rows, self.numbers, strict=False):
            whole = isinstance(number, int)
            row[:3] = 1, math.log1p(number) / _LARGEST, whole
            if whole and number < ONE_HOT:
                row[3 + int(number)] = 1
        return rows.reshape(-1)

    def text(self) -> str | None:
        if len(self.numbers) > 1:
            return None
        trace = render_trace(self.problem, self.moves, np.random.default_rng(0))
        return "\n".join(step.text for step in trace.steps)

    def action_of(self, step: str) -> int | None:
        if step.lower().startswith("answer"):
            return None
        match = _OPERATION.match(step)
        left, right = (parse_number(match[i]) for i in (1, 3)) if match else (None, None)
        if match is None or left is None or right is None or remove(self.numbers, left, right) is None:
            have = " ".join(map(format_number, self.numbers))
            raise InputError(f"Countdown: expected a step on two of {have}, got {step!r}")
        return action_on(self.numbers, left, match[2], right)

    def info(self) -> dict[str, Any]:
        return {"action_mask": legal_actions(self.numbers)}


def operation_of(numbers: State, action: int) -> Operation | None:
    """The operation of an action on numbers in ascending order; None for an invalid action."""
    pair, way = divmod(action, len(WAYS))
    first, second = PAIRS[pair]
    if second >= len(numbers):
        return None
    small, large = numbers[first], numbers[second]
    left, right = (small, large) if WAYS[way].startswith("small") else (large, small)
    symbol = WAYS[way].split()[1]
    result = combine(left, symbol, right)
    return None if result is None else Operation(left, symbol, right, result)


def action_on(numbers: State, left: Number, symbol: str, right: Number) -> int | None:
    """The first action with this operation, operands of + and * in any order; None if there is none."""
    wanted = {(left, symbol, right)} | ({(right, symbol, left)} if symbol in "+*" else set())
    operations = ((action, operation_of(numbers, action)) for action in range(len(PAIRS) * len(WAYS)))
    return next((action for action, operation in operations if operation and operation[:3] in wanted), None)


def legal_actions(numbers: State) -> Int[np.ndarray, " actions"]:
    """1 for every valid action."""
    count = len(PAIRS) * len(WAYS)
    return np.array([operation_of(numbers, action) is not None for action in range(count)], np.int8)


def _after(numbers: State, operation: Operation) -> State:
    rest = remove(numbers, operation.left, operation.right)
    assert rest is not None, f"{operation} on {numbers}"
    return insert(rest, operation.result)


def demonstrations(env: gymnasium.Env, count: int, seed: int) -> list[Trajectory]:
    """Episodes of the expert of the environment, over the problems in random order, repeated as needed."""
    steps = env.unwrapped
    if not isinstance(steps, ReasoningSteps):
        raise InputError(f"demonstrations: expected one of the reasoning environments, got {steps}")
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(steps.problems)) for _ in itertools.count())
    chosen = itertools.islice(itertools.chain.from_iterable(orders), count)
    return [_demonstration(env, steps, steps.problems[index], rng) for index in chosen]


def _demonstration(env: gymnasium.Env, steps: ReasoningSteps, problem: Problem, rng: np.random.Generator) -> Trajectory:
    observations = [env.reset(seed=0, options={"problem": problem})[0]]
    actions, rewards, terminated = [], [], False
    for step in steps.environment.expert(problem, rng).steps:
        action = steps.action_of(step.text)
        if action is not None:
            observation, reward, terminated, _, _ = env.step(action)
            observations.append(observation)
            actions.append(action)
            rewards.append(float(reward))
    return Trajectory(
        observations=np.stack(observations),
        actions=np.array(actions, np.int32),
        rewards=np.array(rewards, np.float32),
        terminal=terminated,
        environment=env.spec.id if env.spec is not None else type(steps).__name__,
    )


IDS = {"traceward/ModChain-v0": ModChainSteps, "traceward/Countdown-v0": CountdownSteps}
for _id, _kind in IDS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=f"{__name__}:{_kind.__name__}")
