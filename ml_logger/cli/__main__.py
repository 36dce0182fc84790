"""``python -m ml_logger.cli`` is the same command."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
