"""Who a sender is: one spool on one machine, known by a digest that is the same after every restart.

Agent and client share it: where two senders used one name, `layout.own_name` is made of it. It reads the one file that names
the machine.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def source_of(spool: Path) -> str:
    """Return who the sender of `spool` is, by the machine and by the spool's path as it is given here."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = ""
    identity = "\0".join((machine, os.uname().nodename, os.fspath(spool)))
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
