"""``ml-logger-server trash``: lists, restores and empties what was deleted, and frees names. A receiver may run beside it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import orjson

from ..errors import BadPath, NotHeld, UsageError
from ..layout import RECEIVER_DIR
from ..settings import OneLineParser
from .clock import Clock
from .config import ENV_PREFIX, load_config
from .disk import Disk
from .locks import PathLocks
from .tombstones import Tombstone, Tombstones
from .trash import Trash
from .tree import Tree


@dataclass(frozen=True, slots=True)
class _Opened:
    """The trash of a data directory, and what is known of it."""

    trash: Trash
    tombstones: Tombstones

    def find(self, name: str) -> Tombstone:
        """Return the deletion that an id names, or a path that is deleted now; raises `UsageError`."""
        for stone in reversed(self.tombstones.all()):
            if stone.id == name or (stone.path == name.rstrip("/") and not stone.is_lifted):
                return stone
        raise UsageError(
            f"{name[:200]!a} is no deletion", hint="'ml-logger-server trash list' shows their ids and paths"
        )


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code; raises `UsageError`."""
    options = _parser().parse_args(argv)
    data_dir = _data_dir(options)
    try:
        with _opened(data_dir) as opened:
            options.command(opened, options)
    except (OSError, BadPath, NotHeld) as error:
        raise UsageError(f"data directory {data_dir}: {error}", hint="check its permissions") from None
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="ml-logger-server trash", description="What was deleted through the receiver.")
    commands = parser.add_subparsers(required=True, metavar="list|restore|empty|forget", parser_class=OneLineParser)
    listing = commands.add_parser("list", help="list what was deleted, by whom, and whether it is in the trash still")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(command=_list)
    restore = commands.add_parser("restore", help="put it back, and let it be written to again")
    restore.add_argument("name", metavar="ID|PATH")
    restore.set_defaults(command=_restore)
    empty = commands.add_parser("empty", help="remove for good what is in the trash; the names stay deleted")
    empty.add_argument("names", nargs="*", metavar="ID|PATH", help="which (default: all)")
    empty.set_defaults(command=_empty)
    forget = commands.add_parser("forget", help="let the name be used again, by whoever sends it; puts nothing back")
    forget.add_argument("name", metavar="ID|PATH")
    forget.set_defaults(command=_forget)
    for command in (listing, restore, empty, forget):
        command.add_argument("--data-dir", type=Path, metavar="DIR", help="where the receiver keeps its files")
        command.add_argument("--config", type=Path, metavar="FILE", help="a server.yaml that names it")
    return parser


def _data_dir(options: argparse.Namespace) -> Path:
    given: Path | None = options.data_dir
    if given is None and options.config is None and not os.environ.get(ENV_PREFIX + "DATA_DIR"):
        raise UsageError("no data directory is given", hint="add --data-dir DIR or --config FILE")
    data_dir = load_config(options.config, os.environ, {"data_dir": given}).data_dir
    if not (data_dir / RECEIVER_DIR).is_dir():
        raise UsageError(f"{data_dir} is no receiver's data directory", hint=f"it has no {RECEIVER_DIR} in it")
    return data_dir


@contextmanager
def _opened(data_dir: Path) -> Iterator[_Opened]:
    with ExitStack() as stack:
        tree = Tree(data_dir, Disk())
        stack.callback(tree.close)
        locks = PathLocks(tree)
        stack.callback(locks.close)
        tombstones = Tombstones(tree, Clock())
        stack.callback(tombstones.close)
        yield _Opened(Trash(tree, locks, tombstones), tombstones)


# --- list


def _list(opened: _Opened, options: argparse.Namespace) -> None:
    kept = set(opened.trash.ids())
    for stone in opened.tombstones.all():
        if stone.id in kept or not stone.is_lifted:
            print(_as_json(stone, stone.id in kept) if options.json else _as_text(stone, stone.id in kept))


def _as_json(stone: Tombstone, is_kept: bool) -> str:
    record = {"id": stone.id, "path": stone.path, "by": stone.by, "at": stone.at}
    record |= {"files": stone.files, "bytes": stone.size_bytes, "in_trash": is_kept, "forgotten": stone.is_lifted}
    return orjson.dumps(record).decode()


def _as_text(stone: Tombstone, is_kept: bool) -> str:
    at = datetime.fromtimestamp(stone.at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    where = "in the trash" if is_kept else "emptied"
    name = ", its name is free" if stone.is_lifted else ""
    size = f"{stone.files} files, {stone.size_bytes} bytes"
    return f"{stone.id}  {at}  by {ascii(stone.by)[1:-1]}  {size}  {where}{name}  {ascii(stone.path)[1:-1]}"


# --- the others


def _restore(opened: _Opened, options: argparse.Namespace) -> None:
    stone = opened.find(options.name)
    lost = opened.trash.restore(stone)
    _say(
        f"{stone.path!a} was put back"
        + (f", without {lost} of its {stone.files} files: they are emptied" if lost else "")
    )


def _empty(opened: _Opened, options: argparse.Namespace) -> None:
    wanted = [opened.find(name).id for name in options.names] or opened.trash.old_ids(0.0)
    before = set(opened.trash.ids())
    opened.trash.empty(wanted)
    gone = before - set(opened.trash.ids())
    _say(f"{len(gone)} of {len(before)} deletions were emptied; their names stay deleted")


def _forget(opened: _Opened, options: argparse.Namespace) -> None:
    stone = opened.find(options.name)
    opened.trash.forget(stone)
    _say(f"{stone.path!a} can be used again")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
