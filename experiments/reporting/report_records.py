"""report.json and metrics.jsonl as typed records: the whole format of a report.

Every part of a report is optional. A part that is absent, null or an empty list is left out of the page.
"""

import dataclasses
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from annotated_types import Ge, Le, MinLen
from numpy.typing import ArrayLike

from experiments.core.overlap import Overlap
from irl.evaluation.estimators import bootstrap_interval
from irl.types import InputError
from reward_models.records import as_record, parse_json, read_record, record

Record = dict[str, Any]
Metrics = dict[str, dict[str, dict[int, float | None]]]
"""Stage, name, step: value."""
Item = TypeVar("Item")
Number = Annotated[float, Ge(-1e100), Le(1e100)]
"""Finite, and small enough to be drawn."""
Count = Annotated[int, Ge(0), Le(2**53)]
NonEmpty = Annotated[list[Item], MinLen(1)]
Role = Literal["learned", "baseline", "oracle"]
ROLES: tuple[Role, ...] = ("learned", "baseline", "oracle")


@record
class Result:
    """A row of a table of results."""

    name: str
    value: Number
    low: Number | None = None
    high: Number | None = None
    information: str | None = None
    note: str | None = None


@record
class Scorer:
    """Accuracy of one scorer at every number of samples."""

    name: str
    information: str | None = None
    role: Role
    mean: NonEmpty[Number]
    low: list[Number | None] | None = None
    high: list[Number | None] | None = None


@record
class TestTime:
    """Accuracy against the number of samples."""

    ks: NonEmpty[Annotated[Count, Ge(1)]]
    num_problems: Count | None = None
    series: NonEmpty[Scorer]

    def __post_init__(self):
        if self.ks != sorted(set(self.ks)):
            raise ValueError(f"ks: expected increasing numbers of samples, got {reprlib.repr(self.ks)}")
        for index, line in enumerate(self.series):
            bounds = {f"series.{index}.{name}": getattr(line, name) for name in ("mean", "low", "high")}
            _check_lengths(len(self.ks), bounds)


@record
class Curve:
    """One series of a panel, against its own x."""

    name: str
    role: Role | None = None
    x: NonEmpty[Number]
    y: NonEmpty[Number | None]
    low: list[Number | None] | None = None
    high: list[Number | None] | None = None

    def __post_init__(self):
        _check_lengths(len(self.x), {"y": self.y, "low": self.low, "high": self.high})


@record
class Panel:
    """A figure of curves against training."""

    name: str
    x_label: str
    y_label: str
    series: NonEmpty[Curve]


@record
class Cells:
    """A table of numbers, drawn as a heat map."""

    name: str
    cells: NonEmpty[NonEmpty[Number]]

    def __post_init__(self):
        _check_lengths(len(self.cells[0]), {f"cells.{index}": row for index, row in enumerate(self.cells)})


@record
class Map:
    """Heat maps side by side."""

    name: str
    panels: NonEmpty[Cells]


@record
class Strip:
    """Frames of an episode: a PNG in the run folder."""

    name: str
    file: str
    steps: NonEmpty[Count]


@record
class GoldProxy:
    """Gold and proxy reward against the divergence from the reference policy."""

    name: str
    kl: NonEmpty[Number]
    gold: NonEmpty[Number]
    gold_low: list[Number] | None = None
    gold_high: list[Number] | None = None
    proxy: NonEmpty[Number]

    def __post_init__(self):
        values = {"gold": self.gold, "gold_low": self.gold_low, "gold_high": self.gold_high, "proxy": self.proxy}
        _check_lengths(len(self.kl), values)


@record
class AuditFinding:
    """One number of an audit; null where no prompt defines it."""

    mean: Number | None = None
    low: Number | None = None
    high: Number | None = None
    num_prompts: Count | None = None


@record
class Audit:
    """The findings on one critic."""

    name: str
    findings: dict[str, AuditFinding]
    warnings: list[str] | None = None


@record
class Throughput:
    """What was measured, in tokens per second."""

    what: str
    tokens_per_second: Number
    note: str | None = None


@record
class ScoredStep:
    """A step of a trace and its score."""

    text: str
    score: Number


@record
class ScoredTrace:
    """A trace and its score; `correct` is null where nobody checked it."""

    text: str
    score: Number
    correct: bool | None = None
    steps: list[ScoredStep] | None = None


@record
class ScoredProblem:
    """A problem with its best and worst traces."""

    id: str
    prompt: str
    share_correct: Number | None = None
    best: list[ScoredTrace] | None = None
    worst: list[ScoredTrace] | None = None


@record
class Report:
    """report.json."""

    title: str | None = None
    command: str | None = None
    information: str | None = None
    seeds: list[Count] | None = None
    created: str | None = None
    environment: str | None = None
    summary: list[str] | None = None
    headline: list[Result] | None = None
    overlaps: list[Overlap] | None = None
    test_time: TestTime | None = None
    train_time: list[Panel] | None = None
    maps: list[Map] | None = None
    frames: list[Strip] | None = None
    gold_proxy: list[GoldProxy] | None = None
    audit: list[Audit] | None = None
    search: list[Result] | None = None
    throughput: list[Throughput] | None = None
    problems: list[ScoredProblem] | None = None


@record
class MetricsLine:
    """A line of metrics.jsonl: the stage, the step, and every other key as a value."""

    stage: str
    step: Annotated[int, Ge(0), Le(2**53)]
    values: dict[str, Number | None]


def read_report(path: Path) -> dict[str, Any]:
    """report.json as nested dicts; absent fields are None.

    Raises:
        InputError: Names the file and the field that is malformed.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; a run writes it when it ends")
    return dataclasses.asdict(read_record(Report, path))


def read_metrics_lines(path: Path) -> Iterator[MetricsLine]:
    """The lines of metrics.jsonl; none without a file. Raises InputError that names file and line."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        where = f"{path} line {number}"
        values = parse_json(line, where)
        if not isinstance(values, dict):
            raise InputError(f"{where}: expected an object, got {type(values).__name__}")
        about = {name: values.pop(name) for name in ("stage", "step") if name in values}
        yield as_record(MetricsLine, {**about, "values": values}, where)


def read_metrics(path: Path) -> Metrics:
    """metrics.jsonl by stage, name and step (the last counts if logged twice); empty without a file."""
    metrics: Metrics = {}
    for line in read_metrics_lines(path):
        stage = metrics.setdefault(line.stage, {})
        for name, value in line.values.items():
            stage.setdefault(name, {})[line.step] = value
    return metrics


def result_row(name: str, values: ArrayLike, information: str, note: str = "") -> Record:
    """A row of the headline: the mean of [seeds] or [seeds, problems], and its interval, which a single one has not."""
    mean, low, high = bootstrap_interval(np.asarray(values, np.float64))
    bounds = {"low": low, "high": high} if np.size(values) > 1 else {"low": None, "high": None}
    return {"name": name, "value": mean, **bounds, "information": information, "note": note}


def _check_lengths(expected: int, values: Mapping[str, Sequence | None]) -> None:
    """ValueError for a list that is not as long as the list that it belongs to."""
    for field, value in values.items():
        if value is not None and len(value) != expected:
            raise ValueError(f"{field}: expected {expected} values, got {len(value)}")
