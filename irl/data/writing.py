"""Records out again, as JSON lines in the formats that other trainers read."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from irl.data.detect import Record
from irl.data.json_lines import FilePath, write_json_lines
from irl.data.preference import preference_row, unpaired_row
from irl.data.ranked import candidates_row, nemo_ranks_row
from irl.data.stepwise import stepwise_row
from irl.types import InputError

WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "preference": preference_row,
    "unpaired": unpaired_row,
    "stepwise": stepwise_row,
    "nemo_ranks": nemo_ranks_row,
    "candidates": candidates_row,
}


def write_records(path: FilePath, records: Iterable[Record], format: str) -> int:
    """Write a line per record and return their number; the ending chooses the compression.

    `preference`, `unpaired` and `stepwise` are TRL's. A file already there stays unless all goes well.
    """
    if format not in WRITERS:
        raise InputError(f"format {format!r} cannot be written; these can: {', '.join(WRITERS)}")
    if Path(path).suffix.lower() in (".parquet", ".json"):
        raise InputError(f"{path}: only JSON lines are written; let the name end in .jsonl, or .jsonl.gz")
    return write_json_lines(path, map(WRITERS[format], records))
