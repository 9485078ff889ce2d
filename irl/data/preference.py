r"""Pairs, single labelled responses and judged comparisons: one pure function per format.

    preference    {"prompt"?, "chosen", "rejected", "margin"?, "id"?}: TRL (strings or messages, explicit or implicit
                  prompt), RLHFlow (two whole conversations), NeMo BinaryPreference
    hh            {"chosen", "rejected"}: two transcripts "\n\nHuman: ...\n\nAssistant: ..." (arXiv 2204.05862)
    rewardbench   preference with "subset" and "id" (arXiv 2403.13787)
    llmbar        {"input", "output_1", "output_2", "label": 1 | 2} (arXiv 2310.07641)
    pandalm       {"instruction", "input", "response1", "response2", "annotatorN": 0 tie | 1 | 2} (arXiv 2306.05087)
    unpaired      {"prompt", "completion", "label"}: TRL's, for KTO

Where this differs from TRL:
1. An implicit prompt of two strings is cut at the last space they share, not inside a word.
2. A prompt repeated at the start of `chosen` and `rejected` messages is taken once.
3. Several turns after the shared ones, tools and template arguments are refused: they need more than one text.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from irl.data.fields import Row, brief, expect, name_of, number, required, text, truth, whole
from irl.data.messages import (
    Turns,
    answer,
    answer_after,
    plain_text,
    prompt_of,
    shared_length,
    shared_turns,
    transcript_turns,
    turns,
)
from irl.types import Comparison, InputError, LabelledResponse, Message, Preference


class Pair(NamedTuple):
    """What every preference format comes down to."""

    prompt: str
    chosen: str
    rejected: str
    messages: Turns = ()


def read_preference(row: Row, id: str) -> Preference:
    """A pair of strings or of message lists, with the prompt apart or in front of both."""
    for name in ("tools", "chat_template_kwargs"):
        expect(not row.get(name), name, "nothing (only the text of turns is read)", "a value")
    return _preference(_pair(row), margin=row.get("margin"), id=name_of(row, "id", id))


def read_hh(row: Row, id: str) -> Preference:
    """Two transcripts that differ in their last turn."""
    chosen = transcript_turns(required(row, "chosen"), "chosen")
    rejected = transcript_turns(required(row, "rejected"), "rejected")
    return _preference(_conversations(None, chosen, rejected), id=name_of(row, "id", id))


def read_rewardbench(row: Row, id: str) -> Preference:
    """A pair with the subset that its accuracy counts for."""
    return replace(read_preference(row, id), subset=text(required(row, "subset"), "subset"))


def read_llmbar(row: Row, id: str) -> Preference:
    """A pair in which `label` is the number of the better output."""
    outputs = [text(required(row, name), name) for name in ("output_1", "output_2")]
    label = whole(required(row, "label"), "label")
    expect(label in (1, 2), "label", "1 or 2", brief(label))
    chosen, rejected = outputs if label == 1 else outputs[::-1]
    return _preference(Pair(text(required(row, "input"), "input"), chosen, rejected), id=name_of(row, "id", id))


def read_pandalm(row: Row, id: str) -> Comparison:
    """Two responses with the votes of all annotators; the instruction is followed by its input, where it has one."""
    instruction = text(required(row, "instruction"), "instruction")
    context = text(row.get("input") or "", "input", blank=True)
    judges = sorted(name for name in row if name.startswith("annotator"))
    expect(bool(judges), "annotator1", "a vote", "nothing")
    votes = [whole(row[name], name) for name in judges]
    for name, vote in zip(judges, votes, strict=True):
        expect(vote in (0, 1, 2), name, "0 (tie), 1 or 2", brief(vote))
    first, second = (text(required(row, name), name) for name in ("response1", "response2"))
    _differ(first, second, "response1", "response2")
    return Comparison(
        id=name_of(row, "idx", id),
        prompt=f"{instruction}\n\n{context}" if context.strip() else instruction,
        first=first,
        second=second,
        first_votes=votes.count(1),
        tie_votes=votes.count(0),
        second_votes=votes.count(2),
    )


def read_unpaired(row: Row, id: str) -> LabelledResponse:
    """A response and whether it is a good one."""
    prompt, messages = prompt_of(required(row, "prompt"), "prompt")
    completion = answer(required(row, "completion"), "completion")
    label = truth(required(row, "label"), "label")
    return LabelledResponse(
        prompt=prompt, completion=completion, label=label, messages=messages, id=name_of(row, "id", id)
    )


def _pair(row: Row) -> Pair:
    chosen, rejected, prompt = required(row, "chosen"), required(row, "rejected"), row.get("prompt")
    if isinstance(chosen, list):
        return _conversations(prompt, turns(chosen, "chosen"), turns(rejected, "rejected"))
    chosen, rejected = text(chosen, "chosen"), text(rejected, "rejected")
    if prompt is None:
        return _split_at_last_shared_space(chosen, rejected)
    prompt, messages = prompt_of(prompt, "prompt")
    return Pair(prompt, chosen, rejected, messages)


def _conversations(prompt: Any, chosen: Turns, rejected: Turns) -> Pair:
    """Two message lists, with the prompt apart (messages or a string), in front of both, or both."""
    if isinstance(prompt, list):
        shared = turns(prompt, "prompt")
    elif prompt is not None and chosen[0].role == "assistant":
        shared = (Message(role="user", content=text(prompt, "prompt")),)
    else:
        shared = shared_turns(chosen, rejected)
        known = prompt is None or any(prompt == message.content for message in shared)
        expect(known, "prompt", "a turn that chosen and rejected share", brief(prompt))
    answers = answer_after(chosen, shared, "chosen"), answer_after(rejected, shared, "rejected")
    return Pair(plain_text(shared), *answers, shared)


def _split_at_last_shared_space(chosen: str, rejected: str) -> Pair:
    _differ(chosen, rejected, "chosen", "rejected")
    shared = chosen[: shared_length(chosen, rejected)]
    if shared and not shared[-1].isspace():  # inside a word: the whole word belongs to the responses
        shared = shared[: len(shared) - len(shared.split()[-1])]
    prompt = shared.rstrip()
    if not prompt:
        raise InputError("field prompt: missing, and chosen and rejected do not begin with the same words")
    return Pair(prompt, text(chosen[len(prompt) :], "chosen"), text(rejected[len(prompt) :], "rejected"))


def _preference(pair: Pair, *, id: str, margin: Any = None) -> Preference:
    _differ(pair.chosen, pair.rejected, "chosen", "rejected")
    margin = None if margin is None else number(margin, "margin")
    return Preference(**pair._asdict(), margin=margin, id=id)


def _differ(one: str, other: str, field: str, other_field: str) -> None:
    if one == other:
        raise InputError(f"fields {field} and {other_field}: the same text, nothing can be learned from it")
