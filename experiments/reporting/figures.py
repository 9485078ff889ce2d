"""Figures of a report: plain data in, a `Figure` out. Nothing here knows pyplot, a window or a file.

One grammar throughout: what was learned is a thick line, a baseline a thin one, an oracle dashed, an interval
shaded. Colours follow Okabe and Ito, for colour-blind readers; a line carries its name at its end.
"""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

INK, MUTED, RULE = "#1f2933", "#5f6b7a", "#d5dae0"
LEARNED = ("#0072b2", "#d55e00", "#5b3a8e", "#00594c")
BASELINES = ("#d98c00", "#009e73", "#cc79a7", "#56b4e9", "#a39300", "#8a6d3b", "#8c96a3")
MARKERS = "os^Dv<>"
WIDTH = 8.6
SHADE = 0.2
FRONT = 4
MOST_MARKERS = 25
LABEL_POINTS = 12.5
BINS = 60
MOST_CELLS = 12
"""Cells in a row of a map whose numbers can be read."""
HEAT = LinearSegmentedColormap.from_list("heat", ["#f7b163", "#ffffff", "#7eb6de"])

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}

Series = Mapping[str, Any]
Look = Mapping[str, Any]
Interval = tuple[Sequence[float] | np.ndarray | None, Sequence[float] | np.ndarray | None]
Points = tuple[Sequence[float], Sequence[float | None]]


@matplotlib.rc_context(STYLE)
def accuracy_against_n(ks: Sequence[int], series: Sequence[Series]) -> Figure:
    """Accuracy of the chosen candidate against N, the number of samples, for every scorer (log2 axis)."""
    figure, axes = _one_axes(height=4.3)
    axes.set_xscale("log", base=2)
    _name_axes(axes, "N, samples per problem", "accuracy")
    for line, look in zip(series, _looks(series), strict=True):
        _draw(axes, ks, line["mean"], (line["low"], line["high"]), look)
    axes.set(xlim=(ks[0] * 0.93, ks[-1] * 1.08), ylim=(0, 1.02))
    axes.xaxis.set_major_locator(FixedLocator(_doublings(ks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:g}"))
    _label_ends(axes, [(_with_information(line), line["mean"]) for line in series], _looks(series))
    return figure


@matplotlib.rc_context(STYLE)
def against_training(x_label: str, y_label: str, series: Sequence[Series]) -> Figure:
    """What training bought: every series against its own x, with its interval where it has one."""
    figure, axes = _one_axes(height=3.1)
    _name_axes(axes, x_label, y_label)
    for line, look in zip(series, _looks(series), strict=True):
        _draw(axes, line["x"], line["y"], (line["low"], line["high"]), look)
    axes.margins(x=0.015)
    _label_ends(axes, [(line["name"], line["y"]) for line in series], _looks(series))
    return figure


@matplotlib.rc_context(STYLE)
def gold_and_proxy(curves: Sequence[Series]) -> Figure:
    """Gold above proxy against KL, a column per optimiser; a dotted line marks the highest gold."""
    figure = Figure(figsize=(WIDTH, 4.4), layout=ConstrainedLayoutEngine(wspace=0.05))
    ratio = {"height_ratios": (4, 3)}
    grid = figure.subplots(2, len(curves), sharex="col", sharey="row", squeeze=False, gridspec_kw=ratio)
    for (gold, proxy), curve in zip(grid.T, curves, strict=True):
        interval = curve["gold_low"], curve["gold_high"]
        _draw(gold, curve["kl"], curve["gold"], interval, _learned_look(0))
        _draw(proxy, curve["kl"], curve["proxy"], (None, None), {**_learned_look(1), "linewidth": 1.5})
        gold.set_title(curve["name"])
        proxy.set_xlabel("KL from the reference policy (nats)")
        gold.margins(x=0.03, y=0.12)
        _mark_peak(gold, proxy, curve)
    grid[0, 0].set_ylabel("gold reward")
    grid[1, 0].set_ylabel("proxy reward")
    figure.align_ylabels()
    return figure


@matplotlib.rc_context(STYLE)
def heat_maps(panels: Sequence[Series], columns: int = 2) -> Figure:
    """Tables of numbers as coloured cells with the numbers in them, each on its own scale: orange low, blue high."""
    rows = -(-len(panels) // columns)
    cells = [np.asarray(panel["cells"], float) for panel in panels]
    heights = [0.45 + 0.34 * max(len(c) for c in cells[row * columns :][:columns]) for row in range(rows)]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"height_ratios": heights}).ravel()
    for axes, panel, values in zip(grid, panels, cells, strict=False):
        _draw_cells(axes, values)
        axes.set_title(f"{panel['name']}: {_short(values.min(), 3)} to {_short(values.max(), 3)}")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return figure


@matplotlib.rc_context(STYLE)
def small_multiples(curves: Mapping[str, Points], columns: int = 3) -> Figure:
    """A small panel per training curve: the mean of neighbouring steps over the range they span."""
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(WIDTH, 0.3 + 1.65 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, (steps, values)) in zip(grid, curves.items(), strict=False):
        _draw_binned(axes, np.asarray(steps, float), np.asarray(values, float))
        axes.set_title(name)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.margins(x=0.02)
    for axes in grid[len(curves) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(curves) - columns) : len(curves)]:
        axes.set_xlabel("training step")
    return figure


def to_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an <svg> to put inside a page: text stays text, no prolog, no metadata, no style leaks.

    `name` keeps the ids of two figures of a page apart; `label` is what a screen reader says.
    """
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    head, body = re.split(r"(?<=>)", buffer.getvalue().partition("<svg")[2], maxsplit=1)
    body = re.sub(r"<!--.*?-->|<style.*?</style>|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(?<=<g) id="[^"]*"|font-family: [^;"]*;? ?', "", body)
    box = re.findall(r'viewBox="([^"]*)"', head)[0]
    return Markup('<svg role="img" aria-label="{}" viewBox="{}">').format(label, box) + Markup(body)


def to_png(figure: Figure) -> bytes:
    """The figure as a picture of 150 dots per inch."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _one_axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _name_axes(axes: Axes, x: str, y: str) -> None:
    """The y label lies flat on top of its axis, where it is read first."""
    axes.set_xlabel(x)
    axes.set_title(y, fontweight="normal", color=MUTED)


def _looks(series: Sequence[Series]) -> list[Look]:
    """How each line is drawn, by its role; without a role it counts as learned."""
    learned, baseline = count(), count()
    oracle = {"color": INK, "linewidth": 1.1, "linestyle": (0, (5, 3)), "marker": "", "zorder": 2}
    looks = {
        "oracle": lambda: oracle,
        "baseline": lambda: _baseline_look(next(baseline)),
        "learned": lambda: _learned_look(next(learned)),
    }
    return [looks[line.get("role") or "learned"]() for line in series]


def _learned_look(index: int) -> Look:
    color, marker = LEARNED[index % len(LEARNED)], MARKERS[index % len(MARKERS)]
    return {"color": color, "linewidth": 2.6, "marker": marker, "markersize": 5, "zorder": FRONT}


def _baseline_look(index: int) -> Look:
    color, marker = BASELINES[index % len(BASELINES)], MARKERS[(index + 1) % len(MARKERS)]
    return {"color": color, "linewidth": 1.1, "marker": marker, "markersize": 4.2, "zorder": 3}


def _draw(axes: Axes, x: ArrayLike, y: ArrayLike, interval: Interval, look: Look) -> None:
    """A line and, where both of its bounds are known, its shaded interval. None is a gap."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    marker = look["marker"] if len(x) <= MOST_MARKERS else ""
    axes.plot(x, y, **{**look, "marker": marker}, markeredgecolor="white", markeredgewidth=0.6)
    low, high = interval
    if low is not None and high is not None:
        bounds = np.asarray(low, float), np.asarray(high, float)
        alpha = SHADE if look["zorder"] == FRONT else SHADE / 2
        axes.fill_between(x, *bounds, color=look["color"], alpha=alpha, linewidth=0, zorder=1)


def _draw_binned(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Means of at most BINS groups of neighbours, over the range of each group."""
    known = np.isfinite(y)
    groups = np.array_split(np.stack([x, y])[:, known], min(BINS, known.sum()) or 1, axis=1)
    if not known.any():
        return
    x, mean, low, high = np.array([(*g.mean(axis=1), g[1].min(), g[1].max()) for g in groups]).T
    _draw(axes, x, mean, (low, high), {**_learned_look(0), "linewidth": 1.4, "marker": ""})


def _draw_cells(axes: Axes, values: np.ndarray) -> None:
    """The first row on top. Cells are polygons, not a bitmap, so that a page scales them."""
    axes.pcolormesh(values, cmap=HEAT, edgecolors="white", linewidth=0.6)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if values.shape[1] <= MOST_CELLS:
        for (row, column), value in np.ndenumerate(values):
            axes.text(column + 0.5, row + 0.5, _short(value, 2), ha="center", va="center", fontsize=6.5)


def _short(value: float, digits: int) -> str:
    return f"{value:.{digits}g}".replace("-", "−")


def _doublings(ks: Sequence[int]) -> list[int]:
    """Powers of two between the first and the last N, and these two; a power too near the last gives way."""
    powers = [2**p for p in range(64) if ks[0] < 2**p < ks[-1] / 1.4]
    return [ks[0], *powers, ks[-1]]


def _with_information(line: Series) -> str:
    return f"{line['name']} ({line['information']})" if line.get("information") else line["name"]


def _label_ends(axes: Axes, lines: Sequence[tuple[str, ArrayLike]], looks: Sequence[Look]) -> None:
    """Right of the axes: the last value and the name of each line, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    last = [_last_known(values) for _, values in lines]
    starts = [(value - low) / (high - low) for value in last]
    places = spread(starts, gap=LABEL_POINTS / 72 * axes.figure.dpi / axes.bbox.height)
    for (name, _), value, start, place, look in zip(lines, last, starts, places, looks, strict=True):
        leader = {**look, "linewidth": look["linewidth"] * 0.7, "marker": ""}
        weight = "bold" if look["zorder"] == FRONT else "normal"
        shown = f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
        axes.plot([1.008, 1.05], [start, place], transform=axes.transAxes, clip_on=False, **leader)
        axes.text(1.06, place, f"{shown}  {name}", transform=axes.transAxes, va="center", fontweight=weight)


def spread(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Places near the wanted ones, in the same order, at least `gap` apart (least squares, by pooling)."""
    order = np.argsort(wanted, kind="stable")
    blocks: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, size = wanted[index] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, members = blocks.pop()
            mean, size = (before * members + mean * size) / (members + size), members + size
        blocks.append((mean, size))
    places = np.empty(len(order))
    places[order] = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks]) + gap * np.arange(len(order))
    return places


def _last_known(values: ArrayLike) -> float:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(known[-1]) if known.size else 0.0


def _mark_peak(gold: Axes, proxy: Axes, curve: Series) -> None:
    """A dotted line through both panels where gold is highest, unless that is its first or last point."""
    peak = int(np.argmax(curve["gold"]))
    if peak in (0, len(curve["gold"]) - 1):
        return
    kl = curve["kl"][peak]
    for axes in (gold, proxy):
        axes.axvline(kl, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    left = kl > (min(curve["kl"]) + max(curve["kl"])) / 2
    text = f"highest gold: {kl:.2g} nats " if left else f" highest gold: {kl:.2g} nats"
    side = "right" if left else "left"
    gold.text(kl, 0.04, text, color=MUTED, transform=gold.get_xaxis_transform(), ha=side)
