"""The prefix tree as token arrays, with exact values, policies and rank correlations."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from irl.domains.tree import LeafTable, Tree, sample_leaves
from reward_models.types import TraceBatch

PAD, END, FIRST_SYMBOL = 0, 1, 2


def soft_values(reward: LeafTable, branching: int) -> list[Float[np.ndarray, "prompts nodes"]]:
    """V of every node in nats, one table [prompts, branching**t] per level t = 0 .. depth."""
    prompts, leaves = reward.shape
    depth = round(np.log(leaves) / np.log(branching))
    shapes = [(prompts, branching**level, -1) for level in range(depth + 1)]
    return [np.logaddexp.reduce(reward.reshape(shape), axis=-1) for shape in shapes]


def step_log_prob(reward: LeafTable, branching: int) -> Float[np.ndarray, "prompts leaves depth"]:
    """log pi(y_t | x, y_<t) of the policy exp(reward)/Z along each leaf; zero reward: the uniform policy."""
    leaves, values = reward.shape[1], soft_values(reward, branching)
    along = [np.repeat(value, leaves // value.shape[1], axis=1) for value in values]
    return np.diff(np.stack(along, axis=-1), axis=-1)


def rank_correlation(first: LeafTable, second: LeafTable) -> float:
    """Spearman correlation inside each prompt (ties share their mean rank), averaged over prompts."""
    pairs = zip(first, second, strict=True)
    return float(np.mean([np.corrcoef(_ranks(a), _ranks(b))[0, 1] for a, b in pairs]))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


class ExactTree(Tree):
    """A tree whose traces are token arrays."""

    @property
    def vocab(self) -> int:
        """Padding, end, the symbols, then one token per prompt."""
        return FIRST_SYMBOL + self.branching + self.num_prompts

    def encode(self, prompts: Int[np.ndarray, " batch"], leaves: Int[np.ndarray, " batch"]) -> TraceBatch:
        """Rows of a prompt token, `depth` symbols (a step each) and an end token that ends the last step."""
        rows, steps = len(prompts), np.arange(self.depth)
        opening = FIRST_SYMBOL + self.branching + prompts[:, None]
        tokens = np.hstack([opening, FIRST_SYMBOL + self.choices[leaves], np.full((rows, 1), END)])
        step_id = np.concatenate([[-1], steps, steps[-1:]])
        return TraceBatch(
            tokens=jnp.asarray(tokens, jnp.int32),
            segment=jnp.ones(tokens.shape, jnp.int32),
            position=jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape),
            step_id=jnp.broadcast_to(jnp.asarray(step_id, jnp.int32), tokens.shape),
            step_mask=jnp.ones((rows, self.depth), bool),
            prompt_id=jnp.asarray(prompts, jnp.int32),
        )

    def enumerate(self, prompt: int) -> TraceBatch:
        """Every trace of a prompt, in the order of leaves."""
        return self.encode(np.full(self.num_leaves, prompt), np.arange(self.num_leaves))

    def expert_batch(self, count: int, rng: np.random.Generator) -> TraceBatch:
        """`count` exact draws from the expert, prompts in turn."""
        return self.encode(*sample_leaves(self.reward, count, rng))
