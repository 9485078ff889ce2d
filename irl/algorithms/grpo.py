"""Group-relative policy optimisation on a learned reward, with a leash to the reference policy.

For each prompt draw n traces y_i from pi, score them by the learned reward and centre inside the group:

    A_i = (r_i - mean_j r_j) / (std_j r_j + eps)
    L   = - mean_t [ A_i log pi(y_it) ] + kl * E KL(pi(.|s_t) || ref(.|s_t)) + mle * NLL(demonstrations)

Shao et al. 2024 (arXiv 2402.03300), eq. 3. Nothing in this file knows whether an answer is right. Differences:

1. One update per batch of samples, so the importance ratio is 1 and its clip has nothing to do.
2. The KL is exact over the vocabulary at every visited state, in nats, not a one-sample estimate.
3. Traces cut by the length limit get the group's lowest reward instead of their own.
4. A decaying share of maximum likelihood on demonstrations keeps the policy near the experts (methods of
   TextGAIL and RARO report the same need).
5. Sampling, scoring and the update are one compiled program.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from irl.algorithms.base import Algorithm, Info
from irl.algorithms.optimiser import AdamW, Optimiser
from irl.algorithms.sft import next_token_loss
from irl.policies.language_model import sample
from irl.policies.rollouts import group_centred, newline_tokens, traces_of_samples
from reward_models.networks.base import Network, Params
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch


class GrpoBatch(NamedTuple):
    """Prompts to sample from, right-padded, and demonstrations for the likelihood term."""

    prompts: Int[Array, "prompts prompt_time"]
    prompt_length: Int[Array, " prompts"]
    demonstrations: TraceBatch


class GrpoState(NamedTuple):
    params: Params
    opt_state: optax.OptState
    step: Int[Array, ""]
    reference: Params
    """Frozen start of the policy."""
    reward: Params
    """Frozen parameters of the learned reward."""


@dataclass(frozen=True, kw_only=True)
class Grpo:
    """Settings; `stops` are the ids of step-ending tokens, the first is the end token."""

    optimiser: Optimiser = field(default_factory=lambda: AdamW(learning_rate=3e-4, weight_decay=0.0))
    samples_per_prompt: int = 8
    max_new: int = 80
    max_steps: int = 8
    temperature: float = 1.0
    kl: float = 0.02
    mle: float = 0.1
    """Weight of the likelihood term at the first step; it falls linearly to 0 at `mle_steps`."""
    mle_steps: int = 200
    reward_floor: float = -10.0
    """Rewards in nats are clipped from below here, so that one hopeless trace does not set the scale."""

    def make(
        self, policy: DecoderConfig, reward: Network, start: tuple[Params, Params], stops: tuple[int, ...]
    ) -> Algorithm:
        """`start` is (policy parameters, reward parameters)."""
        functional, optimiser = policy.make(), self.optimiser.make()
        newline = newline_tokens(policy.vocab_size, stops, stops[0])

        def init(key: jax.Array) -> GrpoState:
            params = jax.tree.map(jnp.array, start[0])
            reference = jax.tree.map(jnp.array, start[0])
            frozen = jax.tree.map(jnp.array, start[1])
            return GrpoState(params, optimiser.init(params), jnp.zeros((), jnp.int32), reference, frozen)

        def rollout(state: GrpoState, batch: GrpoBatch, key: jax.Array):
            drawn = sample(
                policy,
                state.params,
                key,
                batch.prompts,
                batch.prompt_length,
                n=self.samples_per_prompt,
                slots=self.samples_per_prompt,
                max_new=self.max_new,
                stop=stops[:1],
                temperature=self.temperature,
            )
            drawn = jax.tree.map(lambda x: x[:, : self.samples_per_prompt], drawn)
            traces = traces_of_samples(
                batch.prompts, batch.prompt_length, drawn, newline, max_steps=self.max_steps
            )
            score = jnp.maximum(reward.apply(state.reward, traces).trace, self.reward_floor)
            return traces, jnp.where(drawn.ended.reshape(-1), score, self.reward_floor), drawn.length.mean()

        def loss_fn(params: Params, state: GrpoState, traces, advantage, batch: GrpoBatch):
            decoder = functional.bind(params)
            log_prob = jax.nn.log_softmax(decoder.logits(decoder.hidden(traces))[:, :-1])
            reference = functional.bind(state.reference)
            log_ref = jax.nn.log_softmax(reference.logits(reference.hidden(traces))[:, :-1])
            where = traces.response[:, 1:]
            taken = jnp.take_along_axis(log_prob, traces.tokens[:, 1:, None], axis=-1)[..., 0]
            gain = jnp.mean(taken * advantage[:, None], where=where)
            kl_token = jnp.sum(jnp.exp(log_prob) * (log_prob - log_ref), axis=-1)
            kl = jnp.mean(kl_token, where=where)
            nll, _ = next_token_loss(decoder, batch.demonstrations)
            mle = self.mle * jnp.clip(1 - state.step / self.mle_steps, 0.0, 1.0)
            sequence_kl = jnp.sum(kl_token, where=where) / traces.tokens.shape[0]
            return -gain + self.kl * kl + mle * nll, {"kl": sequence_kl, "nll": nll}

        def step(state: GrpoState, batch: GrpoBatch, key: jax.Array) -> tuple[GrpoState, Info]:
            traces, score, length = rollout(state, batch, key)
            advantage = jax.lax.stop_gradient(group_centred(score, batch.prompts.shape[0]))
            grads, info = jax.grad(loss_fn, has_aux=True)(state.params, state, traces, advantage, batch)
            updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            loss = -score.mean()
            info = {
                "loss": loss,
                "reward": -loss,
                "length": length,
                "grad_norm": optax.global_norm(grads),
                **info,
            }
            return state._replace(params=params, opt_state=opt_state, step=state.step + 1), info

        return Algorithm(init, step)
