"""`traceward report FOLDER`: write report.html and the figures of a run again from its report.json."""

from collections.abc import Sequence
from pathlib import Path

from experiments.core.locks import exclusive
from experiments.core.outputs import working_in
from irl.types import InputError


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print("usage: traceward report FOLDER\n\nWrites report.html and figures/ of a run from its report.json.")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    if not arguments[0] or "\0" in arguments[0] or not Path(arguments[0]).is_dir():
        raise InputError(f"{arguments[0] or repr('')}: no such run folder")
    from experiments.reporting.report import write_report  # with it comes matplotlib, which --help must not wait for

    folder = Path(arguments[0])
    with exclusive(folder), working_in(folder):
        print(write_report(folder))
    return 0
