"""Optimisers: warm-up, cosine decay, clipping by global norm, and AdamW or Muon inside.

With `accumulate` = k the parameters move at every k-th batch, by the mean of k gradients: for losses that are means
over equal parts, that of one batch k times as large. Warm-up, schedule and decay count updates, not batches.
"""

from abc import ABC, abstractmethod

import jax
import optax
from optax import contrib

from irl.types import InputError
from reward_models.ranges import Count, CountOrZero, Positive, Rate, Share, ShareBelowOne, Weight
from reward_models.records import record


class Optimiser(ABC):
    """The config class of an optimiser."""

    @abstractmethod
    def make(self) -> optax.GradientTransformation:
        """The transformation of gradients."""


class _Scheduled(Optimiser):
    """An optimiser with warm-up, decay and accumulation."""

    learning_rate: float
    warmup_steps: int
    total_steps: int
    final_fraction: float
    accumulate: int


@record
class AdamW(_Scheduled):
    """Loshchilov and Hutter 2019 (arXiv 1711.05101). Norm scales and biases do not decay."""

    learning_rate: Rate = 1e-3
    warmup_steps: CountOrZero = 50
    total_steps: Count = 1000
    """Updates until the learning rate has fallen to `final_fraction` of its peak."""
    final_fraction: Share = 0.05
    weight_decay: Weight = 0.1
    clip_norm: Positive = 1.0
    b2: ShareBelowOne = 0.98
    accumulate: Count = 1
    """Batches to an update."""

    def __post_init__(self):
        _check_warmup(self)

    def make(self) -> optax.GradientTransformation:
        inner = optax.adamw(_schedule(self), b2=self.b2, weight_decay=self.weight_decay, mask=_decays)
        return _accumulated(self, optax.chain(optax.clip_by_global_norm(self.clip_norm), inner))


@record
class Muon(_Scheduled):
    """Orthogonalised momentum for the layers' matrices, Nesterov's Adam for all else (Jordan et al. 2024).

    Updates are scaled to the root mean square of Adam's (Liu et al. 2025, arXiv 2502.16982, eq. 4), so the
    learning rates of AdamW serve. In one pilot it needed about four fifths of AdamW's steps (see LOG.md).
    """

    learning_rate: Rate = 2e-3
    warmup_steps: CountOrZero = 50
    total_steps: Count = 1000
    final_fraction: Share = 0.05
    weight_decay: Weight = 0.01
    clip_norm: Positive = 1.0
    rms: Positive = 0.2
    accumulate: Count = 1
    """Batches to an update."""

    def __post_init__(self):
        _check_warmup(self)

    def make(self) -> optax.GradientTransformation:
        inner = contrib.muon(
            _schedule(self),
            muon_weight_dimension_numbers=_stacked_matrices,
            weight_decay=self.weight_decay,
            consistent_rms=self.rms,
        )
        return _accumulated(self, optax.chain(optax.clip_by_global_norm(self.clip_norm), inner))


def clipped_adam(learning_rate: float, max_norm: float) -> optax.GradientTransformation:
    """Adam at a constant learning rate on gradients that are clipped by their global norm."""
    return optax.chain(optax.clip_by_global_norm(max_norm), optax.adam(learning_rate))


def _check_warmup(config: _Scheduled) -> None:
    warmup, total = config.warmup_steps, config.total_steps
    if warmup > total:
        expected = f"expected at most {total}, its total_steps, got {warmup}"
        raise InputError(f"{type(config).__name__}.warmup_steps: {expected}; lower warmup_steps or raise total_steps")


def _accumulated(config: _Scheduled, inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """`inner` at every `accumulate`-th batch; the sum so far is part of the optimiser's state."""
    if config.accumulate == 1:
        return inner
    return optax.MultiSteps(inner, config.accumulate).gradient_transformation()


def _schedule(config: _Scheduled) -> optax.Schedule:
    total = max(config.total_steps, 2)
    return optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        min(config.warmup_steps, total - 1),
        total,
        config.learning_rate * config.final_fraction,
    )


def _decays(params):
    def decays(path, _):
        return jax.tree_util.keystr(path[-1:], simple=True) not in ("scale", "bias")

    return jax.tree_util.tree_map_with_path(decays, params)


def _stacked_matrices(params):
    """Muon takes the matrices of the scanned layers, [layers, in, out]."""
    return jax.tree.map(lambda leaf: contrib.MuonDimensionNumbers(1, 2) if leaf.ndim == 3 else None, params)
