"""Who may use the receiver: whoever shows a known bearer token, or anybody where none is set.

Of a token only its SHA-256 digest is kept. `Caller` is what the HTTP side knows of the one who asks: what they may do, and
below which folder. Two callers with different folders can't see, extend or list each other's.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .. import wire
from ..errors import UsageError

Right = Literal["write", "read", "delete"]
RIGHTS: tuple[Right, ...] = ("write", "read", "delete")

OUTSIDE = wire.OUTSIDE
"""What is said of every path that is not the caller's, whether anything is there or not."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who was let in, with what they may do, below which folder (empty: everywhere)."""

    name: str
    rights: frozenset[Right] = frozenset(RIGHTS)
    prefix: str = ""

    def may_enter(self, path: str) -> bool:
        """Whether `path` is the caller's folder or below it."""
        return not self.prefix or path == self.prefix or path.startswith(self.prefix + "/")

    def maybe_step(self, folder: str) -> str | None:
        """Return the name in `folder` that leads to the caller's own, None where none does."""
        start = f"{folder}/" if folder else ""
        return self.prefix[len(start) :].partition("/")[0] if self.prefix.startswith(start) else None


@dataclass(frozen=True, slots=True)
class Token:
    """The SHA-256 digest of a bearer token, and whom it lets in."""

    digest: bytes
    caller: Caller


def digest_of(token: str) -> bytes:
    """Return the SHA-256 digest of a token. It is random and long, so that no slower function is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Door:
    """Lets callers in by their ``Authorization`` header; `known` is asked each time, and without it the door stands open."""

    def __init__(self, known: Callable[[], Sequence[Token]] | None) -> None:
        self._known = known

    @property
    def is_open(self) -> bool:
        """Whether anybody is let in."""
        return self._known is None

    def refresh(self) -> None:
        """Take up who is known now, whether anybody asks or not."""
        if self._known is not None:
            self._known()

    def maybe_caller(self, authorization: str | None) -> Caller | None:
        """Return who shows this ``Authorization`` header, or None if that is nobody known."""
        if self._known is None:
            return Caller("anybody")
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        shown = digest_of(token.strip())
        found = [token.caller for token in self._known() if hmac.compare_digest(token.digest, shown)]
        return found[0] if found else None


def door_for(token: str) -> Door:
    """Return the door that this one token opens, with all rights."""
    tokens = (Token(digest_of(token), Caller("token")),)
    return Door(lambda: tokens)


def require_safe_bind(host: str, door: Door) -> None:
    """Raise `UsageError` if an open door would face more than this machine."""
    if door.is_open and not is_loopback(host):
        raise UsageError(
            f"without a token the receiver binds loopback only, not {host}",
            hint="give --token-file FILE (see 'ml-logger-server token add'), or --host 127.0.0.1, "
            "or --insecure to let in everybody",
        )


def is_loopback(host: str) -> bool:
    """Whether `host` is ``localhost`` or a loopback address; other names are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
