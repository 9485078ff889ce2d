"""What a run on traces needs of its reward, and the reward of a model folder in the place of one that is trained."""

from abc import ABC, abstractmethod
from dataclasses import Field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import Demonstrations
from irl.limits import MAX_TOKENS
from irl.policies.base import FittedPolicy
from irl.rewards import open_scorer
from irl.rewards.questions import AnswersAsTexts, ScoresTexts
from irl.rewards.scoring import TextScorer
from reward_models.networks.base import Params
from reward_models.networks.decoder import DecoderConfig
from reward_models.ranges import Name, Tokens
from reward_models.records import record


class RewardStage(ABC):
    """The config class of a reward: a record."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    demonstrations: Demonstrations | None = None
    """The traces that it learns from."""

    @property
    def vocabulary(self) -> int | None:
        """The number of token ids that its network reads, where it reads those of the run's tokenizer."""
        return None

    def on_policy(self, decoder: DecoderConfig) -> Self:
        """The same stage beside a policy with this decoder: for its tokenizer, or with its weights."""
        return self

    @abstractmethod
    def run(self, workspace: Workspace, policy: FittedPolicy, name: str = "model", observe: Any = None) -> Params:
        """Learn the reward, or read back a finished one. `observe(step, scorer)` may evaluate it in training."""

    @abstractmethod
    def scorer(self, workspace: Workspace, params: Params) -> ScoresTexts:
        """The finished reward as it reads texts."""


@record
class RewardFolder(RewardStage):
    """The reward of a model folder: of another run, of Hugging Face, or of adapters. Nothing is trained.

    The policy is trained, its samples are reranked, and the search is guided by the scores of the folder, whose own
    tokenizer reads the texts. A model of whole answers reads a trace that is still being written as a whole answer.
    """

    folder: Name = "model"
    base: Name | None = None
    """The base of adapters, where it is not the one that adapter_config.json names."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    step_tokens: str | None = None
    """Language models that judge steps: the token for a right and the one for a wrong step, such as "+,-"."""
    step_marker: str | None = None
    max_tokens: Tokens = MAX_TOKENS

    def run(self, workspace: Workspace, policy: FittedPolicy, name: str = "model", observe: Any = None) -> Params:
        workspace.say(f"reward: {self.folder}, as it is")
        return {}

    def scorer(self, workspace: Workspace, params: Params) -> ScoresTexts:
        scorer = open_scorer(
            Path(self.folder),
            max_tokens=self.max_tokens,
            base=self.base,
            dtype=self.dtype,
            step_tokens=self.step_tokens,
            step_marker=self.step_marker,
        )
        return scorer if isinstance(scorer, TextScorer) else AnswersAsTexts(scorer)
