"""GSM8K's solutions and their annotations."""

import pytest

from irl.data.gsm8k import Calculation, calculations, final_answer, read_gsm8k, without_calculations
from irl.types import InputError

ROW = {
    "question": "How much?",
    "answer": "She has 48/2 = <<48/2=24>>24 and\n\n5 * $3 = $<<5*3=15>>15.\nSum: <<24+15=39>>39\n#### 1,039",
}


def test_a_line_is_a_step_and_nothing_is_taken_out():
    trace = read_gsm8k(ROW, "row-5")
    assert [step.text for step in trace.steps] == [line for line in ROW["answer"].split("\n") if line]
    assert (trace.problem_id, trace.prompt, trace.source) == ("row-5", "How much?", "expert")


def test_annotations():
    line = "48/2 = <<48/2=24>>24, then <<24-.5=23.5>>23.5"
    assert calculations(line) == (Calculation("48/2", "24"), Calculation("24-.5", "23.5"))
    assert without_calculations(line) == "48/2 = 24, then 23.5"


def test_final_answer():
    assert final_answer(ROW["answer"]) == "1039"
    assert final_answer("no mark") is None


@pytest.mark.parametrize("answer", ["39", "#### 39\nand on"])
def test_answer_without_mark_at_its_end(answer):
    with pytest.raises(InputError, match="field answer: expected a last line"):
        read_gsm8k(ROW | {"answer": answer}, "row-1")
