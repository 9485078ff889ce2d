"""SIGINT and SIGTERM end every command at once: one line, exit code 130 or 143, nothing left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "from experiments.cli import main; main()"]
PROCESS = """
import threading, time
from experiments.core.stopping import stop_at_signals, stop_inside_calls
stop_at_signals()
stop_inside_calls()
{preparation}
print("ready", flush=True)
{body}
"""
BUSY = {
    "python": ("", "while True: pass"),
    "a C call": ("", "time.sleep(600)"),
    "compilation": (
        "import jax",
        "jax.jit(lambda x: [x := x @ x + i for i in range(3000)][-1])(jax.numpy.ones((9, 9)))",
    ),
    "a callback": (
        "import jax",
        "wait = lambda _: time.sleep(600)\n"
        "jax.jit(lambda x: jax.pure_callback(wait, jax.ShapeDtypeStruct((), 'float32'), x))(1.0).block_until_ready()",
    ),
    "an except that swallows": (
        "",
        "while True:\n    try:\n        time.sleep(0.01)\n    except BaseException:\n        pass",
    ),
    "a thread, while the main thread waits": (
        "thread = threading.Thread(target=time.sleep, args=(600,))",
        "thread.start()\nthread.join()",
    ),
    "a temporary file": (
        "from irl.leftovers import removed_at_exit",
        "with removed_at_exit('rows.tmp'):\n    open('rows.tmp', 'x')\n    time.sleep(600)",
    ),
    "a lock": (
        "from pathlib import Path; from experiments.core.locks import exclusive",
        "with exclusive(Path('out')):\n    time.sleep(600)",
    ),
}


def start(preparation, body, folder, through=(), **options):
    """A process that has installed its handlers; `through` is a command that starts it."""
    process = subprocess.Popen(
        [*through, sys.executable, "-c", PROCESS.format(preparation=preparation, body=body)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def stopped(process, number, within):
    """Send a signal; returns stderr of a process that ended as it should."""
    process.send_signal(number)
    begun = time.monotonic()
    try:
        _, err = process.communicate(timeout=within)
    finally:
        process.kill()
    assert process.returncode == 128 + number, (process.returncode, err)
    line = f"traceward: stopped by {signal.Signals(number).name}; the same command resumes from what is saved\n"
    assert err.endswith(line) and "Traceback" not in err and "Exception" not in err, err
    assert time.monotonic() - begun < within
    return err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("preparation", "body"), BUSY.values(), ids=list(BUSY))
def test_stops_whatever_the_process_does(preparation, body, number, tmp_path):
    process = start(preparation, body, tmp_path)
    time.sleep(0.3)
    assert stopped(process, number, within=10).count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "neither a lock nor a temporary file is left"


@pytest.mark.parametrize("seed", range(3))
def test_stops_at_any_moment_of_the_start(seed, tmp_path):
    rng = random.Random(seed)
    process = subprocess.Popen(
        [*COMMAND, "run", "smoke", "--output", str(tmp_path / "run")],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(rng.uniform(0.5, 6))
    stopped(process, rng.choice([signal.SIGINT, signal.SIGTERM]), within=20)
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_an_ignored_sigint_stops_too_and_a_second_signal_changes_nothing(tmp_path):
    """A shell script starts its background jobs with SIGINT ignored."""
    process = start("", "while True: pass", tmp_path, through=["sh", "-c", 'trap "" INT; exec "$@"', "sh"])
    process.send_signal(signal.SIGINT)
    assert stopped(process, signal.SIGINT, within=10).count("\n") == 1


def test_a_forked_child_does_not_stop_its_parent(tmp_path):
    body = (
        "child = os.fork()\nif child == 0: time.sleep(600)\ntime.sleep(0.2)\nos.kill(child, signal.SIGTERM)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -15\ntime.sleep(0.3)"
    )
    process = start("import os, signal", body, tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def test_a_caller_in_the_same_process_keeps_its_handlers():
    from experiments.cli import main

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
