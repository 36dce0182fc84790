"""Tensors: what an array of a run is, without its numbers: shape, type, statistics, a small heat map of one with two axes."""

from __future__ import annotations

import io
import math
import zipfile
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import Files, OpenFile
from .answers import Refused, Reply, json_reply
from .words import word_of

MOST_BYTES = 256 << 20
"""A larger array, or file of arrays, is not read: it is downloaded."""

MOST_CELLS = 256
"""A heat map has at most so many rows and columns; in each cell is the mean of what falls into it."""

Array = NDArray[Any]


def tensor(files: Files, path: str, name: str | None) -> Reply:
    """Describe the array in a file, of one with several the one that is called `name`, or the first."""
    with closing(files.open(path)) as file:
        if file.size > MOST_BYTES:
            raise Refused(413, f"the file has {file.size >> 20} MiB; download it")
        try:
            return json_reply(_of_archive(file, name) if path.endswith(".npz") else described(_array_in(_whole(file))))
        except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, MemoryError) as error:
            raise Refused(400, f"the file is no array of numpy: {str(error)[:200]}") from None


def _whole(file: OpenFile) -> io.BytesIO:
    return io.BytesIO(file.read(0, file.size))


def _of_archive(file: OpenFile, name: str | None) -> dict[str, Any]:
    with zipfile.ZipFile(_whole(file)) as archive:
        sizes = {one.filename.removesuffix(".npy"): one.file_size for one in archive.infolist()}
        if not sizes:
            raise ValueError("it holds none")
        chosen = next(iter(sizes)) if name is None else name
        if chosen not in sizes:
            raise Refused(404, f"the file has no array {chosen[:100]!a}")
        if sizes[chosen] > MOST_BYTES:
            raise Refused(413, f"the array has {sizes[chosen] >> 20} MiB; download the file")
        with archive.open(f"{chosen}.npy") as member:
            found = described(_array_in(io.BytesIO(member.read(MOST_BYTES + 1))))
    return {"names": list(sizes), "name": chosen, **found}


def _array_in(file: io.BytesIO) -> Array:
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def described(array: Array) -> dict[str, Any]:
    """Return what is told of an array; only of real numbers there are statistics."""
    if array.dtype.kind not in "biuf" or not array.size:
        return {"dtype": str(array.dtype), "shape": array.shape, "stats": None, "heat": None}
    floats = array.astype(np.float64)
    return {"dtype": str(array.dtype), "shape": array.shape, "stats": _statistics(floats), "heat": _maybe_heat(floats)}


def _statistics(floats: Array) -> dict[str, Any]:
    finite = floats[np.isfinite(floats)]
    with np.errstate(over="ignore", invalid="ignore"):
        found = [finite.min(), finite.max(), finite.mean(), finite.std()] if finite.size else [math.nan] * 4
    return {
        **{name: word_of(float(value)) for name, value in zip(("min", "max", "mean", "std"), found, strict=True)},
        "nan": int(np.isnan(floats).sum()),
        "inf": int(np.isinf(floats).sum()),
    }


def _maybe_heat(floats: Array) -> dict[str, Any] | None:
    if floats.ndim != 2:
        return None
    small = _shrunk(_shrunk(floats).T).T
    return {
        "rows": small.shape[0],
        "columns": small.shape[1],
        "values": [[*map(word_of, row)] for row in small.tolist()],
    }


def _shrunk(floats: Array) -> Array:
    """Return at most `MOST_CELLS` rows, each the mean of those that it stands for."""
    rows = len(floats)
    if rows <= MOST_CELLS:
        return floats
    starts = np.arange(MOST_CELLS) * rows // MOST_CELLS
    with np.errstate(over="ignore", invalid="ignore"):
        means: Array = np.add.reduceat(floats, starts) / np.diff(np.append(starts, rows))[:, None]
    return means
