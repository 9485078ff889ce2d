"""What comes with irl.control: JAX and little more."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ABSENT = "torch imitation transformers matplotlib pandas gymnax brax minari pyarrow datasets tyro pygame".split()
IMPORT = f"""
import importlib, pkgutil, sys, time
start = time.perf_counter()
import irl.control
package = time.perf_counter() - start
import jax
import numpy, optax, gymnasium
start = time.perf_counter()
for module in pkgutil.walk_packages(irl.control.__path__, "irl.control."):
    importlib.import_module(module.name)
modules = time.perf_counter() - start
print(package, modules, *sorted({{*{ABSENT!r}}} & {{name.split(".")[0] for name in sys.modules}}))
"""


def test_all_of_it_is_imported_without_torch_pandas_and_the_like():
    """The package takes under a second, all its modules beside JAX, optax and Gymnasium less than five."""
    command = [sys.executable, "-c", IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    package, modules, *found = done.stdout.split()
    assert not found
    assert float(package) < 1 and float(modules) < 5
