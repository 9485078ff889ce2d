"""`traceward run`: find a config, apply overrides, make or resume the run folder, run."""

import difflib
import importlib
import importlib.util
import json
import reprlib
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import fields, is_dataclass
from functools import partial
from importlib.abc import Loader
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import tyro

import configs
from experiments.core.compilation_cache import keep_compiled_programs
from experiments.core.data_folder import DATA, require_data
from experiments.core.exchange import exchange
from experiments.core.kinds import Run, import_offered, is_offered, kinds_of_run
from experiments.core.locks import exclusive
from experiments.core.option_errors import naming_option, unreadable_option
from experiments.core.outputs import check_output, working_in
from experiments.core.processes import require_one_process
from irl.data.json_lines import why_unwritable
from irl.types import InputError
from reward_models.config_json import UnknownClass, decode, encode
from reward_models.records import read_json
from reward_models.registry import REGISTERED, check_registered, defined_in, forget

HELP = """usage: traceward run CONFIG [--output FOLDER] [--overwrite] [--seed N] [--a.b value ...]

CONFIG     a name in configs/ (quickstart, smoke, ...), a .py file with `config = ...`, or a run's config.json
--output   the run folder (default runs/NAME); an existing run of the same config is resumed
--overwrite  delete the run in the folder and start anew
--a.b value  any field of the config; `traceward run CONFIG --help` lists them all
--a.b CLASS  another class for a part of the config, in kebab-case: --reward.critic airl; a name that does not
           exist lists those that do. Values of its fields may follow: --reward.critic.learning-rate 1e-4
"""
DEFINED_IN = "defined in"
"""Key of a run's config.json: the .py config for each class that is not Traceward's."""
_CONFIG_FILE = "config file "
"""How the names of the modules of .py configs begin."""


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP)
        return 0 if arguments else 2
    require_one_process()
    keep_compiled_programs()
    name, rest = arguments[0], list(arguments[1:])
    overwrite = "--overwrite" in rest
    rest = [argument for argument in rest if argument != "--overwrite"]
    output, rest = _take_option(rest, "--output")
    config = override(load_config(name), rest)
    require_data(config)
    import jax  # here, so that `traceward run --help` does not wait for it

    if jax.process_count() > 1:  # a .py config has called jax.distributed.initialize
        raise InputError(f"{jax.process_count()} JAX processes: a run of several processes is not supported; start one")
    folder = Path("runs") / Path(name).stem if output is None else Path(output)
    real = check_output(folder if output is None else output)
    with _locked(real):
        _run_in_folder(config, folder, real, overwrite, command_line(arguments), Path(name))
    return 0


def _run_in_folder(config: Run, folder: Path, real: Path, overwrite: bool, command: str, source: Path) -> None:
    """Run in a folder that is locked, given as the user wrote it and by its real path."""
    with working_in(real):
        new = prepare_folder(real, config, overwrite, source)
    try:
        with working_in(real):
            config.run(folder, command)
    except InputError:
        if new:
            release_folder(real)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, given by its real path; its parent folders are created."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {why_unwritable(error)}, or choose another --output") from None
    with exclusive(folder):
        yield


def command_line(arguments: Sequence[str]) -> str:
    """The command for the report. Bytes of file names that are not UTF-8 are replaced."""
    return shlex.join(("traceward", "run", *arguments)).encode(errors="replace").decode()


def load_config(name: str) -> Run:
    """The config called `name`, in a .py file, or as a finished run wrote it down."""
    path = Path(name)
    if path.suffix == ".json":
        return read_config(path)
    if path.suffix == ".py":
        if not path.is_file():
            raise InputError(f"{path}: no such config file")
        return _run(_module(path).get("config"), path)
    known = sorted(p.stem for p in Path(configs.__path__[0]).glob("*.py") if p.stem != "__init__")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"no config {name!r} in configs/; {advice}there are {', '.join(known)}")
    return importlib.import_module(f"configs.{name}").config


def _module(path: Path) -> dict[str, Any]:
    """What a config file defines. Its folder is searched for modules that it imports, after all other places.

    Its classes replace those of a config file that was loaded before.
    """
    import_offered()
    forget(lambda module: module.startswith(_CONFIG_FILE))
    name = f"{_CONFIG_FILE}{path.absolute()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where annotations written as strings are looked up
    if (folder := str(path.absolute().parent)) not in sys.path:
        sys.path.append(folder)
    _execute(path, spec.loader, module)
    return vars(module)


def _execute(path: Path, loader: Loader, module: ModuleType) -> None:
    """Execute a config file. Whatever it raises, `SystemExit` included, becomes an InputError with file and line."""
    try:
        loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the file is a program of the user: it can also call exit()
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path.absolute())]
        line = error.lineno if isinstance(error, SyntaxError) and not lines else next(iter(lines[-1:]), None)
        described = str(error) if isinstance(error, InputError) else traceback.format_exception_only(error)[-1]
        problem = " ".join(described.split())
        raise InputError(f"{path}{f', line {line}' if line else ''}: {problem[:500]}") from None


def read_config(path: Path) -> Run:
    """A config.json as a run writes it."""
    import_offered()
    written = _renamed(read_json(path))
    files = written.pop(DEFINED_IN, {}) if isinstance(written, dict) else {}
    try:
        return _run(decode(written, REGISTERED, f"{path}: config"), path)
    except UnknownClass as error:
        file = files.get(error.name) if isinstance(files, dict) and isinstance(error.name, str) else None
        source = f"the .py config {file}" if isinstance(file, str) else "the .py config that defines it"
        raise InputError(f"{error}; pass {source} in the place of {path.name}") from None


def _run(config: Any, path: Path) -> Run:
    if not isinstance(config, Run):
        kinds = " or ".join(sorted(kind.__name__ for kind in kinds_of_run()))
        raise InputError(f"{path}: expected {kinds} as `config`, found {type(config).__name__}")
    for kind in _classes(config):
        check_registered(kind)
    return config


def _classes(value: Any) -> set[type]:
    """The classes that a config is built of."""
    if isinstance(value, tuple):
        return {kind for item in value for kind in _classes(item)}
    if not is_dataclass(value):
        return set()
    return {type(value)}.union(*(_classes(getattr(value, item.name)) for item in fields(value)))


def override(config: Run, arguments: Sequence[str]) -> Run:
    """The config with dotted overrides; a typo is answered with the nearest valid name."""
    if not arguments:
        return config
    config, arguments = exchange(config, arguments)
    names = sorted(_dotted(config))
    for argument in arguments:
        if argument.startswith("--") and argument not in ("--help",):
            given = argument.split("=")[0].removeprefix("--").replace("-", "_").removeprefix("no_")
            if given not in {n.replace("-", "_") for n in names} and given.rsplit(".no_")[0] not in names:
                near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
                advice = f"did you mean --{' or --'.join(near)}?" if near else "--help lists the fields"
                raise InputError(f"unknown option {argument}: {advice}")
    try:
        return _parse(config, arguments)
    except InputError as error:
        raise naming_option(error, arguments, partial(_parse, config)) from None


def _parse(config: Run, arguments: Sequence[str]) -> Run:
    errors = StringIO()
    try:
        with redirect_stderr(errors):
            kept = (tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff)
            return tyro.cli(type(config), default=config, args=list(arguments), config=kept, use_underscores=True)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise unreadable_option(errors.getvalue(), arguments) from None


def _dotted(value: Any, prefix: str = "") -> list[str]:
    names = []
    for item in fields(value):
        inner = getattr(value, item.name)
        names.append(prefix + item.name)
        if is_dataclass(inner):
            names += _dotted(inner, f"{prefix}{item.name}.")
        elif isinstance(inner, tuple) and hasattr(inner, "_fields"):
            names += [f"{prefix}{item.name}.{name}" for name in inner._fields]
        elif isinstance(inner, tuple):
            parts = [(i, part) for i, part in enumerate(inner) if is_dataclass(part)]
            names += [name for i, part in parts for name in _dotted(part, f"{prefix}{item.name}.{i}.")]
    return names


def _take_option(arguments: list[str], name: str) -> tuple[str | None, list[str]]:
    for at, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}="), arguments[:at] + arguments[at + 1 :]
        if argument == name:
            if at + 1 >= len(arguments):
                raise InputError(f"{name} needs a value")
            return arguments[at + 1], arguments[:at] + arguments[at + 2 :]
    return None, arguments


def prepare_folder(folder: Path, config: Run, overwrite: bool, source: Path | None = None) -> bool:
    """Create the folder and write config.json, or check that it has the same one; whether the run is new.

    `source` is the file of the config; config.json names it for classes that are not Traceward's.
    """
    written, wanted = folder / "config.json", encode(config, "config")
    new = written.with_suffix(".json.new")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder by --output")
    before = _run_in(written)
    held = folder.exists() and {*folder.iterdir()} - {new}  # `new` is of a run that was killed as it began
    if overwrite and held:
        if before is None:
            raise InputError(f"{folder}: holds no run (no config.json of one); it is not removed. Take another folder")
        print(f"{folder}: what it held is removed (--overwrite)", file=sys.stderr)
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)  # at once: a kill leaves no half of a run
        shutil.rmtree(old)
        before, held = None, False
    if before is not None:
        different = _first_difference(before, wanted, "config")
        if different is not None:
            advice = "start anew with --overwrite, or take another --output"
            raise InputError(f"{folder}: holds a run of another config ({different}); {advice}")
        print(f"{folder}: going on with the run that is there", file=sys.stderr)
        return False
    if held:
        raise InputError(f"{folder}: is not empty and holds no run; take another --output")
    folder.mkdir(parents=True, exist_ok=True)
    new.write_text(json.dumps(wanted | _sources(config, source), indent=1), encoding="utf-8")
    new.rename(written)
    return True


def _sources(config: Run, source: Path | None) -> dict[str, dict[str, str]]:
    """For config.json: the file to pass for each class that is not Traceward's; nothing where all are."""
    own = sorted((kind for kind in _classes(config) if not is_offered(kind)), key=lambda kind: kind.__name__)
    given = source is not None and source.suffix == ".py"
    files = {kind.__name__: str(source.absolute()) if given and source else defined_in(kind) for kind in own}
    return {DEFINED_IN: files} if files else {}


def release_folder(folder: Path) -> None:
    """Remove the folder of a new run that was refused before it produced anything."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}
    if files <= {Path(name) for name in ("config.json", "log.txt", "experiment.json", "estimate.json", DATA)}:
        shutil.rmtree(folder)


def _run_in(config: Path) -> dict[str, Any] | None:
    """The config.json of a run; None where there is none, or that of a model.

    Raises InputError for a file that cannot be read.
    """
    try:
        found = _renamed(read_json(config)) if config.exists() else None
    except InputError as error:
        raise InputError(f"{error}; restore it, delete it, or take another --output") from None
    if not isinstance(found, dict) or found.get("class") not in {kind.__name__ for kind in kinds_of_run()}:
        return None
    found.pop(DEFINED_IN, None)
    return found


def _renamed(config: Any) -> Any:
    """A config.json of an earlier version with the current names of its fields and classes."""
    if isinstance(config, dict) and config.get("class") == "Experiment" and "environment" in config:
        config["domain"] = config.pop("environment")
    stages = [stage for stage in config.values() if isinstance(stage, dict)] if isinstance(config, dict) else []
    for stage in stages:
        if stage.get("class") in ("FitReward", "ImprovePolicy") and "looks" in stage and "evaluations" not in stage:
            stage["evaluations"] = stage.pop("looks")
        if stage.get("class") == "BeamSearch" and "settings" in stage:
            stage["guide"] = {**stage.pop("settings"), "class": "StepBeamSearch"}
            stage["class"] = "GuidedSearch"
    return config


def _first_difference(before: Any, now: Any, where: str) -> str | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(k for k in now if k not in before)]:
            found = _first_difference(before.get(key), now.get(key), f"{where}.{key}")
            if found is not None:
                return found
        return None
    return None if before == now else f"{where} was {reprlib.repr(before)}, is {reprlib.repr(now)}"
