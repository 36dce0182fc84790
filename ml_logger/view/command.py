"""``ml-logger view DIR``: the page over a directory, until Ctrl-C. Its first line on stdout is the URL."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

from ..errors import NotHeld, UsageError

PORT = 6006
"""Where people look first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("directory", type=Path, help="a log directory, a run, or a receiver's data directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, help=f"port to listen on (default {PORT}, or any free one if it is taken)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code; raises `UsageError` or `NotHeld`."""
    from .local import bind, is_loopback, url_of  # lazily: an HTTP server takes longer to load than all the rest

    directory: Path = options.directory
    if not directory.is_dir():
        raise NotHeld(f"{str(directory)!r} is not a directory", hint="name a log directory")
    if options.port is not None and not 0 <= options.port <= 65535:
        raise UsageError(f"port {options.port} is none", hint="give one from 0 (any free one) to 65535")
    listening = bind(options.host, options.port, otherwise=PORT)
    url = url_of(options.host, listening)

    def ready() -> None:
        print(url, flush=True)
        if not is_loopback(options.host):
            print(f"ml-logger: whoever reaches {url} can read everything in {directory}", file=sys.stderr)
        if options.open:
            webbrowser.open(url)

    asyncio.run(_serve(directory, listening, ready))
    return 0


async def _serve(directory: Path, listening: socket.socket, ready: Callable[[], None]) -> None:
    from .gate import OpenGate
    from .local import page_of, serve

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(page_of(directory, OpenGate()), listening, ready, stop)
