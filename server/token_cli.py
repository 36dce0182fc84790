"""``ml-logger-server token``: adds, lists and revokes tokens in a token file. A running receiver takes it up by itself."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import orjson

from ..errors import UsageError
from ..settings import OneLineParser
from .auth import RIGHTS, Caller, Right
from .config import ENV_PREFIX, token_file_in
from .tokens import Listed, add_token, list_tokens, revoke_token


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code; raises `UsageError`."""
    options = _parser().parse_args(argv)
    options.command(_file(options), options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="ml-logger-server token", description="Who may use the receiver, and for what.")
    commands = parser.add_subparsers(required=True, metavar="add|list|revoke", parser_class=OneLineParser)
    add = commands.add_parser("add", help="make a new token and print it, once: the file keeps its hash only")
    add.add_argument("name", help="what it is called in lists and logs")
    add.add_argument(
        "--rights", default="write,read", help=f"some of {','.join(RIGHTS)}, with commas (default write,read)"
    )
    add.add_argument(
        "--prefix", metavar="FOLDER", help="the folder it is confined to (default: none, it may go everywhere)"
    )
    add.set_defaults(command=_add)
    listing = commands.add_parser("list", help="list names, rights and prefixes")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(command=_list)
    revoke = commands.add_parser("revoke", help="remove a token; it is refused from then on")
    revoke.add_argument("name")
    revoke.set_defaults(command=_revoke)
    for command in (add, listing, revoke):
        command.add_argument("--token-file", type=Path, metavar="FILE", help="the file; add makes it if it is missing")
        command.add_argument("--config", type=Path, metavar="FILE", help="a server.yaml that names it")
    return parser


def _file(options: argparse.Namespace) -> Path:
    file: Path | None = options.token_file or token_file_in(options.config, os.environ)
    if file is None:
        raise UsageError(
            "no token file is given", hint=f"add --token-file FILE, --config FILE or ${ENV_PREFIX}TOKEN_FILE"
        )
    return file


def _add(file: Path, options: argparse.Namespace) -> None:
    rights = [right.strip() for right in options.rights.split(",")]
    if not all(right in RIGHTS for right in rights):
        raise UsageError(f"rights {options.rights!a} are none", hint=f"give some of {','.join(RIGHTS)}, with commas")
    caller = Caller(options.name, frozenset(cast("list[Right]", rights)), _prefix(options.prefix))
    print(add_token(file, caller))
    print(f"{options.name} was added to {file}; this token is not kept, and not shown again", file=sys.stderr)


def _prefix(given: str | None) -> str:
    prefix = "" if given is None else given.strip("/")
    if given is not None and not prefix.strip():  # a variable that is not set, or "/" by somebody who means the top
        raise UsageError(
            f"the prefix {given!a} is no folder", hint="leave --prefix out for a token that may go everywhere"
        )
    return prefix


def _list(file: Path, options: argparse.Namespace) -> None:
    for one in list_tokens(file):
        print(_as_json(one) if options.json else _as_text(one))


def _as_json(one: Listed) -> str:
    caller = one.token.caller
    record = {"name": caller.name, "rights": _rights(caller), "prefix": caller.prefix, "added": one.added}
    return orjson.dumps(record).decode()


def _as_text(one: Listed) -> str:
    caller = one.token.caller
    where = f"below {caller.prefix}" if caller.prefix else "everywhere"
    return f"{caller.name}  {','.join(_rights(caller))}  {where}  {one.added}".rstrip()


def _rights(caller: Caller) -> list[str]:
    return [right for right in RIGHTS if right in caller.rights]


def _revoke(file: Path, options: argparse.Namespace) -> None:
    revoke_token(file, options.name)
    print(f"{options.name} was revoked", file=sys.stderr)
