"""Where compiled programs are kept, and that a second process finds them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.core.compilation_cache import VARIABLE, cache_folder, instructions

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
from experiments.core.compilation_cache import keep_compiled_programs
keep_compiled_programs()
import jax
from jax._src import monitoring
found = []
monitoring.register_event_listener(lambda name, **_: found.append(name))
jax.jit(lambda x: x + 1)(1.0)
print(sum(name == "/jax/compilation_cache/cache_hits" for name in found))
"""


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_CACHE_HOME": "/caches"}, Path("/caches/traceward/compiled/cpu")),
        ({"XDG_CACHE_HOME": ""}, Path.home() / ".cache/traceward/compiled/cpu"),
        ({VARIABLE: "/here"}, Path("/here/cpu")),
        ({VARIABLE: "off", "XDG_CACHE_HOME": "/caches"}, None),
    ],
)
def test_the_folder(environment, folder):
    assert cache_folder(environment, "cpu") == folder


def test_a_second_process_compiles_nothing(tmp_path):
    def hits(chosen: str) -> tuple[int, str]:
        environment = {**os.environ, VARIABLE: chosen}
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=100)
        return int(done.stdout), done.stderr

    assert [hits(str(tmp_path)), hits(str(tmp_path))] == [(0, ""), (1, "")]
    assert [file.name for file in tmp_path.iterdir()] == [instructions()]
    assert hits("off") == (0, "")
