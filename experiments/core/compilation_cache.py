"""Compiled programs are kept in a folder of the user's, so that the next process need not compile them again.

TRACEWARD_COMPILATION_CACHE names another folder, or is `off`. What lies there may be thrown away at any time. Programs
for a CPU hold its instructions, which JAX's key of a program does not name: every kind of CPU has a folder of its own.
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "TRACEWARD_COMPILATION_CACHE"
CPUINFO = Path("/proc/cpuinfo")


def keep_compiled_programs() -> None:
    """For this process; a cache that JAX was already told of stays."""
    import jax  # here, so that `traceward run --help` does not wait for it

    folder = cache_folder(os.environ, instructions())
    if folder is not None and jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cache_folder(environment: Mapping[str, str], kind: str) -> Path | None:
    """Where programs of a kind of CPU are kept, or None."""
    chosen = environment.get(VARIABLE, "")
    if chosen == "off":
        return None
    caches = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(chosen) if chosen else caches / "traceward" / "compiled") / kind


def instructions() -> str:
    """A name of the CPU's set of instructions."""
    known = {platform.machine(), platform.processor()}
    if CPUINFO.exists():
        known |= {line for line in CPUINFO.read_text().splitlines() if line.startswith(("flags", "Features"))}
    return f"{platform.machine()}-{hashlib.sha256(' '.join(sorted(known)).encode()).hexdigest()[:12]}"
