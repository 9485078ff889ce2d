"""Ranges that the fields of records share: `members: Few = 1`.

Lower bounds are those of meaning. Upper bounds are far above any sensible value; they refuse a slip of the keyboard
that would ask for more memory or time than there is, or overflow single precision.
"""

from collections.abc import Hashable
from typing import Annotated, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

Item = TypeVar("Item", bound=Hashable)

Count = Annotated[int, Ge(1), Le(10**9)]
"""Repetitions that take time but no memory of their own: steps, updates, epochs."""
CountOrZero = Annotated[int, Ge(0), Le(10**9)]
Rows = Annotated[int, Ge(1), Le(10**7)]
"""Items that are in memory together: traces, samples, transitions."""
RowsOrZero = Annotated[int, Ge(0), Le(10**7)]
Size = Annotated[int, Ge(1), Le(2**16)]
"""A dimension of arrays: batch rows, units of a layer, environments, tokens of a step."""
Few = Annotated[int, Ge(1), Le(1000)]
"""Items each of which costs a training, a thread or a compiled copy: members, seeds, workers."""
FewOrZero = Annotated[int, Ge(0), Le(1000)]
Tokens = Annotated[int, Ge(2), Le(2**20)]
"""Length of a row of tokens; the shortest trace has a first and a last one."""
Seed = Annotated[int, Ge(0), Lt(2**31)]
"""Of NumPy and JAX alike."""

Share = Annotated[float, Ge(0), Le(1)]
"""A share, a probability or a discount."""
PositiveShare = Annotated[float, Gt(0), Le(1)]
ShareBelowOne = Annotated[float, Ge(0), Lt(1)]
OpenShare = Annotated[float, Gt(0), Lt(1)]
Rate = Annotated[float, Gt(0), Le(100)]
"""Learning rate."""
Weight = Annotated[float, Ge(0), Le(1e6)]
"""Weight of a term, or a standard deviation; 0 switches it off."""
Positive = Annotated[float, Gt(0), Le(1e9)]
"""A tolerance, or a limit on a norm."""
Scale = Annotated[float, Ge(1e-6), Le(1e6)]
"""A divisor: a temperature, a bandwidth. Values that single precision rounds to 0 are out of range."""
Temperature = Annotated[float, Ge(0), Le(1e6)]
"""Of sampled tokens; 0: the most likely token."""
Real = Annotated[float, Ge(-1e6), Le(1e6)]
"""A number of either sign."""


def distinct(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """The items. Raises PydanticCustomError if one of them occurs twice."""
    if len(set(items)) < len(items):
        raise PydanticCustomError("distinct", "expected distinct values")
    return items


Distinct = AfterValidator(distinct)
Seeds = Annotated[tuple[Seed, ...], MinLen(1), MaxLen(1000), Distinct]
Widths = Annotated[tuple[Size, ...], MaxLen(100)]
"""Units of the hidden layers; empty: no hidden layer."""
Files = Annotated[tuple[Annotated[str, MinLen(1)], ...], MinLen(1), Distinct]
Name = Annotated[str, MinLen(1)]
"""A path or an identifier."""
