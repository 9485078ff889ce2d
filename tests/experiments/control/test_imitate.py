"""Runs of imitation, tiny: what they leave, that they go on where they stopped, and every config stepped once."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import gymnasium
import jax
import numpy as np
import pytest
import safetensors.numpy

import configs
from configs import cartpole_gail
from experiments.control.backends import OfGymnasium, OnHost, PureJax, over_seeds
from experiments.control.expert import (
    DemonstrationFile,
    Demonstrations,
    Expert,
    PushingExpert,
    TrainedExpert,
    pushing_agent,
)
from experiments.control.imitate import Imitate, agent_of, cloned, prepare, warm
from experiments.core.run_folder import RunFolder
from irl.control.agent import ImitationBatch, random_agent
from irl.control.algorithms.behavioural_cloning import BehaviouralCloning
from irl.control.algorithms.dagger import Dagger
from irl.control.algorithms.density import Density
from irl.control.algorithms.gail import Gail
from irl.control.algorithms.iq_learn import IqLearn
from irl.control.algorithms.sqil import Sqil
from irl.control.environments.gymnax_env import jax_environment
from irl.control.learners.ppo import Ppo
from irl.control.rollout.in_graph import in_graph
from irl.control.spaces import Discrete
from irl.control.trajectories.files import load_trajectories
from irl.control.trajectories.trajectory import from_arrays, to_transitions
from irl.train import Schedule
from irl.types import InputError

pytestmark = pytest.mark.usefixtures("shared_programs")

PPO = Ppo(epochs=1, minibatch=32, hidden=(8,))
EXPERT = TrainedExpert(learner=PPO, envs=2, time=16, schedule=Schedule(steps=1, save_every=1), episodes=2)
SHORT = Schedule(steps=2, log_every=1, save_every=1)


def shrunk(config):
    return replace(config, expert=EXPERT, learner=PPO, envs=2, time=16, schedule=SHORT, episodes=2, seeds=2, retrain=0)


def run(config, folder):
    folder.mkdir(exist_ok=True)
    page = config.run(folder, "traceward run mine")
    assert page.stat().st_size > 0
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared_programs):
    folder = tmp_path_factory.mktemp("imitate") / "run"
    return folder, run(replace(shrunk(cartpole_gail.config), retrain=1), folder)


def test_what_a_run_tells(finished):
    folder, report = finished
    names = {row["name"]: row for row in report["headline"]}
    assert {"Gail: return", "expert", "random actions", "Gail: normalised return"} <= set(names)
    assert "fresh policy on the frozen reward: return" in names
    assert names["Gail: return"]["information"] == "demonstrations" and names["expert"]["information"] == "none"
    assert 0 <= names["Gail: return"]["low"] <= names["Gail: return"]["value"] <= 500
    (curve,) = report["train_time"]
    assert [series["name"] for series in curve["series"]] == ["return, seed 0", "return, seed 1"]
    assert curve["series"][0]["x"] == [32, 64]
    saved = safetensors.numpy.load_file(folder / "imitators.safetensors")
    assert all(leaf.shape[0] == 2 for leaf in saved.values())
    assert [len(t) for t in load_trajectories(folder / "demonstrations.safetensors")] == [500, 500]


def test_a_stopped_run_ends_as_if_it_had_not_been(finished, tmp_path):
    folder, report = finished
    half = replace(shrunk(cartpole_gail.config), schedule=replace(SHORT, steps=1))
    run(half, tmp_path / "run")
    again = run(replace(half, schedule=SHORT, retrain=1), tmp_path / "run")
    kept, now = (safetensors.numpy.load_file(f / "imitators.safetensors") for f in (folder, tmp_path / "run"))
    assert kept.keys() == now.keys() and all(np.array_equal(kept[name], now[name]) for name in kept)
    assert [row["value"] for row in again["headline"]] == [row["value"] for row in report["headline"]]


def test_demonstrations_of_ones_own(finished, tmp_path):
    folder, _ = finished
    config = replace(
        shrunk(cartpole_gail.config),
        expert=DemonstrationFile(path=str(folder / "demonstrations.safetensors"), episodes=1),
        imitator=BehaviouralCloning(),
    )
    report = run(config, tmp_path / "run")
    assert {"BehaviouralCloning: return", "expert"} <= {row["name"] for row in report["headline"]}


def some_demonstrations(backend) -> Demonstrations:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(41, *backend.observation.shape)).astype(np.float32)
    box = rng.uniform(-1, 1, (40, *backend.action.shape)).astype(np.float32)
    actions = rng.integers(0, 2, 40).astype(np.int32) if isinstance(backend.action, Discrete) else box
    return Demonstrations([from_arrays(seen, actions, terminal=False)], None)


CONFIGS = {
    name: config
    for file in Path(configs.__path__[0]).glob("*.py")
    if isinstance(config := getattr(import_module(f"configs.{(name := file.stem)}"), "config", None), Imitate)
}
IN_ONE_PROGRAM = {name: config for name, config in CONFIGS.items() if isinstance(config.environment, PureJax)} | {
    type(imitator).__name__: replace(cartpole_gail.config, imitator=imitator)
    for imitator in (Sqil(), IqLearn(), Density(), BehaviouralCloning())
}
HOSTS = {name: config for name, config in CONFIGS.items() if isinstance(config.environment, OfGymnasium)}


def built(config):
    """Where, agent, reward and demonstrations; an expert to be asked is a policy that was never trained."""
    backend = config.environment.backend()
    shown = some_demonstrations(backend)
    if isinstance(config.expert, PushingExpert):
        shown = shown._replace(expert=Expert(pushing_agent(), None))
    elif isinstance(config.imitator, Dagger):
        expert = config.expert.learner.make(backend.observation, backend.action)
        shown = shown._replace(expert=Expert(expert, expert.init(jax.random.key(0))))
    setting = prepare(config, backend, shown)
    return setting, *agent_of(config, setting)


def same_shapes(first, second):
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (first, second)]
    return shapes[0] == shapes[1]


@pytest.mark.parametrize("config", IN_ONE_PROGRAM.values(), ids=IN_ONE_PROGRAM)
def test_every_config_in_one_program_can_be_stepped(config):
    """Traced, not compiled: the state keeps its shapes, losses and returns are scalars, a reward is one per step."""
    setting, agent, reward = built(config)
    if isinstance(config.imitator, BehaviouralCloning):
        agent = config.imitator.make(agent, setting.backend.action)
        state = jax.eval_shape(agent.init, jax.random.key(0))
        after, info = jax.eval_shape(agent.step, state, setting.demonstrations, jax.random.key(1))
        assert same_shapes(after, state) and "loss" in info
        return
    algorithm = over_seeds(in_graph(setting.backend.environment, agent, envs=2, time=8), 3)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    after, info = jax.eval_shape(algorithm.step, state, setting.demonstrations, jax.random.key(1))
    assert same_shapes(after, state)
    assert {"loss", "return", "return, seed 2"} <= set(info) and all(leaf.shape == () for leaf in info.values())
    if reward is not None:
        paid = jax.eval_shape(jax.vmap(reward, in_axes=(0, None)), after.agent, setting.demonstrations)
        assert paid.shape == (3, len(setting.demonstrations.terminated))
    else:
        assert isinstance(config.imitator, Sqil | Dagger)


@pytest.mark.parametrize("config", HOSTS.values(), ids=HOSTS)
def test_every_config_on_the_host_can_be_stepped(config):
    """The environment really takes two steps; learning is traced."""
    pytest.importorskip("mujoco")
    setting, agent, reward = built(config)
    state = agent.init(jax.random.key(0))
    rollout = setting.backend.rollout(agent, state, jax.random.key(0), 2, steps=2)
    assert rollout.observation.shape == (2, 2, *setting.backend.observation.shape)
    if isinstance(config.imitator, BehaviouralCloning):
        return
    after, info = jax.eval_shape(agent.step, state, ImitationBatch(rollout, setting.demonstrations), jax.random.key(1))
    assert same_shapes(after, state) and "loss" in info
    assert reward(state, setting.demonstrations).shape == (len(setting.demonstrations.terminated),)


ON_THE_HOST = replace(
    shrunk(cartpole_gail.config),
    environment=OfGymnasium(id="CartPole-v1", max_episode_steps=15),
    imitator=Gail(),
    absorbing=True,
    schedule=SHORT,
    time=40,
    seeds=1,
)


def test_a_run_on_the_host_ends_as_if_it_had_not_been_stopped(tmp_path):
    whole = run(ON_THE_HOST, tmp_path / "whole")
    names = {row["name"]: row for row in whole["headline"]}
    assert {"Gail: return", "expert", "random actions"} <= set(names)
    assert 1 <= names["Gail: return"]["value"] <= 15
    (curve,) = whole["train_time"]
    assert {series["name"] for series in curve["series"]} == {"return, seed 0"}
    run(replace(ON_THE_HOST, schedule=replace(SHORT, steps=1)), tmp_path / "stopped")
    again = run(ON_THE_HOST, tmp_path / "stopped")
    assert [row["value"] for row in again["headline"]] == [row["value"] for row in whole["headline"]]


def test_demonstrations_that_end_are_filled_up_to_the_horizon():
    """A fallen pole: the imitator sees the absorbing state from then on, in the units of what was demonstrated."""
    backend = OfGymnasium(id="CartPole-v1").backend()
    seen = np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32)
    shown = Demonstrations([from_arrays(seen, np.zeros(10, np.int32), terminal=True)], None)
    setting = prepare(ON_THE_HOST, backend, shown)
    assert setting.backend.observation.shape == (5,) and setting.demonstrations.observation.shape == (500, 5)
    assert not setting.demonstrations.terminated.any()
    np.testing.assert_array_equal(setting.demonstrations.observation[10:, -1], 1)
    np.testing.assert_allclose(setting.demonstrations.observation[:10, :4].mean(0), 0, atol=0.5)


def test_dagger_asks_the_expert_in_units_of_its_own(finished, tmp_path):
    """The expert of the run answers to scaled observations as it does to plain ones."""
    folder, _ = finished
    config = replace(shrunk(cartpole_gail.config), imitator=Dagger(updates=2, capacity=4000))
    (tmp_path / "run").mkdir()
    backend = config.environment.backend()
    shown = config.expert.run(RunFolder(tmp_path / "run", 0), backend)
    setting = prepare(config, backend, shown)
    plain = to_transitions(shown.trajectories).observation[:50]
    expected = shown.expert.agent.greedy(shown.expert.state, plain)
    np.testing.assert_array_equal(
        setting.expert_policy(setting.expert_state, setting.demonstrations.observation[:50]), expected
    )
    report = run(config, tmp_path / "run")
    assert {"Dagger: return", "Dagger: normalised return"} <= {row["name"] for row in report["headline"]}
    file = DemonstrationFile(path=str(folder / "demonstrations.safetensors"))
    with pytest.raises(InputError, match="Dagger: expected an expert to query, got a file; set expert=Trained"):
        replace(config, expert=file).run(tmp_path / "run", "")


def test_a_policy_that_begins_as_a_clone(tmp_path):
    """The learner inside the game begins with the cloned policy; its discriminator is fresh."""
    config = replace(shrunk(cartpole_gail.config), warm_start=1, seeds=2)
    backend = config.environment.backend()
    setting = prepare(config, backend, some_demonstrations(backend))
    agent, _ = agent_of(config, setting)
    begun = warm(config, RunFolder(tmp_path, 0), setting, agent)
    learner = config.learner.make(setting.backend.observation, setting.backend.action)
    cloning = BehaviouralCloning().make(learner, setting.backend.action)
    clones = cloned(config, RunFolder(tmp_path, 0), setting, cloning, 1)
    jax.tree.map(np.testing.assert_array_equal, begun.learner.params, clones.params)
    fresh = jax.vmap(learner.init)(jax.random.split(jax.random.key(0), 2)).params
    assert not np.array_equal(*(jax.tree.leaves(p)[0] for p in (fresh, clones.params)))
    with pytest.raises(InputError, match="warm_start: Sqil does not train `learner`, whose policy is cloned"):
        warm(replace(config, imitator=Sqil()), RunFolder(tmp_path, 0), setting, agent)


def test_episodes_without_end_are_refused():
    with pytest.raises(InputError, match="expected episodes with a time limit; add one"):
        OnHost(lambda: gymnasium.make("CartPole-v1").unwrapped)


def test_the_expert_of_mountain_car(tmp_path):
    """It is at the goal long before the horizon, and no other environment's expert."""
    run = RunFolder(tmp_path, 0)
    shown = PushingExpert(episodes=20).run(run, PureJax(id="seals/MountainCar-v0").backend())
    assert -130 < shown.returns.mean() < -80 and shown.returns.min() > -200
    with pytest.raises(InputError, match="PushingExpert: expected MountainCar, got CartPole-v1 with Box"):
        PushingExpert().run(run, PureJax(id="CartPole-v1").backend())


def test_random_actions_are_inside_their_bounds():
    world = jax_environment("Pendulum-v1")
    drawn = random_agent(world.action).act(None, np.zeros((500, 3)), jax.random.key(0))[0]
    assert drawn.shape == (500, 1) and np.abs(drawn).max() <= 2 and drawn.min() < -1.5 < 1.5 < drawn.max()


def test_unknown_environments_are_named():
    with pytest.raises(InputError, match=r"no pure-JAX environment 'CartPole-v9'; similar ids: .*CartPole-v1"):
        jax_environment("CartPole-v9")


def test_demonstrations_of_another_environment(finished, tmp_path):
    folder, _ = finished
    config = replace(
        shrunk(cartpole_gail.config),
        environment=PureJax(id="Acrobot-v1"),
        expert=DemonstrationFile(path=str(folder / "demonstrations.safetensors")),
    )
    (tmp_path / "run").mkdir()
    told = r"expected shape \(501, 6\) of Box.* got \(501, 4\); use demonstrations of this environment"
    with pytest.raises(InputError, match=told):
        config.run(tmp_path / "run", "")
