"""Where a command may write: checks of `--output` before anything starts."""

import os
from collections.abc import Iterable
from pathlib import Path

from irl.traces.json_lines import why_unwritable
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
