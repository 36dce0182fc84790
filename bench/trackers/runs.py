"""A process that runs one tracker: where it works, how it is started, asked and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..processes import Failed, family
from . import Tracker
from .environments import python, variables

DEADLINE_S = 120.0
"""What no process takes longer than."""

Answer = dict[str, Any]


@dataclass
class Place:
    """A folder for one process of a tracker; the run is in one, its home, its output and its answer in others."""

    root: Path

    def __post_init__(self) -> None:
        """Make the folders."""
        for folder in (self.run, self.home):
            folder.mkdir(parents=True)

    @property
    def run(self) -> Path:
        """Where the run is kept."""
        return self.root / "run"

    @property
    def home(self) -> Path:
        """What the process takes for the user's home, and works in."""
        return self.root / "home"

    @property
    def answer(self) -> Path:
        """What the process found."""
        return self.root / "answer"

    def said(self) -> str:
        """Return the end of what the process printed."""
        return (self.root / "output").read_text(encoding="utf-8", errors="replace")[-2000:]


@contextlib.contextmanager
def driving(tracker: Tracker, case: str, place: Place, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process for a case, see `drive`; what is left of it and of its helpers at the end of the block is killed."""
    command = [str(python(tracker)), "-m", "bench.trackers.drive", case, tracker.module, *tracker.options]
    command += ["--folder", str(place.run), "--answer", str(place.answer), *options]
    with (place.root / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=place.home, env=variables(tracker, place.run, place.home), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        kill(family(process.pid))
        process.wait()


def kill(pids: Sequence[int]) -> None:
    """Kill processes, those that are gone already left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def ask(tracker: Tracker, case: str, place: Place, *options: str) -> Answer:
    """Return what a process found for a case; raises `Failed` with the end of what it said."""
    with driving(tracker, case, place, *options) as process:
        try:
            code = process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
    if code != 0:
        raise Failed(f"{tracker.name}, {case}: ended with {code}: {place.said()}")
    answer: Answer = json.loads(place.answer.read_text(encoding="utf-8"))
    return answer
