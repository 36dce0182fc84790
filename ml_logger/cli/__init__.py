"""The ``ml-logger`` command: look at runs, bring them over, and prove that a mirror or a receiver holds what the spool holds.

One module a command, and only that of the command called is loaded, with what it needs. Each has ``add_arguments(parser)`` and
``run(options)``, which returns the exit code. What a command finds goes to standard output, all else to standard error; an
error is one line there that names the thing and the mend.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from ..errors import MLLoggerError
from ..settings import OneLineParser
from ..version import __version__
from . import outputs
from .exits import DONE, INTERRUPTED, exit_code, table_of_exits
from .values import escaped

COMMANDS = {
    "ls": ("ml_logger.cli.ls", "list runs: state, start, last values"),
    "show": ("ml_logger.cli.show", "show a run's parameters and last values"),
    "tail": ("ml_logger.cli.tail", "show a run's last records, and follow it"),
    "plot": ("ml_logger.cli.plot", "draw a run's curves in the terminal"),
    "diff": ("ml_logger.cli.diff", "show the parameters in which runs differ"),
    "export": ("ml_logger.cli.export", "write a run's numbers as CSV, Parquet or JSON"),
    "pull": ("ml_logger.cli.pull", "download a run or a folder from a receiver; again to go on"),
    "verify": ("ml_logger.cli.verify", "compare a spool with its mirror, or with what a receiver holds"),
    "view": ("ml_logger.view.command", "look at runs in a browser"),
}
"""By its name, the module of each command and what it does, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (those of the process by default) and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    outputs.prepare()
    try:
        options = _parser(words[0] if words else "").parse_args(words)
        code = int(options.command(options))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output (`| head`) has seen enough
        outputs.finish()
        return DONE
    except (MLLoggerError, OSError) as error:
        print(f"ml-logger: {escaped(_line(error))}", file=sys.stderr)
        outputs.finish()
        return exit_code(error)
    return code


_OF_WRITING = (errno.EBADF, errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What can't be read has other numbers, and who writes to a file says to which."""


def _line(error: MLLoggerError | OSError) -> str:
    if isinstance(error, MLLoggerError):
        return error.one_line()
    named = error.filename or ("standard output" if error.errno in _OF_WRITING else "input")
    return f"{os.fsdecode(named)}: {error.strerror or error}"


def _parser(chosen: str) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the arguments of the one that is `chosen`."""
    parser = OneLineParser(
        prog="ml-logger",
        description="Look at logged runs, in a directory or at a receiver.",
        epilog=f"RUN is a directory, or a receiver's URL and the run's path behind it.\n\n{table_of_exits()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ml-logger {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=OneLineParser)
    for name, (path, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == chosen:
            module = importlib.import_module(path)
            module.add_arguments(command)
            command.set_defaults(command=module.run)
    return parser
