"""Rankings of several items, as a sequence of choices of the best among those left."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from reward_models.losses.reduction import kept, weighted_mean


def plackett_luce_loss(
    ranked: Float[Array, "*lists items"],
    *,
    top_k: int | None = None,
    mask: Bool[Array, "*lists items"] | None = None,
    weights: Float[Array, "*lists"] | Bool[Array, "*lists"] | None = None,
) -> Float[Array, ""]:
    """Negative log-likelihood of rankings, given the scores in ranked order, best first.

        L = - sum_k (r_(k) - log sum_{l >= k} exp r_(l))

    Plackett 1975; for reward models Zhu et al. 2023 (arXiv 2301.11270), eq. 6. Differences:

    1. With `top_k` only the best k are ranked among all: the sum stops there, the order of the rest is free.
       k = 1 is the softmax cross-entropy of "the best of K"; given scores minus log q of the sampler, it is
       the ranking form of noise-contrastive estimation (Gutmann & Hyvarinen 2010; Ma & Collins 2018).
    2. Items outside `mask` are not there, wherever they stand. A list of fewer than two says nothing and
       weighs nothing.

    Two items are Bradley-Terry. ValueError: top_k below 1.
    """
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: expected at least 1, got {top_k}")
    present = jnp.ones(ranked.shape, bool) if mask is None else mask
    lists = (present.sum(-1) > 1).astype(ranked.dtype)
    lists = lists if weights is None else lists * weights.astype(ranked.dtype)
    present &= (lists != 0)[..., None]
    ranked = kept(ranked, present)
    chosen = present if top_k is None else present & (jnp.cumsum(present, axis=-1) <= top_k)
    losses = jnp.where(chosen, _log_sum_of_the_rest(ranked, present) - ranked, 0)
    return weighted_mean(losses.sum(-1), lists)


def _log_sum_of_the_rest(ranked, present):
    """log sum_{l >= k} exp r_l over present items; absent ones get a score whose exp is 0 beside any other."""
    absent = jnp.asarray(jnp.finfo(ranked.dtype).min / 4, ranked.dtype)
    return jax.lax.cumlogsumexp(jnp.where(present, ranked, absent), axis=ranked.ndim - 1, reverse=True)
