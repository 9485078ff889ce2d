"""A small campaign in the suite, and what the fuzzer counts as *other*."""

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from random import Random

import pytest

from irl.types import InputError
from tests.fuzz import mutate
from tests.fuzz.__main__ import Worker
from tests.fuzz.campaign import Campaign, table
from tests.fuzz.cases import ACCEPTED, OTHER, REFUSED, Case, Target, run

ROOT = Path(__file__).resolve().parents[2]


def test_a_small_campaign_finds_nothing():
    """In a process of its own, as a person runs it: without the type checks of the test suite."""
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "400", "--seed", "0"]
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = next(line.split() for line in done.stdout.splitlines() if line.startswith("all "))
    accepted, refused, other = map(int, counts[1:4])
    assert other == 0 and accepted > 50 and refused > 150 and accepted + refused == 400


def _fail(error: BaseException) -> None:
    raise error


def _warn() -> None:
    warnings.warn("loss of precision", RuntimeWarning, stacklevel=1)


def _print_traceback() -> None:
    print("Traceback (most recent call last):", file=sys.stderr)


def _exit(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


def _loop() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda: None, ACCEPTED),
        (lambda: _fail(InputError("x/rows.jsonl, line 2: bad")), REFUSED),
        (lambda: _fail(InputError("bad")), OTHER),
        (lambda: _fail(KeyError("a")), OTHER),
        (lambda: _fail(MemoryError()), OTHER),
        (lambda: _exit("traceward: rows.jsonl: bad", 2), REFUSED),
        (lambda: _exit("traceward: bad", 2), OTHER),
        (lambda: _exit("", 1), OTHER),
        (lambda: _exit("", 0), ACCEPTED),
        (_warn, OTHER),
        (_print_traceback, OTHER),
        (_loop, OTHER),
    ],
)
def test_outcome(read, kind):
    assert run(Case(read, ("rows.jsonl",)), seconds=0.3).kind == kind


def test_a_changed_input_with_a_digest_must_be_refused():
    assert run(Case(lambda: None, ("x",), must_refuse=True)).kind == OTHER
    assert run(Case(lambda: _fail(InputError("x: changed")), ("x",), must_refuse=True)).kind == REFUSED


def _number_file(rng: Random, prepared: int, folder: Path) -> Case:
    (folder / "number").write_bytes(mutate.bytes_(rng, b"%d" % prepared))
    return Case(
        lambda: int((folder / "number").read_bytes()), ("number",), what=(folder / "number").read_text("latin-1")
    )


def test_a_case_is_the_same_alone_and_among_others(tmp_path):
    targets = [Target("one", 1, lambda folder: 12345, _number_file), Target("two", 3, lambda folder: 6, _number_file)]
    every = list(Campaign(targets, 5, tmp_path).run(range(40)))
    alone = next(Campaign(targets, 5, tmp_path).run([17]))
    assert (alone.target, alone.what, alone.outcome) == (every[17].target, every[17].what, every[17].outcome)
    assert {result.what for result in Campaign(targets, 6, tmp_path).run(range(40))} != {r.what for r in every}
    assert "ValueError at tests/fuzz/test_fuzz.py" in table(every, targets)


def test_the_death_of_a_process_ends_one_case():
    with tempfile.TemporaryFile() as errors, Worker([sys.executable, "-c", "import os; os.abort()"], errors) as worker:
        assert list(worker.results()) == [] and worker.end == "exit code -6"
