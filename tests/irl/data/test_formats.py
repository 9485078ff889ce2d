"""Our own formats: what is written is read back, and every line that does not fit says where and why."""

import json
import os
from itertools import starmap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irl.data.formats import read_candidates, read_traces
from irl.data.json_lines import write_json_lines
from irl.types import Candidate, Candidates, InputError, Step, Trace
from tests.irl.data.writing import trace_row, write_records

texts = st.text(st.characters(codec="utf-8"), max_size=12)
filled = texts.filter(str.strip)
judgements = st.sampled_from([None, True, False])

# Plain values are drawn and records built in the test: beartype's checks draw random numbers of their own,
# which Hypothesis does not want inside a strategy.
candidate_values = st.tuples(filled, filled, st.lists(st.tuples(texts, judgements), min_size=1, max_size=3))
trace_values = st.tuples(filled, filled, st.lists(st.tuples(filled, judgements), min_size=1, max_size=3), texts)


def candidates_of(id, prompt, pairs) -> Candidates:
    entries = tuple(Candidate(text=text, correct=correct) for text, correct in pairs)
    return Candidates(id=id, prompt=prompt, candidates=entries)


def trace_of(id, prompt, pairs, source) -> Trace:
    steps = tuple(Step(text=text, label=label) for text, label in pairs)
    return Trace(problem_id=id, prompt=prompt, steps=steps, source=source)


fast = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def message_of(read, path) -> str:
    """What reading the file to its end complains of, with the folder taken out."""
    with pytest.raises(InputError) as caught:
        list(read(path))
    return str(caught.value).replace(f"{path.parent}{os.sep}", "")


def file_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@fast
@given(values=st.lists(candidate_values, min_size=1, max_size=3, unique_by=lambda value: value[0]))
def test_candidates_come_back(values, tmp_path):
    path, records = tmp_path / "data.jsonl", list(starmap(candidates_of, values))
    assert write_records(path, records, "candidates") == len(records)
    assert list(read_candidates(path)) == records


@fast
@given(values=st.lists(trace_values, min_size=1, max_size=3))
def test_traces_come_back(values, tmp_path):
    path, records = tmp_path / "data.jsonl", list(starmap(trace_of, values))
    assert write_json_lines(path, map(trace_row, records)) == len(records)
    assert list(read_traces(path)) == records


CANDIDATES = {"prompt": "p", "candidates": [{"text": "a"}]}
TRACE = {"prompt": "p", "steps": ["a"]}

WRONG_CANDIDATES = [
    ({"prompt": 3}, "prompt: expected a string, got int"),
    ({"prompt": " "}, "prompt: expected text, got an empty string"),
    ({"prompt": "\ud83d"}, "prompt: expected Unicode, got half a surrogate pair"),
    ({"candidates": []}, "candidates: expected at least one entry, got an empty list"),
    ({"candidates": {}}, "candidates: expected a list, got dict"),
    ({"candidates": ["a"]}, "candidates[0]: expected an object, got str"),
    ({"candidates": [{"text": ""}] * 2 + [{"text": 5}]}, "candidates[2].text: expected a string, got int"),
    ({"candidates": [{"text": None}]}, "candidates[0].text: expected a string, got null"),
    (
        {"candidates": [{"text": "a", "corect": True}]},
        "candidates[0].corect: unknown; only 'text' and 'correct' belong here",
    ),
    (
        {"candidates": [{"text": "a", "correct": 2}]},
        "candidates[0].correct: expected true or false, got 2",
    ),
    ({"id": True}, "id: expected a string, got bool"),
    ({"id": 1.5}, "id: expected a string, got float"),
    ({"id": ""}, "id: expected text, got an empty string"),
]
WRONG_TRACES = [
    ({"steps": "a"}, "steps: expected a list, got str"),
    ({"steps": []}, "steps: expected at least one entry, got an empty list"),
    ({"steps": ["a", " "]}, "steps[1].text: expected text, got an empty string"),
    ({"steps": [["a"]]}, "steps[0]: expected an object, got list"),
    ({"steps": [{"text": "a", "label": "+"}]}, "steps[0].label: expected true or false, got '+'"),
    ({"source": 1}, "source: expected a string, got int"),
]


@pytest.mark.parametrize(
    "read, good, change, complaint",
    [(read_candidates, CANDIDATES, *wrong) for wrong in WRONG_CANDIDATES]
    + [(read_traces, TRACE, *wrong) for wrong in WRONG_TRACES],
)
def test_wrong_fields(read, good, change, complaint, tmp_path):
    path = file_of(tmp_path, json.dumps(good), "", json.dumps(good | change))
    assert message_of(read, path) == f"data.jsonl, line 3, field {complaint}"


@pytest.mark.parametrize(
    "read, line, missing, near",
    [
        (read_candidates, '{"candidate": []}', "candidates", "candidate"),
        (read_candidates, '{"candidates": [{"text": ""}], "Prompt": "p"}', "prompt", "Prompt"),
        (read_candidates, '{"candidates": [{"txt": ""}], "prompt": "p"}', "candidates[0].text", "txt"),
        (read_traces, '{"prompt": "p", "stesp": []}', "steps", "stesp"),
    ],
)
def test_misspelt_fields(read, line, missing, near, tmp_path):
    expected = f"data.jsonl, line 1, field {missing}: missing; the nearest field present is {near!r}, rename it"
    assert message_of(read, file_of(tmp_path, line)) == expected


def test_missing_fields(tmp_path):
    path = file_of(tmp_path, '{"prompt": "p", "a": 1}')
    assert message_of(read_traces, path).endswith("line 1, field steps: missing; present: a, prompt")


def test_whole_text_without_split_steps(tmp_path):
    path = file_of(tmp_path, '{"prompt": "p", "text": "a"}')
    expected = "line 1, field steps: missing, but there is a whole 'text'; pass split_steps to cut it"
    assert message_of(read_traces, path).endswith(expected)


def test_ids_of_candidates(tmp_path):
    rows = [{"id": 7}, {}, {"id": None}, {"id": "a", "note": {"left": "alone"}}]
    path = file_of(tmp_path, *(json.dumps(row | CANDIDATES) for row in rows))
    assert [record.id for record in read_candidates(path)] == ["7", "row-2", "row-3", "a"]


def test_duplicate_ids_name_both_lines(tmp_path):
    rows = [CANDIDATES | {"id": 7}, CANDIDATES, CANDIDATES | {"id": "7"}]
    path = file_of(tmp_path, *map(json.dumps, rows))
    expected = "data.jsonl, line 3, field id: '7' is already used on line 1; give each problem its own"
    assert message_of(read_candidates, path) == expected


def test_traces_from_whole_texts(tmp_path):
    path = file_of(tmp_path, '{"prompt": "p", "text": "a\\nb"}', '{"prompt": "p", "steps": ["c\\nd"], "text": "e"}')
    first, second = read_traces(path, str.splitlines)
    assert first.steps == (Step(text="a"), Step(text="b"))
    assert second.steps == (Step(text="c\nd"),)


def test_a_text_without_steps(tmp_path):
    path = file_of(tmp_path, '{"prompt": "p", "text": "a"}')
    message = message_of(lambda path: read_traces(path, lambda text: ()), path)
    assert message == "data.jsonl, line 1, field steps: expected at least one entry, got an empty list"


def test_traces_without_id_of_one_prompt_share_a_problem(tmp_path):
    path = file_of(tmp_path, *(json.dumps({"prompt": prompt, "steps": ["s"]}) for prompt in "pqp"))
    assert [trace.problem_id for trace in read_traces(path)] == ["row-1", "row-2", "row-1"]


def test_game24_candidates_of_gpt4(shared_data, tmp_path):
    path = shared_data / "game24/gpt4_cot_ranks_901_950.jsonl.xz"
    records = list(read_candidates(path))
    assert [len(record.candidates) for record in records] == [100] * 50
    assert records[0].id == "rank-901" and records[0].prompt == "4 5 6 10"
    assert all(isinstance(each.correct, bool) for record in records for each in record.candidates)
    write_records(tmp_path / "copy.jsonl.gz", records, "candidates")
    assert list(read_candidates(tmp_path / "copy.jsonl.gz")) == records
