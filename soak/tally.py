"""The tally: what was logged, by the trainers' own lists, against what the trees hold in the end. Pure: from values to values.

A tree is its files by relative path, as `processes.read_spool` and `read_mirror` return it. Where two machines use one run
name, the mirror has the files of both, one of them under a name with a digest in it; elsewhere every path is the same.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from processes import differences

Tree = Mapping[bytes, bytes]

_ID = re.compile(rb'"id":"(t\d+\.[0-9a-f]{8}\.\d+)"')
_TEXT_ID = re.compile(rb"^id=(t\d+\.[0-9a-f]{8}\.\d+) ", re.MULTILINE)
_DIGEST = re.compile(rb"~[0-9a-f]{8}(?=(?:\.[^/.]*)*\Z)")


@dataclass(frozen=True)
class Logged:
    """What the trainers' lists say: ids of records, files by run, and how many calls said that nothing was written."""

    records: frozenset[bytes]
    files: frozenset[bytes]
    dropped: int


@dataclass(frozen=True)
class Tally:
    """The figures of the end; `lost` were logged and did not arrive, of them `never_on_disk` are not in the spool either."""

    logged: int
    shipped: int
    lost: Sequence[bytes]
    never_on_disk: Sequence[bytes]
    doubled: Sequence[bytes]
    files_logged: int
    files_lost: Sequence[bytes]
    dropped: int
    bytes_stored: int
    differences: Sequence[str]


def read_list(run_of: Mapping[str, str], lists: Mapping[str, bytes]) -> Logged:
    """Return what the `lists`, by trainer and life, say; `run_of` gives each trainer's run."""
    records, files, dropped = set(), set(), 0
    for life, text in lists.items():
        run = run_of[life.partition(".")[0]].encode()
        # a killed trainer leaves whole lines only: each is one write
        for what, which in (line.split(b" ", 1) for line in text.splitlines()):
            if what == b"record":
                records.add(which)
            elif what == b"file":
                files.add(run + b"/" + which)
            else:
                dropped += 1
    return Logged(frozenset(records), frozenset(files), dropped)


def count(logged: Logged, spools: Sequence[Tree], mirror: Tree, shared: bytes) -> Tally:
    """Compare it all; runs below the folder `shared` are those of two machines."""
    on_disk, arrived = _ids(spools), _ids([mirror])
    true_names = {_DIGEST.sub(b"", path) for path in mirror}
    return Tally(
        logged=len(logged.records),
        shipped=len(arrived),
        lost=sorted(logged.records - arrived.keys()),
        never_on_disk=sorted(logged.records - on_disk.keys()),
        doubled=sorted(one for one, times in arrived.items() if times > 1),
        files_logged=len(logged.files),
        files_lost=sorted(logged.files - true_names),
        dropped=logged.dropped,
        bytes_stored=sum(map(len, mirror.values())),
        differences=tree_differences(spools, mirror, shared),
    )


def _ids(trees: Iterable[Tree]) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for tree in trees:
        for path, content in tree.items():
            found.update((_ID if path.endswith(b".jsonl") else _TEXT_ID).findall(content))
    return found


def tree_differences(spools: Sequence[Tree], mirror: Tree, shared: bytes) -> list[str]:
    """Return one line for each file that is missing in the mirror, too much or different; empty if all is as it must be."""
    own = {path: content for tree in spools for path, content in tree.items() if not path.startswith(shared)}
    stored = {path: content for path, content in mirror.items() if not path.startswith(shared)}
    return [*differences(own, stored), *_shared_differences(spools, mirror, shared)]


def _shared_differences(spools: Sequence[Tree], mirror: Tree, shared: bytes) -> list[str]:
    """Compare, under each true name, the contents that the machines have with those that the mirror has, each once."""
    ours: dict[bytes, set[bytes]] = defaultdict(set)
    theirs: dict[bytes, list[bytes]] = defaultdict(list)
    for path, content in (pair for tree in spools for pair in tree.items() if pair[0].startswith(shared)):
        ours[path].add(content)
    for path, content in mirror.items():
        if path.startswith(shared):
            theirs[_DIGEST.sub(b"", path)].append(content)
    return [
        f"{path!r}: the machines have it with {_sizes(ours[path])} bytes, the mirror with {_sizes(theirs[path])}"
        for path in sorted(ours.keys() | theirs.keys())
        if sorted(ours[path]) != sorted(theirs[path])
    ]


def _sizes(contents: Iterable[bytes]) -> str:
    return " and ".join(str(len(content)) for content in sorted(contents)) or "no"
