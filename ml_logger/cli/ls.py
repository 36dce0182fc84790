"""``ml-logger ls``: the runs under a directory or at a receiver, one a line."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..color import is_wanted, terminal_width
from ..errors import NotHeld
from ..reader import find_runs
from ..table import Cell
from .aligned import Column, aligned
from .documents import add_json_argument, write_document
from .places import Place, Places, add_receiver_arguments
from .progress import counted
from .quantities import whole_number
from .summaries import NEWEST_FIRST, OWN, Summary, keys_of, ordered, summary_of
from .values import age_text, text_of

STATE_COLORS = {"running": "green", "failed": "red", "killed": "red", "silent": "yellow"}
_VALUE_COLUMNS = 14
_NAME_COLUMNS = 60
_CONNECTIONS = 8
"""So many runs are read at a time from afar, where most of the time is spent on the way."""


def add_arguments(ls: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    ls.add_argument("place", nargs="?", default=".", metavar="DIR|URL", help="where to look (default: here)")
    ls.add_argument("--filter", action="append", default=[], metavar="TEXT", help=_FILTER_HELP)
    ls.add_argument("--sort", default=NEWEST_FIRST, metavar="KEY", help=_SORT_HELP)
    ls.add_argument("-r", "--reverse", action="store_true", help="the other way round")
    ls.add_argument("-n", "--most", type=whole_number(1), metavar="N", help="so many runs at most")
    add_json_argument(ls)
    add_receiver_arguments(ls)


_FILTER_HELP = "only runs whose path, state, host or a parameter (name=value) contains TEXT; all of several"
_SORT_HELP = "path, state, started (the newest first; the default), host, records, step, a metric or a parameter"


def run(options: argparse.Namespace) -> int:
    """List the runs; raises `NotHeld` if there are none."""
    with Places(options) as places:
        found = _found(places.find(options.place), options.filter)
    if not found:
        what = "no such runs" if options.filter else "no runs"
        raise NotHeld(f"{what} under {options.place!r}", hint="name a log directory, or a receiver's URL")
    found = ordered(found, options.sort, is_reversed=options.reverse)[: options.most]
    if options.json:
        write_document([summary.document() for summary in found])
        return 0
    columns = columns_of(found, options.sort, time.time())
    width, is_colored = terminal_width(sys.stdout), is_wanted(sys.stdout)
    for line in aligned(columns, always=3, width=width, is_colored=is_colored):
        print(line)
    return 0


def _found(place: Place, wanted: Sequence[str]) -> list[Summary]:
    place.files.list(place.folder)  # so that what is not there is said
    prefix = f"{place.folder}/" if place.folder else ""
    runs = find_runs(place.folder, files=place.files)
    names = [one.folder.removeprefix(prefix) if one.folder != place.folder else "." for one in runs]
    pool = ThreadPoolExecutor(1 if place.is_near else _CONNECTIONS)
    try:
        found = [*counted(pool.map(summary_of, runs, names), "reading", "run", len(runs))]
    finally:
        pool.shutdown(cancel_futures=True)
    return [summary for summary in found if all(summary.contains(text) for text in wanted)]


def columns_of(found: Sequence[Summary], sorted_by: str, now_s: float) -> list[Column]:
    """Return the columns of a list of runs; what it is sorted by comes before the other values."""
    keys = [key for key in keys_of(found) if key != sorted_by]
    if sorted_by not in OWN:
        keys.insert(0, sorted_by)
    return [
        Column("RUN", [Cell(text_of(summary.path, most=_NAME_COLUMNS)) for summary in found]),
        Column("STATE", [Cell(summary.life.state, STATE_COLORS.get(summary.life.state)) for summary in found]),
        _column("STARTED", found, lambda summary: _age(summary, now_s)),
        _column("STEP", found, lambda summary: summary.step),
        *(_column(text_of(key, most=_NAME_COLUMNS), found, _getter(key)) for key in keys),
    ]


def _getter(key: str) -> Callable[[Summary], Any]:
    return lambda summary: summary.value(key)


def _age(summary: Summary, now_s: float) -> str | None:
    return None if summary.life.started is None else f"{age_text(now_s - summary.life.started)} ago"


def _column(title: str, found: Sequence[Summary], value: Callable[[Summary], Any]) -> Column:
    values = [value(summary) for summary in found]
    return Column(
        title, [Cell("" if one is None else text_of(one, most=_VALUE_COLUMNS)) for one in values], is_right=True
    )
