"""One process per output: a lock on a run folder or an output file.

The lock of `runs/a` is the file `runs/.a.lock`. It lies beside its target, so it survives a run that replaces its
folder, and it can be taken before its target exists. The lock is an advisory lock of the operating system (`flock`);
the existence of the file means nothing. The kernel releases the lock when its process ends, however the process ends.
A file that a killed process or a reboot left behind is therefore not locked, whatever its content is, and the next
process takes it over. The content, process id and host name, only serves the message of a refused process.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from experiments.core.outputs import check_output
from irl.data.json_lines import why_unwritable
from irl.leftovers import removed_at_exit
from irl.types import InputError

_ATTEMPTS, _PAUSE = 20, 0.02
"""Attempts, and seconds between them, while another process takes or releases the lock and its id is not readable."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of an output file or a run folder. The target need not exist; its parent folder must.

    Symbolic links are resolved, so all names of a target share one lock.

    Raises:
        InputError: Another process holds the lock, or the parent folder does not exist or is not writable.
    """
    target = check_output(path)
    file = target.parent / f".{target.name}.lock"
    lock = FileLock(file)
    try:
        _acquire(lock, file, path)
        with removed_at_exit(file):  # removed while it is locked: a process that opens it later creates a new one
            yield
    finally:
        lock.release()


def _acquire(lock: FileLock, file: Path, path: Path) -> None:
    holder = None
    try:
        os.stat(f"{file.parent}/")  # filelock would create a missing folder
        for _ in range(_ATTEMPTS):
            try:
                lock.acquire(blocking=False)
            except Timeout:
                if (holder := _holder(file)) is not None:
                    break
                time.sleep(_PAUSE)
            else:
                if not isinstance(lock, SoftFileLock):  # the fallback without flock writes the same two lines itself
                    file.write_text(f"{os.getpid()}\n{socket.gethostname()}\n", encoding="utf-8")
                return
        if holder is None:
            file.stat()  # a folder such as /proc, which creates no files: filelock cannot tell it from a contended one
    except OSError as error:
        raise InputError(f"{path}: {why_unwritable(error)} of {file}") from None
    advice = "wait for it, stop it, or choose another --output"
    raise InputError(f"{path}: in use by {holder or 'another process'}; {advice}")


def _holder(file: Path) -> str | None:
    """Process and age of a lock, None where the content is not that of a running process."""
    try:
        age = time.time() - file.stat().st_mtime
        pid, host, *_ = file.read_text(encoding="utf-8").splitlines()
        process = int(pid)
    except (OSError, ValueError):
        return None
    if host != socket.gethostname():
        return f"process {process} on {host} for {_duration(age)}"
    return f"process {process} for {_duration(age)}" if _runs(process) else None


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:  # it belongs to another user
        return True
    except (OSError, OverflowError):
        return False
    return True


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
