"""A lock is held by one process at a time, names its holder, and never outlives it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.core.locks import exclusive
from experiments.core.outputs import check_output
from irl.types import InputError

HOLD = """
import sys, time
from pathlib import Path
from experiments.core.locks import exclusive
from irl.types import InputError
try:
    with exclusive(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
except InputError as error:
    sys.exit(f"refused: {error}")
"""


def start(path, seconds=60):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def holder(tmp_path):
    process = start(tmp_path / "out")
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_holder_and_the_age_are_named(holder, tmp_path):
    os.utime(tmp_path / ".out.lock", (time.time() - 720,) * 2)
    begun = time.perf_counter()
    with pytest.raises(InputError, match=rf"out: in use by process {holder.pid} for 12 minutes; .*another --output"):
        exclusive(tmp_path / "out").__enter__()
    assert time.perf_counter() - begun < 0.3


def test_a_symbolic_link_shares_the_lock_of_its_target(holder, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path / "out")
    (tmp_path / "other").symlink_to(tmp_path)
    for name in ("folder/link", "other/out", "folder/../out"):
        with pytest.raises(InputError, match=f"in use by process {holder.pid}"), exclusive(tmp_path / name):
            pass
    with exclusive(tmp_path / "folder/out"):
        pass


def test_a_killed_holder_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".out.lock").exists()
    with exclusive(tmp_path / "out"):
        assert (tmp_path / ".out.lock").read_text().startswith(f"{os.getpid()}\n")
    assert not (tmp_path / ".out.lock").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\x00garbage", b"1\nhost\n", b"9" * 9999, b"1\n"])
def test_a_lock_file_without_a_holder_is_taken_over(content, tmp_path):
    (tmp_path / ".out.lock").write_bytes(content)
    with exclusive(tmp_path / "out"):
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} for 0 seconds"):
            exclusive(tmp_path / "out").__enter__()


def test_an_unreadable_holder_is_another_process(holder, tmp_path):
    (tmp_path / ".out.lock").write_bytes(b"\xff")
    with pytest.raises(InputError, match="in use by another process;"), exclusive(tmp_path / "out"):
        pass
    (tmp_path / ".out.lock").write_text("77\nelsewhere\n")
    with pytest.raises(InputError, match="in use by process 77 on elsewhere for"), exclusive(tmp_path / "out"):
        pass


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt, SystemExit])
def test_released_by_errors(error, tmp_path):
    with pytest.raises(error), exclusive(tmp_path / "out"):
        raise error
    assert not list(tmp_path.iterdir())


def test_of_many_starts_at_once_one_wins(tmp_path):
    processes = [start(tmp_path / "out", 2) for _ in range(6)]
    results = [(process.communicate(), process.returncode) for process in processes]
    assert sorted(code for _, code in results) == [0, 1, 1, 1, 1, 1]
    (winner,) = [process.pid for process in processes if process.returncode == 0]
    refused = [err for (_, err), code in results if code]
    assert all(f"in use by process {winner} for" in err for err in refused), refused
    assert not list(tmp_path.iterdir())


def count_up(folder, times):
    for _ in range(times):
        while True:
            try:
                with exclusive(folder / "out"):
                    number = int((folder / "number").read_text())
                    (folder / "number").write_text(str(number + 1))
                break
            except InputError:
                time.sleep(0.001)


def test_a_file_that_comes_and_goes_excludes(tmp_path):
    """Each process removes the lock file that the others are about to lock."""
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=count_up, args=(tmp_path, 50)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "number").read_text() == "150"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/proc/out", "not writable"),
        ("/nowhere/out", "not writable (No such file or directory)"),
        ("/etc/hostname/out", "not writable (Not a directory)"),
        ("/tmp/" + "a" * 300, "not writable (File name too long)"),
        ("/tmp/" + "a" * 252, "not writable (File name too long)"),
        ("/tmp/" + "a/" * 3000, "not writable (File name too long)"),
        ("/tmp/a\0b", "contains a null character"),
        ("/tmp/\udcff", "not valid UTF-8"),
        ("", "--output '': empty"),
    ],
)
def test_places_that_cannot_be_written(path, message):
    with pytest.raises(InputError) as raised, exclusive(path):  # type: ignore[arg-type]
        pass
    assert message in str(raised.value)


def test_outputs_beside_inputs_and_models(tmp_path):
    model, data = tmp_path / "model", tmp_path / "data.jsonl"
    model.mkdir()
    data.touch()
    os.link(data, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(data)
    (tmp_path / "inside").symlink_to(model)
    for name in ("data.jsonl", "hard", "soft"):
        with pytest.raises(InputError, match="is the input file"):
            check_output(tmp_path / name, inputs=[data], models=[model])
    for name in ("model", "model/scores.jsonl", "model/a/b", "inside/scores.jsonl"):
        with pytest.raises(InputError, match="inside the model folder"):
            check_output(tmp_path / name, inputs=[data], models=[model])
    for name in ("models", "model.jsonl"):
        assert check_output(tmp_path / name, inputs=[data], models=[model]) == Path(tmp_path / name)
