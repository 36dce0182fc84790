"""Far: whether a file lies on another machine's disk.

A mapped file that is deleted there ends the process that touches it; on a local disk its bytes stay until the last mapping
goes.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

_KINDS = ("nfs", "cifs", "smb", "fuse", "lustre", "ceph", "gpfs", "beegfs", "9p", "afs", "pvfs", "glusterfs")


def is_far(path: Path) -> bool:
    """Return whether `path` is on a network file system, as far as this machine tells; raises `OSError`."""
    return _is_far_device(path.stat().st_dev)


@functools.lru_cache(maxsize=64)
def _is_far_device(device: int) -> bool:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = [line.partition(" - ")[2].split(" ")[0] for line in mounts if line.split(" ")[2] == number]
    return any(kind.startswith(_KINDS) for kind in kinds)
