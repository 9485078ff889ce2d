"""Where a command may write: checks of `--output` before anything starts."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from irl.data.json_lines import why_unwritable
from irl.types import InputError


def check_output(output: Path | str, *, inputs: Iterable[Path] = (), models: Iterable[Path] = ()) -> Path:
    """The real path of an output file or run folder: absolute, symbolic links resolved.

    Args:
        output: A path that need not exist.
        inputs: Files that the command reads.
        models: Model folders that the command reads.

    Raises:
        InputError: The output is empty, not a valid path, one of the inputs, or inside one of the model folders.
    """
    if not os.fspath(output):
        raise InputError("--output '': empty; name a path")
    real = _real(output)
    for file in inputs:
        if real == _real(file) or _same(real, file):
            raise InputError(f"--output {output}: is the input file; choose another name")
    for folder in map(_real, models):
        if folder in (real, *real.parents):
            raise InputError(f"--output {output}: is inside the model folder {folder}; choose another folder")
    return real


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Turn errors of the file system inside a run folder into InputErrors that name the path.

    A full disk is left to the command line, and an error elsewhere is not an error of the folder.
    """
    try:
        yield
    except OSError as error:
        inside = _real(folder)
        place = next((path for path in _places(error) if path == inside or inside in path.parents), None)
        if place is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        advice = "a run must be able to read and write every path in its folder"
        raise InputError(f"{place}: {error.strerror}; {advice}") from error


def _places(error: OSError) -> list[Path]:
    """The paths that an error of the file system names."""
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
    return [Path(os.path.realpath(name)) for name in names]


def _real(path: Path | str) -> Path:
    try:
        os.fspath(path).encode()
        real = Path(os.path.realpath(path))
        real.exists()  # raises where a part of the path is too long
    except UnicodeEncodeError:
        raise InputError(f"{os.fspath(path)!r}: the path is not valid UTF-8; choose another name") from None
    except ValueError:
        raise InputError(f"{os.fspath(path)!r}: the path contains a null character; choose another name") from None
    except OSError as error:
        raise InputError(f"{path}: {why_unwritable(error)}") from None
    return real


def _same(output: Path, file: Path) -> bool:
    """Whether both are one file, by hard links too."""
    return output.exists() and file.exists() and output.samefile(file)
