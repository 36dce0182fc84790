"""Who may use the receiver: whoever shows the bearer token, or, on loopback only, anybody where no token is set.

A token is kept as its SHA-256 digest and compared in constant time. `Caller` is what the HTTP side knows of the one who
asks; rights and path prefixes belong there.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError

Right = Literal["write", "read", "delete"]
RIGHTS: frozenset[Right] = frozenset({"write", "read", "delete"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who was let in, with what they may do, below which folder (empty: everywhere)."""

    name: str
    rights: frozenset[Right] = RIGHTS
    prefix: str = ""

    def may_enter(self, path: str) -> bool:
        """Whether `path` is the caller's folder or below it."""
        return not self.prefix or path == self.prefix or path.startswith(self.prefix + "/")


class Door:
    """Lets callers in by their ``Authorization`` header; without a `token` it stands open."""

    def __init__(self, token: str | None) -> None:
        self._digest = None if token is None else _digest(token)

    @property
    def is_open(self) -> bool:
        """Whether anybody is let in."""
        return self._digest is None

    def maybe_caller(self, authorization: str | None) -> Caller | None:
        """Return who shows this ``Authorization`` header, or None if that is nobody known."""
        if self._digest is None:
            return Caller("anybody")
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return Caller("token") if hmac.compare_digest(_digest(token.strip()), self._digest) else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def require_safe_bind(host: str, door: Door) -> None:
    """Raise `UsageError` if an open door would face more than this machine."""
    if door.is_open and not is_loopback(host):
        raise UsageError(
            f"without a token the receiver binds loopback only, not {host}",
            hint="give --token-file FILE, or --host 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether `host` is ``localhost`` or a loopback address; other names are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
