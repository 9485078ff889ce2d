"""The implicit reward: how much more likely a policy finds a trace than a frozen reference does.

    r_t = beta (log pi(y_t | y_<t) - log ref(y_t | y_<t)),    R(y) = sum_t r_t

Fitting R to outcomes or preferences gives rewards of tokens and prefixes for free (Rafailov et al. 2023,
arXiv 2305.18290; Yuan et al. 2024, arXiv 2412.01981). R is a logit, so its losses are those of any score:

    CE     outcome_loss(R, right or wrong)                 one response per prompt is enough
    DPO    dpo_loss(R of chosen, R of rejected)            pairs
    KTO    kto_loss(R, liked or not)                       unpaired
    NCA    nca_loss(R of K responses, their rewards)       also holds the likelihood of the good ones up
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from reward_models.losses.preference import bradley_terry_loss
from reward_models.losses.reduction import Number, Weights, kept, weighted_mean


def log_ratio_rewards(
    policy: Float[Array, "*batch time"],
    reference: Float[Array, "*batch time"],
    *,
    beta: Number,
    mask: Bool[Array, "*batch time"] | None = None,
) -> Float[Array, "*batch time"]:
    """Reward of every token from its log-probabilities; 0 outside `mask`. Sum over time for that of the trace.

    No gradient flows into the reference.
    """
    return beta * (kept(policy, mask) - kept(jax.lax.stop_gradient(reference), mask))


def dpo_loss(
    chosen: Float[Array, "..."],
    rejected: Float[Array, "..."],
    *,
    margin: Float[Array, "..."] | Number = 0.0,
    label_smoothing: Number = 0.0,
    soft_labels: Float[Array, "..."] | Number = 1.0,
    weights: Weights = None,
) -> Float[Array, ""]:
    """Bradley-Terry on implicit rewards of traces. Rafailov et al. 2023 (arXiv 2305.18290), eq. 7.

    With `rejected` sampled from the reference and `chosen` the expert's, the reference replaced by the policy
    each round, it is SPIN (Chen et al. 2024, arXiv 2401.01335).
    """
    return bradley_terry_loss(
        chosen, rejected, margin=margin, label_smoothing=label_smoothing, soft_labels=soft_labels, weights=weights
    )


def kto_loss(
    rewards: Float[Array, "*batch"],
    desirable: Bool[Array, "*batch"],
    *,
    reference_point: Float[Array, ""] | Number = 0.0,
    desirable_weight: Number = 1.0,
    undesirable_weight: Number = 1.0,
    weights: Weights = None,
) -> Float[Array, ""]:
    """Prospect-theoretic loss of traces that are liked or not.

        L = w_D sigmoid(z - R) for desirable, w_U sigmoid(R - z) for undesirable traces

    Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 8; z = `reference_point`, see `kto_reference_point`. The
    loss is bounded: traces judged confidently, rightly or wrongly, have no gradient left.
    """
    gap = kept(rewards, weights) - jax.lax.stop_gradient(jnp.asarray(reference_point, rewards.dtype))
    losses = jnp.where(desirable, desirable_weight * jax.nn.sigmoid(-gap), undesirable_weight * jax.nn.sigmoid(gap))
    return weighted_mean(losses, weights)


def kto_reference_point(mismatched: Float[Array, "..."], *, weights: Weights = None) -> Float[Array, ""]:
    """max(0, mean reward of responses to other prompts): the estimate of beta KL(pi | ref) KTO compares with."""
    return jax.lax.stop_gradient(jnp.maximum(weighted_mean(mismatched, weights), 0))


def nca_loss(
    rewards: Float[Array, "*prompts responses"],
    targets: Float[Array, "*prompts responses"],
    *,
    temperature: Number = 1.0,
    mask: Bool[Array, "*prompts responses"] | None = None,
    weights: Float[Array, "*prompts"] | Bool[Array, "*prompts"] | None = None,
) -> Float[Array, ""]:
    """Noise-contrastive alignment of K responses with rewards that are known.

        L = - sum_i [softmax(targets / temperature)_i log sigmoid(R_i) + 1/K log sigmoid(-R_i)]

    Chen et al. 2024 (arXiv 2402.05369), algorithm NCA. Targets [0, -inf] make the pair form. A row without
    responses weighs nothing.
    """
    present = jnp.ones(rewards.shape, bool) if mask is None else mask
    rows = present.any(-1).astype(rewards.dtype)
    rows = rows if weights is None else rows * weights.astype(rewards.dtype)
    present &= (rows != 0)[..., None]
    rewards = kept(rewards, present)
    share = jax.nn.softmax(jnp.where(present, kept(targets, present) / temperature, -1e30), axis=-1)
    noise = present / jnp.maximum(present.sum(-1, keepdims=True), 1)
    terms = share * jax.nn.log_sigmoid(rewards) + noise * jax.nn.log_sigmoid(-rewards)
    return weighted_mean(-jnp.sum(jnp.where(present, terms, 0), axis=-1), rows)
