"""The formats by name, and the format of a file, which the columns of its first rows decide.

A format fits a row that has all its columns and passes its check; of two formats that fit one row, the one with more
columns, or with a check in addition to the same columns, takes precedence. The format of a file is the one that fits
most of the first rows: it must fit at least three times as many as any other format. Rows of other formats and rows of
no format are left to the reader, which lists those that do not fit. Anything less clear is an error.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from irl.data import formats, gsm8k, preference, ranked, stepwise
from irl.data.fields import Row
from irl.types import (
    Candidates,
    Comparison,
    InputError,
    LabelledResponse,
    LabelledSteps,
    Preference,
    RankedResponses,
    Trace,
)

_MAJORITY = 3
Record = Preference | Comparison | LabelledResponse | RankedResponses | LabelledSteps | Candidates | Trace


class Format(NamedTuple):
    """How rows of one format look and how one of them becomes records."""

    columns: frozenset[str]
    read: Callable[[Row, str], Record | Sequence[Record]]
    """From a row and the identifier of a row without one."""
    matches: Callable[[Row], bool] | None = None
    """The check that distinguishes it from a format with the same columns."""
    named_only: bool = False
    """Another reading of the rows of a detected format."""


def _is_transcript(row: Row) -> bool:
    return all(isinstance(row[name], str) and row[name].startswith("\n\nHuman:") for name in ("chosen", "rejected"))


def _has_answer_mark(row: Row) -> bool:
    return isinstance(row["answer"], str) and "####" in row["answer"]


def _has_rated_steps(row: Row) -> bool:
    return isinstance(row["question"], dict) and isinstance(row["label"], dict) and "steps" in row["label"]


def _has_labels(row: Row) -> bool:
    return "label" in row or "labels" in row


def _columns(names: str) -> frozenset[str]:
    return frozenset(names.split())


_PREFERENCE = Format(_columns("chosen rejected"), preference.read_preference)

FORMATS: dict[str, Format] = {
    "preference": _PREFERENCE,
    "nemo_binary": _PREFERENCE._replace(named_only=True),
    "rlhflow": _PREFERENCE._replace(named_only=True),
    "hh": Format(_columns("chosen rejected"), preference.read_hh, _is_transcript),
    "rewardbench": Format(_columns("prompt chosen rejected subset id"), preference.read_rewardbench),
    "llmbar": Format(_columns("input output_1 output_2 label"), preference.read_llmbar),
    "pandalm": Format(_columns("instruction response1 response2 annotator1"), preference.read_pandalm),
    "unpaired": Format(_columns("prompt completion label"), preference.read_unpaired),
    "stepwise": Format(_columns("prompt completions labels"), stepwise.read_stepwise),
    "prm800k": Format(_columns("question label"), stepwise.read_prm800k, _has_rated_steps),
    "prm800k_neutral_wrong": Format(
        _columns("question label"), partial(stepwise.read_prm800k, neutral=0.0), _has_rated_steps, named_only=True
    ),
    "processbench": Format(_columns("problem steps label"), stepwise.read_processbench),
    "bigbench_mistake": Format(_columns("input steps mistake_index answer target"), stepwise.read_bigbench_mistake),
    "prmbench": Format(
        _columns("modified_question modified_process error_steps classification"), stepwise.read_prmbench
    ),
    "gsm8k": Format(_columns("question answer"), gsm8k.read_gsm8k, _has_answer_mark),
    "gsm8k_solutions": Format(_columns("question ground_truth"), ranked.read_gsm8k_solutions),
    "nemo_ranks": Format(_columns("context completions"), ranked.read_nemo_ranks),
    "rlhflow_answers": Format(_columns("prompt answers"), ranked.read_rlhflow_answers, _has_labels),
    "rewardbench2": Format(_columns("id prompt chosen rejected subset num_correct"), ranked.read_rewardbench2),
    "candidates": Format(_columns("prompt candidates"), ranked.read_candidates_row),
    "traces": Format(_columns("prompt steps"), formats.read_trace_row),
    "completion": Format(_columns("prompt completion"), ranked.read_completion),
    "messages": Format(_columns("messages"), ranked.read_messages),
}


def named(name: str) -> Format:
    """The format of that name; InputError with all names otherwise."""
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}; expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def detect(rows: Sequence[Row]) -> str:
    """The name of the format that fits most of the rows. Raises InputError where none or no single one does."""
    counts = Counter(name for row in rows for name in _matching(row)).most_common()
    if counts and (len(counts) == 1 or counts[0][1] >= _MAJORITY * counts[1][1]):
        return counts[0][0]
    columns = ", ".join(sorted({str(column) for row in rows for column in row})) or "none"
    if not counts:
        raise InputError(f"no known format has the columns {columns}{_only_prompts(rows)}. {_known()}")
    formats = " and ".join(sorted(name for name, _ in counts))
    raise InputError(f"the columns {columns} fit {formats}; {_choose()}")


def _matching(row: Row) -> list[str]:
    fitting = {
        name: form
        for name, form in FORMATS.items()
        if not form.named_only and form.columns <= row.keys() and (form.matches is None or form.matches(row))
    }
    return [name for name, form in fitting.items() if not any(_goes_before(o, form) for o in fitting.values())]


def _goes_before(one: Format, other: Format) -> bool:
    same = one.columns == other.columns
    return one.columns > other.columns or (same and one.matches is not None and other.matches is None)


def _only_prompts(rows: Iterable[Row]) -> str:
    alone = all(set(row) == {"prompt"} for row in rows)
    return " (a prompt alone has no answer to learn from or to score)" if alone else ""


def _choose() -> str:
    return "name the format: --format NAME, or the field format of a config"


def _known() -> str:
    listed = "; ".join(f"{name}: {', '.join(sorted(form.columns))}" for name, form in FORMATS.items())
    return f"Rename the columns, or {_choose()}. Known formats and their columns: {listed}"
