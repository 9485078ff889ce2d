"""The end of a run that scores steps: model cards, report.json, the page, and the headline on the screen."""

import time
from collections.abc import Sequence
from pathlib import Path

from experiments.model_card import write_model_card
from experiments.report import write_report
from experiments.run_folder import RunFolder
from experiments.step_evaluation import Row
from irl.evaluation.audit import Finding


def finish_steps(
    run: RunFolder,
    headline: list[Row],
    *,
    title: str,
    information: str,
    seeds: Sequence[int],
    trained_on: str,
    models: Sequence[Path],
    command: str,
    seconds: float,
) -> Path:
    """`models` get a card each; returns the report."""
    findings = {row["name"]: Finding(row["value"], row["low"], row["high"], row.pop("count")) for row in headline}
    for model in models:
        write_model_card(model, findings, trained_on=trained_on)
    run.write_json(
        "report.json",
        {
            "title": title,
            "command": command,
            "information": information,
            "seeds": list(seeds),
            "created": time.strftime("%Y-%m-%d %H:%M"),
            "headline": headline,
        },
    )
    page = write_report(run.folder)
    run.show(headline)
    run.say(f"{seconds:.0f} s; report: {page}")
    return page
