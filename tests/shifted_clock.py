"""A wall clock of one process that can be set while it runs; the machine's clock stays as it is.

The clock that never jumps is not touched, as the kernel's isn't.
"""

from __future__ import annotations

import time
from pathlib import Path


def shift_clock(offset_file: Path) -> None:
    """Add to the time of day, from now on, the seconds that `offset_file` holds then.

    Call it before what reads the clock is imported, since modules may take hold of it at import. `set_clock` changes
    the file.
    """
    real_ns = time.time_ns

    def time_ns() -> int:
        return real_ns() + int(float(offset_file.read_text(encoding="ascii")) * 1e9)

    time.time_ns, time.time = time_ns, lambda: time_ns() / 1e9


def set_clock(offset_file: Path, offset_s: float) -> None:
    """Set the clock in one step; it is looked at all the time."""
    aside = offset_file.with_name(f"{offset_file.name}.new")
    aside.write_text(str(offset_s), encoding="ascii")
    aside.rename(offset_file)
