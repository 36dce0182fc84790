"""``ml-logger show``: one run's parameters and last values."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..color import is_wanted, terminal_width
from ..errors import NotHeld
from ..reader import Run
from ..table import Cell, params_table, step_table
from .places import existing_directory
from .values import text_of


def add_arguments(show: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    show.add_argument("run", type=Path)
    show.set_defaults(command=_show)


def _show(options: argparse.Namespace) -> int:
    run = Run(existing_directory(options.run))
    params, last = run.params, run.last_values()
    if not params and not last:
        raise NotHeld(f"{str(run.path)!r} is not a run", hint="'ml-logger ls DIR' lists the runs under a directory")
    sections = {title: section if isinstance(section, dict) else {title: section} for title, section in params.items()}
    texts = {title: {key: str(value) for key, value in section.items()} for title, section in sections.items()}
    is_colored = is_wanted(sys.stdout)
    print(params_table(texts, is_colored=is_colored), end="")
    cells = {key: Cell(text_of(value)) for key, value in last.items() if not key.startswith("_")}
    print(step_table(cells, width=terminal_width(sys.stdout), is_colored=is_colored), end="")
    step = f", last step {last['_step']}" if "_step" in last else ""
    print(f"{run.state}{step}")
    return 0
