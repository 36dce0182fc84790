"""``ml-logger plot``: curves in the terminal."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ..color import is_wanted, paint, terminal_width
from ..errors import NotHeld
from ..reader import Run, Series, bucketed, grid
from .chart import COLORS, Curve, Style, chart, letter_of
from .documents import add_json_argument, write_document
from .places import Places, add_run_arguments
from .quantities import number_within, whole_number
from .values import text_of

_WIDTH, _HEIGHT = 80, 16
_DOCUMENT_BUCKETS = 1000


def add_arguments(plot: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    plot.add_argument("run", metavar="RUN", help="a directory, or a receiver's URL and the run's path behind it")
    plot.add_argument(
        "keys", nargs="+", metavar="KEY", help="what log was given; a pattern as 'train/*' takes all like it"
    )
    plot.add_argument("--with", dest="others", action="append", default=[], metavar="RUN", help="another run beside it")
    plot.add_argument("--x", choices=("step", "time", "relative"), default="step", help="what to draw over")
    plot.add_argument("--log", action="store_true", help="logarithmic y")
    plot.add_argument(
        "--smooth", type=number_within(0, 0.999), default=0.0, metavar="W", help="moving average, 0 to 0.999; as in 0.9"
    )
    plot.add_argument(
        "--width", type=whole_number(4, 1000), metavar="N", help="columns (default: those of the terminal)"
    )
    plot.add_argument(
        "--height", type=whole_number(4, 1000), default=_HEIGHT, metavar="N", help=f"rows of the field ({_HEIGHT})"
    )
    add_json_argument(plot)
    add_run_arguments(plot)


def run(options: argparse.Namespace) -> int:
    """Draw the curves."""
    with Places(options) as places:
        runs = [(named, places.find(named).run()) for named in (options.run, *options.others)]
        found = [(named, key, one.series(key)) for named, one in runs for key in _keys(one, named, options.keys)]
    names = _names([named for named, _ in runs])
    if options.json:
        write_document([_document(named, key, series, options.x) for named, key, series in found])
        return 0
    style = _style(options, len(found))
    curves = [Curve(f"{names[named]}{key}", _x(series, options.x), series.values) for named, key, series in found]
    for line in [*chart(curves, style), *(_legend(number, curve, style) for number, curve in enumerate(curves))]:
        print(line)
    return 0


def _keys(one: Run, named: str, wanted: Sequence[str]) -> list[str]:
    """Return the keys of a run that are `wanted`, by name or by pattern; raises `NotHeld` with what there is instead."""
    known = list(one.keys())
    found: dict[str, None] = {}
    for key in wanted:
        matching = [key] if key in known else [name for name in known if fnmatchcase(name, key)]
        if not matching:
            near = difflib.get_close_matches(key, known, n=1) or known[:8]
            hint = f"it has {', '.join(near)}" if near else "it has no numbers"
            raise NotHeld(f"{named!r} has no {key!r}", hint=hint)
        found.update(dict.fromkeys(matching))
    return list(found)


def _style(options: argparse.Namespace, count: int) -> Style:
    is_colored = is_wanted(sys.stdout)
    return Style(
        width=options.width or terminal_width(sys.stdout) or _WIDTH,
        height=options.height,
        x=options.x,
        is_log=options.log,
        smooth=options.smooth,
        is_colored=is_colored,
        has_braille=_takes_braille() and (is_colored or count == 1),
    )


def _takes_braille() -> bool:
    try:
        "⣿".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _names(named: Sequence[str]) -> dict[str, str]:
    """Return what stands before a key of each run: nothing for one, else its last component, if that tells them apart."""
    if len(named) == 1:
        return {named[0]: ""}
    last = [one.rstrip("/").rpartition("/")[2] for one in named]
    return {one: f"{short if last.count(short) == 1 else one} " for one, short in zip(named, last, strict=True)}


def _x(series: Series, kind: str) -> Any:
    if kind == "step":
        return series.steps if np.isfinite(series.steps).any() else np.arange(len(series), dtype=np.float64)
    return series.times if kind == "time" or not len(series) else series.times - np.fmin.reduce(series.times)


def _legend(number: int, curve: Curve, style: Style) -> str:
    """Return the line that says which curve has which colour or letter, and what a look at it does not tell."""
    values, finite = curve.y, curve.y[np.isfinite(curve.y)]
    facts = [f"{len(values)} points"]
    if len(finite):
        facts += [
            f"last {text_of(float(values[-1]))}",
            f"{text_of(float(finite.min()))} to {text_of(float(finite.max()))}",
        ]
    odd = {"NaN": np.isnan(values), "+Inf": values == np.inf, "-Inf": values == -np.inf}
    facts += [f"{count} {name}" for name, kind in odd.items() if (count := int(kind.sum()))]
    if style.is_log and (count := int((finite <= 0).sum())):
        facts.append(f"{count} not above 0, left out")
    mark = letter_of(number) if not style.has_braille else "⠶⠶"
    shown = f"{mark} {text_of(curve.label)}"
    return f"{paint(shown, COLORS[number % len(COLORS)]) if style.is_colored else shown}  {', '.join(facts)}"


def _document(named: str, key: str, series: Series, kind: str) -> dict[str, Any]:
    x = _x(series, kind)
    finite = x[np.isfinite(x)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    origin, width = grid(low, high, _DOCUMENT_BUCKETS - 1)
    found = bucketed(x, series.values, origin, width)
    places = {"x": (origin + (found.index + found.at) * width).tolist()}  # exact, as the width is a power of two
    figures = {
        name: getattr(found, name).tolist() for name in ("count", "nan", "above", "below", "min", "max", "mean", "last")
    }
    return {"run": named, "key": key, "over": kind, "points": len(series), **places, **figures}
