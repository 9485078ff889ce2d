"""What is saved comes back; what is broken says which file, tensor or field, and what to do."""

import json
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models import checkpoint_folder
from reward_models.checkpoint_folder import ModelFolderError, encoding_of, load_folder, save_folder
from reward_models.types import ScoreSpec

TOKENIZER = '{"vocab": {"π": 0}}'
SPEC = ScoreSpec(kind="value", aggregate="last", information="preferences")


@dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    dim: int
    widths: tuple[int, ...] = (4, 8)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    trunk: TrunkConfig
    scale: float = 0.5
    name: str | None = None
    bias: bool = True

    def __post_init__(self):
        if self.scale < 0:
            raise ValueError(f"scale: expected 0 or more, got {self.scale}")


CLASSES = {"TrunkConfig": TrunkConfig, "HeadConfig": HeadConfig}
NETWORK = HeadConfig(trunk=TrunkConfig(dim=3), name="α")


def weights(scale=1.0):
    return {
        "trunk": {
            "kernel": scale * jnp.arange(6.0).reshape(2, 3),
            "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "half": jnp.arange(3, dtype=jnp.bfloat16),
        },
        "layers": {0: {"b": jnp.zeros((0, 2))}, 10: {"b": jnp.int32(7)}},
    }


def save(path, **changes):
    given = {
        "params": weights(),
        "network": NETWORK,
        "spec": SPEC,
        "tokenizer_json": TOKENIZER,
        "manifest": {},
    }
    save_folder(path, **(given | changes))


@pytest.fixture
def folder(tmp_path):
    save(
        tmp_path / "model",
        manifest={"trained_on": "game24", "metrics": {"auc": jnp.float32(0.5), "loss": np.nan}},
    )
    return tmp_path / "model"


def edit(file: Path, change):
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def test_everything_comes_back(folder):
    model = load_folder(folder, classes=CLASSES, expect_encoding=encoding_of(TOKENIZER), expected=weights())
    assert (model.network, model.spec, model.tokenizer_json) == (NETWORK, SPEC, TOKENIZER)
    assert jax.tree.structure(model.params) == jax.tree.structure(weights())
    for loaded, saved in zip(jax.tree.leaves(model.params), jax.tree.leaves(weights()), strict=True):
        assert loaded.dtype == saved.dtype
        np.testing.assert_array_equal(loaded, saved)
    assert model.manifest["information"] == "preferences"
    assert model.manifest["metrics"] == {"auc": 0.5, "loss": None}
    assert "jax" in model.manifest["created_with"]
    assert sorted(f.name for f in folder.parent.iterdir()) == ["model"]


def test_expected_may_be_shapes(folder):
    model = load_folder(folder, classes=CLASSES, expected=jax.eval_shape(weights))
    assert jax.tree.structure(model.params) == jax.tree.structure(weights())


def test_replaces_an_earlier_model(folder):
    save(folder, params=weights(2.0))
    model = load_folder(folder, classes=CLASSES)
    assert float(model.params["trunk"]["kernel"].sum()) == 30.0
    assert [f.name for f in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("killed_in", ["write_text", "rename"])
def test_a_kill_leaves_the_earlier_model(folder, monkeypatch, killed_in):
    """Killed while writing or between the two renames: the earlier model is read, and saving works again."""
    original, calls = getattr(Path, killed_in), []

    def kill(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(path, *args, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, killed_in, kill)
        patched.setattr(checkpoint_folder.shutil, "rmtree", lambda *a, **k: None)  # a kill cleans nothing up
        save(folder, params=weights(2.0))
    assert float(load_folder(folder, classes=CLASSES).params["trunk"]["kernel"].sum()) == 15.0
    save(folder, params=weights(2.0))
    assert float(load_folder(folder, classes=CLASSES).params["trunk"]["kernel"].sum()) == 30.0
    assert [f.name for f in folder.parent.iterdir()] == ["model"]


def test_a_full_disk_leaves_the_earlier_model(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patched,
        pytest.raises(ModelFolderError, match=r"not saved: .*No space left"),
    ):
        patched.setattr(checkpoint_folder.os, "fsync", full)
        save(folder, params=weights(2.0))
    assert float(load_folder(folder, classes=CLASSES).params["trunk"]["kernel"].sum()) == 15.0
    assert [f.name for f in folder.parent.iterdir()] == ["model"]


def test_replaces_nothing_but_a_model(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ModelFolderError, match=r"holds thesis\.tex"):
        save(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params": {"a": {"w": jnp.array([1.0, jnp.nan, jnp.inf])}}}, r"'a\.w': 2 of 3 values are NaN"),
        ({"params": {"w": jnp.array([jnp.nan], jnp.bfloat16)}}, "'w': 1 of 1"),
        ({"params": {"a.b": jnp.ones(1)}}, r"key 'a\.b'"),
        ({"params": {"7": jnp.ones(1)}}, "key '7'"),
        ({"params": {"a": {}}}, "nothing under 'a'"),
        ({"params": jnp.ones(1)}, "expected nested dicts"),
        ({"params": {"w": [1.0]}}, "'w': expected nested dicts of arrays, got list"),
        ({"params": {"w": np.ones(2)}}, "'w': float64"),
        ({"network": HeadConfig(trunk=TrunkConfig(dim=3), scale=float("inf"))}, r"network\.scale: inf"),
        ({"network": TrunkConfig(dim=3, widths=(1, len))}, r"network\.widths\[1\]"),
        ({"spec": ScoreSpec(information="telepathy")}, r"spec\.information: 'telepathy'"),
        ({"manifest": {"encoding": "mine"}}, r"manifest\.encoding"),
        ({"manifest": {"metrics": {1, 2}}}, "manifest: .*set"),
    ],
)
def test_what_cannot_come_back_is_not_saved(folder, changes, message):
    with pytest.raises(ModelFolderError, match=message):
        save(folder, **changes)
    load_folder(folder, classes=CLASSES)
    assert [f.name for f in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", checkpoint_folder.FILES)
def test_missing_and_damaged_files_are_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(b"\xff" + content[: len(content) // 2])
    with pytest.raises(ModelFolderError, match=name):
        load_folder(folder, classes=CLASSES)
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=f"{name} missing"):
        load_folder(folder, classes=CLASSES)


def test_no_folder(tmp_path):
    with pytest.raises(ModelFolderError, match="no such folder"):
        load_folder(tmp_path / "nothing", classes=CLASSES)


def test_truncated_weights(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-4])
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: truncated"):
        load_folder(folder, classes=CLASSES)


def test_weights_that_are_not_finite(folder):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    position = content.rindex(np.float32(5).tobytes())
    content[position : position + 4] = np.float32(np.nan).tobytes()
    file.write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: tensor 'trunk\.\w+': 1 of 6"):
        load_folder(folder, classes=CLASSES)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.json",
            lambda c: c["network"].update({"class": "Evil"}),
            "unknown network class 'Evil'; known: Head",
        ),
        (
            "config.json",
            lambda c: c["network"]["trunk"].update(dims=3),
            r"network\.trunk: .*'dims'.* mean 'dim'",
        ),
        ("config.json", lambda c: c["network"].update(zzz=3), "'zzz' of HeadConfig; a newer version"),
        ("config.json", lambda c: c["network"]["trunk"].pop("dim"), "no TrunkConfig can be made .*'dim'"),
        ("config.json", lambda c: c["network"].update(scale=-1), "scale: expected 0 or more"),
        ("config.json", lambda c: c["spec"].update(sort="x"), "spec: unexpected field 'sort'"),
        ("config.json", lambda c: c.pop("spec"), "spec: expected an object with kind"),
        ("config.json", lambda c: c.update(format=2), "format 2, this version reads 1; upgrade"),
        ("manifest.json", lambda c: c.update(encoding="0" * 64), r"tokenizer\.json: changed"),
    ],
)
def test_edited_files(folder, file, change, message):
    edit(folder / file, change)
    with pytest.raises(ModelFolderError, match=message):
        load_folder(folder, classes=CLASSES)


def test_a_folder_of_another_encoding(folder):
    with pytest.raises(ModelFolderError, match="another encoding"):
        load_folder(folder, classes=CLASSES, expect_encoding=encoding_of("other"))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"w": jnp.ones((2, 4))}, r"'w': expected float32\[2, 4\], found float32\[2, 3\]"),
        ({"w": jnp.ones((2, 3), jnp.bfloat16)}, r"'w': expected bfloat16\[2, 3\]"),
        ({"w": jnp.ones((2, 3)), "v": jnp.ones(1)}, "'v' is missing"),
        ({}, "nothing under"),
        ({"v": {"w": jnp.ones((2, 3))}}, r"'v\.w' is missing"),
    ],
)
def test_weights_of_another_network(tmp_path, expected, message):
    save(tmp_path / "model", params={"w": jnp.ones((2, 3))})
    with pytest.raises(ModelFolderError, match=message):
        load_folder(tmp_path / "model", classes=CLASSES, expected=expected)
