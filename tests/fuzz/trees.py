"""Damage to a folder: to the bytes of a file, to its JSON, to the header of its tensors, or to the folder itself."""

import json
import struct
from pathlib import Path
from random import Random

from tests.fuzz import mutate

LARGE = 1 << 16
"""JSON of a tokenizer is damaged as bytes and text, which is quick; as a value it would be read whole."""


def files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def flip_bit(rng: Random, folder: Path, unread: tuple[str, ...] = ()) -> str:
    """Flip one bit, uniform over the bytes of a folder, and return a description."""
    files = [file for file in files_of(folder) if file.name not in unread]
    file = rng.choices(files, [max(each.stat().st_size, 1) for each in files])[0]
    file.write_bytes(mutate.flip(rng, file.read_bytes()))
    return f"a bit of {file.name}"


def damage_folder(rng: Random, folder: Path) -> str:
    """Damage a folder in some way, and return a description."""
    file = rng.choice(files_of(folder))
    kind = rng.random()
    if kind < 0.08:
        return _damage_structure(rng, folder, file)
    data = file.read_bytes()
    if file.suffix == ".safetensors" and kind < 0.6:
        file.write_bytes(damage_header(rng, data))
        return f"the header of {file.name}"
    if file.suffix == ".json":
        large = len(data) > LARGE and rng.random() < 0.9
        file.write_bytes(_damage_large(rng, data) if large else mutate.json_file(rng, data))
        return f"the JSON of {file.name}"
    file.write_bytes(mutate.bytes_(rng, data))
    return f"bytes of {file.name}"


def damage_header(rng: Random, data: bytes) -> bytes:
    """A safetensors file with another header before the same tensors."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    if rng.random() < 0.5:
        name = rng.choice([name for name in header if name != "__metadata__"])
        entry = header[name]
        match rng.randrange(4):
            case 0:
                dtypes = ("F8_E4M3", "F8_E5M2", "BF16", "F16", "F64", "I8", "BOOL", "U64", "F4", "X", "", "I64")
                entry["dtype"] = rng.choice(dtypes)
            case 1:
                entry["shape"] = rng.choice((entry["shape"][::-1], [], [0], [-1], [2**63], [*entry["shape"], 1]))
            case 2:
                entry["data_offsets"] = [rng.choice((0, -1, 8, 2**40)), rng.choice((4, 2**64, *entry["data_offsets"]))]
            case 3:
                header[rng.choice(("x", "", "a..b", "trunk.0.x", name + ".y"))] = header.pop(name)
    else:
        header = mutate.json_value(rng, header)
    text = mutate.dumps(header).encode()
    text = mutate.json_text(rng, text.decode()).encode("utf-8", "surrogatepass") if rng.random() < 0.1 else text
    length = len(text) if rng.random() < 0.95 else rng.choice((0, 2**63, 2**40, len(text) - 1, 10**8 + 1))
    return struct.pack("<Q", length) + text + data[8 + size :]


def _damage_large(rng: Random, data: bytes) -> bytes:
    if rng.random() < 0.5:
        return mutate.bytes_(rng, data)
    return mutate.json_text(rng, data.decode()).encode("utf-8", "surrogatepass")


def _damage_structure(rng: Random, folder: Path, file: Path) -> str:
    match rng.randrange(5):
        case 0:
            file.unlink()
            return f"{file.name} removed"
        case 1:
            file.unlink()
            file.mkdir()
            return f"{file.name} a folder"
        case 2:
            file.unlink()
            file.symlink_to(file)
            return f"{file.name} a loop of links"
        case 3:
            other = rng.choice(files_of(folder))
            file.write_bytes(other.read_bytes())
            return f"{file.name} a copy of {other.name}"
        case _:
            file.write_bytes(b"")
            return f"{file.name} empty"
