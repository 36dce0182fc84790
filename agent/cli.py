"""``ml-logger-agent``: ships a spool to a receiver, for ever or (``--once``) until all is shipped; and what looks at it.

``status`` says how far it is, ``doctor`` what is wrong, ``drain`` ships all there is and shows it; the modules of these names
say more. Exit codes: 0 all is well (all that there was is shipped), 1 something is not (it is listed), 2 the person who started
it can mend it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..errors import MLLoggerError, SpoolReplaced, SpoolTaken, UsageError
from ..journal import start_logging
from ..settings import OneLineParser
from ..version import __version__
from .config import AgentConfig, current_token, load_config
from .doctor import run_doctor
from .drain import showing, watch
from .endings import Endings
from .loop import Total
from .rehearsal import rehearse
from .secret import Secrets, keep_out_of_log
from .service import open_service, stopping_on_signals
from .status import show_status
from .transport import Transport

log = logging.getLogger(__name__)

_OPTIONS_OF = {"once": "run", "dry_run": "run", "json": "status", "no_probe": "doctor"}


@dataclass(frozen=True)
class _Order:
    """What was asked for, and the config and the environment it is to be done with."""

    config: AgentConfig
    environ: Mapping[str, str]
    secrets: Secrets
    arguments: argparse.Namespace


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    secrets = Secrets()
    try:
        arguments = _parse(argv)
        is_looking = arguments.command == "status"
        load = partial(load_config, arguments.config, os.environ, _flags(arguments), is_for_looking=is_looking)
        if arguments.command == "doctor":
            settled = partial(_settled, load, arguments)
            return run_doctor(settled, _environ(arguments), secrets, with_probe=not arguments.no_probe)
        config = _settled(load, arguments)
        secrets.note_proxy(config.proxy)
        order = _Order(config, _environ(arguments), secrets, arguments)
        if arguments.command == "status":
            return show_status(config, as_json=arguments.json)
        return _with_logging(_drain if arguments.command == "drain" else _run, order)
    except MLLoggerError as error:
        print(f"ml-logger-agent: {secrets.hide(error.one_line())}", file=sys.stderr)
        return 2


def _settled(load: Callable[[], AgentConfig], arguments: argparse.Namespace) -> AgentConfig:
    """Return the config; its token does not count where a flag names a file, which goes before environment and config."""
    config = load()
    return config if arguments.token_file is None else replace(config, token=None)


def _environ(arguments: argparse.Namespace) -> Mapping[str, str]:
    return os.environ if arguments.token_file is None else {}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = OneLineParser(
        prog="ml-logger-agent", description="Ship a spool directory to an ML_Logger receiver, every byte once."
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "status", "doctor", "drain"),
        default="run",
        help="run: ship (default); status: how far it is; doctor: check all it stands on; drain: ship all, and show it",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="agent.yaml; flags and ML_LOGGER_AGENT_… go before it"
    )
    parser.add_argument("--once", action="store_true", help="ship all there is now, then exit")
    parser.add_argument("--dry-run", action="store_true", help="print what retention would delete now, and do nothing")
    parser.add_argument("--json", action="store_true", help="status: one JSON object instead of a table")
    parser.add_argument("--no-probe", action="store_true", help="doctor: send no file to the receiver")
    parser.add_argument("--spool", action="append", help="the directory the training logs to; may be given again")
    parser.add_argument("--server", help="the receiver's URL, such as http://storage:8081")
    parser.add_argument("--token-file", type=Path, help="a file with the token on its first line")
    parser.add_argument("--state-dir", type=Path, help="where the agent keeps what it remembers")
    parser.add_argument("--drain-timeout-s", type=float, help="how long --once, drain and SIGTERM may take, in seconds")
    parser.add_argument("--until-pid", type=int, metavar="PID", help="ship until this process ends, then what is left")
    parser.add_argument(
        "--until-file", type=Path, metavar="FILE", help="ship until this file is there, then what is left"
    )
    parser.add_argument("--version", action="version", version=f"ml-logger-agent {__version__}")
    arguments = parser.parse_args(argv)
    for option, command in _OPTIONS_OF.items():
        if getattr(arguments, option) and arguments.command != command:
            shown = option.replace("_", "-")
            raise UsageError(f"--{shown} is no option of {arguments.command}", hint=f"it belongs to {command}")
    return arguments


def _flags(arguments: argparse.Namespace) -> dict[str, object]:
    names = ("spool", "server", "token_file", "state_dir", "drain_timeout_s", "until_pid", "until_file")
    return {name: getattr(arguments, name) for name in names}


# --- the commands


def _with_logging(command: Callable[[_Order], int], order: _Order) -> int:
    """Do what ships, with logging started."""
    start_logging(order.config.log)
    keep_out_of_log(order.secrets)
    try:
        order.secrets.note(current_token(order.config, order.environ))  # there is a usable one, or none is named
        return command(order)
    except MLLoggerError as error:
        _tell(order, error.one_line())
        return 2


def _tell(order: _Order, text: str, begin: str = "ml-logger-agent: ") -> None:
    """Say a last word, whatever the log's level: as a command does, or, where the log is JSON for a collector, in that."""
    if order.config.log.format == "json":
        log.error("%s", text)
    else:
        # the terminal may be closed: what it can't be told does not change the exit code
        with contextlib.suppress(OSError):
            print(begin + order.secrets.hide(text), file=sys.stderr)


def _run(order: _Order) -> int:
    if order.arguments.dry_run:
        return _rehearse(order)
    while (code := _maybe_ship(order)) is None:
        pass
    return code


def _maybe_ship(order: _Order) -> int | None:
    """Ship until there is an end, and return the exit code; None if what was locked is there no more: all is opened anew."""
    try:
        return _ship(order)
    except SpoolReplaced as error:
        log.warning("%s: all is locked and opened anew", error)
        return None


def _ship(order: _Order) -> int:
    config, is_once = order.config, order.arguments.once
    with open_service(config, order.environ, order.secrets, is_once=is_once) as service:
        with closing(Endings(config, service.loop.stop)) as endings, _stopping(endings, is_once=is_once):
            _say_what_is_shipped(config)
            if not is_once:
                endings.start()
            total = service.loop.drain() if is_once else service.loop.run()
        return _report(order, total)


def _stopping(endings: Endings, *, is_once: bool) -> contextlib.AbstractContextManager[None]:
    """Let signals stop the agent; a closed terminal lets it ship what is left, as it does already where that `is_once`."""
    return stopping_on_signals(endings.stop, hang_up=(lambda: None) if is_once else endings.hang_up)


def _rehearse(order: _Order) -> int:
    token = partial(current_token, order.config, order.environ)
    with closing(Transport(order.config, token=token)) as way:
        for line in rehearse(order.config, way.stat):
            print(line)
    return 0


def _drain(order: _Order) -> int:
    try:
        with open_service(order.config, order.environ, order.secrets, is_once=True) as service:
            stop = service.loop.stop
            with stopping_on_signals(stop, hang_up=stop), showing(service.latest, sys.stderr):
                _say_what_is_shipped(order.config)
                total = service.loop.drain()
            return _report(order, total)
    except SpoolTaken as error:
        _tell(order, f"{error}: waiting for it")
    with _noting_signals() as signals:
        return _report(order, watch(order.config, is_stopped=lambda: bool(signals)))


def _say_what_is_shipped(config: AgentConfig) -> None:
    log.info("shipping %s to %s", ", ".join(map(str, config.spools())), config.server)


@contextlib.contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """Yield a list that grows with each SIGTERM and SIGINT in the block."""
    noted: list[int] = []
    before = {s: signal.signal(s, lambda number, _: noted.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(order: _Order, total: Total) -> int:
    log.info("shipped %d bytes of %d files", total.shipped_bytes, total.shipped_files)
    if not total.left:
        return 0
    _tell(order, f"{len(total.left)} not shipped, nothing is lost: start the agent again")
    for problem in total.left:
        _tell(order, f"{ascii(problem.path)[1:-1]}: {problem.reason}", begin="  ")
    return 1
