"""What `score`, `rerank` and `evaluate` share: a model folder as a scorer, and candidates scored file by file."""

import dataclasses
import datetime
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import track

from experiments.core.outputs import check_output
from irl.data.formats import read_candidates
from irl.data.json_lines import json_line, write_json_lines
from irl.domains.base import Environment, ReadsTexts
from irl.domains.files import TraceText
from irl.rewards.conversations import ConversationEncoder, ConversationScorer, has_chat_template, read_tokenizer
from irl.rewards.judged_steps import TaggedStepEncoder, TurnEncoder, token_of
from irl.rewards.questions import MAX_TOKENS, AnswerScorer, AnswerScores, Question, question_of
from irl.rewards.scoring import TextScorer
from irl.rewards.text_answers import TextAnswers
from irl.text.chat import load_chat_template
from irl.text.encode import Encoder
from irl.text.tokenize import parse_tokenizer
from irl.text.windows import HasStates
from irl.types import Candidates, InputError
from reward_models.folders.hugging_face import load_hugging_face
from reward_models.folders.hugging_face_config import architecture_of
from reward_models.folders.manifest import Manifest
from reward_models.folders.native import TOKENIZER, load_folder
from reward_models.folders.tensor_file import check_params
from reward_models.networks.base import NetworkConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, StepEnds, VocabularyHead
from reward_models.records import read_json
from reward_models.registry import classes, import_all

PROBLEMS_AT_ONCE = 64
_IN_WORDS = "--step-tokens '+,-', and --step-marker where a word such as 'ки' stands behind every step"
_STEP_MARKERS = {"Qwen2ForProcessRewardModel": "<extra_0>"}
"""Architectures that read the score of a step at a token of its own (Zhang et al. 2025, arXiv 2501.07301)."""


def load_scorer(folder: Path) -> tuple[TextScorer, ReadsTexts]:
    """The reward model of a folder and the environment it reads traces of."""
    scorer, environment, _ = _load_texts(folder, MAX_TOKENS)
    return scorer, environment


def load_answers(folder: Path, max_tokens: int = MAX_TOKENS) -> tuple[TextAnswers, ReadsTexts]:
    """As `load_scorer`, for answers of which some may not fit."""
    _, environment, answers = _load_texts(folder, max_tokens)
    return answers, environment


def _load_texts(folder: Path, max_tokens: int) -> tuple[TextScorer, ReadsTexts, TextAnswers]:
    model = load_folder(folder)
    if isinstance(model.network, DecoderConfig):
        raise InputError(f"{folder}: holds a policy, not a reward model; the reward is the folder 'model' of a run")
    if not isinstance(model.network, NetworkConfig):
        got = type(model.network).__name__
        raise InputError(f"{folder}/config.json: network: expected a network that scores traces, got {got}")
    if model.manifest.windows not in ("whole trace", "states"):
        got = repr(model.manifest.windows)
        raise InputError(f"{folder}/manifest.json: windows: expected 'whole trace' or 'states', got {got}")
    environment = _environment(model.manifest, folder)
    tokenizer = parse_tokenizer(model.tokenizer_json, str(folder / TOKENIZER), model.network.vocabulary)
    encoder = Encoder(tokenizer, 4096, 256)
    states = _states(environment, model.manifest, folder)
    network = model.network.make()
    network = network._replace(spec=model.spec)
    try:
        check_params(model.params, jax.eval_shape(network.init, jax.random.key(0)))
    except ValueError as error:
        raise InputError(f"{folder}/model.safetensors: {error}") from error
    scorer = TextScorer(network, model.params, encoder, environment.split_steps, states=states)

    def check_prompt(prompt: str) -> None:
        if isinstance(environment, HasStates):
            environment.state_before(prompt, ("",), 0)

    split = environment.split_steps
    answers = TextAnswers(scorer, encoder, split, check_prompt, states=states, max_tokens=max_tokens)
    return scorer, environment, answers


def _environment(manifest: Manifest, folder: Path) -> ReadsTexts:
    """The domain that a folder names."""
    if manifest.text is not None:
        return TraceText(steps=manifest.text.steps, answer=manifest.text.answer)
    import_all("irl.domains")
    known = {kind.__name__: kind for kind in classes() if issubclass(kind, Environment)}
    if manifest.environment not in known:
        expected = ", ".join(sorted(known))
        got = repr(manifest.environment)
        raise InputError(f"{folder}/manifest.json: environment: expected one of {expected}, got {got}")
    return known[manifest.environment]()


def _states(environment: ReadsTexts, manifest: Manifest, folder: Path) -> HasStates | None:
    """What names the states of a reward that judges steps in them."""
    if manifest.windows != "states":
        return None
    if not isinstance(environment, HasStates):
        raise InputError(f"{folder}/manifest.json: windows: 'states' needs a domain that names states; got text rules")
    return environment


def is_hugging_face(folder: Path) -> bool:
    """Whether config.json is one of transformers; our folders have another."""
    return bool(_transformers_config(folder))


def load_conversations(
    folder: Path,
    *,
    dtype: str = "float32",
    label: int | None = None,
    date: datetime.date | None = None,
    step_tokens: str | None = None,
    step_marker: str | None = None,
    max_tokens: int | None = None,
) -> ConversationScorer:
    """The reward model of a downloaded Hugging Face folder; `date` is told to a chat template that asks for one.

    A language model judges steps by `step_tokens`, right and wrong with a comma between, in the assistant's turns or
    behind a `step_marker`.
    """
    architecture = architecture_of(_transformers_config(folder), str(folder / "config.json"))
    if architecture.endswith("ForCausalLM"):
        if step_tokens is None:
            told = f"{architecture} is a language model without a reward head"
            other = "take a sequence or token classifier, or a process reward model"
            raise InputError(f"{folder}: {told}; {other}; one that judges steps in words needs {_IN_WORDS}")
        if label is not None:
            raise InputError(f"{folder}: --label: the first of --step-tokens is the score; leave it out")
        return _judge_in_words(folder, dtype, date, step_tokens, step_marker, max_tokens)
    if (step_tokens, step_marker) != (None, None):
        told = f"{architecture} has a head and does not judge in words"
        raise InputError(f"{folder}: --step-tokens and --step-marker: {told}; leave them out")
    model = load_hugging_face(folder, dtype=dtype, label=label)
    assert isinstance(model.network, HeadedDecoderConfig)
    decoder, read = model.network.decoder, model.network.read
    tokenizer = read_tokenizer(folder / "tokenizer.json", decoder.vocab_size)
    usual = tokenizer.token_to_id(_STEP_MARKERS.get(architecture, ""))
    if isinstance(read, StepEnds) and read.marker is None and usual is not None:
        read = dataclasses.replace(read, marker=usual)
    encoder = ConversationEncoder(
        tokenizer=tokenizer,
        template=load_chat_template(folder, date=date) if has_chat_template(folder) else None,
        by_step=isinstance(read, StepEnds),
        marker=tokenizer.id_to_token(read.marker) if isinstance(read, StepEnds) and read.marker is not None else None,
        context=decoder.context_length,
        max_tokens=max_tokens,
    )
    return ConversationScorer(dataclasses.replace(model.network, read=read).make(), model.params, encoder)


def _judge_in_words(
    folder: Path,
    dtype: str,
    date: datetime.date | None,
    step_tokens: str,
    step_marker: str | None,
    max_tokens: int | None,
) -> ConversationScorer:
    """A language model as a process reward model; Math-Shepherd ranks by the lowest step, RLHFlow by their mean."""
    words = step_tokens.split(",")
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        raise InputError(f"--step-tokens {step_tokens!r}: expected two tokens with a comma between, such as '+,-'")
    template = load_chat_template(folder, date=date) if has_chat_template(folder) else None
    if template is None and step_marker is None:
        raise InputError(f"{folder}: there is no chat template to judge in turns with; name the --step-marker")
    decoder, params, _, _ = load_hugging_face(folder, dtype=dtype)
    assert isinstance(decoder, DecoderConfig)
    tokenizer = read_tokenizer(folder / "tokenizer.json", decoder.vocab_size)
    head = VocabularyHead(tokens=(token_of(tokenizer, words[0]), token_of(tokenizer, words[1])))
    encoder: ConversationEncoder
    if step_marker is None:
        encoder = TurnEncoder(
            tokenizer=tokenizer,
            template=template,
            context=decoder.context_length,
            max_tokens=max_tokens,
            verdict=words[0],
            by_step=True,
        )
        read = StepEnds(label=0, scale="probability", aggregate="mean")
    else:
        tag = token_of(tokenizer, step_marker)
        encoder = TaggedStepEncoder(
            tokenizer=tokenizer,
            template=template,
            context=decoder.context_length,
            max_tokens=max_tokens,
            marker=f" {step_marker}\n",
            tag=tag,
            by_step=True,
        )
        read = StepEnds(label=0, scale="probability", aggregate="min", marker=tag)
    network = HeadedDecoderConfig(decoder=decoder, head=head, read=read, information="step labels")
    return ConversationScorer(network.make(), {"trunk": params}, encoder)


def _transformers_config(folder: Path) -> dict[str, Any]:
    """config.json where it is one of transformers, else nothing; what is wrong with a folder its reader says."""
    try:
        config = read_json(folder / "config.json")
    except InputError:
        return {}
    known = isinstance(config, dict) and ("architectures" in config or "model_type" in config)
    return config if known else {}


def scored(scorer: AnswerScorer, path: Path, skipped: "Skipped") -> Iterator[tuple[Candidates, AnswerScores]]:
    """Every problem of a file with the scores of its candidates, in the file's order, in constant memory."""
    records = track(read_candidates(path), description=f"scoring {path.name}", console=Console(stderr=True))
    row = 0
    for block in _blocks(records):
        asked = [question_of(record, record.id) for record in block]
        scores = named(scorer, path)(asked)
        start = 0
        for record, question in zip(block, asked, strict=True):
            row += 1
            span = slice(start, start + len(record.candidates))
            part = AnswerScores(scores.trace[span], scores.steps[span], scores.step_texts[span], scores.reasons[span])
            skipped.add(row, question, part.reasons)
            yield record, part
            start = span.stop


def questions(path: Path) -> Iterator[Question]:
    """The problems of a file of candidates as questions."""
    return (question_of(record, record.id) for record in read_candidates(path))


def named(scorer: AnswerScorer, path: Path) -> Callable[[Sequence[Question]], AnswerScores]:
    """`scorer.answers`, with the file in front of its errors."""

    def score(questions: Sequence[Question]) -> AnswerScores:
        try:
            return scorer.answers(questions)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    return score


class Skipped:
    """The candidates that have no score: their number, and the first of them with their reasons."""

    LISTED = 20

    def __init__(self, path: Path, strict: bool = False):
        self._path, self._strict = path, strict
        self._listed: list[str] = []
        self.count = self.scored = 0

    def add(self, row: int, question: Question, reasons: Sequence[str]) -> None:
        """Count the answers of a question. InputError for the first one without a score if `strict`."""
        for answer, reason in zip(question.answers, reasons, strict=True):
            self.scored += not reason
            if not reason:
                continue
            place = f"row {row}" if question.id == f"row-{row}" else f"row {row} ({question.id})"
            line = f"{place}, candidate {answer.name}: {reason}"
            if self._strict:
                raise InputError(f"{self._path}: {line}; without --strict it is skipped")
            self.count += 1
            if len(self._listed) < self.LISTED:
                self._listed.append(line)

    def add_scored(self, count: int) -> None:
        """Count candidates that were scored by an earlier run."""
        self.scored += count

    def report(self) -> list[str]:
        """Lines for a person. InputError where no candidate at all has a score."""
        if not self.count:
            return []
        if not self.scored:
            raise InputError(f"{self._path}: none of its {self.count} candidates has a score: {self._listed[0]}")
        more = self.count - len(self._listed)
        head = f"{self._path}: {self.count} of {self.count + self.scored} candidates have no score"
        return [head, *(f"  {line}" for line in self._listed), *([f"  ... and {more} more"] if more else [])]


def _blocks(records) -> Iterator[list[Candidates]]:
    records = iter(records)
    while block := list(itertools.islice(records, PROBLEMS_AT_ONCE)):
        yield block


def finite(scores: Sequence[float] | np.ndarray) -> list[float | None]:
    """Scores as JSON has them: a candidate without any step has none."""
    return [float(score) if np.isfinite(score) else None for score in scores]


def output_file(output: Path, inputs: Path, models: Sequence[Path]) -> None:
    """InputError for an output that cannot become a file, or that would replace an input."""
    real = check_output(output, inputs=[inputs], models=models)
    if real.is_dir():
        raise InputError(f"--output {output}: is a folder; name a file")
    if real.exists() and not real.is_file():
        raise InputError(f"--output {output}: is not a regular file; without --output, scores go to standard output")


def write_answers(output: Path | None, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a JSON line per row to a file, which appears when it is complete, or to standard output."""
    if output is not None:
        return write_json_lines(output, rows)
    count = 0
    for row in rows:
        print(json_line(row).decode(), end="")
        count += 1
    return count


def say(message: str) -> None:
    print(message, file=sys.stderr)
