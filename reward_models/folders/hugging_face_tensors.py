"""The tensors of a Hugging Face model folder: their names, the open files, and checks that name file and tensor.

A linear layer of theirs, [outputs, inputs], is the transpose of our kernel, and a tensor per layer is a slice of ours.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from reward_models.folders import tensor_file
from reward_models.folders.hugging_face_config import HuggingFaceNetwork
from reward_models.folders.native import ModelFolderError
from reward_models.networks.base import Params, flatten
from reward_models.networks.decoder import DecoderConfig
from reward_models.records import InputError, as_part, read_json, record

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
READABLE = ("F32", "BF16", "F16")
_METADATA = {"format": "pt"}

TRUNK = {
    "embedding": "model.embed_tokens.weight",
    "final_norm.scale": "model.norm.weight",
    "head.kernel": "lm_head.weight",
}
BLOCK = {
    "input_norm.scale": "input_layernorm.weight",
    "query.kernel": "self_attn.q_proj.weight",
    "query.bias": "self_attn.q_proj.bias",
    "key.kernel": "self_attn.k_proj.weight",
    "key.bias": "self_attn.k_proj.bias",
    "value.kernel": "self_attn.v_proj.weight",
    "value.bias": "self_attn.v_proj.bias",
    "output.kernel": "self_attn.o_proj.weight",
    "query_norm.scale": "self_attn.q_norm.weight",
    "key_norm.scale": "self_attn.k_norm.weight",
    "post_norm.scale": "post_attention_layernorm.weight",
    "gate.kernel": "mlp.gate_proj.weight",
    "up.kernel": "mlp.up_proj.weight",
    "down.kernel": "mlp.down_proj.weight",
}
_HEAD = {
    "head.kernel": "score.weight",
    "head.bias": "score.bias",
    "head.inner.kernel": "score.0.weight",
    "head.inner.bias": "score.0.bias",
    "head.outer.kernel": "score.2.weight",
    "head.outer.bias": "score.2.bias",
}


def _shapes(network: HuggingFaceNetwork) -> Params:
    """Our parameters without their values."""
    functional = network.make() if isinstance(network, DecoderConfig) else network.module()
    return jax.eval_shape(functional.init, jax.random.key(0))


def their_names(ours: str, network: HuggingFaceNetwork) -> list[str]:
    """Their name of one of our parameters; a name per layer for stacked ones."""
    if not isinstance(network, DecoderConfig):
        if ours in _HEAD:
            return [_HEAD[ours]]
        ours, network = ours.removeprefix("trunk."), network.decoder
    if ours in TRUNK:
        return [TRUNK[ours]]
    name = BLOCK[ours.removeprefix("blocks.")]
    return [f"model.layers.{layer}.{name}" for layer in range(network.num_layers)]


@record
class WeightIndex:
    """model.safetensors.index.json: the file that holds each tensor."""

    weight_map: dict[str, str]


@runtime_checkable
class Stored(Protocol):
    """A tensor in a file, of whatever format."""

    def check(self, shape: tuple[int, ...]) -> None: ...
    def read(self) -> np.ndarray: ...


class StoredTensor(NamedTuple):
    """A tensor in an open safetensors file."""

    file: Path
    handle: Any
    name: str

    def check(self, shape: tuple[int, ...], by: str = f"by {CONFIG}") -> None:
        """ModelFolderError for another type or shape in the header; no data is read."""
        part = self.handle.get_slice(self.name)
        stored, kind = tuple(part.get_shape()), part.get_dtype()
        where = f"{self.file}: tensor {self.name!r}"
        if kind not in READABLE:
            raise ModelFolderError(f"{where} is {kind}, expected {', '.join(READABLE)}; convert the weights to floats")
        if stored != shape:
            raise ModelFolderError(f"{where}: expected {list(shape)} {by}, got {list(stored)}")

    def read(self) -> np.ndarray:
        """Its values, all finite."""
        tensor = self.handle.get_tensor(self.name)
        finite(tensor, f"{self.file}: tensor {self.name!r}")
        return tensor


def finite(tensor: np.ndarray, where: str) -> None:
    """ModelFolderError for values that are NaN or infinite."""
    bad = int((~np.isfinite(tensor)).sum())
    if bad:
        raise ModelFolderError(f"{where}: {bad} of {tensor.size} values are NaN or infinite; download it again")


def read_params(network: HuggingFaceNetwork, folder: Path, dtype: str) -> Params:
    """The parameters of `network` from a folder: trunk in `dtype`, heads in float32. Raises ModelFolderError."""
    with _tensors(folder) as tensors:
        _check_names(tensors, set(all_names(network)), network, folder)
        return assemble(network, tensors, dtype)


def all_names(network: HuggingFaceNetwork) -> list[str]:
    """Their names of all parameters."""
    return [theirs for ours in flatten(_shapes(network)) for theirs in their_names(ours, network)]


def assemble(network: HuggingFaceNetwork, tensors: Mapping[str, Stored], dtype: str) -> Params:
    """The parameters of `network` from tensors by their names, which are all there. Raises ModelFolderError.

    Tensors are read one by one, after the shapes of all have been checked.
    """
    shapes = flatten(_shapes(network))
    names = {ours: their_names(ours, network) for ours in shapes}
    for ours, shape in shapes.items():
        for theirs in names[ours]:
            tensors[theirs].check(_stored_shape(ours, shape.shape))
    params: Params = {}
    for ours, shape in shapes.items():
        kind = "float32" if ours in _HEAD and not isinstance(network, DecoderConfig) else dtype
        *parents, last = ours.split(".")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = joined([tensors[name] for name in names[ours]], ours, shape.shape, kind)
    return params


def joined(tensors: Sequence[Stored], ours: str, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Their tensors, of which the headers are checked, as our parameter: kernels transposed, layers stacked."""
    stacked, kernel = _is_stacked(ours), ours.endswith("kernel")
    out = np.empty(shape, jnp.dtype(dtype))
    for slot, tensor in zip(out if stacked else out[None], tensors, strict=True):
        theirs = tensor.read()
        slot[...] = theirs.T if kernel else theirs
    return jnp.asarray(out)


def _stored_shape(ours: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of each of their tensors."""
    one = shape[1:] if _is_stacked(ours) else shape
    return one[::-1] if ours.endswith("kernel") else one


def _check_names(
    tensors: Mapping[str, StoredTensor], expected: set[str], network: HuggingFaceNetwork, folder: Path
) -> None:
    """Every expected tensor and no other, but for buffers and for an output matrix that is not used."""
    missing = sorted(expected - tensors.keys())
    if missing:
        file = folder / (WEIGHTS if (folder / WEIGHTS).is_file() else INDEX)
        reason = f"tensor {missing[0]!r} is missing ({_count(missing)})"
        raise ModelFolderError(f"{file}: {reason}; download it again, or correct {CONFIG}")
    other = {name for name in tensors.keys() - expected if not name.endswith(".rotary_emb.inv_freq")}
    if "lm_head.weight" in other:
        other.remove("lm_head.weight")
        if isinstance(network, DecoderConfig):
            _check_tied(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"], network)
    if other:
        first = tensors[min(other)]
        raise ModelFolderError(
            f"{first.file}: tensor {first.name!r} is none of this architecture's ({_count(other)}); "
            f"its weights and {CONFIG} do not belong together"
        )


def _check_tied(head: StoredTensor, embedding: StoredTensor, network: DecoderConfig) -> None:
    for tensor in (head, embedding):
        tensor.check((network.vocab_size, network.dim))
    if not np.array_equal(head.read(), embedding.read()):
        raise ModelFolderError(
            f"{head.file}: tensor {head.name!r} differs from {embedding.name!r}, but {CONFIG} says "
            "tie_word_embeddings: true; say false there if the output matrix is to be used"
        )


def _count(names: Sized) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"


@contextmanager
def _tensors(folder: Path) -> Iterator[dict[str, StoredTensor]]:
    """All tensors of a folder by name; files stay open meanwhile, and tensors are read one by one."""
    with ExitStack() as stack:
        tensors: dict[str, StoredTensor] = {}
        for file in _shards(folder):
            if not os.path.isfile(file):  # False for names that no file can have
                raise ModelFolderError(f"{file}: no such file, but {INDEX} names it; download it again")
            try:
                handle = stack.enter_context(safetensors.safe_open(file, framework="numpy"))
            except (safetensors.SafetensorError, OSError) as error:
                raise ModelFolderError(f"{file}: truncated or damaged ({error}); download it again") from error
            for name in handle.keys():
                if name in tensors:
                    twice = f"tensor {name!r} is also in {tensors[name].file.name}"
                    raise ModelFolderError(f"{file}: {twice}; download the folder again")
                tensors[name] = StoredTensor(file, handle, name)
        yield tensors


def _shards(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        index = as_part(WeightIndex, read_json(folder / INDEX), str(folder / INDEX))
        files = sorted(set(index.weight_map.values()))
        if not files or not all(name == Path(name).name and "\0" not in name for name in files):
            raise ModelFolderError(f"{folder / INDEX}: weight_map must map tensors to files of this folder")
        return [folder / name for name in files]
    pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
    advice = "pickled weights are never read: save them as safetensors" if pickled else "download the folder again"
    raise ModelFolderError(f"{folder}: neither {WEIGHTS} nor {INDEX}; {advice}")


def json_object(file: Path) -> dict[str, Any]:
    """An object in a JSON file. Raises InputError."""
    value = read_json(file)
    if not isinstance(value, dict):
        raise InputError(f"{file}: expected an object, got {type(value).__name__}")
    return value


def their_tensors(network: HuggingFaceNetwork, params: Params, dtype: str) -> dict[str, np.ndarray]:
    """Parameters under their names, in `dtype`. ValueError for parameters of another network or not finite."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float32), params)
    tensor_file.check_params(shapes, _shapes(network))
    tensors = {}
    for name, leaf in flatten(params).items():
        names = their_names(name, network)
        array = np.asarray(leaf).astype(jnp.dtype(dtype))
        if not np.isfinite(array).all():
            raise ValueError(f"tensor {names[0]!r}: not finite in {dtype}; take an earlier checkpoint or another dtype")
        for theirs, part in zip(names, array if _is_stacked(name) else array[None], strict=True):
            tensors[theirs] = np.ascontiguousarray(part.T if name.endswith("kernel") else part)
    return tensors


def write_shards(folder: Path, tensors: Mapping[str, np.ndarray], shard_bytes: int) -> None:
    """One file, or several of at most `shard_bytes` (a larger tensor has one for itself) with their index."""
    shards: list[dict[str, np.ndarray]] = [{}]
    for name, tensor in tensors.items():
        if shards[-1] and sum(t.nbytes for t in shards[-1].values()) + tensor.nbytes > shard_bytes:
            shards.append({})
        shards[-1][name] = tensor
    if len(shards) == 1:
        tensor_file.save_arrays(folder / WEIGHTS, shards[0], _METADATA)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensor_file.save_arrays(folder / file, shard, _METADATA)
        places |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _is_stacked(ours: str) -> bool:
    return ours.removeprefix("trunk.").startswith("blocks.")
