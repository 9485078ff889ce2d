"""Mutations of bytes, JSON values and JSON text. All are functions of a `random.Random` and of what they damage."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

HUGE = 10**400
NUMBERS: Sequence[Any] = (0, -1, 1, 2, 0.5, -0.5, 2**31, 2**63, -(2**63) - 1, 10**30, HUGE, 1e308, -1e308, 5e-324, 1e-9)
STRINGS: Sequence[str] = (
    "",
    " ",
    "\n",
    "\x00",
    "\ud800",
    "\u2028",
    "\ufeffx",
    "é" * 7,
    "0",
    "-1",
    "1e999",
    "None",
    "null",
    "true",
    "nan",
    "../../etc",
    "/dev/null",
    "%s%n",
    "{{ x }}",
    "{x}",
    "[/bold]",
    "a" * 3000,
    "9" * 5000,
    "####",
    "\n\nHuman: a\n\nAssistant: b",
    "١٢",
)
OTHERS: Sequence[Any] = (
    None,
    True,
    False,
    [],
    {},
    [None],
    [[]],
    {"": None},
    [1, "a"],
    {"a": 1},
    [{}],
    math.nan,
    math.inf,
)
HOSTILE: Sequence[Any] = (*NUMBERS, *STRINGS, *OTHERS)
TEXTS = (
    "NaN",
    "-Infinity",
    "1e999",
    "-1e999",
    "9" * 5000,
    "-" + "9" * 400,
    "[" * 200_000,
    "[" * 600 + "]" * 600,
    '{"a":' * 5000,
    '"\\ud800"',
    '"\\u0000"',
    "1.",
    "01",
    "tru",
    "'a'",
    ",",
    "}",
    "]",
    "//",
    "\ufeff",
    "\x00",
    "\r\n",
    "\n",
)


def value(rng: Random) -> Any:
    """A hostile JSON value."""
    return copy.deepcopy(rng.choice(HOSTILE))


def bytes_(rng: Random, data: bytes) -> bytes:
    """A flipped bit, a cut, an insertion, a repetition or a splice, once or a few times."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = rng.choice(_BYTES)(rng, data)
    return data


def flip(rng: Random, data: bytes) -> bytes:
    """One flipped bit."""
    if not data:
        return b"\x01"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def truncate(rng: Random, data: bytes) -> bytes:
    """The first bytes; often all but a few."""
    return data[: rng.choice((0, 1, len(data) // 2, max(len(data) - 1, 0), rng.randrange(len(data) + 1)))]


def _insert(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    piece = rng.choice((rng.randbytes(rng.randrange(1, 9)), b"\x00", b"\xff\xfe", b"\n", b"\x80", b"\n" * 5000))
    return data[:at] + piece + data[at:]


def _remove(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randrange(1, 9) :]


def _overwrite(rng: Random, data: bytes) -> bytes:
    at, piece = rng.randrange(len(data) + 1), rng.choice((rng.randbytes(4), b"\xff" * 8, b"\x00" * 8))
    return data[:at] + piece + data[at + len(piece) :]


def _repeat(rng: Random, data: bytes) -> bytes:
    return data * 2


def _zeros(rng: Random, data: bytes) -> bytes:
    return data + b"\x00" * rng.choice((1, 512, 4096))


_BYTES: Sequence[Callable[[Random, bytes], bytes]] = (
    flip,
    flip,
    truncate,
    _insert,
    _remove,
    _overwrite,
    _repeat,
    _zeros,
)


def json_value(rng: Random, tree: Any, names: Sequence[str] = ()) -> Any:
    """A copy with one to three nodes replaced, removed, renamed, wrapped, unwrapped, repeated or swapped."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tree = _one_change(rng, tree, names)
    return tree


def _one_change(rng: Random, tree: Any, names: Sequence[str]) -> Any:
    places = list(_places(tree))
    if not places or rng.random() < 0.03:
        return value(rng)
    parent, key = rng.choice(places)
    match rng.randrange(10):
        case 0 | 1 | 2:
            parent[key] = value(rng)
        case 3:
            parent[key] = _near(rng, parent[key])
        case 4:
            del parent[key]
        case 5:
            parent[key] = rng.choice(([parent[key]], {"a": parent[key]}, str(parent[key])[:5000]))
        case 6:
            parent[key] = _smaller(rng, parent[key])
        case 7:
            other, where = rng.choice(places)
            parent[key] = copy.deepcopy(other[where])
        case 8 if isinstance(parent, dict):
            parent[rng.choice([*names, "x", "", key + "s", key.upper(), "__class__"])] = parent.pop(key)
        case _:
            _more(rng, parent, key, names)
    return tree


def _places(tree: Any) -> Any:
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def _near(rng: Random, old: Any) -> Any:
    """Another value of the same type."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return old + rng.choice((-1, 1, -old, -2 * old, 10 * old, 10**6, HUGE))
    if isinstance(old, float):
        return old * rng.choice((-1.0, 0.0, 1e300, 1e-300, math.nan, math.inf))
    if isinstance(old, str):
        at = rng.randrange(len(old) + 1)
        return rng.choice((old[:at], old[:at] + rng.choice(STRINGS) + old[at:], old * 2, old.upper(), old[::-1]))
    return rng.choice(OTHERS)


def _smaller(rng: Random, old: Any) -> Any:
    if isinstance(old, list):
        return rng.choice((old[:-1], old[1:], old + old, old[::-1], old * 50))
    if isinstance(old, dict):
        return dict(rng.sample(list(old.items()), rng.randrange(len(old) + 1)))
    return value(rng)


def _more(rng: Random, parent: Any, key: Any, names: Sequence[str]) -> None:
    if isinstance(parent, dict):
        parent[rng.choice([*names, "x", "", "__init__"])] = value(rng)
    else:
        parent.insert(key, value(rng))


def json_text(rng: Random, text: str) -> str:
    """Text that was JSON: a piece inserted, removed or put in the place of a value, a key twice, a hostile literal."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(6):
            case 0:
                text = text[:at] + rng.choice(TEXTS) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randrange(1, 5) :]
            case 2:
                text = text[:at]
            case 3:
                text = text[:at] + rng.choice('{}[]",:0-\\\n\t') + text[at + 1 :]
            case 4:
                text = _literal(rng, text)
            case 5:
                text = text.replace("{", rng.choice(('{"x":1,"x":2,', '{"id":1,"id":2,', "{{")), 1)
    return text


def _literal(rng: Random, text: str) -> str:
    """A literal in the place of what follows a colon."""
    colons = [at for at, sign in enumerate(text) if sign == ":"]
    if not colons:
        return text + rng.choice(TEXTS)
    at = rng.choice(colons)
    ends = [end for end in (text.find(sign, at) for sign in ",}]") if end > 0]
    return text[: at + 1] + rng.choice(TEXTS) + text[min(ends, default=len(text)) :]


def dumps(tree: Any) -> str:
    """JSON, NaN and lone surrogates included; hostile trees can hold numbers that are too long for `str`."""
    return json.dumps(tree, ensure_ascii=True)


def json_file(rng: Random, data: bytes, names: Sequence[str] = ()) -> bytes:
    """A JSON file damaged as a value (mostly), as text or as bytes."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return bytes_(rng, data)
    kind = rng.random()
    if kind < 0.7:
        return dumps(json_value(rng, tree, names)).encode()
    text = data.decode("utf-8", "surrogateescape")
    return json_text(rng, text).encode("utf-8", "surrogatepass") if kind < 0.9 else bytes_(rng, data)
