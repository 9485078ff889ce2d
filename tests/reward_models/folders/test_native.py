"""What is saved comes back; what is broken says which file, tensor or field, and what to do."""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from annotated_types import Ge

from reward_models.folders import native
from reward_models.folders.manifest import Provenance, digest_of, digest_of_file
from reward_models.folders.native import ModelFolderError, encoding_of, load_folder, save_folder
from reward_models.records import record
from reward_models.types import ScoreSpec

TOKENIZER = '{"vocab": {"π": 0}}'
SPEC = ScoreSpec(kind="value", aggregate="last", information="preferences")


@record
class TrunkConfig:
    dim: int
    widths: tuple[int, ...] = (4, 8)


@record
class HeadConfig:
    trunk: TrunkConfig
    scale: Annotated[float, Ge(0.0)] = 0.5
    name: str | None = None
    bias: bool = True


@dataclass(frozen=True)
class Plain:
    """Nothing checks its fields."""

    scale: float = 1.0
    widths: tuple = ()


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
        "manifest": Provenance(),
    }
    save_folder(path, **(given | changes))


@pytest.fixture
def folder(tmp_path):
    save(
        tmp_path / "model",
        manifest=Provenance(trained_on="game24", metrics={"auc": 0.5, "loss": None}),
    )
    return tmp_path / "model"


def edit(file: Path, change):
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def sign(folder: Path, change=lambda manifest: None):
    """Change the manifest and write every digest again, as somebody who edits a folder by hand may do."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: digest_of_file(folder / name) for name in manifest["files"]}
    change(manifest)
    content = json.dumps(manifest | {"digest": "0" * 64})
    (folder / "manifest.json").write_text(json.dumps(manifest | {"digest": digest_of(content.encode())}))


def test_everything_comes_back(folder):
    model = load_folder(folder, classes=CLASSES, expect_encoding=encoding_of(TOKENIZER), expected=weights())
    assert (model.network, model.spec, model.tokenizer_json) == (NETWORK, SPEC, TOKENIZER)
    assert jax.tree.structure(model.params) == jax.tree.structure(weights())
    for loaded, saved in zip(jax.tree.leaves(model.params), jax.tree.leaves(weights()), strict=True):
        assert loaded.dtype == saved.dtype
        np.testing.assert_array_equal(loaded, saved)
    assert model.manifest.trained_on == "game24"
    assert model.manifest.metrics == {"auc": 0.5, "loss": None}
    assert "jax" in model.manifest.created_with
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
        patched.setattr(native.shutil, "rmtree", lambda *a, **k: None)  # a kill cleans nothing up
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
        patched.setattr(native.os, "fsync", full)
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
        ({"network": Plain(scale=float("inf"))}, r"network\.scale: inf"),
        ({"network": Plain(widths=(1, len))}, r"network\.widths\[1\]"),
        ({"spec": ScoreSpec(information="telepathy")}, r"spec: information: expected .*, got 'telepathy'"),
    ],
)
def test_what_cannot_come_back_is_not_saved(folder, changes, message):
    with pytest.raises(ModelFolderError, match=message):
        save(folder, **changes)
    load_folder(folder, classes=CLASSES)
    assert [f.name for f in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", native.FILES)
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


@pytest.mark.parametrize(("path", "message"), [("/", "missing: half copied"), ("x" * 300, "no such folder")])
def test_the_root_and_a_name_that_is_too_long(path, message):
    with pytest.raises(ModelFolderError, match=message):
        load_folder(path, classes=CLASSES)


def test_truncated_weights(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-4])
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: damaged or edited"):
        load_folder(folder, classes=CLASSES)
    sign(folder)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: truncated"):
        load_folder(folder, classes=CLASSES)


def test_weights_that_are_not_finite(folder):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    position = content.rindex(np.float32(5).tobytes())
    content[position : position + 4] = np.float32(np.nan).tobytes()
    file.write_bytes(content)
    sign(folder)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: tensor 'trunk\.\w+': 1 of 6"):
        load_folder(folder, classes=CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["network"].update({"class": "Evil"}), "unknown class 'Evil'; known: HeadConfig, Trunk"),
        (lambda c: c["network"].update({"class": ["x"]}), r"unknown class \['x'\]"),
        (lambda c: c["network"]["trunk"].update(dims=3), r"network\.trunk: .*'dims'.* mean 'dim'"),
        (lambda c: c["network"].update(zzz=3), "'zzz' of HeadConfig; a newer version"),
        (lambda c: c["network"]["trunk"].pop("dim"), r"network\.trunk: TrunkConfig\.dim: missing"),
        (lambda c: c["network"].update(scale=-1), r"scale: expected at least 0\.0, got -1"),
        (lambda c: c["network"].update(scale=10**400), "scale: expected a"),
        (lambda c: c["network"].update(bias=1), "bias: expected true or false, got 1"),
        (lambda c: c["network"]["trunk"].update(dim=True), "dim: expected an integer, got True"),
        (lambda c: c["network"].update(trunk=4), "trunk: expected an object, got 4"),
        (lambda c: c.update(network=[1]), r"network: expected an object, got \[1\]"),
        (lambda c: c["spec"].update(sort="x"), r"spec\.sort: unknown field"),
        (lambda c: c["spec"].update(aggregate="median"), r"spec\.aggregate: expected 'last', .*, got 'median'"),
        (lambda c: c["spec"].pop("kind"), r"spec\.kind: missing"),
        (lambda c: c.pop("spec"), "spec: missing"),
        (lambda c: c.update(format=2), "format: unknown field"),
    ],
)
def test_edited_config(folder, change, message):
    edit(folder / "config.json", change)
    with pytest.raises(ModelFolderError, match=r"config\.json: damaged or edited since it was saved"):
        load_folder(folder, classes=CLASSES)
    sign(folder)
    with pytest.raises(ModelFolderError, match=r"config\.json: .*" + message):
        load_folder(folder, classes=CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(windows=["states"]), r"windows: expected a string, got \['states'\]"),
        (lambda m: m.pop("windows"), "windows: missing"),
        (lambda m: m.update(window="states"), "window: unknown field; did you mean 'windows'"),
        (lambda m: m.update(seed="3"), "seed: expected an integer, got '3'"),
        (lambda m: m.update(seed=-1), "seed: expected at least 0"),
        (lambda m: m.update(metrics={"auc": "high"}), r"metrics\.auc: expected a number"),
        (lambda m: m.update(trained_on=[1]), r"trained_on: expected a string, got \[1\]"),
        (lambda m: m["files"].pop("config.json"), r"files: expected the digests of model\.safetensors, config\.json"),
        (lambda m: m["files"].update(other="0" * 64), "files: expected the digests of"),
        (lambda m: m["files"].update({"config.json": "0"}), r"files\.config\.json: .*got '0'"),
        (lambda m: m["files"].update({"tokenizer.json": "0" * 64}), "damaged or edited"),
        (lambda m: m.update(format=3), r"format 3, this version reads 2; upgrade"),
        (lambda m: m.update(format=True), "format True, this version reads 2"),
        (lambda m: m.update(format=1), "format 1 of an earlier version, .* run the same `traceward run` command again"),
    ],
)
def test_edited_manifest(folder, change, message):
    """Also where the editor writes the digests again."""
    sign(folder, change)
    with pytest.raises(ModelFolderError, match=r"(manifest|tokenizer)\.json: .*" + message):
        load_folder(folder, classes=CLASSES)


def test_an_edit_of_the_manifest_alone(folder):
    edit(folder / "manifest.json", lambda manifest: manifest.update(seed=4))
    with pytest.raises(ModelFolderError, match=r"manifest\.json: damaged or edited since it was saved"):
        load_folder(folder, classes=CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "JSON that cannot be read"),
        ('{"format": 2, "format": 2}', "the key 'format' occurs twice"),
        ('{"format": ' + "9" * 5_000 + "}", "JSON that cannot be read"),
        ("[]", "format None"),
        ("3", "format None"),
        ('{"format": 2, "files": ' + "[" * 500 + "]" * 500 + "}", "manifest"),
    ],
)
def test_manifests_that_are_none(folder, text, message):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ModelFolderError, match=message):
        load_folder(folder, classes=CLASSES)


@pytest.mark.parametrize("seed", range(3))
def test_every_bit_flip_is_found(folder, seed):
    """100 of 100, uniform over the bits of all files that are read."""
    rng, files = np.random.default_rng(seed), [folder / name for name in native.FILES]
    contents = [file.read_bytes() for file in files]
    bits = np.cumsum([8 * len(content) for content in contents])
    for bit in rng.integers(bits[-1], size=100):
        _check_flip(files, contents, bits, int(bit))


def test_every_bit_of_the_texts_counts(folder):
    """Spaces, line breaks and the case of letters too."""
    files = [folder / name for name in ("config.json", "tokenizer.json", "manifest.json")]
    contents = [file.read_bytes() for file in files]
    bits = np.cumsum([8 * len(content) for content in contents])
    for bit in range(0, int(bits[-1]), 3):
        _check_flip(files, contents, bits, bit)


def _check_flip(files, contents, bits, bit):
    number = int(np.searchsorted(bits, bit, side="right"))
    at = bit - (int(bits[number - 1]) if number else 0)
    flipped = bytearray(contents[number])
    flipped[at // 8] ^= 1 << at % 8
    files[number].write_bytes(flipped)
    with pytest.raises(ModelFolderError, match=files[number].name):
        load_folder(files[0].parent, classes=CLASSES)
    files[number].write_bytes(contents[number])


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        save(tmp_path / "model")
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "model").iterdir()}
    assert modes == dict.fromkeys(native.FILES, 0o666 & ~umask)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F64", "I64", "I4", "F4", "C64"])
def test_types_that_are_not_read_are_named(folder, kind):
    """Some are unknown to safetensors, some to numpy, and 64 bits are more than jax keeps."""
    size = {"I64": 16, "F64": 16, "C64": 16, "F4": 1}.get(kind, 2)
    header = json.dumps({"w": {"dtype": kind, "shape": [2], "data_offsets": [0, size]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(size)
    (folder / "model.safetensors").write_bytes(content)
    sign(folder)
    with pytest.raises(ModelFolderError, match=rf"model\.safetensors: .*{kind}"):
        load_folder(folder, classes=CLASSES)


@pytest.mark.parametrize("names", [("a", "a.b"), ("layers.1", "layers.01")])
def test_tensors_with_one_name(folder, names):
    safetensors.numpy.save_file(dict.fromkeys(names, np.zeros(1, np.float32)), folder / "model.safetensors")
    sign(folder)
    with pytest.raises(ModelFolderError, match=rf"tensor '{names[1]}'|tensor '{names[0]}'"):
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
