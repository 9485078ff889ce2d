"""Conversations: lists of {"role", "content"}, transcripts, and what two of them share.

A record holds the turns before the response as `messages` and their plain text as `prompt`. The plain text of a
single user turn is its content; of anything longer, paragraphs "Human: ...", "Assistant: ...".
"""

import re
from collections.abc import Sequence
from typing import Any

from irl.data.fields import entries, expect, record, required, text
from irl.types import InputError, Message

Turns = tuple[Message, ...]

_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}
_ROLES = {name: role for role, name in _SPEAKERS.items()}
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


def turns(value: Any, field: str) -> Turns:
    """Messages of a list of objects; tool calls are refused, as no text could stand for them."""
    messages = []
    for index, entry in enumerate(entries(value, field)):
        where = f"{field}[{index}]"
        row = record(entry, where)
        expect(row.get("tool_calls") is None, f"{where}.tool_calls", "text turns only", "tool calls")
        role = text(required(row, "role", f"{where}."), f"{where}.role")
        content = text(required(row, "content", f"{where}."), f"{where}.content", blank=True)
        messages.append(Message(role=role, content=content))
    return tuple(messages)


def transcript_turns(value: Any, field: str) -> Turns:
    r"""Turns of a transcript "\n\nHuman: ...\n\nAssistant: ..."; space around a turn is not part of it."""
    before, *parts = _SPEAKER.split(text(value, field))
    started = bool(parts) and not before.strip()
    expect(started, field, "a transcript that starts with 'Human:'", repr(value[:40]))
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(role=_ROLES[speaker], content=content.strip()) for speaker, content in pairs)


def plain_text(messages: Sequence[Message]) -> str:
    """The prompt of a record for those who use no chat template."""
    if [m.role for m in messages] == ["user"]:
        return messages[0].content
    return "\n\n".join(f"{_SPEAKERS.get(m.role, m.role)}: {m.content}" for m in messages)


def prompt_of(value: Any, field: str) -> tuple[str, Turns]:
    """Plain text and messages of a prompt that is a string (no messages) or a list of messages."""
    if isinstance(value, list):
        messages = turns(value, field)
        return plain_text(messages), messages
    return text(value, field), ()


def answer(value: Any, field: str) -> str:
    """A response that is a string or a list with one assistant turn."""
    return only_turn(turns(value, field), field) if isinstance(value, list) else text(value, field)


def only_turn(rest: Turns, field: str) -> str:
    """The text of one assistant turn; InputError where there are more turns or others."""
    roles = ", ".join(m.role for m in rest) or "no turn"
    expect([m.role for m in rest] == ["assistant"], field, "one assistant turn after the prompt", roles)
    return text(rest[0].content, field)


def answer_after(messages: Turns, prompt: Turns, field: str) -> str:
    """The one assistant turn that follows the prompt, whether or not `messages` repeat the prompt."""
    repeated = messages[: len(prompt)] == prompt
    return only_turn(messages[len(prompt) :] if repeated else messages, field)


def shared_length(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def shared_turns(one: Turns, other: Turns) -> Turns:
    """The turns two conversations begin with; at least one turn of each is left over."""
    count = min(shared_length(one, other), len(one) - 1, len(other) - 1)
    if count == 0:
        raise InputError("fields chosen and rejected: expected conversations that share a prompt, no turn is shared")
    return one[:count]


def message_rows(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as JSON."""
    return [{"role": m.role, "content": m.content} for m in messages]
