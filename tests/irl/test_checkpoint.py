"""A checkpoint comes back bit for bit; a damaged one is named, and passed over for the one before."""

import errno
import re
import shutil
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irl.checkpoint import Checkpoints
from irl.sharding import make_mesh, place, shard_batch
from irl.types import InputError

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))


class State(NamedTuple):
    params: dict[str, jax.Array]
    opt_state: Any
    key: jax.Array
    reference: Any = None


def make_state(seed: int, width: int = 5) -> State:
    key = jax.random.key(seed)
    params = {
        "w": jax.random.normal(key, (3, width)),
        "half": jax.random.normal(key, (4,)).astype(jnp.bfloat16),
        "odd": jnp.array([jnp.nan, -0.0, jnp.inf]),
    }
    _, opt_state = OPTIMIZER.update(params, OPTIMIZER.init(params), params)
    return State(params, opt_state, jax.random.fold_in(key, 1))


ABSTRACT = jax.eval_shape(make_state, 0)


def bits(leaf) -> tuple:
    data = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return str(leaf.dtype), np.asarray(data).tobytes()


def assert_identical(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert [bits(leaf) for leaf in jax.tree.leaves(a)] == [bits(leaf) for leaf in jax.tree.leaves(b)]


@pytest.fixture
def filled(tmp_path):
    """Checkpoints of steps 10 and 20; the state of step s is make_state(s)."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (10, 20):
        checkpoints.save(step, make_state(step), {"source": {"position": step, "seeds": [1, 2]}})
    return checkpoints


def test_comes_back_bit_for_bit(filled):
    again = Checkpoints(filled.folder)
    assert again.latest() == 20
    for step in (10, 20):
        state, extra, restored = again.restore(step, ABSTRACT)
        assert_identical(state, make_state(step))
        assert (extra, restored) == ({"source": {"position": step, "seeds": [1, 2]}}, step)
    assert again.restore(None, make_state(3)).step == 20


def test_keeps_the_newest(filled):
    filled.save(30, make_state(30))
    assert sorted(entry.name for entry in filled.folder.iterdir()) == ["20", "30"]
    assert filled.restore(None, ABSTRACT).extra is None


def test_an_empty_folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.latest() is None
    with pytest.raises(InputError, match=r"none: no checkpoint that can be read \(there are none\)"):
        checkpoints.restore(None, ABSTRACT)
    with pytest.raises(InputError, match="keep"):
        Checkpoints(tmp_path, keep=1)


def test_a_step_that_is_not_there(filled):
    with pytest.raises(InputError, match=r"no checkpoint of step 15 .*\[20, 10\]"):
        filled.restore(15, ABSTRACT)


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def largest(folder):
    return max((f for f in folder.rglob("*") if f.is_file() and f.parent != folder), key=lambda f: f.stat().st_size)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: truncate(largest(folder)),
        lambda folder: flip_a_bit(largest(folder)),
        lambda folder: largest(folder).unlink(),
        lambda folder: shutil.rmtree(folder / "state"),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: truncate(folder / "manifest.json"),
        lambda folder: truncate(folder / "extra" / "metadata"),
    ],
)
def test_falls_back_on_the_one_before(filled, capsys, damage):
    damage(filled.folder / "20")
    state, extra, step = Checkpoints(filled.folder).restore(None, ABSTRACT)
    assert_identical(state, make_state(10))
    assert (extra["source"]["position"], step) == (10, 10)
    assert re.search(r"warning: .*checkpoints/20: (damaged|half-written)", capsys.readouterr().err)


def test_goes_on_after_falling_back(filled, capsys):
    """The damaged checkpoint of the future neither blocks the next save nor counts as one of the two kept."""
    truncate(largest(filled.folder / "20"))
    checkpoints = Checkpoints(filled.folder)
    checkpoints.restore(None, ABSTRACT)
    for step in (15, 20):
        checkpoints.save(step, make_state(step))
    assert sorted(entry.name for entry in filled.folder.iterdir()) == ["15", "20"]
    assert_identical(checkpoints.restore(None, ABSTRACT).state, make_state(20))
    assert "20 is removed" in capsys.readouterr().err


def test_nothing_readable(filled):
    for step in ("10", "20"):
        truncate(largest(filled.folder / step))
    with pytest.raises(InputError, match=r"no checkpoint that can be read \(there are \[20, 10\]\); restore"):
        filled.restore(None, ABSTRACT)


def test_a_state_of_another_make(filled):
    with pytest.raises(InputError, match=r"state\.params\.w is float32\[3, 5\] there, float32\[3, 6\] in this run"):
        filled.restore(None, jax.eval_shape(lambda: make_state(0, width=6)))
    other = ABSTRACT._replace(params=ABSTRACT.params | {"half": jax.ShapeDtypeStruct((4,), jnp.float32)})
    with pytest.raises(InputError, match=r"params\.half is bfloat16\[4\] there"):
        filled.restore(None, other)
    with pytest.raises(InputError, match=r"reference is missing there, float32\[\] in this run"):
        filled.restore(None, ABSTRACT._replace(reference=jnp.float32(0)))


@pytest.mark.parametrize("seen_by", ["python", "tensorstore"])
def test_disk_full(filled, monkeypatch, seen_by):
    def full(*args, **kwargs):
        (filled.folder / "30.orbax-checkpoint-tmp").mkdir()
        if seen_by == "python":
            raise OSError(errno.ENOSPC, "No space left on device")
        raise ValueError("RESOURCE_EXHAUSTED: ... No space left on device [os_error_code='28']")

    with monkeypatch.context() as patched, pytest.raises(InputError, match="disk full while saving step 30"):
        patched.setattr(filled._manager, "save", full)
        filled.save(30, make_state(30))
    assert sorted(entry.name for entry in filled.folder.iterdir()) == ["10", "20"]
    assert_identical(filled.restore(None, ABSTRACT).state, make_state(20))


def test_other_errors_are_not_called_disk_full(filled, monkeypatch):
    def fails(*args, **kwargs):
        raise ValueError("something else")

    monkeypatch.setattr(filled._manager, "save", fails)
    with pytest.raises(ValueError, match="something else"):
        filled.save(30, make_state(30))


def test_shardings_of_the_state_are_kept(tmp_path):
    mesh = make_mesh()
    state = {"rows": shard_batch(mesh, jnp.arange(8.0)), "key": place(mesh, jax.random.key(1))}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    restored = checkpoints.restore(1, state).state
    assert_identical(restored, state)
    for name in state:
        assert restored[name].sharding.is_equivalent_to(state[name].sharding, state[name].ndim)


FOREVER = """
import sys
import jax.numpy as jnp
from irl.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
for step in range(1, 1000):
    checkpoints.save(step, {"w": jnp.full((200, 500), float(step))}, {"step": step})
    print(step, flush=True)
"""


@pytest.mark.parametrize("moment", [0.02, 0.05])
def test_killed_at_any_moment(tmp_path, moment):
    process = subprocess.Popen([sys.executable, "-c", FOREVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        while (line := lines.readline()) and int(line) < 3:
            pass
        time.sleep(moment)
        process.kill()
        last = int(([line, *lines])[-1])
    process.wait()
    abstract = {"w": jnp.zeros((200, 500))}
    state, extra, step = Checkpoints(tmp_path).restore(None, abstract)
    assert step in (last, last + 1)
    assert extra == {"step": step}
    assert bool((state["w"] == step).all())
