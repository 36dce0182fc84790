"""``python -m ml_logger.agent`` is ``ml-logger-agent``."""

import sys

from .cli import main

sys.exit(main())
