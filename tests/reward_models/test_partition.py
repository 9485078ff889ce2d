"""Rules of partition against specs written out by hand, over every network's parameters and their moments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead
from reward_models.partition import by_rows, partition_specs

DECODER = DecoderConfig(
    vocab_size=64,
    num_layers=2,
    dim=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    hidden_dim=48,
    attention_bias=True,
    qk_norm=True,
    tie_embeddings=False,
)
KEY = jax.random.key(0)
WAYS = {"data": 1, "fsdp": 2, "tensor": 2}
COLUMNS, ROWS, BIAS = P(None, "fsdp", "tensor"), P(None, "tensor", "fsdp"), P(None, "tensor")
WHOLE = {"scale": P()}
TRUNK = {
    "embedding": P("tensor", "fsdp"),
    "blocks": {
        "input_norm": WHOLE,
        "query": {"kernel": COLUMNS, "bias": BIAS},
        "key": {"kernel": COLUMNS, "bias": BIAS},
        "value": {"kernel": COLUMNS, "bias": BIAS},
        "output": {"kernel": ROWS},
        "query_norm": WHOLE,
        "key_norm": WHOLE,
        "post_norm": WHOLE,
        "gate": {"kernel": COLUMNS},
        "up": {"kernel": COLUMNS},
        "down": {"kernel": ROWS},
    },
    "final_norm": WHOLE,
    "head": {"kernel": P(None, ("tensor", "fsdp"))},
}


def specs(config, ways=WAYS):
    return partition_specs(jax.eval_shape(config.make().init, KEY), ways)


def test_a_decoder():
    assert specs(DECODER) == TRUNK


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (LinearHead(labels=2, bias=True), {"kernel": P(), "bias": P()}),
        (MLPHead(), {name: {"kernel": P(), "bias": P()} for name in ("inner", "outer")}),
    ],
)
def test_heads_of_rewards_stay_whole(head, expected):
    config = HeadedDecoderConfig(decoder=DECODER, head=head, read=LastToken())
    assert specs(config) == {"trunk": TRUNK, "head": expected}


def test_members_of_an_ensemble_are_not_divided_either():
    member = CriticConfig(decoder=DECODER)
    alone = specs(member)
    together = specs(EnsembleConfig(member=member, members=3))
    before = jax.tree.map(lambda spec: P(None, *spec) if any(spec) else P(), alone)
    assert together == before


def test_moments_lie_where_their_parameters_do():
    config = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken())
    params = jax.eval_shape(config.make().init, KEY)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    moments, *_ = partition_specs({"opt_state": jax.eval_shape(optimiser.init, params)}, WAYS)["opt_state"][1]
    assert moments.mu == moments.nu == specs(config)
    assert moments.count == P()


@pytest.mark.parametrize(
    ("shape", "ways", "expected"),
    [
        ((48, 30), {"fsdp": 1, "tensor": 1}, P()),
        ((48, 30), {"fsdp": 2, "tensor": 1}, P(None, "fsdp")),
        ((48, 30), {"fsdp": 4, "tensor": 2}, P("tensor", None)),  # 30 does not divide by 4
        ((19, 30), {"fsdp": 4, "tensor": 2}, P()),
        ((48, 16), {"fsdp": 2, "tensor": 8}, P(None, "fsdp")),  # parts of 6 are too narrow
        ((64,), {"fsdp": 2, "tensor": 2}, P()),  # not a matrix
    ],
)
def test_what_does_not_divide_stays_whole(shape, ways, expected):
    assert partition_specs({"embedding": np.zeros(shape)}, ways) == {"embedding": expected}


def test_other_pytrees_have_no_rules():
    tree = (jnp.ones((64, 64)), [jnp.ones(3)], {"theta": jnp.ones(64), "key": jax.random.key(0)})
    assert set(jax.tree.leaves(partition_specs(tree, WAYS))) == {P()}


def test_activations_go_by_rows_on_a_mesh_and_nowhere_without():
    x = jnp.ones((8, 3))
    assert by_rows(x) is x
    mesh = jax.make_mesh((1, 2, 2), ("data", "fsdp", "tensor"), (jax.sharding.AxisType.Auto,) * 3)
    with jax.set_mesh(mesh):
        assert jax.jit(by_rows)(x).sharding.shard_shape(x.shape) == (4, 3)
