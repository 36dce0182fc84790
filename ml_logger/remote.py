"""A receiver as the commands that read see it: one request at a time, and one table of what its answers mean.

Nothing is trusted that `wire` can't read as the answer to what was asked. ``trust_env`` is off: neither ``~/.netrc`` nor proxy
variables may change who is talked to as whom; redirects are not followed, since the token would go along.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from . import wire
from .errors import BadAnswer, BadBatch, MLLoggerError, TryAgain, UsageError
from .wire import Digest, Unreadable

CONNECT_S = 10.0
SILENCE_S = 60.0
"""How long nothing may come of an answer; of one that takes long, signs of life do."""

LINE_S = 3600.0
"""How long one line of an answer may take, signs of life or not: a file of some TB is read in that time."""

PATHS_A_REQUEST = 100
_MAX_ERROR_BYTES = 64 << 10
_READ_BYTES = 64 << 10


class Remote:
    """The receiver at `server`. Raises `TryAgain` where the same may work later, `UsageError` where a person must act.

    `BadAnswer` is what no receiver says. `ca_file` holds the CAs to trust in place of the public ones.
    """

    def __init__(self, server: str, *, token: str | None = None, ca_file: Path | None = None) -> None:
        self._server = _checked_url(server)
        self._session = requests.Session()
        self._session.trust_env = False
        # No connection is kept: between two requests the caller may read a large file for minutes.
        self._session.headers.update({"Accept-Encoding": "identity", "Connection": "close"})
        if token is not None:
            self._session.headers["Authorization"] = _bearer(token)
        if ca_file is not None:
            if not ca_file.is_file():
                raise UsageError(f"{str(ca_file)!a} is no file", hint="give --ca-file the CA's PEM file")
            self._session.verify = str(ca_file)

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def digests(self, paths: Sequence[str]) -> Iterator[Digest | Unreadable | None]:
        """Yield what is held of each path as the receiver comes to it: read and digested anew, None where nothing is."""
        for start in range(0, len(paths), PATHS_A_REQUEST):
            some = paths[start : start + PATHS_A_REQUEST]
            with self._post("/v1/digest", wire.encode_stat_request(some)) as response:
                for path, line in zip(some, _lines(response), strict=False):
                    yield wire.decode_digest(line, path)

    @contextmanager
    def _post(self, path: str, body: bytes) -> Iterator[requests.Response]:
        try:
            with self._session.post(
                self._server + path,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=(CONNECT_S, SILENCE_S),
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code != 200:
                    raise _error_for(response.status_code, _start_of(response))
                yield response
        except requests.RequestException as error:
            raise _translate(error) from None


def _checked_url(server: str) -> str:
    try:
        parts = urlsplit(server)
        host = (parts.hostname or "").encode("idna")
        is_valid = parts.scheme in ("http", "https") and bool(host) and parts.port != 0 and not parts.query
    except ValueError:  # UnicodeError, of a host name that can't be one, is a ValueError
        is_valid = False
    if not is_valid:
        raise UsageError(f"server {server[:200]!a} is not an http(s) URL", hint="write it like http://storage:8081")
    if parts.username or parts.password:
        raise UsageError("the server URL holds a user name or password", hint="use --token-file instead")
    return server.rstrip("/")


def _bearer(token: str) -> bytes:
    if not token.isprintable():
        raise UsageError("the token holds characters that no token has", hint="check $ML_LOGGER_TOKEN or --token-file")
    return b"Bearer " + token.encode()


# --- reading an answer


def _lines(response: requests.Response) -> Iterator[bytes]:
    """Yield the lines of an answer, empty ones left out; raises `TryAgain` at its end: who reads on misses some."""
    rest, deadline = b"", time.monotonic() + LINE_S
    while piece := _read_some(response):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
                deadline = time.monotonic() + LINE_S
        if len(rest) > wire.MAX_DIGEST_LINE_BYTES:
            raise BadAnswer("the answer has a line that is too long", hint="is this the URL of a receiver?")
        if time.monotonic() > deadline:
            raise TryAgain(f"no more of the answer came within {LINE_S:g} s")
    raise TryAgain("the answer was cut off", hint="the connection broke, or the receiver was stopped")


def _read_some(response: requests.Response) -> bytes:
    try:
        return bytes(response.raw.read1(_READ_BYTES, decode_content=False))
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error


def _start_of(response: requests.Response) -> bytes:
    """Return as much of an answer as an error has; the rest is not waited for."""
    found, end = b"", time.monotonic() + CONNECT_S
    while len(found) < _MAX_ERROR_BYTES and time.monotonic() < end and (piece := _read_some(response)):
        found += piece
    return found


# --- what went wrong


def _error_for(status: int, answer: bytes) -> MLLoggerError:
    """Return what a status other than 200 means to the person at the keyboard."""
    said = f"the receiver answered {status}{_reason_in(answer)}"
    if status in (408, 429) or status >= 500:
        return TryAgain(said)
    return UsageError(said, hint=_HINTS.get(status, "is this the URL of a receiver?"))


_HINTS = {
    401: "give its token by --token-file or $ML_LOGGER_TOKEN",
    403: "give a token with the right to read there",
    404: "is this the URL of a receiver, and is it of this version?",
    405: "is this the URL of a receiver, and is it of this version?",
    413: "raise limits.max_paths of the receiver",
    426: "upgrade this command or the receiver",
}


def _reason_in(answer: bytes) -> str:
    try:
        return f" ({ascii(wire.decode_error(answer)[:200])[1:-1]})"
    except BadBatch:
        return ""


def _translate(error: requests.RequestException) -> MLLoggerError:
    for kind, message, hint in _LASTING_ERRORS:
        if isinstance(error, kind):
            return UsageError(message, hint=hint)
    for kind, message, hint in _PASSING_ERRORS:
        if isinstance(error, kind):
            return TryAgain(message, hint=hint)
    return UsageError(f"the request failed: {type(error).__name__}", hint="is this the URL of a receiver?")


_LASTING_ERRORS: tuple[tuple[type[requests.RequestException], str, str], ...] = (
    (requests.exceptions.SSLError, "TLS failed", "check --ca-file, and that the receiver speaks https at this port"),
    (requests.exceptions.InvalidURL, "the URL can't be used", "write it like http://storage:8081"),
)
_PASSING_ERRORS: tuple[tuple[type[requests.RequestException], str, str], ...] = (
    (requests.ConnectTimeout, "the receiver did not accept a connection in time", "is the host reachable?"),
    (requests.Timeout, "the receiver did not answer in time", "try again later"),
    (requests.ConnectionError, "the receiver can't be reached", "is it running, and is this its URL?"),
    (requests.exceptions.ChunkedEncodingError, "the answer was cut off", "the connection broke; try again"),
)
