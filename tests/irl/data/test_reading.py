"""Whole files: every row is a record or is accounted for, and what is written is read back."""

import json
import tracemalloc
from collections import Counter
from itertools import starmap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.data import read_records
from irl.data.reading import LISTED, Unfit
from irl.types import Candidate, Candidates, InputError, LabelledResponse, LabelledSteps, Message, Preference, Trace
from irl.types import RankedResponses as Ranked
from tests.irl.data.writing import write_records


def lines(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}


class TestReport:
    def test_rows_that_do_not_fit_are_listed(self, tmp_path):
        reading = read_records(lines(tmp_path, GOOD, GOOD | {"chosen": "b"}, GOOD, {"prompt": "p"}))
        assert len(list(reading)) == 2
        report = reading.report
        assert (report.format, report.rows, report.records, report.unfit) == ("preference", 4, 2, 2)
        assert report.listed == (
            Unfit(2, "fields chosen and rejected: the same text, nothing can be learned from it", "row-2"),
            Unfit(4, "field chosen: missing; present: prompt", "row-4"),
        )
        assert str(report).splitlines() == [
            f"{tmp_path / 'rows.jsonl'} (preference): 4 rows, 2 records, 2 rows do not fit",
            "  row 2: fields chosen and rejected: the same text, nothing can be learned from it",
            "  row 4: field chosen: missing; present: prompt",
        ]

    def test_rows_that_do_not_fit_keep_their_ids(self, tmp_path):
        bad = [{"prompt": "p", "id": id} for id in ("mine", 31, "", None, ["no"])]
        reading = read_records(lines(tmp_path, GOOD, *bad))
        list(reading)
        assert [unfit.id for unfit in reading.report.listed] == ["mine", "31", "row-4", "row-5", "row-6"]
        assert "  row 2 (mine): field chosen: missing; present: id, prompt\n" in str(reading.report)
        assert "  row 4: field chosen: missing; present: id, prompt\n" in str(reading.report)

    def test_report_counts_as_it_goes(self, tmp_path):
        reading = read_records(lines(tmp_path, GOOD, GOOD))
        next(reading)
        assert (reading.rows, reading.report.rows, reading.report.records) == (1, 1, 1)

    def test_all_are_counted_and_the_first_listed(self, tmp_path):
        reading = read_records(lines(tmp_path, GOOD, *[{"prompt": "p"}] * (LISTED + 5)))
        list(reading)
        assert (reading.report.unfit, len(reading.report.listed)) == (LISTED + 5, LISTED)
        assert str(reading.report).endswith(f"... and {LISTED - 15} more")

    def test_no_row_fits(self, tmp_path):
        path = lines(tmp_path, {"prompt": "p", "chosen": "", "rejected": "b"})
        with pytest.raises(InputError) as caught:
            list(read_records(path))
        assert str(caught.value).startswith(f"{path}: no row fits the format preference")
        assert "row 1: field chosen: expected text, got an empty string" in str(caught.value)

    def test_named_format_is_not_guessed(self, tmp_path):
        path = lines(tmp_path, {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"})
        assert next(read_records(path)).prompt == "a"
        assert next(read_records(path, format="preference")).prompt == "Human: a\n\nAssistant:".join(["\n\n", ""])

    def test_unknown_columns_name_the_file(self, tmp_path):
        path = lines(tmp_path, {"foo": 1})
        with pytest.raises(InputError) as caught:
            read_records(path)
        assert str(caught.value).startswith(f"{path}: no known format has the columns foo")

    def test_broken_line_stops_the_reading(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD)[:-3], encoding="utf-8")
        with pytest.raises(InputError, match=r"line 2, column .*malformed JSON"):
            list(read_records(path))

    def test_memory_does_not_grow_with_the_file(self, tmp_path):
        path = lines(tmp_path, *[GOOD | {"chosen": "x" * 10_000}] * 1_000)
        tracemalloc.start()
        count = sum(1 for _ in read_records(path))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 1_000 and peak < 1_000_000  # of 10 MB


filled = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
two = st.lists(filled, min_size=2, max_size=2, unique=True)
chats = st.booleans()
numbers = st.floats(0, 1)
places = st.integers(0, 3)
fast = settings(max_examples=25, deadline=None)


def turns(prompt, chat):
    return (Message(role="user", content=prompt),) if chat else ()


def preference(prompt, pair, margin, id, chat):
    return Preference(
        prompt=prompt, chosen=pair[0], rejected=pair[1], margin=margin, id=id, messages=turns(prompt, chat)
    )


def response(id, prompt, completion, label, chat):
    return LabelledResponse(prompt=prompt, completion=completion, label=label, messages=turns(prompt, chat), id=id)


def steps(id, prompt, pairs):
    return LabelledSteps(id=id, prompt=prompt, steps=tuple(t for t, _ in pairs), labels=tuple(v for _, v in pairs))


def ranked(id, prompt, pairs):
    responses, ranks = zip(*pairs, strict=True)
    return Ranked(prompt=prompt, responses=responses, ranks=ranks, messages=turns(prompt, True), id=id)


def candidates(id, prompt, pairs, subset, chat):
    found = tuple(Candidate(text=text, correct=correct) for text, correct in pairs)
    return Candidates(id=id, prompt=prompt, candidates=found, subset=subset, messages=turns(prompt, chat))


def some(*fields):
    return st.lists(st.tuples(*fields), min_size=1, max_size=3)


ROUND_TRIPS = {
    "preference": (preference, some(filled, two, st.none() | st.floats(-9, 9), filled, chats)),
    "unpaired": (response, some(filled, filled, filled, st.booleans(), chats)),
    "stepwise": (steps, some(filled, filled, some(filled, numbers))),
    "nemo_ranks": (
        ranked,
        some(filled, filled, st.lists(st.tuples(filled, places), min_size=2, max_size=4)),
    ),
    "candidates": (candidates, some(filled, filled, some(filled, st.none() | st.booleans()), filled, chats)),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
@fast
@given(data=st.data())
def test_what_is_written_is_read_back(name, data, tmp_path_factory):
    build, values = ROUND_TRIPS[name]
    records = list(starmap(build, data.draw(values)))
    path = tmp_path_factory.mktemp("trip") / "rows.jsonl.gz"
    assert write_records(path, records, name) == len(records)
    reading = read_records(path, format=name)
    assert list(reading) == records and reading.report.unfit == 0


MANY = {
    "preference": GOOD,
    "hh": {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
    "llmbar": {"input": "p", "output_1": "a", "output_2": "b", "label": 1},
    "unpaired": {"prompt": "p", "completion": "a", "label": True},
    "stepwise": {"prompt": "p", "completions": ["a"], "labels": [True]},
    "prm800k": {
        "question": {"problem": "p"},
        "label": {"steps": [{"completions": [{"text": "a", "rating": 1}], "chosen_completion": 0}]},
    },
    "processbench": {"problem": "p", "steps": ["a"], "label": -1},
    "bigbench_mistake": {"input": "p", "steps": ["a"], "mistake_index": None, "answer": "x", "target": "x"},
    "gsm8k": {"question": "p", "answer": "#### 1"},
    "gsm8k_solutions": {"question": "p", "ground_truth": "1", "small": {"solution": "a", "is_correct": True}},
    "nemo_ranks": {
        "context": [{"role": "user", "content": "p"}],
        "completions": [{"rank": r, "completion": [{"role": "assistant", "content": "ab"[r]}]} for r in (0, 1)],
    },
    "rlhflow_answers": {"prompt": "p", "answers": ["a"], "label": [1]},
    "candidates": {"prompt": "p", "candidates": [{"text": "a"}]},
    "completion": {"prompt": "p", "completion": "a"},
    "messages": {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]},
}


@pytest.mark.parametrize("name", MANY)
def test_every_record_has_an_id(name, tmp_path):
    """Its row's own, or the number of its row."""
    rows = MANY[name], MANY[name] | {"id": "mine"}, MANY[name] | {"id": 31}, MANY[name] | {"id": None}
    found = list(read_records(lines(tmp_path, *rows), format=name))
    ids = [record.problem_id if isinstance(record, Trace) else record.id for record in found]
    assert ids == ["row-1", "mine", "31", "row-4"]


REAL = {
    "hh_harmless/pairs_first_1800.jsonl.xz": ("hh", 1800, 1794),
    "pandalm_test/testset-v1.json.xz": ("pandalm", 999, 938),
    "llmbar/LLMBar__Natural__dataset.json": ("llmbar", 100, 100),
    "llmbar/Processed__MT-Bench__dataset.json": ("llmbar", 200, 200),
    "bigbench_mistake/dyck_languages.jsonl.xz": ("bigbench_mistake", 986, 985),
    "bigbench_mistake/word_sorting.jsonl.xz": ("bigbench_mistake", 300, 300),
    "bigbench_mistake/tracking_shuffled_objects.jsonl.xz": ("bigbench_mistake", 300, 300),
    "gsm8k/test.jsonl": ("gsm8k", 1319, 1319),
    "gsm8k/train.jsonl.xz": ("gsm8k", 7473, 7473),
    "gsm8k/model_solutions_first_660.jsonl.xz": ("gsm8k_solutions", 660, 660),
}


class TestPublicFiles:
    @pytest.mark.parametrize("file", REAL)
    def test_all_rows_are_accounted_for(self, file, shared_data):
        reading = read_records(shared_data / file)
        records = sum(1 for _ in reading)
        report = reading.report
        assert (report.format, report.rows, records) == REAL[file]
        assert report.rows == report.records + report.unfit

    def test_why_rows_of_hh_do_not_fit(self, shared_data):
        reading = read_records(shared_data / "hh_harmless/pairs_first_1800.jsonl.xz")
        list(reading)
        reasons = Counter(reason.split(", got")[0] for _, reason, _ in reading.report.listed)
        assert reasons == {
            "field chosen: expected text": 4,
            "field chosen: expected one assistant turn after the prompt": 2,
        }

    def test_votes_of_pandalm(self, shared_data):
        found = list(read_records(shared_data / "pandalm_test/testset-v1.json.xz"))
        assert {r.first_votes + r.tie_votes + r.second_votes for r in found} == {3}
        assert any(r.tie_votes == 3 for r in found)

    def test_mistakes_of_word_sorting(self, shared_data):
        found = list(read_records(shared_data / "bigbench_mistake/word_sorting.jsonl.xz"))
        assert sum(r.first_error is None for r in found) == 34  # as the file says: mistake_index null
        assert sum(bool(r.correct) for r in found) == 45
        assert all(
            r.labels[r.first_error + 1 :].count(None) == len(r.steps) - r.first_error - 1
            for r in found
            if r.first_error is not None
        )

    def test_accuracies_of_gsm8k_solutions(self, shared_data):
        found = list(read_records(shared_data / "gsm8k/model_solutions_first_660.jsonl.xz"))
        assert all(len(r.candidates) == 4 for r in found)
        accuracy = sum(c.correct for r in found for c in r.candidates) / (4 * len(found))
        assert 0.36 < accuracy < 0.40  # .217, .390, .347, .563 on all 1,319 problems: mean .379
