"""``ml-logger-server``: reads the config, starts the receiver, says its URL, and stops at SIGTERM or SIGINT.

A command as the first word (``token``, ``check``, ``trash``) does something else with the receiver's files; its module says
what. Exit codes: 0 after a stop in order, 1 where one was cut short, 2 for what the person who started it can mend (one line
on stderr).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import ConfigError, UsageError
from ..journal import start_logging
from ..settings import OneLineParser, read_token
from ..version import __version__
from .auth import Door, door_for, is_loopback, require_safe_bind
from .certificate import Certificate
from .check_cli import main as check
from .config import ENV_PREFIX, Limits, ServerConfig, load_config
from .figures import Figures
from .lineage import Marks
from .listening import bind, close_all, listen, url_of
from .memory import keep_freed_memory
from .siblings import Siblings
from .supervisor import Supervisor
from .token_cli import main as token
from .tokens import TokenFile
from .trash_cli import main as trash
from .tree import Identity
from .worker import Shared, open_store, serve, work

_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"check": check, "token": token, "trash": trash}

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        arguments = list(sys.argv[1:] if argv is None else argv)
        if arguments and arguments[0] in _COMMANDS:
            return _COMMANDS[arguments[0]](arguments[1:])
        flags = vars(_parser().parse_args(arguments))
        return run(_config(flags.pop("config"), flags))
    except UsageError as error:
        print(f"ml-logger-server: {error.one_line()}", file=sys.stderr)
        return 2


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
    parser.add_argument("--workers", type=int, metavar="N", help="processes that serve (default 1)")
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
    if token is not None and token != token.strip():
        raise UsageError(
            "the token in ML_LOGGER_TOKEN is blank, or has a blank before or behind it: nobody can send that",
            hint="set it to the token alone, or unset it",
        )
    return Door(None) if token is None else door_for(token)


def run(config: ServerConfig) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code; raises `UsageError` for what can't be used as it is."""
    door = _door(config)
    if not config.insecure:
        require_safe_bind(config.host, door)
    certificate = Certificate(config.tls_cert, config.tls_key) if config.tls_cert and config.tls_key else None
    start_logging(config.log)
    limits = _with_descriptors(config.limits, _raise_descriptor_limit())
    keep_freed_memory()
    config = replace(config, limits=limits)
    if config.workers == 1:
        return _serve_alone(config, door, certificate)
    return _serve_by_workers(config, door, certificate)


def _serve_alone(config: ServerConfig, door: Door, certificate: Certificate | None) -> int:
    with open_store(config) as store:
        shared = _shared(config, store.identity, door, certificate)
        asyncio.run(serve(shared, store, on_ready=lambda url: _say_ready(config, door, url)))
        shared.marks.close()
    return 0


def _serve_by_workers(config: ServerConfig, door: Door, certificate: Certificate | None) -> int:
    with open_store(config) as store:
        home = store.identity  # what can't be used is said once, and what was left is redone before a worker starts
    shared = _shared(config, home, door, certificate)
    url = url_of(config.host, shared.sockets, is_tls=certificate is not None)
    gc.freeze()  # so that no collection in a worker copies the pages it shares with the others
    code = Supervisor(
        config.workers,
        partial(work, shared),
        stop_timeout_s=config.stop_timeout_s,
        on_ready=lambda: _say_ready(config, door, url),
        on_stop=lambda: close_all(shared.sockets),
        refresh=shared.refresh,
    ).run()
    if code == 0:
        shared.marks.close()
    return code


def _shared(config: ServerConfig, home: Identity, door: Door, certificate: Certificate | None) -> Shared:
    sockets = bind(config.host, config.port)
    listen(sockets)
    marks = Marks(config.data_dir)
    return Shared(config, home, door, certificate, sockets, marks, Figures(config.workers), Siblings(config.workers))


def _say_ready(config: ServerConfig, door: Door, url: str) -> None:
    _warn_of_risks(config, door)  # not before: one who can't be started is told that in one line
    print(url, flush=True)
    _log.info("storing in %s", config.data_dir)


def _warn_of_risks(config: ServerConfig, door: Door) -> None:
    if is_loopback(config.host):
        return
    if door.is_open:
        _log.warning("insecure: whoever reaches %s can read, write and delete everything", config.host)
    elif config.tls_cert is None:
        _log.warning(
            "tokens come in the clear: set tls_cert and tls_key, or let a proxy that speaks https stand before"
        )


def _raise_descriptor_limit() -> int:
    """Take as many open files as the system allows without asking, and return how many: 1,024 are few for many agents."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _with_descriptors(limits: Limits, descriptors: int) -> Limits:
    """Leave half of the descriptors for the files: a connection too many must not be what makes a write fail."""
    most = descriptors // 2
    if descriptors == resource.RLIM_INFINITY or limits.max_connections <= most:
        return limits
    _log.warning("max_connections is %d, since only %d files may be open (ulimit -n)", most, descriptors)
    return replace(limits, max_connections=most)
