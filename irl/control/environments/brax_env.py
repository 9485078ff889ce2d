"""brax's environments (MuJoCo's bodies as JAX programs) as `Environment`.

    jax_environment("brax/halfcheetah")          brax's default physics of that environment
    jax_environment("brax/halfcheetah/spring")   generalized, positional, spring or mjx

An unhealthy body terminates an episode, the horizon truncates it. (brax reports both as `done`, and counts steps only
in its own wrappers, which are not used.) Actions are in [-1, 1]. Rewards and masses differ from those of Gymnasium's
environments of the same names, so their returns are not comparable.
"""

import difflib
from typing import Any

import jax
import jax.numpy as jnp

from irl.control.environments.base import Environment, EnvState, Outcome
from irl.control.spaces import Box
from irl.types import InputError
from reward_models.types import Array

PREFIX = "brax/"
BACKENDS = ("generalized", "positional", "spring", "mjx")
HORIZON = 1000


def brax_environment(name: str, *, horizon: int = HORIZON, **options: Any) -> Environment:
    """The environment NAME or NAME/BACKEND of brax; options are those of its class in brax.

    Raises InputError for an unknown environment or backend, or if brax is not installed.
    """
    try:
        from brax import envs
    except ModuleNotFoundError as error:
        raise InputError(f"{PREFIX}{name.removeprefix(PREFIX)}: {error}; install the extra brax") from error
    body, _, backend = name.removeprefix(PREFIX).partition("/")
    _check_name("environment", body, sorted(envs._envs))
    if backend:
        _check_name("backend", backend, BACKENDS)
        options["backend"] = backend
    env = envs.get_environment(body, **options)
    shape = jax.eval_shape(env.reset, jax.random.key(0)).obs.shape

    def reset(key: jax.Array) -> tuple[EnvState, Array]:
        state = env.reset(key)
        return (state, jnp.int32(0)), state.obs

    def step(state: EnvState, action: Array, key: jax.Array) -> tuple[EnvState, Outcome]:
        del key
        before, time = state
        copy = jax.tree.map(jnp.asarray, before)  # brax modifies the dicts of its input
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), env.step(copy, action), before)
        terminated = after.done > 0
        truncated = (time + 1 >= horizon) & ~terminated
        return (after, time + 1), Outcome(after.obs, after.reward, terminated, truncated)

    return Environment(
        f"{PREFIX}{name.removeprefix(PREFIX)}", Box(shape), Box((env.action_size,), -1.0, 1.0), horizon, reset, step
    )


def _check_name(kind: str, name: str, known: tuple[str, ...] | list[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
        raise InputError(f"brax: no {kind} {name!r}; {advice}")
