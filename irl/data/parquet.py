"""Rows of a Parquet file, a batch at a time. The only file that needs pyarrow.

A small file can stand for much data: compressed pages, texts that many values refer to (dictionaries), and long lists
of equal values. A column that unpacks to more than `MOST_UNPACKED` bytes and to `MOST_RATIO` times its size is refused,
texts stay in their dictionary until a row is needed, nested ones too, and a row has a limit (irl/limits.py).
"""

from collections.abc import Iterator
from typing import Any

from irl.data.json_lines import FilePath, Row, check_row, row_limit
from irl.limits import MEGABYTE
from irl.types import InputError

MOST_UNPACKED = 256 * MEGABYTE
MOST_RATIO = 200
_BATCH = 256
_VALUE = 8
"""Bytes in memory that every value takes, whatever its type."""


def parquet_rows(path: FilePath) -> Iterator[tuple[int, Row]]:
    """Rows with their numbers, from 1; a field that a row does not have is None."""
    pyarrow = _pyarrow(path)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            texts = _check(file, path)
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            for batch in _batches(file):
                for row in _rows(pyarrow, batch, f"{path}, after row {number}"):
                    number += 1
                    yield number, row
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path and its ending") from None
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}, after row {number}: no readable Parquet file ({error}); copy it again") from error
    if number == 0:
        raise InputError(f"{path}: empty; expected rows")


def _batches(file: Any) -> Iterator[Any]:
    """Batches of rows. Each is of one row group: nested texts of several row groups do not share a dictionary."""
    for group in range(file.metadata.num_row_groups):
        yield from file.iter_batches(batch_size=_BATCH, row_groups=[group])


def _check(file: Any, path: FilePath) -> list[str]:
    """The paths of columns of texts. Raises InputError for columns of one name or of too much data."""
    names, leaves = file.schema_arrow.names, [file.schema.column(index) for index in range(file.metadata.num_columns)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: the column {name[:100]!r} occurs twice; keep one of the two")
    for group in range(file.metadata.num_row_groups):
        for index, leaf in enumerate(leaves):
            column = file.metadata.row_group(group).column(index)
            size, packed = _unpacked(column, leaf), max(column.total_compressed_size, 1)
            where = f"{path}: column {column.path_in_schema[:100]!r}, row group {group}"
            if size > MOST_UNPACKED and size > MOST_RATIO * packed:
                unpacked = f"unpacks to {size // MEGABYTE} megabytes, {size // packed} times its size"
                raise InputError(f"{where}: {unpacked}; write it with smaller row groups")
            delta = next((each for each in column.encodings if each in _DELTA), None)
            if delta is not None:  # no dictionary: nothing bounds what its values unpack to
                raise InputError(
                    f"{where}: expected dictionary or plain encoding of texts, got {delta}; write it again"
                )
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type in _TEXTS]


_DELTA = ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY")
_TEXTS = ("NONE", "STRING", "JSON", "ENUM")


def _unpacked(column: Any, leaf: Any) -> int:
    """Bytes of a column of a row group in memory; of a column outside lists, a batch of rows at a time."""
    values = column.num_values if leaf.max_repetition_level else min(column.num_values, _BATCH)
    return max(column.total_uncompressed_size, values * max(leaf.length, _VALUE))


def _rows(pyarrow: Any, batch: Any, where: str) -> Iterator[Row]:
    """The rows of a batch as Python values: together where they are small, else one by one."""
    largest = row_limit()
    if _size(pyarrow, batch.to_struct_array()) <= largest:
        yield from batch.to_pylist()
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        check_row(_size(pyarrow, row.to_struct_array()), largest, where)
        yield from row.to_pylist()


def _size(pyarrow: Any, array: Any) -> int:
    """Bytes of an array without dictionaries, at all levels of nesting."""
    kind, own = array.type, _VALUE * len(array)
    if pyarrow.types.is_dictionary(kind):
        lengths = pyarrow.compute.binary_length(array.dictionary)
        return own + (pyarrow.compute.sum(lengths.cast("int64").take(array.indices)).as_py() or 0)
    if pyarrow.types.is_struct(kind):
        return own + sum(_size(pyarrow, field) for field in array.flatten())
    if pyarrow.types.is_map(kind):
        array = array.cast(pyarrow.list_(pyarrow.struct([kind.key_field, kind.item_field])))
    if pyarrow.types.is_nested(kind):
        return own + _size(pyarrow, array.flatten())
    return own + array.nbytes


def _pyarrow(path: FilePath) -> Any:
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: Parquet files need `pip install 'traceward[parquet]'` (pyarrow)") from None
    return pyarrow
