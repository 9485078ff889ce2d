"""Mathematical answers by value, by math-verify (optional, extra `math`): x + 1 and 1 + x are one answer.

math-verify reads LaTeX and plain expressions into SymPy and compares them exactly or numerically. Both steps have a
time limit of some seconds, since an answer of a few characters can be arbitrarily expensive (9^9^9^9).
"""

from functools import lru_cache
from types import ModuleType

from irl.types import InputError


def math_verify() -> ModuleType:
    """The library; InputError that names the extra where it is not installed."""
    try:
        import math_verify as library
    except ImportError:
        raise InputError(
            "equivalence: 'math' needs math-verify; install it with pip install 'traceward[math]', or take 'form'"
        ) from None
    return library


@lru_cache(maxsize=2**16)
def math_form(answer: str) -> str:
    """An answer as SymPy writes it; the answer itself where it is no expression."""
    expressions = math_verify().parse(f"${answer}$")
    return str(expressions[0]) if expressions else answer


@lru_cache(maxsize=2**16)
def same_value(answer: str, other: str) -> bool:
    """Whether two answers have one value."""
    library = math_verify()
    return bool(library.verify(library.parse(f"${other}$"), library.parse(f"${answer}$")))
