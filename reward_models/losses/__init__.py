"""Pure losses on scores, in logit space to the end, in nats: arrays first, then weights and options.

A mean over nothing is 0. An entry of weight 0 reaches neither the value nor the gradient, whatever it holds.
Losses keep the dtype of their scores: cast scores to float32 before.
"""

from reward_models.losses.discriminator import discriminator_loss
from reward_models.losses.listwise import plackett_luce_loss
from reward_models.losses.log_ratio import dpo_loss, kto_loss, kto_reference_point, log_ratio_rewards, nca_loss
from reward_models.losses.pointwise import outcome_loss
from reward_models.losses.preference import bradley_terry_loss
from reward_models.losses.reduction import Number, Weights, per_trace, weighted_mean
from reward_models.losses.ties import FIRST, SECOND, TIE, davidson_log_probabilities, davidson_loss

__all__ = [
    "FIRST",
    "SECOND",
    "TIE",
    "Number",
    "Weights",
    "bradley_terry_loss",
    "davidson_log_probabilities",
    "davidson_loss",
    "discriminator_loss",
    "dpo_loss",
    "kto_loss",
    "kto_reference_point",
    "log_ratio_rewards",
    "nca_loss",
    "outcome_loss",
    "per_trace",
    "plackett_luce_loss",
    "weighted_mean",
]
