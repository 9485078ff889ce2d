"""Options: every field of every config with hostile values, and command lines of every command."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest import mock

import configs
from experiments.cli import main as traceward
from experiments.commands.run import load_config, override
from experiments.core.data_folder import VARIABLE
from experiments.core.kinds import kinds_of_run
from irl.text.tokenize import number_tokenizer
from reward_models.folders.manifest import Provenance
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from tests.fuzz import mutate
from tests.fuzz.cases import Case, Target
from tests.fuzz.folders import SMALL, save_ours
from tests.fuzz.rows import CANDIDATES, ROWS

NAMES = sorted(file.stem for file in Path(configs.__path__[0]).glob("*.py") if file.stem != "__init__")
NO_NUMBER = ("nan", "inf", "-inf", "1e999", "abc", "", "0x1", "1_0_x", "٣a", "None ", "[1]")
NUMBERS = (
    "-1",
    "0",
    "1",
    "-0",
    "2",
    "0.5",
    "-0.5",
    "1e-9",
    "1e9",
    "1e308",
    "9" * 30,
    "9" * 5000,
    "-" + "9" * 30,
    "2.0",
)
TEXTS = (
    "None",
    "none",
    "True",
    "false",
    "a" * 5000,
    "../x",
    "/",
    "-",
    "--",
    "--seed",
    "@x",
    "{}",
    "a,b",
    " ",
    "é",
)


class Field(NamedTuple):
    """A field of a config by its dotted name."""

    name: str
    value: Any


def _fields(config: Any, prefix: str = "") -> Iterator[Field]:
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), prefix + item.name
        yield Field(name, value)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{name}.")
        elif isinstance(value, tuple):
            for index, part in enumerate(value):
                if dataclasses.is_dataclass(part):
                    yield from _fields(part, f"{name}.{index}.")


def _prepare_fields(folder: Path) -> Mapping[str, tuple[Any, list[Field]]]:
    loaded = {name: load_config(name) for name in NAMES}
    return {name: (config, list(_fields(config))) for name, config in loaded.items()}


def _draw_field(rng: Random, prepared: Mapping[str, tuple[Any, list[Field]]], folder: Path) -> Case:
    """`--a.b VALUE` for one or two fields of a config. What is no number must be refused where a number is meant."""
    config, fields = prepared[rng.choice(NAMES)]
    given: list[str] = []
    names: list[str] = []
    wrong = False
    for field in rng.sample(fields, rng.choice((1, 1, 1, 2))):
        value = rng.choice(rng.choice((NO_NUMBER, NUMBERS, TEXTS)))
        is_number = type(field.value) in (int, float)
        wrong = wrong or (is_number and value in NO_NUMBER)
        name = field.name if rng.random() < 0.9 else rng.choice((field.name.replace("_", "-"), field.name + "x"))
        given += [f"--{name}={value}"] if rng.random() < 0.5 else [f"--{name}", value]
        names += [field.name.rsplit(".")[-1], name, *([value] if value.strip("- ") else [f"option {value}"])]
    wrong = wrong and not any(argument.endswith("--help") for argument in given)
    return Case(lambda: override(config, given), tuple(names), wrong, f"{config.title!r} {' '.join(given)[:200]}")


# ------------------------------------------------------------------------------------------------- commands


def _prepare_commands(folder: Path) -> Path:
    folder.mkdir(parents=True)
    network = SoftAdvantageConfig(decoder=SMALL)
    save_ours(folder / "model", network, network.make().spec, number_tokenizer(), Provenance(environment="Countdown"))
    rows = "".join(json.dumps(row) + "\n" for row in CANDIDATES[:1])
    (folder / "candidates.jsonl").write_text(rows)
    (folder / "rows.jsonl").write_text(json.dumps(ROWS["completion"][0]) + "\n")
    return folder


OPTIONS = {
    "score": tuple(
        "model input candidates output format date label step-tokens step-marker dtype base overwrite strict".split()
    ),
    "rerank": ("model", "candidates", "output"),
    "evaluate": ("model", "candidates"),
    "run": ("output", "overwrite", "seed"),
    "report": ("help",),
}
VALUES = (*NO_NUMBER, *NUMBERS[:6], "9" * 30, *TEXTS)
PATHS = (
    "",
    ".",
    "/",
    "/dev/null/x",
    "no/such",
    "x" * 300,
    "model",
    "rows.jsonl",
    "/proc/version",
    "a\nb",
    "~",
    "-",
)


def _draw_command(rng: Random, prepared: Path, folder: Path) -> Case:
    """A command line with one to three hostile options, in a folder of its own. Trainings do not start."""
    prepared = shutil.copytree(prepared, folder / "files")
    command = rng.choice(("score", "score", "score", "rerank", "evaluate", "run", "report"))
    base = _base(command, prepared, folder, rng)
    options, attacked = list(base), list(base[0]) if command == "report" else []
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = (
            rng.choice(OPTIONS[command]) if rng.random() < 0.9 else rng.choice(("x", "sed", "modle", "", "-", "help"))
        )
        value = _value(rng, name, prepared)
        kind = rng.random()
        attacked += [name, value]
        if kind < 0.1 and options:
            attacked += [part.removeprefix("--") for part in options.pop(rng.randrange(len(options)))]
        elif kind < 0.5:
            options = [pair for pair in options if pair[0] != f"--{name}"] + [(f"--{name}", value)]
        elif kind < 0.9:
            options = [pair for pair in options if pair[0] != f"--{name}"] + [(f"--{name}={value}",)]
        else:
            options.insert(rng.randrange(len(options) + 1), (value,))
    arguments = [command, *(part for pair in options for part in pair)]
    places = (
        "usage",
        "option",
        f"{prepared / 'rows.jsonl'}: none of its 1 candidates",  # of another domain than the model's
        f"no such file; set {VARIABLE}",  # a config whose data are absent
        *map(repr, attacked),
        *(part if part.strip("-. ") else f"{part.strip() or '.'}: " for part in attacked),
    )
    return Case(lambda: _command(arguments, prepared), places, what=" ".join(arguments)[:300])


def _base(command: str, prepared: Path, folder: Path, rng: Random) -> list[tuple[str, ...]]:
    model = ("--model", str(prepared / "model"))
    match command:
        case "score":
            return [model, ("--input", str(prepared / "rows.jsonl")), ("--output", str(folder / "out.jsonl"))]
        case "rerank" | "evaluate":
            return [model, ("--candidates", str(prepared / "candidates.jsonl"))]
        case "run":
            return [(rng.choice(NAMES),), ("--output", str(folder / "run"))]
    return [(rng.choice((str(folder), str(prepared), str(prepared / "model"), "no")),)]


def _value(rng: Random, name: str, prepared: Path) -> str:
    if name in ("model", "input", "candidates", "output", "base"):
        return rng.choice((*PATHS, *(str(prepared / part) for part in ("model", "model/config.json", "rows.jsonl"))))
    usual = {"format": ("gsm8k", "completion", "x"), "date": ("2026-01-01", "0000-00-00", "9999-12-31", "1/1/26")}
    usual |= {
        "dtype": ("float32", "bfloat16", "float16"),
        "step-tokens": ("+,-", ",", "+,+", "+"),
        "label": ("0", "-1", "99"),
    }
    return rng.choice(usual[name]) if name in usual and rng.random() < 0.5 else rng.choice(VALUES)


def _command(arguments: list[str], folder: Path) -> None:
    """A command, from a folder of its own, with nothing to train."""
    with contextlib.ExitStack() as patches:
        patches.enter_context(contextlib.chdir(folder))
        for kind in kinds_of_run():
            patches.enter_context(mock.patch.object(kind, "run", lambda config, folder, command: folder))
        traceward(arguments)


# -------------------------------------------------------------------------------------------------- configs


def _prepare_configs(folder: Path) -> Mapping[str, bytes]:
    """The config.json of every config, as a run writes it."""
    folder.mkdir(parents=True)
    for name in NAMES:
        with contextlib.suppress(SystemExit), contextlib.redirect_stderr(None):
            _command(["run", name, "--output", str(folder / name)], folder)
    return {file.parent.name: file.read_bytes() for file in sorted(folder.glob("*/config.json"))}


PROGRAMS = (
    "raise {error}",
    "def f(): raise {error}\nf()",
    "import sys\nsys.exit({value})",
    "raise SystemExit({value})",
    "config = {value}",
    "from configs.smoke import config as c\nfrom dataclasses import replace\nconfig = replace(c, seed={value})",
    "from configs.smoke import config as c\nfrom dataclasses import replace\nconfig = replace(c, policy={value})",
    "from configs.smoke import config as c\nfrom dataclasses import replace\nconfig = replace(c, nosuch={value})",
    "from configs.smoke import nothing",
    "import no_such_module_anywhere",
    "from . import x",
    "def f(): return f()\nf()",
    "config = config",
    "class E(BaseException):\n    def __str__(self): raise {error}\nraise E",
    "x = '",
    "\tx = 1",
    "config = 1 /0",
    "open('no such file')",
    "assert False, {value}",
    "from experiments.traces.experiment import Experiment\nconfig = Experiment(title={value})",
    "from experiments.traces.experiment import Experiment\nconfig = Experiment",
    "x = (" + "(" * 300 + ")" * 301,
    "x = " + "9" * 5000,
    "yield",
    "return 1",
    "",
    "# coding: nonsense\nconfig = 1",
)
ERRORS = (
    "ValueError('a\\nb')",
    "KeyError('k')",
    "RuntimeError()",
    "OSError(2, 'x')",
    "BaseException('b')",
    "StopIteration",
)
ERRORS = (
    *ERRORS,
    "MemoryError",
    "RecursionError('r')",
    "UnicodeDecodeError('u', b'', 0, 1, 'r')",
    "Exception",
    "EOFError",
)
LITERALS = ("None", "-1", "0", "'x'", "10**30", "float('nan')", "[]", "{}", "object()", "2.5", "True", "()", "b'x'")


def _draw_config(rng: Random, prepared: Mapping[str, bytes], folder: Path) -> Case:
    """A damaged config.json, or a config.py that fails in some way."""
    if rng.random() < 0.75:
        name, path = rng.choice(list(prepared)), folder / "config.json"
        names = ["class", "title", "seed", "steps", "Countdown", "AdamW"]
        path.write_bytes(mutate.json_file(rng, prepared[name], names))
        what = f"config.json of {name}"
    else:
        program = rng.choice(PROGRAMS).replace("{error}", rng.choice(ERRORS)).replace("{value}", rng.choice(LITERALS))
        path, what = folder / "mine.py", program[:200]
        path.write_text(program, encoding="utf-8")
        if rng.random() < 0.05:
            path.write_bytes(b"\xff\xfe" + program.encode())
    return Case(lambda: load_config(str(path)), (str(path),), what=what)


TARGETS = (
    Target("fields", 8, _prepare_fields, _draw_field),
    Target("command lines", 3, _prepare_commands, _draw_command),
    Target("configs", 10, _prepare_configs, _draw_config),
)
