"""Several members of one network as one network: whole networks, heads on one trunk, or adapters on one base.

    step score = mean_m s_m,   min_m s_m,   or   mean_m s_m - penalty * var_m s_m

Coste et al. 2024 (arXiv 2310.02743) compare the three as mean, worst-case and uncertainty-weighted optimisation.
The reduction is taken step by step, then the members' declared aggregate gives the trace score. Only means add
up over tokens: the other reductions put the score of a step at its last token, as a step critic does.

The params are those of a member with a leading axis of members, but for the part that is `shared`, which is held once.
Heads are scored together, with their trunk computed once. Whole networks and adapters are scored one after another: on
a CPU members under `vmap` take 1.1 to 2 times as long (LOG.md).
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Array, Float

from reward_models.aggregation import aggregate_steps
from reward_models.frozen import join, split
from reward_models.networks.base import Network, NetworkConfig, Params
from reward_models.networks.critic import step_ends
from reward_models.networks.decoder import DecoderNetwork
from reward_models.records import record
from reward_models.types import Scores, TraceBatch

Reduction = Literal["mean", "min", "pessimistic"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)

Shared = Literal["trunk", "base"]
"""The part of the parameters that all members share."""


@record
class EnsembleConfig(NetworkConfig):
    """`members` of one shape. `penalty` (per unit of score) is for the reduction `pessimistic`.

    `shared` None: members are whole networks. "trunk": heads on one trunk. "base": adapters (and heads) on one frozen
    base.
    """

    member: NetworkConfig
    members: Annotated[int, Ge(1), Le(2**12)]
    reduction: Reduction = "mean"
    penalty: Annotated[float, Ge(0.0)] = 0.5
    shared: Shared | None = None

    def __post_init__(self):
        if self.shared is None:
            return
        if not isinstance(self.member, DecoderNetwork):
            raise ValueError(f"shared: {self.shared!r} is part of a decoder, not of a {type(self.member).__name__}")
        if self.shared == "base" and self.member.decoder.adapters is None:
            raise ValueError("shared: 'base', but the members have no adapters, so they have no frozen base")
        if self.shared == "trunk" and not self.member.has_head:
            raise ValueError("shared: 'trunk', but the members have no head of their own, so all would be equal")

    @property
    def vocabulary(self) -> int | None:
        return self.member.vocabulary

    def make(self) -> Network:
        member = self.member.make()
        spec = member.spec
        if spec.kind == "value" and self.reduction != "mean":
            spec = spec._replace(kind="reward")  # the minimum of differences is no difference of values

        def init(key: jax.Array) -> Params:
            keys = jax.random.split(key, self.members)
            own = jax.jit(jax.vmap(lambda key: _parts(member.init(key), self.shared).own))(keys)
            common = {} if self.shared is None else _parts(member.init(keys[0]), self.shared).common
            return _whole(_Parts(common, own), self.shared)

        def apply(params: Params, traces: TraceBatch) -> Scores:
            scores = self.member_scores(params, traces)
            step = self.reduce(scores.step)
            trace = aggregate_steps(step, traces.step_mask, spec.aggregate)
            if self.reduction == "mean":
                value = None if scores.prefix_value is None else scores.prefix_value.mean(axis=0)
                return Scores(trace, step, scores.token.mean(axis=0), value)
            own = jnp.take_along_axis(step, jnp.maximum(traces.step_id, 0), axis=1)
            return Scores(trace, step, jnp.where(step_ends(traces.step_id), own, 0.0))

        return Network(init, apply, spec, member.sees_prefix)

    def member_scores(self, params: Params, traces: TraceBatch) -> Scores:
        """What every member says: arrays with a leading axis of members."""
        member, (common, own) = self.member.make(), _parts(params, self.shared)

        def score(own: Params) -> Scores:
            return member.apply(_whole(_Parts(common, own), self.shared), traces)

        return jax.vmap(score)(own) if self.shared == "trunk" else jax.lax.map(score, own)

    def spread(self, params: Params, traces: TraceBatch) -> Scores:
        """Standard deviations over the members in the place of scores: of each trace, step and token.

        Divided by the number of members. A member's scores mean something up to a constant per prompt, so compare
        traces by their distance from the prompt's mean: `centred` and `ensemble_spread` in
        irl/evaluation/reward_metrics.py, from the traces' `member_scores`. For any number of traces:
        `make_score_fn(network._replace(apply=config.spread))`.
        """
        return jax.tree.map(lambda values: values.std(axis=0), self.member_scores(params, traces))

    def reduce(self, scores: Float[Array, "members ..."]) -> Float[Array, "..."]:
        match self.reduction:
            case "mean":
                return scores.mean(axis=0)
            case "min":
                return scores.min(axis=0)
        return scores.mean(axis=0) - self.penalty * jnp.var(scores, axis=0)

    def member_params(self, params: Params) -> list[Params]:
        """The params of every member, as `member.make()` takes them; what is shared is not copied."""
        common, own = _parts(params, self.shared)
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], own) for i in range(self.members)]
        return [_whole(_Parts(common, member), self.shared) for member in each]


class _Parts(NamedTuple):
    common: Params
    """What all members share."""
    own: Params
    """What each member has for itself; of an ensemble, with a leading axis of members."""


def _parts(params: Params, shared: Shared | None) -> _Parts:
    if shared == "trunk":
        return _Parts({"trunk": params["trunk"]}, {name: part for name, part in params.items() if name != "trunk"})
    if shared == "base":
        trained, frozen = split(params)
        return _Parts(frozen, trained)
    return _Parts({}, params)


def _whole(parts: _Parts, shared: Shared | None) -> Params:
    """The params of `parts`."""
    return join(parts.own, parts.common) if shared == "base" else {**parts.common, **parts.own}


def stack_members(members: Sequence[Params], shared: Shared | None = None) -> Params:
    """Parameters of independently trained members as those of an ensemble.

    ValueError: what is to be shared is not the same in all of them.
    """
    parts = [_parts(params, shared) for params in members]
    _check_equal([part.common for part in parts])
    own = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(part.own for part in parts))
    return _whole(_Parts(parts[0].common, own), shared)


def _check_equal(members: Sequence[Params]) -> None:
    first = jax.tree_util.tree_leaves_with_path(members[0])
    for number, params in enumerate(members[1:], start=1):
        for (path, leaf), other in zip(first, jax.tree.leaves(params), strict=True):
            if leaf is not other and not np.array_equal(leaf, other):
                name = jax.tree_util.keystr(path, simple=True, separator=".")
                raise ValueError(f"member {number}: tensor {name!r} is not that of member 0; stack whole networks")
