"""A server that answers every request with the same bytes: what else than a receiver may be there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def answering(answer: bytes, *, once_read: bytes = b"\r\n\r\n") -> Iterator[str]:
    """Give the URL at which every request is answered with these very bytes, once so much of it is read, and hung up on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    request = b""
                    while once_read not in request and (piece := connection.recv(1 << 16)):
                        request += piece
                    with suppress(OSError):  # who has read enough hangs up
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def said(body: bytes, status: str = "200 OK", *more: str, length: int | None = None) -> bytes:
    """Return a whole answer; its ``Content-Length`` is that of the body, or a lie."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *more, "", ""]
    return "\r\n".join(head).encode() + body
