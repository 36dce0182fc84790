"""The agent with a wall clock that can be set while it runs; the machine's clock stays as it is.

python shifted_agent.py OFFSET_FILE [arguments of ml-logger-agent]

`OFFSET_FILE` holds the seconds to add to the time of day. The clock that never jumps is not touched, as the kernel's isn't.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_OFFSET_FILE = Path(sys.argv[1])
_real_ns = time.time_ns


def _time_ns() -> int:
    return _real_ns() + int(float(_OFFSET_FILE.read_text(encoding="ascii")) * 1e9)


def _time_s() -> float:
    return _time_ns() / 1e9


if __name__ == "__main__":
    time.time_ns, time.time = _time_ns, _time_s
    from ml_logger.agent.cli import main  # after the clock is in place, since modules may take hold of it at import

    sys.exit(main(sys.argv[2:]))
