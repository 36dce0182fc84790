"""The gate: who stands before the page. A receiver asks for a token; a directory of this machine is open to this machine.

An open page must not be reachable through a name that somebody else's DNS leads here (rebinding): on loopback the ``Host``
that a browser shows has to be a name of loopback.
"""

from __future__ import annotations

import ipaddress
from abc import ABC, abstractmethod
from urllib.parse import urlsplit

from aiohttp import web

from .answers import Refused
from .visitor import Visitor

ANYBODY = Visitor("anybody")

CHANGING_HEADER = "X-ML-Logger"
"""No form and no link of another site can send it, and a script of one needs a leave that is never given."""


class Gate(ABC):
    """Lets visitors in; `needs_login` says whether any call but the open ones wants a token.

    `framed_by` are the pages that may show this one in a frame, as a Content-Security-Policy names them.
    """

    needs_login: bool = True
    framed_by: str = "'self'"

    @abstractmethod
    async def maybe_visitor(self, request: web.Request) -> Visitor | None:
        """Return who asks, None if that is nobody known; raises `Refused` for whom it is no use to log in."""

    @abstractmethod
    async def login(self, request: web.Request, token: str, answer: web.Response) -> Visitor:
        """Return whom the token lets in, and have `answer` keep it; raises `Refused` (401) if that is nobody."""

    @abstractmethod
    def logout(self, request: web.Request, answer: web.Response) -> None:
        """Have `answer` take the token away."""


class OpenGate(Gate):
    """Lets everybody in as `visitor`; with `loopback_only` not those who came by a foreign name."""

    needs_login = False

    def __init__(self, *, loopback_only: bool, visitor: Visitor = ANYBODY, framed_by: str = "'self'") -> None:
        self._loopback_only = loopback_only
        self._visitor = visitor
        self.framed_by = framed_by

    async def maybe_visitor(self, request: web.Request) -> Visitor | None:
        """Return the one visitor there is."""
        if self._loopback_only and not is_loopback(host_of(request)):
            raise Refused(403, "open it as 127.0.0.1 or localhost: other names could be led here by anybody")
        return self._visitor

    async def login(self, request: web.Request, token: str, answer: web.Response) -> Visitor:  # noqa: ARG002
        """Let in whoever asks."""
        visitor = await self.maybe_visitor(request)
        assert visitor is not None  # noqa: S101 (for mypy)
        return visitor

    def logout(self, request: web.Request, answer: web.Response) -> None:
        """Do nothing: there is no token."""


def host_of(request: web.Request) -> str:
    """Return the host that the client believes it talks to, without port and brackets."""
    try:
        return urlsplit("//" + request.headers.get("Host", "")).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether `host` is ``localhost``, a name below it, or a loopback address; other names are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
