"""Temporary files that a process removes when a signal stops it.

A file is registered while it exists. `remove_leftovers` deletes every registered file. It is called from a thread
while the rest of the process is still running, so it must not wait for anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_registered: set[Path] = set()


@contextmanager
def removed_at_exit(path: Path) -> Iterator[None]:
    """Delete `path` when the block ends, and when a signal stops the process inside the block."""
    _registered.add(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        _registered.discard(path)


def remove_leftovers() -> None:
    """Delete all registered files."""
    for path in tuple(_registered):
        with suppress(OSError):
            path.unlink()
