"""Group-relative policy optimisation on a learned reward, with a leash to the reference policy.

For each prompt draw n traces y_i from pi, score them by the learned reward and centre inside the group:

    A_i = (r_i - mean_j r_j) / (std_j r_j + eps)
    L   = - mean_t [ A_i log pi(y_it) ] + kl * E KL(pi(.|s_t) || ref(.|s_t)) + mle * NLL(demonstrations)

Shao et al. 2024 (arXiv 2402.03300), eq. 3. Nothing in this file knows whether an answer is right. Differences:

1. One update per batch of samples, so the importance ratio is 1 and its clip has nothing to do.
2. The KL is exact over the vocabulary at every visited state, in nats, not a one-sample estimate.
3. A decaying share of maximum likelihood on demonstrations keeps the policy near the experts.
4. Gradients are summed over parts of the batch, which fit the processor's cache; the update is that of the whole.
5. Whoever draws the samples also scores them (a `Source` of rollouts), so any reward can be learned from.
"""

from dataclasses import field
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Le
from jaxtyping import Float, Int

from irl.algorithms.base import Algorithm, Info, apply_gradient
from irl.algorithms.optimiser import AdamW, Optimiser
from irl.algorithms.sft import response_mean
from irl.policies.base import Policy
from reward_models.frozen import join, split
from reward_models.networks.base import Params
from reward_models.ranges import CountOrZero, Size, Weight
from reward_models.records import record
from reward_models.types import Array, Information, TraceBatch


class GrpoBatch(NamedTuple):
    """`n` consecutive rows per prompt with their rewards, and demonstrations for the likelihood term."""

    traces: TraceBatch
    reward: Float[Array, " batch"]
    demonstrations: TraceBatch


class GrpoState(NamedTuple):
    params: Params
    opt_state: optax.OptState
    step: Int[Array, ""]
    reference: Params
    """Frozen start of the policy."""


@record
class Grpo:
    """Settings of the update."""

    information: ClassVar[Information] = "demonstrations"
    """That of the likelihood term. The level of the reward is added by the stage that samples and scores."""
    optimiser: Optimiser = field(default_factory=lambda: AdamW(learning_rate=3e-4, weight_decay=0.0))
    samples_per_prompt: Annotated[int, Ge(2), Le(2**16)] = 8
    kl: Weight = 0.02
    """Per token, in units of the standardised advantage per nat."""
    mle: Weight = 0.1
    """Weight of the likelihood term at the first step; it falls linearly to 0 at `mle_steps`."""
    mle_steps: CountOrZero = 200
    rows_at_once: Size = 64
    """Samples whose gradients are computed together."""

    def make(self, policy: Policy, start: Params) -> Algorithm:
        """`start` are the parameters of the policy to improve, which is also the reference."""
        optimiser = self.optimiser.make()

        def init(key: jax.Array) -> GrpoState:
            own, frozen = split(start)
            params, reference = (join(jax.tree.map(jnp.array, own), frozen) for _ in range(2))
            return GrpoState(params, optimiser.init(own), jnp.zeros((), jnp.int32), reference)

        def part_loss(own: Params, frozen: Params, reference: Params, traces: TraceBatch, advantage, count):
            """The terms of some rows; `count` are the response tokens of all rows."""
            both = policy.log_prob_and_kl(join(own, frozen), reference, traces)
            log_prob, kl = (values[:, 1:] for values in both)
            gain, kl = jnp.sum(log_prob * advantage[:, None]) / count, jnp.sum(kl)
            loss = -gain + self.kl * kl / count
            return loss, {"loss": loss, "kl": kl}

        def likelihood(own: Params, frozen: Params, demonstrations: TraceBatch, weight):
            nll = -response_mean(policy.log_prob(join(own, frozen), demonstrations), demonstrations)
            return weight * nll, {"loss": weight * nll, "nll": nll}

        def step(state: GrpoState, batch: GrpoBatch, key: jax.Array) -> tuple[GrpoState, Info]:
            rows = batch.reward.shape[0]
            advantage = group_centred(batch.reward, rows // self.samples_per_prompt)
            count = jnp.maximum(batch.traces.response[:, 1:].sum(), 1)
            weight = self.mle * jnp.maximum(self.mle_steps - state.step, 0) / max(self.mle_steps, 1)
            own, frozen = split(state.params)
            grads, info = jax.grad(likelihood, has_aux=True)(own, frozen, batch.demonstrations, weight)

            def add(total, part):
                gradients = jax.grad(part_loss, has_aux=True)(own, frozen, state.reference, *part, count)
                return jax.tree.map(jnp.add, total, gradients), None

            zero = jax.tree.map(jnp.zeros_like, own), {"loss": jnp.zeros(()), "kl": jnp.zeros(())}
            parts = in_parts((batch.traces, advantage), self.rows_at_once)
            (of_samples, sums), _ = jax.lax.scan(add, zero, parts)
            grads = jax.tree.map(jnp.add, grads, of_samples)
            info = {"loss": info["loss"] + sums["loss"], "kl": sums["kl"] / rows, "nll": info["nll"]}
            info |= {"reward": batch.reward.mean(), "grad_norm": optax.tree.norm(grads)}
            return apply_gradient(optimiser, state, grads)._replace(step=state.step + 1), info

        return Algorithm(init, step)


def in_parts(arrays, size: int):
    """[rows, ...] to [parts, rows of a part, ...], at most `size` rows a part; every part has rows of each device."""
    rows = jax.tree.leaves(arrays)[0].shape[0]
    parts = next(n for n in range(-(-rows // size), rows + 1) if rows % n == 0)
    return jax.tree.map(lambda x: x.reshape(rows // parts, parts, *x.shape[1:]).swapaxes(0, 1), arrays)


def group_centred(values: Float[Array, " batch"], groups: int, *, epsilon: float = 1e-4) -> Float[Array, " batch"]:
    """(value - mean of its group) / (std of its group + epsilon); the rows of a group are consecutive."""
    grouped = values.reshape(groups, -1)
    centred = grouped - grouped.mean(axis=1, keepdims=True)
    return (centred / (grouped.std(axis=1, keepdims=True) + epsilon)).reshape(values.shape)
