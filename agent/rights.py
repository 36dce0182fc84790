"""What this process may do with a path.

Asked for the effective user: for the real one, which is what `os.access` asks for by default, Linux leaves out the
capabilities (`access(2)`), and an agent that has CAP_DAC_READ_SEARCH would be told that it can't read what it can.
"""

from __future__ import annotations

import os
from pathlib import Path

_HAS_EFFECTIVE = os.access in os.supports_effective_ids


def may(path: str | Path, mode: int) -> bool:
    """Return whether this process has the rights `mode` (`os.R_OK`, `os.W_OK`, `os.X_OK`) on `path`."""
    return os.access(path, mode, effective_ids=_HAS_EFFECTIVE)
