"""The encoder of tokenizers of Hugging Face and GGUF: byte-level BPE, SentencePiece, WordPiece, Unigram.

    with a chat template      template(user: prompt, generation prompt) step_0 \\n step_1 \\n ... step_last <end>
    without                   <bos> prompt \\n step_0 \\n step_1 \\n ... step_last <end>

A row is encoded as one text. Which step a token belongs to follows from the characters that the token covers: it is the
step in which the token starts, so a token such as ".\\n" belongs to the step that it ends. Where the prompt alone has
other tokens than the beginning of the whole text, prompt and steps are encoded apart: a row always begins with what a
policy is given to continue.

A model has tokenizer.json, tokenizer_config.json, and chat_template.jinja where the template has its own file. The end
token is the one that the template writes behind a message of the assistant, else eos_token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from irl.text.chat import ChatTemplate, chat_template_of, special_tokens
from irl.text.encoder import TextEncoder, lines_of
from irl.text.packing import EncodedTrace
from irl.text.tokenize import parse_tokenizer, tokenizer_errors
from irl.types import InputError
from reward_models.folders.manifest import TokenRules
from reward_models.folders.native import TOKENIZER
from reward_models.folders.tokenizer_files import TOKENIZER_CONFIG, TokenizerFiles

_MARK = "WHAT-THE-ASSISTANT-SAYS"


@dataclass(frozen=True)
class HuggingFaceEncoder(TextEncoder):
    """For tokenizers of Hugging Face folders."""

    rules: TokenRules = field(kw_only=True)

    def __post_init__(self):
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = self.rules.chat_template is None  # else its text spells special tokens

    @property
    def pad(self) -> int:
        return self.rules.pad

    @property
    def end(self) -> int:
        return self.rules.end

    @cached_property
    def _known(self) -> dict[str, str]:
        return {}

    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        return [[*self._begin, *ids] for ids in self._ids(self._heads(prompts))]

    def many(
        self, prompts: Sequence[str], steps: Sequence[Sequence[str]], ended: Sequence[bool] | None = None
    ) -> list[EncodedTrace]:
        ends = [True] * len(prompts) if ended is None else ended
        lines = [lines_of(trace, end) for trace, end in zip(steps, ends, strict=True)]
        bodies = ["".join(each) for each in lines]
        heads = self._heads(prompts)
        distinct = list(dict.fromkeys(heads))
        given = dict(zip(distinct, self._ids(distinct), strict=True))
        whole = self._encodings([head + body for head, body in zip(heads, bodies, strict=True)])
        rows = []
        for head, body, trace, encoding, ends_here in zip(heads, bodies, lines, whole, ends, strict=True):
            before, start = given[head], len(head)
            skip = len(before)
            if encoding.ids[:skip] != before:
                (encoding,), start, skip = self._encodings([body]), 0, 0
            starts = [start, *accumulate((len(line) for line in trace[:-1]), initial=start)][1:]
            step = np.searchsorted(starts, extents(encoding)[0][skip:], side="right") - 1
            tokens = [*self._begin, *before, *encoding.ids[skip:]]
            step_id = [-1] * (len(self._begin) + len(before)) + np.maximum(step, 0).tolist()
            if ends_here:
                tokens.append(self.end)
                step_id.append(max(len(trace) - 1, 0))
            rows.append(EncodedTrace(tokens, step_id))
        return rows

    @property
    def _begin(self) -> Sequence[int]:
        return self.rules.begin if self.rules.chat_template is None else ()

    def _heads(self, prompts: Sequence[str]) -> list[str]:
        """The text in front of every response."""
        if self.rules.chat_template is None:
            return [prompt + "\n" for prompt in prompts]
        template = ChatTemplate(source=self.rules.chat_template, special_tokens=self.rules.special_tokens)
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        turns = [[{"role": "user", "content": prompt}] for prompt in new]
        texts = template.render_all(turns, variables={"add_generation_prompt": True}) if turns else []
        for prompt, text in zip(new, texts, strict=True):
            if isinstance(text, InputError):
                raise text
            self._known[prompt] = text
        return [self._known[prompt] for prompt in prompts]

    def _encodings(self, texts: Sequence[str]) -> list[Any]:
        with tokenizer_errors("text"):
            return self.tokenizer.encode_batch(list(texts), add_special_tokens=False)


def extents(encoding: Any) -> tuple[np.ndarray, np.ndarray]:
    """First character of each token and the one after its last.

    Some byte-level tokenizers report spaces and line breaks without extent: they start where the token before ended.
    """
    starts, ends = np.array(encoding.offsets, int).reshape(-1, 2).T
    reached = np.maximum.accumulate(np.concatenate([[0], ends[:-1]])) if len(ends) else ends
    return np.where(ends > starts, starts, reached), ends


def read_tokenizer(files: TokenizerFiles, vocab_size: int | None = None) -> tuple[Tokenizer, TokenRules]:
    """The tokenizer of a model of `vocab_size` tokens (None: any), and how it writes texts. Raises InputError."""
    tokenizer = tokenizer_of(files, vocab_size)
    named, template = special_tokens(files), chat_template_of(files)
    end = _end(tokenizer, named, template, files.where(TOKENIZER_CONFIG))
    pad = tokenizer.token_to_id(named.get("pad_token", ""))
    rules = TokenRules(
        begin=_begin(tokenizer),
        end=end,
        pad=end if pad is None else pad,
        chat_template=None if template is None else template.source,
        special_tokens=named,
    )
    return tokenizer, rules


def tokenizer_of(files: TokenizerFiles, vocab_size: int | None) -> Tokenizer:
    """The tokenizer of a model of `vocab_size` tokens. InputError where it is missing, damaged or another model's."""
    where = files.where(TOKENIZER)
    if TOKENIZER not in files.texts:
        raise InputError(f"{where}: missing; download the tokenizer of this model too")
    return parse_tokenizer(files.texts[TOKENIZER], where, vocab_size)


def _begin(tokenizer: Tokenizer) -> list[int]:
    """The special tokens that the tokenizer writes in front of every text."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    count = next((i for i, special in enumerate(encoding.special_tokens_mask) if not special), 0)
    return encoding.ids[:count]


def _end(tokenizer: Tokenizer, named: Mapping[str, str], template: ChatTemplate | None, where: str) -> int:
    """The special token that the template writes behind a message of the assistant, else eos_token."""
    if template is not None:
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}]
        after = template.render(turns).rpartition(_MARK)[2].lstrip()
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        first = tokenizer.encode(after, add_special_tokens=False).ids[:1]
        if special.intersection(first):
            return first[0]
    end = tokenizer.token_to_id(named.get("eos_token", ""))
    if end is None:
        got = repr(named.get("eos_token"))
        raise InputError(f"{where}: eos_token: expected a token of tokenizer.json, got {got}")
    return end
