"""SIGINT and SIGTERM stop a command at once: one line on stderr, exit code 130 or 143.

A KeyboardInterrupt is raised wherever the main thread happens to be. Callbacks of C code, destructors and other
threads swallow it or answer with tracebacks, and it waits for the end of a compilation. So nothing is raised here:
the process ends where it is, as after SIGKILL. This is safe because everything that a command writes survives a kill
at any moment: files are replaced atomically, checkpoints count once they are complete, and appended lines that were
cut off are dropped when the command resumes. Only temporary files and locks are removed first.
"""

import os
import select
import signal
import threading
from contextlib import suppress
from types import FrameType

from irl.leftovers import remove_leftovers

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"
"""Clears the line of a progress bar, which hides the cursor."""
_stopping = threading.Lock()


def stop_at_signals() -> None:
    """End this process at SIGINT and SIGTERM, also where it was started with SIGINT ignored. For the main thread."""
    for number in SIGNALS:
        signal.signal(number, _stop)
    os.register_at_fork(after_in_child=_default_signals)


def stop_inside_calls() -> None:
    """Do not wait for the main thread, which handles signals only between two instructions of Python.

    The C handler of the interpreter writes the number of each signal to a pipe, and a thread reads it: it stops a
    main thread that compiles or waits for a device.
    """
    receive, send = os.pipe()
    os.set_blocking(send, False)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(receive,), daemon=True, name="signals").start()


def _watch(receive: int) -> None:
    while True:
        for number in os.read(receive, 1):
            if number in SIGNALS:
                _stop(number, None)


def _stop(number: int, frame: FrameType | None) -> None:
    if not _stopping.acquire(blocking=False):  # the other thread ends the process
        return
    remove_leftovers()
    name = signal.Signals(number).name
    message = f"traceward: stopped by {name}; the same command resumes from what is saved\n"
    with suppress(OSError, ValueError):  # stderr may be closed, or a pipe that nobody reads
        if select.select([], [2], [], 1.0)[1]:
            os.write(2, ((_SHOW_CURSOR if os.isatty(2) else "") + message).encode())
    os._exit(128 + number)


def _default_signals() -> None:
    """A forked child shares the pipe of its parent, which its signals must not stop."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
