"""Deep reinforcement learning from preferences: a reward learned from comparisons of what the agent does.

    P(i is preferred) = exp G_i / sum_j exp G_j,    G = sum_t r(s_t, a_t)        (eq. 1)
    L(r) = - sum over comparisons of log P(what was said)

Christiano et al., "Deep Reinforcement Learning from Human Preferences", NeurIPS 2017 (arXiv 1706.03741). A round is:
act; draw queries from what was done, those most worth asking; train an ensemble on all answers so far; train the agent
on the mean of its normalised members. Information level: preferences. Differences from the paper:

1. Rounds take turns where the paper's three processes run beside each other, so a pure-JAX environment with synthetic
   answers has a whole round in one program; data are arrays of the final size with a count.
2. Members see all answers, in minibatches of their own, instead of bootstrap samples; no adaptive l2 penalty and no
   validation set. `label_smoothing` 0.05 is the paper's one answer in ten that is given at random.
3. Rewards are normalised by running moments that forget (`memory`), each member's by its own, then averaged.
4. Queries may be chosen by information gain as well; ties may be a third outcome (Davidson) and queries longer than a
   pair are ranked (Plackett-Luce).
5. In a share of the environments, `exploration`, half of the actions are random. Their steps are asked about but train
   no policy.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Le
from jaxtyping import Array, Float, Int

from irl.algorithms.base import Info
from irl.control.agent import Agent, AgentState
from irl.control.algorithms.annotators import Gatherer, Synthetic
from irl.control.algorithms.fragments import (
    ACQUISITIONS,
    Fragments,
    best_queries,
    draw_queries,
    preferences,
    returns_of,
    take,
)
from irl.control.moments import Moments, no_moments, normalised, updated
from irl.control.networks import Params
from irl.control.rewards import RewardConfig, RewardMlp, RewardNetwork, each, ensemble
from irl.control.spaces import Box, Space
from irl.control.types import Rollout, Transitions
from irl.types import InputError
from reward_models.losses import FIRST, SECOND, TIE, bradley_terry_loss, davidson_loss, plackett_luce_loss
from reward_models.ranges import CountOrZero, Few, Positive, PositiveShare, Rate, Rows, Share, ShareBelowOne, Size
from reward_models.records import record


@record
class BradleyTerryAnswers:
    """Pairs; a tie, or judges who differ, are soft labels."""

    label_smoothing: ShareBelowOne = 0.0

    def loss(self, returns: Float[Array, "queries items"], answers: Float[Array, "queries items"]) -> Array:
        return bradley_terry_loss(
            returns[:, 0], returns[:, 1], soft_labels=answers[:, 0], label_smoothing=self.label_smoothing
        )


@record
class DavidsonAnswers:
    """Pairs with ties as an outcome of their own."""

    log_tie: Annotated[float, Ge(-20), Le(20)] = 0.0

    def loss(self, returns: Float[Array, "queries items"], answers: Float[Array, "queries items"]) -> Array:
        first, second = answers.T
        outcome = jnp.where(first > second, FIRST, jnp.where(first < second, SECOND, TIE))
        return davidson_loss(returns[:, 0], returns[:, 1], outcome, log_tie=self.log_tie)


@record
class PlackettLuceAnswers:
    """Rankings; equal ones count in either order, half each."""

    top_k: Size | None = None

    def loss(self, returns: Float[Array, "queries items"], answers: Float[Array, "queries items"]) -> Array:
        orders = jnp.argsort(-answers, axis=-1), jnp.argsort(answers, axis=-1)[:, ::-1]
        ranked = [jnp.take_along_axis(returns, order, axis=-1) for order in orders]
        return jnp.stack([plackett_luce_loss(r, top_k=self.top_k) for r in ranked]).mean()


AnswerModel = BradleyTerryAnswers | DavidsonAnswers | PlackettLuceAnswers

BOLTZMANN = Synthetic()

SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": np.ones_like,
    "hyperbolic": lambda t: 1 / (1 + t),
    "inverse_quadratic": lambda t: 1 / (1 + t**2),
}
"""Rate of queries by the share of training that is behind us."""


def query_counts(total: int, rounds: int, *, initial: float, schedule: str) -> tuple[int, ...]:
    """Queries of every round: a share `initial` of them in one before the others. They sum to `total`."""
    first = round(initial * total)
    rate = SCHEDULES[schedule](np.linspace(0, 1, rounds))
    until = np.round((total - first) * np.cumsum(rate) / rate.sum()).astype(int)
    return first, *np.diff(until, prepend=0).tolist()


class Data(NamedTuple):
    """All answers so far in arrays of fixed size."""

    queries: Fragments
    answers: Float[Array, "capacity items"]
    known: Int[Array, ""]


class State(NamedTuple):
    params: Params
    """Of the reward; a leading axis of members."""
    opt_state: optax.OptState
    moments: Moments
    """Of each member's rewards."""
    data: Data
    round: Int[Array, ""]
    learner: AgentState


class Parts(NamedTuple):
    """A round as pure functions, for answers that come from outside."""

    query: Callable[[State, Rollout, jax.Array], Fragments]
    """(state, rollout, key) -> as many queries as the largest round asks, best first"""
    learn: Callable[[State, Rollout, Fragments, Array, Array | int, jax.Array], tuple[State, Info]]
    """(state, rollout, queries, answers, how many of them count, key) -> (state, info)"""


@record
class PreferenceComparisons:
    """Settings; the defaults are those measured on Pendulum-v1."""

    rounds: Rows = 60
    """Beside the initial one. Later rounds ask nothing."""
    comparisons: Rows = 1000
    """Queries in all."""
    initial: PositiveShare = 0.1
    """Share of the queries that is asked in the initial round."""
    schedule: Literal["constant", "hyperbolic", "inverse_quadratic"] = "hyperbolic"
    """constant | hyperbolic | inverse_quadratic"""
    length: Size = 100
    """Steps of a fragment."""
    items: Annotated[int, Ge(2), Le(1000)] = 2
    """Fragments of a query."""
    acquisition: Literal["random", "disagreement", "information_gain"] = "random"
    """random | disagreement | information_gain"""
    candidates: Size = 4
    """Queries drawn for each that the largest of the later rounds asks, unless at random; every round draws as many."""
    exploration: ShareBelowOne = 0.125
    model: AnswerModel = BradleyTerryAnswers()
    discount: Share = 1.0
    """Of the returns that are compared."""
    network: RewardConfig = RewardMlp()
    members: Few = 3
    learning_rate: Rate = 1e-3
    decay: CountOrZero = 0
    """Rounds over which the learning rate falls to 0, in a line; 0: it stays."""
    updates: Rows = 32
    """Steps of the reward's optimiser in a round."""
    batch: Rows = 32
    """Queries in a step."""
    memory: Positive = 10.0
    """Rollouts that the running moments of rewards remember."""

    def __post_init__(self):
        _check(self)

    def counts(self) -> tuple[int, ...]:
        """Queries of every round, the initial one first."""
        return query_counts(self.comparisons, self.rounds, initial=self.initial, schedule=self.schedule)

    def make(self, learner: Agent, observation: Space, action: Space, answers: Synthetic = BOLTZMANN) -> Agent:
        """The agent, whose step takes a rollout with the environment's own rewards: these answer the queries."""
        parts, counts = self.parts(learner, observation, action), jnp.array([*self.counts(), 0])

        def step(state: State, rollout: Rollout, key: jax.Array) -> tuple[State, Info]:
            of_query, of_answer, of_learn = jax.random.split(key, 3)
            queries = parts.query(state, rollout, of_query)
            said = answers.answers(queries, of_answer)
            return parts.learn(state, rollout, queries, said, counts[state.round], of_learn)

        def act(state: State, observations: Array, key: jax.Array) -> tuple[Array, Array]:
            of_learner, of_choice, of_random = jax.random.split(key, 3)
            actions, log_prob = learner.act(state.learner, observations, of_learner)
            lanes = jnp.arange(len(actions)) < _explorers(self.exploration, len(actions))
            wild = lanes & jax.random.bernoulli(of_choice, 0.5, lanes.shape)
            wild = wild.reshape(-1, *[1] * (actions.ndim - 1))
            return jnp.where(wild, _random_actions(action, of_random, actions), actions), log_prob

        return Agent(
            lambda key: _begin(self, learner, observation, action, key),
            act,
            best=lambda state, observations: learner.best(state.learner, observations),
            log_prob=lambda state, observations, actions: learner.log_prob(state.learner, observations, actions),
            step=step,
        )

    def parts(self, learner: Agent, observation: Space, action: Space) -> Parts:
        network, (first, *others) = self.network.make(observation, action), self.counts()
        most = max(first, *others)
        drawn = most if self.acquisition == "random" else max(first, self.candidates * max(others))

        def query(state: State, rollout: Rollout, key: jax.Array) -> Fragments:
            queries = draw_queries(rollout, key, drawn, self.items, self.length)
            returns = jax.vmap(lambda params: returns_of(network.apply, params, queries, self.discount))(state.params)
            return best_queries(queries, ACQUISITIONS[self.acquisition](preferences(returns)), most)

        def learn(state, rollout, queries, answers, number, key) -> tuple[State, Info]:
            of_reward, of_learner = jax.random.split(key)
            data = added(state.data, queries, answers, number)
            params = ensemble(network, self.members).observe(state.params, rollout.transitions())
            params, opt_state, info = fit(self, network, params, state.opt_state, data, of_reward)
            rollout = jax.tree.map(lambda leaf: leaf[:, _explorers(self.exploration, leaf.shape[1]) :], rollout)
            rewards = each(network.portable, params, rollout.transitions())
            moments = updated(_forgetting(state.moments, self.memory * rewards.shape[1]), rewards.T)
            paid = normalised(moments, rewards.T).mean(axis=1)
            seen = {"learned_reward": paid.mean(), "comparisons": data.known}
            seen["reward_correlation"] = jnp.corrcoef(paid, rollout.reward.reshape(-1))[0, 1]
            paid_rollout = rollout._replace(reward=paid.reshape(rollout.reward.shape))
            learned, of_policy = learner.step(state.learner, paid_rollout, of_learner)
            return State(params, opt_state, moments, data, state.round + 1, learned), of_policy | info | seen

        return Parts(query, learn)


def added(data: Data, queries: Fragments, answers: Float[Array, "most items"], number: Int[Array, ""] | int) -> Data:
    """With the first `number` of some answered queries more; what stands behind `known` is overwritten later."""

    def put(old: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, jnp.asarray(new, old.dtype), data.known, axis=0)

    kept, said = jax.tree.map(put, (data.queries, data.answers), (queries, answers))
    return Data(kept, said, data.known + number)


def fit(
    config: PreferenceComparisons,
    network: RewardNetwork,
    params: Params,
    opt_state: optax.OptState,
    data: Data,
    key: jax.Array,
) -> tuple[Params, optax.OptState, Info]:
    """`updates` steps of all members, each on queries of its own."""

    def member_loss(params: Params, rows: Int[Array, " batch"]) -> tuple[Array, Array]:
        queries, answers = take((data.queries, data.answers), rows)
        returns = returns_of(network.apply, params, queries, config.discount)
        right = returns.argmax(axis=-1) == answers.argmax(axis=-1)
        return config.model.loss(returns, answers), right.mean()

    def loss(params: Params, rows: Int[Array, "members batch"]) -> tuple[Array, Info]:
        losses, right = jax.vmap(member_loss)(params, rows)
        return losses.sum(), {"loss": losses.mean(), "accuracy": right.mean()}

    def update(carry, key: jax.Array):
        params, opt_state = carry
        rows = jax.random.randint(key, (config.members, config.batch), 0, data.known)
        (_, info), grads = jax.value_and_grad(loss, has_aux=True)(params, rows)
        updates, opt_state = _optimiser(config).update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), info

    (params, opt_state), infos = jax.lax.scan(update, (params, opt_state), jax.random.split(key, config.updates))
    return params, opt_state, jax.tree.map(jnp.mean, infos)


def learned_reward(network: RewardNetwork, state: State, transitions: Transitions) -> Float[Array, " batch"]:
    """What the agent is paid, as the state has it now: the mean of the normalised members."""
    return normalised(state.moments, each(network.portable, state.params, transitions).T).mean(axis=1)


def with_gatherer(
    parts: Parts,
    counts: tuple[int, ...],
    gather: Gatherer,
    collect: Callable[[State, Any, jax.Array], tuple[Any, Rollout, Info]],
    state: State,
    lanes: Any,
    key: jax.Array,
    *,
    save: Callable[[State, Any, Info], None] = lambda state, lanes, info: None,
) -> tuple[State, Any]:
    """The rounds that `state` has still before it, with answers from outside.

    `collect(state, lanes, key) -> (lanes, rollout, info)` acts: in_graph.collect, or an environment of the host.
    `save` is given what came of every round. A gatherer that stops (Unanswered, KeyboardInterrupt) loses nothing: call
    this again with what was saved last. Randomness of a round is fold_in(key, its number from 1), as in irl.train.
    """
    query, learn = jax.jit(parts.query), jax.jit(parts.learn)
    for number in range(int(state.round), len(counts)):
        of_rollout, of_agent = jax.random.split(jax.random.fold_in(key, number + 1))
        of_query, _, of_learn = jax.random.split(of_agent, 3)
        lanes, rollout, earned = collect(state, lanes, of_rollout)
        asked = jax.tree.map(np.asarray, query(state, rollout, of_query))
        queries, answers, known = gathered(gather, number, asked, counts[number])
        if known + int(state.data.known) == 0:
            many = f"round {number}: nobody could tell in any of {counts[number]} queries"
            raise InputError(f"{many}; the reward needs an answer before the agent can learn")
        state, info = learn(state, rollout, queries, answers, known, of_learn)
        save(state, lanes, info | earned)
    return state, lanes


def gathered(gather: Gatherer, number: int, asked: Fragments, count: int) -> tuple[Fragments, np.ndarray, int]:
    """(queries, answers, how many) in arrays of the size of `asked`, without those that nobody could tell."""
    answers = np.zeros(asked.present.shape[:2], np.float32)
    if count == 0:
        return asked, answers, 0
    told = gather(number, take(asked, np.arange(count)))
    known = ~np.isnan(told.answers).any(axis=1)
    total = int(known.sum())
    answers[:total] = told.answers[known]

    def put(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(new)[known], old[total:]])

    return jax.tree.map(put, asked, told.queries), answers, total


def _begin(config: PreferenceComparisons, learner: Agent, observation: Space, action: Space, key: jax.Array) -> State:
    of_reward, of_learner = jax.random.split(key)
    params = ensemble(config.network.make(observation, action), config.members).init(of_reward)
    counts = config.counts()
    shape = (sum(counts) + max(counts), config.items)
    moments = no_moments((config.members,))
    data = _no_data(observation, action, shape, config.length)
    state = learner.init(of_learner)
    return State(params, _optimiser(config).init(params), moments, data, jnp.int32(0), state)


def _no_data(observation: Space, action: Space, shape: tuple[int, int], length: int) -> Data:
    lead = (*shape, length)
    seen = jnp.zeros((*lead, *observation.shape), observation.dtype)
    done = jnp.zeros((*lead, *action.shape), action.dtype)
    steps = Transitions(seen, done, seen, jnp.zeros(lead, bool))
    return Data(Fragments(steps, jnp.zeros(lead, bool), jnp.zeros(lead)), jnp.zeros(shape), jnp.int32(0))


def _optimiser(config: PreferenceComparisons) -> optax.GradientTransformation:
    fixed, last = config.learning_rate, config.decay * config.updates
    return optax.flatten(optax.adam(optax.linear_schedule(fixed, 0.0, last) if config.decay else fixed))


def _forgetting(moments: Moments, most: float) -> Moments:
    return moments._replace(count=jnp.minimum(moments.count, most))


def _explorers(share: float, envs: int) -> int:
    return int(share * envs)


def _random_actions(space: Space, key: jax.Array, like: Array) -> Array:
    if not isinstance(space, Box):
        return jax.random.randint(key, like.shape, 0, space.n, like.dtype)
    if space.bounded:
        low, high = space.bounds()
        return jax.random.uniform(key, like.shape, like.dtype, low, high)
    return jax.random.normal(key, like.shape, like.dtype)


def _check(config: PreferenceComparisons) -> None:
    if round(config.initial * config.comparisons) < 1:
        raise InputError(
            f"PreferenceComparisons.initial: expected a share that is at least 1 of {config.comparisons} comparisons, "
            f"got {config.initial}; the reward needs one before the first round"
        )
    pairs = not isinstance(config.model, PlackettLuceAnswers)
    if pairs and config.items > 2:
        expected = "2; give PlackettLuceAnswers() as model to rank more"
        raise InputError(f"PreferenceComparisons.items: expected {expected}, got {config.items}")
