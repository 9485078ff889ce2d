r"""Solutions as language models read them that say of every step whether it is right, by a token of their vocabulary.

    tagged   question step_0 ки\nstep_1 ки\n...: the verdict is what the model would write after the tag
             (Math-Shepherd: Wang et al. 2024, arXiv 2312.08935)
    turns    user: question step_0, assistant: +, user: step_1, assistant: +, ...: the verdict is what the model would
             write where the assistant's token stands (RLHFlow: github.com/RLHFlow/RLHF-Reward-Modeling, math-rm)

Both become rows in which the score of a step is read inside it: at its tag, and at its last token, which is the one
before the assistant's. Differences:
1. RLHFlow runs the model once per step and leaves earlier verdicts at "+"; here one pass reads all steps, which is the
   same, since nothing later is seen.
2. A question and its first step have a space between them unless one is there (RLHFlow always writes one).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from irl.data.messages import message_rows
from irl.rewards.conversations import ConversationEncoder, Written
from irl.rewards.questions import Answer, Question, split_parts
from irl.text.chat import Key
from irl.text.packing import EncodedTrace
from irl.types import InputError, Message

_MARK = "WHAT-THE-ASSISTANT-SAYS"
_VERDICT = ("assistant", _MARK)


def token_of(tokenizer: Tokenizer, word: str) -> int:
    """The id of a word that is one token where a text starts, or else by its name; InputError where it is none."""
    ids = tokenizer.encode(word, add_special_tokens=False).ids
    number = ids[0] if len(ids) == 1 else tokenizer.token_to_id(word)
    if number is None:
        raise InputError(f"{word!r} is {len(ids)} tokens of this tokenizer, not one; name a token it has")
    return number


@dataclass(frozen=True, kw_only=True)
class TaggedStepEncoder(ConversationEncoder):
    """Every step ends with `marker`, in which the token `tag` is."""

    tag: int

    def _row(self, written: Written, encoding: Any) -> EncodedTrace:
        row = super()._row(written, encoding)
        tagged = set(np.array(row.step_id)[np.array(row.tokens) == self.tag].tolist())
        for index in sorted(set(range(len(written.steps))) - tagged):
            reason = f"the tokenizer does not write {self.marker!r} behind it with the token {self.tag}"
            raise InputError(f"step {index} ({written.steps[index][:40]!r}): {reason}; take this model's tokenizer")
        return row

    def _writer(self, question: Question) -> Callable[[Answer], Written]:
        return super()._writer(question if self.template else _spaced(question))


@dataclass(frozen=True, kw_only=True)
class TurnEncoder(ConversationEncoder):
    """Every step is a user's turn that the assistant answers with `verdict`; needs a template."""

    verdict: str

    def _row(self, written: Written, encoding: Any) -> EncodedTrace:
        row, verdict = super()._row(written, encoding), token_of(self.tokenizer, self.verdict)
        ids = np.array([*row.step_id, -1])
        ends = np.flatnonzero((ids[:-1] >= 0) & (ids[1:] != ids[:-1]))
        following = np.array([*row.tokens, -1])[ends + 1]
        if len(ends) != len(written.steps) or (following != verdict).any():
            reason = f"the tokenizer does not write the assistant's {self.verdict!r} as the token {verdict}"
            raise InputError(f"{reason}; take the tokenizer and the chat template of this model")
        return row

    def _writer(self, question: Question) -> Callable[[Answer], Written]:
        return partial(self._in_turns, question)

    def _conversations(self, question: Question) -> Iterator[Key]:
        for answer in question.answers:
            yield tuple((turn.role, turn.content) for turn in _turns(question, _stripped_steps(answer)))

    def _in_turns(self, question: Question, answer: Answer) -> Written:
        """Step k + 1 starts with the verdict on step k."""
        steps = _stripped_steps(answer)
        role = _spaced(question).messages[-1].role
        if role != "user":
            raise InputError(f"the turn before the answer is of {role!r}; expected a user's question")
        assert self.template is not None
        pieces = self.template.render(message_rows(_turns(question, steps))).split(_MARK)
        if len(pieces) != len(steps) + 1:
            reason = f"writes {len(pieces) - 1} of {len(steps)} turns of the assistant"
            raise InputError(f"the chat template {reason}; take the template of this model")
        ends = list(accumulate(len(piece) for piece in pieces[:-1]))
        ends = [end + index * len(self.verdict) for index, end in enumerate(ends)]
        start = max(pieces[0].rfind(steps[0]), 0)
        return Written(self.verdict.join(pieces), start, ends[-1], [start, *ends[:-1]], steps)


def _stripped_steps(answer: Answer) -> tuple[str, ...]:
    return tuple(part.strip() for part in answer.parts or split_parts(answer.text))


def _turns(question: Question, steps: tuple[str, ...]) -> list[Message]:
    """The turns of the question and of every step, with a mark in place of every verdict."""
    *before, asked = _spaced(question).messages
    contents = [asked.content + steps[0], *steps[1:]]
    pairs = [(("user", content), _VERDICT) for content in contents]
    return [*before, *(Message(role=role, content=content) for pair in pairs for role, content in pair)]


def _spaced(question: Question) -> Question:
    """The question with a space behind it, as its last turn too."""
    *before, asked = question.messages or (Message(role="user", content=question.prompt),)
    last = Message(role=asked.role, content=_with_space(asked.content))
    return question._replace(prompt=_with_space(question.prompt), messages=(*before, last))


def _with_space(text: str) -> str:
    return text if text[-1:].isspace() else f"{text} "
