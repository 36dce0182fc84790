"""Fuzzes every decoder of a receiver: whatever the bytes, they return values that hold their promises, or raise a `WireError`.

``python -m fuzz.wire SECONDS [CORPUS]``. The first byte of an input chooses the decoder, the rest goes to it. New inputs that
reach new code are kept in CORPUS (default ``build/fuzz/wire``), so that the next run goes on from there; one that breaks a
promise ends the run and is written beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["ml_logger.wire", "ml_logger.layout"]):
    from ml_logger import layout, wire

from ml_logger.errors import BadPath, WireError
from ml_logger.wire import NOTHING, Crc, Heartbeat, Held, Item, Manifest, Offset, SpoolBeat

MAX_MANIFEST_BYTES = 1 << 16
MAX_ITEMS = 100
MAX_EXPANDED_BYTES = 1 << 20


def batch(body: bytes) -> None:
    """A batch that is taken has a view of the body for each item, in order, and comes back from its own encoding."""
    manifest, payloads = wire.split_batch(body, max_manifest_bytes=MAX_MANIFEST_BYTES, max_items=MAX_ITEMS)
    assert len(manifest.items) == len(payloads) <= MAX_ITEMS
    assert b"".join(payloads) == body[body.index(b"\n") + 1 :]
    for item, payload in zip(manifest.items, payloads, strict=True):
        assert len(payload) == item.length
        assert 0 <= item.offset <= item.end < 2**63
        path(item.path)
    again = wire.encode_batch(manifest, payloads, compress=False)
    assert wire.split_batch(again, max_manifest_bytes=len(again), max_items=MAX_ITEMS)[0] == manifest


def path(name: str) -> None:
    """A path that may be stored can't lead out, into the receiver's folder, or onto a control character."""
    try:
        layout.check_path(name)
    except BadPath:
        return
    parts = name.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert parts[0].lower() != layout.RECEIVER_DIR
    assert name.isprintable() or not any(ord(character) < 32 for character in name)
    assert all(len(part.encode()) <= 255 for part in parts)


def built(data: bytes) -> None:
    """The same for a manifest whose JSON is whole and whose values are not: bytes alone seldom hit on JSON."""
    choices = atheris.FuzzedDataProvider(data)
    items = [_item(choices) for _ in range(choices.ConsumeIntInRange(0, 4))]
    head = {"v": 1, "source": _value(choices, "s"), "host": _value(choices, "h"), "items": items}
    batch(json.dumps(head).encode() + b"\n" + data[: choices.ConsumeIntInRange(0, 9)])


def _item(choices: Any) -> dict[str, Any]:
    good = {"path": "run/x", "op": "commit", "offset": 0, "length": 1, "crc_before": 0, "crc": 1, "upload": "u"}
    more = {"replaces": {"size": _value(choices, 0), "crc": _value(choices, 0)}, "mtime_ns": 1}
    return {key: _value(choices, value) for key, value in (good | more).items() if choices.ConsumeIntInRange(0, 15)}


def _value(choices: Any, usual: Any) -> Any:
    kind = choices.ConsumeIntInRange(0, 15)
    if kind < 14:
        return usual
    odd = [
        None,
        True,
        -1,
        2**63 - 1,
        2**63,
        2**64,
        0.5,
        [],
        {},
        ["x"],
        "append",
        "stage",
        ".ML-logger/x",
        "a/../b",
        "\ud800",
    ]
    return choices.ConsumeUnicode(40) if kind == 14 else choices.PickValueInList(odd)


def packed(body: bytes) -> None:
    """A compressed body never gives more than its bound."""
    expanded = wire.expand(body, max_expanded_bytes=MAX_EXPANDED_BYTES)
    assert len(expanded) <= MAX_EXPANDED_BYTES
    batch(expanded)


def stat(body: bytes) -> None:
    """Paths asked for are strings, as many as may be."""
    paths = wire.decode_stat_request(body, max_paths=MAX_ITEMS)
    assert len(paths) <= MAX_ITEMS
    for name in paths:
        path(name)


def lineage(body: bytes) -> None:
    """A mark is none, or a short string."""
    mark = wire.decode_lineage_request(body)
    assert mark is None or len(mark) <= 100


def heartbeat(body: bytes) -> None:
    """A heartbeat that is taken comes back from its own encoding."""
    beat = wire.decode_heartbeat(body)
    assert wire.decode_heartbeat(wire.encode_heartbeat(beat)).source == beat.source


TARGETS: tuple[Callable[[bytes], None], ...] = (batch, packed, stat, lineage, heartbeat, built)


def try_one(data: bytes) -> None:
    """Give `data` to the decoder that its first byte names; only what breaks a promise gets out."""
    if not data:
        return
    try:
        TARGETS[data[0] % len(TARGETS)](data[1:])
    except WireError as error:
        assert "\n" not in error.one_line()


def seeds() -> dict[str, bytes]:
    """Return real requests to begin from."""
    line = b'{"_step":0,"loss":1.0}\n'
    append = Item("run/metrics.jsonl", "append", Offset(0), len(line), Crc(0), wire.crc32(line))
    staged = Item("run/model.pt", "stage", Offset(0), 3, Crc(0), wire.crc32(b"abc"), upload="u")
    commit = Item(
        "run/a/0001.png", "commit", Offset(0), 3, Crc(0), wire.crc32(b"abc"), upload="u", replaces=NOTHING, mtime_ns=1
    )
    grown = Item("run/metrics.jsonl", "append", Offset(23), 0, wire.crc32(line), wire.crc32(line))
    replacing = commit._replace(replaces=Held(Offset(3), Crc(7)))
    manifest = Manifest("source", (append, staged, commit, grown, replacing), "host", "0.1.0")
    payloads = [line, b"abc", b"abc", b"", b"abc"]
    beat = Heartbeat(
        "s", "h", "0.1.0", 1, 1.5, (SpoolBeat("/spool", "s", 1, 2, 3, 4, 5, 6, 7.5, 8.0, 9.0, "no", ("r",)),)
    )
    return {
        "batch": b"\0" + wire.encode_batch(manifest, payloads, compress=False),
        "packed": b"\1" + wire.encode_batch(manifest, payloads, compress=True),
        "stat": b"\2" + wire.encode_stat_request(["run/metrics.jsonl", "../x"]),
        "lineage": b"\3" + wire.encode_lineage_request("60303ae22b998861"),
        "built": b"\5" + bytes(range(64)),
        "heartbeat": b"\4" + wire.encode_heartbeat(beat),
    }


def main(seconds: int, corpus: Path) -> None:
    """Fuzz for so many seconds."""
    corpus.mkdir(parents=True, exist_ok=True)
    for name, seed in seeds().items():
        try_one(seed)
        (corpus / f"seed-{name}").write_bytes(seed)
    found = corpus.parent / "found-"
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={found}", "-max_len=4096", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *options, "-timeout=10", "-print_final_stats=1", str(corpus)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "build/fuzz/wire"))
