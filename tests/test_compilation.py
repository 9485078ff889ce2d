"""Programs compiled as users compile them compute what the programs of this suite, compiled quickly, compute."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from irl.policies.base import Sampling
from irl.policies.language_model import LanguageModel
from reward_models.networks.adapters import LowRank
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")
"""Variables that conftest.py sets."""
ROWS, TIME = 4, 160
"""More tokens than one block of attention has."""


def computed() -> dict[str, np.ndarray]:
    """Log-probabilities, their gradients and greedy samples of a small policy with adapters."""
    shape = dict(vocab_size=40, num_layers=2, dim=24, num_heads=4, num_kv_heads=2, head_dim=8, hidden_dim=32)
    policy = LanguageModel(network=DecoderConfig(**shape, adapters=LowRank(rank=3)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * leaf.shape[-1] ** -0.5, jnp.float32),
        jax.eval_shape(policy.network.make().init, jax.random.key(0)),
    )
    position = np.tile(np.arange(TIME, dtype=np.int32), (ROWS, 1))
    traces = TraceBatch(
        tokens=rng.integers(40, size=(ROWS, TIME), dtype=np.int32),
        segment=np.ones((ROWS, TIME), np.int32),
        position=position,
        step_id=np.where(position < 9, -1, 0).astype(np.int32),
        step_mask=np.ones((ROWS, 1), bool),
        prompt_id=np.arange(ROWS, dtype=np.int32),
    )
    log_prob = policy.log_prob(params, traces)
    gradients = jax.jit(jax.grad(lambda params: policy.log_prob(params, traces).sum()))(params)
    drawn = policy.sample(params, jax.random.key(1), traces.tokens[:, :9], np.full(ROWS, 9), Sampling(2, 2, 6, ()), 0.0)
    leaves = {f"gradient {index}": leaf for index, leaf in enumerate(jax.tree.leaves(gradients))}
    found = {"log_prob": log_prob, "samples": drawn.tokens, "of samples": drawn.log_prob, **leaves}
    return {name: np.asarray(value) for name, value in found.items()}


def test_programs_as_users_compile_them(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in QUICK} | {"PYTHONPATH": str(ROOT)}
    file = tmp_path / "computed.npz"
    subprocess.run([sys.executable, __file__, str(file)], env=environment, check=True, timeout=300)
    theirs, ours = np.load(file), computed()
    assert set(theirs) == set(ours)
    for name, value in ours.items():  # float32 sums in another order
        np.testing.assert_allclose(theirs[name], value, rtol=1e-4, atol=1e-5 * np.abs(value).max(), err_msg=name)
    assert len(ours) > 20 and np.abs(ours["log_prob"]).max() > 1


if __name__ == "__main__":
    np.savez(sys.argv[1], **computed())
