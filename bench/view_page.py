"""Looking at runs in a browser: how long until there is something to see, and what that costs, beside TensorBoard.

``python -m bench.view_page`` writes the same runs in both formats (once, under ``build/bench/view/``), serves them with
``ml-logger view`` and with TensorBoard, and looks at both with a headless chromium. TensorBoard is installed into a virtual
environment of its own under ``build/``; where that can't be done it is left out, with a line. Numbers go to
``build/bench/view_page.json``.

Of ours a curve is there when it is drawn, be it on the canvas that is there before plotly.js, and a chart when plotly.js has
drawn it, with axes and all. Of TensorBoard, which draws on a canvas, both are there when the first card has lost its spinner: a
little early, if anything. It is looked at when it has read all runs: of many runs 1,000 points each, as it does by itself, of
one run all points.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page

from . import results
from .processes import Failed, Server, cpu_s, free_port, serving
from .view_browser import CHROMIUM, looking, server_bytes
from .view_data import Sweep

MANY = Sweep("100 runs of 10,000 points and 5 keys", 100, 10_000, ("loss", "accuracy", "grad/norm", "val/loss", "lr"))
LONG = Sweep("one run of 1,000,000 points", 1, 1_000_000, ("loss",))
CROWDS = (Sweep("1,000 runs", 1_000, 1, ("loss",)), Sweep("10,000 runs", 10_000, 1, ("loss",)))

Rows = list[dict[str, object]]

_MIB = 1 << 20
_IDLE_S = 20.0
_READ_DEADLINE_S = 900.0
_ROUNDS = 5
_VENV = results.FOLDER.parent / "tensorboard"

_CURVE = "document.querySelector('.plot-sketch:not([hidden]), .chart .scatterlayer .js-line[d]') !== null"
_CHART = "document.querySelector('.chart .scatterlayer .js-line[d]') !== null"
_ROWS = "document.querySelectorAll('.grid-body .run').length > 10"
_CARD = """(() => { const card = document.querySelector('scalar-card-component');
    return card && card.querySelector('line-chart') && !card.querySelector('mat-spinner'); })()"""


@dataclass(frozen=True)
class Site:
    """A server and the page to look at; `is_read` says whether it has read all runs."""

    name: str
    command: Callable[[Path, int, Sweep], list[str]]
    folder: str
    page: str
    curve: str
    chart: str
    is_read: Callable[[str, Sweep], bool]


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _get(url: str) -> object:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)
    except (OSError, urllib.error.URLError, ValueError):
        return None


def _ours_is_read(url: str, sweep: Sweep) -> bool:
    answer = _get(f"{url}view/api/runs")
    return isinstance(answer, dict) and not answer["is_scanning"] and len(answer["runs"]) == sweep.runs


def _tensorboard_is_read(url: str, sweep: Sweep) -> bool:
    tags = _get(f"{url}data/plugin/timeseries/tags")
    if not isinstance(tags, dict) or len(tags["scalars"]["runTagInfo"]) < sweep.runs:
        return False
    last = max(tags["scalars"]["runTagInfo"])
    points = _get(f"{url}data/plugin/scalars/scalars?tag={sweep.keys[0]}&run={last}")
    return isinstance(points, list) and bool(points) and points[-1][1] == sweep.steps - 1


OURS = Site(
    "ml-logger view",
    lambda folder, port, _sweep: [_program("ml-logger"), "view", str(folder), "--port", str(port)],
    "ours",
    "#curves",
    _CURVE,
    _CHART,
    _ours_is_read,
)
TENSORBOARD = Site(
    "tensorboard",
    lambda folder, port, sweep: [
        *(str(_VENV / "bin/tensorboard"), "--logdir", str(folder), "--port", str(port), "--host", "127.0.0.1"),
        *(("--samples_per_plugin", f"scalars={sweep.steps}") if sweep is LONG else ()),
    ],
    "tensorboard",
    "#timeseries",
    _CARD,
    _CARD,
    _tensorboard_is_read,
)


def maybe_tensorboard() -> Site | None:
    """Return TensorBoard, installed if need be; None, with a line, where it can't be."""
    if not (_VENV / "bin/tensorboard").exists():
        make, install = [sys.executable, "-m", "venv", _VENV], [_VENV / "bin/pip", "install", "--quiet", "tensorboard"]
        steps = (make, [*install, "setuptools<81"])  # its pkg_resources is gone from later ones
        if any(subprocess.run(list(map(str, step)), check=False).returncode for step in steps):
            shutil.rmtree(_VENV, ignore_errors=True)
            print("TensorBoard can't be installed here: it is left out")
            return None
    return TENSORBOARD


@contextlib.contextmanager
def serve(site: Site, data: Path, sweep: Sweep, log: Path) -> Iterator[tuple[Server, str, float]]:
    """Serve a sweep; gives the server, its URL, and the seconds until it had read all of it."""
    port, began_s = free_port(), time.monotonic()
    with serving(site.command(data / site.folder, port, sweep), log, port) as server:
        url = f"http://127.0.0.1:{port}/"
        while not site.is_read(url, sweep):
            if server.process.poll() is not None or time.monotonic() - began_s > _READ_DEADLINE_S:
                raise Failed(f"{site.name} has not read {sweep.name}: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)
        yield server, url, time.monotonic() - began_s


def look_at_many(sites: list[Site], data: Path, rounds: int) -> Rows:
    """Return what many runs cost each site: the first look, later ones, memory, and an idle page."""
    rows: Rows = []
    for site in sites:
        with serve(site, data, MANY, data / f"{site.folder}.log") as (server, url, read_s):
            looks, charts, tabs = [], [], []
            for number in range(rounds + 1):
                with looking(url + site.page, site.curve) as look:
                    looks.append(look.first_s)
                    charts.append(look.wait_s(site.chart))
                    tabs.append(look.tab_bytes())
                    idle_percent = _idle_percent(server) if number == rounds else 0.0
            rows.append(
                {
                    "site": site.name,
                    "read_s": round(read_s, 2),
                    "first_look_s": round(looks[0], 2),
                    "curve_s": round(statistics.median(looks[1:]), 2),
                    "chart_s": round(statistics.median(charts[1:]), 2),
                    "tab_MiB": round(statistics.median(tabs) / _MIB),
                    "server_MiB": round(server_bytes(server.process.pid) / _MIB),
                    "idle_cpu_%": round(idle_percent, 2),
                }
            )
    return rows


def _idle_percent(server: Server) -> float:
    before_s = cpu_s(server.process.pid)
    time.sleep(_IDLE_S)
    return (cpu_s(server.process.pid) - before_s) / _IDLE_S * 100


def look_at_long(sites: list[Site], data: Path, rounds: int) -> Rows:
    """Return the seconds until one long run is seen, and of ours until a zoom into it is."""
    rows: Rows = []
    for site in sites:
        with serve(site, data, LONG, data / f"{site.folder}.log") as (server, url, read_s):
            looks, charts, zooms = [], [], []
            for _ in range(rounds):
                with looking(url + site.page, site.curve) as look:
                    looks.append(look.first_s)
                    charts.append(look.wait_s(site.chart))
                    zooms += _zooms_ms(look.page) if site is OURS else []
            rows.append(
                {
                    "site": site.name,
                    "read_s": round(read_s, 2),
                    "curve_s": round(statistics.median(looks), 2),
                    "chart_s": round(statistics.median(charts), 2),
                    "zoom_ms": round(statistics.median(zooms)) if zooms else "",
                    "server_MiB": round(server_bytes(server.process.pid) / _MIB),
                }
            )
    return rows


_ZOOM = """async ([low, high]) => {
    const shown = () => { const graph = document.querySelector('.chart .plot-canvas');
        const line = graph.data.find((trace) => !trace.fill);
        return graph.layout.xaxis.range[0] === low && line.x[0] >= low && line.x[line.x.length - 1] <= high; };
    const began = performance.now();
    location.hash = `#curves?zoom=loss@${low}~${high}`;
    while (!shown()) await new Promise(requestAnimationFrame);
    return performance.now() - began; }"""


def _zooms_ms(page: Page) -> list[float]:
    """Return the ms of some zooms, from the new range to the curve drawn from the server's answer for it."""
    ranges = [[500_000, 600_000], [540_000, 545_000], [10_000, 400_000]]
    return [float(page.evaluate(_ZOOM, one)) for one in ranges]


def look_at_crowds(folder: Path, rounds: int) -> Rows:
    """Return the seconds until so many runs are listed."""
    rows: Rows = []
    for crowd in CROWDS:
        data = folder / crowd.name.replace(" ", "-")
        crowd.write(data)
        with serve(OURS, data, crowd, data / "ours.log") as (server, url, read_s):
            looks = []
            for _ in range(rounds):
                with looking(url + "#runs", _ROWS) as look:
                    looks.append(look.first_s)
            rows.append(
                {
                    "runs": crowd.name,
                    "read_s": round(read_s, 2),
                    "listed_s": round(statistics.median(looks), 3),
                    "server_MiB": round(server_bytes(server.process.pid) / _MIB),
                }
            )
    return rows


def _judge(
    report: results.Report,
    many: Rows,
    long: Rows,
    crowds: Rows,
) -> None:
    ours, one = many[0], long[0]
    promises = [
        (f"{MANY.name}: s to the first curve", ours["curve_s"], 1.5),
        ("the same: MiB of the tab", ours["tab_MiB"], 300),
        ("the same: MiB of the server", ours["server_MiB"], 200),
        ("the same: idle, percent of a core of the server", ours["idle_cpu_%"], 2),
        (f"{LONG.name}: s to the curve", one["curve_s"], 1),
        ("the same: ms to a zoom", one["zoom_ms"], 200),
        ("1,000 runs: s until listed", crowds[0]["listed_s"], 0.3),
        ("10,000 runs: s until listed", crowds[1]["listed_s"], 1),
    ]
    for promise, measured, most in promises:
        report.judge(promise, float(str(measured)), most)


def main() -> None:
    """Measure, print the tables and what is met, write the JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="looks a case")
    parser.add_argument("--alone", action="store_true", help="without TensorBoard")
    options = parser.parse_args()
    folder, report = results.FOLDER / "view", results.Report()
    tensorboard = None if options.alone else maybe_tensorboard()
    sites = [OURS, *([tensorboard] if tensorboard else [])]
    for sweep, name in ((MANY, "many"), (LONG, "long")):
        sweep.write(folder / name)
    many = look_at_many(sites, folder / "many", options.rounds)
    report.add(MANY.name, many)
    long = look_at_long(sites, folder / "long", options.rounds)
    report.add(LONG.name, long)
    crowds = look_at_crowds(folder, options.rounds)
    report.add("runs listed", crowds)
    _judge(report, many, long, crowds)
    name = "view_page-part" if options.alone else "view_page"
    path = report.write(name, peers=_versions(tensorboard), missing=[] if tensorboard else ["TensorBoard"])
    print(results.verdicts(report.targets), f"written to {path}", sep="\n\n")


def _versions(tensorboard: Site | None) -> dict[str, str]:
    """Return what the browser and TensorBoard say of their versions."""
    commands = {"chromium": [str(CHROMIUM), "--version"]}
    if tensorboard:
        commands["tensorboard"] = [str(_VENV / "bin/tensorboard"), "--version"]
    said = {name: subprocess.run(one, capture_output=True, text=True, check=True) for name, one in commands.items()}
    return {name: f"{name} {re.findall(r'[0-9][0-9.]+', one.stdout)[0]}" for name, one in said.items()}


if __name__ == "__main__":
    main()
