"""A small HTTP-aware TCP proxy that misbehaves on request, so that faults on the line are real ones.

It reads each request whole, looks up what to do with it (`Proxy.script` queues behaviours by path, `Proxy.default` is what
happens otherwise) and notes it in `Proxy.seen`. One thread a connection; each request goes to the target on a
connection of its own, so the target may die, come back, or be another one between two requests (`Proxy.target`).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_HEAD_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 60.0


class ConnectionEnded(Exception):
    """The other side closed, or a behaviour wants the connection closed."""


class Behaviour:
    """What the proxy does with one request."""

    def act(self, exchange: Exchange) -> None:
        """Do it; raises ConnectionEnded where the client is to be cut off."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pass(Behaviour):
    """Forward the request and the answer."""

    def act(self, exchange: Exchange) -> None:
        exchange.client.sendall(exchange.ask().raw)


@dataclass(frozen=True)
class Drop(Behaviour):
    """Forward nothing and close the client's connection; with `reset` by a TCP reset."""

    reset: bool = False

    def act(self, exchange: Exchange) -> None:
        if self.reset:
            # linger of 0 seconds: close() sends RST instead of FIN
            exchange.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionEnded


@dataclass(frozen=True)
class CutRequest(Behaviour):
    """Forward the first `after_bytes` bytes of the request (head included; negative: from its end), close both sides."""

    after_bytes: int

    def act(self, exchange: Exchange) -> None:
        with exchange.proxy.connect() as server:
            server.sendall(exchange.request.raw[: self.after_bytes])
        raise ConnectionEnded


@dataclass(frozen=True)
class CutResponse(Behaviour):
    """Forward the request and only the first `after_bytes` bytes of the answer (negative: from its end), then close."""

    after_bytes: int

    def act(self, exchange: Exchange) -> None:
        exchange.client.sendall(exchange.ask().raw[: self.after_bytes])
        raise ConnectionEnded


@dataclass(frozen=True)
class Delay(Behaviour):
    """Wait `delay_s` seconds before the request is forwarded."""

    delay_s: float

    def act(self, exchange: Exchange) -> None:
        exchange.proxy.pause(self.delay_s)
        exchange.client.sendall(exchange.ask().raw)


@dataclass(frozen=True)
class Duplicate(Behaviour):
    """Send the same request twice to the server; the client gets the second answer."""

    def act(self, exchange: Exchange) -> None:
        exchange.ask()
        exchange.client.sendall(exchange.ask().raw)


@dataclass(frozen=True)
class LoseAnswer(Behaviour):
    """Let the server have the request and wait for its whole answer, then close the client's connection."""

    def act(self, exchange: Exchange) -> None:
        exchange.ask()
        raise ConnectionEnded


@dataclass(frozen=True)
class DoubleAnswer(Behaviour):
    """Give the answer twice: what the client reads next on this connection is an answer to nothing it asked."""

    def act(self, exchange: Exchange) -> None:
        exchange.client.sendall(exchange.ask().raw * 2)


@dataclass(frozen=True)
class DelayAnswer(Behaviour):
    """Let the server have the request at once, and give its answer `delay_s` seconds late."""

    delay_s: float

    def act(self, exchange: Exchange) -> None:
        answer = exchange.ask()
        exchange.proxy.pause(self.delay_s)
        exchange.client.sendall(answer.raw)


@dataclass(frozen=True)
class Drip(Behaviour):
    """Give the answer byte by byte, one every `pause_s` seconds: no single byte is late, and the whole one is."""

    pause_s: float

    def act(self, exchange: Exchange) -> None:
        for byte in exchange.ask().raw:
            exchange.client.sendall(bytes([byte]))
            exchange.proxy.pause(self.pause_s)


@dataclass(frozen=True)
class OldAnswer(Behaviour):
    """Answer with what the server said last to another request for this path, as a cache would; the server sees nothing."""

    def act(self, exchange: Exchange) -> None:
        answer = exchange.proxy.last_answers.get(exchange.request.start_line)
        exchange.client.sendall((answer or exchange.ask()).raw)


@dataclass(frozen=True)
class Answer(Behaviour):
    """Answer by the proxy itself; the server sees nothing."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()

    def act(self, exchange: Exchange) -> None:
        fields = [("Content-Type", self.content_type), ("Content-Length", str(len(self.body))), *self.headers]
        head = f"HTTP/1.1 {self.status} By The Proxy\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n"
        exchange.client.sendall(head.encode("latin-1") + self.body)


@dataclass(frozen=True)
class Hold(Behaviour):
    """Forward the first `after_bytes` bytes of the request, set `is_held`, wait for `release`, then go on.

    Negative `after_bytes` count from the request's end. What follows may meet a server that has died meanwhile.
    """

    after_bytes: int
    is_held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def act(self, exchange: Exchange) -> None:
        with exchange.proxy.connect() as server:
            server.sendall(exchange.request.raw[: self.after_bytes])
            self.is_held.set()
            self.release.wait(IDLE_TIMEOUT_S)
            server.sendall(exchange.request.raw[self.after_bytes :])
            exchange.client.sendall(exchange.read_answer(server).raw)


@dataclass(frozen=True)
class HoldAnswer(Behaviour):
    """Let the server have the request, set `is_held` once its whole answer is here, pass that on after `release`."""

    is_held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def act(self, exchange: Exchange) -> None:
        answer = exchange.ask()
        self.is_held.set()
        self.release.wait(IDLE_TIMEOUT_S)
        exchange.client.sendall(answer.raw)


@dataclass(frozen=True)
class Strand(Behaviour):
    """Close the client's connection at once, and let the server have the request only after `release`.

    A box in between may do so with what it has taken in when its client has long given up. `is_delivered` is set then.
    """

    release: threading.Event = field(default_factory=threading.Event)
    is_delivered: threading.Event = field(default_factory=threading.Event)

    def act(self, exchange: Exchange) -> None:
        threading.Thread(target=self._deliver, args=(exchange,), name="proxy-strand", daemon=True).start()
        raise ConnectionEnded

    def _deliver(self, exchange: Exchange) -> None:
        self.release.wait(IDLE_TIMEOUT_S)
        with contextlib.suppress(ConnectionEnded, OSError):
            exchange.ask()
            self.is_delivered.set()


HTML = Answer(200, b"<!doctype html><html><body>Please sign in to the hotel's network</body></html>", "text/html")
"""What a captive portal says to everything."""


@dataclass(frozen=True)
class Seen:
    """One request: what it was, what was done with it, and the status the server gave (None if it gave none)."""

    method: str
    path: str
    size_bytes: int
    behaviour: Behaviour
    status: int | None


@dataclass(frozen=True)
class Message:
    """One whole HTTP message as it was on the wire."""

    start_line: str
    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    @property
    def status(self) -> int:
        return int(self.start_line.split()[1])


class Proxy:
    """A proxy on a port of its own in front of `target`, from its construction until `close`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.default: Behaviour = Pass()
        self.seen: list[Seen] = []
        self.last_answers: dict[str, Message] = {}
        self._scripts: dict[str, deque[Behaviour]] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def script(self, path: str, *behaviours: Behaviour) -> None:
        """Queue `behaviours` for the next requests whose path contains `path`, one each, then `default` again."""
        with self._lock:
            self._scripts.setdefault(path, deque()).extend(behaviours)

    def is_done(self, path: str) -> bool:
        """Whether every behaviour queued for `path` has been used."""
        with self._lock:
            return not self._scripts.get(path)

    def count(self, kind: type, path: str = "") -> int:
        """Return how many requests with `path` in theirs met a behaviour of `kind`."""
        with self._lock:
            return sum(isinstance(s.behaviour, kind) and path in s.path for s in self.seen)

    def close(self) -> None:
        """Stop listening, cut what is open."""
        self._is_closing.set()
        # shutdown, since close alone does not wake a thread that sits in accept or recv
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._is_closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="proxy-connection", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._kept(client), contextlib.suppress(ConnectionEnded, OSError):
            client.settimeout(IDLE_TIMEOUT_S)
            reader = Reader(client)
            while not self._is_closing.is_set():
                self._one_exchange(reader, client)

    def _one_exchange(self, reader: Reader, client: socket.socket) -> None:
        request = reader.read_request()
        method, path, *_ = request.start_line.split()
        behaviour = self._next_behaviour(path)
        exchange = Exchange(self, request, client)
        try:
            behaviour.act(exchange)
        finally:
            with self._lock:
                self.seen.append(Seen(method, path, len(request.body), behaviour, exchange.status))

    def _next_behaviour(self, path: str) -> Behaviour:
        with self._lock:
            queue = next((q for part, q in self._scripts.items() if part in path and q), None)
            return queue.popleft() if queue else self.default

    def connect(self) -> contextlib.AbstractContextManager[socket.socket]:
        """Connect to the target; raises OSError if it is not there."""
        server = socket.create_connection(self.target, timeout=CONNECT_TIMEOUT_S)
        server.settimeout(IDLE_TIMEOUT_S)
        return self._kept(server)

    @contextlib.contextmanager
    def _kept(self, sock: socket.socket) -> Iterator[socket.socket]:
        with self._lock:
            self._open.add(sock)
        try:
            yield sock
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def pause(self, delay_s: float) -> None:
        """Wait `delay_s` seconds, less if the proxy is closed meanwhile."""
        self._is_closing.wait(delay_s)


class Exchange:
    """One request of a client on its way through the proxy."""

    def __init__(self, proxy: Proxy, request: Message, client: socket.socket) -> None:
        self.proxy = proxy
        self.request = request
        self.client = client
        self.status: int | None = None

    def ask(self) -> Message:
        """Send the whole request to the server and return its whole answer."""
        with self.proxy.connect() as server:
            server.sendall(self.request.raw)
            return self.read_answer(server)

    def read_answer(self, server: socket.socket) -> Message:
        """Return the server's answer and keep its status."""
        answer = Reader(server).read_response(has_body=not self.request.start_line.startswith("HEAD "))
        self.status = answer.status
        self.proxy.last_answers[self.request.start_line] = answer
        return answer


class Reader:
    """Cuts the bytes of one socket into HTTP messages."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def read_request(self) -> Message:
        """Return the next request; answers ``Expect: 100-continue`` itself. Raises ConnectionEnded."""
        head = self._read_head()
        fields = parse_fields(head)
        if fields.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._message(head, self._read_body(fields, until_close=False))

    def read_response(self, *, has_body: bool) -> Message:
        """Return the next final response; raises ConnectionEnded if the server closes in the middle of it."""
        head = self._read_head()
        while head.split(maxsplit=2)[1].startswith(b"1"):
            head = self._read_head()
        is_bare = not has_body or head.split(maxsplit=2)[1] in (b"204", b"304")
        return self._message(head, b"" if is_bare else self._read_body(parse_fields(head), until_close=True))

    @staticmethod
    def _message(head: bytes, body: bytes) -> Message:
        return Message(head.split(b"\r\n", 1)[0].decode("latin-1"), head, body)

    def _read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ConnectionEnded
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def _read_body(self, fields: dict[str, str], *, until_close: bool) -> bytes:
        if "chunked" in fields.get("transfer-encoding", ""):
            return self._read_chunks()
        if "content-length" in fields:
            return self._take(int(fields["content-length"]))
        return self._read_rest() if until_close else b""

    def _read_chunks(self) -> bytes:
        """Return the chunks as they stood on the wire, sizes and end included."""
        raw = b""
        while True:
            line = self._take_line()
            size = int(line.split(b";")[0], 16)
            raw += line + self._take(size + 2)
            if size == 0:
                return raw

    def _take_line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line + b"\r\n"

    def _take(self, size_bytes: int) -> bytes:
        pieces, missing = [self._buffer[:size_bytes]], size_bytes - len(self._buffer)
        self._buffer = self._buffer[size_bytes:]
        while missing > 0:
            piece = self._receive(missing)
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _read_rest(self) -> bytes:
        with contextlib.suppress(ConnectionEnded):
            while True:
                self._fill()
        rest, self._buffer = self._buffer, b""
        return rest

    def _fill(self) -> None:
        self._buffer += self._receive(1 << 16)

    def _receive(self, most: int) -> bytes:
        piece = self._sock.recv(min(most, 1 << 20))
        if not piece:
            raise ConnectionEnded
        return piece


def parse_fields(head: bytes) -> dict[str, str]:
    """Return the header fields of `head`, names in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}
