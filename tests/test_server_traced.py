"""What the receiver asks of the kernel before it answers, seen from outside by strace."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import requests
from batches import Part, append, commit
from processes import TOKEN, Commands, wait_until

from ml_logger import wire
from ml_logger.wire import Manifest

CALLS = "fsync,fdatasync,syncfs,linkat,renameat,renameat2,pwrite64,sendto,sendmsg,write,writev"
SMALL, LARGE = b"x" * 10_000, b"y" * (1 << 20)

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def calls_in(trace: Path) -> list[str]:
    """Return the calls in the order of their ends: what was resumed is told with the words it began with."""
    begun: dict[str, str] = {}
    ended = []
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        pid, _, call = line.partition(" ")
        if call.rstrip().endswith("<unfinished ...>"):
            begun[pid] = call.partition("<unfinished")[0].strip()
            continue
        resumed = re.match(r"\s*<\.\.\. \w+ resumed>(.*)", call)
        ended.append(begun.pop(pid, "") + resumed[1] if resumed else call.strip())
    return ended


def answered(commands: Commands, tmp_path: Path, *batches: tuple[Part, ...]) -> list[list[str]]:
    """Send the batches to a traced receiver; return the calls that had ended before each of the answers, since the last."""
    trace = tmp_path / "trace"
    words = ("strace", "-D", "-f", "-y", "-s", "40", "-o", str(trace), "-e", f"trace={CALLS}")
    receiver = commands.start_receiver(tmp_path / "data", before=words)
    for parts in batches:
        manifest = Manifest("s", tuple(item for item, _ in parts))
        body = wire.encode_batch(manifest, [payload for _, payload in parts], compress=False)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.post(receiver.url + "/v1/batch", data=body, headers=headers, timeout=60)
        assert answer.text.count('"stored"') == len(parts), answer.text
    receiver.running.terminate()
    wait_until(lambda: "exited with" in trace.read_text(encoding="utf-8", errors="replace").splitlines()[-1])
    groups: list[list[str]] = [[]]
    for call in calls_in(trace):
        if "HTTP/1.1 200" in call:
            groups.append([])
        else:
            groups[-1].append(call)
    return groups[: len(batches)]


def place_of(calls: list[str], pattern: str) -> int:
    """Return where the one call that matches is."""
    (found,) = [number for number, call in enumerate(calls) if re.search(pattern, call)]
    return found


def test_small_files_are_answered_after_one_fdatasync(commands: Commands, tmp_path: Path) -> None:
    """The log is written and waited for before any file has its name, and every file has it before the answer."""
    first = (append("warm/up", SMALL),)
    batch = tuple(commit(f"run/{number}.png", SMALL) for number in range(10))
    calls = answered(commands, tmp_path, first, batch)[1]
    logged = place_of(calls, r"pwrite64\(.*\.redo>.* = 1\d{5}$")
    waited = place_of(calls, r"fdatasync\(.*\.redo>\) += 0$")
    named = [number for number, call in enumerate(calls) if re.search(r"linkat\(.*run.* = 0$", call)]
    assert logged < waited < min(named)
    assert len(named) == 10
    assert not [call for call in calls if call.startswith("fsync")]


def test_large_pieces_are_answered_after_their_own_fsync(commands: Commands, tmp_path: Path) -> None:
    """A piece of a stream is written after its intent is durable, and fsynced, with the folders above, before the answer."""
    (calls,) = answered(commands, tmp_path, (append("new/run/m", LARGE),))
    intent = place_of(calls, r"fdatasync\(.*\.redo>\) += 0$")
    writes = {
        n: int(m[1]) for n, call in enumerate(calls) if (m := re.search(r"pwrite64\(.*/new/run/m>.* = (\d+)$", call))
    }
    synced = place_of(calls, r"f(data)?sync\(.*/new/run/m>\) += 0$")
    assert intent < min(writes) <= max(writes) < synced
    assert sum(writes.values()) == len(LARGE)
    data_dir = re.escape(os.fspath(tmp_path / "data"))
    for folder in ("", "/new", "/new/run"):
        after = [n for n, call in enumerate(calls) if re.search(rf"fsync\(\d+<{data_dir}{folder}>\) += 0$", call)]
        assert max(after) > synced
