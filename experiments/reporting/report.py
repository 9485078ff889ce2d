"""A run folder becomes a page: report.json and metrics.jsonl in, report.html and figures/*.png out.

The page is one file that needs nothing else: styles and figures are inside, nothing is fetched, nothing runs.
Every part of report.json is optional and a missing part leaves no trace on the page; a malformed part or a
field that is unknown stops with the file and the field. experiments/reporting/report_records.py is the whole format.
"""

import base64
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import jinja2
from matplotlib.figure import Figure

from experiments.reporting import figures
from experiments.reporting.report_records import ROLES, Metrics, Record, read_metrics, read_report
from irl.types import InputError

STEP_COLOURS = (247, 177, 99), (126, 182, 222)
TEMPLATE = "report.html.jinja"
PNG = b"\x89PNG\r\n\x1a\n"


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


def picture(folder: Path, name: str, where: str) -> str:
    """A PNG of the folder as a data URI: pages fetch nothing. InputError: there is none, or it is no PNG."""
    file = folder / name
    try:
        inside = Path(os.path.realpath(folder)) in Path(os.path.realpath(file)).parents and file.is_file()
    except (OSError, ValueError):  # no path: too long, a null character
        inside = False
    if not inside:
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
    return [best[role] for role in ROLES if role in best]


def turn(curve: Record) -> Record:
    """Where gold is highest, whether its last interval lies below the one there, and whether the proxy ends higher."""
    gold, low, high, proxy = curve["gold"], curve["gold_low"], curve["gold_high"], curve["proxy"]
    peak = max(range(len(gold)), key=gold.__getitem__)
    falls = high[-1] < low[peak] if low and high else None
    place = {"kl": curve["kl"][peak], "gold": gold[peak], "last": peak == len(gold) - 1}
    return place | {"falls": falls, "end": gold[-1], "proxy_rises": proxy[-1] > proxy[peak]}


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
