"""Preferences in a world whose reward is known: likelihoods by hand, whole runs, runs that stop and go on."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.algorithms.annotators import AnsweredQueries, Synthetic, Unanswered, from_files
from irl.control.algorithms.fragments import draw_queries
from irl.control.algorithms.preference_comparisons import (
    BradleyTerryAnswers,
    DavidsonAnswers,
    PlackettLuceAnswers,
    PreferenceComparisons,
    answered,
    append_answers,
    learned_reward,
    query_counts,
    train_with_annotator,
)
from irl.control.environments.base import Environment, Outcome
from irl.control.learners.ppo import Ppo
from irl.control.rewards import RewardMlp
from irl.control.rollout.in_graph import collect, in_graph, reset
from irl.control.spaces import Box
from irl.control.types import Transitions
from irl.types import InputError

KEY = jax.random.key(0)


def aim(horizon=4):
    """Hit a mark that is drawn anew in each step; the square of the distance is the cost."""

    def drawn(key, time):
        mark = jax.random.uniform(key, (1,), minval=-1.0)
        return (mark, time), mark

    def step(state, action, key):
        mark, time = state
        after, seen = drawn(key, time + 1)
        return after, Outcome(seen, -((action - mark) ** 2).sum(), jnp.bool_(False), time + 1 >= horizon)

    return Environment("aim", Box((1,), -1.0, 1.0), Box((1,), -2.0, 2.0), horizon, lambda key: drawn(key, 0), step)


WORLD = aim()
PPO = Ppo(learning_rate=3e-3, discount=0.0, epochs=2, minibatch=64, hidden=(16,)).make(WORLD.observation, WORLD.action)
SMALL = PreferenceComparisons(
    rounds=6,
    comparisons=140,
    length=4,
    updates=24,
    batch=32,
    members=2,
    network=RewardMlp(hidden=(16, 16)),
    learning_rate=1e-2,
    decay=7,
)
EXACT = Synthetic(temperature=0.0)
ENVS, TIME = 8, 32


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", (10, 30, 30, 30)), ("hyperbolic", (10, 42, 27, 21)), ("inverse_quadratic", (10, 39, 31, 20))],
)
def test_schedules_by_hand(schedule, expected):
    """90 by the rates 1, 1, 1; 1, 2/3, 1/2; 1, 4/5, 1/2, rounded so that every part sum is right to one half."""
    assert query_counts(100, 3, initial=0.1, schedule=schedule) == expected


@pytest.mark.parametrize("total", [1, 7, 1000])
@pytest.mark.parametrize("schedule", ["constant", "hyperbolic", "inverse_quadratic"])
def test_schedules_sum_to_the_total(total, schedule):
    counts = query_counts(total, 60, initial=0.1, schedule=schedule)
    assert sum(counts) == total and len(counts) == 61 and min(counts) >= 0


LOG = jnp.log(jnp.array([[3.0, 1.0], [1.0, 4.0]]))


def test_bradley_terry_by_hand():
    """P = 3/4 and 1/5 for the first; said: the first, and nine judges to one for the second."""
    loss = BradleyTerryAnswers().loss(LOG, jnp.array([[1.0, 0.0], [0.1, 0.9]]))
    assert np.isclose(loss, -(np.log(3 / 4) + 0.1 * np.log(1 / 5) + 0.9 * np.log(4 / 5)) / 2)


def test_davidson_by_hand():
    """Weights 3, 1, tie sqrt(3); 1, 4, tie 2. Said: a tie, then the second."""
    loss = DavidsonAnswers().loss(LOG, jnp.array([[0.5, 0.5], [0.0, 1.0]]))
    tie = np.sqrt(3)
    assert np.isclose(loss, -(np.log(tie / (4 + tie)) + np.log(4 / 7)) / 2)


def test_plackett_luce_by_hand():
    """Weights 4, 2, 1. Order 2 1 3: 2/7 * 4/5. First and third equal behind 2: either order of them, half each."""
    returns = jnp.log(jnp.array([[4.0, 2.0, 1.0]]))
    strict = PlackettLuceAnswers().loss(returns, jnp.array([[1.0, 2.0, 0.0]]))
    tied = PlackettLuceAnswers().loss(returns, jnp.array([[0.5, 2.0, 0.5]]))
    best = PlackettLuceAnswers(top_k=1).loss(returns, jnp.array([[1.0, 2.0, 0.0]]))
    assert np.isclose(strict, -np.log(2 / 7 * 4 / 5)) and np.isclose(best, -np.log(2 / 7))
    assert np.isclose(tied, -(np.log(2 / 7 * 4 / 5) + np.log(2 / 7 * 1 / 5)) / 2)


def test_plackett_luce_of_pairs_is_bradley_terry():
    answers = jnp.array([[0.5, 0.5], [0.0, 1.0]])
    assert np.isclose(PlackettLuceAnswers().loss(LOG, answers), BradleyTerryAnswers().loss(LOG, answers))


def random_steps(count=500):
    marks, actions = np.random.default_rng(1).uniform([[-1.0]] * 2, [[1.0]] * 2, (2, count)).astype(np.float32)
    steps = Transitions(marks[:, None], 2 * actions[:, None], marks[:, None], np.zeros(count, bool))
    return jax.tree.map(jnp.asarray, steps), -((2 * actions - marks) ** 2)


def correlation(config, state):
    network = config.network.make(WORLD.observation, WORLD.action)
    steps, true = random_steps()
    return np.corrcoef(learned_reward(network, state, steps), true)[0, 1]


class Run:
    """The compiled rounds of a config, and how often they were traced."""

    def __init__(self, config, answers=EXACT):
        agent = config.make(PPO, WORLD.observation, WORLD.action, answers)
        self.algorithm, self.traced = in_graph(WORLD, agent, envs=ENVS, time=TIME), 0
        self.step, self.rounds = jax.jit(self._step), len(config.counts())

    def _step(self, state, number):
        self.traced += 1
        return self.algorithm.step(state, None, jax.random.fold_in(KEY, number))

    def whole(self):
        state = self.algorithm.init(jax.random.fold_in(KEY, 0))
        for number in range(1, self.rounds + 1):
            state, info = self.step(state, number)
        return state, info


@pytest.fixture(scope="module")
def finished():
    compiled = Run(SMALL)
    return compiled, *compiled.whole()


def test_reward_is_learned_and_compiled_once(finished):
    compiled, state, info = finished
    assert compiled.traced == 1 and int(info["comparisons"]) == 140 and int(state.agent.round) == 7
    assert correlation(SMALL, state.agent) > 0.9
    assert float(info["accuracy"]) > 0.85 and np.isfinite(info["loss"])


def test_rounds_after_the_schedule_ask_nothing(finished):
    compiled, state, _ = finished
    after, info = compiled.step(compiled.step(state, 8)[0], 9)
    assert int(info["comparisons"]) == 140 and int(after.agent.round) == 9 and compiled.traced == 1


def test_the_learning_rate_has_fallen_to_zero(finished):
    """After the last of the rounds of `decay` no reward moves."""
    compiled, state, _ = finished
    start, last = compiled.algorithm.init(KEY), compiled.step(state, 8)[0]
    weights = [s.agent.params["network"][0]["w"] for s in (start, state, last)]
    assert np.abs(weights[1] - weights[0]).max() > 0.1
    np.testing.assert_allclose(weights[2], weights[1], rtol=1e-5, atol=1e-6)


def test_ranked_lists_with_ties_teach_the_reward():
    config = replace(SMALL, items=3, comparisons=100, model=PlackettLuceAnswers(), acquisition="information_gain")
    state, info = Run(config, Synthetic(temperature=0.0, tie=0.2)).whole()
    assert correlation(config, state.agent) > 0.8 and int(info["comparisons"]) == 100


@pytest.fixture(scope="module")
def outside():
    """What `train_with_annotator` needs of WORLD, and a beginning like that of `in_graph`."""
    agent = SMALL.make(PPO, WORLD.observation, WORLD.action)
    act = jax.jit(partial(collect, WORLD, agent, time=TIME))
    of_agent, of_states = jax.random.split(jax.random.fold_in(KEY, 0))
    start = agent.init(of_agent), reset(WORLD, ENVS, of_states)
    return (SMALL.parts(PPO, WORLD.observation, WORLD.action), SMALL.counts()), act, start


def judged(number, queries):
    answers = EXACT.answers(jax.tree.map(jnp.asarray, queries), KEY)
    return AnsweredQueries(queries, np.asarray(answers))


def test_answers_from_outside_are_the_same_run(finished, outside):
    """Stopped after the third round, gone on with what was saved; ends where the compiled rounds end."""
    parts, act, start = outside
    saved = [start]

    def stops(number, queries):
        if number == 3:
            raise KeyboardInterrupt
        return judged(number, queries)

    def save(*to_keep):
        saved.append(to_keep[:2])

    with pytest.raises(KeyboardInterrupt):
        train_with_annotator(*parts, stops, act, *start, KEY, save=save)
    assert len(saved) == 4
    state, _ = train_with_annotator(*parts, judged, act, *saved[-1], KEY, save=save)
    assert len(saved) == 8
    for mine, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(finished[1].params), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_files_are_found_again_by_a_new_run(tmp_path, outside):
    parts, act, start = outside
    with pytest.raises(Unanswered, match="14 of 14 queries are not answered, first 0-0"):
        train_with_annotator(*parts, from_files(tmp_path), act, *start, KEY)
    lines = "".join(f'{{"id": "0-{i}", "answer": {[1, 0] if i else "null"}}}\n' for i in range(14))
    (tmp_path / "answers_000.jsonl").write_text(lines)
    rounds = []
    with pytest.raises(Unanswered, match=r"queries_001\.jsonl"):
        train_with_annotator(*parts, from_files(tmp_path), act, *start, KEY, save=lambda *kept: rounds.append(kept))
    ((state, _, info),) = rounds
    assert int(info["comparisons"]) == 13 and np.array_equal(state.data.answers[:13], [[1, 0]] * 13)


def test_what_nobody_can_tell_is_left_out():
    rollout = collect(WORLD, PPO, PPO.init(KEY), reset(WORLD, 2, KEY), KEY, 8)[1]
    asked = jax.tree.map(np.asarray, draw_queries(rollout, KEY, 5, 2, 4))
    said = np.array([[1, 0], [np.nan, np.nan], [0, 1]], np.float32)
    queries, answers, known = answered(lambda number, queries: AnsweredQueries(queries, said), 0, asked, 3)
    assert known == 2 and answers[:2].tolist() == [[1, 0], [0, 1]]
    np.testing.assert_array_equal(queries.reward[:2], asked.reward[[0, 2]])
    assert queries.reward.shape == asked.reward.shape


def test_a_first_round_without_an_answer(outside):
    parts, act, start = outside
    with pytest.raises(InputError, match="round 0: all 14 queries are undecided; the reward needs an answer"):
        train_with_annotator(
            *parts, lambda number, queries: AnsweredQueries(queries, np.full((14, 2), np.nan)), act, *start, KEY
        )


def test_data_grow_without_a_gap():
    state = SMALL.make(PPO, WORLD.observation, WORLD.action).init(KEY)
    rollout = collect(WORLD, PPO, PPO.init(KEY), reset(WORLD, 2, KEY), KEY, 8)[1]
    asked, answers = draw_queries(rollout, KEY, 3, 2, 4), jnp.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    data = append_answers(append_answers(state.data, asked, answers, 2), asked, answers, 3)
    assert int(data.known) == 5 and data.answers[:5, 0].tolist() == [1, 0.5, 1, 0.5, 0]
    np.testing.assert_array_equal(data.queries.reward[:5], asked.reward[jnp.array([0, 1, 0, 1, 2])])


def test_explorers_act_at_random_and_teach_no_policy():
    """Beside a learner that does nothing, and counts the environments it is taught with."""
    config = replace(SMALL, exploration=0.25)
    idle = PPO._replace(
        init=lambda key: jnp.zeros(()),
        act=lambda state, observations, key: (jnp.zeros((len(observations), 1)), jnp.zeros(len(observations))),
        step=lambda state, rollout, key: (state + rollout.reward.shape[1], {}),
    )
    agent = config.make(idle, WORLD.observation, WORLD.action)
    rollout = collect(WORLD, agent, agent.init(KEY), reset(WORLD, 8, KEY), KEY, 64)[1]
    acted, size = np.asarray(rollout.action != 0)[..., 0], np.abs(rollout.action)
    assert not acted[:, 2:].any() and (np.abs(acted[:, :2].mean(axis=0) - 0.5) < 0.3).all() and 1 < size.max() <= 2
    state, _ = agent.step(agent.init(KEY), rollout, KEY)
    assert float(state.learner) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "linear"}, "schedule: expected 'constant', 'hyperbolic' or 'inverse_quadratic', got 'linear'"),
        ({"acquisition": "best"}, "acquisition: expected 'random', 'disagreement' or 'information_gain', got 'best'"),
        ({"members": 0}, "members: expected at least 1, got 0"),
        ({"decay": -1}, "decay: expected at least 0, got -1"),
        ({"exploration": 1.0}, "exploration: expected less than 1.0, got 1.0"),
        ({"initial": 0.0}, "initial: expected more than 0.0, got 0.0"),
        ({"initial": 0.4, "comparisons": 1}, "initial: .* at least 1 of 1 comparisons, got 0.4"),
        ({"items": 3}, r"items: expected 2; set PlackettLuceAnswers\(\) as model to rank more, got 3"),
        ({"items": 1, "model": PlackettLuceAnswers()}, "items: expected at least 2, got 1"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(InputError, match=f"PreferenceComparisons.{message}"):
        PreferenceComparisons(**changes)
