"""The step critic speaks at the last token of each step; constants per prompt are irrelevant to every use of scores."""

import jax
import jax.numpy as jnp
import numpy as np

from irl.evaluation.metrics import within_prompt_auc
from irl.guidance.best_of_n import choose
from reward_models.losses import bradley_terry_loss
from reward_models.networks.critic import CriticConfig, step_ends
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch


def test_a_critic_speaks_at_the_last_token_of_each_step_and_at_most_0():
    decoder = DecoderConfig(vocab_size=9, num_layers=1, dim=8, num_heads=1, num_kv_heads=1, head_dim=8, hidden_dim=8)
    network = CriticConfig(decoder=decoder).make()
    step_id = jnp.array([[-1, 0, 0, 1, 1, 1], [-1, -1, 0, 1, 1, -1]])
    ones = jnp.ones_like(step_id)
    position = jnp.broadcast_to(jnp.arange(6), step_id.shape)
    traces = TraceBatch(position, ones, position, step_id, jnp.ones((2, 2), bool), jnp.arange(2))
    token = jax.jit(network.apply)(network.init(jax.random.key(0)), traces).token
    assert [np.flatnonzero(row).tolist() for row in token] == [[2, 5], [2, 4]] and (token <= 0).all()
    ends = step_ends(jnp.array([[-1, 0, 0, 1, 1, 1], [0, 1, -1, 2, -1, -1]]))
    assert ends.tolist() == [[False, False, True, False, False, True], [True, True, False, True, False, False]]


def test_a_constant_per_prompt_changes_no_choice_no_rank_and_no_preference():
    scores, prompts, labels = np.array([-3.0, -1.0, -2.0, 2.0, 1.0, 3.0]), np.repeat([0, 1], 3), np.tile([0, 1, 1], 2)
    moved = scores + np.array([40.0, -40.0])[prompts]
    assert (np.argsort(moved) != np.argsort(scores)).any(), "over all prompts the order does change"
    for rows in (slice(0, 3), slice(3, 6)):
        assert choose(moved[rows]) == choose(scores[rows])
    ranked = within_prompt_auc(scores, labels, prompts)
    assert within_prompt_auc(moved, labels, prompts).per_prompt.tolist() == ranked.per_prompt.tolist()
    chosen, rejected = (jnp.asarray(x, jnp.float32) for x in (scores[[0, 3]], scores[[1, 4]]))
    potential = jnp.array([-3.0, 4.0])
    np.testing.assert_allclose(
        bradley_terry_loss(chosen + potential, rejected + potential), bradley_terry_loss(chosen, rejected), atol=1e-5
    )
