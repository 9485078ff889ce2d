"""The benchmark measures what the configs train."""

import importlib

import pytest

from experiments.benchmarks.adversarial_side import ENVS, GAMES, LEARNERS, ROUNDS, TIME


@pytest.mark.parametrize("game", GAMES)
def test_its_settings_are_those_of_the_config(game):
    config = importlib.import_module(f"configs.cartpole_{game}").config
    assert (config.imitator, config.learner) == (GAMES[game], LEARNERS[game])
    assert (config.envs, config.time, config.schedule.steps) == (ENVS, TIME, ROUNDS)
    assert config.environment.id == "seals/CartPole-v0" and config.scale
