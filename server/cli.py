"""``ml-logger-server``: reads the config, starts the receiver, says its URL, and stops at SIGTERM or SIGINT.

Exit codes: 0 after a signal, 2 for what the person who started it can mend (one line on stderr).
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError, UsageError
from ..journal import start_logging
from ..settings import OneLineParser, read_token
from ..version import __version__
from .app import make_app, start_site
from .auth import Door, require_safe_bind
from .config import ENV_PREFIX, ServerConfig, load_config
from .lineage import Marks
from .local_store import LocalStore
from .memory import keep_freed_memory
from .store import Store

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        flags = vars(_parser().parse_args(argv))
        run(_config(flags.pop("config"), flags))
    except UsageError as error:
        print(f"ml-logger-server: {error.one_line()}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="ml-logger-server",
        description="Receive logs and keep them as plain files.",
        epilog=f"Every key of the config can also be set by a variable: {ENV_PREFIX}DATA_DIR, …",
    )
    parser.add_argument("--version", action="version", version=f"ml-logger-server {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a server.yaml; flags count more")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the files are kept")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for any free one (default 8081)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with the bearer token on its first line")
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], dest="log.level", help="default info"
    )
    return parser


def _config(file: Path | None, flags: dict[str, object]) -> ServerConfig:
    if file is None and flags["data_dir"] is None and not os.environ.get(ENV_PREFIX + "DATA_DIR"):
        raise ConfigError("no data directory is given", hint="add --data-dir DIR or --config FILE")
    return load_config(file, os.environ, flags)


def _token(config: ServerConfig) -> str | None:
    # A file that is named counts more than a variable that may be there for the agent on the same machine.
    return read_token(None, config.token_file, {} if config.token_file else os.environ)


def run(config: ServerConfig) -> None:
    """Serve until SIGTERM or SIGINT; raises `UsageError` for what can't be used as it is."""
    door = Door(_token(config))
    require_safe_bind(config.host, door)
    start_logging(config.log)
    _raise_descriptor_limit()
    keep_freed_memory()
    # Half of the slots: a disk that stands still under one run leaves the others as many.
    share = max(1, config.limits.max_requests_in_memory // 2)
    store = LocalStore(config.data_dir, min_free_bytes=config.min_free_bytes, most_a_run=share)
    try:
        asyncio.run(_serve(config, store, door))
    finally:
        store.close()


async def _serve(config: ServerConfig, store: Store, door: Door) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    marks = Marks(config.data_dir)
    app = make_app(store, door, config.limits, marks)
    try:
        runner, url = await start_site(app, config.host, config.port, stop_timeout_s=config.stop_timeout_s)
    except (OSError, ValueError) as error:  # ValueError: a host name that no resolver takes
        raise _why_not_bound(config, error) from None
    gc.freeze()  # what is loaded by now stays: no collection has to look at it again
    print(url, flush=True)
    _log.info("storing in %s", config.data_dir)
    await stop.wait()
    _log.info("stopping")
    await runner.cleanup()
    marks.close()


def _why_not_bound(config: ServerConfig, error: OSError | ValueError) -> UsageError:
    hints = {
        errno.EADDRINUSE: "stop the other program, or give --port 0 for any free one",
        errno.EACCES: "ports below 1024 need rights; give a higher --port",
    }
    number = getattr(error, "errno", None)
    reason = os.strerror(number) if number in hints else getattr(error, "strerror", None) or "no such address"
    return UsageError(
        f"can't listen on {ascii(config.host)[1:-1]} port {config.port}: {reason}",
        hint=hints.get(number or 0, "give --host an address of this machine"),
    )


def _raise_descriptor_limit() -> None:
    """Take as many open files as the system allows without asking: 1,024 are few for many agents."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
