"""Rounds where everything is known: both sides approach the expert; replay, rewards and turns by hand."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irl.algorithms.airl import Airl
from irl.algorithms.base import gradient_algorithm
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.maxent import MaxEnt
from irl.algorithms.optimiser import AdamW
from irl.algorithms.pairs import Contrasts
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.algorithms.rounds import Adversary, Replay, Round, RoundsState, Turn, bounded_reward, draw, push, rounds
from irl.checkpoint import Checkpoints
from irl.sharding import make_mesh
from irl.train import Schedule, train
from irl.types import InputError
from reward_models.types import TraceBatch
from tests.irl.exact_tree import ExactTree, rank_correlation
from tests.linear_reward import LinearConfig

TREE = ExactTree(depth=4, branching=3, num_prompts=4)
NETWORK = LinearConfig(num_positions=TREE.depth + 1, vocab=TREE.vocab).make()
SAMPLES, KEY = 8, jax.random.key(0)
PROMPTS = np.arange(32) % TREE.num_prompts
EVERY = TREE.encode(
    np.repeat(np.arange(TREE.num_prompts), TREE.num_leaves), np.tile(np.arange(TREE.num_leaves), TREE.num_prompts)
)


class Sampled(NamedTuple):
    """Leaves with their rewards."""

    traces: TraceBatch
    reward: jax.Array
    leaves: np.ndarray


def log_policy(table):
    """log pi(leaf | prompt) [prompts, leaves] of a policy with a logit per leaf."""
    return jax.nn.log_softmax(table, axis=1)


def policy_gradient():
    """REINFORCE on group-centred rewards, as GRPO, for the table of logits."""

    def loss(params, batch):
        advantage = batch.reward.reshape(len(PROMPTS), -1)
        advantage -= advantage.mean(axis=1, keepdims=True)
        taken = jnp.take_along_axis(log_policy(params["logits"])[PROMPTS], batch.leaves, axis=1)
        return -jnp.mean(advantage * taken), {}

    start = jnp.zeros(TREE.reward.shape)
    return gradient_algorithm(lambda key: {"logits": start}, loss, optax.adam(0.05))


def draw_leaves(log_prob, rng):
    """A leaf for every row of log-probabilities: Gumbel-max."""
    return np.argmax(log_prob + rng.gumbel(size=log_prob.shape), axis=1)


class TreeRollouts:
    """Samples of the current policy against demonstrations, which are exact draws from the expert."""

    def __init__(self):
        self.count = 0

    def next(self, state):
        self.count += 1
        rng = np.random.default_rng(self.count)
        log_prob = np.asarray(log_policy(state.policy.params["logits"]), np.float64)
        asked = np.repeat(PROMPTS, SAMPLES)
        leaves = draw_leaves(log_prob[asked], rng).reshape(len(PROMPTS), SAMPLES)
        expert = draw_leaves(TREE.log_posterior[PROMPTS], rng)[:, None]
        traces = TREE.encode(asked, leaves.ravel())
        demonstrations = TREE.encode(PROMPTS, expert.ravel())
        log_probs = [self._log_prob(log_prob, chosen) for chosen in (expert, leaves)]
        contrasts = Contrasts(demonstrations, traces, *log_probs)
        return Round(contrasts, Sampled(traces, np.zeros(leaves.size, np.float32), leaves))

    def _log_prob(self, table, leaves):
        """That of the whole trace, in its first step."""
        total = np.take_along_axis(table[PROMPTS], leaves, axis=1).ravel()
        return np.hstack([total[:, None], np.zeros((len(total), TREE.depth - 1))]).astype(np.float32)

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


ALGORITHMS = {
    "airl": Airl(learning_rate=0.03),
    "maxent": MaxEnt(learning_rate=0.03),
    "pairwise_critic": PairwiseCritic(optimiser=AdamW(learning_rate=0.03, warmup_steps=0), mle=0.0),
    "bradley_terry": BradleyTerry(optimiser=AdamW(learning_rate=0.03, warmup_steps=0)),
}


ADVERSARIES = {
    name: Adversary(algorithm=algorithm, prompts_per_update=32, worst=100.0) for name, algorithm in ALGORITHMS.items()
}
MESH = make_mesh(devices=jax.devices()[:1])


@cache
def algorithm_of(name):
    """Compiled once for all tests."""
    return ADVERSARIES[name].make(NETWORK, policy_gradient())


def start_of(name):
    start = algorithm_of(name).init(KEY)
    return start._replace(replay=ADVERSARIES[name].empty_replay(TreeRollouts().next(start)))


def learn(name, folder, steps, source=None, save_every=1000):
    """The state after so many rounds, and the rows that were recorded."""
    rows = []
    state = train(
        algorithm_of(name),
        source or TreeRollouts(),
        Schedule(steps=steps, log_every=10, save_every=save_every),
        KEY,
        checkpoints=Checkpoints(folder),
        record=lambda step, row: rows.append({"step": step, **row}),
        start=start_of(name),
        mesh=MESH,
    )
    return state, rows


def distance(state):
    """KL(expert || policy) in nats, the mean over prompts."""
    log_prob = np.asarray(log_policy(state.policy.params["logits"]), np.float64)
    return float(np.mean(np.sum(np.exp(TREE.log_posterior) * (TREE.log_posterior - log_prob), axis=1)))


def rank(state):
    """The rank correlation of the learned reward with the planted one, inside the prompts."""
    learned = np.asarray(NETWORK.apply(state.reward.params, EVERY).trace, np.float64)
    return rank_correlation(learned.reshape(TREE.reward.shape), TREE.reward)


@pytest.mark.parametrize("name", ["airl", "maxent"])
def test_the_policy_approaches_the_expert_and_the_reward_ranks_as_the_true_one(name, tmp_path):
    early, _ = learn(name, tmp_path, 20)
    late, _ = learn(name, tmp_path, 100)  # resumes
    assert distance(start_of(name)) > distance(early) > 5 * distance(late)
    assert distance(late) < 0.05 and rank(late) > 0.97


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_on_contrasts_takes_a_side(name, tmp_path):
    after, rows = learn(name, tmp_path, 10)
    assert rank(after) > 0.15, "at first all traces score 0"
    assert {"loss", "reward/loss", "policy/loss"} <= set(rows[-1])


class Killed(Exception):
    pass


class KilledRollouts(TreeRollouts):
    """The process ends when the batch after the last of these is asked for."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def next(self, state):
        if self.count == self.last:
            raise Killed
        return super().next(state)


@pytest.mark.parametrize("last", [1, 2, 5])
def test_killed_and_resumed_rounds_end_with_the_same_pair(last, tmp_path):
    whole, _ = learn("airl", tmp_path / "whole", 7, save_every=2)
    with pytest.raises(Killed):
        learn("airl", tmp_path / "killed", 7, KilledRollouts(last), save_every=2)
    resumed, _ = learn("airl", tmp_path / "killed", 7, save_every=2)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    assert int(resumed.replay.written) == 7 * len(PROMPTS)


def test_a_checkpoint_holds_both_sides_and_the_replay_of_one_round(tmp_path):
    state, _ = learn("airl", tmp_path, 4, save_every=2)
    like = start_of("airl")
    earlier = Checkpoints(tmp_path).restore(2, like).state
    again, _ = learn("airl", tmp_path / "again", 2)
    jax.tree.map(np.testing.assert_array_equal, earlier, again)
    last = Checkpoints(tmp_path).restore(None, like).state
    jax.tree.map(np.testing.assert_array_equal, last, state)


def toy(rate):
    return gradient_algorithm(
        lambda key: {"w": jnp.zeros(())},
        lambda params, batch: ((params["w"] - batch) ** 2, {"distance": batch - params["w"]}),
        optax.sgd(rate),
    )


def test_the_policy_sees_the_reward_of_this_round_by_hand():
    """The reward moves to 3/2 and then to 9/4 of 3; the policy moves towards what the reward is then."""
    reward = Turn(toy(0.25), lambda state, data, key: data, updates=2)
    policy = Turn(toy(0.5), lambda state, data, key: state.reward.params["w"])
    algorithm = rounds(reward, policy, lambda replay, data: replay + data)
    state = algorithm.init(KEY)._replace(replay=jnp.float32(1))
    state, info = jax.jit(algorithm.step)(state, jnp.float32(3), KEY)
    assert (state.reward.params["w"], state.policy.params["w"], state.replay) == (2.25, 2.25, 4)
    assert info["reward/distance"] == 1.5 and info["policy/distance"] == 2.25
    assert info["loss"] == 1.5**2 + 2.25**2


@pytest.mark.parametrize("side", ["reward", "policy"])
def test_one_side_alone_is_its_own_algorithm(side):
    alone = toy(0.25)
    algorithm = rounds(**{side: Turn(alone)})
    state, info = algorithm.step(algorithm.init(KEY), jnp.float32(3), KEY)
    expected, own = alone.step(alone.init(KEY), jnp.float32(3), KEY)
    assert state == RoundsState(**{side: expected}) and info == own
    assert state.params == [expected.params]


def test_replay_keeps_the_newest_rows():
    replay = Replay({"a": jnp.zeros(6)}, jnp.zeros((), jnp.int32))
    for first in (1, 3):
        replay = push(replay, {"a": jnp.array([first, first + 1])})
    assert replay.rows["a"].tolist() == [1, 2, 3, 4, 0, 0]
    assert set(draw(replay, KEY, 60)["a"].tolist()) == {1, 2, 3, 4}
    for first in (5, 7):
        replay = push(replay, {"a": jnp.array([first, first + 1])})
    assert replay.rows["a"].tolist() == [7, 8, 3, 4, 5, 6]
    assert set(draw(replay, KEY, 60)["a"].tolist()) == {3, 4, 5, 6, 7, 8}


def test_a_trace_that_did_not_end_never_wins():
    reward = jnp.array([9.0, 1.0, -50.0, 2.0, 3.0, 4.0])
    ended = jnp.array([False, True, True, False, False, False])
    assert bounded_reward(reward, ended, 2, 5.0).tolist() == [-5, 0, -5, -5, -5, -5]


@pytest.mark.parametrize("changed", [{"replay_share": 1.5}, {"updates": 0}, {"worst": 0.0}, {"algorithm": AdamW()}])
def test_settings_out_of_range_are_refused(changed):
    with pytest.raises(InputError, match=f"Adversary.{next(iter(changed))}"):
        Adversary(**changed)
