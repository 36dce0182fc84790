"""``ml-logger-agent``: ships a spool to a receiver, for ever or (``--once``) until all is shipped.

Exit codes: 0 all that there was is shipped, 1 something is left (it is listed), 2 the person who started it can mend it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError, MLLoggerError, UsageError
from ..journal import start_logging
from ..settings import OneLineParser
from ..version import __version__
from .config import AgentConfig, current_token, load_config
from .ledger import Ledger
from .loop import Loop, Total
from .settling import Clock
from .shipper import Shipper
from .transport import Transport
from .watcher import Doorbell, Watcher

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; return the exit code."""
    try:
        arguments = _parse(argv)
        config = load_config(arguments.config, os.environ, _flags(arguments))
        environ: Mapping[str, str] = os.environ
        if arguments.token_file is not None:  # a flag goes before the environment, and that before the file
            config, environ = replace(config, token=None), {}
        start_logging(config.log)
        current_token(config, environ)
        return _run(config, environ, is_once=arguments.once)
    except MLLoggerError as error:
        print(f"ml-logger-agent: {error.one_line()}", file=sys.stderr)
        return 2


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = OneLineParser(
        prog="ml-logger-agent", description="Ship a spool directory to an ML_Logger receiver, every byte once."
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="agent.yaml; flags and ML_LOGGER_AGENT_… go before it"
    )
    parser.add_argument("--once", action="store_true", help="ship all there is, then exit")
    parser.add_argument("--spool", type=Path, help="the directory the training logs to")
    parser.add_argument("--server", help="the receiver's URL, such as http://storage:8081")
    parser.add_argument("--token-file", type=Path, help="a file with the token on its first line")
    parser.add_argument("--state-dir", type=Path, help="where the agent keeps what it remembers")
    parser.add_argument("--drain-timeout-s", type=float, help="how long --once and SIGTERM may take, in seconds")
    parser.add_argument("--version", action="version", version=f"ml-logger-agent {__version__}")
    return parser.parse_args(argv)


def _flags(arguments: argparse.Namespace) -> dict[str, object]:
    names = ("spool", "server", "token_file", "state_dir", "drain_timeout_s")
    return {name: getattr(arguments, name) for name in names}


def _run(config: AgentConfig, environ: Mapping[str, str], *, is_once: bool) -> int:
    with contextlib.ExitStack() as stack:
        doorbell = Doorbell()
        stack.callback(doorbell.close)
        shippers = [_open_shipper(config, environ, spool, stack) for spool in config.spools()]
        loop = Loop(shippers, Watcher(config.spools(), doorbell), doorbell, config)
        with _stopping_on_signals(loop):
            log.info("shipping %s to %s", ", ".join(map(str, config.spools())), config.server)
            total = loop.drain() if is_once else loop.run()
        return _report(total)


def _open_shipper(config: AgentConfig, environ: Mapping[str, str], spool: Path, stack: contextlib.ExitStack) -> Shipper:
    state_dir = config.state_dir_of(spool)
    stack.enter_context(_only_agent(state_dir, spool))
    ledger = Ledger(state_dir / "ledger.sqlite")
    stack.callback(ledger.close)
    transport = Transport(
        config.server,
        token=lambda: current_token(config, environ),
        timeouts=config.timeouts,
        compress=config.compression == "zstd",
    )
    stack.callback(transport.close)
    return Shipper(spool, config, ledger, transport, Clock(time.time_ns, time.monotonic))


@contextlib.contextmanager
def _only_agent(state_dir: Path, spool: Path) -> Iterator[None]:
    """Hold the lock that says this spool has an agent; the kernel drops it with the process."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(
            f"state directory {state_dir} can't be written: {error.strerror}", hint="set 'state_dir' to one that can"
        ) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "unknown"
            raise UsageError(f"spool {spool} already has an agent ({holder})", hint="stop that one first") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _stopping_on_signals(loop: Loop) -> Iterator[None]:
    before = {s: signal.signal(s, lambda *_: loop.stop()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(total: Total) -> int:
    log.info("shipped %d bytes of %d files", total.shipped_bytes, total.shipped_files)
    if not total.left:
        return 0
    print(f"ml-logger-agent: {len(total.left)} not shipped, nothing is lost: start the agent again", file=sys.stderr)
    for problem in total.left:
        print(f"  {ascii(problem.path)[1:-1]}: {problem.reason}", file=sys.stderr)
    return 1
