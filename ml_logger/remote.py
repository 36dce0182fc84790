"""A receiver as the commands that read see it: one request at a time, and one table of what its answers mean.

Nothing is trusted that `wire` can't read as the answer to what was asked. ``trust_env`` is off: neither ``~/.netrc`` nor proxy
variables may change who is talked to as whom; redirects are not followed, since the token would go along.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import requests
import urllib3

from . import wire
from .errors import BadAnswer, BadBatch, MLLoggerError, NotHeld, TryAgain, UsageError
from .settings import check_server
from .wire import Digest, Unreadable

CONNECT_S = 10.0
SILENCE_S = 60.0
"""How long nothing may come of an answer; of one that takes long, signs of life do."""

LINE_S = 3600.0
"""How long one line of an answer may take, signs of life or not: a file of some TB is read in that time."""

PATHS_A_REQUEST = 100
_MAX_ERROR_BYTES = 64 << 10
_READ_BYTES = 64 << 10
_MOST_DEPTH = 8
_ANSWERS = (200, 206, 416)
_SECONDS = re.compile(r"[0-9]{1,6}", re.ASCII)


class Answer:
    """An answer that came: its `status` (200, 206 or 416), its `headers`, and its body, which is read as it is asked for."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = response.headers

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes; one that is cut off before its promised length raises `TryAgain`."""
        try:
            while piece := _read_some(self._response):
                yield piece
        except requests.RequestException as error:
            raise _translate(error) from None

    def body(self, most: int) -> bytes:
        """Return all of the body; raises `BadAnswer` past `most` bytes, `TryAgain` if it takes too long."""
        found, deadline = bytearray(), time.monotonic() + LINE_S
        for piece in self.pieces():
            found += piece
            if len(found) > most:
                raise BadAnswer(f"the answer has more than {most} bytes", hint="is this the URL of a receiver?")
            if time.monotonic() > deadline:
                raise TryAgain(f"the answer did not end within {LINE_S:g} s")
        return bytes(found)


class Remote:
    """The receiver at `server`. Raises `TryAgain` where the same may work later, `UsageError` where a person must act.

    `BadAnswer` is what no receiver says. `ca_file` holds the CAs to trust in place of the public ones. Connections are kept
    with `keep_alive` only: between two requests the caller may read a large file for minutes.
    """

    def __init__(
        self, server: str, *, token: str | None = None, ca_file: Path | None = None, keep_alive: bool = False
    ) -> None:
        self.server = check_server(server, userinfo_hint="use --token-file instead")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"Accept-Encoding": "identity"})
        if not keep_alive:
            self._session.headers["Connection"] = "close"
        if token is not None:
            self._session.headers["Authorization"] = _bearer(token)
        if ca_file is not None:
            if not ca_file.is_file():
                raise UsageError(f"{str(ca_file)!a} is no file", hint="give --ca-file the CA's PEM file")
            self._session.verify = str(ca_file)

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def digests(self, paths: Sequence[str]) -> Iterator[Digest | Unreadable | None]:
        """Yield what is held of each path as the receiver comes to it: read and digested anew, None where nothing is."""
        for start in range(0, len(paths), PATHS_A_REQUEST):
            some = paths[start : start + PATHS_A_REQUEST]
            with self._ask("POST", "/v1/digest", wire.encode_stat_request(some)) as response:
                for path, line in zip(some, _lines(response), strict=False):
                    yield wire.decode_digest(line, path)

    @contextmanager
    def get(
        self, call: str, path: str = "", query: str = "", *, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """Ask ``GET call/path`` and give what comes; raises `NotHeld` where the receiver has nothing of that name."""
        target = f"{call}/{quote(path)}" if path else call
        with self._ask("GET", target + query, headers=headers or {}, held=path) as response:
            yield Answer(response)

    def is_receiver(self) -> bool:
        """Whether a receiver answers at this URL; raises `TryAgain` where nobody does."""
        with self._ask("GET", "/healthz", is_any_answer=True) as response:
            answer = Answer(response)
            return answer.status == 200 and _is_health(answer.body(_MAX_ERROR_BYTES))

    @contextmanager
    def _ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        held: str | None = None,
        is_any_answer: bool = False,
    ) -> Iterator[requests.Response]:
        """Send a request; 404 and 410 mean `NotHeld` where it asks for a path that may be `held`."""
        try:
            with self._session.request(
                method,
                self.server + target,
                data=body,
                headers={"Content-Type": "application/json"} if headers is None else headers,
                timeout=(CONNECT_S, SILENCE_S),
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code >= 500 or (response.status_code not in _ANSWERS and not is_any_answer):
                    raise _error_for(response, held)
                yield response
        except requests.RequestException as error:
            raise _translate(error) from None


def find_receiver(url: str, *, token: str | None = None, ca_file: Path | None = None) -> tuple[Remote, str]:
    """Return the receiver that `url` leads to, and the path behind it, decoded.

    A receiver may lie below a path of its host (a proxy's), and what it holds behind that: it is asked for where one answers
    ``/healthz``. If nothing does, it is taken to be at the top, whose answers then say what is wrong.
    """
    url = check_server(url.partition("#")[0], userinfo_hint="use --token-file or $ML_LOGGER_TOKEN instead")
    parts = urlsplit(url)
    top = f"{parts.scheme}://{parts.netloc}"
    for marker in ("/v1/files/", "/v1/list/"):  # a URL of the protocol itself
        before, found, behind = parts.path.partition(marker)
        if found:
            return _kept(top + before, token, ca_file), unquote(behind)
    components = [component for component in parts.path.split("/") if component]
    for depth in range(min(len(components), _MOST_DEPTH) + 1):
        remote = _kept("/".join([top, *components[:depth]]), token, ca_file)
        if remote.is_receiver():
            return remote, unquote("/".join(components[depth:]))
        remote.close()
    return _kept(top, token, ca_file), unquote("/".join(components))


def _kept(server: str, token: str | None, ca_file: Path | None) -> Remote:
    return Remote(server, token=token, ca_file=ca_file, keep_alive=True)


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


def _is_health(body: bytes) -> bool:
    try:
        record = json.loads(body)
    except ValueError:
        return False
    return isinstance(record, dict) and record.get("ok") is True and "version" in record


def _start_of(response: requests.Response) -> bytes:
    """Return as much of an answer as an error has; the rest is not waited for."""
    found, end = b"", time.monotonic() + CONNECT_S
    while len(found) < _MAX_ERROR_BYTES and time.monotonic() < end and (piece := _read_some(response)):
        found += piece
    return found


# --- what went wrong


def _error_for(response: requests.Response, held: str | None) -> MLLoggerError:
    """Return what a status other than 200 means to the person at the keyboard."""
    status, reason = response.status_code, _reason_in(_start_of(response))
    if status in (404, 410) and held is not None and reason:
        return NotHeld(f"the receiver has no {held[:200]!a}{reason if status == 410 else ''}")
    said = f"the receiver answered {status}{reason}"
    if status in (408, 429) or status >= 500:
        return TryAgain(said, retry_after_s=_maybe_seconds(response.headers.get("Retry-After", "")))
    return UsageError(said, hint=_HINTS.get(status, "is this the URL of a receiver?"))


def _maybe_seconds(retry_after: str) -> float | None:
    return float(retry_after) if _SECONDS.fullmatch(retry_after) else None


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
