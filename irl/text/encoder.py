"""From text to token ids and back: the one path, for expert and policy text alike.

A row is a prompt and the steps of a trace, one below the other. The newline that ends a step belongs to it, and the end
token, which replaces the last newline, belongs to the last step. A trace that is still being written has
a newline in the place of the end token. What follows an end token is never read.

Two implementations: our own tokenizers (encode.py), and the tokenizers of Hugging Face folders (hugging_face.py).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tokenizers import Tokenizer

from irl.text.packing import EncodedTrace, Place, Room, best_fit, fill_rows, one_per_row
from irl.text.steps import SplitSteps, step_rule
from irl.text.tokenize import tokenizer_errors
from irl.types import InputError
from reward_models.types import TraceBatch

LEAST_RESPONSE = 8
"""Tokens that a prompt must leave for a response."""


@dataclass(frozen=True)
class TextEncoder(ABC):
    """Text to token ids with a limit on tokens and one on steps."""

    tokenizer: Tokenizer
    max_length: int
    max_steps: int
    split: SplitSteps = step_rule("lines")
    """The steps of a text."""
    max_response: int | None = field(default=None, kw_only=True)
    """The tokens that a prompt leaves for a response; None: at least `LEAST_RESPONSE`."""

    @property
    def most_response(self) -> int:
        """The most tokens of a sampled response."""
        return self.max_response or self.max_length - LEAST_RESPONSE

    @property
    def most_prompt(self) -> int:
        """The most tokens of a prompt that leaves room for a response."""
        return self.max_length - (self.max_response or LEAST_RESPONSE)

    @property
    @abstractmethod
    def pad(self) -> int:
        """The token of padding."""

    @property
    @abstractmethod
    def end(self) -> int:
        """The token that ends a trace."""

    @abstractmethod
    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """What a policy continues: every row of a prompt begins with these ids."""

    @abstractmethod
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

    def prompt(self, prompt: str) -> list[int]:
        """What a policy continues."""
        return self.prompts([prompt])[0]

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return max(self.tokenizer.get_vocab().values()) + 1

    @cached_property
    def step_ends(self) -> tuple[int, ...]:
        """Tokens that end a step, such as a newline, a full stop with a newline, or the byte <0x0A>.

        Where no single token ends a step by the rule of the domain, these are the tokens with a newline in them: a step
        ends behind some of them.
        """
        ids = sorted(self.tokenizer.get_vocab().values())
        texts = self.tokenizer.decode_batch([[number] for number in ids], skip_special_tokens=False)
        newlines = [(number, text) for number, text in zip(ids, texts, strict=True) if "\n" in text]
        ends = tuple(number for number, text in newlines if len(self.split(f"x{text}X")) > 1)
        return ends or tuple(number for number, _ in newlines)

    @property
    def stops(self) -> tuple[int, ...]:
        """Where a policy that writes one step stops: the end of the trace, and the tokens that end a step."""
        return (self.end, *self.step_ends)

    def decode(self, tokens: Sequence[int]) -> str:
        """Response text of token ids, cut at the first end token."""
        ids = list(map(int, tokens))
        ids = ids[: ids.index(self.end)] if self.end in ids else ids
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def decode_many(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Response texts of sampled ids without padding; special tokens are left out."""
        return self.tokenizer.decode_batch([list(row) for row in rows], skip_special_tokens=True)

    def unwritable(self, prompts: Sequence[str], texts: Sequence[str]) -> list[int]:
        """The numbers of the texts that do not come back from their token ids."""
        steps = [self.split(text) for text in texts]
        written = ["\n".join(each) for each in steps]
        return [i for i, row in enumerate(self.many(prompts, steps)) if self.decode(row.response) != written[i]]

    def fits(self, row: EncodedTrace) -> bool:
        return len(row.tokens) <= self.max_length and max(row.step_id) < self.max_steps

    def batch(self, rows: Sequence[EncodedTrace], prompt_id: Sequence[int], length: int | None = None) -> TraceBatch:
        """Right-padded numpy arrays of encoded traces that fit."""
        length = length or self.max_length
        return one_per_row(rows, pad=self.pad, length=length, slots=self.max_steps, prompt_id=prompt_id)

    def pack(self, rows: Sequence[EncodedTrace], length: int, *, option: str = "row_length") -> TraceBatch:
        """Several traces per row, as segments that do not see each other: little padding, same losses.

        Step s of the k-th trace of a row has the id k * max_steps + s; prompt_id counts rows. Raises InputError that
        names the `option` for a length that the longest trace exceeds.
        """
        longest = max(len(row.tokens) for row in rows)
        if longest > length:
            raise InputError(f"{option}: expected at least {longest}, the tokens of the longest trace, got {length}")
        bins = best_fit([len(row.tokens) for row in rows], length)
        placed = []
        for number, members in enumerate(bins):
            start = 0
            for k, member in enumerate(members):
                placed.append((rows[member], Place(number, k * self.max_steps, start, k + 1)))
                start += len(rows[member].tokens)
        room = Room(len(bins), length, max(map(len, bins)) * self.max_steps)
        return fill_rows(placed, room, pad=self.pad)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        with tokenizer_errors("text"):
            return [e.ids for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def lines_of(steps: Sequence[str], ended: bool) -> list[str]:
    """Steps with their newlines; the last step of a trace that has ended has none."""
    if not ended:
        return [step + "\n" for step in steps]
    return [step + "\n" for step in steps[:-1]] + list(steps[-1:])
