"""Four virtual CPU devices, and every jaxtyping annotation of our packages checked by beartype."""

import gc
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TRACEWARD_COMPILATION_CACHE", "off")
os.environ.setdefault("TRACEWARD_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
# Compilation dominates the time of most tests. Without most optimisations and without XLA's fusion emitters they take
# about a third less processor time. Processes that tests start inherit both; test_compilation.py compiles as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4 --xla_cpu_use_fusion_emitters=false "
    f"--xla_cpu_parallel_codegen_split_count=1 {os.environ.get('XLA_FLAGS', '')}"
)

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import install_import_hook

from experiments.core.memory import keep_freed_memory

keep_freed_memory()

# As for every type checker, an int will do where a float is wanted.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook(["irl", "reward_models"], CHECKER)

LARGE = 3 * 2**29
"""Bytes of memory of a test process from which programs are forgotten after every module."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets; without it, tests that need it are skipped."""
    folder = Path(os.environ["TRACEWARD_DATA"])
    if not folder.is_dir():
        pytest.skip(f"no data sets: TRACEWARD_DATA is {folder}, which is not a folder")
    return folder


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """Forget the compiled programs of earlier modules once a process is large: JAX keeps every program that it ran.

    A worker that keeps all of them reaches 5 GB. Clearing after every module takes 7% more processor time.
    """
    yield
    if Path("/proc/self/statm").exists():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        if pages * os.sysconf("SC_PAGE_SIZE") > LARGE:
            jax.clear_caches()
            gc.collect()


@pytest.fixture(scope="module")
def shared_programs(tmp_path_factory):
    """A compilation cache for one module, for modules that compile equal programs many times."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0,
    }
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
