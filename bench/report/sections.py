"""What is in the report: its benchmarks in their order, how each is repeated, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Panel:
    """One set of bars: of the rows of `tables` whose label begins with `only`, the columns `values`, by key and name.

    Tables are named by how their titles begin. The label of a row is the first text in it.
    """

    title: str
    tables: tuple[str, ...]
    values: Mapping[str, str]
    axis: str
    is_log: bool = False
    only: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Section:
    """One benchmark: the name of its files, a heading, the command that repeats it, its plot, and headings of its own."""

    name: str
    title: str
    command: str
    panels: tuple[Panel, ...]
    headings: Mapping[str, str] = field(default_factory=dict)


_CALLS = {"median_us": "median", "p999_us": "p99.9"}
_LAGS = {"p50_ms": "median", "p99_ms": "p99"}
_LOOKS = {"keys ms": "until all keys are known", "one key in buckets, ms": "then one key in buckets"}
_SEEN = {"read_s": "all read after a start", "curve_s": "first curve", "chart_s": "first chart with axes"}

TRACKING = Section(
    "tracking",
    "A logged call beside its peers",
    "make bench-peers",
    (
        Panel("A: one dict of ten floats", ("A",), _CALLS, "µs a call", is_log=True),
        Panel("A: to the durable end", ("A",), {"calls_per_s": "calls"}, "calls a second", is_log=True),
        Panel(
            "B: one image of 256×256×3", ("B",), {"median_us": "median", "max_us": "longest"}, "µs a call", is_log=True
        ),
        Panel("C: records lost after kill -9", ("C",), {"lost": "lost"}, "records of calls that had returned"),
    ),
    {"calls_per_s": "calls/s to the durable end", "returned": "calls that had returned", "open_s": "opening a run, s"},
)

SECTIONS = (
    TRACKING,
    Section(
        "shipping",
        "Shipping beside its peers",
        "make bench-shipping",
        (
            Panel("A: 512 MiB of metric lines", ("A:",), {"wall_s": "wall time"}, "s"),
            Panel("B: 10,000 PNGs of 10 KB", ("B:",), {"wall_s": "wall time"}, "s"),
            Panel("C: lag of 200 streams", ("C:",), _LAGS, "ms"),
        ),
    ),
    Section(
        "view_page",
        "The page beside TensorBoard",
        "make bench-view",
        (
            Panel("100 runs of 10,000 points", ("100 runs",), _SEEN, "s"),
            Panel("one run of 1,000,000 points", ("one run",), _SEEN, "s"),
            Panel("memory, 100 runs", ("100 runs",), {"tab_MiB": "tab", "server_MiB": "server"}, "MiB"),
        ),
    ),
    Section(
        "client",
        "The client beside its floor",
        "python -m bench.client",
        (
            Panel("a record", ("calls",), _CALLS, "µs a call", is_log=True, only=("floor", "log, ")),
            Panel("an image", ("calls",), {"median_us": "median"}, "µs a call", only=("copy", "log_image")),
        ),
    ),
    Section(
        "reader",
        "The reader",
        "python -m bench.reader",
        (Panel("looks at a long run", ("looks at 1,0", "looks at 10"), _LOOKS, "ms", is_log=True),),
    ),
    Section(
        "receiver",
        "The receiver's store beside bare loops",
        "python -m bench.receiver",
        (
            Panel("files of 10 KB", ("cases",), {"files_per_s": "files"}, "files a second", only=("10 KB",)),
            Panel(
                "appends of 4 MiB", ("cases",), {"mib_per_s": "MiB"}, "MiB a second", only=("one stream", "8 streams")
            ),
        ),
    ),
    Section(
        "receiver-http",
        "The receiver over HTTP",
        "python -m bench.receiver_http",
        (
            Panel("batches of 4 MiB", ("8 connections",), {"MiB_per_s": "MiB"}, "MiB a second"),
            Panel("acknowledgement", ("1,000 agents", "20 KiB"), {"ack_p50_ms": "median", "ack_p99_ms": "p99"}, "ms"),
        ),
    ),
    Section(
        "idle",
        "An idle agent",
        "python -m bench.idle",
        (
            Panel("idle", ("10,000 files", "100,000 files"), {"idle_cpu_%": "CPU"}, "percent of a core"),
            Panel("a look at all of it", ("10,000", "100,000"), {"first_walk_s": "the first", "walk_s": "later"}, "s"),
        ),
    ),
    Section(
        "view",
        "The page's server",
        "python -m bench.view",
        (
            Panel(
                "one run of 1,000,000 points", ("one run",), {"first_ms": "first", "zoom_ms": "zoom"}, "ms", is_log=True
            ),
            Panel(
                "many runs",
                ("many runs",),
                {"first_answer_ms": "first answer", "list_ms": "list", "poll_ms": "poll"},
                "ms",
                True,
            ),
        ),
    ),
    Section(
        "profiles",
        "Where the time goes",
        "make bench-profile",
        tuple(
            Panel(title, (title,), {"percent": "samples"}, "percent of the samples")
            for title in (
                "a silent log()",
                *(f"{what}: the {end}" for what in ("small files", "one stream") for end in ("agent", "receiver")),
            )
        ),
    ),
)
"""All benchmarks; those beside peers first."""
