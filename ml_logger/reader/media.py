"""Media: the whole files of a run that have a key and a step, and how to load them.

``<kind>/<key>/<step>.<suffix>``; figures may lie in their folder without a key, which is then empty.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import NotHeld, UsageError
from ..files import Entry, Files
from ..layout import escape_key, is_hidden, unescape_key
from .parts import joined

if TYPE_CHECKING:
    from PIL import Image

KINDS = ("images", "videos", "figures", "tensors", "modules")
"""The folders of a run that hold them, unless a call named another."""

_STEP = re.compile(r"-?[0-9]{1,17}\Z")  # without a step a file is named by its time, with 19 digits
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".apng", ".bmp")
_MOST_DEPTH = 16


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One file: its `kind` (the folder), `key`, `step` (None where it has no number), `name` without suffix.

    `path` is from the top of the files, `size` in bytes, `mtime_ns` when it was written.
    """

    kind: str
    key: str
    step: int | None
    name: str
    path: str
    size: int
    mtime_ns: int
    files: Files = field(repr=False, compare=False)

    def read(self) -> bytes:
        """Return its bytes; raises `NotHeld`."""
        with closing(self.files.open(self.path)) as file:
            return file.read(0, file.size)

    def load(self) -> Any:
        """Return what was logged as an array: H×W or H×W×C, of an animation T×H×W×C, a tensor as it was, a module's by names.

        Raises `NotHeld`, `UsageError` for a file of another kind (SVG, PDF), and `ValueError` for one that is damaged.
        """
        suffix = self.path[self.path.rfind(".") :].lower()
        if suffix in _PICTURES:
            return _pixels(self.read())
        if suffix in (".npy", ".npz"):
            return _arrays(self.read())
        raise UsageError(f"{self.path!r} is no picture and no array", hint="its bytes are .read()")


def _arrays(data: bytes) -> Any:
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return {name: found[name] for name in found.files}
    except (EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"it is no whole array: {error}") from None


def _pixels(data: bytes) -> np.ndarray[Any, Any]:
    from PIL import Image, ImageSequence  # lazily: most who read look at numbers

    try:
        with Image.open(io.BytesIO(data)) as picture:
            frames = [np.asarray(_plain(frame)) for frame in ImageSequence.Iterator(picture)]
    except (OSError, SyntaxError) as error:  # Pillow raises these for what is damaged
        raise ValueError(f"it is no whole picture: {error}") from None
    return frames[0] if len(frames) == 1 else np.stack(frames)


def _plain(frame: Image.Image) -> Image.Image:
    return frame.convert("RGB") if frame.mode == "P" else frame  # numbers of a palette are no colours


def media_of(files: Files, folder: str, kind: str, key: str | None = None) -> list[MediaFile]:
    """Return the files of a kind in the run at `folder`, of one `key` or all, sorted by key, then step, then name."""
    top = joined(folder, kind)
    where = joined(top, escape_key(key)) if key else top
    found = [_media_file(files, kind, top, folder, entry) for folder, entry in _walk(files, where, _MOST_DEPTH)]
    wanted = [file for file in found if key is None or file.key == key]
    return sorted(wanted, key=lambda file: (file.key, file.step is None, file.step or 0, file.name))


def _walk(files: Files, folder: str, depth: int) -> Iterator[tuple[str, Entry]]:
    try:
        entries = files.list(folder)
    except NotHeld:
        return
    for entry in entries:
        if is_hidden(entry.name):
            continue
        if entry.kind == "file":
            yield folder, entry
        elif depth:
            yield from _walk(files, joined(folder, entry.name), depth - 1)


def _media_file(files: Files, kind: str, top: str, folder: str, entry: Entry) -> MediaFile:
    name = entry.name.rpartition(".")[0] or entry.name
    inside = folder[len(top) + 1 :]
    step = int(name) if _STEP.match(name) else None
    path = joined(folder, entry.name)
    return MediaFile(kind, _key_of(inside), step, name, path, entry.size, entry.mtime_ns, files)


def _key_of(inside: str) -> str:
    try:
        return unescape_key(inside)
    except UnicodeDecodeError:  # a folder of somebody else's
        return inside
