"""A launch of several processes is refused by one line; a single process of a launcher is not."""

import pytest

from experiments.cli import main
from experiments.core.processes import WORLD_SIZES, require_one_process
from irl.types import InputError


@pytest.mark.parametrize("name", WORLD_SIZES)
@pytest.mark.parametrize("size", ["2", "x2"])
def test_several_processes(name, size):
    with pytest.raises(InputError, match=f"environment {name}={size}: a run of several processes is not supported"):
        require_one_process({name: size})


def test_several_hosts():
    with pytest.raises(InputError, match="TPU_WORKER_HOSTNAMES=a,b: a run of several processes is not supported"):
        require_one_process({"TPU_WORKER_HOSTNAMES": "a,b"})


@pytest.mark.parametrize("size", ["", "0", "1", " 1 "])
def test_one_process(size):
    """A size of one, or none, is not refused: no exception."""
    require_one_process({name: size for name in WORLD_SIZES} | {"TPU_WORKER_HOSTNAMES": "localhost"})


def test_run(monkeypatch, capsys, tmp_path):
    """Under srun with two tasks: exit code 2 before anything is written."""
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(SystemExit) as stop:
        main(["run", "smoke", "--output", str(tmp_path / "run")])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.startswith("traceward: environment SLURM_STEP_NUM_TASKS=2:")
    assert len(err.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_run_whose_config_joins_other_processes(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    with pytest.raises(SystemExit) as stop:
        main(["run", "smoke", "--output", str(tmp_path / "run")])
    assert stop.value.code == 2 and "2 JAX processes" in capsys.readouterr().err and not (tmp_path / "run").exists()
