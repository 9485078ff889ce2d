"""Launches of several processes are refused: every process would train on the same rows."""

import os
from collections.abc import Mapping

from irl.types import InputError

WORLD_SIZES = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""The number of processes of a launch, as JAX, SLURM (srun), Open MPI and other MPI launchers set it."""
_HOSTS = "TPU_WORKER_HOSTNAMES"


def require_one_process(environ: Mapping[str, str] = os.environ) -> None:
    """InputError where the environment describes a launch of several processes."""
    given = {name: environ[name].strip() for name in WORLD_SIZES if environ.get(name, "").strip() not in ("", "0", "1")}
    if "," in environ.get(_HOSTS, ""):
        given[_HOSTS] = environ[_HOSTS]
    if given:
        listed = " ".join(f"{name}={value}" for name, value in given.items())
        advice = "start one process, which uses all local devices, for example srun --ntasks 1"
        raise InputError(f"environment {listed}: a run of several processes is not supported; {advice}")
