"""ML_Logger: logs machine-learning experiments to local files, which an agent ships to one storage host.

::

    from ml_logger import ML_Logger

    with ML_Logger("runs/one") as logger:
        logger.log_params(G={"learning_rate": 1e-3})
        logger.log(0, loss=0.5)
"""

from .color import (
    Color,
    blue,
    brown,
    cyan,
    default,
    gray,
    green,
    grey,
    magenta,
    ms,
    percent,
    red,
    sec,
    white,
    yellow,
)
from .errors import LogDirectoryError, MLLoggerError
from .logger import ML_Logger, logger
from .window import Stream

__all__ = [
    "Color",
    "LogDirectoryError",
    "MLLoggerError",
    "ML_Logger",
    "Stream",
    "blue",
    "brown",
    "cyan",
    "default",
    "gray",
    "green",
    "grey",
    "logger",
    "magenta",
    "ms",
    "percent",
    "red",
    "sec",
    "white",
    "yellow",
]
