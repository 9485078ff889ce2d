"""A report of made-up numbers: all of them on the page, nothing from elsewhere, errors one can act on."""

import functools
import json
import math
import operator
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from experiments.reporting import figures
from experiments.reporting.report import number, scale, shade, turn, write_report
from experiments.reporting.report_records import read_report, result_row
from irl.types import InputError

KS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]
VOID = {"meta", "br"}
PARTS = "headline test_time train_time maps gold_proxy audit search throughput problems overlaps command".split()
TITLES = [
    *("Headline", "Test-time compute", "Train-time compute", "Maps", "Gold and proxy"),
    *("Audit of the critics", "Search", "Throughput", "Problems"),
    *("Overlap of training and held-out data", "How to reproduce"),
]


def scorer(name, role, information, end, start=0.28, speed=0.9):
    mean = end - (end - start) * np.exp(-speed * np.log2(KS) / 2)
    half = 0.055 * np.sqrt(1.01 - mean)
    bounds = {"low": (mean - half).tolist(), "high": (mean + half).tolist()}
    return {"name": name, "role": role, "information": information, "mean": mean.tolist(), **bounds}


def made_up_test_time():
    others = {"majority vote": 0.62, "log-probability": 0.55, "$length <script>": 0.33}
    series = [
        scorer("learned reward", "learned", "demonstrations", 0.94, speed=1.1),
        *(scorer(name, "baseline", "none", end) for name, end in others.items()),
        scorer("outcome reward model", "baseline", "outcome labels", 0.86),
        scorer("oracle", "oracle", "verifier", 1.0, speed=1.6),
    ]
    return {"ks": list(KS), "num_problems": 100, "series": series}


def made_up_train_time():
    x = np.arange(0, 301, 20)
    y = 0.28 + 0.4 * (1 - np.exp(-x / 90)) + 0.012 * np.sin(x)
    bounds = {"low": (y - 0.04).tolist(), "high": (y + 0.04).tolist()}
    learned = {"name": "learned reward", "x": x.tolist(), "y": y.tolist(), **bounds}
    labels = {"name": "policy: pass@1", "x_label": "training step", "y_label": "accuracy"}
    return [{**labels, "series": [learned, {**learned, "name": "verifier", "role": "oracle", "low": None}]}]


def made_up_gold_proxy():
    bound = np.log(KS) - 1 + 1 / np.array(KS)
    return [
        gold_curve("best of n", bound, 0.05),
        gold_curve("policy training", np.linspace(0, 40, 21), 0.012),
    ]


def gold_curve(name, kl, bend):
    gold = 0.28 + np.sqrt(kl) * (0.5 - bend * 1.8 * np.sqrt(kl) - bend * kl * 0.3)
    bounds = {"gold_low": (gold - 0.05).tolist(), "gold_high": (gold + 0.05).tolist()}
    return {"name": name, "kl": kl.tolist(), "gold": gold.tolist(), **bounds, "proxy": np.sqrt(kl).tolist()}


def trace(quality, correct):
    texts = ["8 - 2 = 6", "6 * 4 = 24", 'Answer: <b>24</b> && "done"']
    steps = [{"text": text, "score": quality + 0.3 * i - 0.2} for i, text in enumerate(texts)]
    return {"text": "\n".join(texts), "score": 3 * quality, "correct": correct, "steps": steps}


def result(name, value, low, high, note):
    shown = {"name": name, "value": value, "low": low, "high": high}
    return [{**shown, "information": "demonstrations", "note": note}]


def full_report():
    findings = {
        "source_auc": [0.71, 0.66, 0.76, 98],
        "correctness_auc": [0.885, 0.84, 0.92, 91],
        "length correlation": [-0.123, -0.2, -0.05, 98],
        "expert-vs-correct AUC": [None, None, None, 0],
    }
    fields = "mean", "low", "high", "num_prompts"
    findings = {name: dict(zip(fields, row, strict=True)) for name, row in findings.items()}
    about = {
        "title": "Countdown & learned rewards",
        "environment": "countdown",
        "information": "demonstrations",
    }
    about |= {"seeds": [0, 1], "created": "2026-01-31"}
    problem = {"prompt": "Use 2, 4, 8 to make 24.", "best": [trace(0.9, True), trace(0.7, False)]}
    unsplit = {"text": "no <i>idea</i>", "score": -2.5, "correct": None}
    return {
        **about,
        "command": "traceward run configs/countdown_airl.py --out runs/a",
        "summary": ["Reranking by the learned reward beats the majority vote."],
        "headline": result("rerank@1000, learned reward", 0.93, 0.88, 0.97, "100 problems"),
        "test_time": made_up_test_time(),
        "train_time": made_up_train_time(),
        "maps": [{"name": "rewards", "panels": [{"name": "true & learned", "cells": [[-1.5, 0.25], [1e-3, 20.0]]}]}],
        "gold_proxy": made_up_gold_proxy(),
        "audit": [{"name": "AIRL critic", "findings": findings, "warnings": ["Length < 3 is <suspect>."]}],
        "search": result("step beam search, b=5", 0.815, 0.74, 0.88, "5 beams"),
        "overlaps": [
            {"data": "training pairs", "held_out": "test set x", "records": 12, "total": 1500, "removed": True},
            {"data": "training pairs", "held_out": "candidates y", "records": 3, "total": 1500, "removed": False},
        ],
        "throughput": [{"what": "training, reward", "tokens_per_second": 30000, "note": "bounded by memory"}],
        "problems": [
            {"id": "p-17", "share_correct": 0.2, **problem, "worst": [trace(-0.8, False)]},
            {"id": "p-18", **problem, "worst": [unsplit]},
        ],
    }


def write(folder, report, metrics=None):
    (folder / "report.json").write_text(json.dumps(report))
    if metrics is not None:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    return folder


def logged():
    rng = np.random.default_rng(0)
    for stage, name in [
        ("sft", "loss"),
        ("reward", "discriminator_loss"),
        ("reward", "loss"),
        ("policy", "kl"),
    ]:
        for step in range(1, 301):
            value = 0.3 + math.exp(-step / 60) + 0.05 * rng.normal()
            yield {"stage": stage, "step": step, name: value, "grad_norm": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder with its report."""
    folder = write(tmp_path_factory.mktemp("run"), full_report(), logged())
    assert write_report(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text()


class Balanced(HTMLParser):
    """Fails on a tag that is closed out of turn; collects tags with their attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"


def test_all_sections_and_numbers(page):
    assert all(f"<h2>{title}</h2>" in page for title in TITLES)
    assert "<h2>Training curves</h2>" in page
    shown = "0.930 [0.880, 0.970] 0.885 [0.840, 0.920] −0.123 [−0.200, −0.050] 0.815 30,000 demonstrations"
    notes = ["100 problems", "5 beams", "bounded by memory", "20% of samples", "0, 1", "--out runs/a"]
    assert all(text in page for text in [*re.findall(r"\[.*?\]|\S+", shown), *notes])
    for series in full_report()["test_time"]["series"]:
        assert all(number(value) in page for value in series["mean"]), series["name"]
    for curve in full_report()["gold_proxy"]:
        assert all(number(value) in page for value in curve["gold"] + curve["proxy"])
        assert all(f"{kl:.2f}" in page for kl in curve["kl"])


def test_figures_are_inside_with_text_as_text(page, folder):
    names = {file.name for file in (folder / "figures").iterdir()}
    assert names == {"test_time.png", "train_time_0.png", "gold_proxy.png", "training.png", "map_0.png"}
    assert page.count("<svg ") == 5
    assert ">N, samples per problem</text>" in page and "learned reward (demonstrations)</text>" in page
    assert ">true &amp; learned: −1.5 to 20</text>" in page and ">0.25</text>" in page and ">0.001</text>" in page
    assert "<image" not in page, "cells are polygons"


def test_self_contained_and_well_formed(page):
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    for tag, attributes in parser.seen:
        assert tag not in {"script", "link", "img", "iframe", "object"}
        assert not any(name.startswith("on") for name in attributes)
        links = attributes.keys() & {"href", "src", "xlink:href"}
        assert all(attributes[name].startswith("#") for name in links)
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    ids = [attributes["id"] for _, attributes in parser.seen if "id" in attributes]
    assert len(ids) == len(set(ids)) and set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_text_is_escaped(page):
    assert "Answer: &lt;b&gt;24&lt;/b&gt; &amp;&amp;" in page and "<b>24</b>" not in page
    assert "no &lt;i&gt;idea&lt;/i&gt;" in page and "Length &lt; 3 is &lt;suspect&gt;." in page
    assert "<h1>Countdown &amp; learned rewards</h1>" in page
    assert "<script" not in page and "$length &lt;script&gt; (none)</text>" in page


@pytest.mark.parametrize(("part", "title"), list(zip(PARTS, TITLES, strict=True)))
def test_missing_section_is_left_out(part, title, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "to_png", lambda figure: b"")
    monkeypatch.setattr(figures, "to_svg", lambda figure, name, label: label)
    report = full_report()
    del report[part]
    page = write_report(write(tmp_path, report)).read_text()
    assert re.findall(r"<h2>(.*)</h2>", page) == [other for other in TITLES if other != title]


def test_folder_with_little_in_it(tmp_path):
    with pytest.raises(InputError, match=r"report\.json: no such file"):
        write_report(tmp_path)
    page = write_report(write(tmp_path, {})).read_text()
    assert "<h1>Traceward report</h1>" in page and "<h2>" not in page


def spoil(report, field, value):
    """Replace one value of a report; `field` is written as in messages: headline.0.value."""
    *path, last = [int(name) if name.isdigit() else name for name in re.findall(r"\w+", field)]
    functools.reduce(operator.getitem, path, report)[last] = value
    return report


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("headline.0.value", "high", "expected a number, got 'high'"),
        ("headline", {}, "expected a list, got {}"),
        ("search.0.name", None, "expected a string, got None"),
        ("test_time.series.2.role", "hero", "expected 'learned', 'baseline' or 'oracle', got 'hero'"),
        ("test_time.series.1.mean", [0.5], "expected 11 values, got 1"),
        ("test_time.ks.3", 8.5, "expected an integer, got 8.5"),
        ("test_time.ks.0", 0, "expected at least 1, got 0"),
        ("test_time.ks", KS[::-1], "expected increasing numbers of samples, got [1000, 512"),
        ("train_time.0.series.0.y", [1.0], "expected 16 values, got 1"),
        ("maps.0.panels.0.cells.1", [1.0], "expected 2 values, got 1"),
        ("maps.0.panels.0.cells", [], "expected at least 1 values, got []"),
        ("gold_proxy.1.proxy", [1.0], "expected 21 values, got 1"),
        ("audit.0.findings.source_auc", 0.7, "expected an object, got 0.7"),
        ("problems.0.best.0.correct", 1, "expected true or false, got 1"),
        ("throughput.0.tokens_per_second", True, "expected a number, got True"),
        ("headline.0.value", 10**400, "expected "),
        ("headline.0.value", 1e300, "expected at most 1e+100, got 1e+300"),
        ("test_time.ks.0", 10**30, "expected "),
        ("seeds.0", [0], "expected an integer, got [0]"),
        ("problems", {"id": "x"}, "expected a list, got"),
        ("test_tme", {}, "unknown field; did you mean 'test_time'?"),
    ],
)
def test_malformed_field_is_named(field, value, message, tmp_path):
    path = write(tmp_path, spoil(full_report(), field, value)) / "report.json"
    with pytest.raises(InputError, match=re.escape(f"{path}: {field}: {message}")):
        read_report(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"stage": "sft", "step": 1, "loss": "low"}', "line 2: values.loss: expected a number, got 'low'"),
        ('{"stage": "sft", "loss": 1.0}', "line 2: step: missing"),
        ('{"stage": "sft", ', "line 2, column 18: malformed JSON"),
        ("[1]", "line 2: expected an object, got list"),
    ],
)
def test_malformed_metrics_line_is_named(line, message, tmp_path):
    write(tmp_path, {})
    (tmp_path / "metrics.jsonl").write_text('{"stage": "sft", "step": 0, "loss": null}\n' + line + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl " + message):
        write_report(tmp_path)


def test_same_input_same_page(folder, page, tmp_path):
    for name in ("report.json", "metrics.jsonl"):
        (tmp_path / name).write_text((folder / name).read_text())
    assert write_report(tmp_path).read_text() == page


def test_a_row_has_the_interval_of_its_values_and_none_of_a_single_one():
    row = result_row("x", [1.0, 3.0], "none", "why")
    assert row == {"name": "x", "value": 2.0, "low": 1.0, "high": 3.0, "information": "none", "note": "why"}
    one = result_row("x", [1.0], "none")
    assert (one["value"], one["low"], one["high"]) == (1.0, None, None)


def test_turn():
    curve = {"kl": [0, 1, 2], "gold": [0.2, 0.6, 0.4], "proxy": [0.0, 1.0, 2.0]}
    curve |= {"gold_low": [0.1, 0.5, 0.3], "gold_high": [0.3, 0.7, 0.45]}
    assert turn(curve) == {"kl": 1, "gold": 0.6, "last": False, "falls": True, "end": 0.4, "proxy_rises": True}
    assert not turn({**curve, "proxy": [0.0, 1.0, 0.5]})["proxy_rises"]
    assert not turn({**curve, "gold_high": [0.3, 0.7, 0.55]})["falls"]
    assert turn({**curve, "gold_low": None})["falls"] is None
    assert turn({**curve, "gold": [0.2, 0.3, 0.4]})["last"]


def test_steps_are_coloured_around_the_median():
    problem = {"best": [{"steps": [{"score": s} for s in (0.0, 1.0, 5.0)]}], "worst": None}
    colours = scale(problem)
    assert (colours["low"], colours["centre"], colours["high"]) == (-3.0, 1.0, 5.0)
    assert shade(1.0, colours) == "#ffffff"
    assert shade(5.0, colours) == "#7eb6de" and shade(-3.0, colours) == "#f7b163"


def test_number():
    values = [0.93, -0.5, 30000.0, 3, 12.34, 2e-5, None]
    assert [number(value) for value in values] == ["0.930", "−0.500", "30,000", "3", "12.3", "2.0e−05", "–"]


def test_labels_are_spread_apart_and_stay_near():
    np.testing.assert_allclose(figures.spread([0.5, 0.5, 0.0], 0.1), [0.45, 0.55, 0.0])
    np.testing.assert_allclose(figures.spread([0.9, 0.1], 0.1), [0.9, 0.1])
