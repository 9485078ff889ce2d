"""Stage: a language model on demonstrations, the trunk that heads are put on and the log-probability beside them."""

from collections.abc import Callable
from dataclasses import field

import jax

from experiments.core.run_folder import RunFolder
from experiments.text_rewards.text_model import Base
from irl.algorithms.optimiser import AdamW
from irl.algorithms.sft import Sft
from irl.text.packed_steps import PackedTexts
from irl.text.packing import EncodedTrace
from irl.train import Schedule
from irl.types import InputError
from reward_models.networks.base import Params
from reward_models.ranges import Size, Tokens
from reward_models.records import record


@record
class FitTrunk:
    """Likelihood of whole texts, question included; texts of more than `length` tokens are left out."""

    algorithm: Sft = field(default_factory=lambda: Sft(optimiser=AdamW(learning_rate=2e-3, total_steps=1000)))
    schedule: Schedule = Schedule(steps=1000)
    rows: Size = 8
    length: Tokens = 512

    def run(self, folder: RunFolder, base: Base, draw: Callable[[int], list[EncodedTrace]]) -> Params:
        """Learn from the texts that `draw(epoch)` gives, from the base's weights where it has any."""
        name = "language-model"
        algorithm = self.algorithm.make(base.decoder)
        start = algorithm.init(folder.key(name))
        start = start if base.trunk is None else start._replace(params=base.trunk)
        whole = whole_texts(draw, self.length)
        texts = PackedTexts(whole, rows=self.rows, length=self.length, seed=folder.seed, name="whole texts")
        return jax.device_get(folder.fit(name, algorithm, texts, self.schedule, start).params)


def whole_texts(draw: Callable[[int], list[EncodedTrace]], length: int) -> Callable[[int], list[EncodedTrace]]:
    """Every token but the first of a text is learned from; longer texts are left out."""

    def whole(epoch: int) -> list[EncodedTrace]:
        fitting = [row for row in draw(epoch) if len(row.tokens) <= length]
        if not fitting:
            raise InputError(f"language model: no text fits into a row of {length} tokens; raise trunk.length")
        return [EncodedTrace(row.tokens, [-1, *[0] * (len(row.tokens) - 1)]) for row in fitting]

    return whole
