"""Files of records: what is written is read back, and every broken file says where and why."""

import bz2
import errno
import gzip
import importlib.util
import io
import json
import lzma
import os
import sys
from itertools import starmap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irl.traces import formats
from irl.traces.formats import (
    candidates_row,
    preference_row,
    read_candidates,
    read_json_lines,
    read_preferences,
    read_traces,
    trace_row,
    write_json_lines,
)
from irl.types import Candidate, Candidates, InputError, Preference, Step, Trace

NEEDS_ZSTANDARD = pytest.mark.skipif(not importlib.util.find_spec("zstandard"), reason="zstandard is not installed")
ENDINGS = ["", ".gz", ".xz", ".bz2", pytest.param(".zst", marks=NEEDS_ZSTANDARD)]

texts = st.text(st.characters(codec="utf-8"), max_size=12)
filled = texts.filter(str.strip)
judgements = st.sampled_from([None, True, False])
margins = st.none() | st.floats(allow_nan=False, allow_infinity=False)

# Plain values are drawn and records built in the test: beartype's checks draw random numbers of their own,
# which Hypothesis does not want inside a strategy.
candidate_values = st.tuples(filled, filled, st.lists(st.tuples(texts, judgements), min_size=1, max_size=3))
trace_values = st.tuples(filled, filled, st.lists(st.tuples(filled, judgements), min_size=1, max_size=3), texts)
preference_values = st.tuples(filled, filled, filled, margins)


def candidates_of(id, prompt, pairs) -> Candidates:
    entries = tuple(Candidate(text=text, correct=correct) for text, correct in pairs)
    return Candidates(id=id, prompt=prompt, candidates=entries)


def trace_of(id, prompt, pairs, source) -> Trace:
    steps = tuple(Step(text=text, label=label) for text, label in pairs)
    return Trace(problem_id=id, prompt=prompt, steps=steps, source=source)


def preference_of(prompt, chosen, rejected, margin) -> Preference:
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, margin=margin)


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


@pytest.mark.parametrize("ending", ENDINGS)
class TestRoundTrip:
    @fast
    @given(values=st.lists(candidate_values, min_size=1, max_size=3, unique_by=lambda value: value[0]))
    def test_candidates(self, values, ending, tmp_path):
        path, records = tmp_path / f"data.jsonl{ending}", list(starmap(candidates_of, values))
        assert write_json_lines(path, map(candidates_row, records)) == len(records)
        assert list(read_candidates(path)) == records

    @fast
    @given(values=st.lists(trace_values, min_size=1, max_size=3))
    def test_traces(self, values, ending, tmp_path):
        path, records = tmp_path / f"data.jsonl{ending}", list(starmap(trace_of, values))
        assert write_json_lines(path, map(trace_row, records)) == len(records)
        assert list(read_traces(path)) == records

    @fast
    @given(values=st.lists(preference_values, min_size=1, max_size=3))
    def test_preferences(self, values, ending, tmp_path):
        path, records = tmp_path / f"data.jsonl{ending}", list(starmap(preference_of, values))
        assert write_json_lines(path, map(preference_row, records)) == len(records)
        assert list(read_preferences(path)) == records

    def test_same_rows_give_the_same_bytes(self, ending, tmp_path):
        paths = [tmp_path / f"{name}.jsonl{ending}" for name in ("one", "two")]
        for path in paths:
            write_json_lines(path, [{"a": 1}] * 100)
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_truncated_file_names_the_line(self, ending, tmp_path):
        path = tmp_path / f"data.jsonl{ending}"
        write_json_lines(path, ({"text": os.urandom(500).hex()} for _ in range(200)))
        path.write_bytes(path.read_bytes()[:-9])
        message = message_of(read_json_lines, path)
        reason = "compressed data broken or cut off" if ending else "malformed JSON"
        assert message.startswith(f"data.jsonl{ending}, line ") and reason in message

    def test_not_compressed_at_all(self, ending, tmp_path):
        path = tmp_path / f"data.jsonl{ending}"
        path.write_bytes(b"certainly not compressed" * 9)
        assert message_of(read_json_lines, path).startswith(f"data.jsonl{ending}, line 1")

    def test_no_rows_read_as_empty(self, ending, tmp_path):
        path = tmp_path / f"data.jsonl{ending}"
        assert write_json_lines(path, []) == 0
        assert message_of(read_json_lines, path) == f"data.jsonl{ending}: empty; expected one JSON object per line"


@pytest.mark.parametrize("ending, opener", [(".gz", gzip.open), (".XZ", lzma.open), (".bz2", bz2.open)])
def test_reads_what_other_programs_compress(ending, opener, tmp_path):
    path = tmp_path / f"data.jsonl{ending}"
    for text in ('{"a": 1}\n', '{"a": 2}\n'):  # two members in one file
        with opener(path, "at", encoding="utf-8") as file:
            file.write(text)
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (2, {"a": 2})]


@NEEDS_ZSTANDARD
def test_reads_several_zstandard_frames(tmp_path):
    import zstandard

    path = tmp_path / "data.jsonl.zst"
    path.write_bytes(b"".join(zstandard.compress(line) for line in (b'{"a": 1}\n', b'{"a": 2}\n')))
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize("use", [lambda path: list(read_json_lines(path)), lambda path: write_json_lines(path, [])])
def test_zstandard_missing(use, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = tmp_path / "data.zst"
    path.write_bytes(b"kept")
    with pytest.raises(InputError, match="pip install zstandard"):
        use(path)
    assert path.read_bytes() == b"kept" and os.listdir(tmp_path) == ["data.zst"]


def test_blank_lines_marks_and_line_separators(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes('\ufeff{"a": "x\u2028y"}\r\n \n\n{"a": 2}'.encode())
    assert list(read_json_lines(path)) == [(1, {"a": "x\u2028y"}), (4, {"a": 2})]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "data.jsonl: empty; expected one JSON object per line"),
        (b"\n  \n", "data.jsonl: empty; expected one JSON object per line"),
        (
            b'{"a": 1}\n{"a" 1}\n',
            "data.jsonl, line 2, column 6: malformed JSON (Expecting ':' delimiter); write one object per ",
        ),
        (b"[1, 2]", "data.jsonl, line 1: expected an object {...}, got list; write one object per line"),
        (b"null", "data.jsonl, line 1: expected an object {...}, got null; write one object per line"),
        (b'{"a": 1}\n{"a": "\xff"}', "data.jsonl, line 2, byte 8: not UTF-8 text; save it as UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "data.jsonl, line 1: JSON too large to read (Exceeds the limit"),
        (b"[" * 100_000, "data.jsonl, line 1: JSON too large to read (maximum recursion depth"),
    ],
)
def test_broken_lines(content, message, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    assert message_of(read_json_lines, path).startswith(message)


def test_missing_file(tmp_path):
    message = message_of(read_json_lines, tmp_path / "no.jsonl")
    assert message == "no.jsonl: no such file; check the path and its ending"


def test_folder_instead_of_file(tmp_path):
    (tmp_path / "folder").mkdir()
    message = message_of(read_json_lines, tmp_path / "folder")
    assert message.startswith("folder: cannot be read (Is a directory)")


CANDIDATES = {"prompt": "p", "candidates": [{"text": "a"}]}
TRACE = {"prompt": "p", "steps": ["a"]}
PREFERENCE = {"prompt": "p", "chosen": "a", "rejected": "b"}

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
        {"candidates": [{"text": "a", "correct": 1}]},
        "candidates[0].correct: expected true, false or null, got 1",
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
    ({"steps": [{"text": "a", "label": "+"}]}, "steps[0].label: expected true, false or null, got '+'"),
    ({"source": 1}, "source: expected a string, got int"),
]
WRONG_PREFERENCES = [
    ({"chosen": None}, "chosen: expected a string, got null"),
    ({"rejected": ["a"]}, "rejected: expected a string, got list"),
    ({"margin": "1"}, "margin: expected a finite number, got '1'"),
    ({"margin": True}, "margin: expected a finite number, got True"),
    ({"margin": float("nan")}, "margin: expected a finite number, got nan"),
    ({"margin": float("-inf")}, "margin: expected a finite number, got -inf"),
    ({"margin": 10**310}, f"margin: expected a finite number, got {10**310}"),
]


@pytest.mark.parametrize(
    "read, good, change, complaint",
    [(read_candidates, CANDIDATES, *wrong) for wrong in WRONG_CANDIDATES]
    + [(read_traces, TRACE, *wrong) for wrong in WRONG_TRACES]
    + [(read_preferences, PREFERENCE, *wrong) for wrong in WRONG_PREFERENCES],
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
        (read_preferences, '{"prompt": "p", "chosen": "a", "reject": "b"}', "rejected", "reject"),
    ],
)
def test_misspelt_fields(read, line, missing, near, tmp_path):
    expected = f"data.jsonl, line 1, field {missing}: missing; the nearest field present is {near!r}, rename it"
    assert message_of(read, file_of(tmp_path, line)) == expected


def test_missing_fields(tmp_path):
    path = file_of(tmp_path, '{"prompt": "p", "a": 1}')
    assert message_of(read_traces, path).endswith("line 1, field steps: missing; present: ['a', 'prompt']")


def test_whole_text_without_split_steps(tmp_path):
    path = file_of(tmp_path, '{"prompt": "p", "text": "a"}')
    expected = "line 1, field steps: missing, but there is a whole 'text'; pass split_steps to cut it"
    assert message_of(read_traces, path).endswith(expected)


def test_ids_of_candidates(tmp_path):
    rows = [{"id": 7}, {}, {"id": None}, {"id": "a", "note": {"left": "alone"}}]
    path = file_of(tmp_path, *(json.dumps(row | CANDIDATES) for row in rows))
    assert [record.id for record in read_candidates(path)] == ["7", "line-2", "line-3", "a"]


def test_duplicate_ids_name_both_lines(tmp_path):
    rows = [CANDIDATES | {"id": 7}, CANDIDATES, CANDIDATES | {"id": "7"}]
    path = file_of(tmp_path, *map(json.dumps, rows))
    expected = "data.jsonl, line 3, field id: '7' stands on line 1 already; give each problem its own"
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
    assert [trace.problem_id for trace in read_traces(path)] == ["line-1", "line-2", "line-1"]


@pytest.mark.parametrize(
    "row, reason",
    [
        ({"a": float("inf")}, "not JSON compliant"),
        ({"a": {1}}, "not JSON serializable"),
        ({"a": "\ud800"}, "surrogate"),
    ],
)
def test_rows_that_are_not_json(row, reason, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("kept")
    with pytest.raises(InputError, match=f"row 2: cannot be written as JSON .*{reason}.*; nothing was overwritten"):
        write_json_lines(path, [{}, row])
    assert path.read_text() == "kept" and os.listdir(tmp_path) == ["data.jsonl"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(code, ending, tmp_path, monkeypatch):
    class FullDisk(io.FileIO):
        def write(self, data):
            raise OSError(code, os.strerror(code))

    path = tmp_path / f"data.jsonl{ending}"
    path.write_text("kept")
    buffered = lambda path, mode: io.BufferedWriter(FullDisk(path, mode.replace("b", "")))  # noqa: E731
    monkeypatch.setattr(formats, "open", buffered, raising=False)
    with pytest.raises(InputError) as caught:
        write_json_lines(path, ({"text": os.urandom(500).hex()} for _ in range(100)))
    assert str(caught.value) == f"{path}: disk full; free some space and run again, nothing was overwritten"
    assert path.read_text() == "kept" and os.listdir(tmp_path) == [path.name]


def test_a_crash_keeps_the_old_file(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("kept")

    def rows():
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_json_lines(path, rows())
    assert path.read_text() == "kept" and os.listdir(tmp_path) == ["data.jsonl"]


@pytest.mark.parametrize("name", ["no folder/data.jsonl", "file/data.jsonl", "folder"])
def test_places_that_cannot_be_written(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{name}: not writable .*check the folder"):
        write_json_lines(tmp_path / name, [{}])
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_file_may_be_rewritten_from_itself(tmp_path):
    path = tmp_path / "data.jsonl"
    write_json_lines(path, [{"a": 1}, {"a": 2}])
    write_json_lines(path, ({"a": row["a"] + 1} for _, row in read_json_lines(path)))
    assert [row for _, row in read_json_lines(path)] == [{"a": 2}, {"a": 3}]


def test_links_stay_links_and_permissions_are_those_of_a_new_file(tmp_path):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "data.jsonl")
    write_json_lines(tmp_path / "link.jsonl", [{"a": 1}])
    (tmp_path / "plain").touch()
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "data.jsonl").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_game24_candidates_of_gpt4(shared_data, tmp_path):
    path = shared_data / "game24/gpt4_cot_ranks_901_950.jsonl.xz"
    records = list(read_candidates(path))
    assert [len(record.candidates) for record in records] == [100] * 50
    assert records[0].id == "rank-901" and records[0].prompt == "4 5 6 10"
    assert all(isinstance(each.correct, bool) for record in records for each in record.candidates)
    write_json_lines(tmp_path / "copy.jsonl.gz", map(candidates_row, records))
    assert list(read_candidates(tmp_path / "copy.jsonl.gz")) == records
