"""Tests beside the real imitation, torch and Minari, in the environment `.venv-imitation` that `make test` makes.

imitation pins gymnasium 0.29, the other tests run with 1.x: where there is no imitation these are not collected.
"""

import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small lose by threads, most of all on a busy machine

if importlib.util.find_spec("imitation") is None:
    collect_ignore_glob = ["test_*.py"]
