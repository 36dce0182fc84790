"""``ml-logger-agent``: ships a spool to a receiver, for ever or (``--once``) until all is shipped.

Exit codes: 0 all that there was is shipped, 1 something is left (it is listed), 2 the person who started it can mend it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import MLLoggerError
from ..journal import start_logging
from ..settings import OneLineParser
from ..version import __version__
from .config import AgentConfig, current_token, load_config
from .loop import Total
from .service import open_loop, stopping_on_signals

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
    with open_loop(config, environ) as loop:
        with stopping_on_signals(loop):
            log.info("shipping %s to %s", ", ".join(map(str, config.spools())), config.server)
            total = loop.drain() if is_once else loop.run()
        return _report(total)


def _report(total: Total) -> int:
    log.info("shipped %d bytes of %d files", total.shipped_bytes, total.shipped_files)
    if not total.left:
        return 0
    print(f"ml-logger-agent: {len(total.left)} not shipped, nothing is lost: start the agent again", file=sys.stderr)
    for problem in total.left:
        print(f"  {ascii(problem.path)[1:-1]}: {problem.reason}", file=sys.stderr)
    return 1
