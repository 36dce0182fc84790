"""Profiles: where the time goes in a silent `log()`, in what is shipped, and in what the receiver applies.

``python -m bench.profiles`` samples real processes with py-spy: one that logs ten floats again and again, an agent that ships
once, and the receiver it ships to, for small files and for one long stream. Each sample of a thread that works counts for the
innermost function of ours; what that calls of others (the system, orjson, requests, aiohttp) is in it. Printed and kept in
``build/bench/profiles.json`` are the largest five of each with the path of ours that most of their samples came by.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_logger import ML_Logger

from . import corpus, processes, results
from .peers import Place
from .peers.ours import Ours
from .processes import Failed

SHOWN = 5
_RATE_HZ = 500
_RECORDS = 400_000
_IMAGES = 10_000
_LINES_BYTES = 256 << 20
_PATH_SHOWN = 4
_FRAME = re.compile(r"(?P<name>.+) \((?P<file>[^()]+?)(?::\d+)?\)$")
_WAITS = re.compile(
    r"(?:\w+\.)*(?:wait|_wait_for_tstate_lock|select|get) \((?:\S*/)?(?:threading|selectors|queue|watcher)\.py"
    r"|Couriers\._serve |Turns\.take "
)
"""Innermost frames of a thread that waits, which looks like work where the machine is busy."""

_OURS = re.compile(r"(?:^|/)((?:ml_logger|agent|server)/[\w/]+\.py)$")


@dataclass(frozen=True)
class Spent:
    """What part of all samples were in the function `where` of ours, and by which of ours it was called, outermost first."""

    where: str
    share: float
    path: tuple[str, ...]


def largest(stacks: Iterable[tuple[Sequence[str], int]], shown: int = SHOWN) -> list[Spent]:
    """Return where most samples of `stacks` (frames from the outermost to the innermost, and how often) were."""
    counts: Counter[str] = Counter()
    paths: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    total = 0
    for frames, count in stacks:
        if _WAITS.match(frames[-1]):
            continue
        ours = [name for frame in frames if (name := _maybe_ours(frame)) is not None]
        total += count
        if ours:
            counts[ours[-1]] += count
            paths[ours[-1]][tuple(ours[:-1])] += count
    return [
        Spent(where, count / total, paths[where].most_common(1)[0][0]) for where, count in counts.most_common(shown)
    ]


def _maybe_ours(frame: str) -> str | None:
    """Return a frame of py-spy as ``file.py function``, None for one of others' code and for a module's top."""
    found = _FRAME.match(frame)
    file = _OURS.search(found["file"]) if found else None
    if found is None or file is None or found["name"] == "<module>":
        return None
    return f"{file[1].removeprefix('ml_logger/')} {found['name']}"


def stacks_in(raw: Path) -> list[tuple[list[str], int]]:
    """Return the stacks of a file that py-spy wrote in its raw format."""
    lines = raw.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(stack.split(";"), int(count)) for line in lines for stack, _, count in [line.rpartition(" ")]]


# --- what is sampled


def _sampled(command: Sequence[str], raw: Path) -> None:
    """Run `command` to its end under py-spy; raises `Failed`."""
    spy = [*_spy(raw), "--", *command]
    done = subprocess.run(spy, capture_output=True, text=True, check=False)
    if not raw.exists() or done.returncode:
        raise Failed(f"py-spy: {(done.stderr or done.stdout)[-1000:]}")


def _spy(raw: Path) -> list[str]:
    program = str(Path(sys.executable).parent / "py-spy")
    # A process that is stopped for each sample stops at its next system call, which then gets more than its share.
    return [
        program,
        "record",
        "--nonblocking",
        "--function",
        "--format",
        "raw",
        "--rate",
        str(_RATE_HZ),
        "--output",
        str(raw),
    ]


def _log(folder: Path) -> dict[str, Path]:
    raw = folder / "log.raw"
    _sampled([sys.executable, "-m", "bench.profiles", "--play-log", str(folder / "run")], raw)
    return {"a silent log() of ten floats": raw}


def _play_log(directory: str) -> None:
    values = {f"key_{number}": 0.1 * number for number in range(10)}
    with ML_Logger(directory) as logger:
        for step in range(_RECORDS):
            logger.log(step, values, silent=True)


def _ship(folder: Path, name: str, source: Path) -> dict[str, Path]:
    """Ship `source` once, both ends sampled."""
    place = Place(source, folder / "mirror", folder / "work")
    for made in (place.mirror, place.work):
        made.mkdir()
    ours = Ours("agent", is_durable=True)
    sent, applied = folder / "sent.raw", folder / "applied.raw"
    with ours.serve(place) as server:
        watching = subprocess.Popen([*_spy(applied), "--pid", str(server.process.pid)], stderr=subprocess.DEVNULL)
        try:
            _sampled(ours.command(place, server.port), sent)
        finally:
            watching.send_signal(signal.SIGINT)  # has it write what it saw
            watching.wait(processes.STOP_DEADLINE_S)
    return {f"{name}: the agent": sent, f"{name}: the receiver": applied}


def _cases() -> dict[str, Callable[[Path], dict[str, Path]]]:
    kept = results.FOLDER / "shipping"
    return {
        "log": _log,
        "files": lambda folder: _ship(folder, "small files", corpus.images(kept / "images", _IMAGES)),
        "lines": lambda folder: _ship(folder, "one stream", corpus.metric_lines(kept / "profiled", _LINES_BYTES)),
    }


def main() -> int:
    """Sample, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--play-log", metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play_log:
        _play_log(options.play_log)
        return 0
    report = results.Report()
    results.FOLDER.mkdir(parents=True, exist_ok=True)
    for name, sample in _cases().items():
        folder = Path(tempfile.mkdtemp(prefix=f"profile-{name}-", dir=results.FOLDER))
        try:
            for title, raw in sample(folder).items():
                report.add(title, [_row(spent) for spent in largest(stacks_in(raw))])
        finally:
            shutil.rmtree(folder)
    print(report.write("profiles"))
    return 0


def _row(spent: Spent) -> dict[str, object]:
    return {
        "function": spent.where,
        "percent": round(100 * spent.share, 1),
        "called by": " > ".join(name.rpartition(" ")[2] for name in spent.path[-_PATH_SHOWN:]),
    }


if __name__ == "__main__":
    sys.exit(main())
