"""Rows of a Parquet file, a batch at a time. The only file that needs pyarrow.

A small file can stand for much data: compressed pages, and texts that many rows refer to (dictionaries). A column that
unpacks to more than `MOST_UNPACKED` bytes and to `MOST_RATIO` times its size is refused, top-level texts stay in their
dictionary until a row is needed, and a row has a limit (irl/limits.py).
"""

from collections.abc import Iterator
from typing import Any

from irl.data.json_lines import FilePath, Row, check_row, row_limit
from irl.limits import MEGABYTE
from irl.types import InputError

MOST_UNPACKED = 256 * MEGABYTE
MOST_RATIO = 200
_BATCH = 256


def parquet_rows(path: FilePath) -> Iterator[tuple[int, Row]]:
    """Rows with their numbers, from 1; a field that a row does not have is None."""
    pyarrow = _pyarrow(path)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            texts = _check(file, path)
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in _rows(pyarrow, batch, f"{path}, after row {number}"):
                    number += 1
                    yield number, row
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path and its ending") from None
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}, after row {number}: no readable Parquet file ({error}); copy it again") from error
    if number == 0:
        raise InputError(f"{path}: empty; expected rows")


def _check(file: Any, path: FilePath) -> list[str]:
    """The names of top-level columns of texts. Raises InputError for columns of one name or of too much data."""
    names = file.schema_arrow.names
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: the column {name[:100]!r} occurs twice; keep one of the two")
    for group in range(file.metadata.num_row_groups):
        for index in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(index)
            size, packed = column.total_uncompressed_size, max(column.total_compressed_size, 1)
            if size > MOST_UNPACKED and size > MOST_RATIO * packed:
                told = f"unpacks to {size // MEGABYTE} megabytes, {size // packed} times its size"
                where = f"{path}: column {column.path_in_schema[:100]!r}, row group {group}"
                raise InputError(f"{where}: {told}; write it with smaller row groups")
    return [name for name, field in zip(names, file.schema_arrow.types, strict=True) if str(field) in _TEXTS]


_TEXTS = ("string", "large_string", "binary", "large_binary")


def _rows(pyarrow: Any, batch: Any, where: str) -> Iterator[Row]:
    """The rows of a batch as Python values: together where they are small, else one by one."""
    largest = row_limit()
    if _size(pyarrow, batch) <= largest:
        yield from batch.to_pylist()
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        check_row(_size(pyarrow, row), largest, where)
        yield from row.to_pylist()


def _size(pyarrow: Any, batch: Any) -> int:
    """Bytes of a batch without dictionaries."""
    total = 0
    for column in batch.columns:
        if pyarrow.types.is_dictionary(column.type):
            lengths = pyarrow.compute.binary_length(column.dictionary)
            of_rows = pyarrow.compute.sum(lengths.cast("int64").take(column.indices))
            total += of_rows.as_py() or 0
        else:
            total += column.nbytes
    return total


def _pyarrow(path: FilePath) -> Any:
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: Parquet files need `pip install 'traceward[parquet]'` (pyarrow)") from None
    return pyarrow
