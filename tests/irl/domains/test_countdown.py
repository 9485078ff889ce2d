"""The number games: public lists and samples, brute force, and texts nobody would write."""

import csv
import itertools
import json
import lzma
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from irl.domains.countdown.countdown import (
    TEST_HANDS,
    Countdown,
    demonstrations,
    parse_prompt,
    problem_of,
    render_prompt,
    solvable_hands,
)
from irl.domains.countdown.solver import good_moves, operations, solutions, solvable, whole
from irl.domains.countdown.verifier import parse_number
from irl.types import InputError, Problem

ENVIRONMENT = Countdown(held_out=100)
PROBLEM = problem_of((4, 5, 6, 10))
GOOD = "10 - 4 = 6 (left: 5 6 6)\n6 * 5 = 30 (left: 6 30)\n30 - 6 = 24 (left: 24)\nAnswer: (10 - 4) * 5 - 6 = 24"


def verify(text, problem=PROBLEM):
    return ENVIRONMENT.verify(problem, text)


def flags(text, problem=PROBLEM):
    """(legal, arithmetic, solvable) of every step."""
    return [(step.legal, step.arithmetic, step.solvable) for step in verify(text, problem).steps]


# --- the published list -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(shared_data):
    """Hands of the public list in the order of human difficulty: rank 1 first."""
    path = shared_data / "game24" / "24.csv"
    if not path.is_file():
        pytest.skip(f"no list of hands: {path}")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["Rank"]) for row in rows] == list(range(1, len(rows) + 1))
    return [tuple(sorted(int(n) for n in row["Puzzles"].split())) for row in rows]


def test_solvable_hands_are_those_of_the_public_list(published):
    hands = solvable_hands()
    assert len(hands) == len(set(hands)) == 1362
    assert set(hands) == set(published) and list(hands) == sorted(hands)


def test_the_test_hands_are_the_ranks_901_to_1000(published):
    assert set(TEST_HANDS) == set(published[900:1000])
    assert len(set(TEST_HANDS)) == len(TEST_HANDS) == 100
    assert [p.prompt for p in ENVIRONMENT.problems("test")] == [render_prompt(hand) for hand in TEST_HANDS]


def test_splits_are_disjoint_and_complete():
    test, train, validation = (
        {problem.prompt for problem in ENVIRONMENT.problems(split)} for split in ("test", "train", "validation")
    )
    assert (len(test), len(train), len(validation)) == (100, 1162, 100)
    assert not test & train and not test & validation and not train & validation
    assert test | train | validation == {render_prompt(hand) for hand in solvable_hands()}
    everything = Countdown().problems("train")
    assert {problem.prompt for problem in everything} == train | validation
    other = {problem.prompt for problem in Countdown(held_out=100, seed=1).problems("validation")}
    assert other != validation and not other & test
    assert ENVIRONMENT.problems("validation") == Countdown(held_out=100).problems("validation")
    with pytest.raises(InputError, match="expected split train, validation or test, got 'dev'"):
        ENVIRONMENT.problems("dev")


# --- experts ----------------------------------------------------------------------------------------------


def assert_right(trace, problem):
    verdict = verify(trace.text, problem)
    assert verdict.correct, (trace.text, verdict)
    assert len(verdict.steps) == len(trace.steps)
    assert all(step.right and step.solvable for step in verdict.steps), trace.text


def test_free_play_is_right_and_never_a_test_hand():
    """One hand in twelve is a test hand, so 700 draws without one are no accident."""
    rng = np.random.default_rng(0)
    targets, test = set(), set(TEST_HANDS)
    for number, size in enumerate([4] * 700 + [3] * 100 + [2] * 100):
        trace = ENVIRONMENT.free_play(rng, size=size)
        hand, target = parse_prompt(trace.prompt)
        assert hand not in test and len(hand) == size and 1 <= target <= 200
        targets.add(target)
        if number % 10 == 0:  # judging takes most of the time
            assert_right(trace, problem_of(hand, target))
    assert len(targets) > 80 and 24 in targets
    assert all(parse_prompt(ENVIRONMENT.free_play(rng, largest=30).prompt)[1] <= 30 for _ in range(20))


def test_demonstrations_are_right_and_never_a_test_hand():
    train = ENVIRONMENT.problems("train")[::4]
    by_id = {problem.id: problem for problem in train}
    traces = list(demonstrations(ENVIRONMENT, train, 1000, seed=0))
    assert len(traces) == 1000 and all(trace.source == "expert" for trace in traces)
    seen = [trace.problem_id for trace in traces]
    assert set(seen[: len(train)]) == set(by_id), "the first round meets every problem once"
    assert not set(seen) & {problem.id for problem in ENVIRONMENT.problems("test")}
    for trace in traces[::10]:
        assert_right(trace, by_id[trace.problem_id])
    again = list(demonstrations(ENVIRONMENT, train, 50, seed=0))
    assert again == traces[:50] != list(demonstrations(ENVIRONMENT, train, 50, seed=1))


def test_experts_find_many_ways_and_styles():
    rng = np.random.default_rng(0)
    traces = [ENVIRONMENT.expert(PROBLEM, rng) for _ in range(200)]
    for trace in traces:
        assert_right(trace, PROBLEM)
    assert len({trace.text for trace in traces}) > 20
    assert len({ENVIRONMENT.answer_key(PROBLEM, trace.text) for trace in traces}) >= 3
    fractions = problem_of((3, 3, 8, 8))  # only 8 / (3 - 8 / 3)
    trace = ENVIRONMENT.expert(fractions, rng)
    assert "8/3" in trace.text and "1/3" in trace.text
    assert_right(trace, fractions)


def test_a_problem_without_solution_is_named():
    with pytest.raises(InputError, match="'1 1 1 1' has no solution"):
        ENVIRONMENT.expert(problem_of((1, 1, 1, 1)), np.random.default_rng(0))


def test_prompts_are_read_and_written():
    assert parse_prompt("10 4  6 5") == ((4, 5, 6, 10), 24)
    assert parse_prompt(render_prompt((4, 5), 31)) == ((4, 5), 31)
    assert render_prompt((4, 5), 31) == "4 5 (target: 31)" and render_prompt((4, 5), 24) == "4 5"
    for prompt in ("4 5 x", "", "4, 5", "-4 5", "4 5 (target: )"):
        with pytest.raises(InputError, match="expected numbers such as"):
            parse_prompt(prompt)


# --- the solver against brute force -----------------------------------------------------------------------


def reachable(numbers: tuple[Fraction, ...]) -> set[Fraction]:
    """Everything that can be made of all the numbers, in either order and through any sign."""
    if len(numbers) == 1:
        return {numbers[0]}
    out = set()
    for i, j in itertools.permutations(range(len(numbers)), 2):
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        a, b = numbers[i], numbers[j]
        results = {a + b, a - b, a * b} | ({a / b} if b else set())
        out |= {value for result in results for value in reachable((*rest, result))}
    return out


SIGNED = st.one_of(st.integers(-12, 13), st.fractions(-5, 5, max_denominator=4))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(SIGNED, min_size=1, max_size=3), st.integers(0, 40))
@example([-4, 1, 7], 24)  # (1 - 7) * -4: a negative number in between, and no way around it
@example([0, 5], 0)
def test_solvability_equals_brute_force(numbers, other_target):
    state = tuple(sorted(whole(n) for n in numbers))
    values = reachable(tuple(Fraction(n) for n in numbers))
    for target in {24, other_target, *(int(v) for v in sorted(values)[-3:] if v >= 0 and v == int(v))}:
        assert solvable(state, target) == (target in values), (state, target)


@pytest.mark.parametrize("hand", [(3, 3, 8, 8), (1, 1, 1, 1), (1, 5, 5, 5), (2, 3, 10, 12)])
def test_targets_of_a_whole_hand_equal_brute_force(hand):
    """Leaving negative numbers out loses nothing when a game begins without them."""
    values = reachable(tuple(map(Fraction, hand)))
    assert min(values) < 0
    whole_values = {int(v) for v in values if v >= 0 and v == int(v) and v <= 60}
    assert {target for target in range(61) if solvable(hand, target)} == whole_values


def test_operations_keep_count_and_good_moves_are_those_that_stay_solvable():
    state = (4, 5, 6, 10)
    for operation, after in operations(state):
        left, symbol, right, result = operation
        exact = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b}
        assert exact[symbol](Fraction(left), Fraction(right)) == result
        assert sorted((*after, left, right)) == sorted((*state, result))
    good = good_moves(state, 24)
    assert 0 < len(good) < len(list(operations(state)))
    assert {after for _, after in good} == {after for _, after in operations(state) if solvable(after, 24)}
    assert len(set(solutions(state, 24))) == len(list(solutions(state, 24))) > 0
    assert all(len(moves) == 3 and moves[-1].result == 24 for moves in solutions(state, 24))
    assert list(solutions((1, 1, 1, 1), 24)) == []


# --- the verifier -----------------------------------------------------------------------------------------


def test_flags_of_published_samples_are_reproduced(shared_data):
    path = shared_data / "game24" / "gpt4_cot_ranks_901_950.jsonl.xz"
    if not path.is_file():
        pytest.skip(f"no GPT-4 samples: {path}")
    with lzma.open(path, "rt") as file:
        records = [json.loads(line) for line in file]
    judged = correct = 0
    for record in records:
        problem = problem_of(parse_prompt(record["prompt"])[0])
        for candidate in record["candidates"]:
            verdict = verify(candidate["text"], problem)
            assert verdict.correct == candidate["correct"], (record["prompt"], candidate["text"], verdict)
            lines = [line.strip() for line in candidate["text"].splitlines()]
            lines = [line for line in lines if line and line not in ("Steps:", "steps:")]
            assert len(verdict.steps) == len(lines), "every line is judged"
            judged, correct = judged + 1, correct + verdict.correct
    assert judged == 5000 and 0 < correct < 1000
    assert {record["prompt"] for record in records} == {render_prompt(hand) for hand in TEST_HANDS[:50]}


def test_a_right_trace_is_right_in_every_step():
    verdict = verify(GOOD)
    assert verdict.correct and verdict.reason == ""
    assert flags(GOOD) == [(True, True, True)] * 4
    assert verify("Steps:\r\n" + GOOD.replace("\n", "\r\n\r\n")).steps == verdict.steps


@pytest.mark.parametrize(
    "step, legal, arithmetic, can_win",
    [
        ("10 - 4 = 6 (left: 5 6 6)", True, True, True),
        ("10 - 4 = 6 (left: 6 5 6)", True, True, True),
        ("10 * 4 = 40 (left: 5 6 40)", True, True, False),
        ("10 - 4 = 7 (left: 5 6 7)", True, False, False),
        ("10 - 3 = 7 (left: 5 6 7)", False, True, False),
        ("5 - 5 = 0 (left: 0 6 10)", False, True, False),
        ("10 - 4 = 6 (left: 5 6)", False, True, False),
        ("10 - 4 = 6 (left: 5 6 6 6)", False, True, False),
        ("10 - 4 = 6 (left: 5 5 6)", False, True, False),
        ("9 - 4 = 6 (left: 5 6 6)", False, False, False),
        ("4 / 0 = 0 (left: 0 6 10)", False, False, False),
        ("10 / 4 = 2.5 (left: 2.5 5 6)", True, True, False),
        ("10 / 4 = 5/2 (left: 5/2 5 6)", True, True, False),
        ("4 - 10 = -6 (left: -6 5 6)", True, True, True),
        ("10 ÷ 5 = 2 (left: 2, 4, 6)", True, True, False),
        ("10 - 4 = 6 (left: 5, 6, 6)", True, True, True),
        ("so 10 - 4 = 6 (left: 5 6 6)", False, False, False),
        ("10 - 4 = 6", False, False, False),
    ],
)
def test_what_is_wrong_with_a_step_is_named(step, legal, arithmetic, can_win):
    assert flags(step) == [(legal, arithmetic, can_win)]


def test_an_error_is_counted_once():
    """Steps are judged from what the line before them claims."""
    text = GOOD.replace("10 - 4 = 6 (left: 5 6 6)", "10 - 4 = 7 (left: 5 6 6)")
    assert flags(text)[1:3] == [(True, True, True)] * 2
    assert flags(text)[0] == (False, False, False)
    unreadable = "let us see\n" + GOOD
    assert flags(unreadable) == [(False, False, False)] + [(True, True, True)] * 4


def test_a_negative_number_in_a_state_can_still_win():
    text = (
        "3 - 7 = -4 (left: -4 1 7)\n1 - 7 = -6 (left: -6 -4)\n-6 * -4 = 24 (left: 24)\nAnswer: (1 - 7) * (3 - 7) = 24"
    )
    problem = problem_of((1, 3, 7, 7))
    assert verify(text, problem).correct
    assert flags(text, problem) == [(True, True, True)] * 4


@pytest.mark.parametrize(
    "answer, outcome, reason",
    [
        ("Answer: (10 - 4) * 5 - 6 = 24", "correct", ""),
        ("ANSWER: (10-4)×5-6", "correct", ""),
        ("Answer: 3 = 24\nAnswer: (10 - 4) * 5 - 6 = 24", "correct", ""),
        ("Answer: (10 - 4) * 5 - 6 = 24\nAnswer: 10 + 4 + 5 + 6 = 24", "wrong", "worth 25"),
        ("Answer: 10 + 4 + 5 + 6 = 24", "wrong", "worth 25"),
        ("Answer: 4 * 6 = 24", "wrong", "uses 4 6"),
        ("Answer: 4 * 6 + 10 - 10 = 24", "wrong", "uses 4 6 10 10"),
        ("Answer: 24", "wrong", "uses 24"),
        ("Answer: 10 / (5 - 5) + 4 + 6", "malformed", "division by zero"),
        ("Answer: (10 - 4 * 5 - 6 = 24", "malformed", "unbalanced parenthesis"),
        ("Answer: 10 - 4) * 5 - 6 = 24", "malformed", "unexpected ')'"),
        ("Answer: 10 4 * 5 - 6", "malformed", "unexpected '4'"),
        ("Answer: there is none", "malformed", "'there is none' is not an expression: unexpected 't'"),
        ("Answer:", "malformed", "ends too early"),
        ("Answer: -4 + 6", "malformed", "unexpected '-'"),
        ("10 - 4 = 6 (left: 5 6 6)", "malformed", "no line starts with 'Answer:'"),
        ("", "malformed", "no line starts with 'Answer:'"),
        ("Answer: " + "1 + " * 100 + "1", "malformed", "expression of 401 characters"),
        ("Answer: " + "(" * 380, "malformed", "380 parentheses"),
        ("Answer: " + "(" * 90 + "24" + ")" * 90, "wrong", "uses 24"),
        ("Answer: " + "1+" * 190 + "1", "wrong", "uses 1 1"),
    ],
)
def test_outcomes_have_reasons(answer, outcome, reason):
    verdict = verify(answer)
    assert verdict.outcome == outcome
    assert reason in verdict.reason and bool(verdict.reason) == (outcome != "correct")


PIECES = st.sampled_from(
    [
        *"0123456789+-*/=().,:×÷x \n\r\t",
        *("Answer: ", "answer:", " (left: ", "Steps:", "10 - 4 = 6 (left: 5 6 6)", "4 5 6 10", "/0", "--", "**"),
        *("1e9", "1_0", "٣", "²", "½", "nan", "inf", "9" * 400, "(" * 120, "\u2028", "\x00"),
    ]
)


@settings(max_examples=300, deadline=2000, derandomize=True)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join)))
@example("4 + 5 = 9 (left: 1e9999999)")  # a number only for Fraction, which would compute it
@example("4 + 5 = 9 (left: " + "9" * 5000 + ")")  # more digits than int() takes
@example("Answer: " + "-(" * 90 + "1")
@example("Answer: " + "1-(1*(" * 45 + "1" + "))" * 45)
@example("1/0 + 4 = 4 (left: 4)\nAnswer: 1/0")
def test_no_text_is_too_strange(text):
    """Neither the judge nor the vote counter raises, and nothing takes seconds."""
    verdict = verify(text)
    assert verdict.outcome in ("correct", "wrong", "malformed")
    assert len(verdict.steps) == len(ENVIRONMENT.split_steps(text))
    key = ENVIRONMENT.answer_key(PROBLEM, text)
    assert (key is None) == (verdict.outcome == "malformed")


def test_numbers_are_read_exactly():
    assert [parse_number(t) for t in ("7", "-7", "1.5", "8/3", "6/3", "(4)", "0.1")] == [
        *(7, -7, Fraction(3, 2), Fraction(8, 3), 2, 4, Fraction(1, 10)),
    ]
    assert [parse_number(t) for t in ("", "1/0", "1e5", "1_000", "x", "1.", "--1", "nan")] == [None] * 8
    assert all(isinstance(parse_number(t), int) for t in ("6/3", "4.0", "-0"))


# --- votes ------------------------------------------------------------------------------------------------


def key(expression):
    return ENVIRONMENT.answer_key(PROBLEM, f"Answer: {expression} = 24")


@pytest.mark.parametrize(
    "same",
    [
        ["(10 - 4) * 5 - 6", "5 * (10 - 4) - 6", "((10-4)*5)-6", "5×(10 - 4) - 6"],
        ["4 + 5 + 6 + 10", "(10 + 6) + (5 + 4)", "10 + (5 + (6 + 4))"],
        ["10 - 4 - 6", "10 - (4 + 6)", "10 - 6 - 4", "(10 - 6) - 4"],
        ["10 - (4 - 6)", "10 + 6 - 4", "6 - 4 + 10"],
        ["4 / (5 / 6)", "4 * 6 / 5", "6 / 5 * 4", "6 * (4 / 5)"],
    ],
)
def test_commuted_and_regrouped_answers_share_a_key(same):
    assert len({key(expression) for expression in same}) == 1


def test_different_calculations_have_different_keys():
    """Also where they are worth the same."""
    different = [
        *("(10 - 4) * 5 - 6", "(10 - 4) * 6 - 5", "10 - 4 * 5 - 6", "10 * 5 - 4 * 6", "4 + 5 + 6 + 10"),
        *("4 * 5 * 6 * 10", "4 / 5", "5 / 4", "4 - 5", "5 - 4", "4 * (5 + 6)", "4 * 5 + 6", "45", "4 * 6", "2 * 12"),
    ]
    keys = [key(expression) for expression in different]
    assert None not in keys and len(set(keys)) == len(different)


def test_who_has_no_readable_answer_has_no_key():
    assert key("none") is None and key("(1 + 2") is None
    assert ENVIRONMENT.answer_key(PROBLEM, "10 - 4 = 6 (left: 5 6 6)") is None
    assert ENVIRONMENT.answer_key(PROBLEM, GOOD) == key("5 * (10 - 4) - 6")


LONG = "9" * 5_000


@pytest.mark.parametrize("prompt", [LONG, f"4 5 6 {LONG}", f"4 5 6 10 (target: {LONG})", "1" * 10, "٣" * 5_000])
def test_prompts_with_long_numbers_are_refused(prompt):
    with pytest.raises(InputError, match="expected numbers such as") as error:
        Countdown().verify(Problem(id="p", prompt=prompt), "Answer: 24")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        f"Answer: {LONG}",
        f"Answer: {LONG} + 1 = 24",
        f"Answer: {'9' * 300} * 6",
        f"Answer: 4 + 5 = {LONG}",
        f"{LONG} - 4 = 6 (left: 5 6 6)\nAnswer: 24",
        f"10 - 4 = 6 (left: {LONG} 6 6)\nAnswer: 5 * (10 - 4) - {LONG}",
        f"10 / {LONG} = 1/{LONG} (left: 5 6 {LONG}/{LONG})",
        f"10 - 4 = 6 (left: 5 6 1e{LONG})\nAnswer: 1e99999999",
    ],
)
def test_long_numbers_in_an_answer_are_a_verdict(text):
    game, problem = Countdown(), Problem(id="p", prompt="4 5 6 10")
    verdict = game.verify(problem, text)
    assert verdict.outcome in ("wrong", "malformed") and len(verdict.reason) < 1_000
    game.answer_key(problem, text)
