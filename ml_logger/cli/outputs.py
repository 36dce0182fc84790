"""Outputs: standard output and standard error, whatever they are: closed, full, or of an encoding that lacks characters."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PLAIN = str.maketrans("═─│╒╤╕├┼┤╘╧╛┬└…–×↑↓", "=-|+++++++++++~-x^v")
"""What frames and charts are drawn with, in ASCII and as wide."""


def prepare() -> None:
    """Have something to write to in any case, and no character that stops what is written.

    One who closed standard output (``>&-``) gets an `OSError` from the first write, as from a file that can't be written.
    """
    if sys.stdout is None:
        nothing = io.FileIO(os.open(os.devnull, os.O_RDONLY), "w")
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(nothing), encoding="utf-8")
    if sys.stderr is None:  # else an error would be printed to standard output
        sys.stderr = io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w"), encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors=_NAME)


def finish() -> None:
    """Write what is to be written yet, or throw it away, so that the interpreter's end doesn't fail over it."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # what stands for it is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def naming(path: Path, *, always: bool = False) -> Iterator[None]:
    """Have an `OSError` of the block that names no file say that it is of `path`, or any, `always`."""
    try:
        yield
    except OSError as error:
        if always or error.filename is None:
            error.filename = str(path)
        raise


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Say what an encoding lacks in ASCII: a line as a line, any other character as its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end


_NAME = "ml_logger.in_ascii"
codecs.register_error(_NAME, _in_ascii)
