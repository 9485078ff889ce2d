"""The end of a run that scores steps: model cards, report.json, the page, and the headline on the screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.commands.truncation import truncation_record
from experiments.core.finish import finish_run
from experiments.core.overlap import Overlap, overlap_rows
from experiments.core.run_folder import RunFolder
from experiments.reporting.model_card import write_model_card
from experiments.text_rewards.step_evaluation import Row
from irl.evaluation.audit import TRUNCATION, Finding


def finish_steps(
    run: RunFolder,
    headline: list[Row],
    *,
    title: str,
    information: str,
    seeds: Sequence[int],
    trained_on: str,
    models: Sequence[Path],
    truncation: Mapping[str, Finding],
    command: str,
    seconds: float,
    overlaps: Sequence[Overlap] = (),
) -> Path:
    """Write the card of each of `models` and the report, and return the report's path.

    `truncation` has the truncation probe of every learned score, on held-out right traces.
    """
    findings = {row["name"]: Finding(row["value"], row["low"], row["high"], row.pop("count")) for row in headline}
    findings |= {f"{name}: {TRUNCATION}": finding for name, finding in truncation.items()}
    audits = [truncation_record(name, finding) for name, finding in truncation.items()]
    for model in models:
        write_model_card(model, findings, trained_on=trained_on, overlaps=overlaps)
    report = {
        "title": title,
        "command": command,
        "information": information,
        "seeds": list(seeds),
        "headline": headline,
        "audit": audits,
        "overlaps": overlap_rows(overlaps),
    }
    return finish_run(run, report, seconds)
