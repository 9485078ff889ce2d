"""Stage: a soft Q-function of claims (irl/rewards/claims.py).

It learns from true claims alone. `load_claims` reads the folder that is saved.
"""

from collections.abc import Callable
from dataclasses import field, replace

import jax

from experiments.core.run_folder import RunFolder
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.rewards.claims import ClaimScorer
from irl.text.encode import Encoder
from irl.text.packed_steps import PackedTexts
from irl.text.packing import EncodedTrace
from irl.text.readings import Reading
from irl.text.windows import StepWindow, encode_windows
from irl.train import Schedule
from reward_models.folders.manifest import Provenance, is_older
from reward_models.folders.native import save_folder
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.regret import RegretConfig
from reward_models.ranges import Size, Tokens
from reward_models.records import record


@record
class FitClaims:
    """Likelihood of true claims."""

    decoder: DecoderConfig = DecoderConfig(
        vocab_size=64, num_layers=3, dim=96, num_heads=4, num_kv_heads=2, head_dim=24, hidden_dim=256
    )
    """Its vocabulary is that of the reading."""
    algorithm: Sft = field(default_factory=lambda: Sft(optimiser=Muon(learning_rate=4e-3, total_steps=1500)))
    schedule: Schedule = Schedule(steps=1500)
    rows: Size = 48
    length: Tokens = 96

    def fit(
        self, folder: RunFolder, name: str, reading: Reading, draw: Callable[[int], list[StepWindow]], trained_on: str
    ) -> ClaimScorer:
        """Learn from the claims that `draw(epoch)` gives; those of more than `length` tokens are left out."""
        tokenizer = reading.tokenizer()
        encoder = Encoder(tokenizer, reading.longest, 1)
        decoder = replace(self.decoder, vocab_size=tokenizer.get_vocab_size())
        judged = tuple(sorted(encoder.special(token) for token in reading.judged))
        network = RegretConfig(decoder=decoder, judged=judged)

        def fitting(epoch: int) -> list[EncodedTrace]:
            return [row for row in encode_windows(encoder, draw(epoch)) if len(row.tokens) <= self.length]

        algorithm = self.algorithm.make(decoder)
        source = PackedTexts(fitting, rows=self.rows, length=self.length, seed=folder.seed, name=name)
        params = jax.device_get(folder.fit(name, algorithm, source, self.schedule).params)
        target = folder.folder / name
        if not target.exists() or is_older(target):
            save_folder(
                target,
                params=params,
                network=network,
                spec=network.make().spec,
                tokenizer_json=tokenizer.to_str(),
                manifest=Provenance(seed=folder.seed, windows=reading.name, trained_on=trained_on),
            )
        return ClaimScorer(network, params, reading, encoder)
