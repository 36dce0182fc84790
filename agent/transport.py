"""The way to the receiver: one HTTP session, one table from what can go wrong to what to do about it.

Requests are idempotent by design, so a connection that turns out to be stale is replaced and the request sent again at once.
An answer counts only if `wire` can read it as the answer to what was asked. ``trust_env`` is off: neither ``~/.netrc`` nor
proxy variables may change who is talked to as whom.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import requests
import urllib3
from requests.auth import AuthBase

from .. import wire
from ..errors import BadBatch, BatchRefused, ShipError, StopSending, TimedOut, TooLarge, TryAgain
from ..wire import Answer, Held, Lineage, Manifest
from .causes import unanswered
from .config import AgentConfig
from .delivery import Packed
from .throttle import Throttle

SEND_CHUNK_BYTES = 256 << 10
MANY_PARTS = 8
MAX_ANSWER_BYTES = 64 << 20
STAT_PATHS = 1000
"""Paths asked for in one stat request; the receiver's own default limit is higher."""


class Transport:
    """A conversation with the receiver of `config`. Raises only `ShipError`s and `BadAnswer`; not for use by several threads.

    `token` is asked before each request. `throttle` bounds the bandwidth of all that share it; an urgent one goes first.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        token: Callable[[], str | None],
        throttle: Throttle | None = None,
        is_urgent: bool = False,
    ) -> None:
        self._config = config
        self._server = config.server
        self._token = token
        self._timeouts = config.timeouts
        self._compress = config.compression == "zstd"
        self._pay = None if throttle is None else partial(throttle.wait, is_urgent=is_urgent)
        self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.headers["Accept-Encoding"] = "identity"
        if self._config.proxy is not None:
            session.proxies = {"http": self._config.proxy, "https": self._config.proxy}
        tls = self._config.tls
        if tls.ca_file is not None:
            session.verify = str(tls.ca_file)
        if tls.cert_file is not None:
            session.cert = (str(tls.cert_file), str(tls.key_file)) if tls.key_file else str(tls.cert_file)
        return session

    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        """Return what the receiver holds of each path, in order; None where it holds nothing."""
        held: list[Held | None] = []
        for start in range(0, len(paths), STAT_PATHS):
            held += self._stat_some(paths[start : start + STAT_PATHS])
        return held

    def _stat_some(self, paths: Sequence[str]) -> list[Held | None]:
        """Ask in one request, or, where the receiver refuses it, in halves."""
        try:
            answer = self._post("/v1/stat", [wire.encode_stat_request(paths)], {"Content-Type": "application/json"})
        except BatchRefused:
            if len(paths) == 1:
                raise
            half = len(paths) // 2
            return self._stat_some(paths[:half]) + self._stat_some(paths[half:])
        return wire.decode_stat_answer(answer, paths)

    def lineage(self, known: str | None) -> Lineage | None:
        """Return the receiver's mark, and what happened since the `known` one; None from a receiver that keeps no marks."""
        try:
            answer = self._post(
                "/v1/lineage", [wire.encode_lineage_request(known)], {"Content-Type": "application/json"}
            )
        except NotServed:
            return None
        return wire.decode_lineage(answer)

    def pack(self, manifest: Manifest, payloads: Sequence[bytes | memoryview], *, compressible: bool) -> Packed:
        """Return one batch as it goes over the line; any thread may do that while another batch is on its way."""
        compress = self._compress and compressible
        parts = wire.batch_parts(manifest, payloads)
        if compress:
            parts = [wire.compress_parts(parts)]
        elif len(parts) > MANY_PARTS:  # small ones: a copy costs less than so many system calls
            parts = [b"".join(parts)]
        return Packed(manifest, tuple(parts), compress)

    def send(self, packed: Packed) -> Answer:
        """Send one batch and return the answer to it."""
        headers = {"Content-Type": "application/x-ml-logger-batch"}
        if packed.is_compressed:
            headers["Content-Encoding"] = "zstd"
        return wire.decode_answer(self._post("/v1/batch", packed.parts, headers), packed.manifest.items)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _post(self, path: str, body: Sequence[bytes | memoryview], headers: dict[str, str]) -> bytes:
        try:
            return self._try_post(path, body, headers)
        except requests.RequestException as error:
            if not _is_stale(error):
                raise _translate(error) from error
            self._session.close()
            self._session = self._new_session()
        try:
            return self._try_post(path, body, headers)
        except requests.RequestException as error:
            raise _translate(error) from error

    def _try_post(self, path: str, body: Sequence[bytes | memoryview], headers: dict[str, str]) -> bytes:
        deadline = time.monotonic() + self._timeouts.request_s
        with self._session.post(
            self._server + path,
            data=_Body(body, deadline, self._pay),
            headers=headers,
            auth=_Bearer(self._token()),
            timeout=(self._timeouts.connect_s, self._timeouts.read_s),
            allow_redirects=False,
            stream=True,
        ) as response:
            answer = _read_answer(response, deadline)
            error = error_for(response.status_code, answer, response.headers.get("Retry-After"))
            if error is not None:
                raise error
            return answer


class _Body:
    """A request body of known length that is sent in pieces, so that the whole-request deadline holds while sending too.

    In one piece, urllib3 would send it within the connect timeout or fail, however large it is and slow the line.
    """

    def __init__(self, parts: Sequence[bytes | memoryview], deadline: float, pay: Callable[[int], None] | None) -> None:
        self._parts = parts
        self._deadline = deadline
        self._pay = pay

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            for start in range(0, len(part), SEND_CHUNK_BYTES):
                chunk = memoryview(part)[start : start + SEND_CHUNK_BYTES]
                if self._pay is not None:
                    self._pay(len(chunk))
                _check_deadline(self._deadline)
                yield cast(bytes, chunk)  # what is only sent need not be copied


class _Bearer(AuthBase):
    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _read_answer(response: requests.Response, deadline: float) -> bytes:
    answer = bytearray()
    # read1, since iter_content would wait for a full piece, however slowly it drips
    while piece := _read_some(response):
        _check_deadline(deadline)
        answer += piece
        if len(answer) > MAX_ANSWER_BYTES:
            raise TryAgain(
                f"the answer is larger than {MAX_ANSWER_BYTES} bytes", hint="is 'server' an ML_Logger receiver?"
            )
    return bytes(answer)


def _read_some(response: requests.Response) -> bytes:
    try:
        return bytes(response.raw.read1(1 << 16, decode_content=True))
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error


def _check_deadline(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise requests.Timeout("the request took longer than timeouts.request_s")


def _is_stale(error: requests.RequestException) -> bool:
    """Whether the connection broke before an answer began: most often a keep-alive that the receiver has closed."""
    others = (requests.Timeout, requests.exceptions.SSLError, requests.exceptions.ProxyError)
    return isinstance(error, requests.ConnectionError) and not isinstance(error, others)


def _translate(error: requests.RequestException) -> TryAgain:
    """Return the project's error for an exception of requests: none of them says that trying again is useless."""
    for kind, message, hint in _TRANSPORT_ERRORS:
        if isinstance(error, kind):
            is_slow = isinstance(error, requests.Timeout) and not isinstance(error, requests.ConnectTimeout)
            return (TimedOut if is_slow else TryAgain)(message, hint=hint)
    if isinstance(error, requests.ConnectionError):
        return unanswered(error, "the receiver did not answer in time")
    return TryAgain(f"the request failed: {error}")


_TRANSPORT_ERRORS: tuple[tuple[type[requests.RequestException], str, str], ...] = (
    (requests.ConnectTimeout, "the receiver did not accept a connection in time", "is the host reachable?"),
    (requests.Timeout, "the receiver did not answer in time", "see 'timeouts' in the config"),
    (requests.exceptions.ProxyError, "the proxy failed", "check the proxy"),
    (requests.exceptions.ChunkedEncodingError, "the answer was cut off", "the connection broke"),
    (requests.exceptions.ContentDecodingError, "the answer can't be decoded", "is there a proxy between?"),
)
"""What only requests tells apart; the rest is looked up in `causes`."""


class NotServed(TryAgain):
    """There is no such thing at this URL: an older receiver, or none."""


def error_for(status: int, answer: bytes, retry_after: str | None) -> ShipError | None:
    """Return what an HTTP status means for the sender, or None for 200."""
    if status == 200:
        return None
    said = f"the receiver answered {status}{_reason_in(answer)}"
    if status in (401, 403):
        return StopSending(said, hint="check the token ('token_file' or $ML_LOGGER_TOKEN) against the receiver's")
    if status == 426:
        return StopSending(said, hint="agent and receiver do not speak the same version: upgrade the older one")
    if status == 413:
        return TooLarge(said)
    if status in (400, 422):
        return BatchRefused(said)
    if status in (404, 405):
        return NotServed(said, hint="is 'server' the URL of an ML_Logger receiver?")
    return TryAgain(said, retry_after_s=_seconds(retry_after))


def _reason_in(answer: bytes) -> str:
    try:
        return f" ({wire.decode_error(answer)})"
    except BadBatch:
        return ""


def _seconds(retry_after: str | None) -> float | None:
    """Return Retry-After in seconds; its other form, a date, needs both clocks to agree and is passed over."""
    if retry_after is None or not (retry_after.isascii() and retry_after.isdigit()):
        return None
    return float(min(int(retry_after[:9]), 3600))
