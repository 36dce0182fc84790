"""The ``ml-logger`` command: look at runs, and prove that a mirror or a receiver holds what the spool holds.

Exit codes: 0, 1 if they differ, 2 for anything the person at the keyboard can mend, 5 for a receiver that can't be reached or
fails, so that trying again is worth it (one line on stderr, no traceback).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from .color import is_terminal, is_wanted, terminal_width
from .digests import Ask, Proof, prove, total_bytes
from .errors import BadPath, MLLoggerError, TryAgain, UsageError
from .layout import check_path
from .reader import Run, find_runs
from .settings import read_token
from .source import source_of
from .table import Cell, params_table, step_table
from .verify import compare_trees

_SHOWN_VALUES = 6
_SHOWN_CHARACTERS = 24
_Item = TypeVar("_Item")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line instead of the usage and the line."""
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (those of the process by default) and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = int(options.command(options))
        sys.stdout.flush()
    except MLLoggerError as error:
        print(f"ml-logger: {error.one_line()}", file=sys.stderr)
        return 5 if isinstance(error, TryAgain) else 2
    except BrokenPipeError:  # whoever read the output (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"ml-logger: {error.filename or 'input'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ml-logger", description="Look at logged runs, and prove that a mirror equals its spool.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    ls = commands.add_parser("ls", help="list the runs under a directory, with their state and last values")
    ls.add_argument("directory", type=Path)
    ls.set_defaults(command=_ls)
    show = commands.add_parser("show", help="show a run's parameters and last values")
    show.add_argument("run", type=Path)
    show.set_defaults(command=_show)
    _add_verify(commands.add_parser("verify", help="compare a spool with its mirror, or with what a receiver holds"))
    return parser


def _add_verify(verify: argparse.ArgumentParser) -> None:
    verify.description = (
        "Compare a spool with its mirror byte for byte, or with what a receiver holds by SHA-256. "
        "Exit code 0: equal, 1: not, 2: can't be done as it is, 5: the receiver can't be reached or fails; try again."
    )
    verify.epilog = (
        "A file that has grown since it was shipped is listed as so many bytes behind, and is a difference, "
        "unless it is a stream and --allow-growing is given. What a receiver holds besides is none."
    )
    verify.add_argument("spool", type=Path, help="named as in the agent's config, on its machine")
    verify.add_argument("mirror", type=Path, nargs="?", help="the receiver's data directory, or a copy of it")
    verify.add_argument("--server", metavar="URL", help="the receiver to compare with, in place of a mirror")
    verify.add_argument(
        "--prefix", default="", metavar="FOLDER", help="the agent's remote_prefix; {hostname} is put in"
    )
    verify.add_argument("--token-file", type=Path, metavar="FILE", help="its first line is sent, else $ML_LOGGER_TOKEN")
    verify.add_argument("--ca-file", type=Path, metavar="FILE", help="PEM file of the CAs to trust")
    verify.add_argument("--allow-growing", action="store_true", help="streams may be behind: the run goes on")
    verify.set_defaults(command=_verify)


def _ls(options: argparse.Namespace) -> int:
    root = _existing(options.directory)
    runs = find_runs(root)
    if not runs:
        raise UsageError(f"no runs under {str(root)!r}", hint="name a log directory or the receiver's data directory")
    for run in runs:
        print(_summary(run, root))
    return 0


def _summary(run: Run, root: Path) -> str:
    columns = run.columns()
    last = columns.last_values()
    step = f"  step {last['_step']}" if "_step" in last else ""
    values = [f"{key}={_short(_text(value))}" for key, value in last.items() if not key.startswith("_")]
    more = " …" if len(values) > _SHOWN_VALUES else ""
    name = run.path.relative_to(root).as_posix()
    return f"{name}  {run.state}  {columns.count} records{step}  {' '.join(values[:_SHOWN_VALUES])}{more}".rstrip()


def _show(options: argparse.Namespace) -> int:
    run = Run(_existing(options.run))
    params, last = run.params, run.last_values()
    if not params and not last:
        raise UsageError(f"{str(run.path)!r} is not a run", hint="'ml-logger ls DIR' lists the runs under a directory")
    sections = {title: section if isinstance(section, dict) else {title: section} for title, section in params.items()}
    texts = {title: {key: str(value) for key, value in section.items()} for title, section in sections.items()}
    is_colored = is_wanted(sys.stdout)
    print(params_table(texts, is_colored=is_colored), end="")
    cells = {key: Cell(_text(value)) for key, value in last.items() if not key.startswith("_")}
    print(step_table(cells, width=terminal_width(sys.stdout), is_colored=is_colored), end="")
    step = f", last step {last['_step']}" if "_step" in last else ""
    print(f"{run.state}{step}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    if (options.mirror is None) == (options.server is None):
        raise UsageError("verify needs one of MIRROR and --server", hint="see ml-logger verify --help")
    if options.server is not None:
        return _verify_remote(options)
    found = compare_trees(_existing(options.spool), _existing(options.mirror), _with_progress)
    print(found.report())
    return 0 if found.is_equal else 1


def _verify_remote(options: argparse.Namespace) -> int:
    from .remote import Remote  # lazily: requests takes longer to load than all the rest

    spool, prefix = _existing(options.spool).absolute(), _checked_prefix(options.prefix)
    environ = os.environ if options.token_file is None else {}  # the file that is named counts more
    remote = Remote(options.server, token=read_token(None, options.token_file, environ), ca_file=options.ca_file)
    try:
        found = _proof(remote.digests, spool, prefix)
    finally:
        remote.close()
    print(found.report(allow_growing=options.allow_growing))
    return 0 if found.is_equal(allow_growing=options.allow_growing) else 1


def _checked_prefix(prefix: str) -> str:
    prefix = prefix.strip("/").replace("{hostname}", os.uname().nodename)
    try:
        return check_path(prefix) if prefix else ""
    except BadPath as error:
        raise UsageError(f"--prefix: {error}", hint="use a relative path such as team/{hostname}") from None


def _proof(ask: Ask, spool: Path, prefix: str) -> Proof:
    if not is_terminal(sys.stderr):
        return prove(spool, prefix, source_of(spool), ask)
    from tqdm import tqdm  # lazily: only a person at a terminal needs it

    with tqdm(total=total_bytes(spool), desc="comparing", unit="B", unit_scale=True, leave=False) as bar:
        return prove(spool, prefix, source_of(spool), ask, bar.update)


def _with_progress(pairs: list[_Item]) -> Iterable[_Item]:
    if not is_terminal(sys.stderr):
        return pairs
    from tqdm import tqdm  # lazily: only a person at a terminal needs it

    bar: Iterable[_Item] = tqdm(pairs, desc="comparing", unit="file", leave=False)
    return bar


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise UsageError(f"{str(directory)!r} is not a directory")
    return directory


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
