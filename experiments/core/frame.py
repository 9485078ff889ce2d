"""The frame of a run: run folder, checks of the data, stages, model cards and report."""

import math
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from experiments.core.data_folder import DATA
from experiments.core.kinds import Run
from experiments.core.overlap import Overlap, overlap_rows, sentences
from experiments.core.run_folder import RunFolder
from experiments.reporting.model_card import write_model_card
from irl.evaluation.audit import TRUNCATION, Finding, truncation_warnings
from irl.types import InputError
from reward_models.folders.manifest import Sha256, digest_of_file
from reward_models.records import record

Folder = TypeVar("Folder", bound=RunFolder)


@record
class DataFiles:
    """data.json: sha256 of each data file of the run, by its path."""

    sha256: dict[str, Sha256]


class Results(NamedTuple):
    """What the stages of a run return."""

    headline: list[dict[str, Any]]
    """Rows of report.json. Rows with a `count`, the number of problems, are findings of the model cards."""
    information: str
    seeds: Sequence[int]
    models: Mapping[Path, str | None] = {}
    """The model folders that get a card, and what each was trained on where its manifest does not say it."""
    findings: Mapping[str, Finding] = {}
    """Further findings of the model cards."""
    truncation: Mapping[str, Finding] = {}
    """The truncation probe of every learned score."""
    parts: Mapping[str, Any] = {}
    """Further parts of report.json."""


class StagedRun(Run, Generic[Folder]):
    """The config class of a run that consists of stages, each of which resumes from what it has saved."""

    title: str

    @abstractmethod
    def open(self, folder: Path) -> Folder:
        """Open the run folder and print the account of the data."""

    @abstractmethod
    def stages(self, run: Folder) -> Results:
        """Run, or resume, every stage."""

    def overlaps(self) -> list[Overlap]:
        """How many training prompts also occur in held-out data, and were removed."""
        return []

    def files(self) -> Iterable[str]:
        """The data files. A run is not resumed after their content has changed."""
        return ()

    def run(self, folder: Path, command: str) -> Path:
        begun, run = time.perf_counter(), self.open(folder)
        overlaps = self.overlaps()
        refuse_changed_files(run, self.files())
        for sentence in sentences(overlaps):
            run.say(sentence)
        results = self.stages(run)
        findings = {**_counted(results.headline), **results.findings}
        findings |= {f"{name}: {TRUNCATION}": finding for name, finding in results.truncation.items()}
        for model, trained_on in results.models.items():
            write_model_card(model, findings, trained_on=trained_on, overlaps=overlaps)
        report = {
            "title": self.title,
            "command": command,
            "information": results.information,
            "seeds": list(results.seeds),
            "created": time.strftime("%Y-%m-%d %H:%M"),
            "headline": results.headline,
            "audit": [
                {"name": name, "findings": {TRUNCATION: each._asdict()}, "warnings": truncation_warnings(each)}
                for name, each in results.truncation.items()
            ],
            "overlaps": overlap_rows(overlaps),
            "throughput": run.throughput,
        }
        return _finish(run, {**report, **results.parts}, time.perf_counter() - begun)


def refuse_changed_files(run: RunFolder, files: Iterable[str]) -> None:
    """Store the sha256 of every data file. Raises InputError if a file has changed since the run began."""
    kept = run.read_stage(DATA, DataFiles, otherwise="changes of the data are not noticed")
    known = {} if kept is None else kept["sha256"]
    now = {file: digest for file in files if (digest := _digest(file)) is not None}
    for file, digest in now.items():
        if known.get(file, digest) != digest:
            advice = "restore the file, start anew with --overwrite, or take another --output"
            raise InputError(f"{file}: its content has changed since the run in {run.folder} began; {advice}")
    if now:
        run.write_json(DATA, {"sha256": {**known, **now}})


def _digest(file: str) -> str | None:
    """The sha256 of a file; None if it cannot be read, which the reader of the data reports."""
    try:
        return digest_of_file(Path(file))
    except OSError:
        return None


def _counted(headline: Iterable[dict[str, Any]]) -> dict[str, Finding]:
    """The rows with a count as findings; the counts are removed from the rows."""
    return {row["name"]: _finding(row.pop("count"), **row) for row in headline if "count" in row}


def _finding(count: int, value: float, low: float | None, high: float | None, **_: Any) -> Finding:
    low, high = (math.nan if end is None else end for end in (low, high))
    return Finding(value, low, high, count)


def _finish(run: RunFolder, report: dict[str, Any], seconds: float) -> Path:
    """Write report.json and report.html, print the headline and the warnings, and return the path of the page."""
    from experiments.reporting.report import write_report  # imports matplotlib, which --help must not wait for

    run.write_json("report.json", report)
    page = write_report(run.folder)
    run.show([*report["headline"], *report.get("search", [])])
    for entry in report["audit"]:
        for sentence in entry["warnings"]:
            run.say(f"warning: {sentence}")
    run.say(f"{seconds:.0f} s; report: {page}")
    return page
