"""What `score`, `rerank` and `evaluate` share: a model folder as a scorer, and candidates scored file by file."""

import dataclasses
import datetime
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import track

from experiments.workspace import NETWORKS, REWARDS, vocabulary
from irl.environments.base import Environment
from irl.environments.countdown import Countdown
from irl.environments.modchain import ModChain
from irl.traces.chat import load_chat_template
from irl.traces.conversations import ConversationEncoder, ConversationScorer, has_chat_template, read_tokenizer
from irl.traces.encode import Encoder
from irl.traces.formats import read_candidates
from irl.traces.json_lines import json_line, write_json_lines
from irl.traces.judged_steps import TaggedStepEncoder, TurnEncoder, token_of
from irl.traces.scoring import TextScorer, TextScores
from irl.traces.tokenize import parse_tokenizer
from irl.types import Candidates, InputError
from reward_models.checkpoint_folder import TOKENIZER, load_folder
from reward_models.hugging_face import load_hugging_face
from reward_models.hugging_face_config import architecture_of
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, StepEnds, VocabularyHead
from reward_models.records import read_json
from reward_models.tensor_file import check_params

ENVIRONMENTS: dict[str, type] = {"Countdown": Countdown, "ModChain": ModChain}
"""The domains a model folder may name: they know where steps end and what state they are taken in."""
PROBLEMS_AT_ONCE = 64
_IN_WORDS = "--step-tokens '+,-', and --step-marker where a word such as 'ки' stands behind every step"
_STEP_MARKERS = {"Qwen2ForProcessRewardModel": "<extra_0>"}
"""Architectures that read the score of a step at a token of its own (Zhang et al. 2025, arXiv 2501.07301)."""


def load_scorer(folder: Path) -> tuple[TextScorer, Environment]:
    """The reward model of a folder and the environment it reads traces of."""
    model = load_folder(folder, classes=NETWORKS)
    if isinstance(model.network, DecoderConfig):
        raise InputError(f"{folder}: holds a policy, not a reward model; the reward is the folder 'model' of a run")
    if not isinstance(model.network, REWARDS):
        got = type(model.network).__name__
        raise InputError(f"{folder}/config.json: network: expected a network that scores traces, got {got}")
    if model.manifest.windows not in ("whole trace", "states"):
        got = repr(model.manifest.windows)
        raise InputError(f"{folder}/manifest.json: windows: expected 'whole trace' or 'states', got {got}")
    name = model.manifest.environment
    if name not in ENVIRONMENTS:
        known = ", ".join(sorted(ENVIRONMENTS))
        raise InputError(f"{folder}/manifest.json: environment: expected one of {known}, got {name!r}")
    environment: Environment = ENVIRONMENTS[name]()
    tokenizer = parse_tokenizer(model.tokenizer_json, str(folder / TOKENIZER), vocabulary(model.network))
    encoder = Encoder(tokenizer, 4096, 256)
    states = environment if model.manifest.windows == "states" else None
    network = model.network.make()
    network = network._replace(spec=model.spec)
    try:
        check_params(model.params, jax.eval_shape(network.init, jax.random.key(0)))
    except ValueError as error:
        raise InputError(f"{folder}/model.safetensors: {error}") from error
    return TextScorer(network, model.params, encoder, environment.split_steps, states=states), environment


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
        return _judge_in_words(folder, dtype, date, step_tokens, step_marker)
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
    )
    return ConversationScorer(dataclasses.replace(model.network, read=read).make(), model.params, encoder)


def _judge_in_words(
    folder: Path, dtype: str, date: datetime.date | None, step_tokens: str, step_marker: str | None
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
            tokenizer=tokenizer, template=template, context=decoder.context_length, verdict=words[0], by_step=True
        )
        read = StepEnds(label=0, scale="probability", aggregate="mean")
    else:
        tag = token_of(tokenizer, step_marker)
        encoder = TaggedStepEncoder(
            tokenizer=tokenizer,
            template=template,
            context=decoder.context_length,
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


def scored(scorer: TextScorer, path: Path) -> Iterator[tuple[Candidates, TextScores]]:
    """Every problem of a file with the scores of its candidates, in the file's order, in constant memory."""
    records = track(read_candidates(path), description=f"scoring {path.name}", console=Console(stderr=True))
    for block in _blocks(records):
        prompts = [record.prompt for record in block for _ in record.candidates]
        try:
            scores = scorer(prompts, [candidate.text for record in block for candidate in record.candidates])
        except InputError as error:
            raise InputError(f"{path}: problems {block[0].id!r} to {block[-1].id!r}: {error}") from error
        start = 0
        for record in block:
            span = slice(start, start + len(record.candidates))
            yield record, TextScores(scores.trace[span], scores.steps[span], scores.step_texts[span])
            start = span.stop


def _blocks(records) -> Iterator[list[Candidates]]:
    records = iter(records)
    while block := list(itertools.islice(records, PROBLEMS_AT_ONCE)):
        yield block


def finite(scores: Sequence[float] | np.ndarray) -> list[float | None]:
    """Scores as JSON has them: a candidate without any step has none."""
    return [float(score) if np.isfinite(score) else None for score in scores]


def check_output(output: Path | None, candidates: Path) -> None:
    """InputError where writing the answers would be refused in the end, or would replace the question."""
    if output is not None and output.is_dir():
        raise InputError(f"--output {output}: is a folder; name a file")
    if output is not None and output.exists() and candidates.exists() and output.samefile(candidates):
        raise InputError(f"--output {output}: is the file of candidates; name another")


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
