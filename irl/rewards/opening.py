"""The scorer of a model folder of any kind: `open_scorer(path).answers(questions)`.

native         traces of a domain (scoring.py), or what their steps claim (claims.py)
hugging_face   conversations (conversations.py); a language model judges steps in words (judged_steps.py)
gguf           as the language model of a Hugging Face folder
peft           as the base with its adapters
"""

import dataclasses
import datetime
import os
from pathlib import Path

from irl.domains.base import Environment, ReadsTexts
from irl.domains.files import TraceText
from irl.limits import MAX_TOKENS
from irl.rewards.claims import ClaimScorer
from irl.rewards.conversations import ConversationEncoder, ConversationScorer
from irl.rewards.ending import EndedAnswers
from irl.rewards.judged_steps import TaggedStepEncoder, TurnEncoder, token_of
from irl.rewards.questions import END_FOLDER, AnswerScorer
from irl.rewards.scoring import TextScorer
from irl.text.chat import chat_template_of
from irl.text.encode import Encoder
from irl.text.encoder import TextEncoder
from irl.text.hugging_face import HuggingFaceEncoder, read_tokenizer, tokenizer_of
from irl.text.readings import readings
from irl.text.windows import WHOLE_TRACE, Windows, windows_of
from irl.types import InputError
from reward_models.folders.hugging_face_config import architecture_of
from reward_models.folders.hugging_face_tensors import CONFIG, json_object
from reward_models.folders.manifest import MANIFEST, Provenance, TextRules
from reward_models.folders.opening import Layout, Model, layout_of, open_model
from reward_models.networks.base import NetworkConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, MLPHead, StepEnds, VocabularyHead
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.registry import classes, import_all

_IN_WORDS = "--step-tokens '+,-', and --step-marker where a word such as 'ки' follows every step"
_STEP_MARKERS = {"Qwen2ForProcessRewardModel": "<extra_0>"}
"""Architectures that read the score of a step at a token of its own (Zhang et al. 2025, arXiv 2501.07301)."""


def open_scorer(
    path: str | os.PathLike[str],
    *,
    max_tokens: int = MAX_TOKENS,
    base: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    label: int | None = None,
    date: datetime.date | None = None,
    step_tokens: str | None = None,
    step_marker: str | None = None,
) -> AnswerScorer:
    """The scorer of a model folder.

    Args:
        path: A folder that a run saved, a Hugging Face folder, a GGUF file, or a PEFT folder of adapters.
        max_tokens: Most tokens that the model reads for one answer, prompt included.
        base: The folder or file of the base of adapters, where it is not the one that adapter_config.json names.
        dtype: float32 or bfloat16: what a network of a Hugging Face folder or a GGUF file computes in.
        label: Which label of a Hugging Face head is the score, where it has several.
        date: The date for a chat template that asks for one.
        step_tokens: Language models that judge steps: the token for a right and the one for a wrong step, such as
            "+,-".
        step_marker: With `step_tokens`: the word behind every step where the model says whether the step is right.

    Raises:
        InputError: The folder cannot be read, or an option does not fit it.
    """
    folder, layout = Path(path), layout_of(Path(path))
    if layout == "native" and (dtype, label, date, step_tokens, step_marker) != ("float32", *[None] * 4):
        names = "--date, --label, --dtype, --step-tokens and --step-marker"
        raise InputError(f"{folder}: {names} are for Hugging Face folders and GGUF files; leave them out")
    _check_words(folder, layout, label, step_tokens, step_marker)
    model = open_model(folder, base=base, dtype=dtype, label=label)
    scorer: AnswerScorer
    if model.manifest is not None:
        scorer = _reader(model, model.manifest, max_tokens)
    elif isinstance(model.network, DecoderConfig):
        assert step_tokens is not None
        scorer = _judge_in_words(model, date, step_tokens, step_marker, max_tokens)
    else:
        scorer = _conversations(model, folder, date, max_tokens)
    return _with_end(scorer, folder / END_FOLDER, max_tokens)


def _with_end(scorer: AnswerScorer, folder: Path, max_tokens: int) -> AnswerScorer:
    """The scorer, with the score of ends that its folder holds."""
    if not folder.is_dir():
        return scorer
    ending = open_scorer(folder, max_tokens=max_tokens)
    if not (isinstance(ending, ClaimScorer) and ending.judges_end):
        raise InputError(f"{folder}: expected a score of ends, as a run saves it; copy it again")
    return EndedAnswers(scorer, ending)


def open_likelihood(path: str | os.PathLike[str], max_tokens: int = MAX_TOKENS) -> AnswerScorer:
    """The log-probability of answers, in nats, by a policy that a run saved or by another language model."""
    model = open_model(path)
    if not isinstance(model.network, DecoderConfig):
        policy = "a policy that a run saved, such as runs/quickstart/policy, or another language model"
        raise InputError(f"{path}: expected {policy}")
    network = SoftAdvantageConfig(decoder=model.network, information="none")
    about = language_model_texts(model) if model.manifest is None else model.manifest
    return _reader(model._replace(network=network, spec=network.make().spec), about, max_tokens)


def language_model_texts(model: Model) -> Provenance:
    """How a language model of no run reads and writes traces: by its own tokenizer, and their steps are lines."""
    _, rules = read_tokenizer(model.files, model.network.vocab_size)
    return Provenance(text=TextRules(**dataclasses.asdict(TraceText())), tokens=rules)


def _check_words(
    folder: Path, layout: Layout, label: int | None, step_tokens: str | None, step_marker: str | None
) -> None:
    """InputError, before any weights are read, for a language model without step tokens and the other way round."""
    architecture = "this model"
    if layout == "hugging_face":
        architecture = architecture_of(json_object(folder / CONFIG), str(folder / CONFIG))
    if layout != "gguf" and not architecture.endswith("ForCausalLM"):
        if (step_tokens, step_marker) != (None, None):
            needless = f"{architecture} has a head and does not judge in words"
            raise InputError(f"{folder}: --step-tokens and --step-marker: {needless}; leave them out")
        return
    if step_tokens is None:
        bare = f"{architecture} is a language model without a reward head"
        other = "take a sequence or token classifier, or a process reward model"
        raise InputError(f"{folder}: {bare}; {other}; one that judges steps in words needs {_IN_WORDS}")
    if label is not None:
        raise InputError(f"{folder}: --label: the first of --step-tokens is the score; leave it out")


# ------------------------------------------------------------------------------------------ native folders


def _reader(model: Model, manifest: Provenance, max_tokens: int) -> AnswerScorer:
    """The scorer of a model that reads traces as its manifest says."""
    folder, network = model.files.source, model.network
    if isinstance(network, DecoderConfig):
        raise InputError(f"{folder}: holds a policy, not a reward model; the reward is the folder 'model' of a run")
    if not isinstance(network, NetworkConfig):
        got = type(network).__name__
        raise InputError(f"{folder}/config.json: network: expected a network that scores traces, got {got}")
    tokenizer = tokenizer_of(model.files, network.vocabulary)
    reading = readings().get(manifest.windows)
    if reading is not None:
        return ClaimScorer(network.make(), model.params, reading, Encoder(tokenizer, reading.longest, 1), max_tokens)
    domain = _domain(manifest, folder)
    encoder: TextEncoder = Encoder(tokenizer, 4096, 256, domain.split_steps)
    if manifest.tokens is not None:
        encoder = HuggingFaceEncoder(tokenizer, 4096, 256, domain.split_steps, rules=manifest.tokens)
    return TextScorer(
        network.make()._replace(spec=model.spec),
        model.params,
        encoder,
        domain.split_steps,
        windows=_windows(domain, manifest, folder),
        domain=domain,
        max_tokens=max_tokens,
    )


def _domain(manifest: Provenance, folder: Path) -> ReadsTexts:
    """The domain that a folder names."""
    if manifest.text is not None:
        return TraceText(**dataclasses.asdict(manifest.text))
    import_all("irl.domains")
    known = {kind.__name__: kind for kind in classes() if issubclass(kind, Environment)}
    if manifest.environment not in known:
        expected, got = ", ".join(sorted(known)), repr(manifest.environment)
        own = "for a domain of your own, import its module first (--config FILE.py)"
        raise InputError(f"{folder}/{MANIFEST}: environment: expected one of {expected}, got {got}; {own}")
    return known[manifest.environment]()


def _windows(domain: ReadsTexts, manifest: Provenance, folder: Path) -> Windows:
    """The windows that a folder names: those of its domain, or the whole trace."""
    known = {each.name: each for each in (WHOLE_TRACE, windows_of(domain))}
    if manifest.windows not in known:
        expected = ", ".join((*known, *sorted(readings())))
        raise InputError(f"{folder}/{MANIFEST}: windows: expected one of {expected}, got {manifest.windows!r}")
    return known[manifest.windows]


# ------------------------------------------------------------------------------------------ Hugging Face and PEFT


def _conversations(model: Model, folder: Path, date: datetime.date | None, max_tokens: int) -> ConversationScorer:
    """The scorer of a model with a head."""
    network = model.network
    if not isinstance(network, HeadedDecoderConfig):
        bare = "task_type is CAUSAL_LM, which has no score head; expected SEQ_CLS or TOKEN_CLS"
        raise InputError(f"{folder}/adapter_config.json: {bare}")
    read, config = network.read, network
    tokenizer = tokenizer_of(model.files, network.decoder.vocab_size)
    if isinstance(read, StepEnds) and read.marker is None and isinstance(network.head, MLPHead):
        if network.decoder.adapters is not None:
            raise InputError(f"{folder}: its base marks steps with a token of its own; merge the adapters into it")
        usual = tokenizer.token_to_id(_STEP_MARKERS.get(model.config["architectures"][0], ""))
        read = read if usual is None else dataclasses.replace(read, marker=usual)
        config = dataclasses.replace(network, read=read)
    by_step = isinstance(read, StepEnds)
    encoder = ConversationEncoder(
        tokenizer=tokenizer,
        template=chat_template_of(model.files, date),
        by_step=by_step,
        marker=tokenizer.id_to_token(read.marker) if isinstance(read, StepEnds) and read.marker is not None else None,
        context=network.decoder.context_length,
        max_tokens=max_tokens,
    )
    return ConversationScorer(config.make(), model.params, encoder)


def _judge_in_words(
    model: Model, date: datetime.date | None, step_tokens: str, step_marker: str | None, max_tokens: int
) -> ConversationScorer:
    """A language model as a process reward model; Math-Shepherd ranks by the lowest step, RLHFlow by their mean."""
    words = step_tokens.split(",")
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        raise InputError(f"--step-tokens {step_tokens!r}: expected two tokens with a comma between, such as '+,-'")
    template = chat_template_of(model.files, date)
    if template is None and step_marker is None:
        missing = "there is no chat template to judge in turns with"
        raise InputError(f"{model.files.source}: {missing}; name the --step-marker")
    decoder: DecoderConfig = model.network
    tokenizer = tokenizer_of(model.files, decoder.vocab_size)
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
    return ConversationScorer(network.make(), {"trunk": model.params}, encoder)
