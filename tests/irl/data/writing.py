"""Rows of records, as readers expect them: what is written is read back."""

from typing import Any

from irl.data.json_lines import write_json_lines
from irl.data.messages import message_rows
from irl.types import Candidates, LabelledResponse, LabelledSteps, Message, Preference, RankedResponses, Trace


def preference_row(record: Preference) -> dict[str, Any]:
    """The TRL row of a pair: messages where the prompt came as messages, strings otherwise."""
    row: dict[str, Any] = {"prompt": record.prompt, "chosen": record.chosen, "rejected": record.rejected}
    if record.messages:
        row = {"prompt": message_rows(record.messages)}
        row |= {"chosen": _turn_rows(record.chosen), "rejected": _turn_rows(record.rejected)}
    row |= {} if record.margin is None else {"margin": record.margin}
    return row | {name: value for name, value in (("id", record.id), ("subset", record.subset)) if value}


def unpaired_row(record: LabelledResponse) -> dict[str, Any]:
    """The TRL row of a labelled response, as messages or strings like `preference_row`."""
    row: dict[str, Any] = {"prompt": record.prompt, "completion": record.completion, "label": record.label}
    if record.messages:
        row |= {"prompt": message_rows(record.messages), "completion": _turn_rows(record.completion)}
    return row | ({"id": record.id} if record.id else {})


def _turn_rows(content: str) -> list[dict[str, str]]:
    return message_rows([Message(role="assistant", content=content)])


def nemo_ranks_row(record: RankedResponses) -> dict[str, Any]:
    """The NeMo row; a prompt that came as text becomes one user turn."""
    context = record.messages or (Message(role="user", content=record.prompt),)
    completions = [
        {"rank": rank, "completion": message_rows([Message(role="assistant", content=response)])}
        for response, rank in zip(record.responses, record.ranks, strict=True)
    ]
    row = {"context": message_rows(context), "completions": completions}
    return row | ({"id": record.id} if record.id else {})


def candidates_row(record: Candidates) -> dict[str, Any]:
    """Our row, with everything `read_candidates_row` reads."""
    prompt = message_rows(record.messages) if record.messages else record.prompt
    entries = [
        {"text": each.text} if each.correct is None else {"text": each.text, "correct": each.correct}
        for each in record.candidates
    ]
    row = {"id": record.id, "prompt": prompt, "candidates": entries}
    return row | ({"subset": record.subset} if record.subset else {})


def stepwise_row(record: LabelledSteps) -> dict[str, Any]:
    """The TRL row: labels as true and false where all are certain, as numbers otherwise."""
    certain = all(label in (0.0, 1.0) for label in record.labels)
    labels = [bool(label) if certain else label for label in record.labels]
    return {"prompt": record.prompt, "completions": list(record.steps), "labels": labels, "id": record.id}


def trace_row(trace: Trace) -> dict[str, Any]:
    """The line of a record, as `read_traces` reads it: a step nobody judged is a plain string."""
    steps = [s.text if s.label is None else {"text": s.text, "label": s.label} for s in trace.steps]
    return {"id": trace.problem_id, "prompt": trace.prompt, "steps": steps, "source": trace.source}


WRITERS = {
    "preference": preference_row,
    "unpaired": unpaired_row,
    "stepwise": stepwise_row,
    "nemo_ranks": nemo_ranks_row,
    "candidates": candidates_row,
}


def write_records(path, records, format):
    """Write a line per record and return their number."""
    return write_json_lines(path, map(WRITERS[format], records))
