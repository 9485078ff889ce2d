"""The optimiser every algorithm here uses: AdamW with warm-up, cosine decay and clipping by global norm."""

from dataclasses import dataclass

import jax
import optax


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Loshchilov and Hutter 2019 (arXiv 1711.05101). Norms and biases (one-dimensional leaves) do not decay."""

    learning_rate: float = 1e-3
    warmup_steps: int = 50
    total_steps: int = 1000
    """Steps until the learning rate has fallen to `final_fraction` of its peak."""
    final_fraction: float = 0.1
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    b2: float = 0.98

    def make(self) -> optax.GradientTransformation:
        schedule = optax.warmup_cosine_decay_schedule(
            0.0,
            self.learning_rate,
            min(self.warmup_steps, max(self.total_steps - 1, 1)),
            max(self.total_steps, 2),
            self.learning_rate * self.final_fraction,
        )
        return optax.chain(
            optax.clip_by_global_norm(self.clip_norm),
            optax.adamw(schedule, b2=self.b2, weight_decay=self.weight_decay, mask=_decays),
        )


def _decays(params):
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)
