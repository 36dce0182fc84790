"""What tells one version of a file from all others: its entity tag."""

from __future__ import annotations

import os


def version_of(found: os.stat_result) -> str:
    """Return the tag of a file in this state; it changes with the bytes, and with what replaces them."""
    return f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}"
