"""Several responses to one prompt, ranked or judged right and wrong: one pure function per format.

    nemo_ranks       {"context": messages, "completions": [{"rank": 0 is best, "completion": messages}]}: NeMo-RL
    rlhflow_answers  {"prompt", "answers": [text], "label" | "labels": [0 | 1]}: RLHFlow's best-of-N files
    rewardbench2     {"id", "prompt", "chosen": [text], "rejected": [text], "subset", ...} (arXiv 2506.01937)
    gsm8k_solutions  {"question", "ground_truth", MODEL: {"solution", "is_correct"}, ...} (arXiv 2110.14168)
    candidates       {"id"?, "prompt", "candidates": [{"text", "correct"?}]}: ours, see irl/data/formats.py
    completion       {"prompt", "completion"}, text or messages: one candidate to score
    messages         {"messages"}: a conversation whose last turn is the one candidate

A sampled answer may be empty (that is what a model wrote); anything a person prefers or ranks may not.
"""

from typing import Any

from irl.data.fields import (
    Row,
    brief,
    entries,
    expect,
    name_of,
    optional_truth,
    record,
    required,
    text,
    texts,
    truth,
    whole,
)
from irl.data.messages import (
    answer,
    answer_after,
    only_turn,
    plain_text,
    prompt_of,
    turns,
)
from irl.types import Candidate, Candidates, RankedResponses


def read_nemo_ranks(row: Row, id: str) -> RankedResponses:
    """Responses with their ranks, lower is better."""
    messages = turns(required(row, "context"), "context")
    ranked = []
    for index, entry in enumerate(entries(required(row, "completions"), "completions")):
        where = f"completions[{index}]"
        completion = record(entry, where)
        rank = whole(required(completion, "rank", f"{where}."), f"{where}.rank")
        written = turns(required(completion, "completion", f"{where}."), f"{where}.completion")
        ranked.append((answer_after(written, messages, f"{where}.completion"), rank))
    expect(len(ranked) > 1, "completions", "2 or more", "1")
    responses, ranks = zip(*ranked, strict=True)
    return RankedResponses(
        prompt=plain_text(messages), responses=responses, ranks=ranks, messages=messages, id=name_of(row, "id", id)
    )


def read_rlhflow_answers(row: Row, id: str) -> Candidates:
    """Sampled answers with 1 for right and 0 for wrong."""
    answers = texts(required(row, "answers"), "answers", blank=True)
    name = "labels" if row.get("labels") is not None else "label"
    labels = entries(required(row, name), name)
    expect(len(labels) == len(answers), name, f"{len(answers)} entries, one per answer", str(len(labels)))
    correct = [truth(label, f"{name}[{i}]") for i, label in enumerate(labels)]
    prompt = text(required(row, "prompt"), "prompt")
    return Candidates(id=name_of(row, "id", id), prompt=prompt, candidates=_candidates(answers, correct))


def read_rewardbench2(row: Row, id: str) -> Candidates:
    """Right completions first, wrong ones after them, with the subset the row counts for."""
    right, wrong = (texts(required(row, name), name) for name in ("chosen", "rejected"))
    for name, count in (("num_correct", len(right)), ("total_completions", len(right) + len(wrong))):
        given = row.get(name)
        expect(given is None or given == count, name, f"{count}, the number of texts in the row", brief(given))
    return Candidates(
        id=name_of(row, "id", id),
        prompt=text(required(row, "prompt"), "prompt"),
        candidates=_candidates((*right, *wrong), [True] * len(right) + [False] * len(wrong)),
        subset=text(required(row, "subset"), "subset"),
    )


def read_gsm8k_solutions(row: Row, id: str) -> Candidates:
    """One solution per model, without the models' names, in the order of the names."""
    named = sorted(name for name, value in row.items() if isinstance(value, dict) and "solution" in value)
    expect(bool(named), "solution", "at least one model's solution", "none")
    solutions = [text(row[name]["solution"], f"{name}.solution", blank=True) for name in named]
    correct = [truth(required(row[name], "is_correct", f"{name}."), f"{name}.is_correct") for name in named]
    prompt = text(required(row, "question"), "question")
    return Candidates(id=name_of(row, "id", id), prompt=prompt, candidates=_candidates(solutions, correct))


def read_candidates_row(row: Row, id: str) -> Candidates:
    """Our own rows."""
    candidates = []
    for index, entry in enumerate(entries(required(row, "candidates"), "candidates")):
        where = f"candidates[{index}]"
        candidate = record(entry, where)
        content = text(required(candidate, "text", f"{where}."), f"{where}.text", blank=True)
        correct = optional_truth(candidate.get("correct"), f"{where}.correct")
        candidates.append(Candidate(text=content, correct=correct))
    prompt, messages = prompt_of(required(row, "prompt"), "prompt")
    subset = text(row.get("subset") or "", "subset", blank=True)
    name = name_of(row, "id", id)
    return Candidates(id=name, prompt=prompt, candidates=tuple(candidates), subset=subset, messages=messages)


def read_completion(row: Row, id: str) -> Candidates:
    """A prompt and one completion nobody judged."""
    prompt, messages = prompt_of(required(row, "prompt"), "prompt")
    only = Candidate(text=answer(required(row, "completion"), "completion"))
    return Candidates(id=name_of(row, "id", id), prompt=prompt, candidates=(only,), messages=messages)


def read_messages(row: Row, id: str) -> Candidates:
    """A conversation; its last turn is the completion."""
    messages = turns(required(row, "messages"), "messages")
    expect(len(messages) > 1, "messages", "a prompt and an answer", "1 turn")
    only, before = Candidate(text=only_turn(messages[-1:], "messages")), messages[:-1]
    return Candidates(id=name_of(row, "id", id), prompt=plain_text(before), candidates=(only,), messages=before)


def _candidates(answers: Any, correct: list[bool]) -> tuple[Candidate, ...]:
    return tuple(Candidate(text=answer, correct=ok) for answer, ok in zip(answers, correct, strict=True))
