"""Places: what a person names on the command line, a directory of this machine or the URL of a receiver and of what it holds.

A receiver may lie below a path of its host (a proxy's), and a run's path stands behind that: which part is which is asked, by
looking for the one that answers ``/healthz``.
"""

from __future__ import annotations

import argparse
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ..errors import BadPath, NotHeld, UsageError
from ..files import Files, LocalFiles
from ..layout import check_path
from ..reader.find import has_streams
from ..reader.run import Run
from ..settings import read_token
from .once import Once

if TYPE_CHECKING:
    from ..remote_files import RemoteFiles


@dataclass(frozen=True)
class Place:
    """A folder of a tree: its `files`, the `folder` in them, and what the person called it."""

    files: Files
    folder: str
    called: str

    @property
    def is_near(self) -> bool:
        """Whether it lies on this machine."""
        return isinstance(self.files, LocalFiles)

    def run(self) -> Run:
        """Return the run that lies here; raises `NotHeld` if none does."""
        if not has_streams(self.files.list(self.folder)):
            raise NotHeld(f"{self.called!r} is not a run", hint="'ml-logger ls DIR|URL' lists those under a folder")
        return Run(self.folder, files=self.files)


def add_receiver_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what it takes to read from a receiver."""
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="its first line is sent, else $ML_LOGGER_TOKEN")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="PEM file of the CAs to trust")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where runs are looked for, and what it takes to read from a receiver."""
    parser.add_argument("--at", metavar="DIR|URL", help="where RUN lies, as ls there calls it (default: here)")
    add_receiver_arguments(parser)


def token_of(options: argparse.Namespace) -> str | None:
    """Return the token to show, None if there is none."""
    environ = os.environ if options.token_file is None else {}  # the file that is named counts more
    return read_token(None, options.token_file, environ)


class Places(AbstractContextManager["Places"]):
    """Finds what is named, and keeps the connections it took until the block ends."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._receivers: list[RemoteFiles] = []

    def __exit__(self, *error: object) -> None:
        for receiver in self._receivers:
            receiver.close()

    def find(self, named: str, *, is_growing: bool = False) -> Place:
        """Return the place that is `named`, as it is now or, `is_growing`, whenever it is looked at.

        Raises `NotHeld` where there is none, `UsageError` for what can't be one.
        """
        named = self._from_where(named)
        if is_url(named):
            files, folder = self.receiver(named)
            return Place(files if is_growing else Once(files), folder, named)
        return Place(LocalFiles(existing_directory(Path(named))), "", named)

    def _from_where(self, named: str) -> str:
        """Return a run as it is called from here, of one as it is called ``--at`` a place."""
        at: str | None = getattr(self._options, "at", None)
        if at is None or is_url(named):
            return named
        return f"{at.rstrip('/')}/{quote(named)}" if is_url(at) else str(Path(at, named))

    def receiver(self, url: str) -> tuple[RemoteFiles, str]:
        """Return the receiver that a URL leads to, and the folder behind it."""
        from ..remote import find_receiver  # lazily: requests takes longer to load than all the rest
        from ..remote_files import RemoteFiles

        for receiver in self._receivers:  # of several runs most lie at one receiver
            if url.startswith(f"{receiver.place}/"):
                return receiver, _checked(unquote(url.removeprefix(receiver.place)))
        remote, path = find_receiver(url, token=token_of(self._options), ca_file=self._options.ca_file)
        self._receivers.append(RemoteFiles(remote))
        return self._receivers[-1], _checked(path)


def _checked(path: str) -> str:
    folder = path.strip("/")
    try:
        return check_path(folder) if folder else ""
    except BadPath as error:
        raise UsageError(
            str(error), hint="write the receiver's URL and the run's path: http://storage:8081/team/run1"
        ) from None


def is_url(named: str) -> bool:
    """Whether what is named is a URL, and not a directory of this machine."""
    return named.lower().startswith(("http://", "https://"))


def existing_directory(directory: Path) -> Path:
    """Return `directory` if it is one; raises `NotHeld` or `UsageError`."""
    if directory.is_dir():
        return directory
    if directory.exists():
        raise UsageError(f"{str(directory)!r} is not a directory")
    raise NotHeld(f"there is no directory {str(directory)!r}")
