"""``ml-logger ls``: the runs under a directory."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import NotHeld
from ..reader import Run, find_runs
from .places import existing_directory
from .values import short, text_of

_SHOWN_VALUES = 6


def add_arguments(ls: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    ls.add_argument("directory", type=Path, nargs="?", default=Path(), help="where to look; the current one by default")
    ls.set_defaults(command=_ls)


def _ls(options: argparse.Namespace) -> int:
    root = existing_directory(options.directory)
    runs = find_runs(root)
    if not runs:
        raise NotHeld(f"no runs under {str(root)!r}", hint="name a log directory or the receiver's data directory")
    for run in runs:
        print(_summary(run, root))
    return 0


def _summary(run: Run, root: Path) -> str:
    columns = run.columns()
    last = columns.last_values()
    step = f"  step {last['_step']}" if "_step" in last else ""
    values = [f"{key}={short(text_of(value))}" for key, value in last.items() if not key.startswith("_")]
    more = " …" if len(values) > _SHOWN_VALUES else ""
    name = Path(run.path).relative_to(root).as_posix()
    return f"{name}  {run.state}  {columns.count} records{step}  {' '.join(values[:_SHOWN_VALUES])}{more}".rstrip()
