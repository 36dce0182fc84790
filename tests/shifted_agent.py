"""The agent with a wall clock that can be set while it runs.

python shifted_agent.py OFFSET_FILE [arguments of ml-logger-agent]

`OFFSET_FILE` holds the seconds to add to the time of day.
"""

from __future__ import annotations

import sys
from pathlib import Path

from shifted_clock import shift_clock

if __name__ == "__main__":
    shift_clock(Path(sys.argv[1]))
    from ml_logger.agent.cli import main  # after the clock is in place

    sys.exit(main(sys.argv[2:]))
