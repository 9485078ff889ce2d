"""Answers of questions for models that read the traces of a domain: which of them fit, and the scores of those."""

from collections.abc import Sequence

from irl.domains.base import ReadsTexts
from irl.rewards.questions import (
    MAX_TOKENS,
    AnswerScorer,
    AnswerScores,
    Question,
    answer_names,
    require_length,
    require_tokens,
    scatter,
)
from irl.rewards.scoring import TextScorer
from irl.text.encoder import TextEncoder
from irl.text.tokenize import UNKNOWN
from irl.text.windows import HasStates, encode_windows, step_windows
from irl.types import InputError

_KNOWN_SHARE = 0.5
"""An answer is scored when at least this share of its characters is known to the tokenizer."""


class TextAnswers(AnswerScorer):
    """Scores by a `TextScorer`.

    Args:
        scorer: What scores prompts and texts.
        encoder: The scorer's.
        domain: The scorer's.
        states: The scorer's, where it reads steps in windows.
        max_tokens: Most tokens that the scorer reads for one answer, over all windows.
    """

    def __init__(
        self,
        scorer: TextScorer,
        encoder: TextEncoder,
        domain: ReadsTexts,
        *,
        states: HasStates | None = None,
        max_tokens: int = MAX_TOKENS,
    ):
        self._scorer, self._encoder, self._split = scorer, encoder, domain.split_steps
        self._states, self._max_tokens = states, max_tokens
        tokenizer = encoder.tokenizer
        self._unknown = tokenizer.token_to_id(UNKNOWN)
        self._single = {ord(token): None for token in tokenizer.get_vocab() if len(token) == 1}
        self.spec, self.domain = scorer.spec, domain

    def answers(self, questions: Sequence[Question]) -> AnswerScores:
        """An entry per answer, in order. Those that do not fit have a reason instead of a score."""
        reasons = [reason for question in questions for reason in self._reasons(question)]
        asked = [(question.prompt, answer.text) for question in questions for answer in question.answers]
        fitting = [i for i, reason in enumerate(reasons) if not reason]
        names = answer_names(questions)
        prompts, texts = [asked[i][0] for i in fitting], [asked[i][1] for i in fitting]
        scores = self._scorer(prompts, texts, names=[names[i] for i in fitting])
        return scatter(reasons, scores)

    def _reasons(self, question: Question) -> list[str]:
        try:
            require_length(question.prompt, self._max_tokens)
            if isinstance(self.domain, HasStates):  # it reads the prompt
                self.domain.state_before(question.prompt, ("",), 0)
        except InputError as error:
            return [str(error)] * len(question.answers)
        return [self._reason(question.prompt, answer.text) for answer in question.answers]

    def _reason(self, prompt: str, text: str) -> str:
        try:
            require_length(prompt + text, self._max_tokens)
            steps = self._split(text)
            if not steps:
                raise InputError("there is no step in it; leave it out, or write what was answered")
            self._require_known(text)
            self._require_tokens(prompt, steps, len(prompt) + len(text) * (1 if text.isascii() else 4))
        except InputError as error:
            return str(error)
        return ""

    def _require_known(self, text: str) -> None:
        """InputError for a text of mostly unknown characters; characters with a token of their own are known."""
        if self._unknown is None or len(text.translate(self._single)) <= (1 - _KNOWN_SHARE) * len(text):
            return
        ids = self._encoder.tokenizer.encode(text, add_special_tokens=False).ids
        unknown = ids.count(self._unknown)
        if unknown > (1 - _KNOWN_SHARE) * len(text):
            told = f"{unknown} of its {len(text)} characters are unknown to the model's tokenizer"
            raise InputError(f"{told}; take a model of this domain, or leave it out")

    def _require_tokens(self, prompt: str, steps: Sequence[str], size: int) -> None:
        """InputError where the model would read too many tokens: no check for a text of few bytes, its most tokens."""
        most = size + len(steps) + 3
        if most * (1 if self._states is None else 2 * len(steps)) <= self._max_tokens:
            return
        (whole,) = self._encoder.many([prompt], [steps])
        require_tokens(len(whole.tokens), self._max_tokens)
        if self._states is not None:
            windows = [window for each in step_windows(self._states, prompt, steps) for window in each]
            require_tokens(sum(len(window.before) for window in windows), self._max_tokens)  # of a token each at least
            require_tokens(sum(len(row.tokens) for row in encode_windows(self._encoder, windows)), self._max_tokens)
