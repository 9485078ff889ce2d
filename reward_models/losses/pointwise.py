"""One item, one label: scores that are the logit of "good"."""

import optax
from jaxtyping import Array, Float

from reward_models.losses.reduction import Number, Weights, kept, kept_like, weighted_mean


def outcome_loss(
    logits: Float[Array, "..."],
    labels: Float[Array, "..."],
    *,
    label_smoothing: Number = 0.0,
    positive_weight: Float[Array, "..."] | Number = 1.0,
    weights: Weights = None,
) -> Float[Array, ""]:
    """Binary cross-entropy of an outcome reward model: is this trace right?

        L = - w q log sigmoid(l) - (1-q) log sigmoid(-l),    q = (1-e) label + e (1-label)

    Cobbe et al. 2021 (arXiv 2110.14168), section 4. Labels are 0, 1 or a share between them; e is
    `label_smoothing`; w = `positive_weight` evens out rare positives (their number divided into that of the
    negatives). Of a head with two logits, pass the second minus the first: softmax and sigmoid agree.
    """
    logits = kept(logits, weights)
    labels = kept(labels, weights)
    labels = (1 - label_smoothing) * labels + label_smoothing * (1 - labels)
    right = optax.sigmoid_binary_cross_entropy(logits, 1.0)
    wrong = optax.sigmoid_binary_cross_entropy(logits, 0.0)
    return weighted_mean(kept_like(positive_weight, logits, weights) * labels * right + (1 - labels) * wrong, weights)
