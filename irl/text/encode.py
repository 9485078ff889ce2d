"""The one path from text to arrays, for expert and policy text alike.

    <bos> prompt \\n step_0 \\n step_1 \\n ... step_last <eos>

Step boundaries are ids, not separator tokens: the newline that ends a step belongs to it, and the end token,
which stands for the last newline, belongs to the last step. What follows an end token is never seen by anyone.
A trace that is still being written has a newline in the place of the end token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from irl.text.tokenize import BEGIN, END, PAD, tokenizer_errors
from irl.types import InputError, Trace
from reward_models.types import TraceBatch


class EncodedTrace(NamedTuple):
    """Token ids of one trace with the step of each token (-1 in the prompt)."""

    tokens: list[int]
    step_id: list[int]


@dataclass(frozen=True)
class Encoder:
    """Text to token ids with a length limit in tokens and a limit on steps."""

    tokenizer: Tokenizer
    max_length: int
    max_steps: int

    def __post_init__(self):
        self.tokenizer.encode_special_tokens = True  # a text that says "<eos>" is a text, not an end token

    def special(self, name: str) -> int:
        number = self.tokenizer.token_to_id(name)
        if number is None:
            raise InputError(f"the tokenizer has no token {name}; take the tokenizer.json of this model")
        return number

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.get_vocab_size()

    def prompt(self, prompt: str) -> list[int]:
        return [self.special(BEGIN), *self._ids([prompt + "\n"])[0]]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        with tokenizer_errors("text"):
            return [e.ids for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def many(
        self, prompts: Sequence[str], steps: Sequence[Sequence[str]], ended: Sequence[bool] | None = None
    ) -> list[EncodedTrace]:
        """Encode traces given as prompts and step texts; lengths are not checked here.

        Args:
            prompts: One prompt per trace.
            steps: The step texts of each trace.
            ended: Whether each trace ends with its last step; all do by default. The last step of a trace that has
                not ended is followed by a newline instead of the end token.
        """
        ends = [True] * len(prompts) if ended is None else ended
        lines = [_lines(trace, end) for trace, end in zip(steps, ends, strict=True)]
        flat = list(dict.fromkeys(text for trace in lines for text in trace))
        unique = dict(zip(flat, self._ids(flat), strict=True))
        heads = dict(zip(dict.fromkeys(prompts), self._ids([p + "\n" for p in dict.fromkeys(prompts)]), strict=True))
        begin, end = self.special(BEGIN), self.special(END)
        encoded = []
        for prompt, trace, ends_here in zip(prompts, lines, ends, strict=True):
            tokens = [begin, *heads[prompt]]
            step_id = [-1] * len(tokens)
            for index, line in enumerate(trace):
                ids = unique[line]
                tokens += ids
                step_id += [index] * len(ids)
            if ends_here:
                tokens.append(end)
                step_id.append(max(len(trace) - 1, 0))
            encoded.append(EncodedTrace(tokens, step_id))
        return encoded

    def traces(self, traces: Sequence[Trace]) -> TraceBatch:
        """Encode and pad traces; InputError names the first one over a limit."""
        encoded = self.many([t.prompt for t in traces], [[s.text for s in t.steps] for t in traces])
        for trace, row in zip(traces, encoded, strict=True):
            self.check(f"trace of problem {trace.problem_id!r}", row)
        ids = prompt_ids([trace.prompt for trace in traces])
        return self.batch(encoded, ids)

    def check(self, what: str, row: EncodedTrace) -> None:
        if len(row.tokens) > self.max_length:
            raise InputError(
                f"{what}: {len(row.tokens)} tokens are over the limit of {self.max_length}; shorten it or raise "
                "max_length"
            )
        if max(row.step_id) >= self.max_steps:
            raise InputError(
                f"{what}: {max(row.step_id) + 1} steps are over the limit of {self.max_steps}; raise max_steps"
            )

    def fits(self, row: EncodedTrace) -> bool:
        return len(row.tokens) <= self.max_length and max(row.step_id) < self.max_steps

    def batch(self, rows: Sequence[EncodedTrace], prompt_id: Sequence[int], length: int | None = None) -> TraceBatch:
        """Right-padded numpy arrays of encoded traces that fit."""
        length = length or self.max_length
        size = (len(rows), length)
        tokens = np.full(size, self.special(PAD), np.int32)
        segment, step_id = np.zeros(size, np.int32), np.full(size, -1, np.int32)
        step_mask = np.zeros((len(rows), self.max_steps), bool)
        for i, row in enumerate(rows):
            n = len(row.tokens)
            tokens[i, :n] = row.tokens
            step_id[i, :n] = row.step_id
            segment[i, :n] = 1
            step_mask[i, : max(row.step_id) + 1] = True
        position = np.broadcast_to(np.arange(length, dtype=np.int32), size) * segment
        return TraceBatch(tokens, segment, position, step_id, step_mask, np.asarray(prompt_id, np.int32))

    def pack(self, rows: Sequence[EncodedTrace], length: int, *, option: str = "row_length") -> TraceBatch:
        """Several traces per row, as segments that do not see each other: little padding, same losses.

        Step s of the k-th trace of a row has the id k * max_steps + s; prompt_id counts rows. Raises InputError that
        names the `option` for a length that the longest trace exceeds.
        """
        longest = max(len(row.tokens) for row in rows)
        if longest > length:
            raise InputError(f"{option}: expected at least {longest}, the tokens of the longest trace, got {length}")
        bins = _bins([len(row.tokens) for row in rows], length)
        most = max(map(len, bins))
        size = (len(bins), length)
        tokens = np.full(size, self.special(PAD), np.int32)
        segment, position = np.zeros(size, np.int32), np.zeros(size, np.int32)
        step_id = np.full(size, -1, np.int32)
        step_mask = np.zeros((len(bins), most * self.max_steps), bool)
        for i, members in enumerate(bins):
            start = 0
            for k, member in enumerate(members):
                row, offset = rows[member], k * self.max_steps
                span = slice(start, start + len(row.tokens))
                tokens[i, span] = row.tokens
                segment[i, span] = k + 1
                position[i, span] = np.arange(len(row.tokens))
                ids = np.asarray(row.step_id)
                step_id[i, span] = np.where(ids >= 0, ids + offset, -1)
                step_mask[i, offset : offset + ids.max() + 1] = True
                start = span.stop
        return TraceBatch(tokens, segment, position, step_id, step_mask, np.arange(len(bins), dtype=np.int32))

    def decode(self, tokens: Sequence[int]) -> str:
        """Response text of token ids, cut at the first end token."""
        ids = list(map(int, tokens))
        end = self.special(END)
        ids = ids[: ids.index(end)] if end in ids else ids
        return self.tokenizer.decode(ids, skip_special_tokens=False)


def _lines(steps: Sequence[str], ended: bool) -> list[str]:
    """Steps with their newlines; the last step of a trace that has ended has none."""
    if not ended:
        return [step + "\n" for step in steps]
    return [step + "\n" for step in steps[:-1]] + list(steps[-1:])


def _bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: which items share a row of `capacity`."""
    open_by_room: dict[int, list[list[int]]] = {}
    bins: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        need = lengths[item]
        room = next((r for r in range(need, capacity + 1) if open_by_room.get(r)), None)
        if room is None:
            room, chosen = capacity, list[int]()
            bins.append(chosen)
        else:
            chosen = open_by_room[room].pop()
        chosen.append(item)
        open_by_room.setdefault(room - need, []).append(chosen)
    return bins


def prompt_ids(prompts: Sequence[str]) -> list[int]:
    """Equal prompts get equal numbers, in order of first appearance."""
    known: dict[str, int] = {}
    return [known.setdefault(prompt, len(known)) for prompt in prompts]
