"""The model card of a reward model folder: one page that says what a score is worth, and what it is not for.

`write_model_card` puts `model_card.md` beside the weights, from the folder's manifest.json and config.json, the shapes
in model.safetensors, and the findings of an evaluation. A card without a training set or without intervals is refused.
"""

import math
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import safetensors

from experiments.core.overlap import Overlap, sentences
from irl.evaluation.audit import TRUNCATION, Finding, truncation_warnings
from irl.rewards.questions import END_FOLDER
from irl.types import InputError
from reward_models.folders.hugging_face_config import architecture_of
from reward_models.folders.hugging_face_config import read_config as read_hugging_face
from reward_models.folders.manifest import MANIFEST
from reward_models.folders.native import CARD, CONFIG, TOKENIZER, WEIGHTS, read_config
from reward_models.networks.decoder import DecoderConfig
from reward_models.records import read_json

LEARNED_FROM = {
    "demonstrations": "It saw experts' solutions and never whether an answer or a step is right.",
    "demonstrations + final answers": "It saw experts' solutions and the right final answers, no judgement of steps.",
    "outcome labels": "It saw whether final answers are right, no judgement of steps.",
    "step labels": "It saw judgements of single steps.",
    "preferences": "It saw which of two answers somebody preferred, not whether either is right.",
    "none": "It learned from no data.",
}
MEANING = {
    "reward": "The score of a step is its reward.",
    "advantage": "The score of a step says how much better it is than what was expected before it.",
    "value": "The score of a prefix says how good the traces are that may follow it.",
}
INTENDED_USE = (
    "Ranking answers to one prompt, weighing their votes, and pointing at the step to look at first, on the kind of "
    "problems it was trained on, beside baselines: majority, length, log-probability."
)
NOT_FOR = (
    "Comparing answers to different prompts: a score is known only up to a constant per prompt.",
    "Text of another kind than it was trained and measured on (above), or in another encoding.",
    "Saying that an answer is correct, safe or true: a high score is a guess, with the errors measured above.",
    "Optimising against it without a gold measure beside it: pushed hard, a learned reward is exploited.",
    "Decisions about people.",
)

USAGE = """from irl.rewards import ask, open_scorer
scorer = open_scorer("model")
scores = scorer.answers([ask(prompt, answers)])  # a text, and a list of texts that answer it
print(scores.trace, scores.steps)"""
"""Python, run beside the folder `model`."""


def write_model_card(
    folder: str | os.PathLike[str],
    metrics: Mapping[str, Finding],
    *,
    trained_on: str | None = None,
    overlaps: Sequence[Overlap] = (),
) -> Path:
    """Write the card of a model folder; an earlier one is replaced.

    `metrics` are held-out findings by name, such as "HH pairs: accuracy". `trained_on` may stand in the manifest
    instead. `overlaps` compare training and held-out prompts. InputError: a folder that cannot be read, nothing on the
    training data, no metrics.
    """
    path = Path(folder)
    facts = _facts(path)
    trained_on = trained_on or facts.trained_on
    if not trained_on:
        raise InputError(f"{path / MANIFEST}: trained_on: missing; save it with the model or pass trained_on")
    sections = [
        f"# {path.resolve().name}\n\n{_summary(facts, _count_parameters(path), (path / END_FOLDER).is_dir())}",
        *_warnings(metrics),
        f"## Trained on\n\n{trained_on}\n\n{_information(facts)}{_compared(overlaps)}",
        _metrics(metrics, facts.metrics),
        f"## Use\n\n{INTENDED_USE}",
        "## Not for\n\n" + "\n".join(f"- {line}" for line in NOT_FOR),
        f"## Load and score\n\n```python\n{USAGE}\n```",
        f"## Versions\n\n{facts.made} Card written by traceward {version('traceward')}.",
    ]
    card = path / CARD
    new = card.with_name(f".{CARD}.new")
    new.write_text("\n\n".join(sections) + "\n", encoding="utf-8", newline="\n")
    os.replace(new, card)
    return card


class Facts(NamedTuple):
    """What a folder says of its model."""

    network: str
    kind: str
    aggregate: str
    information: str
    made: str
    domain: str | None = None
    seed: int | None = None
    trained_on: str | None = None
    metrics: Mapping[str, float | None] = {}


def _facts(folder: Path) -> Facts:
    """Of a folder of ours, or of one in the layout of Hugging Face."""
    if not (folder / MANIFEST).exists():
        return _hugging_face_facts(folder / CONFIG)
    manifest, config = read_config(folder)
    made = ", ".join(f"{name} {number}" for name, number in manifest.created_with.items())
    encoding = manifest.files[TOKENIZER][:12]
    return Facts(
        network=str(config.network.get("class")).removesuffix("Config"),
        kind=config.spec.kind,
        aggregate=config.spec.aggregate,
        information=config.spec.information,
        made=f"Saved with {made}; folder format {manifest.format}; encoding {encoding} (sha256 of tokenizer.json).",
        domain=manifest.environment,
        seed=manifest.seed,
        trained_on=manifest.trained_on,
        metrics=manifest.metrics,
    )


def _hugging_face_facts(file: Path) -> Facts:
    config = read_json(file)
    architecture = architecture_of(config, str(file))
    network = read_hugging_face(config, dtype="float32", where=str(file))
    if isinstance(network, DecoderConfig):
        raise InputError(f"{file}: architectures: a language model has no scores to write a card of")
    spec = network.make().spec
    made = f"Saved in the layout of Hugging Face ({architecture}); `transformers` loads it too."
    return Facts(architecture, spec.kind, spec.aggregate, spec.information, made)


def _summary(facts: Facts, parameters: int, judges_end: bool) -> str:
    meaning = MEANING.get(facts.kind, f"Kind of score: {facts.kind}.")
    return (
        f"A reward model for traces of reasoning ({facts.network}, {parameters:,} parameters). {meaning} "
        f"The score of a trace is the {facts.aggregate} of its steps{' plus that of its end' if judges_end else ''}. "
        "Only differences between answers to one prompt mean anything."
    )


def _compared(overlaps: Sequence[Overlap]) -> str:
    """A paragraph on held-out prompts in the training data, where they were compared."""
    told = " ".join(sentences(overlaps))
    return f"\n\n**Overlap with held-out data.** {told}" if told else ""


def _information(facts: Facts) -> str:
    domain = "" if facts.domain is None else f" Domain: {facts.domain}."
    seed = "" if facts.seed is None else f" Seed: {facts.seed}."
    return f"**Information level: {facts.information}.** {LEARNED_FROM.get(facts.information, '')}{domain}{seed}"


def _warnings(held_out: Mapping[str, Finding]) -> list[str]:
    """What to read first: a reward with which a candidate can win by stopping early."""
    probes = {name: finding for name, finding in held_out.items() if name.endswith(TRUNCATION)}
    return [f"**Warning ({name}).** {text}" for name, probe in probes.items() for text in truncation_warnings(probe)]


def _metrics(held_out: Mapping[str, Finding], of_training: Mapping[str, float | None]) -> str:
    if not held_out:
        raise InputError("metrics: none given; a card without held-out numbers says nothing, evaluate the model first")
    rows = [_row(name, finding) for name, finding in held_out.items()]
    table = "| held out | value | 95% interval | problems |\n|---|---|---|---|\n" + "\n".join(rows)
    known = {name: "undefined" if value is None else f"{value:.4g}" for name, value in of_training.items()}
    noted = "".join(f"\n- {name}: {value}" for name, value in known.items())
    return f"## Metrics\n\n{table}" + (f"\n\nNoted when it was saved, without interval:\n{noted}" if noted else "")


def _row(name: str, finding: Finding) -> str:
    name = name.replace("|", "\\|")
    if math.isnan(finding.mean):
        return f"| {name} | undefined | | {finding.num_prompts:,} |"
    interval = "" if math.isnan(finding.low) else f"[{finding.low:.3f}, {finding.high:.3f}]"
    return f"| {name} | {finding.mean:.3f} | {interval} | {finding.num_prompts:,} |"


def _count_parameters(folder: Path) -> int:
    files = sorted(folder.glob("*.safetensors")) or [folder / WEIGHTS]
    return sum(map(_count_in, files))


def _count_in(file: Path) -> int:
    try:
        with safetensors.safe_open(file, "numpy") as tensors:
            return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{file}: cannot be read ({error}); give a model folder") from error
