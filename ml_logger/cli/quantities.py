"""Quantities: numbers on the command line, and one line that says which are taken."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads a whole number of at least `least` and at most `most`, for argparse."""
    return _reader(int, f"a whole number {_range(least, most)}", least, most)


def number_within(least: float, most: float) -> Callable[[str], float]:
    """Return what reads a number from `least` to `most`, for argparse."""
    return _reader(float, f"a number {_range(least, most)}", least, most)


def _reader(kind: Callable[[str], _Number], what: str, least: float, most: float | None) -> Callable[[str], _Number]:
    def read(text: str) -> _Number:
        try:
            found = kind(text)
        except ValueError:
            found = None
        if found is None or not (found >= least and (most is None or found <= most)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return found

    return read


def _range(least: float, most: float | None) -> str:
    return f"of at least {least}" if most is None else f"from {least} to {most}"
