"""What the receiver does with the memory of request bodies."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import os, resource, threading
from ml_logger import wire
from ml_logger.server.memory import keep_freed_memory

assert keep_freed_memory()
packed = wire.compress_parts([os.urandom(1 << 20) * 4])

def expand(times):
    for _ in range(times):
        wire.expand(packed, max_expanded_bytes=64 << 20)

def in_a_thread(times):
    thread = threading.Thread(target=expand, args=(times,))
    thread.start()
    thread.join()

in_a_thread(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
in_a_thread(20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_the_memory_of_a_body_serves_the_next_one() -> None:
    """20 bodies of 4 MiB, which have 20,480 pages, are expanded into memory that earlier ones let go of."""
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 2_000
