"""``ml-logger-server``: reads the config, starts the receiver, says its URL, and stops at SIGTERM or SIGINT.

A command as the first word (``token``, ``check``, ``trash``) does something else with the receiver's files; its module says
what. Exit codes: 0 after a signal, 2 for what the person who started it can mend (one line on stderr).
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
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import ConfigError, UsageError
from ..journal import start_logging
from ..settings import OneLineParser, read_token
from ..version import __version__
from .app import make_app, start_site
from .auth import Door, door_for, is_loopback, require_safe_bind
from .certificate import Certificate
from .check_cli import main as check
from .config import ENV_PREFIX, ServerConfig, load_config
from .lineage import Marks
from .local_store import LocalStore
from .memory import keep_freed_memory
from .store import Store
from .token_cli import main as token
from .tokens import TokenFile
from .trash_cli import main as trash

_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"check": check, "token": token, "trash": trash}

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        arguments = list(sys.argv[1:] if argv is None else argv)
        if arguments and arguments[0] in _COMMANDS:
            return _COMMANDS[arguments[0]](arguments[1:])
        flags = vars(_parser().parse_args(arguments))
        run(_config(flags.pop("config"), flags))
    except UsageError as error:
        print(f"ml-logger-server: {error.one_line()}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="ml-logger-server",
        description="Receive logs and keep them as plain files.",
        epilog=f"Other commands: {', '.join(_COMMANDS)}. "
        f"Every key of the config can also be set by a variable: {ENV_PREFIX}DATA_DIR, …",
    )
    parser.add_argument("--version", action="version", version=f"ml-logger-server {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a server.yaml; flags count more")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the files are kept")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for any free one (default 8081)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="who may do what (see 'ml-logger-server token --help')"
    )
    parser.add_argument("--insecure", action="store_true", default=None, help="let in everybody, without a token")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM file of a certificate: speak https")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM file of its key")
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], dest="log.level", help="default info"
    )
    return parser


def _config(file: Path | None, flags: dict[str, object]) -> ServerConfig:
    if file is None and flags["data_dir"] is None and not os.environ.get(ENV_PREFIX + "DATA_DIR"):
        raise ConfigError("no data directory is given", hint="add --data-dir DIR or --config FILE")
    return load_config(file, os.environ, flags)


def _door(config: ServerConfig) -> Door:
    # A file that is named counts more than a variable that may be there for the agent on the same machine.
    if config.token_file is not None:
        return Door(TokenFile(config.token_file).current)
    token = read_token(None, None, os.environ)
    return Door(None) if token is None else door_for(token)


def run(config: ServerConfig) -> None:
    """Serve until SIGTERM or SIGINT; raises `UsageError` for what can't be used as it is."""
    door = _door(config)
    if not config.insecure:
        require_safe_bind(config.host, door)
    certificate = Certificate(config.tls_cert, config.tls_key) if config.tls_cert and config.tls_key else None
    start_logging(config.log)
    _raise_descriptor_limit()
    keep_freed_memory()
    # Half of the slots: a disk that stands still under one run leaves the others as many.
    share = max(1, config.limits.max_requests_in_memory // 2)
    store = LocalStore(
        config.data_dir, min_free_bytes=config.min_free_bytes, most_a_run=share, trash_keep_s=config.trash_keep_s
    )
    try:
        asyncio.run(_serve(config, store, door, certificate))
    finally:
        store.close()


def _warn_of_risks(config: ServerConfig, door: Door) -> None:
    if is_loopback(config.host):
        return
    if door.is_open:
        _log.warning("insecure: whoever reaches %s can read, write and delete everything", config.host)
    elif config.tls_cert is None:
        _log.warning(
            "tokens come in the clear: set tls_cert and tls_key, or let a proxy that speaks https stand before"
        )


async def _serve(config: ServerConfig, store: Store, door: Door, certificate: Certificate | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    marks = Marks(config.data_dir)
    app = make_app(store, door, config.limits, marks)
    try:
        tls = None if certificate is None else certificate.context
        runner, url = await start_site(app, config.host, config.port, stop_timeout_s=config.stop_timeout_s, tls=tls)
    except (OSError, ValueError) as error:  # ValueError: a host name that no resolver takes
        raise _why_not_bound(config, error) from None
    _warn_of_risks(config, door)  # not before: one who can't be started is told that in one line
    gc.freeze()  # what is loaded by now stays: no collection has to look at it again
    print(url, flush=True)
    _log.info("storing in %s", config.data_dir)
    renewals = None if certificate is None else asyncio.create_task(certificate.keep_fresh())
    await stop.wait()
    _log.info("stopping")
    if renewals is not None:
        renewals.cancel()
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
