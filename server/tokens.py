"""The token file: who may do what, one JSON object a line, of each token the SHA-256 digest only.

::

    {"name":"gpu-box","sha256":"9f86d0…","rights":["write"],"prefix":"team-a","added":"2026-11-25"}

A file whose first line is no such object is taken as one bare token with all rights, for set-ups of one person. The file is
read again when it changes, and always replaced as a whole, so that nobody reads half of it. A change that can't be read leaves
in whom the file let in before, as any process of the receiver read it last (`last_good`): neither does a slip of the pen lock
everybody out, nor does it open the door, not even to those who were revoked before it.
"""

from __future__ import annotations

import datetime
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from ..errors import BadPath, ConfigError, UsageError
from ..layout import check_path
from ..settings import read_token
from .auth import RIGHTS, Caller, Right, Token, digest_of
from .last_good import LastGood

_MODE = 0o600
_MAX_NAME = 64
_DIGEST_BYTES = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the file: a token, and the day it was added (UTC, ISO 8601; empty if that is not known)."""

    token: Token
    added: str = ""


class _BadLine(Exception):
    """A line of the file that is no token; says why."""


class TokenFile:
    """The tokens in a file, read again when it changes; raises `ConfigError` if it can't be read, or is empty, at the start."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last_good = LastGood()
        self._state: tuple[int, ...] | None = self._state_now()
        self._tokens = _tokens_in(file)
        self._last_good.keep(_packed(self._tokens))
        if not self._tokens:  # later it may be, once all are revoked
            raise ConfigError(
                f"token file {file} is empty", hint="'ml-logger-server token add NAME --token-file FILE' adds a token"
            )

    def current(self) -> Sequence[Token]:
        """Return whom the file lets in now."""
        now = self._state_now()
        if now != self._state:
            self._state = now
            self._reload()
        return self._tokens

    def _state_now(self) -> tuple[int, ...] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _reload(self) -> None:
        with self._last_good.alone():
            try:
                self._tokens = _tokens_in(self._file)
            except ConfigError as error:
                kept = self._last_good.maybe_content()
                self._tokens = self._tokens if kept is None else _unpacked(kept)
                _log.error("%s; the tokens known before stay valid", error.one_line())
            else:
                self._last_good.keep(_packed(self._tokens))
                _log.info("token file %s read again: %d tokens", self._file, len(self._tokens))


def _tokens_in(file: Path) -> tuple[Token, ...]:
    if _is_bare(_read(file)):
        return (Token(digest_of(cast(str, read_token(None, file, {}))), Caller("token")),)
    return tuple(listed.token for listed in list_tokens(file))


def _packed(tokens: Sequence[Token]) -> bytes:
    return b"".join(_line_of(Listed(token)) for token in tokens)


def _unpacked(lines: bytes) -> tuple[Token, ...]:
    return tuple(_listed_from_json(line).token for line in lines.decode().split("\n") if line)


def list_tokens(file: Path) -> list[Listed]:
    """Return the lines of a token file, in their order; raises `ConfigError` with the line that can't be read."""
    listed: list[Listed] = []
    for number, line in enumerate(_read(file).split("\n"), 1):
        if line.strip():
            try:
                one = _listed_from_json(line)
                _require_new(one.token.caller.name, listed)
            except _BadLine as error:
                raise ConfigError(
                    f"token file {file}, line {number}: {error}", hint="'ml-logger-server token' writes such lines"
                ) from None
            listed.append(one)
    return listed


def add_token(file: Path, caller: Caller) -> str:
    """Add a new random token for `caller` to the file, made if it is missing, and return it: it is kept nowhere.

    Raises `UsageError` for a name that is taken, or that has another form.
    """
    token = secrets.token_urlsafe(_DIGEST_BYTES)
    added = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    with _changing(file) as listed:
        try:
            _require_new(_checked_name(caller.name), listed)
            _checked_prefix(caller.prefix)
        except _BadLine as error:
            raise UsageError(str(error), hint="see 'ml-logger-server token --help'") from None
        listed.append(Listed(Token(digest_of(token), caller), added))
    return token


def revoke_token(file: Path, name: str) -> None:
    """Remove the token called `name`; raises `UsageError` if there is none."""
    with _changing(file) as listed:
        kept = [one for one in listed if one.token.caller.name != name]
        if len(kept) == len(listed):
            names = ", ".join(one.token.caller.name for one in listed) or "none"
            raise UsageError(f"no token is called {name!a}", hint=f"those in {file}: {names}")
        listed[:] = kept


# --- one line


def _listed_from_json(line: str) -> Listed:
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _BadLine("not JSON") from None
    if not isinstance(record, dict):
        raise _BadLine("not a JSON object")
    unknown = record.keys() - {"name", "sha256", "rights", "prefix", "added"}
    if unknown:
        raise _BadLine(f"unknown key {min(unknown)!a}")
    caller = Caller(
        _checked_name(record.get("name")),
        _checked_rights(record.get("rights")),
        _checked_prefix(record.get("prefix", "")),
    )
    return Listed(Token(_checked_digest(record.get("sha256")), caller), str(record.get("added", "")))


def _line_of(one: Listed) -> bytes:
    caller = one.token.caller
    rights = [right for right in RIGHTS if right in caller.rights]
    record = {"name": caller.name, "sha256": one.token.digest.hex(), "rights": rights, "prefix": caller.prefix}
    return orjson.dumps(record | {"added": one.added}) + b"\n"


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable() or " " in name:
        raise _BadLine(f"a name has 1 to {_MAX_NAME} printable characters and no spaces, not {name!a}")
    return name


def _checked_rights(rights: object) -> frozenset[Right]:
    if not isinstance(rights, list) or not rights or not all(right in RIGHTS for right in rights):
        raise _BadLine(f"rights must be a list of some of {', '.join(RIGHTS)}")
    return frozenset(rights)


def _checked_prefix(prefix: object) -> str:
    if not isinstance(prefix, str):
        raise _BadLine("prefix must be a string")
    try:
        return check_path(prefix) if prefix else ""
    except BadPath as error:
        raise _BadLine(f"prefix {prefix[:80]!a} is no folder: {error}") from None


def _checked_digest(text: object) -> bytes:
    try:
        digest = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise _BadLine("sha256 must be 64 hexadecimal digits")
    return digest


def _require_new(name: str, listed: Sequence[Listed]) -> None:
    if any(one.token.caller.name == name for one in listed):
        raise _BadLine(f"the name {name!a} is taken")


# --- the file


def _is_bare(text: str) -> bool:
    first = text.split("\n", 1)[0].strip()
    return bool(first) and not first.startswith("{")


def _read(file: Path) -> str:
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"token file {file} is no file", hint="give the path of a file, which may be new")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"token file {file} does not exist", hint="'ml-logger-server token add NAME --token-file FILE' makes it"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"token file {file} can't be read: it is not UTF-8", hint="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            f"token file {file} can't be read: {error.strerror}", hint="check path and permissions"
        ) from None


@contextmanager
def _changing(file: Path) -> Iterator[list[Listed]]:
    """Give the lines of the file to be changed, and write them back; one who changes it waits for another."""
    try:
        file = file.resolve()  # a link stays one: the receiver may read the file by its own name
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        reason = getattr(error, "strerror", None) or "a symbolic link leads to itself"
        raise UsageError(f"token file {file} can't be written: {reason}", hint="make its folder") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        text = _read(file) if file.exists() else ""
        if _is_bare(text):
            raise UsageError(
                f"token file {file} holds a bare token", hint="name another file, or remove the bare token first"
            )
        listed = list_tokens(file) if text else []
        yield listed
        _replace(file, b"".join(map(_line_of, listed)), folder)
    finally:
        os.close(folder)


def _replace(file: Path, content: bytes, folder: int) -> None:
    aside = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        with os.fdopen(fd, "wb") as target:
            if file.exists():  # an operator may have given it to the receiver's group
                found = file.stat()
                os.fchmod(target.fileno(), found.st_mode & 0o777)
                os.fchown(target.fileno(), found.st_uid, found.st_gid)
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        aside.rename(file)
        os.fsync(folder)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UsageError(
            f"token file {file} can't be written: {error.strerror}", hint="check its folder's permissions"
        ) from None
