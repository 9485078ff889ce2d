"""Deep reinforcement learning from preferences: learn a reward from comparisons of fragments of the agent's behaviour.

    P(i is preferred) = exp G_i / sum_j exp G_j,    G = sum_t r(s_t, a_t)        (eq. 1)
    L(r) = - sum over comparisons of log P(answer)

Christiano et al., "Deep Reinforcement Learning from Human Preferences", NeurIPS 2017 (arXiv 1706.03741). A round
collects a rollout, selects queries from it, trains an ensemble of rewards on all answers so far, and trains the agent
on the mean of the normalised rewards. Information level: preferences. Differences from the paper:

1. The paper's three processes run concurrently, the parts of a round here in sequence. With a pure-JAX environment and
   synthetic answers, a whole round is one program; data are arrays of fixed size with a count.
2. Members share all answers, in minibatches of their own, instead of bootstrap samples. There is no adaptive L2 penalty
   and no validation set. `label_smoothing` 0.05 corresponds to the paper's 10% of random answers.
3. Rewards of each member are normalised by running moments with limited `memory`, then averaged over members.
4. Queries may be selected by information gain; ties may be a third outcome (Davidson); queries with more than two
   fragments are ranked (Plackett-Luce).
5. In a share of the environments, `exploration`, half of the actions are random. Their steps are used in queries but do
   not train the policy.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Le
from jaxtyping import Array, Float, Int

from irl.algorithms.base import Info
from irl.control.agent import Agent, AgentState
from irl.control.algorithms.annotators import Annotator, Synthetic
from irl.control.algorithms.fragments import (
    ACQUISITIONS,
    Fragments,
    best_queries,
    draw_queries,
    fragment_returns,
    preferences,
    take,
)
from irl.control.moments import Moments, empty_moments, normalised, update_moments
from irl.control.networks import Params
from irl.control.rewards import RewardConfig, RewardMlp, RewardNetwork, each, ensemble
from irl.control.spaces import Space, random_values
from irl.control.types import Rollout, Transitions
from irl.types import InputError
from reward_models.losses import FIRST, SECOND, TIE, bradley_terry_loss, davidson_loss, plackett_luce_loss
from reward_models.ranges import CountOrZero, Few, Positive, PositiveShare, Rate, Rows, Share, ShareBelowOne, Size
from reward_models.records import record


class AnswerModel(ABC):
    """The config class of a likelihood of answers."""

    pairs_only: ClassVar[bool] = True

    @abstractmethod
    def loss(self, returns: Float[Array, "queries items"], answers: Float[Array, "queries items"]) -> Array:
        """The mean negative log-likelihood of answers, given the returns of fragments."""


@record
class BradleyTerryAnswers(AnswerModel):
    """Pairs; ties and disagreeing judges are soft labels."""

    label_smoothing: ShareBelowOne = 0.0

    def loss(self, returns: Float[Array, "queries items"], answers: Float[Array, "queries items"]) -> Array:
        return bradley_terry_loss(
            returns[:, 0], returns[:, 1], soft_labels=answers[:, 0], label_smoothing=self.label_smoothing
        )


@record
class DavidsonAnswers(AnswerModel):
    """Pairs with ties as a third outcome."""

    log_tie: Annotated[float, Ge(-20), Le(20)] = 0.0

    def loss(self, returns: Float[Array, "queries items"], answers: Float[Array, "queries items"]) -> Array:
        first, second = answers.T
        outcome = jnp.where(first > second, FIRST, jnp.where(first < second, SECOND, TIE))
        return davidson_loss(returns[:, 0], returns[:, 1], outcome, log_tie=self.log_tie)


@record
class PlackettLuceAnswers(AnswerModel):
    """Rankings; tied items count in both orders, half each."""

    pairs_only: ClassVar[bool] = False

    top_k: Size | None = None

    def loss(self, returns: Float[Array, "queries items"], answers: Float[Array, "queries items"]) -> Array:
        orders = jnp.argsort(-answers, axis=-1), jnp.argsort(answers, axis=-1)[:, ::-1]
        ranked = [jnp.take_along_axis(returns, order, axis=-1) for order in orders]
        return jnp.stack([plackett_luce_loss(r, top_k=self.top_k) for r in ranked]).mean()


SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": np.ones_like,
    "hyperbolic": lambda t: 1 / (1 + t),
    "inverse_quadratic": lambda t: 1 / (1 + t**2),
}
"""Rate of queries as a function of the completed share of training."""


def query_counts(total: int, rounds: int, *, initial: float, schedule: str) -> tuple[int, ...]:
    """Queries per round: the share `initial` of `total` in a first, additional round, the rest by the schedule."""
    first = round(initial * total)
    rate = SCHEDULES[schedule](np.linspace(0, 1, rounds))
    until = np.round((total - first) * np.cumsum(rate) / rate.sum()).astype(int)
    return first, *np.diff(until, prepend=0).tolist()


class Data(NamedTuple):
    """All answers so far, in arrays of fixed size; rows from `known` on are unused."""

    queries: Fragments
    answers: Float[Array, "capacity items"]
    known: Int[Array, ""]


class State(NamedTuple):
    params: Params
    """Parameters of the reward, with a leading axis of members."""
    opt_state: optax.OptState
    moments: Moments
    """Moments of each member's rewards."""
    data: Data
    round: Int[Array, ""]
    learner: AgentState


class Parts(NamedTuple):
    """A round as pure functions, for answers from outside the program."""

    query: Callable[[State, Rollout, jax.Array], Fragments]
    """(state, rollout, key) -> as many queries as the largest round asks, best first"""
    learn: Callable[[State, Rollout, Fragments, Array, Array | int, jax.Array], tuple[State, Info]]
    """(state, rollout, queries, answers, number of valid answers, key) -> (state, info)"""


@record
class PreferenceComparisons:
    """Settings; the defaults were measured on Pendulum-v1."""

    rounds: Rows = 60
    """Rounds with queries, after the initial one. Later rounds have none."""
    comparisons: Rows = 1000
    """Total number of queries."""
    initial: PositiveShare = 0.1
    """Share of the queries in the initial round."""
    schedule: Literal["constant", "hyperbolic", "inverse_quadratic"] = "hyperbolic"
    """constant | hyperbolic | inverse_quadratic"""
    length: Size = 100
    """Steps of a fragment."""
    items: Annotated[int, Ge(2), Le(1000)] = 2
    """Fragments of a query."""
    acquisition: Literal["random", "disagreement", "information_gain"] = "random"
    """random | disagreement | information_gain"""
    candidates: Size = 4
    """Candidates per query of the largest round after the initial one, unless queries are random."""
    exploration: ShareBelowOne = 0.125
    model: AnswerModel = BradleyTerryAnswers()
    discount: Share = 1.0
    """Discount of the compared returns."""
    network: RewardConfig = RewardMlp()
    members: Few = 3
    learning_rate: Rate = 1e-3
    decay: CountOrZero = 0
    """Rounds over which the learning rate decays linearly to 0; 0: constant."""
    updates: Rows = 32
    """Optimiser steps of the reward per round."""
    batch: Rows = 32
    """Queries per step."""
    memory: Positive = 10.0
    """Window of the running moments of rewards, in rollouts."""

    def __post_init__(self):
        if round(self.initial * self.comparisons) < 1:
            raise InputError(
                f"PreferenceComparisons.initial: expected a share of at least 1 of {self.comparisons} comparisons, "
                f"got {self.initial}; the reward needs one before the first round"
            )
        if self.model.pairs_only and self.items > 2:
            expected = "2; set PlackettLuceAnswers() as model to rank more"
            raise InputError(f"PreferenceComparisons.items: expected {expected}, got {self.items}")

    def counts(self) -> tuple[int, ...]:
        """Queries per round, the initial one first."""
        return query_counts(self.comparisons, self.rounds, initial=self.initial, schedule=self.schedule)

    def make(self, learner: Agent, observation: Space, action: Space, answers: Synthetic | None = None) -> Agent:
        """The agent. Its step takes a rollout with the environment's rewards, from which synthetic answers follow."""
        parts, counts = self.parts(learner, observation, action), jnp.array([*self.counts(), 0])
        annotator = answers or Synthetic()

        def step(state: State, rollout: Rollout, key: jax.Array) -> tuple[State, Info]:
            query_key, answer_key, learn_key = jax.random.split(key, 3)
            queries = parts.query(state, rollout, query_key)
            answered = annotator.answers(queries, answer_key)
            return parts.learn(state, rollout, queries, answered, counts[state.round], learn_key)

        def act(state: State, observations: Array, key: jax.Array) -> tuple[Array, Array]:
            learner_key, choice_key, random_key = jax.random.split(key, 3)
            actions, log_prob = learner.act(state.learner, observations, learner_key)
            exploring = jnp.arange(len(actions)) < _explorers(self.exploration, len(actions))
            random = exploring & jax.random.bernoulli(choice_key, 0.5, exploring.shape)
            random = random.reshape(-1, *[1] * (actions.ndim - 1))
            return jnp.where(random, random_values(action, random_key, len(actions)), actions), log_prob

        def init(key: jax.Array) -> State:
            return _initial_state(self, learner, observation, action, key)

        return learner.nested(init, step)._replace(act=act)

    def parts(self, learner: Agent, observation: Space, action: Space) -> Parts:
        network, (first, *others) = self.network.make(observation, action), self.counts()
        most = max(first, *others)
        drawn = most if self.acquisition == "random" else max(first, self.candidates * max(others))

        def query(state: State, rollout: Rollout, key: jax.Array) -> Fragments:
            queries = draw_queries(rollout, key, drawn, self.items, self.length)
            returns = jax.vmap(lambda params: fragment_returns(network.apply, params, queries, self.discount))
            ratings = ACQUISITIONS[self.acquisition](preferences(returns(state.params)))
            return best_queries(queries, ratings, most)

        def learn(state, rollout, queries, answers, number, key) -> tuple[State, Info]:
            reward_key, learner_key = jax.random.split(key)
            data = append_answers(state.data, queries, answers, number)
            params = ensemble(network, self.members).observe(state.params, rollout.transitions())
            params, opt_state, info = fit(self, network, params, state.opt_state, data, reward_key)
            rollout = jax.tree.map(lambda leaf: leaf[:, _explorers(self.exploration, leaf.shape[1]) :], rollout)
            rewards = each(network.portable, params, rollout.transitions())
            count = jnp.minimum(state.moments.count, self.memory * rewards.shape[1])
            moments = update_moments(state.moments._replace(count=count), rewards.T)
            learned = normalised(moments, rewards.T).mean(axis=1)
            reward_info = {"learned_reward": learned.mean(), "comparisons": data.known}
            reward_info["reward_correlation"] = jnp.corrcoef(learned, rollout.reward.reshape(-1))[0, 1]
            batch = rollout._replace(reward=learned.reshape(rollout.reward.shape))
            policy, policy_info = learner.step(state.learner, batch, learner_key)
            state = State(params, opt_state, moments, data, state.round + 1, policy)
            return state, policy_info | info | reward_info

        return Parts(query, learn)


def append_answers(
    data: Data, queries: Fragments, answers: Float[Array, "most items"], number: Int[Array, ""] | int
) -> Data:
    """The data after appending the first `number` answered queries."""

    def put(old: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, jnp.asarray(new, old.dtype), data.known, axis=0)

    stored, labels = jax.tree.map(put, (data.queries, data.answers), (queries, answers))
    return Data(stored, labels, data.known + number)


def fit(
    config: PreferenceComparisons,
    network: RewardNetwork,
    params: Params,
    opt_state: optax.OptState,
    data: Data,
    key: jax.Array,
) -> tuple[Params, optax.OptState, Info]:
    """`updates` steps of all members, each on minibatches of its own."""

    def member_loss(params: Params, rows: Int[Array, " batch"]) -> tuple[Array, Array]:
        queries, answers = take((data.queries, data.answers), rows)
        returns = fragment_returns(network.apply, params, queries, config.discount)
        correct = returns.argmax(axis=-1) == answers.argmax(axis=-1)
        return config.model.loss(returns, answers), correct.mean()

    def loss(params: Params, rows: Int[Array, "members batch"]) -> tuple[Array, Info]:
        losses, accuracy = jax.vmap(member_loss)(params, rows)
        return losses.sum(), {"loss": losses.mean(), "accuracy": accuracy.mean()}

    def update(carry, key: jax.Array):
        params, opt_state = carry
        rows = jax.random.randint(key, (config.members, config.batch), 0, data.known)
        (_, info), grads = jax.value_and_grad(loss, has_aux=True)(params, rows)
        updates, opt_state = _optimiser(config).update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), info

    (params, opt_state), infos = jax.lax.scan(update, (params, opt_state), jax.random.split(key, config.updates))
    return params, opt_state, jax.tree.map(jnp.mean, infos)


def learned_reward(network: RewardNetwork, state: State, transitions: Transitions) -> Float[Array, " batch"]:
    """The current reward of the agent: the mean of the normalised members."""
    return normalised(state.moments, each(network.portable, state.params, transitions).T).mean(axis=1)


def train_with_annotator(
    parts: Parts,
    counts: tuple[int, ...],
    annotate: Annotator,
    collect: Callable[[State, Any, jax.Array], tuple[Any, Rollout, Info]],
    state: State,
    environments: Any,
    key: jax.Array,
    *,
    save: Callable[[State, Any, Info], None] = lambda state, environments, info: None,
) -> tuple[State, Any]:
    """The remaining rounds of `state`, with answers from outside the program.

    Args:
        parts: See `PreferenceComparisons.parts`.
        counts: Queries per round.
        annotate: Answers queries. After it raises (Unanswered, KeyboardInterrupt), call this again with the last saved
            state: nothing is lost.
        collect: (state, environments, key) -> (environments, rollout, info), such as in_graph.collect.
        state: The state to resume from.
        environments: The state of the environments.
        key: The key of round n is fold_in(key, n), n from 1, as in irl.train.
        save: Called with the results of every round.
    """
    query, learn = jax.jit(parts.query), jax.jit(parts.learn)
    for number in range(int(state.round), len(counts)):
        rollout_key, agent_key = jax.random.split(jax.random.fold_in(key, number + 1))
        query_key, _, learn_key = jax.random.split(agent_key, 3)
        environments, rollout, returns = collect(state, environments, rollout_key)
        asked = jax.tree.map(np.asarray, query(state, rollout, query_key))
        queries, answers, known = answered(annotate, number, asked, counts[number])
        if known + int(state.data.known) == 0:
            undecided = f"round {number}: all {counts[number]} queries are undecided"
            raise InputError(f"{undecided}; the reward needs an answer before the agent can learn")
        state, info = learn(state, rollout, queries, answers, known, learn_key)
        save(state, environments, info | returns)
    return state, environments


def answered(annotate: Annotator, number: int, asked: Fragments, count: int) -> tuple[Fragments, np.ndarray, int]:
    """(queries, answers, number of answers) in arrays of the size of `asked`, without undecided queries."""
    answers = np.zeros(asked.present.shape[:2], np.float32)
    if count == 0:
        return asked, answers, 0
    annotated = annotate(number, take(asked, np.arange(count)))
    decided = ~np.isnan(annotated.answers).any(axis=1)
    total = int(decided.sum())
    answers[:total] = annotated.answers[decided]

    def put(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(new)[decided], old[total:]])

    return jax.tree.map(put, asked, annotated.queries), answers, total


def _initial_state(
    config: PreferenceComparisons, learner: Agent, observation: Space, action: Space, key: jax.Array
) -> State:
    reward_key, learner_key = jax.random.split(key)
    params = ensemble(config.network.make(observation, action), config.members).init(reward_key)
    counts = config.counts()
    shape = (sum(counts) + max(counts), config.items)
    lead = (*shape, config.length)
    observations = jnp.zeros((*lead, *observation.shape), observation.dtype)
    actions = jnp.zeros((*lead, *action.shape), action.dtype)
    steps = Transitions(observations, actions, observations, jnp.zeros(lead, bool))
    data = Data(Fragments(steps, jnp.zeros(lead, bool), jnp.zeros(lead)), jnp.zeros(shape), jnp.int32(0))
    policy = learner.init(learner_key)
    opt_state, moments = _optimiser(config).init(params), empty_moments((config.members,))
    return State(params, opt_state, moments, data, jnp.int32(0), policy)


def _optimiser(config: PreferenceComparisons) -> optax.GradientTransformation:
    fixed, last = config.learning_rate, config.decay * config.updates
    return optax.flatten(optax.adam(optax.linear_schedule(fixed, 0.0, last) if config.decay else fixed))


def _explorers(share: float, envs: int) -> int:
    return int(share * envs)
