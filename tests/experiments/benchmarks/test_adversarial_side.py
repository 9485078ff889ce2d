"""The benchmark measures what the configs train."""

import importlib

import pytest

from experiments.benchmarks.adversarial_side import ENVS, IMITATORS, LEARNERS, ROUNDS, TIME


@pytest.mark.parametrize("algorithm", IMITATORS)
def test_its_settings_are_those_of_the_config(algorithm):
    config = importlib.import_module(f"configs.cartpole_{algorithm}").config
    assert (config.imitator, config.learner) == (IMITATORS[algorithm], LEARNERS[algorithm])
    assert (config.envs, config.time, config.schedule.steps) == (ENVS, TIME, ROUNDS)
    assert config.environment.id == "seals/CartPole-v0" and config.scale
