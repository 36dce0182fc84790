"""``ml-logger show``: one run's parameters and last values."""

from __future__ import annotations

import argparse
import sys

from ..color import is_wanted, terminal_width
from ..table import Cell, params_table, step_table
from .documents import add_json_argument, write_document
from .places import Places, add_run_arguments
from .summaries import Summary, summary_of
from .values import age_text, escaped, text_of, time_text


def add_arguments(show: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    show.add_argument("run", metavar="RUN", help="a directory, or a receiver's URL and the run's path behind it")
    add_json_argument(show)
    add_run_arguments(show)


def run(options: argparse.Namespace) -> int:
    """Show the run."""
    with Places(options) as places:
        place = places.find(options.run)
        found = place.run()
        summary, sections = summary_of(found, place.called), found.sections
    if options.json:
        write_document(summary.document())
        return 0
    is_colored = is_wanted(sys.stdout)
    texts = {
        escaped(title): {escaped(key): escaped(str(value)) for key, value in section.items()}
        for title, section in sections.items()
    }
    print(params_table(texts, is_colored=is_colored), end="")
    cells = {escaped(key): Cell(text_of(value)) for key, value in summary.last.items()}
    print(step_table(cells, width=terminal_width(sys.stdout), is_colored=is_colored), end="")
    print(", ".join(_facts(summary)))
    return 0


def _facts(summary: Summary) -> list[str]:
    life = summary.life
    facts = [life.state, f"{summary.records} records"]
    if summary.step is not None:
        facts.append(f"last step {text_of(summary.step)}")
    if life.started is not None:
        facts.append(f"started {time_text(life.started)}")
        if life.ended is not None:
            facts.append(f"ran {age_text(life.ended - life.started)}")
    if life.host is not None:
        facts.append(f"on {text_of(life.host)}")
    return facts
