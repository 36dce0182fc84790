"""One request to the receiver over a connection of its own, with the standard library: for heartbeats and the doctor.

`Transport` carries what is shipped, keeps its connections and sends again; here nothing is kept and nothing repeated. So a
heartbeat can't get in the way of a batch, and the doctor sees each step: the connection, the certificate, the headers.
Proxy, CAs and client certificate are those of the config, as for `Transport`; the environment is not looked at.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

import certifi

from ..errors import ConfigError
from .causes import unanswered
from .config import AgentConfig, TlsSettings

MAX_ANSWER_BYTES = 4 << 20
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer.

    `date` is what its header says, and `certificate_ends_at` (seconds since the epoch) is None where there was no TLS.
    """

    status: int
    date: str | None
    body: bytes
    took_s: float
    certificate_ends_at: float | None = None


class Caller:
    """Calls the receiver of `config`; safe for threads. `timeout_s` bounds a call as a whole.

    Raises `ConfigError` for files of TLS that can't be used.
    """

    def __init__(self, config: AgentConfig, token: Callable[[], str | None], timeout_s: float) -> None:
        self._config = config
        self._server = urlsplit(config.server)
        self._proxy = None if config.proxy is None else urlsplit(config.proxy)
        self._token = token
        self._timeout_s = timeout_s
        is_plain = self._server.scheme == "http" and (self._proxy is None or self._proxy.scheme == "http")
        self._tls = None if is_plain else tls_context(config.tls)

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Send one request and return the answer, whatever its status.

        Raises `TryAgain`, with the reason and the mend, where there is no answer.
        """
        try:
            with self._connected() as connection:
                return self._exchange(connection, method, path, body)
        except (OSError, http.client.HTTPException, ValueError, RuntimeError) as error:
            # RuntimeError: no thread is left
            raise unanswered(error, f"no answer within {self._timeout_s:g} s") from None

    def address(self) -> tuple[str, int]:
        """Return the host and port that are connected to: the receiver's, or the proxy's."""
        return _address(self._proxy or self._server)

    @contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        connection = self._new_connection()
        # every read has its own timeout, so bytes that drip could go on for ever
        alarm = threading.Timer(self._timeout_s, _hang_up, [connection])
        alarm.daemon = True
        alarm.start()
        try:
            connection.connect()
            yield connection
        finally:
            alarm.cancel()
            connection.close()

    def _new_connection(self) -> http.client.HTTPConnection:
        host, port = self.address()
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        connection = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        if self._proxy is not None and self._server.scheme == "https":
            connection.set_tunnel(*_address(self._server), headers=_proxy_headers(self._proxy))
        return connection

    def _exchange(self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> Reply:
        start_s, token = time.monotonic(), self._token()
        headers = {"Accept-Encoding": "identity", "Connection": "close"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        target = self._server.path + path
        if self._proxy is not None and self._server.scheme == "http":
            target = self._config.server + path
            headers |= _proxy_headers(self._proxy)
        ends_at = _certificate_end(connection)
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        answer = response.read(MAX_ANSWER_BYTES)
        return Reply(response.status, response.headers.get("Date"), answer, time.monotonic() - start_s, ends_at)


def _hang_up(connection: http.client.HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def _address(url: SplitResult) -> tuple[str, int]:
    return url.hostname or "", url.port or _PORTS[url.scheme]


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return what TLS trusts and shows, from the config; raise `ConfigError` for a file that is no certificate or key."""
    try:
        # the same public CAs as requests trusts, so that the doctor and the shipping agree
        context = ssl.create_default_context(cafile=str(settings.ca_file or certifi.where()))
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        raise ConfigError(
            f"the files of 'tls' can't be used: {getattr(error, 'reason', None) or error.strerror or error}",
            hint="give PEM files: ca_file the CAs, cert_file and key_file a certificate and its key",
        ) from None
    return context


def _certificate_end(connection: http.client.HTTPConnection) -> float | None:
    if not isinstance(connection.sock, ssl.SSLSocket):
        return None
    ends = (connection.sock.getpeercert() or {}).get("notAfter")
    return ssl.cert_time_to_seconds(ends) if isinstance(ends, str) else None
