"""The encoder of our own tokenizers, in which every step is encoded by itself.

<bos> prompt \\n step_0 \\n step_1 \\n ... step_last <eos>
"""

from collections.abc import Sequence
from dataclasses import dataclass

from irl.text.encoder import TextEncoder, lines_of
from irl.text.packing import EncodedTrace
from irl.text.tokenize import BEGIN, END, PAD
from irl.types import InputError


@dataclass(frozen=True)
class Encoder(TextEncoder):
    """For tokenizers that have the tokens <pad>, <bos> and <eos>."""

    def __post_init__(self):
        self.tokenizer.encode_special_tokens = True  # a text that says "<eos>" is a text, not an end token

    @property
    def pad(self) -> int:
        return self.special(PAD)

    @property
    def end(self) -> int:
        return self.special(END)

    def special(self, name: str) -> int:
        number = self.tokenizer.token_to_id(name)
        if number is None:
            raise InputError(f"the tokenizer has no token {name}; take the tokenizer.json of this model")
        return number

    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        begin = self.special(BEGIN)
        return [[begin, *ids] for ids in self._ids([prompt + "\n" for prompt in prompts])]

    def many(
        self, prompts: Sequence[str], steps: Sequence[Sequence[str]], ended: Sequence[bool] | None = None
    ) -> list[EncodedTrace]:
        ends = [True] * len(prompts) if ended is None else ended
        lines = [lines_of(trace, end) for trace, end in zip(steps, ends, strict=True)]
        flat = list(dict.fromkeys(text for trace in lines for text in trace))
        unique = dict(zip(flat, self._ids(flat), strict=True))
        distinct = list(dict.fromkeys(prompts))
        heads = dict(zip(distinct, self.prompts(distinct), strict=True))
        end = self.end
        encoded = []
        for prompt, trace, ends_here in zip(prompts, lines, ends, strict=True):
            tokens = list(heads[prompt])
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
