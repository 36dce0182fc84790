"""The text of the report and of the README's table, from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .markdown import table, verdicts
from .measured import Measured
from .sections import SECTIONS, TRACKING, Section

README_MARKS = ("<!-- peers: written by make bench-report -->\n", "<!-- /peers -->\n")
_README_KEYS = ("tracker", "median_us", "p999_us", "calls_per_s", "bytes_per_call", "import_s", "lost")


def report(measured: Mapping[str, Measured], prose: Mapping[str, str]) -> str:
    """Return the whole page: `prose` has the pieces of Markdown by name, "intro" the first of them."""
    known = [section for section in SECTIONS if section.name in measured]
    parts = [f"# Benchmarks\n\n{prose['intro'].strip()}", _overview(known, measured)]
    parts += [_section(section, measured[section.name], prose.get(section.name, "")) for section in known]
    return "\n\n".join(parts) + "\n"


def _overview(known: Sequence[Section], measured: Mapping[str, Measured]) -> str:
    lines = ["| benchmark | promises met | missed | measured |", "| --- | --: | --: | --- |"]
    for section in known:
        one = measured[section.name]
        met = sum(bool(target["is_met"]) for target in one.targets)
        missed = len(one.targets) - met
        link = f"[{section.title}](#{_anchor(section.title)})"
        lines.append(f"| {link} | {met} | {f'**{missed}**' if missed else 0} | {one.date[:10]} |")
    return "\n".join(lines)


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


def _section(section: Section, one: Measured, prose: str) -> str:
    parts = [f"## {section.title}", _how(section, one), f"![{section.title}](benchmarks/{section.name}.svg)"]
    for title, rows in one.tables.items():
        parts += [f"**{title}**", table(rows, headings=section.headings)]
    if one.targets:
        parts.append(verdicts(one.targets))
    if prose:
        parts.append(prose.strip())
    return "\n\n".join(parts)


def _how(section: Section, one: Measured) -> str:
    machine = one.machine
    versions = {**machine["versions"], **one.notes.get("peers", {})}
    lines = [
        f"To repeat it: `{section.command}`. Measured {one.date[:10]} on {machine['processor']}, {machine['cores']} cores, "
        f"load {machine['load_1_min']} at the end; {machine['system']}, Python {machine['python']}, {_listed(versions)}."
    ]
    absent = {**dict.fromkeys(one.notes.get("missing", []), "not installed here"), **one.notes.get("left_out", {})}
    lines += [f"Left out: {name} ({why})." for name, why in absent.items()]
    return "\n".join(lines)


def _listed(versions: Mapping[str, str]) -> str:
    """Return names and versions; of a version that says more, such as its program's name, all of it."""
    said = [version if " " in version else f"{name} {version}" for name, version in versions.items()]
    return ", ".join(" ".join(one.split()) for one in said)


# --- the README's table


def peers(tracking: Measured) -> str:
    """Return the README's short table: a line a tracker, of records and of what a kill took."""
    lost = {row["tracker"]: f"{row['lost']} of {row['returned']}" for row in tracking.rows("C")}
    rows = [
        {**row, "lost": lost[row["tracker"]]}
        for row in tracking.rows("A")
        if isinstance(row["median_us"], (int, float))
    ]
    short = {
        "lost": "lost by `kill -9`",
        "calls_per_s": "calls/s to the durable end",
        "bytes_per_call": "bytes a record",
    }
    return table(rows, _README_KEYS, {**TRACKING.headings, **short}) + "\n"


def with_peers(readme: str, tracking: Measured) -> str:
    """Return the README with the table between its marks written anew; raises `ValueError` if a mark is not there."""
    begin, end = README_MARKS
    before, found, rest = readme.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError("the README has no place for the table of peers")
    return f"{before}{begin}{peers(tracking)}{end}{after}"
