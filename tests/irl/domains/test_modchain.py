"""Exact labels of modular chains, by hand and by fuzzing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irl.domains.modchain import Chain, ModChain, parse_prompt, parse_step
from irl.types import InputError, Problem

ENVIRONMENT = ModChain(train_size=40, test_size=10)
RNG = np.random.default_rng(0)
HAND = Problem(id="hand", prompt="7 * 3 + 5 - 2 mod 13")
RIGHT = ["7 * 3 = 8", "8 + 5 = 0", "0 - 2 = 11", "Answer: 11"]

chains = st.builds(
    Chain,
    st.integers(0, 12),
    st.lists(st.tuples(st.sampled_from("+-*"), st.integers(1, 12)), min_size=1, max_size=6).map(tuple),
    st.just(13),
)


def verify(*lines):
    return ENVIRONMENT.verify(HAND, "\n".join(lines))


def flags(verdict):
    return [
        "".join("las"[i] if flag else "-" for i, flag in enumerate((step.legal, step.arithmetic, step.solvable)))
        for step in verdict.steps
    ]


def test_expert_writes_the_derivation():
    trace = ENVIRONMENT.expert(HAND, RNG)
    assert [step.text for step in trace.steps] == RIGHT
    assert verify(*RIGHT).correct and flags(verify(*RIGHT)) == ["las"] * 4


@pytest.mark.parametrize(
    "lines, outcome, expected",
    [
        (["7 * 3 = 9", "9 + 5 = 1", "1 - 2 = 12", "Answer: 12"], "wrong", ["l--", "la-", "la-", "la-"]),
        (["7 * 3 = 8", "8 + 5 = 1", "0 - 2 = 11", "Answer: 11"], "wrong", ["las", "l--", "-as", "las"]),
        (["7 * 3 = 8", "8 - 2 = 6", "6 + 5 = 11", "Answer: 11"], "wrong", ["las", "-a-", "-as", "las"]),
        (["7 * 3 = 8", "Answer: 11"], "wrong", ["las", "-a-"]),
        ([*RIGHT[:3], "Answer: 10"], "wrong", ["las", "las", "las", "-a-"]),
        ([*RIGHT, "11 + 1 = 12"], "wrong", ["las"] * 4 + ["-a-"]),
        ([*RIGHT, "Answer: 11"], "wrong", ["las"] * 4 + ["-a-"]),
        (RIGHT[:3], "malformed", ["las", "las", "las"]),
        (["7 * 3 = 8", "so", "0 - 2 = 11", "Answer: 11"], "malformed", ["las", "---", "-a-", "las"]),
        (["7 * 3 = 21", *RIGHT[1:]], "wrong", ["l--", "-as", "las", "las"]),
        ([], "malformed", []),
    ],
)
def test_labels_by_hand(lines, outcome, expected):
    verdict = verify(*lines)
    assert verdict.outcome == outcome and verdict.reason
    assert flags(verdict) == expected


def test_answer_key():
    assert ENVIRONMENT.answer_key(HAND, "7 * 3 = 8\nAnswer: 8\nAnswer:  011") == "11"
    assert ENVIRONMENT.answer_key(HAND, "7 * 3 = 8") is None


def test_splits_are_disjoint_reproducible_and_nested():
    train, test = (ENVIRONMENT.problems(split) for split in ("train", "test"))
    assert len({p.prompt for p in train}) == 40 and len({p.prompt for p in test}) == 10
    assert not {p.id for p in train} & {p.id for p in test}
    assert train == ModChain(train_size=100).problems("train")[:40]
    assert not {p.id for p in ModChain(seed=1).problems("train")} & {p.id for p in test}
    with pytest.raises(InputError, match="train or test"):
        ENVIRONMENT.problems("dev")


def test_too_many_problems_are_refused():
    with pytest.raises(InputError, match="found only"):
        ModChain(num_ops=1, modulus=2, train_size=50).problems("train")
    with pytest.raises(InputError, match="num_ops: expected at least 1"):
        ModChain(num_ops=0)
    with pytest.raises(InputError, match="7 \\* 3"):
        parse_prompt("what is 7 * 3?")


@given(chains)
def test_prompts_round_trip_and_experts_are_correct(chain):
    problem = Problem(id="any", prompt=chain.prompt)
    trace = ENVIRONMENT.expert(problem, RNG)
    verdict = ENVIRONMENT.verify(problem, trace.text)
    assert parse_prompt(chain.prompt) == chain
    assert verdict.correct and all(step.right and step.solvable for step in verdict.steps)
    assert ENVIRONMENT.answer_key(problem, trace.text) == str(chain.values[-1])


@given(chains, st.data())
def test_a_corrupted_value_is_wrong_from_there(chain, data):
    problem = Problem(id="any", prompt=chain.prompt)
    lines = [step.text for step in ENVIRONMENT.expert(problem, RNG).steps]
    place = data.draw(st.integers(0, len(lines) - 1))
    head, value = lines[place].rsplit(" ", 1)
    lines[place] = f"{head} {(int(value) + data.draw(st.integers(1, 12))) % 13}"
    verdict = ENVIRONMENT.verify(problem, "\n".join(lines))
    assert verdict.outcome == "wrong" and f"step {place + 1} " in verdict.reason
    assert all(step.right and step.solvable for step in verdict.steps[:place])
    assert not verdict.steps[place].right and not verdict.steps[place].solvable


texts = st.text() | st.lists(
    st.sampled_from([*RIGHT, "7", " ", "=", "Answer:", "9" * 5000, "٣ * 3 = 8", "\r", "\x00"])
).map("\n".join)


@given(texts)
def test_no_text_raises(text):
    verdict = ENVIRONMENT.verify(HAND, text)
    assert len(verdict.steps) == len(ENVIRONMENT.split_steps(text))
    assert not verdict.correct or ENVIRONMENT.answer_key(HAND, text) == "11"
    assert parse_step(text) is None or parse_step(text).value >= 0
