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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from tokenizers import Tokenizer

from irl.traces.conversations import ConversationEncoder, Question, Written, answer_name, checked_name, split_parts
from irl.traces.encode import EncodedTrace
from irl.traces.reward_data.messages import message_rows
from irl.types import InputError, Message

_MARK = "WHAT-THE-ASSISTANT-SAYS"
_VERDICT = ("assistant", _MARK)

Encoded = tuple[list[EncodedTrace], list[tuple[str, ...]]]


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

    def many(self, questions: Sequence[Question]) -> Encoded:
        rows, steps = super().many(questions)
        for name, row, texts in zip(_names(questions), rows, steps, strict=True):
            tagged = set(np.array(row.step_id)[np.array(row.tokens) == self.tag].tolist())
            for index in sorted(set(range(len(texts))) - tagged):
                told = f"the tokenizer does not write {self.marker!r} behind it with the token {self.tag}"
                raise InputError(f"{name}: step {index} ({texts[index][:40]!r}): {told}; take this model's tokenizer")
        return rows, steps

    def written(self, question: Question) -> Iterator[Written]:
        return super().written(question if self.template else _spaced(question))


@dataclass(frozen=True, kw_only=True)
class TurnEncoder(ConversationEncoder):
    """Every step is a user's turn that the assistant answers with `verdict`; needs a template."""

    verdict: str

    def many(self, questions: Sequence[Question]) -> Encoded:
        rows, steps = super().many(questions)
        verdict = token_of(self.tokenizer, self.verdict)
        for name, row, texts in zip(_names(questions), rows, steps, strict=True):
            ids = np.array([*row.step_id, -1])
            ends = np.flatnonzero((ids[:-1] >= 0) & (ids[1:] != ids[:-1]))
            following = np.array([*row.tokens, -1])[ends + 1]
            if len(ends) != len(texts) or (following != verdict).any():
                told = f"the tokenizer does not write the assistant's {self.verdict!r} as the token {verdict}"
                raise InputError(f"{name}: {told}; take the tokenizer and the chat template of this model")
        return rows, steps

    def written(self, question: Question) -> Iterator[Written]:
        for answer in question.answers:
            name = checked_name(question, answer)
            steps = tuple(part.strip() for part in answer.parts or split_parts(answer.text))
            yield self._in_turns(name, question, steps)

    def _in_turns(self, name: str, question: Question, steps: tuple[str, ...]) -> Written:
        """Step k + 1 starts with the verdict on step k."""
        *before, asked = _spaced(question).messages
        if asked.role != "user":
            raise InputError(f"{name}: the turn before the answer is of {asked.role!r}; expected a user's question")
        said = [asked.content + steps[0], *steps[1:]]
        turns = [Message(role=role, content=text) for step in said for role, text in (("user", step), _VERDICT)]
        assert self.template is not None
        pieces = self.template.render(message_rows([*before, *turns])).split(_MARK)
        if len(pieces) != len(steps) + 1:
            told = f"writes {len(pieces) - 1} of {len(steps)} turns of the assistant"
            raise InputError(f"{name}: the chat template {told}; take the template of this model")
        ends = list(accumulate(len(piece) for piece in pieces[:-1]))
        ends = [end + index * len(self.verdict) for index, end in enumerate(ends)]
        start = max(pieces[0].rfind(steps[0]), 0)
        return Written(self.verdict.join(pieces), start, ends[-1], [start, *ends[:-1]], steps)


def _names(questions: Sequence[Question]) -> list[str]:
    return [answer_name(question, answer) for question in questions for answer in question.answers]


def _spaced(question: Question) -> Question:
    """The question with a space behind it, as its last turn too."""
    *before, asked = question.messages or (Message(role="user", content=question.prompt),)
    last = Message(role=asked.role, content=_with_space(asked.content))
    return question._replace(prompt=_with_space(question.prompt), messages=(*before, last))


def _with_space(text: str) -> str:
    return text if text[-1:].isspace() else f"{text} "
