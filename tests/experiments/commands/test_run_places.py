"""The folder of a run: one process at a time, places that cannot be written, configs that cannot be read."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import experiments.commands.run
from experiments.cli import main
from experiments.core.locks import exclusive
from experiments.core.run_folder import RunFolder
from experiments.reporting.stage_records import Search
from experiments.traces.experiment import Experiment
from irl.types import InputError
from tests.experiments.commands.test_commands import holds

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def traceward(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return stop.value.code, capsys.readouterr().err

    return run


@pytest.fixture
def trained(monkeypatch):
    """`run` without the training: its calls."""
    calls = []
    monkeypatch.setattr(Experiment, "run", lambda *given: calls.append(given))
    return calls


# -------------------------------------------------------------------------------------------- locks


def test_a_run_in_use_is_refused_and_not_changed(traceward, trained, tmp_path):
    folder = tmp_path / "run"
    assert traceward("run", "smoke", "--output", folder)[0] == 0
    before = holds(folder)
    with exclusive(folder):
        for more in ([], ["--overwrite"], ["--seed", "1", "--overwrite"]):
            code, err = traceward("run", "smoke", "--output", folder, *more)
            assert code == 2 and err.startswith(f"traceward: {folder}: in use by process {os.getpid()} for "), err
    assert len(trained) == 1 and holds(folder) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"]


def test_the_lock_is_held_while_the_folder_is_replaced(traceward, monkeypatch, trained, tmp_path):
    folder = tmp_path / "run"
    assert traceward("run", "smoke", "--output", folder)[0] == 0
    refused = []

    def second(*_):
        with pytest.raises(InputError, match="in use by process"), exclusive(folder):
            pass
        refused.append(True)

    monkeypatch.setattr(Experiment, "run", second)
    assert traceward("run", "smoke", "--output", folder, "--overwrite")[0] == 0
    assert refused == [True] and sorted(entry.name for entry in tmp_path.iterdir()) == ["run"]


def test_two_runs_started_at_once(tmp_path):
    """Of three seeds one claims the folder; the others change nothing and exit with code 2."""
    code = (
        "import sys, time\n"
        "from experiments.traces.experiment import Experiment\n"
        "Experiment.run = lambda *_: time.sleep(8)\n"
        "from experiments.cli import main\nmain()"
    )
    command = [sys.executable, "-c", code, "run", "smoke", "--output", str(tmp_path / "run"), "--seed"]
    processes = [
        subprocess.Popen([*command, str(seed)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for seed in range(3)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2, 2], errors
    winner = codes.index(0)
    assert f'"seed": {winner}' in (tmp_path / "run/config.json").read_text()
    for seed, err in enumerate(errors):
        assert seed == winner or f"in use by process {processes[winner].pid} for" in err, err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"]


# ------------------------------------------------------------------------- places and file systems


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "--output '': empty; name a path"),
        ("{}/file", "is a file; name a folder"),
        ("{}/file/run", "not writable"),
        ("{}/file/deep/run", "not writable (Not a directory)"),
        ("/proc/run", "not writable"),
        ("/proc/deep/run", "not writable"),
        ("/sys/run", "not writable"),
        ("{}/" + "a" * 256, "not writable (File name too long)"),
        ("{}/" + "a" * 252, "not writable (File name too long)"),
        ("{}/" + "b/" * 2100 + "run", "not writable (File name too long)"),
        ("{}/a\0b", "contains a null character"),
        ("{}/a\udcff", "not valid UTF-8"),
        ("{}/loop/run", "not writable"),
    ],
)
def test_places_that_cannot_be_written(traceward, trained, tmp_path, monkeypatch, output, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    code, err = traceward("run", "smoke", "--output", output.format(tmp_path))
    assert code == 2 and message in err and err.count("\n") == 1, err
    assert trained == [] and (tmp_path / "file").read_text() == "precious"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "loop"]


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_without_permission(traceward, trained, tmp_path, monkeypatch, error):
    """Tests run as root, whom permissions do not bind."""

    def refuse(path, *arguments, **options):
        raise OSError(error, os.strerror(error), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        code, err = traceward("run", "smoke", "--output", tmp_path / "new/run")
        assert code == 2 and f"{tmp_path}/new/run: not writable ({os.strerror(error)})" in err, err
    monkeypatch.setattr(Path, "write_text", refuse)
    code, err = traceward("run", "smoke", "--output", tmp_path / "run")
    assert code == 2 and f"not writable ({os.strerror(error)})" in err and err.count("\n") == 1, err
    assert trained == []


@pytest.mark.parametrize("name", ["checkpoints", "metrics.jsonl", "log.txt", "samples", "policy"])
def test_something_in_the_way_inside_a_run(traceward, tmp_path, name):
    """A file where the run makes a folder, a folder where it makes a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "run", lambda *_: None)
        assert traceward("run", "smoke", "--output", tmp_path / "run")[0] == 0
    way = tmp_path / "run" / name
    way.mkdir() if "." in name else way.write_text("in the way")
    code, err = traceward("run", "smoke", "--output", tmp_path / "run")
    assert code == 2 and "Traceback" not in err, err
    assert f"traceward: {way}" in err, err


def test_a_run_with_the_former_name_of_a_field_is_resumed(traceward, trained, tmp_path):
    """`looks` was renamed to `evaluations`, `BeamSearch` to `GuidedSearch`, and its `settings` to `guide`."""
    folder = tmp_path / "run"
    assert traceward("run", "smoke", "--output", folder)[0] == 0
    written = folder / "config.json"
    config = json.loads(written.read_text())
    for stage in ("reward", "improvement"):
        config[stage]["looks"] = config[stage].pop("evaluations")
    guide = config["search"].pop("guide")
    config["search"] |= {"class": "BeamSearch", "settings": guide | {"class": "BeamSettings"}}
    written.write_text(json.dumps(config))
    assert "going on with the run" in traceward("run", "smoke", "--output", folder)[1]
    assert "going on with the run" in traceward("run", written, "--output", folder)[1]
    assert trained[0][0] == trained[1][0] == trained[2][0]
    code, err = traceward("run", "smoke", "--output", folder, "--improvement.evaluations", "4")
    assert code == 2 and "config.improvement.evaluations was 2, is 4" in err, err


# ------------------------------------------------------------------------------------- config files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(3)\n", ", line 2: SystemExit: 3"),
        ("\nexit()\n", ", line 2: SystemExit"),
        ("def f():\n    f()\nf()\n", ", line 2: RecursionError: maximum recursion"),
        ("x = {}\n\nx['y']\n", ", line 3: KeyError: 'y'"),
        ("1 / 0\n", ", line 1: ZeroDivisionError: division by zero"),
        ("class Own(BaseException):\n    pass\nraise Own('no')\n", ", line 3: .*Own: no"),
        ("class Own(Exception):\n    def __str__(self): raise self\nraise Own()\n", ", line 3: .*Own: <"),
        ("raise ExceptionGroup('many', [ValueError('a')])\n", ", line 1: ExceptionGroup: many"),
        ("a = 1\nb = (\n", ", line 2: SyntaxError: '\\(' was never closed"),
        ("a = '\0'\n", ".*null bytes"),
        ("assert False, 'two\\nlines'\n", ", line 1: AssertionError: two lines"),
        ("raise StopIteration\n", ", line 1: StopIteration"),
    ],
)
def test_a_config_file_may_raise_anything(traceward, trained, tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    code, err = traceward("run", path, "--output", tmp_path / "out")
    assert code == 2 and err.count("\n") == 1, err

    assert re.match(f"traceward: {re.escape(str(path))}{message}", err), err
    assert trained == [] and not (tmp_path / "out").exists()


def test_ctrl_c_in_a_config_file_is_no_error_of_the_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        experiments.commands.run.load_config(str(path))


@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        '{"class": "Experiment", "class": "Imitate"}',
        '{"class": "Experiment", "seed": ' + "9" * 5000 + "}",
        '{"class": "Experiment", "title": 3}',
        '{"class": "Experiment", "title": "x", "policy": "y", "reward": null}',
        '{"class": ["Experiment"]}',
        '{"class": {"class": "Sft"}}',
        '{"class": "Sft"}',
        "NaN",
        "",
        "null",
        "\ud800".encode("utf-8", "surrogatepass"),
        b"\xff\xfe",
    ],
)
def test_config_json_that_is_none(traceward, trained, tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, err = traceward("run", path, "--output", tmp_path / "out")
    assert code == 2 and err.startswith(f"traceward: {path}") and err.count("\n") == 1 and len(err) < 3000, err[:500]
    assert trained == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", '{"class": "Exp', "[" * 99_999, '{"a": 1, "a": 2}'])
def test_a_damaged_config_json_of_a_run_folder_is_named(traceward, trained, tmp_path, content):
    assert traceward("run", "smoke", "--output", tmp_path / "run")[0] == 0
    (tmp_path / "run/config.json").write_text(content)
    for more in ([], ["--overwrite"]):
        code, err = traceward("run", "smoke", "--output", tmp_path / "run", *more)
        assert code == 2 and err.startswith(f"traceward: {tmp_path}/run/config.json") and err.count("\n") == 1, err
    assert len(trained) == 1 and (tmp_path / "run/config.json").read_text() == content


# ------------------------------------------------------------------------------------------- report


@pytest.mark.parametrize("name", ["figures", "report.html"])
def test_something_in_the_way_of_a_report(traceward, tmp_path, name):
    (tmp_path / "report.json").write_text('{"title": "x"}')
    way = tmp_path / name
    way.mkdir() if "." in name else way.write_text("in the way")
    code, err = traceward("report", tmp_path)
    assert code == 2 and err.startswith(f"traceward: {way}: ") and err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.json", "["),
        ("report.json", "[" * 100_000),
        ("report.json", '{"title": "\\ud800"}'),
        ("report.json", '{"seeds": [' + "1" * 4000 + "]}"),
        ("report.json", '{"frames": [{"name": "x", "file": "\\u0000", "steps": [1]}]}'),
        ("report.json", '{"frames": [{"name": "x", "file": "' + "a" * 5000 + '", "steps": [1]}]}'),
        ("report.json", '{"frames": [{"name": "x", "file": "../x.png", "steps": [1]}]}'),
        ("metrics.jsonl", '{"stage": "x", "step": 1, "loss": 1e999}\n'),
        ("metrics.jsonl", '{"stage": "x", "step": -1}\n'),
        ("metrics.jsonl", '{"stage": ["x"], "step": 1}\n'),
        ("metrics.jsonl", "\udcff\n"),
    ],
)
def test_a_report_of_damaged_files(traceward, tmp_path, name, content):
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    code, err = traceward("report", tmp_path)
    assert code == 2 and err.startswith(f"traceward: {tmp_path}/{name}") and err.count("\n") == 1, err


def test_a_report_of_a_run_in_progress_waits_for_nobody(traceward, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/report.json").write_text("{}")
    with exclusive(tmp_path / "run"):
        code, err = traceward("report", tmp_path / "run")
    assert code == 2 and f"in use by process {os.getpid()}" in err
    assert traceward("report", tmp_path / "run")[0] == 0


# ------------------------------------------------------------------------------------ files of stages


def test_damaged_arrays_are_drawn_again(tmp_path):
    """Every cut and many flipped bits: the arrays of the file, or a warning and None."""
    folder, rng = RunFolder(tmp_path, 0), np.random.default_rng(0)
    arrays = {"tokens": np.arange(24, dtype=np.uint16).reshape(2, 3, 4), "ended": np.ones((2, 3), bool)}
    wanted = {"tokens": jax.ShapeDtypeStruct((2, 3, -1), np.int64), "ended": jax.ShapeDtypeStruct((2, 3), np.bool_)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    whole = (tmp_path / "x.npz").read_bytes()
    read = folder.read_arrays("x.npz", wanted)
    assert read is not None and all((read[name] == arrays[name]).all() for name in arrays)
    cuts = [whole[: rng.integers(len(whole))] for _ in range(100)]
    flips = []
    for _ in range(400):
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        flips.append(bytes(content))
    for content in [*cuts, *flips, b"", b"PK", b"\x80\x04K\x01."]:
        (tmp_path / "x.npz").write_bytes(content)
        read = folder.read_arrays("x.npz", wanted)
        assert read is None or all((read[name] == arrays[name]).all() for name in arrays)
    np.savez(tmp_path / "x.npz", tokens=np.array([object()]), ended=arrays["ended"])
    assert folder.read_arrays("x.npz", wanted) is None, "no pickle is read"
    np.savez(tmp_path / "x.npz", **{**arrays, "ended": np.ones((2, 4), bool)})
    assert folder.read_arrays("x.npz", wanted) is None


@pytest.mark.parametrize(
    "content", ["", "[", "[1]", '[{"name": "x"}]', '[{"name": "x", "value": NaN}]', "\udcff", "{}"]
)
def test_a_damaged_stage_file_is_named(tmp_path, capsys, content):
    folder = RunFolder(tmp_path, 0)
    assert folder.read_stage("search.json", Search) is None and capsys.readouterr().err == ""
    folder.write_json("search.json", {"rows": [{"name": "x", "value": 1.0, "low": float("nan")}]})
    assert folder.read_stage("search.json", Search) == {"rows": [{"name": "x", "value": 1.0, "low": None}]}
    (tmp_path / "search.json").write_bytes(content.encode(errors="surrogateescape"))
    assert folder.read_stage("search.json", Search) is None
    err = capsys.readouterr().err
    assert err.startswith(f"warning: {tmp_path}/search.json") and "; this part of the run is computed again" in err
