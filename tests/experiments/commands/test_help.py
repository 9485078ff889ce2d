"""`--help` imports few modules, so that it answers at once: what is imported is counted, not the time."""

import json
import subprocess
import sys

import pytest

from experiments.cli import COMMANDS

SLOW = {"jax", "flax", "optax", "orbax", "grain", "matplotlib", "gymnasium", "tokenizers", "pyarrow"}
LIST = """
import json, sys
from experiments.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported(*arguments):
    done = subprocess.run([sys.executable, "-c", LIST, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1])), done.stdout


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_imports_nothing_slow(command):
    modules, out = imported(*command, "--help")
    assert "usage: traceward" in out and not modules & SLOW


def test_help_of_a_config_imports_no_checkpoints_figures_or_data_pipeline():
    """The classes of a config need JAX; what a run needs besides is imported when it starts."""
    modules, out = imported("run", "smoke", "--help")
    assert "usage: " in out and "jax" in modules and not modules & {"orbax", "grain", "matplotlib"}
