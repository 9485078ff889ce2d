"""The last stage of every run: its report on disk and on the screen."""

import time
from pathlib import Path
from typing import Any

from experiments.core.run_folder import RunFolder


def finish_run(run: RunFolder, report: dict[str, Any], seconds: float) -> Path:
    """Write report.json and report.html, print the headline and the warnings, and return the path of the page."""
    from experiments.reporting.report import write_report  # with it comes matplotlib, which --help must not wait for

    run.write_json("report.json", report | {"created": time.strftime("%Y-%m-%d %H:%M")})
    page = write_report(run.folder)
    run.show(report["headline"] + report.get("search", []))
    for entry in report.get("audit", []):
        for sentence in entry["warnings"]:
            run.say(f"warning: {sentence}")
    run.say(f"{seconds:.0f} s; report: {page}")
    return page
