"""The page's server without a browser: how long its answers take, what it holds in memory, and what an open page costs it.

``python -m bench.view`` writes runs as the client does (once, under ``build/bench/view/``; those of `view_page` are the same),
serves them with ``ml-logger view`` and asks as the page does. The cache of columns is one of its own, and empty at first. An
idle page asks for the runs every second and for the news of all curves every two. Numbers go to ``build/bench/view.json``.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from . import results
from .processes import Server, free_port, serving
from .view_data import Sweep
from .view_page import CROWDS, LONG, MANY

_MIB = 1 << 20
_IDLE_S = 20.0
_ROUNDS = 7
_ENCODINGS = {"Accept-Encoding": "gzip, deflate, br, zstd"}


class Asking:
    """One connection of a browser to the page's server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.close = self._connection.close

    def get(self, call: str) -> bytes:
        """Return the body of an answer, as it is compressed."""
        return self._ask("GET", call, None, _ENCODINGS)

    def runs(self, since: int | None = None) -> dict[str, Any]:
        """Return the list of runs."""
        call = "/view/api/runs" if since is None else f"/view/api/runs?since={since}"
        found: dict[str, Any] = json.loads(self._ask("GET", call, None, {}))
        return found

    def curves(self, **wanted: Any) -> dict[str, Any]:
        """Return the head of an answer with curves."""
        body = self._ask("POST", "/view/api/curves", json.dumps(wanted), {"X-ML-Logger": "1"})
        head: dict[str, Any] = json.loads(body.partition(b"\n")[0])
        return head

    def _ask(self, method: str, call: str, body: str | None, headers: dict[str, str]) -> bytes:
        self._connection.request(method, call, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {call}: {answer.status} {content[:200]!r}")
        return content


@contextmanager
def _served(folder: Path, cache: Path) -> Iterator[tuple[Server, Asking]]:
    port = free_port()
    command = [str(Path(sys.executable).parent / "ml-logger"), "view", str(folder / "ours"), "--port", str(port)]
    os.environ["XDG_CACHE_HOME"] = str(cache)
    with serving(command, folder / "view.log", port) as server, closing(Asking(port)) as asking:
        yield server, asking


def _ms(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return (time.perf_counter() - start_s) * 1000


def _median_ms(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    return statistics.median(_ms(work) for _ in range(rounds))


def _all_found(asking: Asking) -> dict[str, Any]:
    found = asking.runs()
    while found["is_scanning"]:
        time.sleep(0.01)
        found = asking.runs()
    return found


def _series(sweep: Sweep, *keys: str) -> list[list[str]]:
    return [[f"run-{number:05d}", key] for number in range(sweep.runs) for key in keys]


def _idle_share(server: Server, asking: Asking, wanted: dict[str, Any], seen: dict[str, Any]) -> float:
    """Return which part of a core the server takes for a page on which nothing happens."""
    version = asking.runs()["version"]
    known = {**wanted, "origin": seen["origin"], "width": seen["width"], "seen": seen["cursors"]}
    begin_cpu_s, begin_s = server.cpu_s(), time.perf_counter()
    for second in range(int(_IDLE_S)):
        version = asking.runs(version)["version"]
        if second % 2 == 0:
            asking.curves(**known)
        time.sleep(max(0.0, begin_s + second + 1 - time.perf_counter()))
    return (server.cpu_s() - begin_cpu_s) / _IDLE_S


def _look_at_many(report: results.Report, folder: Path, cache: Path) -> None:
    """100 runs of 10,000 points and 5 keys: everything a page of curves asks for."""
    MANY.write(folder)
    loss, everything = _series(MANY, "loss"), _series(MANY, *MANY.keys)
    rows = []
    for name in ("without the cache", "with the cache"):
        with _served(folder, cache) as (server, asking):
            listed_ms = _ms(lambda asking=asking: _all_found(asking))
            first_ms = _ms(lambda asking=asking: asking.curves(series=loss, buckets=800))
            all_ms = _median_ms(lambda asking=asking: asking.curves(series=everything, buckets=800))
            zoom = {"series": loss, "buckets": 800, "from": 4000, "to": 4500}
            zoom_ms = _median_ms(lambda asking=asking, zoom=zoom: asking.curves(**zoom))
            wanted = {"series": everything, "buckets": 800}
            idle = _idle_share(server, asking, wanted, asking.curves(**wanted))
            rss_mib = server.rss_bytes() / _MIB
        rows.append(
            {
                "case": name,
                "all_listed_ms": round(listed_ms),
                "100_curves_ms": round(first_ms),
                "500_curves_ms": round(all_ms),
                "zoom_ms": round(zoom_ms),
                "idle_percent": round(idle * 100, 2),
                "rss_MiB": round(rss_mib),
            }
        )
        report.judge(f"{MANY.name}, {name}: memory of the server in MiB", rss_mib, 200)
        report.judge(f"{MANY.name}, {name}: percent of a core for an idle page", idle * 100, 2)
    report.add(MANY.name, rows)


def _look_at_long(report: results.Report, folder: Path, cache: Path) -> None:
    """One run of a million points: its curve, first and again, and a zoom into it."""
    LONG.write(folder)
    loss, rows = _series(LONG, "loss"), []
    for name in ("without the cache", "with the cache"):
        with _served(folder, cache) as (server, asking):
            first_ms = _ms(lambda asking=asking: asking.curves(series=loss, buckets=1000))
            again_ms = _median_ms(lambda asking=asking: asking.curves(series=loss, buckets=1000))
            zoom = {"series": loss, "buckets": 1000, "from": 400_000, "to": 401_000}
            zoom_ms = _median_ms(lambda asking=asking, zoom=zoom: asking.curves(**zoom))
            rss_mib = server.rss_bytes() / _MIB
        row = {"case": name, "first_ms": round(first_ms), "again_ms": round(again_ms, 1), "zoom_ms": round(zoom_ms, 1)}
        rows.append({**row, "rss_MiB": round(rss_mib)})
    report.add(LONG.name, rows)
    report.judge(f"{LONG.name}, with the cache: ms to its curve", first_ms, 1000)
    report.judge(f"{LONG.name}: ms to zoom", zoom_ms, 200)


def _look_at_crowds(report: results.Report, top: Path, cache: Path) -> None:
    """Many runs: the first server that sees them, one that is started after it, and what the list costs from then on."""
    rows = []
    for crowd, most_ms in zip(CROWDS, (300, 1000), strict=True):
        crowd.write(top / str(crowd.runs))
        for name in (crowd.name, f"{crowd.name}, started again"):
            with _served(top / str(crowd.runs), cache) as (server, asking):
                rows.append(_crowd_row(report, server, asking, name, most_ms))
        first_ms = float(str(rows[-1]["first_answer_ms"]))
        report.judge(f"{crowd.name}, started again: ms to the first list", first_ms, most_ms)
    report.add("many runs", rows)


def _crowd_row(report: results.Report, server: Server, asking: Asking, name: str, most_ms: float) -> dict[str, object]:
    first_ms = _ms(asking.runs)
    found_ms = first_ms + _ms(lambda: _all_found(asking))
    listed_ms = _median_ms(lambda: asking.get("/view/api/runs"))
    since = asking.runs()["version"]
    poll_ms = _median_ms(lambda: asking.runs(since))
    idle = _idle_share(server, asking, {"series": []}, asking.curves(series=[]))
    report.judge(f"{name}: ms to list them", listed_ms, most_ms)
    report.judge(f"{name}: percent of a core for an idle page", idle * 100, 2)
    return {
        "case": name,
        "first_answer_ms": round(first_ms),
        "all_found_ms": round(found_ms),
        "list_ms": round(listed_ms, 1),
        "poll_ms": round(poll_ms, 1),
        "idle_percent": round(idle * 100, 2),
        "rss_MiB": round(server.rss_bytes() / _MIB),
    }


CASES = {"many": _look_at_many, "long": _look_at_long, "crowds": _look_at_crowds}


def main() -> int:
    """Measure, print tables, and return 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=CASES, help="one case of all")
    options = parser.parse_args()
    top = results.FOLDER / "view"
    cache = top / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    report = results.Report()
    for name, look in CASES.items():
        if options.only in (None, name):
            look(report, top / name if name != "crowds" else top, cache)
    path = report.write("view-part" if options.only else "view")
    print(results.verdicts(report.targets), path, sep="\n")
    return 0 if all(target.is_met for target in report.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
