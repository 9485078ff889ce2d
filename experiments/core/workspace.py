"""What every stage of an experiment on an environment shares."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from experiments.core.run_folder import RunFolder
from irl.domains.base import Environment
from irl.domains.files import TraceText
from irl.text.encoder import TextEncoder
from irl.text.hugging_face import HuggingFaceEncoder
from irl.text.windows import WHOLE_TRACE, Windows, windows_of
from irl.types import Problem
from reward_models.folders.manifest import MANIFEST, Provenance, TextRules, is_older
from reward_models.folders.native import save_folder
from reward_models.folders.opening import Model, open_model
from reward_models.frozen import split
from reward_models.networks.base import Params
from reward_models.records import InputError
from reward_models.types import ScoreSpec


@dataclass
class Workspace(RunFolder):
    """What the stages of an experiment on an environment share. Nothing in it is learned."""

    environment: Environment = field(kw_only=True)
    encoder: TextEncoder = field(kw_only=True)
    base: Path | None = None
    """The language model that the run starts from."""
    _problems: dict[str, Sequence[Problem]] = field(default_factory=dict, init=False)

    @property
    def windows(self) -> Windows:
        """What rewards of this domain judge a step by."""
        return windows_of(self.environment)

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of a split whose prompts leave room for a response; the others are counted once."""
        if split not in self._problems:
            self._problems[split] = self._fitting(split)
        return self._problems[split]

    def _fitting(self, split: str) -> Sequence[Problem]:
        everything, room = self.environment.problems(split), self.encoder.most_prompt
        fitting = [each for each in everything if len(self.encoder.prompt(each.prompt)) <= room]
        if len(fitting) < len(everything):
            over = f"{len(everything) - len(fitting)} of {len(everything)} {split} prompts are over {room} tokens"
            if not fitting:
                raise InputError(f"{over}; raise encoding.max_length")
            self.say(f"{over} and left out")
        return fitting

    def save_model(
        self,
        name: str,
        network: Any,
        params: Params,
        spec: ScoreSpec,
        *,
        trained_on: str | None = None,
        windows: Windows = WHOLE_TRACE,
    ) -> None:
        """Write the model folder of a stage. The frozen weights under adapters are not written, but named."""
        on_base = bool(jax.tree.leaves(split(params).frozen))
        save_folder(
            self.folder / name,
            params=params,
            network=network,
            spec=spec,
            tokenizer_json=self.encoder.tokenizer.to_str(),
            manifest=Provenance(
                trained_on=trained_on,
                seed=self.seed,
                environment=type(self.environment).__name__,
                text=self._text_rules(),
                tokens=self.encoder.rules if isinstance(self.encoder, HuggingFaceEncoder) else None,
                windows=windows.name,
                base=str(self.base.resolve()) if on_base and self.base is not None else None,
            ),
        )

    def _text_rules(self) -> TextRules | None:
        """How texts of a domain without a class of its own are read."""
        if not isinstance(self.environment, TraceText):
            return None
        return TextRules(
            steps=self.environment.steps, answer=self.environment.answer, equivalence=self.environment.equivalence
        )

    def load_model(self, name: str) -> Model | None:
        """The model folder of a finished stage.

        None where the stage has not finished, and where the folder is damaged or of an earlier format: the stage
        saves it again.
        """
        folder = self.folder / name
        if not (folder / MANIFEST).exists() or is_older(folder):
            return None
        try:
            return open_model(folder)
        except InputError as error:
            self.say(f"warning: {error}; this part of the run is computed again")
            return None
