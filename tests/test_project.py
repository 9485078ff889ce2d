"""Promises of the whole project: light imports, no pickle, short files, one version."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("reward_models", "irl", "experiments", "configs")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
MOST_LINES = 400

IMPORT = """
import sys, irl, irl.control, reward_models, experiments, configs
slow = sorted({"jax", "flax", "optax", "orbax", "grain", "matplotlib", "gymnasium", "tokenizers"} & set(sys.modules))
assert not slow, slow
"""


def test_packages_import_nothing_slow():
    """A package is imported in much less than a second: what it imports is counted, not the time."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr


def test_files_of_make_check():
    lines = (ROOT / "tests" / "check.txt").read_text().splitlines()
    files = [line.removeprefix("--deselect=").split("::")[0] for line in lines if not line.startswith("#")]
    assert files and not [file for file in files if not (ROOT / file).exists()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_file(file):
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES, f"more than {MOST_LINES} lines: split it"
    for node in ast.walk(ast.parse(text)):
        assert not modules(node) & PICKLES, f"line {node.lineno}: no pickle; use safetensors, JSON or Orbax"
        assert not allows_pickle(node), f"line {node.lineno}: no pickle inside numpy files either"


def modules(node: ast.AST) -> set[str]:
    """Top-level names of the modules that a node imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) and node.module else set()


def allows_pickle(node: ast.AST) -> bool:
    is_keyword = isinstance(node, ast.keyword) and node.arg == "allow_pickle"
    return is_keyword and not (isinstance(node.value, ast.Constant) and node.value.value is False)


def test_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == "0.1.0"
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    assert all("==" in pin and "/" not in pin for pin in pins), "names and exact versions only"
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    assert not {name.split(">=")[0].lower() for name in wanted} - pinned
