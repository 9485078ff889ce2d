"""A reward model of text: one head per seed on a shared initial trunk, with all weights or only adapters trained."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

import jax

from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.text_model import Base, TextModel
from irl.algorithms.base import Algorithm, init_at
from irl.rewards.conversations import ConversationScorer
from irl.text.packing import EncodedTrace
from irl.text.pipeline import Source
from irl.train import Schedule
from irl.types import InputError
from reward_models.frozen import on_host
from reward_models.networks.adapters import LowRank
from reward_models.networks.base import Network, Params
from reward_models.networks.heads import HeadedDecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.ranges import Size, Tokens
from reward_models.records import record


class Heads(NamedTuple):
    """Trained members, one per seed."""

    scorers: list[ConversationScorer]
    models: list[Path]


@record
class HeadedModel:
    """The decoder of a reward model, and what is trained of it."""

    model: TextModel = TextModel()
    trunk: FitTrunk | None = field(default_factory=FitTrunk)
    """None: no language model first, and beside the scores no log-probability but that of the base of adapters."""
    adapters: LowRank | None = None
    """Low-rank adapters on the frozen language model `model.base`; requires `trunk` None. None: train all weights."""
    schedule: Schedule = Schedule(steps=500)
    rows: Size = 8
    length: Tokens = 512

    def start(self, texts: Iterable[str], *, by_step: bool) -> Base:
        """The decoder, as `TextModel.start` gives it. InputError: there is nothing that adapters can be trained on."""
        base = self.model.start(texts, by_step=by_step)
        if self.adapters is not None and base.folder is None:
            found = "a fresh decoder" if self.model.base is None else f"{self.model.base}, which has a head of its own"
            advice = "give the Hugging Face folder of a language model by its option model.base"
            raise InputError(f"adapters: expected a language model under them, got {found}; {advice}")
        if self.adapters is not None and self.trunk is not None:
            raise InputError("adapters: their base stays as it is, and a trunk would be trained; set trunk to None")
        return base

    def fit_trunk(self, run: RunFolder, base: Base, draw: Callable[[int], list[EncodedTrace]]) -> Params | None:
        """The weights under the heads; a language model learns them from the texts that `draw(epoch)` gives."""
        return base.trunk if self.trunk is None else self.trunk.run(run, base, draw)

    def likelihood(self, base: Base, trunk: Params | None) -> ConversationScorer | None:
        """The log-probability of answers, where the trunk is a language model."""
        if trunk is None or (self.trunk is None and self.adapters is None):
            return None
        return ConversationScorer(SoftAdvantageConfig(decoder=base.decoder).make(), trunk, base.encoder)

    def fit_heads(
        self,
        run: RunFolder,
        base: Base,
        trunk: Params | None,
        network: HeadedDecoderConfig,
        make: Callable[[Network], Algorithm],
        seeds: Sequence[int],
        stage: str,
        source: Callable[[RunFolder], Source],
    ) -> Heads:
        """Train and save a member for each seed, with its own head, adapters and order of data."""
        network = network.adapted(self.adapters)
        made = network.make()  # the same functions for all members, so that they are compiled once
        algorithm = make(made)
        scorers, models = [], []
        for seed in seeds:
            member, name = run.of_seed(seed), f"{stage}-seed-{seed}"
            key = member.key(name)
            start = init_at(algorithm, key, self._initial(network, trunk, key))
            params = on_host(member.fit(name, algorithm, source(member), self.schedule, start).params)
            models.append(run.folder / ("model" if seed == run.seed else f"model-seed-{seed}"))
            if not models[-1].exists():
                base.save(models[-1], network, params)
            scorers.append(ConversationScorer(made, params, base.encoder))
        return Heads(scorers, models)

    def _initial(self, network: HeadedDecoderConfig, trunk: Params | None, key: jax.Array) -> Params:
        """The initial parameters of a member: a new head, and new adapters where the model has them, on the trunk."""
        if trunk is None:
            return network.make().init(key)
        if self.adapters is not None:
            trunk = self.adapters.fresh(jax.random.fold_in(key, 1), trunk)
        return network.init_on(key, trunk)
