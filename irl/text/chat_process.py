"""A process that renders chat templates under limits of the operating system.

A template is a program of somebody else's. Inside one process no check bounds it: besides repetition, padding and
loops, a list that holds the list before it twice has after sixty lines 2**60 entries to print or to compare. So
templates run in a process of their own, which has a limit on its memory (RLIMIT_AS; macOS does not enforce it) and on
the processor time of every conversation (RLIMIT_CPU). One process, started with the first template, renders all.

Many conversations travel in one request, since a round trip costs more than to render a short conversation.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from irl.limits import limit

WORKER = Path(__file__).with_name("chat_worker.py")


FATAL = frozenset(["long", "unsafe", "syntax", "memory", "seconds", "ended"])
"""Statuses after which no further conversation is rendered."""
_AT_ONCE = 1 << 18
"""Bytes of JSON after which a request is sent."""


class Reply(NamedTuple):
    """What became of a conversation: `status` is "text", "refused", "failed" or of `FATAL`; `text` is the rendered text
    or the reason."""

    status: str
    text: str


class Renderer:
    """The process, started when it is needed; safe to use from several threads and after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers: dict[tuple[str, str | None], int] = {}

    def render(self, source: str, date: str | None, conversations: Iterable[Mapping[str, Any]]) -> Iterator[Reply]:
        """A reply per conversation (the variables of the template), the last one where its status is in `FATAL`.

        Raises:
            TypeError, ValueError, RecursionError: Variables that are not JSON.
        """
        for batch in _batches(conversations):
            for reply in self._batch((source, date), batch):
                yield reply
                if reply.status in FATAL:
                    return

    def _batch(self, template: tuple[str, str | None], conversations: list[str]) -> list[Reply]:
        limits = [limit("TRACEWARD_TEMPLATE_SECONDS"), limit("TRACEWARD_TEMPLATE_CHARACTERS")]
        replies: list[Reply] = []
        with self._lock:
            try:
                process = self._running()
                _write(process, self._request(template, conversations, limits))
                for _ in conversations:
                    replies.append(_read(process))
            except (BrokenPipeError, EOFError):
                replies.append(self._cause())
            except BaseException:  # also KeyboardInterrupt: an unread reply would be taken for that of the next request
                self._stop(kill=True)
                raise
            if any(reply.status in FATAL for reply in replies):
                self._stop(kill=True)  # every run starts with the same memory
        return replies

    def forget(self) -> None:
        """Leave the process to the parent: for a child after a fork, which starts another."""
        self._lock, self._process = threading.Lock(), None

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop(kill=False)

    def _request(self, template: tuple[str, str | None], conversations: list[str], limits: list[int]) -> bytes:
        known = template in self._numbers
        number = self._numbers.setdefault(template, len(self._numbers))
        head = json.dumps([number, *((None, None) if known else template)])
        return f"{head[:-1]}, [{', '.join(conversations)}], {limits}]\n".encode()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            megabytes = str(limit("TRACEWARD_TEMPLATE_MEGABYTES"))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-X", "utf8", str(WORKER), megabytes],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONHASHSEED": "0"},
            )
            self._numbers = {}
        return self._process

    def _cause(self) -> Reply:
        """Why the process ended before it replied."""
        assert self._process is not None
        code = self._process.wait()
        self._stop(kill=True)
        return Reply("seconds", "") if code == -signal.SIGXCPU else Reply("ended", f"exit status {code}")

    def _stop(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        if kill:
            process.kill()
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        process.wait()
        process.stdout.close()


def _batches(conversations: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Conversations as JSON, some hundred kilobytes at a time."""
    batch: list[str] = []
    size = 0
    for variables in conversations:
        batch.append(json.dumps(variables))
        size += len(batch[-1])
        if size > _AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(process: subprocess.Popen[bytes], request: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(request)
    process.stdin.flush()


def _read(process: subprocess.Popen[bytes]) -> Reply:
    assert process.stdout is not None
    status, _, length = process.stdout.readline().partition(b" ")
    data = process.stdout.read(int(length or 0))
    if not length or len(data) < int(length):
        raise EOFError
    return Reply(status.decode(), data.decode())


renderer = Renderer()
atexit.register(renderer.close)
os.register_at_fork(after_in_child=renderer.forget)
