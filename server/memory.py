"""Memory for request bodies: what one request let go of is there for the next.

Left to itself, glibc gives the kernel back what a body of some MiB took, and gets it anew, page fault by page fault, for the
next one; each thread has memory of its own besides. Half of the CPU for compressed bodies went into that. How much there is
is bounded where requests are let in (`app`), not here.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h
_KEPT_BYTES = 64 << 20
_LARGEST_KEPT_BYTES = 32 << 20  # the most that glibc takes


def keep_freed_memory() -> bool:
    """Keep up to 64 MiB of freed memory for this process, in one place for all threads; False where the C library can't."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone
    if tune is None:
        return False
    wanted = {_TRIM_THRESHOLD: _KEPT_BYTES, _MMAP_THRESHOLD: _LARGEST_KEPT_BYTES, _ARENA_MAX: 1}
    return all(tune(parameter, value) for parameter, value in wanted.items())
