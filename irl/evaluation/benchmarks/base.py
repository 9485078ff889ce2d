"""Benchmarks by name. A benchmark is a function from the scores of labelled records to metrics with intervals.

`benchmark` registers the function where it is defined. Step benchmarks need a threshold below which a step counts as
wrong. Without a given threshold, it is cross-fitted: the problems of a split are divided into two halves at random, and
the threshold of each half is the one of greatest F1 (ProcessBench) on the other half.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from irl.evaluation.audit import Finding
from irl.types import InputError


class Scored(NamedTuple):
    """Labelled records in their order, and the scores of their answers."""

    records: Sequence[Any]
    split: Sequence[str]
    """The split of each record: its file."""
    trace: Sequence[np.ndarray]
    """Per record, float[answers]."""
    steps: Sequence[np.ndarray]
    """Per record, float[steps] of its first answer."""
    threshold: float | None = None
    """Steps that score below it are wrong; None: cross-fitted."""
    resamples: int = 2000
    """Of the bootstrap."""


class Benchmark(NamedTuple):
    """What a benchmark judges and how."""

    record: type
    """Its records, as `irl.data.read_records` returns them."""
    metrics: Callable[[Scored], dict[str, Finding]]
    uses_steps: bool


BENCHMARKS: dict[str, Benchmark] = {}
"""The benchmarks of the modules that are imported so far; see `named_benchmark`."""


def benchmark(name: str, record: type, *, uses_steps: bool = False) -> Callable[[Callable], Callable]:
    """Register the metrics of a benchmark, a function of `Scored`, under a name."""

    def register(metrics: Callable[[Scored], dict[str, Finding]]) -> Callable:
        BENCHMARKS[name] = Benchmark(record, metrics, uses_steps)
        return metrics

    return register


def named_benchmark(name: str) -> Benchmark:
    """The benchmark of that name. InputError with all names otherwise."""
    package = importlib.import_module("irl.evaluation.benchmarks")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    if name not in BENCHMARKS:
        raise InputError(f"--benchmark {name}: expected one of {', '.join(sorted(BENCHMARKS))}")
    return BENCHMARKS[name]
