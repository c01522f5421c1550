"""Freed memory is kept: asking for it again touches no new page."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import resource, torch
from nlg_distill.allocator import keep_freed_memory
{setup}
def use():
    return [torch.ones({size} << 18) for _ in range({count})]
for _ in range(20):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
resident = int(open("/proc/self/statm").read().split()[1])
print(faults, resident)
"""


def measure(setup, *, size, count):
    """Page faults of ten uses of so many blocks of MiB, and the pages that are kept after them."""
    program = PROGRAM.format(setup=setup, size=size, count=count)
    command = [sys.executable, "-c", program]
    returned = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576"}  # where nothing else is said
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=returned)
    return map(int, done.stdout.split())


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator of its own")
def test_freed_memory_is_used_again():
    faults, before = measure("", size=16, count=8)
    fewer, kept = measure("keep_freed_memory()", size=16, count=8)
    assert faults > 100_000
    assert fewer < 1_000
    assert kept > before + 25_000  # of the 32,768 pages


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator of its own")
def test_what_the_largest_blocks_took_is_given_back():
    _, before = measure("", size=64, count=2)
    _, kept = measure("keep_freed_memory()", size=64, count=2)
    assert kept < before + 5_000
