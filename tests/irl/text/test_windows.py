"""Windows: what a step is judged by, as text and as tokens."""

import numpy as np
import pytest

from irl.domains.countdown.countdown import Countdown
from irl.domains.modchain import ModChain
from irl.text.encode import Encoder
from irl.text.tokenize import BEGIN, END, number_tokenizer
from irl.text.windows import WHOLE_TRACE, StepWindow, encode_windows

COUNTDOWN, MODCHAIN = Countdown(), ModChain()
ENCODER = Encoder(number_tokenizer(), 100, 8)
PROMPT = "4 5 6 10"
STEPS = (
    "10 - 4 = 6 (left: 5 6 6)",
    "6 * 5 = 30 (left: 6 30)",
    "30 - 6 = 24 (left: 24)",
    "Answer: (10 - 4) * 5 - 6 = 24",
)
CHAIN = "7 * 3 + 5 - 2 mod 13"
CHAIN_STEPS = ("7 * 3 = 8", "8 + 5 = 0", "0 - 2 = 11", "Answer: 11")


def flat(windows):
    return [window for step in windows for window in step]


def test_windows_of_a_countdown_trace_are_the_numbers_left_and_for_the_answer_the_whole_trace_and_the_goal():
    expected = [
        (StepWindow("4 5 6 10", (), STEPS[0], False),),
        (StepWindow("5 6 6", (), STEPS[1], False),),
        (StepWindow("6 30", (), STEPS[2], False),),
        (StepWindow("4 5 6 10", STEPS[:3], STEPS[3], True), StepWindow(" (target: 24)", (), " = 24", True)),
    ]
    assert COUNTDOWN.windows.read(PROMPT, STEPS) == expected
    other = COUNTDOWN.windows.read(f"{PROMPT} (target: 31)", STEPS)
    assert other[:3] == expected[:3] and other[3][0] == expected[3][0], "none of these has seen the goal"
    assert other[3][1] == StepWindow(" (target: 31)", (), " = 24", True)


def test_an_answer_that_claims_no_value_is_its_own_claim():
    windows = COUNTDOWN.windows.read(PROMPT, ("Answer: 10 + 4",))
    assert windows == [
        (StepWindow(PROMPT, (), "Answer: 10 + 4", True), StepWindow(" (target: 24)", (), "Answer: 10 + 4", True))
    ]


def test_windows_of_a_chain_are_the_value_and_what_is_still_to_do():
    assert MODCHAIN.windows.read(CHAIN, CHAIN_STEPS) == [
        (StepWindow("7 * 3 + 5 - 2 mod 13", (), "7 * 3 = 8", False),),
        (StepWindow("8 + 5 - 2 mod 13", (), "8 + 5 = 0", False),),
        (StepWindow("0 - 2 mod 13", (), "0 - 2 = 11", False),),
        (StepWindow(CHAIN, CHAIN_STEPS[:3], "Answer: 11", True),),
    ]


def test_a_wrong_claim_is_the_state_of_the_step_after_it():
    wrong = ("10 - 4 = 7 (left: 5 6 7)", "7 * 5 = 35 (left: 6 35)")
    assert [w.prompt for w in flat(COUNTDOWN.windows.read(PROMPT, wrong))] == ["4 5 6 10", "5 6 7"]
    assert flat(MODCHAIN.windows.read(CHAIN, ("7 * 3 = 9", "9 + 5 = 1")))[1].prompt == "9 + 5 - 2 mod 13"


def test_where_no_state_can_be_named_the_window_is_the_trace_so_far():
    unreadable = MODCHAIN.windows.read(CHAIN, ("let me see", "8 + 5 = 0"))[1]
    assert unreadable == (StepWindow(CHAIN, ("let me see",), "8 + 5 = 0", True),)
    assert WHOLE_TRACE.read("tree 0", ("a1", "b0")) == [
        (StepWindow("tree 0", (), "a1", False),),
        (StepWindow("tree 0", ("a1",), "b0", True),),
    ]
    assert COUNTDOWN.windows.read(PROMPT, ()) == []


@pytest.mark.parametrize("environment", [COUNTDOWN, MODCHAIN])
def test_a_trace_closes_once_where_it_ends_and_an_unfinished_one_does_not(environment):
    problem = environment.problems("train")[0]
    steps = [step.text for step in environment.expert(problem, np.random.default_rng(0)).steps]
    for count in range(1, len(steps) + 1):
        own = [first for first, *_ in environment.windows.read(problem.prompt, steps[:count])]
        assert [window.closes for window in own] == [False] * (count - 1) + [True]
        growing = [first for first, *_ in environment.windows.read(problem.prompt, steps[:count], ended=False)]
        assert not any(window.closes for window in growing)
        assert [window._replace(closes=False) for window in own] == growing


def test_a_step_that_ends_a_trace_early_has_the_end_token_in_the_place_of_its_newline():
    early = COUNTDOWN.windows.read(PROMPT, STEPS[:1])
    growing = COUNTDOWN.windows.read(PROMPT, STEPS[:1], ended=False)
    ended, unfinished = encode_windows(ENCODER, flat(early + growing))
    context = ids(PROMPT + "\n")
    assert ended.tokens == [ENCODER.special(BEGIN), *context, *ids(STEPS[0]), ENCODER.special(END)]
    assert unfinished.tokens == [ENCODER.special(BEGIN), *context, *ids(STEPS[0] + "\n")]
    assert unfinished == encode_windows(ENCODER, flat(COUNTDOWN.windows.read(PROMPT, STEPS)))[0]


def test_an_answer_that_is_not_the_last_step_does_not_close_the_trace():
    after = flat(COUNTDOWN.windows.read(PROMPT, (*STEPS, "Answer: 24 = 24")))
    assert [window.closes for window in after if not window.prompt.startswith(" (")] == [False] * 4 + [True]


@pytest.mark.parametrize("prompt", ["6 30", "6 30 (target: 36)", " 30  6 "])
def test_a_third_step_and_a_first_step_of_another_problem_are_the_same_window(prompt):
    (third,) = COUNTDOWN.windows.read(PROMPT, STEPS)[2]
    (first,) = COUNTDOWN.windows.read(prompt, (STEPS[2], "Answer: 30 - 6 = 24"))[0]
    assert first == third and hash(first) == hash(third)
    rows = encode_windows(ENCODER, [third, first])
    assert rows[0] == rows[1]
    late = MODCHAIN.windows.read(CHAIN, CHAIN_STEPS)[2]
    assert late == MODCHAIN.windows.read("0 - 2 mod 13", ("0 - 2 = 11", "Answer: 11"))[0]
    answers = [COUNTDOWN.windows.read(numbers, STEPS)[3] for numbers in (PROMPT, "5 6 6")]
    assert answers[0][0] != answers[1][0] and answers[0][1] == answers[1][1]


def ids(text):
    return ENCODER.tokenizer.encode(text, add_special_tokens=False).ids


def test_only_the_judged_step_is_response_and_it_ends_with_newline_or_end_token():
    windows = flat(COUNTDOWN.windows.read(PROMPT, STEPS))
    rows = encode_windows(ENCODER, windows)
    begin, end = ENCODER.special(BEGIN), ENCODER.special(END)
    for window, row in zip(windows[:3], rows, strict=False):
        context, judged = ids(window.prompt + "\n"), ids(window.step + "\n")
        assert row.tokens == [begin, *context, *judged]
        assert row.step_id == [-1] * (1 + len(context)) + [0] * len(judged)
        assert ENCODER.tokenizer.id_to_token(row.tokens[-1]) == ")\n" and end not in row.tokens
    context, answer = ids("\n".join([PROMPT, *STEPS[:3]]) + "\n"), ids(STEPS[3])
    assert rows[3].tokens == [begin, *context, *answer, end]
    assert rows[3].step_id == [-1] * (1 + len(context)) + [0] * (len(answer) + 1)
    goal, claim = ids(" (target: 24)\n"), ids(" = 24")
    assert rows[4].tokens == [begin, *goal, *claim, end]
    assert rows[4].step_id == [-1] * (1 + len(goal)) + [0] * (len(claim) + 1)


def test_windows_have_the_tokens_that_the_step_has_in_its_trace():
    """Experts' traces: each judged step reads as in the whole trace, end token and newlines alike."""
    rng = np.random.default_rng(0)
    for environment in (COUNTDOWN, MODCHAIN):
        for problem in environment.problems("train")[:20]:
            steps = [step.text for step in environment.expert(problem, rng).steps]
            (whole,) = ENCODER.many([problem.prompt], [steps])
            windows = [first for first, *_ in environment.windows.read(problem.prompt, steps)]
            rows = encode_windows(ENCODER, windows)
            assert len(rows) == len(steps)
            for index, row in enumerate(rows):
                in_trace = [t for t, s in zip(whole.tokens, whole.step_id, strict=True) if s == index]
                assert [t for t, s in zip(row.tokens, row.step_id, strict=True) if s == 0] == in_trace
                assert set(row.step_id) == {-1, 0} and row.step_id == sorted(row.step_id)


def test_no_windows_no_rows():
    assert encode_windows(ENCODER, []) == []
