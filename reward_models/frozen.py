"""Frozen parameters: a part of a pytree that training reads, but neither changes, copies nor saves.

    params = {"base": Frozen(weights), "adapters": {...}}
    trained, frozen = split(params)        # trees of the same structure, None where the other has a part
    params = join(trained, frozen)

Gradients, optimiser moments and checkpoints are those of `trained` alone. A compiled step receives `frozen` as an
argument of its own that is not donated, so several states may hold the same arrays. A tree without frozen parts is its
own trained part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frozen:
    """A frozen part of a pytree. Its arrays are leaves of the pytree, as others are."""

    tree: Any


class Parts(NamedTuple):
    """A pytree in two trees of its structure."""

    trained: Any
    """None in place of every `Frozen`."""
    frozen: Any
    """None in place of every other leaf."""


def split(tree: Any) -> Parts:
    """The trained and the frozen part of a pytree."""
    trained = jax.tree.map(lambda node: None if _is_frozen(node) else node, tree, is_leaf=_is_frozen)
    frozen = jax.tree.map(lambda node: node if _is_frozen(node) else None, tree, is_leaf=_is_frozen)
    return Parts(trained, frozen)


def join(trained: Any, frozen: Any) -> Any:
    """The pytree of two parts."""
    return jax.tree.map(
        lambda own, other: other if own is None else own, trained, frozen, is_leaf=lambda node: node is None
    )


def on_host(tree: Any) -> Any:
    """The pytree with the trained part as NumPy arrays. The frozen part stays where it is."""
    trained, frozen = split(tree)
    return join(jax.device_get(trained), frozen)


def without_frozen(params: Any) -> Any:
    """Nested dicts without their frozen parts."""
    if not isinstance(params, Mapping):
        return params
    return {name: without_frozen(part) for name, part in params.items() if not _is_frozen(part)}


def _is_frozen(node: Any) -> bool:
    return isinstance(node, Frozen)
