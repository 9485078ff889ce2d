"""The options of every command that reads a model folder. Their modules, and with them JAX, are imported afterwards."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from irl.limits import MAX_TOKENS
from irl.types import InputError

if TYPE_CHECKING:
    from irl.rewards import AnswerScorer


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model folder and how to read it."""

    model: Path
    """A reward model folder, such as runs/quickstart/model or the calculations-seed-0 of a run, a Hugging Face folder
    as it was downloaded, a PEFT folder of low-rank adapters, or a GGUF file."""
    max_tokens: int = MAX_TOKENS
    """Most tokens that the model reads for one candidate, prompt included. A longer candidate gets no score: memory
    grows linearly with this limit, time with its square."""
    date: datetime.date | None = None
    """Models of other projects: the date for a chat template that asks for it, YYYY-MM-DD."""
    label: int | None = None
    """Hugging Face folders: which label is the score, where the head has several."""
    step_tokens: str | None = None
    """Language models that judge steps: the token for a right step and the one for a wrong step, such as
    "+,-". Every step is a user's turn and the token the assistant's (RLHFlow), unless there is a --step-marker. The
    score of a step is the probability of the first token among the two, that of an answer their mean."""
    step_marker: str | None = None
    """With --step-tokens: the word behind every step where the model says whether it is right, such as "ки"
    (Math-Shepherd). The score of an answer is that of its lowest step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Models of other projects: what the network computes in."""
    base: Path | None = None
    """PEFT folders: the folder or GGUF file of their base, where it is not the one that adapter_config.json names."""
    config: Path | None = None
    """The .py config of the run, for a model whose domain or network is a class of your own. The file is executed."""

    def __post_init__(self):
        if self.max_tokens < 1:
            raise InputError(f"--max-tokens {self.max_tokens}: expected 1 or more")

    @property
    def for_hugging_face(self) -> dict[str, Any]:
        """The options that only Hugging Face folders have."""
        names = ("date", "label", "dtype", "step_tokens", "step_marker")
        return {name: getattr(self, name) for name in names}

    def open(self) -> "AnswerScorer":
        """The scorer of the folder. InputError for a folder or an option that does not fit."""
        from irl.rewards import open_scorer

        if self.config is not None:
            from experiments.commands.run import load_config

            load_config(str(self.config))
        return open_scorer(self.model, base=self.base, max_tokens=self.max_tokens, **self.for_hugging_face)

    def folders(self) -> list[Path]:
        """The folder, that of the base of adapters, and that of the score of ends."""
        from irl.rewards.questions import END_FOLDER
        from reward_models.folders.opening import folders_of

        end = self.model / END_FOLDER
        return [*folders_of(self.model, self.base), *([end] if end.is_dir() else [])]


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(ModelOptions):
    """Score candidates: {"id", "candidate", "score", "step_scores", "steps"} per candidate, in the file's order.

    "candidate" is a number from 0, or "chosen" and "rejected". A candidate that cannot be scored keeps its line:
    "score" is null and "reason" says why. Such a candidate is empty, has no step, is longer than --max-tokens or the
    model's context, is mostly written in characters that the tokenizer does not know, or has a prompt that is not one
    of the model's domain. These candidates, and rows that do not fit the format, are listed on standard error, and the
    exit code is 0. It is 2 where no candidate has a score.

    The same command resumes an interrupted run, unless the output is compressed or standard output. The input may have
    been edited: rows that did not change are not scored again.
    """

    input: Path | None = None
    """JSON lines (compressed or not), .json or Parquet: {"prompt", "candidates": [{"text"}]}, {"prompt", "completion"},
    {"prompt", "chosen", "rejected"}, {"messages"} and other formats."""
    candidates: Path | None = None
    """The same as --input with --format candidates: {"id", "prompt", "candidates": [{"text"}]}."""
    output: Path | None = None
    """Where the scores go; standard output by default."""
    format: str | None = None
    """Name of the input's format; its columns tell by default."""
    strict: bool = False
    """Stop with exit code 2 at the first row or candidate that would be skipped. Scored candidates are kept: mend the
    input and run the same command again."""
    overwrite: bool = False
    """Remove what an interrupted run left of the output and start anew."""


@dataclass(frozen=True, kw_only=True)
class RerankOptions(ModelOptions):
    """Choose the best candidate of every problem.

    Candidates are JSON lines, compressed or not: {"id", "prompt", "candidates": [{"text", "correct"?}]}. The
    answer is one line per problem in the same order: {"id", "chosen", "scores", "step_scores"}. A candidate that cannot
    be scored (empty, without a step, longer than --max-tokens or the model's context, in characters that the tokenizer
    does not know, with a prompt that is not one of the model's domain) has the score null and is listed on standard
    error. It is never chosen unless all have none. The exit code is 2 where no candidate of the file has a score.
    """

    candidates: Path
    """The file of candidates."""
    policy: Path | None = None
    """The policy of a run, such as runs/quickstart/policy, or another language model, to compare with: its
    log-probability is another way to choose."""
    output: Path | None = None
    """Where the answers go; standard output by default."""
    strict: bool = False
    """Stop with exit code 2 at the first candidate that cannot be scored."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ModelOptions):
    """Best of k by the learned reward, majority of k and pass@k from the whole pool of --candidates; or a --benchmark.

    Candidates that cannot be scored are chosen last and listed on standard error. Votes need a model of a domain that
    reads answers; the column of the majority is left out for other models. A benchmark reads FILES and prints its own
    metrics, of the model and of baselines, over the rows whose answers all have a score; the others are listed.
    """

    candidates: Path | None = None
    """JSON lines with "correct" on every candidate and equally many candidates per problem."""
    benchmark: str | None = None
    """processbench, prmbench, rewardbench, rewardbench2 or bigbench_mistake."""
    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The files of the benchmark, a split or task each."""
    threshold: float | None = None
    """Benchmarks of steps: a step that scores below it is wrong. By default the threshold is cross-fitted: that of each
    half of the problems of a file is the one of greatest F1 on the other half."""
    resamples: int = 2000
    """Benchmarks: how many resamples of the rows the bootstrap intervals take."""
    strict: bool = False
    """Stop with exit code 2 at the first candidate that cannot be scored."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Write a model in the layout of Hugging Face or of a run, or adapters in the layout of PEFT.

    MODEL is a GGUF file, a policy or reward model of a run, a Hugging Face folder, or a PEFT folder of adapters, which
    are merged into their base. OUT is a new folder with weights (safetensors), config.json, the tokenizer, its special
    tokens and the chat template; transformers loads it with the same logits and the same token ids.
    """

    model: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="MODEL")]]
    """The folder or file to read."""
    output: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """The folder to write."""
    to: Literal["hugging_face", "native", "peft"] = "hugging_face"
    """The layout. native: a policy as a run saves it, for language models; steps are lines. peft: the adapters of a
    policy, without their base."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights that are written."""
    base: Path | None = None
    """Adapters: the folder or GGUF file of their base, where it is not the one that they name."""


OPTIONS: dict[str, type] = {
    "score": ScoreOptions,
    "rerank": RerankOptions,
    "evaluate": EvaluateOptions,
    "convert": ConvertOptions,
}
