"""A case of the fuzzer, how it is run, and what comes of it."""

import contextlib
import io
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, NamedTuple

from irl.types import InputError

_PACKAGES = {"reward_models", "irl", "experiments", "configs"}
ACCEPTED, REFUSED, OTHER = "accepted", "refused", "other"
SECONDS = 6.0
"""Processor time that one case may take: a busy machine changes no outcome."""


@dataclass(frozen=True)
class Case:
    """One call on one damaged input."""

    read: Callable[[], Any]
    places: tuple[str, ...]
    """A refusal must have one of these in its message: names of files, fields or options."""
    must_refuse: bool = False
    """Accepting the input is an error: it has a digest and was changed, or is no number."""
    what: str = ""
    """The input in a few words, for the reproducer."""


class Target(NamedTuple):
    """A kind of input. `prepare` writes the undamaged inputs once; `draw` damages one of them."""

    name: str
    weight: float
    prepare: Callable[[Path], Any]
    draw: Callable[[Random, Any, Path], Case]
    """Randomness, what `prepare` returned, and an empty folder for the case."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case; `error` and `where` are those of *other*."""

    kind: str
    error: str = ""
    where: str = ""
    message: str = ""
    trace: str = ""


class TimeLimitError(BaseException):
    """A case took longer than its limit. No handler of the tested code catches it."""


def run(case: Case, seconds: float = SECONDS) -> Outcome:
    """Run a case within its time limit, with its warnings and its standard error watched."""
    output, errors = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for hidden in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", hidden)  # as Python does
        try:
            with _limited(seconds), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                case.read()
            outcome = _unchanged(case)
        except InputError as error:
            outcome = _refusal(case, str(error))
        except SystemExit as stop:
            outcome = _exit(case, stop.code, errors.getvalue() or output.getvalue())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a finding; TimeLimitError and Rust panics are no Exceptions
            outcome = _escape(error)
    if outcome.kind != OTHER and warned:
        first = warned[0]
        place = f"{Path(first.filename).name}:{first.lineno}"
        return Outcome(OTHER, first.category.__name__, place, str(first.message))
    if outcome.kind != OTHER and "Traceback" in errors.getvalue():
        return Outcome(OTHER, "traceback on stderr", "", errors.getvalue()[-400:])
    return outcome


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """SIGPROF after `seconds` of processor time; only the main thread can have it."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeLimitError(f"more than {seconds:g} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _unchanged(case: Case) -> Outcome:
    return Outcome(OTHER, "silently accepted", "", case.what) if case.must_refuse else Outcome(ACCEPTED)


def _refusal(case: Case, message: str) -> Outcome:
    if any(place in message for place in case.places):
        return Outcome(REFUSED, message=message)
    return Outcome(OTHER, "InputError without place", "", message)


def _exit(case: Case, code: Any, printed: str) -> Outcome:
    if code in (0, None):
        return _unchanged(case)
    if code == 2:
        return _refusal(case, printed)
    return Outcome(OTHER, f"exit code {code!r}", "", printed[-400:])


def _escape(error: BaseException) -> Outcome:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _PACKAGES & set(Path(frame.filename).parts[-4:-1])]
    last = ours[-1] if ours else frames[-1]
    place = f"{'/'.join(Path(last.filename).parts[-3:])}:{last.lineno} {last.name}"
    trace = "".join(traceback.format_exception(error, limit=-30))
    return Outcome(OTHER, type(error).__name__, place, trace.strip().splitlines()[-1][:300], trace)


def named(rng: Random, choices: Mapping[str, Any]) -> tuple[str, Any]:
    """One item of a mapping."""
    name = rng.choice(list(choices))
    return name, choices[name]
