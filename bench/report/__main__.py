"""``python -m bench.report`` takes what is newer in ``build/bench/`` and writes the page, its plots and the README's table."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import results
from . import page, plots
from .measured import Measured, read, take_newer
from .sections import SECTIONS, TRACKING

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT = ROOT / "docs" / "benchmarks"


def kept() -> tuple[dict[str, Measured], dict[str, str]]:
    """Return all that was measured and is kept, and the pieces of prose, by name."""
    measured = {s.name: read(KEPT / f"{s.name}.json") for s in SECTIONS if (KEPT / f"{s.name}.json").exists()}
    return measured, {path.stem: path.read_text(encoding="utf-8") for path in KEPT.glob("*.md")}


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--measured", type=Path, default=results.FOLDER, help="a folder with newer files (build/bench)")
    options = parser.parse_args()
    for section in SECTIONS:
        if take_newer(section.name, options.measured, KEPT):
            print(f"taken: {section.name}.json")
    measured, prose = kept()
    (ROOT / "docs" / "BENCHMARKS.md").write_text(page.report(measured, prose), encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(page.with_peers(readme.read_text(encoding="utf-8"), measured[TRACKING.name]), encoding="utf-8")
    for section in SECTIONS:
        if section.name in measured:
            plots.draw(plots.bars(section, measured[section.name]), KEPT / f"{section.name}.svg")
    print("written: docs/BENCHMARKS.md, docs/benchmarks/*.svg, the table of peers in README.md")


if __name__ == "__main__":
    main()
