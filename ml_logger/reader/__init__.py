"""Reading back: what a run holds, on the training machine, in the receiver's tree or from afar.

::

    from ml_logger.reader import Run, find_runs

    run = Run("runs/one")
    run.series("loss").values, run.params, run.state
"""

from .buckets import Buckets, bucketed, bucketed_pieces, grid
from .columns import Columns, KeySummary
from .find import find_runs
from .histograms import Histogram
from .media import MediaFile
from .news import News, news_since
from .records import Record, as_numbers, read_records
from .run import Run
from .series import Points, Series

__all__ = [
    "Buckets",
    "Columns",
    "Histogram",
    "KeySummary",
    "MediaFile",
    "News",
    "Points",
    "Record",
    "Run",
    "Series",
    "as_numbers",
    "bucketed",
    "bucketed_pieces",
    "find_runs",
    "grid",
    "news_since",
    "read_records",
]
