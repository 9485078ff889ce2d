"""Overlap of training and held-out data: records are split by prompt, and training loses those with held-out prompts.

Prompts are compared in their canonical form (irl/canonical.py, or that of a domain). The prompt decides: the same
prompt with other answers is an overlap too. Held-out data stay as the user gave them. What was removed is counted, for
the screen, the report and the model card.
"""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge

from irl.canonical import canonical_text
from irl.types import InputError
from reward_models.records import record

Entry = TypeVar("Entry")
PARTS = ("train", "validation", "test")


@record
class Overlap:
    """How many records of some data have a prompt of a held-out set."""

    data: str
    """What the records are, such as "training pairs"."""
    held_out: str
    """What they were compared with, such as "test set gsm8k"."""
    records: Annotated[int, Ge(0)]
    total: Annotated[int, Ge(0)]
    """Records of the data before any was removed."""
    removed: bool = True
    """False: the held-out set is reported although its prompts were trained on."""

    @property
    def sentence(self) -> str:
        """For the screen and the model card."""
        if self.removed:
            return f"{self.records:,} of {self.total:,} {self.data} removed: their prompts are in {self.held_out}."
        end = "its results are not held-out results." if self.records else "it is held out."
        return f"{self.records:,} of {self.total:,} {self.data} have a prompt of {self.held_out}; {end}"


def without_overlap(
    data: str,
    records: Sequence[Entry],
    prompt: Callable[[Entry], str],
    held_out: Mapping[str, Iterable[str]],
    where: str,
    canonical: Callable[[str], str] = canonical_text,
) -> tuple[list[Entry], list[Overlap]]:
    """The records whose prompt is in no held-out set, and how many have a prompt of each.

    Args:
        data: What messages call the records, such as "training pairs".
        records: Training records.
        prompt: The prompt of a record.
        held_out: Prompts by the name of their set.
        where: The option that the records come from, for messages.
        canonical: The form in which prompts are compared.

    Raises:
        InputError: No record is left.
    """
    forms = [canonical(prompt(each)) for each in records]
    sets = {name: {canonical(text) for text in prompts} for name, prompts in held_out.items()}
    overlaps = [
        Overlap(data=data, held_out=name, records=sum(form in known for form in forms), total=len(forms))
        for name, known in sets.items()
    ]
    known = set().union(*sets.values())
    kept = [each for each, form in zip(records, forms, strict=True) if form not in known]
    if records and not kept:
        names = " and ".join(each.held_out for each in overlaps if each.records)
        raise InputError(
            f"{where}: each of the {len(records)} {data} has a prompt of {names} and is left out, so that nothing "
            "remains to train on; give files with different prompts"
        )
    return kept, overlaps


def shared_prompts(data: str, prompts: Collection[str], held_out: str, others: Iterable[str]) -> Overlap:
    """How many of the prompts are in a set that is reported nevertheless."""
    known = {canonical_text(text) for text in others}
    count = sum(canonical_text(text) in known for text in prompts)
    return Overlap(data=data, held_out=held_out, records=count, total=len(prompts), removed=False)


def sentences(overlaps: Sequence[Overlap]) -> list[str]:
    """One for every overlap with records, or a single one where there is none; nothing where nothing was compared."""
    shared = [each.sentence for each in overlaps if each.records]
    if shared or not overlaps:
        return shared
    compared = ", ".join(dict.fromkeys(each.held_out for each in overlaps))
    return [f"No training prompt is in the held-out data ({compared})."]


def overlap_rows(overlaps: Sequence[Overlap]) -> list[dict[str, Any]]:
    """For `overlaps` of report.json."""
    return [asdict(each) for each in overlaps]


def parts_by_prompt(prompts: Sequence[str], *, test: float, validation: float) -> list[str]:
    """The part, one of `PARTS`, of each prompt: `test` and `validation` are shares of the prompts.

    A hash decides, so that the order is irrelevant. Prompts of one canonical form are in one part, that of the
    smallest of them.
    """
    forms = [canonical_text(prompt) for prompt in prompts]
    smallest: dict[str, str] = {}
    for form, prompt in zip(forms, prompts, strict=True):
        smallest[form] = min(smallest.get(form, prompt), prompt)
    parts = {form: _part(_share(prompt), test, validation) for form, prompt in smallest.items()}
    return [parts[form] for form in forms]


def _part(share: float, test: float, validation: float) -> str:
    return "test" if share < test else "validation" if share < test + validation else "train"


def _share(prompt: str) -> float:
    return zlib.crc32(prompt.encode("utf-8", "surrogatepass")) / 2**32


def refuse_repeated_files(options: Mapping[str, Sequence[str]]) -> None:
    """InputError where a file is given twice, under any path; `options` are files by the name of their option."""
    seen: dict[str, str] = {}
    for option, files in options.items():
        for file in files:
            path = os.path.realpath(file)
            if path in seen:
                raise InputError(f"{option}: {file} is given twice (first as {seen[path]}); give every file once")
            seen[path] = f"{file} in {option}"


def file_labels(files: Sequence[str]) -> dict[str, str]:
    """A short name for each file: its own up to the first dot, after as many folders as make it unambiguous.

    Files that differ in their endings alone keep them. The files are different ones.
    """
    paths = {file: Path(os.path.abspath(file)) for file in files}
    forms = {file: [*_forms(path, _stem(path.name)), *_forms(path, path.name)] for file, path in paths.items()}
    count = Counter(form for several in forms.values() for form in set(several))
    return {file: next((form for form in several if count[form] == 1), file) for file, several in forms.items()}


def _forms(path: Path, name: str) -> list[str]:
    folders = path.parent.parts
    return ["/".join((*folders[len(folders) - depth :], name)) for depth in range(len(folders) + 1)]


def _stem(name: str) -> str:
    return name.lstrip(".").split(".")[0] or name
