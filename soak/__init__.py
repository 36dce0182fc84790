"""The soak: twenty trainers, four agents and a receiver as real processes on loopback, and a fault every few seconds.

``python -m soak MINUTES``. The processes, the misbehaving proxy and the small disks are those of the tests.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

sys.path.append(str(ROOT / "tests"))
