"""A relay that passes bytes on as they come and knows nothing of HTTP: it makes a line slow, and counts what goes over it.

The proxy reads each request whole before it forwards it; here a large request is on its way for as long as it takes, beside
the others. One thread a direction; all connections share the line.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time

CONNECT_TIMEOUT_S = 5.0
_PIECE_BYTES = 1 << 14
_BUFFER_BYTES = 1 << 16  # small, so that a sender feels how slow the line is


class Relay:
    """Joins each client to `target`, on a port of its own, from its construction until `close`.

    At most `bytes_per_s` bytes a second go to the target, all connections together and in turns; None: as fast as it goes.
    It may be changed at any time. `up_bytes` and `down_bytes` have gone to the target and back, over `connections` so far.
    """

    def __init__(self, target: tuple[str, int], bytes_per_s: float | None = None) -> None:
        self.target = target
        self.bytes_per_s = bytes_per_s
        self.up_bytes = 0
        self.down_bytes = 0
        self.connections = 0
        self.up_at: list[tuple[float, int]] = []
        """When how many bytes went to the target: the steady clock in seconds, and the bytes."""
        self._is_free_at_s = 0.0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._thread = threading.Thread(target=self._accept, name="relay", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def passed_bytes(self) -> int:
        return self.up_bytes + self.down_bytes

    def busiest_second_bytes(self) -> int:
        """Return the most bytes that went to the target within any one second."""
        with self._lock:
            marks = list(self.up_at)
        most = start = inside = 0
        for at_s, size in marks:
            inside += size
            while marks[start][0] < at_s - 1.0:
                inside -= marks[start][1]
                start += 1
            most = max(most, inside)
        return most

    def close(self) -> None:
        """Stop listening, cut what is open."""
        self._is_closing.set()
        with self._lock:
            left = [self._listener, *self._open]
        for sock in left:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        for number in itertools.count(1):
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections = number
            threading.Thread(target=self._join, args=(client,), name="relay-connection", daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self.target, CONNECT_TIMEOUT_S) as server:
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
            back.start()
            self._pump(client, server, True)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if is_up:
                    self._wait_turn(len(piece))
                sink.sendall(piece)
                self._count(len(piece), is_up)
        # Both ways at once: a client that has half closed is none of ours, and a dead end must be felt at the other.
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _wait_turn(self, size_bytes: int) -> None:
        with self._lock:
            if self.bytes_per_s is None:
                return
            now_s = time.monotonic()
            self._is_free_at_s = max(now_s, self._is_free_at_s) + size_bytes / self.bytes_per_s
            wait_s = self._is_free_at_s - now_s
        self._is_closing.wait(wait_s)

    def _count(self, size_bytes: int, is_up: bool) -> None:
        with self._lock:
            if is_up:
                self.up_bytes += size_bytes
                self.up_at.append((time.monotonic(), size_bytes))
            else:
                self.down_bytes += size_bytes
