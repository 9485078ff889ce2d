"""What a run leaves and reads again: report.json, metrics.jsonl, results of stages, samples, checkpoints."""

import contextlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from configs.smoke import config as smoke
from experiments.cli import main as traceward
from experiments.core.workspace import Workspace
from experiments.reporting.report_records import read_metrics, read_report
from experiments.traces.sampling import sample_texts
from experiments.traces.train_time import RewardCurve
from irl.checkpoint import Checkpoints
from irl.domains.countdown.countdown import Countdown
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from tests.fuzz import mutate
from tests.fuzz.cases import Case, Target
from tests.fuzz.trees import damage_folder, flip_bit

ROW = {
    "name": "chosen",
    "value": 0.5,
    "low": 0.4,
    "high": 0.6,
    "information": "demonstrations",
    "note": "learned reward",
}
CURVE = {"name": "reward", "role": "learned", "x": [0, 8], "y": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]}
PANEL = {"name": "training", "x_label": "step", "y_label": "accuracy", "series": [CURVE]}
GOLD = {"name": "pool", "kl": [0.0, 1.0], "gold": [0.1, 0.2], "gold_low": [0.0, 0.1], "gold_high": [0.2, 0.3]}
SCORER = {"name": "learned", "information": "demonstrations", "role": "learned", "mean": [0.1, 0.2], "low": [0.0, 0.1]}
FINDING = {"mean": 0.7, "low": 0.6, "high": 0.8, "num_prompts": 8}
TRACE = {"text": "4 + 5 = 9", "score": -1.0, "correct": False, "steps": [{"text": "4 + 5 = 9", "score": -1.0}]}
EVALUATION: dict[str, Any] = {
    "test_time": {"ks": [1, 2], "num_problems": 8, "series": [{**SCORER, "high": [0.2, 0.3]}]},
    "gold_proxy": [{**GOLD, "proxy": [0.0, 0.5]}],
    "audit": [{"name": "audit", "findings": {"length": FINDING}, "warnings": ["The reward follows length."]}],
    "headline": [ROW],
    "problems": [{"id": "p", "prompt": "4 5 6 10", "share_correct": 0.1, "best": [TRACE], "worst": [TRACE]}],
}
REPORT: dict[str, Any] = {
    "title": "A run",
    "command": "traceward run smoke",
    "information": "demonstrations",
    "seeds": [0],
    "created": "2026-01-01 00:00",
    "environment": "Countdown()",
    "summary": ["It learned."],
    **EVALUATION,
    "train_time": [PANEL],
    "maps": [{"name": "values", "panels": [{"name": "learned", "cells": [[0.0, 1.0], [2.0, 3.0]]}]}],
    "search": [ROW],
    "throughput": [{"what": "sampling", "tokens_per_second": 10.0, "note": "x"}],
}
METRICS = [{"stage": "policy", "step": step, "loss": 2.0 / (step + 1), "grad_norm": 1.0} for step in range(4)]
LOOK = {"step": 8, "pass@1": [0.1, 0.0, 0.2], "rerank@16": [0.2, 0.1, 0.3]}


class _StageRepeated(BaseException):
    """A stage whose result is missing or unusable begins again: the fuzzer has seen enough."""


class _Untrained:
    """Stands for networks that no case needs as long as the results of stages are there."""

    def __getattr__(self, name: str) -> Any:
        raise _StageRepeated

    def __call__(self, *arguments: Any) -> Any:
        raise _StageRepeated


# ---------------------------------------------------------------------------------------------------- reports


def _draw_report(rng: Random, prepared: Any, folder: Path) -> Case:
    """A damaged report.json or metrics.jsonl, read, and now and then drawn."""
    (folder / "report.json").write_text(json.dumps(REPORT))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    if rng.random() < 0.7:
        file = folder / "report.json"
        file.write_bytes(mutate.json_file(rng, file.read_bytes(), list(REPORT)))
    else:
        file = folder / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        lines = [mutate.json_value(rng, line, ["stage", "step"]) if rng.random() < 0.4 else line for line in lines]
        text = "".join(mutate.dumps(line) + "\n" for line in lines)
        text = mutate.json_text(rng, text) if rng.random() < 0.3 else text
        data = text.encode("utf-8", "surrogatepass")
        file.write_bytes(mutate.bytes_(rng, data) if rng.random() < 0.1 else data)
    if rng.random() < 0.04:
        return Case(lambda: traceward(["report", str(folder)]), (str(folder),), what=f"report of {file.name}")

    def read() -> None:
        read_report(folder / "report.json")
        read_metrics(folder / "metrics.jsonl")

    return Case(read, (str(file),), what=file.name)


# ----------------------------------------------------------------------------------------------------- stages


def _prepare_stages(folder: Path) -> Path:
    """The files that the stages of an experiment leave."""
    for name in ("samples", "train_time", "throughput"):
        (folder / name).mkdir(parents=True)
    improvement = {"train_time": [PANEL], "gold_proxy": EVALUATION["gold_proxy"], "headline": [ROW]}
    texts = {
        "evaluation.json": EVALUATION,
        "search.json": [ROW],
        "improvement.json": improvement,
        "train_time/reward-000004.json": {**LOOK, "step": 4},
        "train_time/reward-000008.json": LOOK,
        "throughput/sampling.json": REPORT["throughput"][0],
    }
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content, indent=1))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    shape = (2, 3)
    np.savez_compressed(
        folder / "samples" / "test.npz",
        tokens=np.ones((*shape, 5), np.uint16),
        length=np.full(shape, 5),
        ended=np.ones(shape, bool),
        log_prob=np.zeros(shape),
    )
    return folder


def _resume(folder: Path) -> None:
    """Read the results of all stages as an experiment does that goes on, and write its report.json."""
    nothing: Any = _Untrained()
    with contextlib.suppress(_StageRepeated):
        workspace = Workspace(
            folder,
            0,
            console=Console(file=io.StringIO()),
            environment=Countdown(),
            encoder=Encoder(number_tokenizer(), 96, 8),
        )
        problems = workspace.environment.problems("test")[:2]
        pool = sample_texts(workspace, nothing, problems, 3, "test")
        curve = RewardCurve(workspace=workspace, problems=tuple(problems), pool=pool, ks=(16,))
        curve.observe(4, nothing)
        report = smoke.rerank.run(workspace, nothing, nothing)
        report["train_time"] = curve.panel()
        assert smoke.search is not None and smoke.improvement is not None
        report["search"] = smoke.search.run(workspace, nothing, nothing)
        improved = smoke.improvement.run(workspace, nothing, nothing)
        for part in ("train_time", "gold_proxy", "headline"):
            report[part] = report[part] + improved[part]
        names = sorted(path.name for path in folder.glob("throughput/*.json"))
        report["throughput"] = [workspace.read_json(f"throughput/{name}") for name in names]
        workspace.read_metric("policy", "loss", 2)
        workspace.write_json("report.json", report)
        read_report(folder / "report.json")


def _draw_stage(rng: Random, prepared: Path, folder: Path) -> Case:
    copy = shutil.copytree(prepared, folder / "run")
    what = damage_folder(rng, copy)
    return Case(lambda: _resume(copy), (str(copy),), what=what)


# ------------------------------------------------------------------------------------------------ checkpoints


def _state() -> Mapping[str, Any]:
    return {"w": jnp.ones((3, 2)), "step": jnp.zeros((), jnp.int32)}


def _prepare_checkpoint(folder: Path) -> Path:
    checkpoints = Checkpoints(folder / "policy")
    for step in (2, 4):
        checkpoints.save(step, _state(), {"epoch": step})
    return folder


def _draw_checkpoint(rng: Random, prepared: Path, folder: Path) -> Case:
    """Damage to a checkpoint: the one before it or an error, never the damaged one."""
    copy = shutil.copytree(prepared, folder / "checkpoints")
    newest = copy / "policy" / "4"
    if rng.random() < 0.5:
        what = flip_bit(rng, newest)
    elif rng.random() < 0.5:
        file = newest / "manifest.json"
        file.write_bytes(mutate.json_file(rng, file.read_bytes()))
        what = "the JSON of manifest.json"
    else:
        what = damage_folder(rng, newest)

    def read() -> None:
        state, extra, step = Checkpoints(copy / "policy").restore(None, _state())
        assert extra == {"epoch": step} and step in (2, 4) and (state["w"] == 1).all()

    return Case(read, (str(copy),), what=what)


TARGETS = (
    Target("reports", 8, lambda folder: None, _draw_report),
    Target("stages", 5, _prepare_stages, _draw_stage),
    Target("checkpoints", 1, _prepare_checkpoint, _draw_checkpoint),
)
