"""Rows of a Parquet file, a batch at a time. The only file that needs pyarrow."""

from collections.abc import Iterator
from typing import Any

from irl.traces.json_lines import FilePath, Row
from irl.types import InputError

_BATCH = 256


def parquet_rows(path: FilePath) -> Iterator[tuple[int, Row]]:
    """Rows with their numbers, from 1; a field that a row does not have is None."""
    pyarrow = _pyarrow(path)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path and its ending") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}, after row {number}: no readable Parquet file ({error}); copy it again") from error
    if number == 0:
        raise InputError(f"{path}: empty; expected rows")


def _pyarrow(path: FilePath) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: Parquet files need `pip install 'traceward[parquet]'` (pyarrow)") from None
    return pyarrow
