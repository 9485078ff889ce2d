"""Cases by number: case i of seed S is the same everywhere, alone or among others."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.fuzz import cases
from tests.fuzz.cases import ACCEPTED, OTHER, REFUSED, Case, Outcome, Target


class Result(NamedTuple):
    """A case that was run."""

    number: int
    target: str
    what: str
    outcome: Outcome
    seconds: float
    """Processor time."""


@dataclass
class Campaign:
    """Cases of a seed over some targets. The undamaged inputs are written on demand, once, into `folder`."""

    targets: Sequence[Target]
    seed: int
    folder: Path
    _prepared: dict[str, Any] = field(default_factory=dict)

    def run(self, numbers: Iterable[int]) -> Iterator[Result]:
        for number in numbers:
            start = time.process_time()
            target, case, place = self.case(number)
            outcome = cases.run(case)
            shutil.rmtree(place, ignore_errors=True)
            yield Result(number, target.name, case.what, outcome, time.process_time() - start)

    def target(self, number: int) -> Target:
        """The target of a case, by weight."""
        rng = Random(f"target {self.seed} {number}")
        return rng.choices(self.targets, [target.weight for target in self.targets])[0]

    def case(self, number: int) -> tuple[Target, Case, Path]:
        """A case and the folder that holds its damaged input."""
        target = self.target(number)
        if target.name not in self._prepared:
            self._prepared[target.name] = target.prepare(self.folder / target.name)
        place = Path(tempfile.mkdtemp(prefix=f"case-{number}-", dir=self.folder))
        rng = Random(f"{target.name} {self.seed} {number}")
        return target, target.draw(rng, self._prepared[target.name], place), place


def table(results: Sequence[Result], targets: Sequence[Target]) -> str:
    """Counts and seconds by target, and what is *other* by type and place."""
    lines = [f"{'target':22s}{'accepted':>10s}{'refused':>10s}{'other':>10s}{'CPU s / 1,000':>15s}"]
    for name in (*(target.name for target in targets), "all"):
        own = [result for result in results if name in (result.target, "all")]
        if own:
            count = Counter(result.outcome.kind for result in own)
            rate = 1000 * sum(result.seconds for result in own) / len(own)
            lines.append(f"{name:22s}{count[ACCEPTED]:10d}{count[REFUSED]:10d}{count[OTHER]:10d}{rate:15.1f}")
    return "\n".join([*lines, *_escapes(results)])


def _escapes(results: Sequence[Result]) -> list[str]:
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        if result.outcome.kind == OTHER:
            key = (result.target, result.outcome.error, result.outcome.where)
            groups.setdefault(key, []).append(result)
    lines = ["", "other, by target, type and place:"] if groups else []
    for (target, error, where), found in sorted(groups.items(), key=lambda item: -len(item[1])):
        numbers = ", ".join(str(result.number) for result in found[:4])
        lines.append(f"{len(found):6d}  {target}: {error} at {where or '-'} (cases {numbers})")
        lines.append(f"        {found[0].what}: {found[0].outcome.message[:200]!r}")
    return lines
