"""Limits on the time and memory that one input may take. Every limit is an environment variable with a default.

    TRACEWARD_TEMPLATE_SECONDS      processor seconds to render one conversation by a chat template
    TRACEWARD_TEMPLATE_MEGABYTES    memory of the process that renders chat templates
    TRACEWARD_TEMPLATE_CHARACTERS   length of a rendered conversation
    TRACEWARD_ROW_MEGABYTES         size of one row of a file: a line, an entry of a JSON array, a row of Parquet
    TRACEWARD_BLANK_MEGABYTES       white space between rows, beyond as many bytes as the rows have

Messages name the variable: `TRACEWARD_ROW_MEGABYTES=256 traceward score ...` raises a limit for one command.
"""

import os

from irl.types import InputError

MEGABYTE = 1 << 20
MAX_TOKENS = 16_384
"""Default limit on the tokens that a model reads for one answer: memory grows linearly with them, time with their
square."""
DEFAULTS = {
    "TRACEWARD_TEMPLATE_SECONDS": 5,
    "TRACEWARD_TEMPLATE_MEGABYTES": 512,
    "TRACEWARD_TEMPLATE_CHARACTERS": 4_000_000,
    "TRACEWARD_ROW_MEGABYTES": 64,
    "TRACEWARD_BLANK_MEGABYTES": 1,
}


def limit(name: str) -> int:
    """The value of a limit. Raises InputError for a variable that is no positive integer of at most nine digits."""
    given = os.environ.get(name)
    if given is None:
        return DEFAULTS[name]
    if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given) > 0):
        raise InputError(f"{name}={given[:20]}: expected a positive integer of at most nine digits")
    return int(given)
