"""A reward of traces that starts from the policy's weights."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from configs.smoke import config as smoke
from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.fit_reward import FitReward
from irl.algorithms.optimiser import AdamW
from irl.algorithms.sft import Sft
from irl.domains.modchain import ModChain
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from irl.train import Schedule
from irl.types import InputError
from reward_models.networks.soft_advantage import SoftAdvantageConfig

DECODER = smoke.policy.network


def test_the_trunk_starts_from_the_weights_of_the_policy(tmp_path):
    policy = FittedPolicy(LanguageModel(network=DECODER), DECODER.make().init(jax.random.key(5)))
    before = jax.device_get(policy.params)
    fit = FitReward(
        network=SoftAdvantageConfig(decoder=DECODER),
        demonstrations=Demonstrations(count=100),
        warm_up=Sft(optimiser=AdamW(learning_rate=1e-9, total_steps=1, warmup_steps=0)),
        warm_up_schedule=Schedule(steps=1),
        warm_up_rows=4,
        rounds=0,
        evaluations=1,
    )
    for start, equal in (("policy", True), ("random", False)):
        encoder = Encoder(number_tokenizer(), 64, 8)
        workspace = Workspace(tmp_path / start, 0, environment=ModChain(train_size=50, test_size=10), encoder=encoder)
        params = replace(fit, start=start).run(workspace, policy)
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(params), strict=True)
        assert all(np.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs) == equal
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(policy.params))  # no buffer was donated


def test_decoders_of_different_shapes_are_refused():
    other = replace(DECODER, num_layers=2)
    with pytest.raises(InputError, match=r"reward\.start: the policy's weights need equal decoders"):
        replace(smoke, reward=replace(smoke.reward, start="policy", network=SoftAdvantageConfig(decoder=other)))
