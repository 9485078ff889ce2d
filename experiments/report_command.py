"""`traceward report FOLDER`: write report.html and the figures of a run again from its report.json."""

from collections.abc import Sequence
from pathlib import Path

from experiments.report import write_report
from irl.types import InputError


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print("usage: traceward report FOLDER\n\nWrites report.html and figures/ of a run from its report.json.")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    folder = Path(arguments[0])
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder")
    print(write_report(folder))
    return 0
