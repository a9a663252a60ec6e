"""Freed blocks stay: the kernel clears them once, and not again in every step."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from kintune.base.processor import keep_large_blocks
if sys.argv[1] == "kept":
    keep_large_blocks()
import numpy as np
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(8 << 20)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(memory: str) -> int:
    """Pages that the kernel gave while 64 MiB were filled and freed twenty times."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, memory], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone can be told")
def test_freed_blocks_are_used_again():
    assert faults("kept") < faults("returned") / 10
