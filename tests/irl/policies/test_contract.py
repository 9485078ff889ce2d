"""The contract of every registered policy: samples, their log-probabilities, and programs that are compiled once."""

import dataclasses
from typing import get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.policies.base import Policy, Sampling
from irl.policies.rollouts import token_mask, traces_of_samples
from reward_models.networks.decoder import DecoderConfig
from reward_models.registry import classes, import_all

DECODER = DecoderConfig(vocab_size=7, num_layers=1, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=8)
EXAMPLES = {DecoderConfig: DECODER}
"""Values of required fields, by their types."""
PROMPTS, LENGTHS = np.array([[1, 3, 0], [1, 4, 4], [1, 0, 5]], np.int32), np.array([3, 1, 2], np.int32)
END = 2
SAMPLING = Sampling(n=6, slots=4, max_new=5, stop=(END,), vocabulary=6)


def policies():
    import_all("irl.policies")
    return [kind for kind in classes() if Policy in kind.__mro__ and kind.__module__.startswith("irl.")]


@pytest.fixture(scope="module", params=policies(), ids=lambda kind: kind.__name__)
def policy(request):
    hints = get_type_hints(request.param)
    required = [f.name for f in dataclasses.fields(request.param) if f.default is dataclasses.MISSING]
    return request.param(**{name: EXAMPLES[hints[name]] for name in required})


@pytest.fixture(scope="module")
def params(policy):
    rng, shapes = np.random.default_rng(0), jax.eval_shape(policy.network.make().init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32), shapes)


def test_a_policy_is_a_static_argument(policy):
    assert isinstance(policy, Policy)
    assert hash(policy) == hash(dataclasses.replace(policy)) and policy == dataclasses.replace(policy)


def test_samples(policy, params):
    def draw(key, params=params, prompts=PROMPTS):
        return jax.device_get(policy.sample(params, jax.random.key(key), prompts, LENGTHS, SAMPLING))

    samples = draw(0)
    compiled = type(policy).sample._cache_size()
    jax.tree.map(np.testing.assert_array_equal, samples, draw(0))
    padded = np.where(np.arange(3) < LENGTHS[:, None], PROMPTS, 6)
    jax.tree.map(np.testing.assert_array_equal, samples, draw(0, prompts=padded))
    assert (draw(1).tokens != samples.tokens).any()
    assert (draw(0, jax.tree.map(lambda leaf: -leaf, params)).tokens != samples.tokens).any()
    assert type(policy).sample._cache_size() == compiled, "one program for any key and parameters"
    assert samples.tokens.max() < SAMPLING.vocabulary and samples.tokens.shape == (3, 6, 5)


def test_log_probabilities_of_samples(policy, params):
    """Those of the sampler, of teacher forcing and beside the KL are the same; their gradients are finite."""
    samples = jax.device_get(policy.sample(params, jax.random.key(0), PROMPTS, LENGTHS, SAMPLING))
    traces = traces_of_samples(PROMPTS, LENGTHS, samples, token_mask(7, [4]), max_steps=4)

    @jax.jit
    def score(params):
        other = jax.tree.map(lambda leaf: 1.1 * leaf, params)
        gradient = jax.grad(lambda params: jnp.sum(policy.log_prob(params, traces)))(params)
        same, different = (policy.log_prob_and_kl(params, each, traces) for each in (params, other))
        return gradient, *same, different[1]

    log_prob, inside = np.asarray(policy.log_prob(params, traces)), np.asarray(traces.response)
    gradient, taken, none, kl = (jax.device_get(x) for x in score(params))
    assert not log_prob[~inside].any() and not none.any() and not kl[~inside].any()
    assert (kl[inside] > 0).all()
    np.testing.assert_allclose(log_prob, taken, atol=1e-4)
    drawn = samples.log_prob[np.arange(5) < samples.length[..., None]]
    np.testing.assert_allclose(log_prob[inside], drawn, atol=1e-4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)) and any(
        map(np.any, jax.tree.leaves(gradient))
    )
