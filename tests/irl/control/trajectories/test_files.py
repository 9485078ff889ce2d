"""Our own file of trajectories, and telling formats apart."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from irl.control.trajectories import imitation_format
from irl.control.trajectories.files import load_trajectories, read_trajectories, save_trajectories
from irl.control.trajectories.trajectory import Trajectory
from irl.types import InputError

NUMBERS = {
    kind: arrays.from_dtype(np.dtype(kind), allow_nan=False, allow_infinity=False)
    for kind in ("float32", "float64", "uint8", "int64")
}


@st.composite
def sets(draw, kinds=tuple(NUMBERS)):
    """Trajectories alike in shapes and dtypes, of any shape and dtype."""
    kind, action = draw(st.sampled_from(kinds)), draw(st.sampled_from(["int64", "float32"]))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    rewarded, told = draw(st.booleans()), draw(st.booleans())
    made = []
    for steps in draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)):
        row = lambda kind, *shape: arrays.arrays(kind, shape, elements=NUMBERS[kind])  # noqa: E731
        infos = tuple(draw(st.lists(st.text(max_size=3), min_size=steps, max_size=steps))) if told else None
        made.append(
            Trajectory(
                observations=draw(row(kind, steps + 1, *shape)),
                actions=draw(row(action, steps)),
                rewards=draw(row("float32", steps)) if rewarded else None,
                infos=infos,
                terminal=draw(st.booleans()),
                environment=draw(st.sampled_from(["", "CartPole-v1"])),
            )
        )
    return made


def assert_same(found, made, *, environment=True):
    assert len(found) == len(made)
    for one, other in zip(found, made, strict=True):
        for name in ("observations", "actions", "rewards"):
            left, right = getattr(one, name), getattr(other, name)
            assert (left is None) == (right is None), name
            if right is not None:
                assert left.dtype == right.dtype and left.shape == right.shape and np.array_equal(left, right), name
        assert one.terminal == other.terminal
        assert one.infos == other.infos
        assert not environment or one.environment == other.environment


@settings(max_examples=40, deadline=None)
@given(made=sets())
def test_what_was_saved_comes_back(tmp_path_factory, made):
    path = tmp_path_factory.mktemp("own") / "demonstrations.safetensors"
    save_trajectories(path, made)
    assert_same(read_trajectories(path), made)


def made(steps=3, **fields):
    observations = np.arange(2 * steps + 2, dtype=np.float32).reshape(-1, 2)
    return Trajectory(**{"observations": observations, "actions": np.arange(steps), "terminal": True, **fields})


def test_columns_in_fortran_order(tmp_path):
    observations = np.asfortranarray(np.arange(8, dtype=np.float32).reshape(4, 2))
    save_trajectories(tmp_path / "f", [made(observations=observations)])
    assert np.array_equal(load_trajectories(tmp_path / "f")[0].observations, observations)


def test_a_file_is_replaced_only_by_a_complete_one(tmp_path):
    path = tmp_path / "d"
    save_trajectories(path, [made()])
    with pytest.raises(InputError, match="trajectory 1, rewards"):
        save_trajectories(path, [made(), made(rewards=np.zeros(3))])
    assert len(load_trajectories(path)) == 1 and [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="not writable"):
        save_trajectories(tmp_path / "none" / "d", [made()])


def test_cut_off(tmp_path):
    path = tmp_path / "d"
    save_trajectories(path, [made()])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="d: no file of trajectories, or truncated"):
        read_trajectories(path)


def test_a_dtype_that_numpy_lacks(tmp_path):
    header = b'{"x":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}}'
    (tmp_path / "d").write_bytes(len(header).to_bytes(8, "little") + header + b"0")
    with pytest.raises(InputError, match=r"d: no file of trajectories.*float8_e5m2"):
        read_trajectories(tmp_path / "d")


def test_other_tensors(tmp_path):
    safetensors.numpy.save_file({"x": np.zeros(2)}, tmp_path / "d")
    with pytest.raises(InputError, match="expected format 'traceward trajectories 1' in its metadata, got None"):
        read_trajectories(tmp_path / "d")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lengths": np.array([2])}, "damaged, observations: expected 3 rows, got 4"),
        ({"terminal": np.array([True, False])}, "damaged, terminal: expected 1 rows, got 2"),
        ({"observations": np.full((4, 2), np.nan)}, r"damaged, Trajectory.observations\[0\]: NaN"),
        ({"infos": np.frombuffer(b"[", np.uint8)}, "damaged, infos, column 2: malformed JSON"),
    ],
)
def test_damaged(tmp_path, tensors, message):
    own = {
        "observations": np.zeros((4, 2)),
        "actions": np.zeros(3),
        "lengths": np.array([3]),
        "terminal": np.array([True]),
    }
    metadata = {"format": "traceward trajectories 1", "environments": '[""]'}
    safetensors.numpy.save_file(own | tensors, tmp_path / "d", metadata)
    with pytest.raises(InputError, match=message):
        load_trajectories(tmp_path / "d")


def test_nothing_there(tmp_path):
    for read in (read_trajectories, load_trajectories):
        with pytest.raises(InputError, match="no such file"):
            read(tmp_path / "d")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(InputError, match=r"unknown format; expected a folder of imitation .* or a Minari"):
        read_trajectories(tmp_path)


@pytest.mark.parametrize("name", ["demos.pkl", "demos.npz"])
def test_pickles_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="may contain pickled code and are refused; convert it with imitation"):
        read_trajectories(tmp_path / name)


def test_a_folder_of_imitation_is_known(tmp_path):
    imitation_format.write_imitation(tmp_path / "d", [made()])
    assert_same(read_trajectories(tmp_path / "d"), [made(infos=("{}",) * 3)])
