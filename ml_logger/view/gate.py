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
    """Lets visitors in.

    `framed_by` are the pages that may show this one in a frame, as a Content-Security-Policy names them.
    """

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
    """Lets everybody in as `visitor`, but not whoever comes to a loopback address by another name than loopback has."""

    def __init__(self, *, visitor: Visitor = ANYBODY, framed_by: str = "'self'") -> None:
        self._visitor = visitor
        self.framed_by = framed_by

    async def maybe_visitor(self, request: web.Request) -> Visitor | None:
        """Return the one visitor there is."""
        return self._anybody(request)

    async def login(self, request: web.Request, token: str, answer: web.Response) -> Visitor:  # noqa: ARG002
        """Let in whoever asks."""
        return self._anybody(request)

    def logout(self, request: web.Request, answer: web.Response) -> None:
        """Do nothing: there is no token."""

    def _anybody(self, request: web.Request) -> Visitor:
        if _is_reached_on_loopback(request) and not is_loopback(host_of(request)):
            raise Refused(403, "open it as 127.0.0.1 or localhost: other names could be led here by anybody")
        return self._visitor


def _is_reached_on_loopback(request: web.Request) -> bool:
    own = None if request.transport is None else request.transport.get_extra_info("sockname")
    return isinstance(own, tuple) and is_loopback(str(own[0]))


def host_of(request: web.Request) -> str:
    """Return the host that the client believes it talks to, without port and brackets."""
    try:
        return urlsplit("//" + request.headers.get("Host", "")).hostname or ""
    except ValueError:
        return ""


def port_of(request: web.Request) -> str:
    """Return the port that the client believes it talks to, empty where it has no number."""
    return request.headers.get("Host", "").rpartition("]")[2].partition(":")[2]


def is_loopback(host: str) -> bool:
    """Whether `host` is ``localhost``, a name below it, or a loopback address; other names are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def require_own_request(request: web.Request) -> None:
    """Raise `Refused` (403) for what a form of another site could send."""
    if request.method not in ("GET", "HEAD") and CHANGING_HEADER not in request.headers:
        raise Refused(403, f"the call wants the header {CHANGING_HEADER}: 1")
