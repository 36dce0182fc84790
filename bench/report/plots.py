"""Plots: horizontal bars as SVG, the same file for the same values, with a mark in it that tells the values it shows.

Text stays text, in a grey that can be read on white as on black; the background is left out.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .markdown import number
from .measured import Measured, Row
from .sections import Panel, Section

_GREY = "#7d8590"
_COLOURS = ("#3b82c4", "#e08a2e", "#4aa564")
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "ml-logger", "font.size": 9.0, "font.family": "sans-serif"}
_INK = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
_WIDTH_IN, _BAR_IN, _HEAD_IN = 7.5, 0.2, 0.75


@dataclass(frozen=True)
class Bars:
    """What one panel shows: labels from top to bottom, and for each name as many values; None is no bar."""

    title: str
    axis: str
    is_log: bool
    labels: list[str]
    series: dict[str, list[float | None]]


def bars(section: Section, measured: Measured) -> list[Bars]:
    """Return what is drawn of a benchmark."""
    return [_panel(panel, measured) for panel in section.panels]


def _panel(panel: Panel, measured: Measured) -> Bars:
    rows = [row for title in panel.tables for row in measured.rows(title) if _label(row).startswith(panel.only)]
    rows = [row for row in rows if any(_maybe_number(row.get(key)) is not None for key in panel.values)]
    series = {name: [_maybe_number(row.get(key)) for row in rows] for key, name in panel.values.items()}
    return Bars(panel.title, panel.axis, panel.is_log, [_label(row) for row in rows], series)


def _label(row: Row) -> str:
    """Return the first text of a row that is no number: what it is called."""
    return next(value for value in row.values() if isinstance(value, str) and value)


def _maybe_number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def mark(shown: Sequence[Bars]) -> str:
    """Return what tells these values from others; it stands in the file, so that nobody has to draw to know whose it is."""
    return f"values {zlib.crc32(json.dumps([vars(one) for one in shown]).encode()):08x}"


def draw(shown: Sequence[Bars], path: Path) -> None:
    """Draw panels below each other into an SVG file."""
    import matplotlib  # in here, so that a report without plots, and its test, do not need it

    matplotlib.use("svg")
    from matplotlib import pyplot

    heights = [_HEAD_IN + _BAR_IN * len(one.labels) * len(one.series) for one in shown]
    with matplotlib.rc_context({**_STYLE, **dict.fromkeys(_INK, _GREY)}):
        figure, axes = pyplot.subplots(
            len(shown), 1, figsize=(_WIDTH_IN, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
        )
        for one, axis in zip(shown, axes[:, 0], strict=True):
            _draw_panel(one, axis)
        figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None, "Description": mark(shown)})
        pyplot.close(figure)


def _draw_panel(one: Bars, axis: Any) -> None:
    thickness = 0.8 / len(one.series)
    for place, ((name, values), colour) in enumerate(zip(one.series.items(), _COLOURS, strict=False)):
        shift = thickness * (place - (len(one.series) - 1) / 2)
        places = [bar + shift for bar in range(len(values))]
        drawn = axis.barh(places, [value or 0.0 for value in values], thickness, label=name, color=colour)
        axis.bar_label(drawn, ["" if value is None else number(value) for value in values], padding=2, fontsize=7.5)
    axis.set_yticks(range(len(one.labels)), one.labels)
    axis.invert_yaxis()
    axis.set_xlabel(one.axis)
    axis.set_title(one.title, fontsize=10, loc="left")
    if one.is_log:
        axis.set_xscale("log")
    axis.margins(x=0.15)
    axis.spines[["top", "right"]].set_visible(False)
    if len(one.series) > 1:
        above = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.97), "ncols": len(one.series)}
        axis.legend(fontsize=8, frameon=False, borderaxespad=0.2, **above)
