"""Fragments of rollouts, and the selection of queries about them.

A query is a set of fragments; its answer says which of them is best. Acquisition functions rate queries by the
probabilities p_m that the members m of an ensemble assign to each answer y:

    disagreement       mean_y Var_m p_m(y)                   Christiano et al. 2017 (arXiv 1706.03741), section 2.2.4
    information gain   H(mean_m p_m) - mean_m H(p_m)         Houlsby et al. 2011 (arXiv 1112.5745), BALD, in nats

y is the best fragment of the query; for two fragments, a Bernoulli variable.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from irl.control.networks import Params
from irl.control.types import Rollout, Transitions
from irl.types import InputError

Tree = TypeVar("Tree")


class Fragments(NamedTuple):
    """Parts of episodes as arrays [..., length, ...]; for queries [queries, items, length, ...]."""

    transitions: Transitions
    present: Bool[Array, "*fragments length"]
    """False after the end of the fragment's episode."""
    reward: Float[Array, "*fragments length"]
    """The environment's reward, for synthetic answers only."""


def draw_fragments(rollout: Rollout, key: jax.Array, count: int, length: int) -> Fragments:
    """`count` fragments, drawn with replacement from those that lie within one episode.

    If no episode is that long, fragments start anywhere and are present up to the end of their episode.
    """
    time, envs = rollout.reward.shape
    if not 1 <= length <= time:
        raise InputError(f"fragments of {length} steps from a rollout of {time}: lower the length or collect more")
    over = rollout.terminated | rollout.truncated
    episode = jnp.cumsum(over, axis=0) - over
    starts = time - length + 1
    whole = episode[length - 1 :] == episode[:starts]
    weight = jnp.where(whole.any(), whole, True).reshape(-1).astype(jnp.float32)
    start, env = jnp.divmod(jax.random.choice(key, starts * envs, (count,), p=weight / weight.sum()), envs)
    rows, columns = start[:, None] + jnp.arange(length), env[:, None]
    present = episode[rows, columns] == episode[start, env][:, None]
    steps = Transitions(rollout.observation, rollout.action, rollout.next_observation, rollout.terminated)
    transitions, reward = take((steps, rollout.reward), (rows, columns))
    return Fragments(transitions, present, reward)


def draw_queries(rollout: Rollout, key: jax.Array, count: int, items: int, length: int) -> Fragments:
    """`count` random queries of `items` fragments each."""
    fragments = draw_fragments(rollout, key, count * items, length)
    return jax.tree.map(lambda leaf: leaf.reshape(count, items, *leaf.shape[1:]), fragments)


def take(tree: Tree, rows: Any) -> Tree:
    """Index every array of a pytree."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def discounted_sum(
    values: Float[Array, "*fragments length"], present: Bool[Array, "*fragments length"], discount: float = 1.0
) -> Float[Array, "*fragments"]:
    """sum_t discount^t v_t over present steps."""
    return jnp.sum(jnp.where(present, values, 0.0) * discount ** jnp.arange(values.shape[-1]), axis=-1)


def fragment_returns(
    reward: Callable[[Params, Transitions], Array], params: Params, fragments: Fragments, discount: float = 1.0
) -> Float[Array, "*fragments"]:
    """Discounted sums of a reward over fragments."""
    shape = fragments.present.shape
    steps = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(shape) :]), fragments.transitions)
    return discounted_sum(reward(params, steps).reshape(shape), fragments.present, discount)


def preferences(returns: Float[Array, "*lists items"]) -> Float[Array, "*lists items"]:
    """P(each is best) = softmax of returns; for two, the Bradley-Terry probability."""
    return jax.nn.softmax(returns, axis=-1)


def indifference(probabilities: Float[Array, "members queries items"]) -> Float[Array, " queries"]:
    """Equal ratings: the first queries are selected, which is a random choice."""
    return jnp.zeros(probabilities.shape[1])


def disagreement(probabilities: Float[Array, "members queries items"]) -> Float[Array, " queries"]:
    """Variance over members, averaged over answers."""
    return probabilities.var(axis=0).mean(axis=-1)


def information_gain(probabilities: Float[Array, "members queries items"]) -> Float[Array, " queries"]:
    """Mutual information of the answer and the member, in nats."""
    return _entropy(probabilities.mean(axis=0)) - _entropy(probabilities).mean(axis=0)


Acquisition = Callable[[Float[Array, "members queries items"]], Float[Array, " queries"]]
ACQUISITIONS: dict[str, Acquisition] = {
    "random": indifference,
    "disagreement": disagreement,
    "information_gain": information_gain,
}


def best_queries(queries: Fragments, ratings: Float[Array, " candidates"], count: int) -> Fragments:
    """The `count` queries with the highest ratings, best first; ties keep their order."""
    return take(queries, jax.lax.top_k(ratings, count)[1])


def _entropy(probabilities: Float[Array, "*lists items"]) -> Float[Array, "*lists"]:
    return jax.scipy.special.entr(probabilities).sum(axis=-1)
