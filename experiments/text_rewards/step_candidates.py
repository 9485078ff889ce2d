"""Other models' answers to problems, split into steps, with whether they are right: what a step score is tried on.

Answers are brought to the shape of the human solutions: calculations in << >> and the line of the final answer go,
`reasoning` is taken out of JSON, prose is cut into sentences. Who wrote an answer is not kept.
"""

import itertools
import json
import re
from collections.abc import Iterator
from functools import lru_cache

from irl.data import read_records
from irl.data.gsm8k import without_calculations
from irl.data.json_lines import read_json_lines
from irl.types import Candidates, InputError, LabelledSteps
from reward_models.ranges import Name, Rows
from reward_models.records import record

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z(])|\n+")
_FINAL = re.compile(r"^(A:|####|\**(the )?(final )?answer)", re.IGNORECASE)
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "–": "-", "’": "'"})


@record
class SolutionCandidates:
    """A file of candidates with labels: any format that reads as such, or ZeroEval's (its key is `samples`)."""

    file: Name
    problems: Rows | None = None
    """The first so many; None: all."""

    def read(self) -> Iterator[tuple[str, str, list[tuple[str, bool]]]]:
        first = next(iter(read_json_lines(self.file)), None)
        if first is not None and "samples" in first[1]:
            for _, row in read_json_lines(self.file):
                yield row["id"], row["question"], [(s["output"], bool(s["correct"])) for s in row["samples"]]
            return
        for each in read_records(self.file):
            if not isinstance(each, Candidates) or any(c.correct is None for c in each.candidates):
                raise InputError(f"{self.file}: expected candidates with `correct`, got {type(each).__name__}")
            yield each.id, each.prompt, [(c.text, bool(c.correct)) for c in each.candidates]


@lru_cache(maxsize=4)
def pool_of(candidates: SolutionCandidates) -> list[LabelledSteps]:
    """Every answer that has a step, in order, with whether it is correct."""
    pool = []
    for id, prompt, answers in itertools.islice(candidates.read(), candidates.problems):
        for index, (text, right) in enumerate(answers):
            if steps := steps_of(text):
                name, labels = f"{id}-{index}", (None,) * len(steps)
                pool.append(LabelledSteps(id=name, prompt=prompt, steps=steps, labels=labels, correct=right))
    return pool


def steps_of(text: str) -> tuple[str, ...]:
    """The reasoning of an answer, a sentence or line a step, without the line of the final answer."""
    text = without_calculations(_reasoning(text).translate(_SIGNS))
    pieces = (piece.strip() for piece in _SENTENCE.split(text))
    return tuple(piece for piece in pieces if piece and not _FINAL.match(piece) and re.search(r"\w", piece))


def _reasoning(text: str) -> str:
    """`reasoning` of the JSON object in a text; the text where there is none."""
    start, end = text.find("{"), text.rfind("}")
    if start != -1 and end > start:
        try:
            found = json.loads(text[start : end + 1], strict=False)
        except ValueError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("reasoning"), str):
            return found["reasoning"]
    return text
