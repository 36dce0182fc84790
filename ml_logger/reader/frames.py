"""Frames: columns as data frames of pandas or polars, for whoever has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from .block import Floats


def to_pandas(columns: Mapping[str, Floats]) -> Any:
    """Return `columns` as a data frame of pandas; raises `UsageError` where there is no pandas."""
    try:
        import pandas  # type: ignore[import-untyped]  # lazily: an optional extra
    except ImportError:
        raise _missing("pandas") from None
    return pandas.DataFrame(dict(columns))


def to_polars(columns: Mapping[str, Floats]) -> Any:
    """Return `columns` as a data frame of polars; raises `UsageError` where there is no polars."""
    try:
        import polars  # lazily: an optional extra
    except ImportError:
        raise _missing("polars") from None
    return polars.DataFrame(dict(columns))


def _missing(name: str) -> UsageError:
    return UsageError(f"{name} is not installed", hint=f"pip install 'ml-logger[{name}]'")
