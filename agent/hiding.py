"""Hidden names: a file that may go lies under one between the last look and its deletion, where nobody comes to it by name.

A name too long to carry more is kept as it is, in a hidden folder of its own. So the hidden name always tells the true one,
and what a crash leaves gets it back at the agent's next start (`recover`), whatever the config says of retention by then.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..layout import MAX_COMPONENT_BYTES, digest_name, is_hidden
from .folders import FOLDER_FLAGS
from .scanner import Problem

_HIDDEN = re.compile(r"^\.(.+)\.going-[0-9a-f]{12}\Z", re.DOTALL)
_FOLDER = re.compile(r"^\.going-[0-9a-f]{12}\Z")


def hide(folder_fd: int, name: str) -> str:
    """Take the file `name` out of reach, and return its hidden name, relative to the same folder; raises OSError."""
    token = os.urandom(6).hex()
    hidden = f".{name}.going-{token}"
    if len(os.fsencode(hidden)) > MAX_COMPONENT_BYTES:
        os.mkdir(f".going-{token}", 0o700, dir_fd=folder_fd)
        hidden = f".going-{token}/{name}"
    try:
        os.rename(name, hidden, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except OSError:
        _drop_folder(folder_fd, hidden)
        raise
    return hidden


def unlink(folder_fd: int, hidden: str) -> None:
    """Delete a file by its hidden name."""
    os.unlink(hidden, dir_fd=folder_fd)
    _drop_folder(folder_fd, hidden)


def put_back(folder_fd: int, hidden: str, name: str) -> None:
    """Give a file its name again; if something else has it by now, a name beside it: both are kept."""
    try:
        os.link(hidden, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
    except OSError:  # the name is taken; or it is a folder, or there are no links here
        beside = digest_name(name, os.fsencode(hidden)) if _is_there(folder_fd, name) else name
        os.rename(hidden, beside, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    else:
        os.unlink(hidden, dir_fd=folder_fd)
    _drop_folder(folder_fd, hidden)


def _drop_folder(folder_fd: int, hidden: str) -> None:
    """Remove the folder that was made for `hidden`, if one was; one that holds anything stays."""
    folder = hidden.rpartition("/")[0]
    if folder:
        with suppress(OSError):
            os.rmdir(folder, dir_fd=folder_fd)


def _is_there(folder_fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def recover(spool: Path) -> list[Problem]:
    """Give all files in `spool` that were left under hidden names their names back; return those that can't have them."""
    left: list[Problem] = []
    for above, folders, names, folder_fd in os.fwalk(spool):
        inside = os.path.relpath(above, spool)
        for hidden, name in [*_hidden_in(names), *_hidden_in_folders(folder_fd, folders)]:
            reason = _why_not_put_back(folder_fd, hidden, name)
            if reason is not None:
                path = os.path.normpath(os.path.join(inside, name))  # noqa: PTH118 - a text, as a walk spells it
                left.append(Problem(path, f"lies under the hidden name {hidden!a}: {reason}"))
        folders[:] = [folder for folder in folders if not is_hidden(folder)]
    return left


def _why_not_put_back(folder_fd: int, hidden: str, name: str) -> str | None:
    try:
        put_back(folder_fd, hidden, name)
    except OSError as error:
        return error.strerror
    return None


def _hidden_in(names: list[str]) -> Iterator[tuple[str, str]]:
    for match in filter(None, map(_HIDDEN.match, names)):
        yield match[0], match[1]


def _hidden_in_folders(folder_fd: int, folders: list[str]) -> Iterator[tuple[str, str]]:
    for folder in filter(_FOLDER.match, folders):
        with suppress(OSError):
            fd = os.open(folder, FOLDER_FLAGS, dir_fd=folder_fd)
            try:
                names = os.listdir(fd)  # noqa: PTH208 - of a descriptor
            finally:
                os.close(fd)
            for name in names:
                yield f"{folder}/{name}", name
            _drop_folder(folder_fd, f"{folder}/")  # left by a crash between the two: it holds nothing
