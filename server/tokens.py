"""The token file: who may do what, one JSON object a line, of each token the SHA-256 digest only.

::

    {"name":"gpu-box","sha256":"9f86d0…","rights":["write"],"prefix":"team-a","added":"2026-11-25"}

A file that holds nothing but one line that looks like a token (`_BARE`) is taken as one bare token with all rights, for set-ups
of one person; one that once held such objects never is, while the receiver runs. The file is read again when it changes, and
always replaced as a whole, so that nobody reads half of it. A change that can't be read leaves in whom the file let in before,
as any process of the receiver read it last (`last_good`): neither does a slip of the pen lock everybody out, nor does it open
the door, not even to those who were revoked before it.
"""

from __future__ import annotations

import datetime
import fcntl
import logging
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ..errors import BadPath, ConfigError, UsageError
from ..layout import check_path
from .auth import RIGHTS, Caller, Right, Token, digest_of
from .last_good import LastGood

_MODE = 0o600
_MAX_NAME = 64
_DIGEST_BYTES = 32

_BARE = re.compile(r"(?=.{8,512}\Z)[A-Za-z0-9._~+/-]+=*")
"""RFC 6750's `b64token`, at least 8 long: no comment, no mark of a merge and no line of JSON is one."""

_BARE_MARK = b"bare\n"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the file: a token, and the day it was added (UTC, ISO 8601; empty if that is not known)."""

    token: Token
    added: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """Whom a file lets in, and whether it `is_bare`."""

    tokens: tuple[Token, ...]
    is_bare: bool = False


class _BadLine(Exception):
    """A line of the file that is no token; says why."""


class TokenFile:
    """The tokens in a file, read again when it changes; raises `ConfigError` if it can't be read, or is empty, at the start."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last_good = LastGood()
        self._state: tuple[int, ...] | None = self._state_now()
        self._known = _known_in(file)
        self._last_good.keep(_packed(self._known))
        if not self._known.tokens:  # later it may be, once all are revoked
            raise ConfigError(
                f"token file {file} is empty", hint="'ml-logger-server token add NAME --token-file FILE' adds a token"
            )

    def current(self) -> Sequence[Token]:
        """Return whom the file lets in now."""
        now = self._state_now()
        if now != self._state:
            self._state = now
            self._reload()
        return self._known.tokens

    def _state_now(self) -> tuple[int, ...] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _reload(self) -> None:
        with self._last_good.alone():
            kept = self._last_good.maybe_content()
            before = self._known if kept is None else _unpacked(kept)
            try:
                self._known = self._next(before)
            except ConfigError as error:
                self._known = before
                _log.error("%s; the tokens known before stay valid", error.one_line())
            else:
                self._last_good.keep(_packed(self._known))
                _log.info("token file %s read again: %d tokens", self._file, len(self._known.tokens))

    def _next(self, before: _Known) -> _Known:
        known = _known_in(self._file)
        if before.is_bare and not known.tokens:  # an editor may empty a file before it writes it
            raise ConfigError(f"token file {self._file} is empty", hint="write the token into it")
        if known.is_bare and not before.is_bare:
            raise ConfigError(
                f"token file {self._file} holds a bare token, and held named ones before",
                hint="start the receiver again if that is meant",
            )
        return known


def _known_in(file: Path) -> _Known:
    text = _read(file)
    bare = _maybe_bare(text)
    if bare is not None:
        return _Known((Token(digest_of(bare), Caller("token")),), is_bare=True)
    return _Known(tuple(listed.token for listed in _listed_in(file, text)))


def _packed(known: _Known) -> bytes:
    lines = b"".join(_line_of(Listed(token)) for token in known.tokens)
    return _BARE_MARK + lines if known.is_bare else lines


def _unpacked(content: bytes) -> _Known:
    lines = content.removeprefix(_BARE_MARK).decode().split("\n")
    return _Known(
        tuple(_listed_from_json(line).token for line in lines if line), is_bare=content.startswith(_BARE_MARK)
    )


def list_tokens(file: Path) -> list[Listed]:
    """Return the lines of a token file, in their order; raises `ConfigError` with the line that can't be read."""
    return _listed_in(file, _read(file))


def _listed_in(file: Path, text: str) -> list[Listed]:
    listed: list[Listed] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                one = _listed_from_json(line)
                _require_new(one.token.caller.name, listed)
            except _BadLine as error:
                raise ConfigError(
                    f"token file {file}, line {number}: {error}",
                    hint="'ml-logger-server token' writes such lines; a bare token stands alone, 8 or more letters, "
                    "digits and -._~+/",
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


def _maybe_bare(text: str) -> str | None:
    """Return the bare token that is all there is in a file, None for any other text."""
    token = text.strip()
    return token if _BARE.fullmatch(token) else None


def _read(file: Path) -> str:
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"token file {file} is no file", hint="give the path of a file, which may be new")
        return file.read_text(encoding="utf-8-sig")  # some editors put a byte order mark first
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
        if _maybe_bare(text) is not None:
            raise UsageError(
                f"token file {file} holds a bare token", hint="name another file, or remove the bare token first"
            )
        listed = _listed_in(file, text)
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
