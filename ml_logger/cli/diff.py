"""``ml-logger diff``: the parameters in which runs differ. As with diff(1): exit code 0 if there are none, 1 if there are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..color import is_wanted, terminal_width
from ..errors import UsageError
from ..table import Cell
from .aligned import Column, aligned
from .documents import add_json_argument, write_document
from .exits import DIFFERS, DONE
from .places import Places, add_run_arguments
from .values import text_of

_CELL_COLUMNS = 40
Params = Mapping[str, Any]


def add_arguments(diff: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    diff.epilog = "Exit code 0: no parameter differs, 1: some do."
    diff.add_argument(
        "runs", nargs="+", metavar="RUN", help="two or more: directories, or URLs of a receiver and a run"
    )
    add_json_argument(diff)
    add_run_arguments(diff)


def run(options: argparse.Namespace) -> int:
    """Print what differs; return 1 if anything does."""
    if len(options.runs) < 2:
        raise UsageError("one run differs from nothing", hint="name two or more")
    with Places(options) as places:
        params = [places.find(named).run().flat_params for named in options.runs]
    names = differing(params)
    if options.json:
        found = {name: [{"value": one[name]} if name in one else None for one in params] for name in names}
        write_document({"runs": options.runs, "differs": found})
    elif names:
        for line in _lines(options.runs, params, names):
            print(line)
    return DIFFERS if names else DONE


def differing(params: Sequence[Params]) -> list[str]:
    """Return the names that not all have, or not with the same value, in the order in which they come."""
    every = dict.fromkeys(name for one in params for name in one)
    missing = object()
    return [
        name
        for name in every
        if any(not _is_same(one.get(name, missing), params[0].get(name, missing)) for one in params)
    ]


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same; a NaN is the same as another."""
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _lines(runs: Sequence[str], params: Sequence[Params], names: Sequence[str]) -> list[str]:
    heads = [named.rstrip("/").rpartition("/")[2] for named in runs]
    if len(set(heads)) < len(heads):
        heads = list(runs)
    columns = [Column("PARAMETER", [Cell(text_of(name, most=_CELL_COLUMNS)) for name in names])]
    for head, one in zip(heads, params, strict=True):
        cells = [Cell(text_of(one[name], most=_CELL_COLUMNS)) if name in one else Cell("–", "gray") for name in names]
        columns.append(Column(text_of(head, most=_CELL_COLUMNS), cells))
    return aligned(columns, always=3, width=terminal_width(sys.stdout), is_colored=is_wanted(sys.stdout))
