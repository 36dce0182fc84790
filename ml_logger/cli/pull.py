"""``ml-logger pull``: a run, or a folder of runs, brought over from a receiver."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..color import is_terminal
from ..errors import NotHeld, TryAgain, UsageError
from ..layout import check_path
from ..pulling import Item, Outcome, Pull, items_in
from ..remote_files import RemoteFiles
from ..retries import Retries
from .documents import add_json_argument, write_document
from .exits import DIFFERS, DONE, INTERRUPTED
from .outputs import naming
from .places import Places, add_receiver_arguments, is_url
from .values import text_of

PATIENCE_S = 300.0


def add_arguments(pull: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    pull.epilog = (
        "Run it again to go on where it ended, and to bring over what came since: streams are extended, and what is here with "
        "other bytes is left alone and told, with exit code 1."
    )
    pull.add_argument("url", metavar="URL", help="the receiver, or with the run's path behind it")
    pull.add_argument("run", nargs="?", default="", metavar="RUN", help="a run or a folder there, as ls names it")
    pull.add_argument("destination", nargs="?", type=Path, metavar="DEST", help="default: the last part of RUN")
    pull.add_argument("--overwrite", action="store_true", help="replace files that are here with other bytes")
    pull.add_argument("--patience", type=float, default=PATIENCE_S, metavar="S", help=_PATIENCE_HELP)
    add_json_argument(pull)
    add_receiver_arguments(pull)


_PATIENCE_HELP = f"seconds without a byte after which a receiver that fails is given up ({PATIENCE_S:g})"


def run(options: argparse.Namespace) -> int:
    """Bring the files over, and return 1 if anything here differs."""
    if not is_url(options.url):
        raise UsageError(f"{options.url!r} is not a URL", hint="write it like http://storage:8081")
    with Places(options) as places:
        files, top = places.receiver(options.url)
        folder = _folder(top, options.run)
        destination = options.destination or Path(_name_for(folder, files))
        try:
            with naming(destination):
                outcome = _pulled(files, folder, destination, options)
        except KeyboardInterrupt:
            _leave()
    if options.json:
        write_document(_document(folder, destination, outcome))
    else:
        print("\n".join(_lines(folder, destination, outcome)))
    return DONE if outcome.is_whole else DIFFERS


def _folder(top: str, named: str) -> str:
    parts = [part for part in (top, named.strip("/")) if part not in ("", ".")]
    return check_path("/".join(parts)) if parts else ""


def _name_for(folder: str, files: RemoteFiles) -> str:
    return folder.rpartition("/")[2] or urlsplit(files.place).netloc.replace(":", "_")


def _pulled(files: RemoteFiles, folder: str, destination: Path, options: argparse.Namespace) -> Outcome:
    stop = threading.Event()
    with _Bar(folder) as bar:
        retries = Retries(options.patience, bar.tell_waiting, stop)
        items = retries.insist(lambda: list(items_in(files, folder)))
        if not items:
            raise NotHeld(f"there is no file in {folder or 'all that the receiver holds'!r}")
        bar.begin(items)
        pull = Pull(
            files.remote, folder, destination, retries=retries, stop=stop, tell=bar.tell, may_replace=options.overwrite
        )
        return pull.run(items)


def _leave() -> None:
    """End at once: a thread may wait for a silent receiver for a minute, and holds nothing that needs to be closed."""
    sys.stdout.flush()
    os._exit(INTERRUPTED)


class _Bar(AbstractContextManager["_Bar"]):
    """How far it is, on a terminal; told from several threads."""

    def __init__(self, folder: str) -> None:
        self._is_shown = is_terminal(sys.stderr)
        self._lock = threading.Lock()
        self._bar: Any = None
        self._folder = folder

    def begin(self, items: list[Item]) -> None:
        """Show the bar, now that it is known how much there is."""
        if self._is_shown:
            from tqdm import tqdm  # lazily: only a person at a terminal needs it

            title = text_of(self._folder, most=30)
            total = sum(item.size for item in items)
            self._bar = tqdm(desc=title, total=total, unit="B", unit_scale=True, unit_divisor=1024, leave=False)

    def tell(self, size_bytes: int) -> None:
        """Take note of bytes that are done with."""
        if self._bar is not None:
            with self._lock:
                self._bar.update(size_bytes)

    def tell_waiting(self, error: TryAgain | None) -> None:
        """Say that the receiver is waited for, or no more."""
        if self._bar is not None:
            with self._lock:
                self._bar.set_postfix_str("" if error is None else f"waiting: {text_of(error, most=50)}")

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _lines(folder: str, destination: Path, outcome: Outcome) -> list[str]:
    """Return a line for each file that is not as it is there, or took another's place, and one for all."""
    lines = [f"replaced {text_of(repr(path))}" for path in outcome.replaced]
    lines += [f"gone meanwhile: {text_of(repr(path))}" for path in outcome.gone]
    lines += [f"unreadable there: {text_of(repr(path))}: {text_of(why)}" for path, why in outcome.unreadable]
    lines += [f"kept: a folder or link is in the way of {text_of(repr(path))}" for path in outcome.in_the_way]
    lines += [
        f"kept, and differs: {text_of(repr(path))} ({here} bytes here, {there} there); --overwrite replaces it"
        for path, here, there in outcome.differs
    ]
    kinds = {
        "new": outcome.new,
        "extended": outcome.extended,
        "replaced": outcome.replaced,
        "here already": outcome.equal,
    }
    counts = ", ".join(f"{len(paths)} {kind}" for kind, paths in kinds.items() if paths)
    what, where = text_of(repr(folder or "all")), text_of(repr(str(destination)))
    total = f"{outcome.files} files, {outcome.size_bytes} bytes"
    return [*lines, f"pulled {what} to {where}: {total} ({counts})"]


def _document(folder: str, destination: Path, outcome: Outcome) -> dict[str, Any]:
    return {
        "run": folder,
        "destination": str(destination),
        "files": outcome.files,
        "bytes": outcome.size_bytes,
        "equal": len(outcome.equal),
        "new": outcome.new,
        "extended": outcome.extended,
        "replaced": outcome.replaced,
        "differs": [{"path": path, "here": here, "there": there} for path, here, there in outcome.differs],
        "in_the_way": outcome.in_the_way,
        "unreadable": [{"path": path, "reason": reason} for path, reason in outcome.unreadable],
        "gone": outcome.gone,
    }
