"""``ml-logger tail``: the last records of a run, and with ``-f`` those that come, as the tables that training prints.

What follows survives whatever happens to the files: a new part is taken up, a stream that was written anew is read from its
begin, a receiver that is away is waited for. The records of one step that come together make one table.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any

from ..color import is_wanted, terminal_width
from ..errors import NotHeld, TryAgain
from ..files import OpenFile
from ..layout import METRICS
from ..reader.follow import Place, lines_behind, place_in
from ..reader.parts import Part, time_of
from ..reader.records import CHUNK_BYTES, OWN_KEYS, as_numbers, parsed
from ..reader.run import Run
from ..table import Cell, step_table
from .documents import add_json_argument, write_document
from .places import Places, add_run_arguments, is_url
from .progress import Notice
from .quantities import whole_number
from .values import escaped, text_of
from .waiting import wait_or_end

Record = dict[str, Any]

LOCAL_POLL_S, FAR_POLL_S, AWAY_S = 0.3, 1.0, 2.0
_RECORDS = 10
_CHUNK_BYTES = 256 << 10


def add_arguments(tail: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    tail.add_argument("run", metavar="RUN", help="a directory, or a receiver's URL and the run's path behind it")
    tail.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    tail.add_argument(
        "-n", "--records", type=whole_number(0), default=_RECORDS, metavar="N", help=f"the last N records ({_RECORDS})"
    )
    add_json_argument(tail)
    add_run_arguments(tail)


def run(options: argparse.Namespace) -> int:
    """Print the last records, and go on."""
    show = _write_lines if options.json else _print_tables
    with Places(options) as places:
        following = Following(places.find(options.run, is_growing=True).run())
        held = following.last(options.records)
        if not options.follow:
            show(held)
            return 0
        _follow(following, held, show, FAR_POLL_S if is_url(options.run) else LOCAL_POLL_S)
    return 0


def _follow(following: Following, held: list[Record], show: Callable[[Sequence[Record]], None], poll_s: float) -> None:
    """Show what comes, for ever; the last step waits until nothing more of it came for a moment."""
    with closing(Notice()) as notice:
        while True:
            found, pause_s = _news(following, poll_s, notice)
            *complete, latest = _by_step([*held, *found]) or [[]]
            held = latest if found else []
            for records in complete if found else [*complete, latest]:
                show(records)
            sys.stdout.flush()
            wait_or_end(pause_s)


def _news(following: Following, poll_s: float, notice: Notice) -> tuple[list[Record], float]:
    """Return what came, and how long to wait now."""
    try:
        found = following.news()
    except (TryAgain, NotHeld) as error:  # the receiver is away, or the run is, for the moment
        notice.show(f"waiting: {error}")
        return [], AWAY_S
    notice.clear()
    return found, poll_s


class Following:
    """The records of a run, from where the last look ended."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parts: dict[str, tuple[Part, Place]] = {}

    def last(self, count: int) -> list[Record]:
        """Return the last `count` records there are, in the order of their times; `news` goes on behind them."""
        found: list[Record] = []
        for part in self._run.parts(METRICS):
            with closing(self._run.files.open(part.path)) as file:
                lines, end = last_lines(file, count)
                self._parts[part.path] = part, place_in(file, end)
            found += _records(lines)
        return sorted(found, key=time_of)[-count:] if count else []

    def news(self) -> list[Record]:
        """Return the records that came since, in the order of their times; raises `TryAgain`, then nothing is lost."""
        found: list[Record] = []
        parts = self._run.parts(METRICS)
        for part in parts:
            before, place = self._parts.get(part.path, (None, Place()))
            if before != part:
                found += self._read(part, place)
        self._parts = {part.path: self._parts[part.path] for part in parts if part.path in self._parts}
        return sorted(found, key=time_of)

    def _read(self, part: Part, place: Place) -> list[Record]:
        found: list[Record] = []
        with closing(self._run.files.open(part.path)) as file:
            place = place if place.is_in(file) else Place()
            end = place.offset
            for lines, behind in lines_behind(file, place):
                found += _records(io.BytesIO(lines))
                end = behind
            self._parts[part.path] = part, place_in(file, end)
        return found


def last_lines(file: OpenFile, count: int) -> tuple[list[bytes], int]:
    """Return the last `count` whole lines of a file, and the offset behind them; reads from its end, as far as it takes."""
    start, end, newlines, pieces = file.size, 0, 0, list[bytes]()
    while start > 0 and newlines <= count:
        size = min(start, max(_CHUNK_BYTES, min(file.size - start, CHUNK_BYTES)))
        start -= size
        piece = file.read(start, size)
        if not newlines:  # behind the last newline a line is still being written
            piece = piece[: piece.rfind(b"\n") + 1]
            end = start + len(piece)
        newlines += piece.count(b"\n")
        pieces.append(piece)
    lines = list(io.BytesIO(b"".join(reversed(pieces))))
    return lines[1 if start else 0 :][-count:] if count else [], end


def _records(lines: Iterable[bytes]) -> Iterator[Record]:
    return (as_numbers(record) for line in lines if isinstance(record := parsed(line), dict))


def _by_step(records: Sequence[Record]) -> list[list[Record]]:
    return [list(group) for _, group in groupby(records, key=_group_of)]


def _group_of(record: Record) -> tuple[bool, Any]:
    """Return what records of one table share: their step; one without a step stands alone."""
    step = record.get("_step")
    return step is None, id(record) if step is None else step


def _print_tables(records: Sequence[Record]) -> None:
    width, is_colored = terminal_width(sys.stdout), is_wanted(sys.stdout)
    for group in _by_step(records):
        merged = {key: value for record in group for key, value in record.items()}
        step = {"step": Cell(text_of(merged["_step"]), "yellow")} if "_step" in merged else {}
        cells = {escaped(key): Cell(text_of(value)) for key, value in merged.items() if key not in OWN_KEYS}
        print(step_table({**step, **cells}, width=width, is_colored=is_colored), end="")


def _write_lines(records: Sequence[Record]) -> None:
    for record in records:
        write_document(record)
