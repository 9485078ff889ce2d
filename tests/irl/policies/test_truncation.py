"""Truncated sampling: sets of tokens by hand, the sampler's frequencies, and the warpers of transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.policies.base import Sampling
from irl.policies.language_model import LanguageModel
from irl.policies.truncation import Truncation
from reward_models.networks.decoder import DecoderConfig
from reward_models.records import InputError

P = np.array([0.1, 0.4, 0.05, 0.25, 0.2])  # sorted: .4 .25 .2 .1 .05


@pytest.mark.parametrize(
    "options, kept",
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [1, 3]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.3}, [1]),
        ({"top_p": 0.6}, [1, 3]),
        ({"top_p": 0.66}, [1, 3, 4]),
        ({"top_p": 0.97}, [0, 1, 2, 3, 4]),
        ({"min_p": 0.4}, [1, 3, 4]),
        ({"min_p": 1.0}, [1]),
        ({"top_k": 3, "top_p": 0.7}, [1, 3]),  # .4 and .25 of .85
        ({"top_k": 4, "top_p": 0.9, "min_p": 0.6}, [1, 3]),
    ],
)
def test_the_tokens_that_stay(options, kept):
    logits = jnp.log(jnp.asarray(P, jnp.float32)) + 3
    found = np.asarray(Truncation(**options)(logits))
    assert np.flatnonzero(found > -np.inf).tolist() == kept
    np.testing.assert_array_equal(found[kept], logits[jnp.array(kept)])
    forbidden = Truncation(**options)(jnp.concatenate([logits, jnp.full(2, -jnp.inf)]))
    assert np.flatnonzero(forbidden > -jnp.inf).tolist() == kept


def test_equal_logits_stay_together():
    logits = jnp.log(jnp.array([0.2, 0.2, 0.2, 0.4]))
    assert (Truncation(top_k=2)(logits) > -jnp.inf).all() and (Truncation(top_p=0.5)(logits) > -jnp.inf).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"top_k": 0}, "Truncation.top_k: expected at least 1, got 0"),
        ({"top_p": 0.0}, "Truncation.top_p: expected more than 0"),
        ({"top_p": 1.5}, "Truncation.top_p: expected at most 1"),
        ({"min_p": -0.1}, "Truncation.min_p: expected at least 0"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        Truncation(**options)


# --- the sampler ------------------------------------------------------------------------------------------

NETWORK = DecoderConfig(vocab_size=5, num_layers=1, dim=8, num_heads=1, num_kv_heads=1, head_dim=8, hidden_dim=8)
N = 4000


def draw(slots, **options):
    """Tokens [n] and their log-probabilities: the first token after a prompt whose next token is distributed by P."""
    params = jax.tree.map(jnp.zeros_like, NETWORK.make().init(jax.random.key(0)))
    # The residual stream is the embedding of the only prompt token, and the logits are those of the tied embedding.
    embedding = jnp.zeros((5, 8)).at[:, 0].set(jnp.log(jnp.asarray(P, jnp.float32))).at[0, 1].set(2.0)
    scale = jnp.zeros(8).at[0].set(1.0)
    first = embedding[0]
    scale = scale / (first[0] * jax.lax.rsqrt(jnp.mean(first**2) + NETWORK.norm_eps))
    params = {**params, "embedding": embedding, "final_norm": {"scale": scale}}
    truncation, temperature = Truncation(**options.pop("truncation", {})), options.pop("temperature", 1.0)
    sampling = Sampling(N, slots, 1, (1,), truncation=truncation)
    prompt, length = jnp.zeros((1, 1), int), jnp.ones(1, int)
    samples = LanguageModel(network=NETWORK).sample(params, jax.random.key(1), prompt, length, sampling, temperature)
    return np.asarray(samples.tokens[0, :, 0]), np.asarray(samples.log_prob[0, :, 0])


@pytest.mark.parametrize(
    "truncation, kept", [({"top_k": 3}, [1, 3, 4]), ({"top_p": 0.6}, [1, 3]), ({"min_p": 0.2}, [0, 1, 3, 4])]
)
def test_frequencies_are_renormalised_probabilities(truncation, kept):
    """At temperature 1/2 the probabilities before truncation are P^2; log-probabilities are those of P."""
    tokens, log_prob = draw(500, truncation=truncation, temperature=0.5)
    power = P**2 if "min_p" not in truncation else np.where(P**2 >= 0.2 * (P**2).max(), P**2, 0)
    expected = np.where(np.isin(np.arange(5), kept), power, 0)
    expected /= expected.sum()
    error = np.sqrt(expected * (1 - expected) / N)
    assert (np.abs(np.bincount(tokens, minlength=5) / N - expected) <= 4 * error).all()
    np.testing.assert_allclose(log_prob, np.log(P)[tokens], atol=1e-5)


def test_truncated_samples_do_not_depend_on_the_number_of_slots():
    truncation = {"top_k": 4, "top_p": 0.8, "min_p": 0.1}
    np.testing.assert_array_equal(draw(500, truncation=truncation)[0], draw(7, truncation=truncation)[0])


def test_temperature_0_takes_the_most_likely_token():
    tokens, log_prob = draw(500, temperature=0.0)
    assert (tokens == 1).all()
    np.testing.assert_allclose(log_prob, np.log(0.4), atol=1e-5)


# --- against transformers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k, top_p, min_p", [(7, 1.0, 0.0), (None, 0.9, 0.0), (None, 1.0, 0.08), (20, 0.8, 0.05)])
def test_the_warpers_of_transformers_remove_the_same_tokens(top_k, top_p, min_p):
    torch = pytest.importorskip("torch")
    warpers = pytest.importorskip("transformers.generation.logits_process")
    logits = (3 * np.random.default_rng(0).standard_normal((16, 300))).astype(np.float32)
    expected = warpers.TemperatureLogitsWarper(0.7)(None, torch.from_numpy(logits))
    if top_k is not None:
        expected = warpers.TopKLogitsWarper(top_k)(None, expected)
    expected = warpers.TopPLogitsWarper(top_p)(None, expected)
    expected = warpers.MinPLogitsWarper(min_p)(None, expected).numpy()
    found = jax.jit(Truncation(top_k=top_k, top_p=top_p, min_p=min_p))(logits / np.float32(0.7))
    assert 0 < np.isfinite(expected).mean() < 0.7
    np.testing.assert_allclose(found, expected, rtol=1e-6)
