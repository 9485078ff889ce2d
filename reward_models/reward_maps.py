"""What a policy is paid for a discriminator's logit l, which tends to log expert/policy: each map its own divergence.

    gail        -log(1 - D) = log(1 + e^l) > 0      rewards staying alive
    gail_loss    log D      = -log(1 + e^-l) < 0    rewards ending early
    airl         l                                  reverse KL: both signs
    fkl         -l e^l                              forward KL

D = sigmoid(l). Ho & Ermon 2016 (arXiv 1606.03476); Fu et al. 2018 (arXiv 1710.11248); Ghasemipour et al. 2019
(arXiv 1911.02256), f-MAX. Where episodes end at different times the sign of a reward decides who ends when.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

RewardMap = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def gail(logit: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.nn.softplus(logit)


def gail_loss(logit: Float[Array, "..."]) -> Float[Array, "..."]:
    return -jax.nn.softplus(-logit)


def airl(logit: Float[Array, "..."]) -> Float[Array, "..."]:
    return logit


def fkl(logit: Float[Array, "..."]) -> Float[Array, "..."]:
    return -logit * jnp.exp(jnp.minimum(logit, 10.0))


REWARD_MAPS: dict[str, RewardMap] = {"gail": gail, "gail_loss": gail_loss, "airl": airl, "fkl": fkl}
