"""Tables in Markdown: rows of JSON with readable headings and numbers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .measured import Row

_UNITS = {"percent": "%", "us": "µs"}
_UNIT = re.compile(r"_(ms|us|s|MiB|MB|percent|%)(_min|_max)?$")
_EXTREMES = {None: "", "_min": " (least)", "_max": " (most)"}
_WORDS = {"p999": "p99.9", "us": "µs", "cpu": "CPU", "rss": "memory", "mib": "MiB", "gib": "GiB"}
_WORD = re.compile(r"[A-Za-z0-9]+")


def heading(key: str) -> str:
    """Return a key of the JSON as people write it: ``p99_ms`` is "p99, ms", ``MiB_per_s`` is "MiB/s"."""
    name, unit = key.replace("_per_", "/"), ""
    if "/" not in name and (found := _UNIT.search(name)):
        name = name[: found.start()]
        unit = f", {_UNITS.get(found[1], found[1])}{_EXTREMES[found[2]]}"
    words = name.replace("_", " ")
    return _WORD.sub(lambda word: _WORDS.get(word[0], word[0]), words) + unit


def shown(value: object) -> str:
    """Return a value as it stands in a cell."""
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def number(value: float) -> str:
    """Return a number with three significant digits, whole ones with all they have: 3.25, 79.9, 12,043."""
    for below, digits in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < below:
            return f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}"


def table(rows: Sequence[Row], keys: Sequence[str] = (), headings: Mapping[str, str] | None = None) -> str:
    """Return `rows` as a table, its columns `keys` or all there are; a key that is not in `headings` is its own heading."""
    keys, own = keys or list(dict.fromkeys(key for row in rows for key in row)), headings or {}
    lines = [[own.get(key) or heading(key) for key in keys], ["---", *["--:"] * (len(keys) - 1)]]
    lines += [[shown(row.get(key, "")) for key in keys] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdicts(targets: Sequence[Row]) -> str:
    """Return the promises with what was measured; missed ones are as easy to see as the others, or easier."""
    lines = ["| promise | at most | measured | |", "| --- | --: | --: | --- |"]
    for target in targets:
        measured = number(target["measured"])
        cells = (measured, "met") if target["is_met"] else (f"**{measured}**", "**missed**")
        lines.append(f"| {target['promise']} | {number(target['most'])} | {' | '.join(cells)} |")
    return "\n".join(lines)
