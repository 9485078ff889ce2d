"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from experiments.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    b"x" * 80_000_000
before = faults()
for _ in range(5):
    b"x" * 80_000_000
print(faults() - before)
"""


def faults(how):
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_pages_are_not_fetched_again():
    """Five times 80 MB: as it is the kernel hands out every page anew, 20,000 of 4 KiB a time."""
    assert faults("keep") < 1000 < 50_000 < faults("as it is")
