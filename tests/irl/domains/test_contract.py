"""What every environment promises, as one table of tests: splits, experts, steps, states, answers, any text."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.domains import modchain
from irl.domains.base import Environment, HasDemonstrations, HasLabels, HasOtherTargets, ReadsFiles
from irl.domains.countdown import countdown
from irl.domains.countdown.countdown import Countdown
from irl.domains.files import TraceFiles
from irl.domains.modchain import ModChain
from irl.domains.reasoning_gym import ReasoningGym
from irl.domains.tree import Tree
from irl.text.windows import States, windows_of
from irl.types import InputError, Problem, Trace, Verdict
from reward_models.registry import classes, import_all


class Case(NamedTuple):
    environment: Countdown | ModChain | Tree
    splits: tuple[str, ...]
    parse: Callable | None
    """Reads the prompts of states; None where there are none."""
    expert_is_right: bool
    unknown_prompt: str


CASES = {
    "countdown": Case(Countdown(held_out=50), ("train", "validation", "test"), countdown.parse_prompt, True, "24"),
    "modchain": Case(ModChain(train_size=60, test_size=20), ("train", "test"), modchain.parse_prompt, True, "7 mod"),
    "modchain-97": Case(
        ModChain(num_ops=1, modulus=97, train_size=60, test_size=20),
        ("train", "test"),
        modchain.parse_prompt,
        True,
        "?",
    ),
    "tree": Case(Tree(depth=4, branching=3), ("train", "test"), None, False, "tree 8"),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
WITH_STATES = pytest.mark.parametrize(
    "case", [c for c in CASES.values() if c.parse], ids=[n for n in CASES if n != "tree"]
)


def test_every_registered_domain_is_in_the_table():
    import_all("irl.domains")
    registered = {kind for kind in classes() if issubclass(kind, Environment) and kind.__module__.startswith("irl.")}
    assert registered - {TraceFiles, ReasoningGym} == {type(case.environment) for case in CASES.values()}


def test_capabilities():
    """What a run does with a domain depends on its methods and on no class."""
    domains = (Countdown, ModChain, Tree, TraceFiles)
    assert [kind for kind in domains if hasattr(kind, "windows")] == [Countdown, ModChain]
    for capability in (HasDemonstrations, HasLabels):
        assert issubclass(TraceFiles, capability) and not issubclass(Countdown, capability)
    assert isinstance(Countdown(), HasOtherTargets) and not isinstance(ModChain(), HasOtherTargets)
    assert not isinstance(Countdown(), ReadsFiles)


def demonstrations(case, each=12):
    """(problem, expert's trace) of the first problems of every split."""
    rng = np.random.default_rng(0)
    problems = [problem for split in case.splits for problem in case.environment.problems(split)[:each]]
    return [(problem, case.environment.expert(problem, rng)) for problem in problems]


@EVERY
def test_splits_share_no_prompt_and_are_the_same_every_time(case):
    splits = [case.environment.problems(split) for split in case.splits]
    prompts = [{problem.prompt for problem in split} for split in splits]
    assert all(prompts) and all(len(p) == len(split) for p, split in zip(prompts, splits, strict=True))
    assert len(set().union(*prompts)) == sum(map(len, prompts)), "no prompt is in two splits"
    ids = [problem.id for split in splits for problem in split]
    assert len(set(ids)) == len(ids)
    again = replace(case.environment)
    assert [list(again.problems(split)) for split in case.splits] == [list(split) for split in splits]
    with pytest.raises((InputError, ValueError), match="'dev'"):
        case.environment.problems("dev")


@EVERY
def test_experts_answer_and_where_they_are_right_every_step_is(case):
    right = 0
    for problem, trace in demonstrations(case):
        assert isinstance(trace, Trace) and (trace.problem_id, trace.prompt) == (problem.id, problem.prompt)
        assert trace.source == "expert" and all(step.label is None for step in trace.steps)
        verdict = case.environment.verify(problem, trace.text)
        assert verdict.outcome != "malformed" and len(verdict.steps) == len(trace.steps)
        assert all(step.right for step in verdict.steps)
        if case.expert_is_right:
            assert verdict.correct and all(step.solvable for step in verdict.steps)
        right += verdict.correct
    assert right > 0


@EVERY
def test_the_same_randomness_draws_the_same_demonstration(case):
    problem = case.environment.problems("train")[3]
    first, second = (case.environment.expert(problem, np.random.default_rng(7)) for _ in range(2))
    assert first == second


@EVERY
def test_experts_text_splits_into_their_steps_whatever_the_spacing(case):
    for _, trace in demonstrations(case):
        steps = tuple(step.text for step in trace.steps)
        assert case.environment.split_steps(trace.text) == steps
        assert case.environment.split_steps("\n" + trace.text.replace("\n", " \n\n ") + " \n") == steps
        assert "\n".join(case.environment.split_steps(trace.text)) == trace.text


@EVERY
def test_experts_have_an_answer_that_votes_count_alike(case):
    keys = {}
    for problem, trace in demonstrations(case):
        key = case.environment.answer_key(problem, trace.text)
        assert isinstance(key, str) and key
        assert case.environment.answer_key(problem, trace.text.replace("\n", "\n\n") + "\n") == key
        keys[problem.prompt] = key
        assert case.environment.answer_key(problem, "") is None
        assert case.environment.verify(problem, "").outcome == "malformed"
    assert len(set(keys.values())) > len(keys) / 4


@WITH_STATES  # every path answers every prompt of a tree
def test_an_answer_to_another_problem_is_not_correct(case):
    for (problem, _), (other, trace) in pairwise(demonstrations(case)):
        assert problem.prompt != other.prompt and not case.environment.verify(problem, trace.text).correct


@WITH_STATES
def test_states_are_problems_that_the_rest_of_the_trace_solves(case):
    environment, fractions, named = case.environment, 0, 0
    for problem, trace in demonstrations(case, each=40):
        steps = [step.text for step in trace.steps]
        for index in range(len(steps)):
            prompt = environment.windows.state_before(problem.prompt, steps, index)
            if index == len(steps) - 1:
                assert prompt is None, "an answer must agree with all steps"
                continue
            if "/" in prompt:  # Countdown: prompts hold whole numbers only
                fractions += 1
                continue
            named += 1
            case.parse(prompt)
            assert index or prompt == problem.prompt
            verdict = environment.verify(Problem(id="state", prompt=prompt), "\n".join(steps[index:]))
            if isinstance(environment, ModChain):
                assert verdict.correct
            else:  # its answer speaks of the numbers of the whole problem
                assert all(step.right and step.solvable for step in verdict.steps[:-1])
                assert steps[-2].endswith("(left: 24)")
    assert named > 100 > fractions if isinstance(environment, Countdown) else (named >= 60 and not fractions)


@WITH_STATES
def test_states_do_not_depend_on_later_steps_and_forget_how_they_came_about(case):
    for problem, trace in demonstrations(case):
        steps = [step.text for step in trace.steps]
        for index in range(1, len(steps) - 1):
            state = case.environment.windows.state_before(problem.prompt, steps, index)
            other = [*steps[: index + 1], "nothing", "Answer: 0"]
            assert case.environment.windows.state_before(problem.prompt, other, index) == state
            if "/" not in state:
                assert case.environment.windows.state_before(state, steps[index:], 0) == state


@WITH_STATES
def test_goals_can_be_taken_from_prompts_and_are_claimed_by_answers_alone(case):
    environment, goals = case.environment, set()
    for problem, trace in demonstrations(case):
        steps = [step.text for step in trace.steps]
        bare = environment.windows.without_goal(problem.prompt)
        assert bare and environment.windows.without_goal(bare) == bare
        *others, answer = environment.windows.read(problem.prompt, steps)
        assert all(len(windows) == 1 for windows in others)
        goals.add(environment.windows.goal_claim(problem.prompt, steps, len(steps) - 1))
        assert len(answer) == (1 if goals == {None} else 2)
    assert goals == ({(" (target: 24)", " = 24")} if isinstance(environment, Countdown) else {None})


def test_countdown_problems_that_differ_in_their_target_are_one_without_it():
    environment, answer = Countdown(), ["Answer: 4 * 6 + 5 = 29"]
    prompts = ["4 5 6", "4 5 6 (target: 29)", "6 5 4 (target: 30)"]
    assert {environment.windows.without_goal(prompt) for prompt in prompts} == {"4 5 6"}
    goals = [environment.windows.goal_claim(prompt, answer, 0) for prompt in prompts]
    assert goals == [(f" (target: {n})", " = 29") for n in (24, 29, 30)]


LINES = st.sampled_from(
    [
        *("10 - 4 = 6 (left: 5 6 6)", "6 * 5 = 30 (left: 6 30)", "30 - 6 = 24 (left: 24)", "5 / 0 = 0 (left: 0 6)"),
        *("Answer: (10 - 4) * 5 - 6 = 24", "Answer: ((((", "Answer: 1 / (2 - 2)", "answer:", "Steps:", "Answer: ٣ + ²"),
        *(
            "7 * 3 = 8",
            "Answer: 11",
            "8 + 5 = " + "9" * 5000,
            "9" * 5000 + " + 1 = 2 (left: 1e999)",
            "1/0 + 1 = 1 (left: )",
        ),
        *("a1", "b2", "c0", "d9", "a²", "\r", "\x00", "İ", " (left: -3 8/3) ", "-3 * 8/3 = -8 (left: -8)"),
    ]
)
TEXTS = st.text(max_size=60) | st.lists(LINES | st.text(max_size=12), max_size=6).map("\n".join)


@EVERY
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_any_text_is_judged_and_none_raises(case, text):
    environment = case.environment
    problem = environment.problems("test")[0]
    verdict, steps = environment.verify(problem, text), environment.split_steps(text)
    assert isinstance(verdict, Verdict) and len(verdict.steps) == len(steps)
    assert verdict.correct or verdict.reason
    assert all(step and step == step.strip() and "\n" not in step for step in steps)
    key = environment.answer_key(problem, text)
    assert key is None or isinstance(key, str)
    assert key is not None or not verdict.correct, "nothing correct without an answer"
    windows = windows_of(environment).read(problem.prompt, steps)
    assert len(windows) == len(steps) and all(windows), "a window of its own for every step"
    for index in range(len(steps) if isinstance(windows_of(environment), States) else 0):
        state = environment.windows.state_before(problem.prompt, steps, index)
        assert state is None or "\n" not in state
        goal = environment.windows.goal_claim(problem.prompt, steps, index) if state is None else None
        assert goal is None or "\n" not in goal[0] + goal[1]


@EVERY
def test_an_unreadable_prompt_is_an_input_error_that_names_it(case):
    problem = Problem(id="x", prompt=case.unknown_prompt + " what?")
    for call in (
        lambda: case.environment.verify(problem, "a1"),
        lambda: case.environment.expert(problem, np.random.default_rng(0)),
    ):
        with pytest.raises(InputError, match="what"):
            call()


@EVERY
def test_prompts_have_a_canonical_form_of_their_own_that_spelling_does_not_change(case):
    environment = case.environment
    prompts = [problem.prompt for split in case.splits for problem in environment.problems(split)]
    forms = [environment.canonical(prompt) for prompt in prompts]
    assert len(set(forms)) == len(prompts)
    assert forms == [environment.canonical(form) for form in forms]
    wide = str.maketrans({str(digit): chr(0xFF10 + digit) for digit in range(10)})
    for spelled in (str.upper, lambda p: f"\t{p} \r\n", lambda p: p.replace(" ", "  "), lambda p: p.translate(wide)):
        assert forms == [environment.canonical(spelled(prompt)) for prompt in prompts]


@EVERY
@given(text=st.text())
def test_any_text_has_a_canonical_form(case, text):
    assert case.environment.canonical(case.environment.canonical(text)) == case.environment.canonical(text)


def test_a_hand_is_the_same_in_any_order_and_for_any_target():
    canonical = Countdown().canonical
    for prompt in ("10 6 5 4", "4 5 6 10 (target: 24)", "10 4 6 5 (target: 31)", "4, 5, 6, 10", "04 5 6 10"):
        assert canonical(prompt) == "4 5 6 10"
    assert canonical("4 5 6 11") != canonical("4 5 6 10") != canonical("4 5 10")
    assert canonical("9" * 6000) == "9" * 6000


def test_a_chain_is_the_same_with_other_spaces_and_representatives():
    canonical = ModChain().canonical
    for prompt in ("7*3+5 mod 13", "07 * 3 + 5 MOD 13", "20 * 3 + 18 mod 13"):
        assert canonical(prompt) == "7 * 3 + 5 mod 13"
    assert canonical("3 * 7 + 5 mod 13") != canonical("7 * 3 + 5 mod 13") != canonical("7 * 3 + 5 mod 11")
