"""Why there was no answer: one table from what the system, TLS and HTTP raise to a message and its mend. Pure.

requests and urllib3 wrap what happened, several times over; the cause is looked for in all that an exception holds.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

from ..errors import TryAgain

_UNREACHED = "is it running, and is 'server' its URL?"
_PORT = "is a receiver at this URL, and does it speak what 'server' begins with, http or https?"

_ERRORS: tuple[tuple[type[Exception], str, str], ...] = (
    (
        ssl.SSLCertVerificationError,
        "the certificate is not trusted: {detail}",
        "set 'tls.ca_file' to the CA's PEM file",
    ),
    (ssl.SSLError, "TLS failed: {detail}", "does 'server' speak https at this port?"),
    (socket.gaierror, "the name of the receiver is not known", "check 'server' and the DNS of this machine"),
    (TimeoutError, "{too_late}", "is the host reachable, and is a firewall between?"),
    (ConnectionRefusedError, "nobody listens at the receiver's address", _UNREACHED),
    (ConnectionError, "the connection was closed without an answer", _PORT),
    (http.client.HTTPException, "the answer is not HTTP or was cut", _PORT),
)


def unanswered(error: Exception, too_late: str) -> TryAgain:
    """Return the project's error for what was raised on the way to an answer; `too_late` is said of a time-out."""
    causes = list(_causes_of(error))
    for kind, message, hint in _ERRORS:
        cause = next((cause for cause in causes if isinstance(cause, kind)), None)
        if cause is not None:
            detail = getattr(cause, "verify_message", None) or getattr(cause, "reason", None)
            return TryAgain(message.format(detail=detail or cause, too_late=too_late), hint=hint)
    reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
    return TryAgain(f"the receiver can't be reached: {reason or error}", hint=_UNREACHED)


def _causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and every exception that it holds or was raised from, the nearest first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
