"""Freed memory is kept: asking for it again touches no new page."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from nlg_distill.allocator import keep_freed_memory
{setup}
for _ in range(20):
    torch.ones(16 << 20)  # 64 MB, 16,384 pages
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(setup):
    command = [sys.executable, "-c", PROGRAM.format(setup=setup)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator of its own")
def test_freed_memory_is_used_again():
    assert page_faults("") > 100_000
    assert page_faults("keep_freed_memory()") < 1_000
