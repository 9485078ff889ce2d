"""Pairs, votes and single labels: every layout people use gives the same record, every defect its message."""

from typing import ClassVar

import pytest

from irl.data.preference import (
    read_hh,
    read_llmbar,
    read_pandalm,
    read_preference,
    read_rewardbench,
    read_unpaired,
)
from irl.types import Comparison, InputError, LabelledResponse, Message, Preference
from tests.irl.data.writing import preference_row, unpaired_row


def user(content):
    return {"role": "user", "content": content}


def said(content):
    return {"role": "assistant", "content": content}


ASKED = (Message(role="user", content="Which colour?"),)
BLUE = Preference(prompt="Which colour?", chosen="Blue.", rejected="Green.", messages=ASKED, id="row-1")

LAYOUTS = {
    "explicit prompt": {"prompt": [user("Which colour?")], "chosen": [said("Blue.")], "rejected": [said("Green.")]},
    "implicit prompt": {
        "chosen": [user("Which colour?"), said("Blue.")],
        "rejected": [user("Which colour?"), said("Green.")],
    },
    "prompt repeated in both": {
        "prompt": [user("Which colour?")],
        "chosen": [user("Which colour?"), said("Blue.")],
        "rejected": [user("Which colour?"), said("Green.")],
    },
    "prompt a string, answers messages": {
        "prompt": "Which colour?",
        "chosen": [said("Blue.")],
        "rejected": [said("Green.")],
    },
    "prompt a string, whole conversations": {
        "prompt": "Which colour?",
        "chosen": [user("Which colour?"), said("Blue.")],
        "rejected": [user("Which colour?"), said("Green.")],
    },
    "prompt messages, answers strings": {"prompt": [user("Which colour?")], "chosen": "Blue.", "rejected": "Green."},
    "null prompt": {
        "prompt": None,
        "chosen": [user("Which colour?"), said("Blue.")],
        "rejected": [user("Which colour?"), said("Green.")],
    },
}


def reason(read, row):
    with pytest.raises(InputError) as caught:
        read(row, "row-1")
    return str(caught.value)


class TestPreference:
    @pytest.mark.parametrize("row", LAYOUTS.values(), ids=LAYOUTS)
    def test_layouts_of_messages(self, row):
        assert read_preference(row, "row-1") == BLUE

    def test_explicit_prompt_of_strings_stays(self):
        row = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "margin": 2}
        expected = Preference(prompt="The sky is", chosen=" blue.", rejected=" green.", margin=2.0, id="row-1")
        assert read_preference(row, "row-1") == expected

    @pytest.mark.parametrize(
        ("chosen", "rejected", "prompt"),
        [
            ("The sky is blue.", "The sky is green.", "The sky is"),
            ("The sky is blue.", "The sky is black.", "The sky is"),  # they share "bl" too
            ("It is", "It is not", "It"),  # one is the beginning of the other
            ("a \n b", "a \n c", "a"),
        ],
    )
    def test_implicit_prompt_ends_before_a_word(self, chosen, rejected, prompt):
        pair = read_preference({"chosen": chosen, "rejected": rejected}, "row-1")
        assert pair.prompt == prompt
        assert (pair.prompt + pair.chosen, pair.prompt + pair.rejected) == (chosen, rejected)

    def test_system_and_earlier_turns_become_a_transcript(self):
        before = [{"role": "system", "content": "Be short."}, user("Hi"), said("Hello"), user("Bye?")]
        row = {"chosen": [*before, said("Bye.")], "rejected": [*before, said("No.")]}
        pair = read_preference(row, "row-1")
        assert pair.prompt == "System: Be short.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye?"
        assert [m.role for m in pair.messages] == ["system", "user", "assistant", "user"]
        assert (pair.chosen, pair.rejected) == ("Bye.", "No.")

    @pytest.mark.parametrize("record", [BLUE, Preference(prompt="p", chosen="c", rejected="r", margin=0.5, id="7")])
    def test_written_row_reads_back(self, record):
        assert read_preference(preference_row(record), "row-1") == record

    def test_rewardbench_keeps_subset_and_id(self):
        row = {"id": 31, "subset": "math-prm", "prompt": "p", "chosen": "c", "rejected": "r", "chosen_model": "m"}
        pair = read_rewardbench(row, "row-1")
        assert (pair.id, pair.subset, pair.chosen) == ("31", "math-prm", "c")

    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            ({"prompt": "p"}, "field chosen: missing; present: prompt"),
            ({"prompt": "p", "choosen": "c", "rejected": "r"}, "the nearest field present is 'choosen'"),
            ({"prompt": "p", "chosen": "", "rejected": "r"}, "field chosen: expected text, got an empty string"),
            ({"prompt": "", "chosen": "c", "rejected": "r"}, "field prompt: expected text, got an empty string"),
            ({"prompt": "p", "chosen": 3, "rejected": "r"}, "field chosen: expected a string, got int"),
            ({"prompt": "p", "chosen": "c", "rejected": None}, "field rejected: expected a string, got null"),
            ({"prompt": "p", "chosen": "c", "rejected": "c"}, "fields chosen and rejected: the same text"),
            ({"chosen": "one same", "rejected": "one same"}, "fields chosen and rejected: the same text"),
            ({"chosen": "Blue.", "rejected": "Green."}, "field prompt: missing, and chosen and rejected do not begin"),
            (
                {"prompt": "p", "chosen": "c", "rejected": "r", "margin": float("nan")},
                "field margin: expected a finite",
            ),
            ({"prompt": "p", "chosen": "c", "rejected": "r", "margin": "2"}, "field margin: expected a finite number"),
            ({"prompt": "p", "chosen": "\ud800", "rejected": "r"}, "field chosen: expected Unicode"),
            ({"prompt": "p", "chosen": [said("c")], "rejected": "r"}, "field rejected: expected a list, got str"),
            ({"prompt": "p", "chosen": [], "rejected": []}, "field chosen: expected at least one entry"),
            ({"prompt": "p", "chosen": ["c"], "rejected": ["r"]}, "field chosen[0]: expected an object, got str"),
            ({"prompt": "p", "chosen": [{"role": "assistant"}], "rejected": []}, "field chosen[0].content: missing"),
            (
                {"prompt": "p", "chosen": [said("")], "rejected": [said("r")]},
                "field chosen: expected text, got an empty",
            ),
            (
                {"prompt": "p", "chosen": [said("c") | {"tool_calls": [{}]}], "rejected": []},
                "field chosen[0].tool_calls: expected text turns only",
            ),
            (
                {"prompt": "p", "chosen": [said("c"), user("and?"), said("d")], "rejected": [said("r")]},
                "field chosen: expected one assistant turn after the prompt, got assistant, user, assistant",
            ),
            (
                {"prompt": "other", "chosen": [user("p"), said("c")], "rejected": [user("p"), said("r")]},
                "field prompt: expected a turn that chosen and rejected share, got 'other'",
            ),
            ({"chosen": [said("c")], "rejected": [said("r")]}, "no turn is shared"),
            (
                {"prompt": "p", "chosen": "c", "rejected": "r", "tools": [{"name": "f"}]},
                "field tools: expected nothing",
            ),
        ],
    )
    def test_rows_that_do_not_fit(self, row, expected):
        assert expected in reason(read_preference, row)


class TestTranscripts:
    def test_turns_before_the_last_are_the_prompt(self):
        before = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Why:\n\nnow?"
        row = {"chosen": f"{before}\n\nAssistant: Because. ", "rejected": f"{before}\n\nAssistant: No idea."}
        pair = read_hh(row, "row-1")
        assert [(m.role, m.content) for m in pair.messages] == [
            ("user", "Hi"),
            ("assistant", "Hello."),
            ("user", "Why:\n\nnow?"),
        ]
        assert pair.prompt == "Human: Hi\n\nAssistant: Hello.\n\nHuman: Why:\n\nnow?"
        assert (pair.chosen, pair.rejected, pair.id) == ("Because.", "No idea.", "row-1")

    @pytest.mark.parametrize(
        ("chosen", "expected"),
        [
            ("\n\nHuman: Hi\n\nAssistant:", "field chosen: expected text, got an empty string"),
            ("\n\nHuman: Hi\n\nAssistant: a\n\nHuman: b", "expected one assistant turn after the prompt"),
            ("Hi there", "field chosen: expected a transcript that starts with 'Human:', got 'Hi there'"),
            ("\n\nHuman: Hi\n\nAssistant: Hello", "the same text"),
        ],
    )
    def test_rows_that_do_not_fit(self, chosen, expected):
        row = {"chosen": chosen, "rejected": "\n\nHuman: Hi\n\nAssistant: Hello"}
        assert expected in reason(read_hh, row)


class TestLlmbar:
    ROW: ClassVar = {"input": "p", "output_1": "one", "output_2": "two", "label": 2}

    def test_label_names_the_better_output(self):
        assert (read_llmbar(self.ROW, "x").chosen, read_llmbar(self.ROW | {"label": 1}, "x").chosen) == ("two", "one")

    @pytest.mark.parametrize("label", [0, True, "1", None, 1.0])
    def test_other_labels(self, label):
        assert "field label: expected" in reason(read_llmbar, self.ROW | {"label": label})


class TestPandalm:
    ROW: ClassVar = {"idx": 4, "instruction": "Sum up.", "input": "Text", "response1": "A", "response2": "B"}

    def test_votes_are_counted(self):
        row = self.ROW | {"annotator1": 0, "annotator2": 2, "annotator3": 2}
        expected = Comparison(
            id="4", prompt="Sum up.\n\nText", first="A", second="B", first_votes=0, tie_votes=1, second_votes=2
        )
        assert read_pandalm(row, "row-1") == expected

    def test_no_input(self):
        assert read_pandalm(self.ROW | {"input": "", "annotator1": 0}, "row-1").prompt == "Sum up."

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, "field annotator1: expected a vote, got nothing"),
            ({"annotator1": 3}, "field annotator1: expected 0 (tie), 1 or 2, got 3"),
            ({"annotator1": 1, "response2": "A"}, "fields response1 and response2: the same text"),
            ({"annotator1": 1, "response2": True}, "field response2: expected a string, got bool"),
        ],
    )
    def test_rows_that_do_not_fit(self, change, expected):
        assert expected in reason(read_pandalm, self.ROW | change)


class TestUnpaired:
    def test_strings_and_messages(self):
        plain = LabelledResponse(prompt="p", completion="c", label=True, id="x")
        asked = (Message(role="user", content="p"),)
        chat = LabelledResponse(prompt="p", completion="c", label=False, messages=asked, id="x")
        assert read_unpaired({"prompt": "p", "completion": "c", "label": True}, "x") == plain
        row = {"prompt": [user("p")], "completion": [said("c")], "label": 0}
        assert read_unpaired(row, "x") == chat
        assert [read_unpaired(unpaired_row(record), "x") for record in (plain, chat)] == [plain, chat]

    @pytest.mark.parametrize("label", [None, "yes", 2, 0.5, float("nan")])
    def test_labels_that_are_none(self, label):
        row = {"prompt": "p", "completion": "c", "label": label}
        assert f"field label: expected true or false, got {label!r}" in reason(read_unpaired, row)

    def test_empty_completion(self):
        row = {"prompt": "p", "completion": " \n", "label": True}
        assert reason(read_unpaired, row) == "field completion: expected text, got an empty string"
