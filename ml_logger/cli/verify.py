"""``ml-logger verify``: whether a mirror, or a receiver, holds what the spool holds."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from ..color import is_terminal
from ..digests import Ask, Proof, prove, total_bytes
from ..errors import BadPath, UsageError
from ..layout import check_path
from ..source import source_of
from ..verify import Comparison, compare_trees
from .documents import add_json_argument, write_document
from .exits import DIFFERS, DONE
from .places import add_receiver_arguments, existing_directory, token_of
from .progress import counted

_Item = TypeVar("_Item")


def add_arguments(verify: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    verify.description = (
        "Compare a spool with its mirror byte for byte, or with what a receiver holds by SHA-256. "
        "Exit code 0: equal, 1: not, 2: can't be done as it is, 5: the receiver can't be reached or fails; try again."
    )
    verify.epilog = (
        "A file that has grown since it was shipped is listed as so many bytes behind, and is a difference, "
        "unless it is a stream and --allow-growing is given. What a receiver holds besides is none."
    )
    verify.add_argument("spool", type=Path, help="named as in the agent's config, on its machine")
    verify.add_argument("mirror", type=Path, nargs="?", help="the receiver's data directory, or a copy of it")
    verify.add_argument("--server", metavar="URL", help="the receiver to compare with, in place of a mirror")
    verify.add_argument(
        "--prefix", default="", metavar="FOLDER", help="the agent's remote_prefix; {hostname} is put in"
    )
    add_receiver_arguments(verify)
    verify.add_argument("--allow-growing", action="store_true", help="streams may be behind: the run goes on")
    add_json_argument(verify)


def run(options: argparse.Namespace) -> int:
    """Compare, print what was found, and return whether it differs."""
    if (options.mirror is None) == (options.server is None):
        raise UsageError("verify needs one of MIRROR and --server", hint="see ml-logger verify --help")
    if options.server is not None:
        return _verify_remote(options)
    found = compare_trees(existing_directory(options.spool), existing_directory(options.mirror), _progress)
    if options.json:
        write_document(_document_of_trees(found))
    else:
        print(found.report())
    return DONE if found.is_equal else DIFFERS


def _verify_remote(options: argparse.Namespace) -> int:
    from ..remote import Remote  # lazily: requests takes longer to load than all the rest

    spool, prefix = existing_directory(options.spool).absolute(), _checked_prefix(options.prefix)
    remote = Remote(options.server, token=token_of(options), ca_file=options.ca_file)
    try:
        found = _proof(remote.digests, spool, prefix)
    finally:
        remote.close()
    is_equal = found.is_equal(allow_growing=options.allow_growing)
    if options.json:
        write_document(_document_of_proof(found, is_equal))
    else:
        print(found.report(allow_growing=options.allow_growing))
    return DONE if is_equal else DIFFERS


def _document_of_trees(found: Comparison) -> dict[str, Any]:
    return {
        "is_equal": found.is_equal,
        "files": found.files,
        "bytes": found.size_bytes,
        "missing": found.missing,
        "extra": found.extra,
        "differs": [{"path": path, "at": offset} for path, offset in found.differs],
    }


def _document_of_proof(found: Proof, is_equal: bool) -> dict[str, Any]:
    return {
        "is_equal": is_equal,
        "files": found.files,
        "bytes": found.size_bytes,
        "missing": found.missing,
        "differs": [{"path": path, "here": here, "there": there} for path, here, there in found.differs],
        "behind": [{"path": path, "bytes": size} for path, size in found.behind],
        "unreadable": [{"path": path, "reason": reason} for path, reason in found.unreadable],
    }


def _checked_prefix(prefix: str) -> str:
    prefix = prefix.strip("/").replace("{hostname}", os.uname().nodename)
    try:
        return check_path(prefix) if prefix else ""
    except BadPath as error:
        raise UsageError(f"--prefix: {error}", hint="use a relative path such as team/{hostname}") from None


def _proof(ask: Ask, spool: Path, prefix: str) -> Proof:
    if not is_terminal(sys.stderr):
        return prove(spool, prefix, source_of(spool), ask)
    from tqdm import tqdm  # lazily: only a person at a terminal needs it

    with tqdm(total=total_bytes(spool), desc="comparing", unit="B", unit_scale=True, leave=False) as bar:
        return prove(spool, prefix, source_of(spool), ask, bar.update)


def _progress(pairs: list[_Item]) -> Iterable[_Item]:
    return counted(pairs, "comparing", "file", len(pairs))
