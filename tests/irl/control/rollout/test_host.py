"""Rollouts on the host: against the agent and the environments by hand, and killed runs that go on bit for bit."""

import functools
import json
import time

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.algorithms.base import Algorithm
from irl.checkpoint import Checkpoints
from irl.control.agent import ImitationBatch
from irl.control.environments.gymnasium_env import bridge, create
from irl.control.learners.ppo import Ppo
from irl.control.rollout.host import HostRollouts, from_json, host_returns, to_json, used_leaves
from irl.control.rollout.vector_environment import VectorEnvironment, episode_seed
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions, flat
from irl.sharding import make_mesh
from irl.train import Schedule, train
from irl.types import InputError

SMALL = Ppo(hidden=(8,), epochs=2, minibatch=16, normalise=True, learning_rate=1e-2)
agent_for = functools.lru_cache(SMALL.make)  # the same step is compiled once


def setting(name="CartPole-v1", *, envs=2, time=16, seed=0, overlap=False, demonstrations=None, **options):
    environments = VectorEnvironment(name, envs=envs, seed=seed, **options)
    agent = agent_for(environments.observation_space, environments.action_space)
    return agent, HostRollouts(environments, agent, time=time, overlap=overlap, demonstrations=demonstrations)


def log_probs(agent, state, rollout):
    """Of the actions of a rollout, by the policy of a state."""
    observation, action = (jnp.asarray(flat(values)) for values in (rollout.observation, rollout.action))
    return agent.log_prob(state, observation, action).reshape(rollout.reward.shape)


def test_a_rollout_is_what_the_agent_and_the_environments_do():
    agent, rollouts = setting("Pendulum-v1", envs=3, max_episode_steps=6)
    state = agent.init(jax.random.key(0))
    rollout = rollouts.next(state)
    assert rollout.observation.shape == (16, 3, 3) and rollout.action.shape == (16, 3, 1)
    log_prob = log_probs(agent, state, rollout)
    np.testing.assert_allclose(rollout.log_prob, log_prob, rtol=1e-5)
    for index in range(3):
        env = create("Pendulum-v1", max_episode_steps=6)
        for t in range(16):
            if t % 6 == 0:
                seen = env.reset(seed=episode_seed(0, index, t // 6))[0]
            np.testing.assert_array_equal(rollout.observation[t, index], seen)
            seen, reward, _, truncated, _ = env.step(np.clip(rollout.action[t, index], -2, 2))
            np.testing.assert_array_equal(rollout.next_observation[t, index], seen)
            assert (rollout.reward[t, index], rollout.truncated[t, index]) == (np.float32(reward), truncated)
    assert np.abs(rollout.action).max() > 0 and not rollout.terminated.any() and rollout.truncated.sum() == 6


def test_a_rollout_goes_on_where_the_last_one_ended():
    agent, rollouts = setting()
    state = agent.init(jax.random.key(0))
    first, second = rollouts.next(state), rollouts.next(state)
    both = [np.concatenate([a, b]) for a, b in zip(first, second, strict=True)]
    whole = setting(time=32)[1].next(state)
    for one, other in zip(both, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    over = both[3] | both[4]
    np.testing.assert_array_equal(both[2][:-1][~over[:-1]], both[0][1:][~over[:-1]])
    assert both[3].sum() >= 2 and (np.abs(both[2][both[3]][:, 2]) > 0.2).all(), "where a pole fell, it is seen falling"


def test_only_what_acting_reads_is_copied():
    agent = agent_for(Box((4,)), Discrete(2))
    state = agent.init(jax.random.key(0))
    read = used_leaves(agent.act, state, np.zeros((2, 4), np.float32), jax.random.key(0))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    found = [path for path, wanted in zip(paths, read, strict=True) if wanted]
    expected = [f".params['actor'][{layer}]['{name}']" for layer in (0, 1) for name in "bw"]
    assert found == [*expected, ".moments.mean", ".moments.variance"]


def test_overlapped_rollouts_are_by_the_policy_before():
    agent, rollouts = setting(overlap=True)
    states = [agent.init(jax.random.key(n)) for n in range(4)]
    for n, state in enumerate(states):
        rollout = rollouts.next(state)
        before = states[max(n - 1, 0)]
        np.testing.assert_allclose(rollout.log_prob, log_probs(agent, before, rollout), rtol=1e-5)


def test_parameters_that_a_step_donates_are_not_lost():
    agent, rollouts = setting(overlap=True)
    state = agent.init(jax.random.key(0))
    step = jax.jit(agent.step, donate_argnums=0)
    for n in range(4):
        old, batch = state, rollouts.next(state)
        state, _ = step(state, batch, jax.random.key(n))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old.params))


def test_imitators_get_the_demonstrations_too():
    expert = Transitions(
        np.ones((5, 4), np.float32), np.zeros(5, np.int32), np.ones((5, 4), np.float32), np.ones(5, bool)
    )
    agent, rollouts = setting(demonstrations=expert)
    batch = rollouts.next(agent.init(jax.random.key(0)))
    assert isinstance(batch, ImitationBatch) and batch.demonstrations is expert
    assert batch.rollout.reward.shape == (16, 2)


class Killed(Exception):
    pass


def run(folder, name, overlap, *, killed_at=None, **options):
    """Train 7 steps, with a checkpoint after 3 and 6, and return (state, records); a run that is there goes on."""
    agent, rollouts = setting(name, overlap=overlap, **options)
    records, done = {}, []

    def advance(steps):
        done.extend([0] * steps)
        if len(done) == killed_at:
            raise Killed

    state = train(
        Algorithm(agent.init, agent.step),
        rollouts,
        Schedule(steps=7, log_every=2, save_every=3),
        jax.random.key(1),
        checkpoints=Checkpoints(folder),
        record=rollouts.recording(lambda step, metrics: records.update({step: metrics})),
        mesh=make_mesh(devices=jax.devices()[:1]),
        advance=advance,
    )
    return state, records


@pytest.mark.parametrize("overlap", [False, True], ids=["exact", "overlapped"])
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_a_run_that_is_killed_goes_on_bit_for_bit(name, overlap, tmp_path):
    options = {"max_episode_steps": 23}
    whole, told = run(tmp_path / "whole", name, overlap, **options)
    with pytest.raises(Killed):
        run(tmp_path / "killed", name, overlap, killed_at=5, **options)  # goes on after 48 steps, inside episodes
    resumed, after = run(tmp_path / "killed", name, overlap, **options)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert list(after) == [4, 6, 7] and {step: told[step] for step in after} == after
    assert "return" in after[4]


def test_what_is_learned_depends_on_no_timing(tmp_path):
    class Hesitant(gymnasium.Wrapper):
        """Takes its time, another one every time."""

        def step(self, action):
            time.sleep(0.002 * np.random.default_rng().random())
            return super().step(action)

    plain, _ = run(tmp_path / "plain", lambda: create("CartPole-v1"), True)
    slow, _ = run(tmp_path / "slow", lambda: Hesitant(create("CartPole-v1")), True, workers=2)
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(slow), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_episodes_are_recorded_with_the_step_that_learned_from_their_end():
    agent, rollouts = setting("CartPole-v1", time=20)
    state, told = agent.init(jax.random.key(0)), {}
    record = rollouts.recording(lambda step, metrics: told.update({step: metrics}))
    batches = [rollouts.next(state) for _ in range(3)]  # the loop is a rollout ahead of what it reports
    lengths = {1: [], 2: [], 3: []}
    for index in range(2):
        ends = np.flatnonzero(np.concatenate([batch.terminated[:, index] for batch in batches]))
        for end, length in zip(ends, np.diff(ends, prepend=-1), strict=True):
            lengths[end // 20 + 1].append(length)
    assert len(lengths[1] + lengths[2]) > 1
    record(2, {"loss": 0.5})
    of_both = lengths[1] + lengths[2]
    mean = pytest.approx(np.mean(of_both))
    assert told[2] == {"loss": 0.5, "return": mean, "length": mean, "episodes": len(of_both)}, "one is paid per step"
    record(2, {"loss": 0.25})
    assert told[2] == {"loss": 0.25}, "no episode is told twice"
    record(3, {"loss": 0.25})
    assert told[3].get("episodes", 0) == len(lengths[3])


def test_arrays_survive_json():
    for array in (np.arange(6, dtype=np.float32).reshape(2, 3) / 3, jnp.ones(3, jnp.bfloat16), np.array(2, np.int32)):
        back = from_json(json.loads(json.dumps(to_json(array))))
        assert back.dtype == array.dtype and back.shape == array.shape
        np.testing.assert_array_equal(back, np.asarray(array))


def test_dict_observations():
    class Hand(gymnasium.Wrapper):
        """CartPole in parts."""

        def __init__(self):
            super().__init__(create("CartPole-v1"))
            parts = {"pole": gymnasium.spaces.Box(-9, 9, (2,)), "cart": gymnasium.spaces.Box(-9, 9, (2,))}
            self.observation_space = gymnasium.spaces.Dict(parts)

        def reset(self, **options):
            return self._parts(super().reset(**options)[0]), {}

        def step(self, action):
            observation, *rest = super().step(action)
            return self._parts(observation), *rest

        def _parts(self, observation):
            return {"cart": observation[:2], "pole": observation[2:]}

    agent, rollouts = setting(Hand)
    rollout, plain = (r.next(agent.init(jax.random.key(0))) for r in (rollouts, setting()[1]))
    np.testing.assert_array_equal(rollout.observation, plain.observation)


def test_an_environment_that_raises_in_the_middle():
    class Breaks(gymnasium.Wrapper):
        count = 0

        def step(self, action):
            self.count += 1
            if self.count == 5:
                raise OSError("the simulator is gone")
            return super().step(action)

    agent, rollouts = setting(lambda: Breaks(create("Pendulum-v1")))
    message = r"Pendulum-v1, environment 0, episode 0 \(seed \d+\), step 4, action .*OSError: the simulator is gone"
    with pytest.raises(InputError, match=message):
        rollouts.next(agent.init(jax.random.key(0)))


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (Box((3,)), Discrete(2), r"the agent cannot act on observations of shape \(2, 4\), float32"),
        (Box((4,)), Box((1,)), r"expected actions int32\[2\], got float32\[2, 1\]"),
    ],
)
def test_agents_for_other_spaces_are_refused(observation, action, message):
    agent = agent_for(observation, action)
    rollouts = HostRollouts(VectorEnvironment("CartPole-v1", envs=2, seed=0), agent, time=4)
    with pytest.raises(InputError, match=f"CartPole-v1: {message}.*make the agent for the spaces of CartPole-v1: Box"):
        rollouts.next(agent.init(jax.random.key(0)))


def test_settings():
    with pytest.raises(InputError, match="time of at least 1, got 0"):
        setting(time=0)
    saved = setting()[1].get_state()
    with pytest.raises(InputError, match="time was 16, is 8 now; resume with the same settings"):
        setting(time=8)[1].set_state(saved)
    with pytest.raises(InputError, match="overlap was False, is True now"):
        setting(overlap=True)[1].set_state(saved)


def test_returns_are_those_of_the_best_actions_by_hand():
    of_env = bridge(create("CartPole-v1"))
    agent = agent_for(of_env.observation, of_env.action)
    state = agent.init(jax.random.key(3))
    found = host_returns("CartPole-v1", agent, state, episodes=20, seed=7)
    env, greedy = create("CartPole-v1"), jax.jit(agent.greedy)
    for number in (0, 15, 16, 19):  # 16 side by side: the 17th is the second of the first environment
        seen, earned, over = env.reset(seed=episode_seed(7, number % 16, number // 16))[0], 0.0, False
        while not over:
            seen, reward, terminated, truncated, _ = env.step(int(greedy(state, seen[None])[0]))
            earned, over = earned + reward, terminated or truncated
        assert found[number] == earned
    explored = host_returns("CartPole-v1", agent, state, episodes=20, seed=7, explore=True)
    assert np.isfinite(explored).all() and (explored != found).any()


def test_evaluation_of_what_never_ends():
    class Forever(gymnasium.Wrapper):
        def step(self, action):
            observation, reward, *_ = super().step(action)
            return observation, reward, False, False, {}

    agent = agent_for(Box((3,)), Box((1,), -2.0, 2.0))
    state = agent.init(jax.random.key(0))
    with pytest.raises(InputError, match=r"Pendulum-v1: an episode did not end in 9 steps; .*time limit"):
        host_returns(lambda: Forever(create("Pendulum-v1")), agent, state, episodes=2, seed=0, most_steps=9)
