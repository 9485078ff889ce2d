"""A run folder becomes a page: report.json and metrics.jsonl in, report.html and figures/*.png out.

The page is one file that needs nothing else: styles and figures are inside, nothing is fetched, nothing runs.
Every part of report.json is optional and a missing part leaves no trace on the page; a malformed part or a
field that nobody knows stops with the file and the field. `SCHEMA` is the whole format.
"""

import base64
import difflib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments import figures
from irl.evaluation.estimators import bootstrap_interval
from irl.types import InputError

Record = dict[str, Any]
Metrics = dict[str, dict[str, dict[int, float | None]]]
"""Stage, name, step: value."""


class Maybe(NamedTuple):
    """A field that may be absent, null, empty or not finite: then it is None."""

    spec: Any


class Named(NamedTuple):
    """An object that chooses its names itself; all values are of one kind."""

    spec: Any


INTERVAL = {"low": Maybe(float), "high": Maybe(float)}
RESULT = {"name": str, "value": float, **INTERVAL, "information": Maybe(str), "note": Maybe(str)}
BOUNDS = {"low": Maybe([Maybe(float)]), "high": Maybe([Maybe(float)])}
ROLE = ("learned", "baseline", "oracle")
SCORER = {"name": str, "information": Maybe(str), "role": ROLE, "mean": [float], **BOUNDS}
CURVE = {"name": str, "role": Maybe(ROLE), "x": [float], "y": [Maybe(float)], **BOUNDS}
PANEL = {"name": str, "x_label": str, "y_label": str, "series": [CURVE]}
MAP = {"name": str, "cells": [[float]]}
STRIP = {"name": str, "file": str, "steps": [int]}
GOLD = {"gold": [float], "gold_low": Maybe([float]), "gold_high": Maybe([float]), "proxy": [float]}
FINDING = {"mean": Maybe(float), **INTERVAL, "num_prompts": Maybe(int)}
STEP = {"text": str, "score": float}
TRACE = {"text": str, "score": float, "correct": Maybe(bool), "steps": Maybe([STEP])}
EXTREMES = {"best": Maybe([TRACE]), "worst": Maybe([TRACE])}
SCHEMA = {
    "title": Maybe(str),
    "command": Maybe(str),
    "information": Maybe(str),
    "seeds": Maybe([int]),
    "created": Maybe(str),
    "environment": Maybe(str),
    "summary": Maybe([str]),
    "headline": Maybe([RESULT]),
    "test_time": Maybe({"ks": [int], "num_problems": Maybe(int), "series": [SCORER]}),
    "train_time": Maybe([PANEL]),
    "maps": Maybe([{"name": str, "panels": [MAP]}]),
    "frames": Maybe([STRIP]),
    "gold_proxy": Maybe([{"name": str, "kl": [float], **GOLD}]),
    "audit": Maybe([{"name": str, "findings": Named(FINDING), "warnings": Maybe([str])}]),
    "search": Maybe([RESULT]),
    "throughput": Maybe([{"what": str, "tokens_per_second": float, "note": Maybe(str)}]),
    "problems": Maybe([{"id": str, "prompt": str, "share_correct": Maybe(float), **EXTREMES}]),
}
STEP_COLOURS = (247, 177, 99), (126, 182, 222)
TEMPLATE = "report.html.jinja"
PNG = b"\x89PNG\r\n\x1a\n"
KINDS = {str: "a string", float: "a finite number", int: "a whole number", bool: "true or false"}


def write_report(folder: Path) -> Path:
    """Write report.html and figures/*.png from report.json (and metrics.jsonl when present) of a run folder.

    InputError names the file and the field, or the line, that is missing or malformed.
    """
    report, metrics = read_report(folder / "report.json"), read_metrics(folder / "metrics.jsonl")
    (folder / "figures").mkdir(exist_ok=True)
    drawings = {}
    for name, label, figure in draw(report, metrics):
        (folder / "figures" / f"{name}.png").write_bytes(figures.to_png(figure))
        drawings[name] = figures.to_svg(figure, name, label)
    pictures = [picture(folder, strip["file"], f"frames[{i}].file") for i, strip in enumerate(report["frames"] or [])]
    path, given = folder / "report.html", {"report": report, "drawings": drawings, "pictures": pictures}
    path.write_text(_template().render(given), encoding="utf-8")
    return path


def result_row(name: str, values: ArrayLike, information: str, note: str = "") -> Record:
    """A row of the headline: the mean of [seeds] or [seeds, problems], and its interval, which a single one has not."""
    mean, low, high = bootstrap_interval(np.asarray(values, np.float64))
    bounds = {"low": low, "high": high} if np.size(values) > 1 else {"low": None, "high": None}
    return {"name": name, "value": mean, **bounds, "information": information, "note": note}


def picture(folder: Path, name: str, where: str) -> str:
    """A PNG of the folder as a data URI: pages fetch nothing. InputError: there is none, or it is no PNG."""
    file = folder / name
    if folder.resolve() not in file.resolve().parents or not file.is_file():
        raise InputError(f"{folder / 'report.json'}: {where}: expected a picture inside the folder, got {name!r}")
    content = file.read_bytes()
    if not content.startswith(PNG):
        raise InputError(f"{file}: {where}: expected a PNG, got {content[:8]!r}")
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def draw(report: Record, metrics: Metrics) -> Iterator[tuple[str, str, Figure]]:
    """Every figure there is data for: name, label, figure."""
    if test := report["test_time"]:
        yield "test_time", "accuracy against N", figures.accuracy_against_n(test["ks"], test["series"])
    for i, panel in enumerate(report["train_time"] or []):
        figure = figures.against_training(panel["x_label"], panel["y_label"], panel["series"])
        yield f"train_time_{i}", panel["name"], figure
    for i, map_ in enumerate(report["maps"] or []):
        yield f"map_{i}", map_["name"], figures.heat_maps(map_["panels"])
    if curves := report["gold_proxy"]:
        yield "gold_proxy", "gold and proxy against KL", figures.gold_and_proxy(curves)
    if curves := losses(metrics):
        yield "training", "training curves", figures.small_multiples(curves)


def read_report(path: Path) -> Record:
    """report.json, checked against SCHEMA; absent fields are None."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; a run writes it when it ends")
    report = checked(_json(path.read_text(encoding="utf-8"), str(path)), SCHEMA, f"{path}: ")
    for field, values, expected in _aligned(report):
        if values is not None and len(values) != expected:
            raise InputError(f"{path}: {field}: expected {expected} values, got {len(values)}")
    ks = report["test_time"]["ks"] if report["test_time"] else [1]
    if ks[0] < 1 or ks != sorted(set(ks)):
        raise InputError(f"{path}: test_time.ks: expected numbers of samples from 1 upwards, rising, got {ks}")
    return report


def read_metrics(path: Path) -> Metrics:
    """metrics.jsonl by stage, name and step (the last counts if logged twice); empty without a file."""
    metrics: Metrics = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        where = f"{path} line {number}"
        record = checked(_json(line, where), Named(object), f"{where}: ")
        stage = metrics.setdefault(checked(record.pop("stage", None), str, f"{where}: stage"), {})
        step = checked(record.pop("step", None), int, f"{where}: step")
        for name, value in checked(record, Named(Maybe(float)), f"{where}: ").items():
            stage.setdefault(name, {})[step] = value
    return metrics


def checked(value: Any, spec: Any, where: str) -> Any:
    """`value` if it is what `spec` asks for, with None for each absent field; otherwise an InputError.

    A spec is a type, a tuple of allowed words, a list (each item so, at least one), a dict, Maybe or Named.
    """
    match spec:
        case Maybe(inner):
            return None if _absent(value) else checked(value, inner, where)
        case Named(inner):
            _require(isinstance(value, dict), where, "an object", value)
            return {name: checked(item, inner, _field(where, name)) for name, item in value.items()}
        case dict():
            _require(isinstance(value, dict), where, "an object", value)
            _know(value, spec, where)
            return {name: checked(value.get(name), sub, _field(where, name)) for name, sub in spec.items()}
        case [inner] if isinstance(spec, list):
            _require(isinstance(value, list) and value, where, "a list with at least one item", value)
            return [checked(item, inner, f"{where}[{index}]") for index, item in enumerate(value)]
        case tuple():
            _require(value in spec, where, "one of " + ", ".join(spec), value)
        case _:
            _require(_is(value, spec), where, KINDS.get(spec, ""), value)
    return value


def _absent(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, float) and not math.isfinite(value))


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind or kind is object


def _field(where: str, name: str) -> str:
    return f"{where}{name}" if where.endswith(": ") else f"{where}.{name}"


def _require(condition: Any, where: str, expected: str, value: Any) -> None:
    if not condition:
        got = "nothing" if value is None else f"{value!r:.60}"
        raise InputError(f"{where.removesuffix(': ')}: expected {expected}, got {got}")


def _know(value: Record, spec: Record, where: str) -> None:
    for name in value.keys() - spec.keys():
        near = difflib.get_close_matches(name, spec, 1) or sorted(spec)
        raise InputError(f"{_field(where, name)}: unknown field; did you mean {' or '.join(near)}?")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON: {error}") from error


def _aligned(report: Record) -> Iterator[tuple[str, Sequence | None, int]]:
    """Lists that must be as long as another: field, list, expected length."""
    test = report["test_time"] or {"ks": [], "series": []}
    for i, scorer in enumerate(test["series"]):
        for name in ("mean", "low", "high"):
            yield f"test_time.series[{i}].{name}", scorer[name], len(test["ks"])
    for i, panel in enumerate(report["train_time"] or []):
        for j, curve in enumerate(panel["series"]):
            for name in ("y", "low", "high"):
                yield f"train_time[{i}].series[{j}].{name}", curve[name], len(curve["x"])
    for i, map_ in enumerate(report["maps"] or []):
        for j, panel in enumerate(map_["panels"]):
            for k, row in enumerate(panel["cells"]):
                yield f"maps[{i}].panels[{j}].cells[{k}]", row, len(panel["cells"][0])
    for i, curve in enumerate(report["gold_proxy"] or []):
        for name in GOLD:
            yield f"gold_proxy[{i}].{name}", curve[name], len(curve["kl"])


def losses(metrics: Metrics) -> dict[str, figures.Points]:
    """The curves to draw as small multiples: the losses of each stage, or all it logged if it has none."""
    curves: dict[str, figures.Points] = {}
    for stage, logged in metrics.items():
        named = [name for name in logged if "loss" in name.lower()] or list(logged)
        for name in named:
            steps = sorted(logged[name])
            curves[f"{stage}: {name}"] = steps, [logged[name][step] for step in steps]
    return curves


def leaders(series: Sequence[Record]) -> list[Record]:
    """Of each role the scorer that is best at the largest N, with what it reaches there."""
    best: dict[str, Record] = {}
    for scorer in series:
        end = {name: scorer[name] and scorer[name][-1] for name in ("mean", "low", "high")}
        if scorer["role"] not in best or end["mean"] > best[scorer["role"]]["mean"]:
            best[scorer["role"]] = {**scorer, **end}
    return [best[role] for role in ROLE if role in best]


def turn(curve: Record) -> Record:
    """Where gold is highest, and whether its last interval lies below the one there."""
    gold, low, high = curve["gold"], curve["gold_low"], curve["gold_high"]
    peak = max(range(len(gold)), key=gold.__getitem__)
    falls = high[-1] < low[peak] if low and high else None
    return {"kl": curve["kl"][peak], "gold": gold[peak], "last": peak == len(gold) - 1, "falls": falls}


def scale(problem: Record) -> Record | None:
    """Lowest, central (median) and highest step score shown for a problem, and the reach of its colours.

    Rewards are known up to a constant per prompt, so colours compare steps within one problem only.
    """
    traces = [*(problem["best"] or []), *(problem["worst"] or [])]
    scores = [step["score"] for trace in traces for step in trace["steps"] or []]
    if not scores:
        return None
    centre = median(scores)
    reach = max(abs(score - centre) for score in scores) or 1.0
    return {"low": centre - reach, "centre": centre, "high": centre + reach, "reach": reach}


def shade(score: float, scale: Record) -> str:
    """Colour of a step: orange below the centre, white at it, blue above; pale enough for dark text."""
    amount = (score - scale["centre"]) / scale["reach"]
    end = STEP_COLOURS[amount > 0]
    return "#" + "".join(f"{round(255 + (part - 255) * abs(amount)):02x}" for part in end)


def number(value: float | None) -> str:
    """Three decimals for small numbers, separated thousands for large ones, a dash for none."""
    if value is None:
        return "–"
    whole = isinstance(value, int) or (abs(value) >= 10 and value == int(value))
    small = 0 < abs(value) < 0.0005
    form = ",.0f" if whole or abs(value) >= 1000 else ".1e" if small else ".3f" if abs(value) < 10 else ".1f"
    return format(value, form).replace("-", "−")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, leaders=leaders, turn=turn, scale=scale, shade=shade)
    return environment.get_template(TEMPLATE)
