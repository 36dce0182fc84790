"""``python -m ml_logger.server``."""

import sys

from .cli import main

sys.exit(main())
