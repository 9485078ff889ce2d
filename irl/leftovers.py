"""Temporary files that a process removes when a signal stops it.

A file is registered while it exists. `remove_leftovers` deletes every registered file. It is called while the rest of
the process is still running, so it must not wait for anything.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_registered: set[str] = set()


@contextmanager
def removed_at_exit(path: str | os.PathLike[str]) -> Iterator[None]:
    """Delete `path` when the block ends, and when a signal stops the process inside the block."""
    name = os.fspath(path)
    _registered.add(name)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(name)
        _registered.discard(name)


def remove_leftovers() -> None:
    """Delete all registered files."""
    for name in tuple(_registered):
        with suppress(OSError):
            os.unlink(name)
