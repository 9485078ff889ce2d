"""Formats are told by their columns; what is not certain is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.data.detect import FORMATS, detect, named
from irl.types import InputError

TRANSCRIPT = "\n\nHuman: Hi\n\nAssistant: "
TURNS = [{"role": "user", "content": "p"}]
ROWS = {
    "preference": {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    "hh": {"chosen": TRANSCRIPT + "a", "rejected": TRANSCRIPT + "b"},
    "rewardbench": {"id": 1, "subset": "s", "prompt": "p", "chosen": "a", "rejected": "b"},
    "llmbar": {"input": "p", "output_1": "a", "output_2": "b", "label": 1},
    "pandalm": {"instruction": "p", "input": "", "response1": "a", "response2": "b", "annotator1": 0},
    "unpaired": {"prompt": "p", "completion": "c", "label": True},
    "stepwise": {"prompt": "p", "completions": ["a"], "labels": [True]},
    "prm800k": {
        "question": {"problem": "p"},
        "label": {"steps": [{"completions": [{"text": "a", "rating": 1}], "chosen_completion": 0}]},
    },
    "processbench": {"id": "g-0", "problem": "p", "steps": ["a"], "label": -1, "final_answer_correct": True},
    "bigbench_mistake": {"input": "p", "steps": ["a"], "answer": "x", "target": "x", "mistake_index": None},
    "prmbench": {
        "idx": "q",
        "modified_question": "p",
        "modified_process": ["a"],
        "error_steps": [1],
        "classification": "circular",
        "question": "p",
    },
    "gsm8k": {"question": "q", "answer": "a\n#### 1"},
    "gsm8k_solutions": {"question": "q", "ground_truth": "g", "m": {"solution": "a", "is_correct": True}},
    "nemo_ranks": {
        "context": TURNS,
        "completions": [{"rank": k, "completion": [{"role": "assistant", "content": "a"}]} for k in (0, 1)],
        "task_name": "t",
    },
    "rlhflow_answers": {"prompt": "p", "answers": ["a"], "label": [1]},
    "rewardbench2": {
        "id": "1",
        "prompt": "p",
        "chosen": ["a"],
        "rejected": ["b"],
        "subset": "Focus",
        "num_correct": 1,
        "total_completions": 2,
    },
    "candidates": {"prompt": "p", "candidates": [{"text": "a"}]},
    "traces": {"prompt": "p", "steps": ["a", {"text": "b", "label": True}]},
    "completion": {"prompt": "p", "completion": "c"},
    "messages": {"messages": [*TURNS, {"role": "assistant", "content": "a"}]},
}


def test_every_format_has_a_row_here():
    assert ROWS.keys() == {name for name, form in FORMATS.items() if not form.named_only}


@settings(max_examples=20, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ROWS)
def test_neither_order_nor_unknown_columns_matter(name, data):
    extra = data.draw(st.dictionaries(st.text(max_size=5).map("x_{}".format), st.none() | st.integers(), max_size=3))
    items = data.draw(st.permutations(list((ROWS[name] | extra).items())))
    assert detect([dict(items)]) == name
    form = named(name)
    assert form.read(dict(items), "row-1") == form.read(ROWS[name], "row-1")


def test_unknown_columns_list_what_is_known():
    with pytest.raises(InputError) as caught:
        detect([{"foo": 1}, {"bar": 2}])
    message = str(caught.value)
    assert message.startswith(
        "no known format has the columns bar, foo. Rename the columns, or name the format: --format NAME"
    )
    assert all(f"{name}: {', '.join(sorted(form.columns))}" in message for name, form in FORMATS.items())


def test_prompts_alone():
    with pytest.raises(InputError, match=r"the columns prompt \(a prompt alone has no answer"):
        detect([{"prompt": "a"}, {"prompt": "b"}])


def test_ambiguous_columns():
    with pytest.raises(InputError, match="fit preference and unpaired; name the format: --format NAME"):
        detect([{"prompt": "p", "chosen": "a", "rejected": "b", "completion": "c", "label": True}])


def test_rows_that_disagree():
    with pytest.raises(InputError, match="the columns chosen, rejected fit hh and preference"):
        detect([ROWS["hh"], ROWS["preference"]])


@pytest.mark.parametrize("place", [0, 1, 7, 15])
@pytest.mark.parametrize("odd", [{}, {"foo": 1}, {"prompt": "p"}, ROWS["stepwise"], ROWS["hh"], {"chosen": 1, "x": 2}])
def test_one_odd_row_does_not_decide(place, odd):
    rows = [ROWS["unpaired"]] * 15
    assert detect([*rows[:place], odd, *rows[place:]]) == "unpaired"
    assert detect([odd, ROWS["gsm8k"]]) == "gsm8k" if not odd.keys() & {"chosen", "labels"} else True


def test_a_majority_of_less_than_three_to_one_is_no_decision():
    assert detect([ROWS["hh"]] + [ROWS["stepwise"]] * 3) == "stepwise"
    with pytest.raises(InputError, match="fit hh and stepwise"):
        detect([ROWS["hh"]] + [ROWS["stepwise"]] * 2)


def test_a_broken_first_row_does_not_hide_the_format():
    assert detect([{"prompt": "p"}, ROWS["stepwise"]]) == "stepwise"


def test_question_and_answer_without_mark_is_nothing_known():
    with pytest.raises(InputError, match="no known format has the columns answer, question"):
        detect([{"question": "q", "answer": "just text"}])


def test_unknown_name():
    with pytest.raises(InputError, match="unknown format 'trl'; expected one of preference, nemo_binary, rlhflow, hh"):
        named("trl")
