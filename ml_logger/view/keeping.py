"""What people keep beside the data: notes of a run, saved views of a folder, each in a small YAML file of its own.

Both are read from whatever is there: what a person wrote by hand, or the original ml_logger's, counts as far as it fits. Each
is read with its version and written in place of that version, so that two people don't overwrite each other.
"""

from __future__ import annotations

import os
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import NotHeld
from ..files import Files
from ..layout import temporary_name
from .answers import Refused
from .yaml_entries import loaded, with_entries

NOTES = ".notes.yml"
CHARTS = ".charts.yml"
MOST_BYTES = 256 << 10
_MOST_TAGS = 100
_MOST_TEXT = 20_000
_MOST_NAME = 200
_MOST_VIEWS = 500


class Shelf(ABC):
    """Where small files are put whole. Thread-safe; may block."""

    @abstractmethod
    def put(self, path: str, body: bytes, replaces: str | None) -> None:
        """Put a file in the place of the version `replaces` (empty: of nothing; None: of anything).

        Raises `Refused` (409) if something else is there.
        """


class LocalShelf(Shelf):
    """Files below a directory of this machine, put by a rename."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()

    def put(self, path: str, body: bytes, replaces: str | None) -> None:
        """See `Shelf.put`."""
        folder, _, name = path.rpartition("/")
        self._files.list(folder)  # that leads out of nowhere
        where = Path(self._files.place, folder)
        passing = where / temporary_name(name, secrets.token_hex(4))
        with self._lock:
            require_same(self._files, path, replaces)
            try:
                passing.write_bytes(body)
                passing.replace(where / name)
            except OSError as error:
                passing.unlink(missing_ok=True)
                raise Refused(403, f"{path[:200]!a} can't be written: {os.strerror(error.errno or 0)}") from None


class NoShelf(Shelf):
    """Takes nothing."""

    def put(self, path: str, body: bytes, replaces: str | None) -> None:  # noqa: ARG002
        """Refuse it."""
        raise Refused(403, "notes are put at the receiver's own page")


def require_same(files: Files, path: str, replaces: str | None) -> None:
    """Raise `Refused` (409) if another version than `replaces` is there."""
    if replaces is not None and _body_and_version(files, path)[1] != replaces:
        raise Refused(409, "somebody else changed it meanwhile; look at it again")


def _body_and_version(files: Files, path: str) -> tuple[bytes, str]:
    try:
        with closing(files.open(path)) as file:
            return file.read(0, min(file.size, MOST_BYTES)), file.version
    except NotHeld:
        return b"", ""


def notes_in(files: Files, run: str) -> dict[str, Any]:
    """Return the notes of a run, with their version."""
    return _read(files, _inside(run, NOTES), notes_of)


def charts_in(files: Files, folder: str) -> dict[str, Any]:
    """Return the saved views and the charts of a folder, with their version."""
    return _read(files, _inside(folder, CHARTS), charts_of)


def charts_above(files: Files, folders: Iterable[str]) -> list[Any]:
    """Return the charts for runs in `folders`: for each those of the nearest file with charts, in the folder or above it."""
    known: dict[str, list[Any]] = {}
    used: dict[str, list[Any]] = {}
    for folder in folders:
        for above in _with_parents(folder):
            if above not in known:
                known[above] = charts_in(files, above)["charts"]
            if known[above]:
                used[above] = known[above]
                break
    return [chart for charts in used.values() for chart in charts]


def _with_parents(folder: str) -> Iterator[str]:
    yield folder
    while folder:
        folder = folder.rpartition("/")[0]
        yield folder


def put_notes(files: Files, shelf: Shelf, run: str, body: Mapping[str, Any]) -> None:
    """Keep the notes of a run; raises `Refused` if they are none, or not those that were read any more."""
    _put(files, shelf, _inside(run, NOTES), body, notes_of)


def put_charts(files: Files, shelf: Shelf, folder: str, body: Mapping[str, Any]) -> None:
    """Keep the saved views and charts of a folder; raises `Refused` as `put_notes` does."""
    _put(files, shelf, _inside(folder, CHARTS), body, charts_of)


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _read(files: Files, path: str, shaped: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    body, version = _body_and_version(files, path)
    try:
        return {**shaped(loaded(body)), "version": version}
    except ValueError:
        return {**shaped({}), "version": version}


def _put(
    files: Files, shelf: Shelf, path: str, body: Mapping[str, Any], shaped: Callable[[Any], dict[str, Any]]
) -> None:
    version = body.get("version")
    if not isinstance(version, str | None):
        raise Refused(400, "version must be what was read")
    held, found = _body_and_version(files, path)
    text = _with(held, shaped(body), shaped, path).encode()
    if max(len(held), len(text)) >= MOST_BYTES:
        raise Refused(413, f"more than {MOST_BYTES >> 10} KiB are too much to keep")
    shelf.put(path, text, found if version is None else version)


def _with(held: bytes, wanted: Mapping[str, Any], shaped: Callable[[Any], dict[str, Any]], path: str) -> str:
    """Return what is held with what is `wanted` in it; all that is not known here stays as it stands there."""
    try:
        before = loaded(held)
        known = shaped(before)
        names = [name for name in wanted if wanted[name] != known[name]]
        return with_entries(held.decode(), {name: _merged(before, name, wanted[name], shaped) for name in names})
    except ValueError as error:
        raise Refused(409, f"{path[:200]!a} must be mended by hand first: {str(error)[:200]}") from None


def _merged(before: Any, name: str, wanted: Any, shaped: Callable[[Any], dict[str, Any]]) -> Any:
    """Return the new value of an entry, None for none; in a list, what stays is as it was written, with what never fitted."""
    held = before.get(name) if isinstance(before, dict) else None
    if not isinstance(wanted, list) or not isinstance(held, list):
        return wanted or None
    written = [(shaped({name: [one]})[name], one) for one in held]
    kept = [next((one for fit, one in written if fit == [value]), value) for value in wanted]
    return [*kept, *(one for fit, one in written if not fit)] or None


def notes_of(value: Any) -> dict[str, Any]:
    """Return what of a value fits as notes."""
    value = value if isinstance(value, dict) else {}
    tags, note = value.get("tags"), value.get("note")
    return {
        "pinned": value.get("pinned") is True,
        "tags": [tag[:_MOST_NAME] for tag in tags if isinstance(tag, str)][:_MOST_TAGS]
        if isinstance(tags, list)
        else [],
        "note": note[:_MOST_TEXT] if isinstance(note, str) else "",
    }


def charts_of(value: Any) -> dict[str, Any]:
    """Return what of a value fits as saved views and charts; charts are keys, or objects, as in the original ml_logger."""
    value = value if isinstance(value, dict) else {}
    views, charts = value.get("views"), value.get("charts")
    return {
        "views": [view for one in views[:_MOST_VIEWS] if (view := _view(one))] if isinstance(views, list) else [],
        "charts": [one for one in charts[:_MOST_VIEWS] if isinstance(one, str | dict)]
        if isinstance(charts, list)
        else [],
    }


def _view(value: Any) -> dict[str, str] | None:
    name, hash_ = (value.get("name"), value.get("hash")) if isinstance(value, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(hash_, str):
        return None
    return {"name": name[:_MOST_NAME], "hash": hash_[:_MOST_TEXT]}
