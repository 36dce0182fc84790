"""The wire: what agent and receiver say to each other, as values and bytes. Pure: no sockets, no files.

A batch body is one line of JSON (the manifest), a newline, then the items' bytes in order. Each item carries two running
CRC-32 numbers: ``crc_before`` of the file's bytes [0, offset) and ``crc`` of [0, offset + length). Together they prove that
the receiver holds the same prefix and that the payload arrived whole, before anything is written (`docs/PROTOCOL.md`).

Decoders accept any bytes and raise `BadBatch` or `BadAnswer`; nothing else escapes.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple, NewType, cast

import orjson

from .errors import BadAnswer, BadBatch, BatchTooLarge, OtherVersion

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

VERSION = 1
"""Protocol version; it is also in every URL path."""

ZSTD_LEVEL = 1
"""Level 3 compresses metric lines worse than level 1, and slower."""

ZSTD_WINDOW_LOG = 23
"""8 MiB is the most that a frame may refer back; zstd's own bound is 128. Levels up to 19 stay within it."""

Offset = NewType("Offset", int)
"""A position in a file, in bytes from its start."""

Crc = NewType("Crc", int)
"""CRC-32 (zlib, ISO 3309) of a file's bytes from its start."""

Op = Literal["append", "stage", "commit"]
Result = Literal["stored", "already", "behind", "ahead", "diverged", "rejected"]

OPS: tuple[Op, ...] = ("append", "stage", "commit")
RESULTS: tuple[Result, ...] = ("stored", "already", "behind", "ahead", "diverged", "rejected")
PAYLOAD_CORRUPT = "payload corrupt"
"""How the reason of a `rejected` begins if the bytes were damaged on the way: the only rejection worth a resend."""

OVER_QUOTA = "quota:"
"""How the reason of a `rejected` begins where its folder has no room: no change of the file can help."""

OUTSIDE = "outside the prefix of this token"
"""What a receiver says of every path that is not the caller's, whether anything is there or not."""

_MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Held:
    """What a receiver holds of one file: its size in bytes and the CRC-32 of all of it."""

    size: Offset
    crc: Crc


NOTHING = Held(Offset(0), Crc(0))


class Item(NamedTuple):
    """One change to one file.

    A tuple, as all is of which a batch has one a file: it is made in a tenth of the time that a frozen dataclass takes.

    `append` adds `length` bytes at `offset` to a stream. `stage` adds them to the copy that is built aside for the whole
    file version named by `upload`; `commit` does the same and then puts that copy in the place of `path`. A commit may do so
    when the receiver holds nothing there, or exactly `replaces`: None is not even an empty file, which is `NOTHING`.
    `mtime_ns` (ns since the epoch) becomes the stored file's.
    """

    path: str
    op: Op
    offset: Offset
    length: int
    crc_before: Crc
    crc: Crc
    upload: str | None = None
    replaces: Held | None = None
    mtime_ns: int | None = None

    @property
    def end(self) -> Offset:
        """The file's size after this item, in bytes."""
        return Offset(self.offset + self.length)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Who sends (`source`: stable for one spool on one machine), and the items in the order of their bytes."""

    source: str
    items: tuple[Item, ...]
    host: str = ""
    agent: str = ""


class Outcome(NamedTuple):
    """What became of one item. `held` is what the receiver holds after it; `reason` says why where it was refused.

    `is_own` says of a diverged commit that the same source put there what is held: it may replace that, once it names it.
    `is_gone` says of a rejected item that its path was deleted at the receiver, and is not to be sent again.
    `new_bytes` is what a stream has grown by, if the store says so; it is not sent.
    """

    path: str
    op: Op
    result: Result
    offset: Offset
    length: int
    crc: Crc
    held: Held | None = None
    reason: str | None = None
    is_own: bool = False
    is_gone: bool = False
    new_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a batch: one outcome an item, in their order, and what the receiver asks for besides.

    `next_flush_s` is how many seconds a busy receiver would like between one sender's batches, `mark` its current mark
    (`Lineage`), if it keeps any.
    """

    outcomes: tuple[Outcome, ...]
    next_flush_s: float = 0.0
    mark: str | None = None


MAX_FLUSH_S = 300.0
"""No receiver can ask for longer pauses between batches."""


def crc32(data: bytes | memoryview, start: Crc = Crc(0)) -> Crc:
    """Return the running CRC-32 of `data` after bytes whose CRC-32 is `start`."""
    return Crc(zlib.crc32(data, start))


# --- batches


def encode_batch(manifest: Manifest, payloads: Sequence[bytes | memoryview], *, compress: bool) -> bytes:
    """Return the body of a batch request, zstd-compressed if `compress`."""
    parts = batch_parts(manifest, payloads)
    return compress_parts(parts) if compress else b"".join(parts)


def batch_parts(manifest: Manifest, payloads: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the body of a batch request in parts, so that large payloads need not be copied to stand behind each other."""
    head = orjson.dumps(
        {
            "v": VERSION,
            "source": manifest.source,
            "host": manifest.host,
            "agent": manifest.agent,
            "items": [_item_to_json(item) for item in manifest.items],
        }
    )
    return [head + b"\n", *payloads]


def compress_parts(parts: Sequence[bytes | memoryview]) -> bytes:
    """Return `parts` as one zstd frame that says how large they are together."""
    compressor = zstd.ZstdCompressor(ZSTD_LEVEL)
    compressor.set_pledged_input_size(sum(map(len, parts)))
    return b"".join([*map(compressor.compress, parts), compressor.flush()])


def _item_to_json(item: Item) -> dict[str, Any]:
    record: dict[str, Any] = {
        "path": item.path,
        "op": item.op,
        "offset": item.offset,
        "length": item.length,
        "crc_before": item.crc_before,
        "crc": item.crc,
    }
    if item.upload is not None:
        record["upload"] = item.upload
    if item.replaces is not None:
        record["replaces"] = _held_to_json(item.replaces)
    if item.mtime_ns is not None:
        record["mtime_ns"] = item.mtime_ns
    return record


def split_batch(body: bytes, *, max_manifest_bytes: int, max_items: int) -> tuple[Manifest, list[memoryview]]:
    """Return the manifest of an expanded batch body and a view of each item's bytes.

    Raises `BadBatch` if the manifest is not the JSON this protocol names or promises more or fewer bytes than follow it,
    and its subclass `BatchTooLarge` if it is over a limit. Paths are only checked to be strings: a hostile one costs its
    own item, not the batch.
    """
    newline = body.find(b"\n", 0, max_manifest_bytes + 1)
    if newline < 0 and len(body) > max_manifest_bytes:
        raise BatchTooLarge(f"max_manifest_bytes: no manifest line within the first {max_manifest_bytes} bytes")
    if newline < 0:
        raise BadBatch("no newline after the manifest")
    head = body[:newline]
    _require_modest(head, "max_items", max_items)
    record = _load_object(head)
    _require_version(record, "manifest")
    items = record.get("items")
    if not isinstance(items, list):
        raise BadBatch("items must be a list")
    if len(items) > max_items:
        raise BatchTooLarge(f"max_items: {len(items)} items, more than the {max_items} a batch may have")
    manifest = Manifest(
        source=_string(record, "source", most=200),
        items=tuple(_item_from_json(item) for item in items),
        host=_string(record, "host", most=300, default=""),
        agent=_string(record, "agent", most=100, default=""),
    )
    return manifest, _split_payload(memoryview(body)[newline + 1 :], manifest.items)


def _split_payload(payload: memoryview, items: Sequence[Item]) -> list[memoryview]:
    promised = sum(item.length for item in items)
    if promised != len(payload):
        raise BadBatch(f"the items promise {promised} bytes, {len(payload)} follow the manifest")
    views, start = [], 0
    for item in items:
        views.append(payload[start : start + item.length])
        start += item.length
    return views


def _item_from_json(record: object) -> Item:
    if not isinstance(record, dict):
        raise BadBatch("an item must be an object")
    op = record.get("op")
    if op not in OPS:
        raise BadBatch(f"op {ascii(op)[:40]} is none of {', '.join(OPS)}")
    item = Item(
        path=_string(record, "path", most=1 << 16),
        op=op,
        offset=Offset(_integer(record, "offset")),
        length=_integer(record, "length"),
        crc_before=Crc(_integer(record, "crc_before", most=0xFFFFFFFF)),
        crc=Crc(_integer(record, "crc", most=0xFFFFFFFF)),
        upload=_string(record, "upload", most=100) if op != "append" else None,
        replaces=_held_from_json(record["replaces"]) if record.get("replaces") is not None else None,
        mtime_ns=_integer(record, "mtime_ns") if record.get("mtime_ns") is not None else None,
    )
    if item.end > _MAX_INT:
        raise BadBatch(f"offset {item.offset} and length {item.length} end past 2^63")
    return item


# --- outcomes


def encode_outcomes(outcomes: Sequence[Outcome], *, next_flush_s: float = 0.0, mark: str | None = None) -> bytes:
    """Return the answer to a batch: one outcome per item, in the items' order, and what there is besides (`Answer`)."""
    record: dict[str, Any] = {"v": VERSION, "outcomes": [_outcome_to_json(o) for o in outcomes]}
    if next_flush_s > 0:
        record["next_flush_s"] = next_flush_s
    if mark is not None:
        record["mark"] = mark
    return orjson.dumps(record)


def _outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    record: dict[str, Any] = {
        "path": outcome.path,
        "op": outcome.op,
        "result": outcome.result,
        "offset": outcome.offset,
        "length": outcome.length,
        "crc": outcome.crc,
    }
    if outcome.held is not None:
        record["held"] = _held_to_json(outcome.held)
    if outcome.reason is not None:
        record["reason"] = outcome.reason
    if outcome.is_own:
        record["own"] = True
    if outcome.is_gone:
        record["gone"] = True
    return record


def decode_answer(body: bytes, items: Sequence[Item]) -> Answer:
    """Return the answer in `body` if its outcomes answer exactly `items`, else raise `BadAnswer`.

    An answer counts only if it names path, op, offset, length and CRC of what was sent: an HTML page with status 200 from a
    middlebox acknowledges nothing.
    """
    try:
        record = _load_object(body)
        if record.get("v") != VERSION or not isinstance(record.get("outcomes"), list):
            raise BadBatch("no outcomes in it")
        outcomes = _outcomes_from_json(record["outcomes"], items)
        next_flush_s = _seconds(record, "next_flush_s", most=MAX_FLUSH_S)
        mark = None if record.get("mark") is None else _string(record, "mark", most=_MAX_MARK)
    except BadBatch as error:
        raise BadAnswer(f"the answer to a batch is not one of this protocol: {error}") from None
    return Answer(outcomes, next_flush_s, mark)


def _outcomes_from_json(records: list[object], items: Sequence[Item]) -> tuple[Outcome, ...]:
    if len(records) != len(items):
        raise BadBatch(f"{len(records)} outcomes for {len(items)} items")
    return tuple(map(_outcome_of, records, items))


def _outcome_of(record: object, item: Item) -> Outcome:
    held = Held(item.end, item.crc)
    outcome = Outcome(item.path, item.op, "stored", item.offset, item.length, item.crc, held)
    if record == _outcome_to_json(outcome):  # what nearly every one is, and nothing is left to check
        return outcome
    outcome = _outcome_from_json(record)
    if not _answers(outcome, item):
        raise BadBatch("it names other items than were sent")
    return outcome


def _answers(outcome: Outcome, item: Item) -> bool:
    path, op, _, offset, length, crc, *_ = outcome
    return (path, op, offset, length, crc) == (item.path, item.op, item.offset, item.length, item.crc)


def _outcome_from_json(record: object) -> Outcome:
    if not isinstance(record, dict):
        raise BadBatch("an outcome must be an object")
    if record.get("op") not in OPS or record.get("result") not in RESULTS:
        raise BadBatch("unknown op or result")
    return Outcome(
        path=_string(record, "path", most=1 << 16),
        op=cast(Op, record["op"]),
        result=cast(Result, record["result"]),
        offset=Offset(_integer(record, "offset")),
        length=_integer(record, "length"),
        crc=Crc(_integer(record, "crc", most=0xFFFFFFFF)),
        held=_held_from_json(record["held"]) if record.get("held") is not None else None,
        reason=_string(record, "reason", most=1 << 16) if record.get("reason") is not None else None,
        is_own=record.get("own") is True,
        is_gone=record.get("gone") is True,
    )


# --- stat


def encode_stat_request(paths: Sequence[str]) -> bytes:
    """Return the body of a stat request."""
    return orjson.dumps({"v": VERSION, "paths": list(paths)})


def decode_stat_request(body: bytes, *, max_paths: int) -> list[str]:
    """Return the paths asked for; raise `BadBatch` if they are no list of strings, `BatchTooLarge` past `max_paths`.

    A digest request has the same body.
    """
    _require_modest(body, "max_paths", max_paths)
    record = _load_object(body)
    _require_version(record, "stat", default=VERSION)
    paths = record.get("paths")
    if not isinstance(paths, list) or not all(isinstance(p, str) for p in paths):
        raise BadBatch("paths must be a list of strings")
    if len(paths) > max_paths:
        raise BatchTooLarge(f"max_paths: {len(paths)} paths, more than the {max_paths} a request may have")
    return paths


def encode_stat_answer(paths: Sequence[str], held: Sequence[Held | None]) -> bytes:
    """Return the answer to a stat request: for each path what is held, or null."""
    entries = [
        {"path": path, "held": None if h is None else _held_to_json(h)} for path, h in zip(paths, held, strict=True)
    ]
    return orjson.dumps({"v": VERSION, "files": entries})


def decode_stat_answer(body: bytes, paths: Sequence[str]) -> list[Held | None]:
    """Return what is held for each of `paths`; raise `BadAnswer` if `body` answers another question."""
    try:
        files = _load_object(body).get("files")
        if not isinstance(files, list) or not all(isinstance(f, dict) for f in files):
            raise BadBatch("files must be a list of objects")
        if [f.get("path") for f in files] != list(paths):
            raise BadBatch("it names other paths than were asked for")
        return [None if f.get("held") is None else _held_from_json(f["held"]) for f in files]
    except BadBatch as error:
        raise BadAnswer(f"the answer to a stat is not one of this protocol: {error}") from None


# --- digests

MAX_DIGEST_LINE_BYTES = 64 << 10
"""No line of the answer to a digest request is longer: a path of 2048 bytes has at most 12 KiB when it is escaped."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_MAX_REASON = 2000


class Digest(NamedTuple):
    """What a receiver holds of one file: its size in bytes and the SHA-256 of all of it, as 64 lower-case hex digits."""

    size: Offset
    sha256: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands in for the digest of a file that the receiver could not read to its end, and why."""

    reason: str


def encode_digest(path: str, digest: Digest | Unreadable | None) -> bytes:
    """Return one line, without its newline, of the answer to a digest request."""
    record: dict[str, Any] = {"path": path, "held": None}
    if isinstance(digest, Digest):
        record["held"] = {"size": digest.size, "sha256": digest.sha256}
    elif digest is not None:
        record["error"] = " ".join(digest.reason.split())[:_MAX_REASON]
    return orjson.dumps(record)


def decode_digest(line: bytes, path: str) -> Digest | Unreadable | None:
    """Return what one line says of `path`, None if nothing is held; raise `BadAnswer` if it answers another question."""
    try:
        record = _load_object(line)
        if record.get("path") != path or "held" not in record:
            raise BadBatch("it does not speak of the path that was asked for")
        if record.get("error") is not None:
            return Unreadable(_string(record, "error", most=_MAX_REASON))
        return None if record["held"] is None else _digest_from_json(record["held"])
    except BadBatch as error:
        raise BadAnswer(f"the answer about digests is not one of this protocol: {error}") from None


def _digest_from_json(record: object) -> Digest:
    if not isinstance(record, dict):
        raise BadBatch("what is held must be an object with size and sha256")
    sha256 = _string(record, "sha256", most=64)
    if not _SHA256.match(sha256):
        raise BadBatch("sha256 must be 64 lower-case hex digits")
    return Digest(Offset(_integer(record, "size")), sha256)


# --- lineage

Since = Literal["same", "restarted", "unknown"]
SINCE: tuple[Since, ...] = ("same", "restarted", "unknown")
_MAX_MARK = 100
_MAX_LINEAGE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Lineage:
    """A receiver's current mark, and what it says of the one it was asked about.

    `same`: it has been up since. `restarted`: it was started since, maybe from a copy that ends there. `unknown`: it never had
    that mark, so it holds an older copy, or other files.
    """

    mark: str
    since: Since


def encode_lineage_request(known: str | None) -> bytes:
    """Return the body of a lineage request; None where no mark is known."""
    return orjson.dumps({"v": VERSION, "mark": known})


def decode_lineage_request(body: bytes) -> str | None:
    """Return the mark asked about; raise `BadBatch` if it is none, `BatchTooLarge` past 64 KiB."""
    if len(body) > _MAX_LINEAGE_BYTES:
        raise BatchTooLarge(f"a lineage request of {len(body)} bytes, more than {_MAX_LINEAGE_BYTES}")
    record = _load_object(body)
    _require_version(record, "lineage", default=VERSION)
    return None if record.get("mark") is None else _string(record, "mark", most=_MAX_MARK)


def encode_lineage(lineage: Lineage) -> bytes:
    """Return the answer to a lineage request."""
    return orjson.dumps({"v": VERSION, "mark": lineage.mark, "since": lineage.since})


def decode_lineage(body: bytes) -> Lineage:
    """Return the answer in `body`; raise `BadAnswer` if it is none."""
    try:
        record = _load_object(body)
        mark, since = _string(record, "mark", most=_MAX_MARK), record.get("since")
        if since not in SINCE:
            raise BadBatch("since is none of its three words")
    except BadBatch as error:
        raise BadAnswer(f"the answer about the lineage is not one of this protocol: {error}") from None
    return Lineage(mark, cast(Since, since))


# --- heartbeats


@dataclass(frozen=True, slots=True)
class AsideFile:
    """A file that can't be shipped as it is: its path in the spool, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class SpoolBeat:
    """How far the shipping of one spool is, as its agent says; the meanings are those of the agent's own status.

    Times that end in ``_at`` are seconds since the epoch by the agent's clock. `aside` counts the files that can't be shipped
    as they are, `aside_files` are the first of them. `runs_alive` names run directories as the receiver knows them.
    """

    spool: str
    source: str
    backlog_files: int = 0
    backlog_bytes: int = 0
    shipped_files: int = 0
    shipped_bytes: int = 0
    errors: int = 0
    aside: int = 0
    bytes_per_s: float = 0.0
    oldest_unshipped_s: float | None = None
    last_ack_at: float | None = None
    last_error: str | None = None
    runs_alive: tuple[str, ...] = ()
    aside_files: tuple[AsideFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Who an agent is, and how far it is with each of its spools; `source` is that of the first."""

    source: str
    host: str
    agent: str
    pid: int
    started_at: float
    spools: tuple[SpoolBeat, ...]


MAX_HEARTBEAT_BYTES = 64 << 10
MAX_HEARTBEAT_SPOOLS = 32
_MAX_TEXT = 500
MAX_RUNS_ALIVE = 100
_MAX_ASIDE_FILES = 20


def encode_heartbeat(beat: Heartbeat) -> bytes:
    """Return the body of a heartbeat; what is too long or too much for one is cut, names of runs and of files first."""
    most_runs, most_files = MAX_RUNS_ALIVE, _MAX_ASIDE_FILES
    while True:
        spools = tuple(_cut_spool(spool, most_runs, most_files) for spool in beat.spools[:MAX_HEARTBEAT_SPOOLS])
        body = orjson.dumps({"v": VERSION} | _fields(replace(beat, spools=spools)))
        if len(body) <= MAX_HEARTBEAT_BYTES or most_runs == 0:
            return body
        most_runs, most_files = most_runs // 2, most_files // 2


def _cut_spool(spool: SpoolBeat, most_runs: int, most_files: int) -> SpoolBeat:
    error = None if spool.last_error is None else spool.last_error[:_MAX_TEXT]
    runs = tuple(run for run in spool.runs_alive if len(run) <= _MAX_TEXT)[:most_runs]
    files = tuple(AsideFile(f.path[:_MAX_TEXT], f.reason[:_MAX_TEXT]) for f in spool.aside_files[:most_files])
    return replace(spool, spool=spool.spool[:_MAX_TEXT], last_error=error, runs_alive=runs, aside_files=files)


def _fields(beat: Heartbeat) -> dict[str, Any]:
    return {field.name: getattr(beat, field.name) for field in fields(beat)}


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Return the heartbeat in `body`; raise `BadBatch` if it is none, `BatchTooLarge` past `MAX_HEARTBEAT_BYTES`."""
    if len(body) > MAX_HEARTBEAT_BYTES:
        raise BatchTooLarge(f"a heartbeat of {len(body)} bytes, more than {MAX_HEARTBEAT_BYTES}")
    record = _load_object(body)
    _require_version(record, "heartbeat")
    spools = record.get("spools")
    if not isinstance(spools, list) or len(spools) > MAX_HEARTBEAT_SPOOLS:
        raise BadBatch(f"spools must be a list of at most {MAX_HEARTBEAT_SPOOLS}")
    return Heartbeat(
        source=_string(record, "source", most=200),
        host=_string(record, "host", most=300),
        agent=_string(record, "agent", most=100),
        pid=_integer(record, "pid"),
        started_at=_number(record, "started_at"),
        spools=tuple(_spool_from_json(spool) for spool in spools),
    )


def _spool_from_json(record: object) -> SpoolBeat:
    if not isinstance(record, dict):
        raise BadBatch("a spool must be an object")
    runs = record.get("runs_alive")
    if not isinstance(runs, list) or not all(isinstance(run, str) for run in runs):
        raise BadBatch("runs_alive must be a list of strings")
    counts = ("backlog_files", "backlog_bytes", "shipped_files", "shipped_bytes", "errors", "aside")
    return SpoolBeat(
        spool=_string(record, "spool", most=_MAX_TEXT),
        source=_string(record, "source", most=200),
        **{key: _integer(record, key) for key in counts},
        bytes_per_s=_number(record, "bytes_per_s"),
        oldest_unshipped_s=_maybe_number(record, "oldest_unshipped_s"),
        last_ack_at=_maybe_number(record, "last_ack_at"),
        last_error=None if record.get("last_error") is None else _string(record, "last_error", most=_MAX_TEXT),
        runs_alive=tuple(runs),
        aside_files=tuple(_aside_file_from_json(file) for file in _aside_files_in(record)),
    )


def _aside_files_in(record: dict[str, Any]) -> list[object]:
    files = record.get("aside_files", [])  # older agents only count them
    if not isinstance(files, list) or len(files) > _MAX_ASIDE_FILES:
        raise BadBatch(f"aside_files must be a list of at most {_MAX_ASIDE_FILES}")
    return files


def _aside_file_from_json(record: object) -> AsideFile:
    if not isinstance(record, dict):
        raise BadBatch("a file of aside_files must be an object")
    return AsideFile(_string(record, "path", most=_MAX_TEXT), _string(record, "reason", most=_MAX_TEXT))


def encode_agents(agents: Sequence[tuple[Heartbeat, float]]) -> bytes:
    """Return the answer that lists agents by their last heartbeats, each with its age in seconds."""
    return orjson.dumps({"v": VERSION, "agents": [_fields(beat) | {"age_s": age_s} for beat, age_s in agents]})


# --- errors


def encode_error(reason: str) -> bytes:
    """Return the body of every answer that is not 200: the reason, in one line."""
    return orjson.dumps({"error": " ".join(reason.split())})


def decode_error(body: bytes) -> str:
    """Return the reason in the body of an answer that is not 200; raise `BadBatch` if it has none."""
    return " ".join(_string(_load_object(body), "error", most=2000).split())


# --- compression


def expand(body: bytes, *, max_expanded_bytes: int, limit: str = "max_expanded_bytes") -> bytes:
    """Return zstd-compressed `body` expanded; raise `BatchTooLarge` past `max_expanded_bytes`, `BadBatch` if cut or not zstd.

    `limit` is what the bound is called where it is passed.
    Never expands more than one byte past the bound, and refuses a frame that wants more than `ZSTD_WINDOW_LOG` of memory for
    what it refers back to, so a bomb costs at most that.
    """
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})
    try:
        expanded = decompressor.decompress(body, max_expanded_bytes + 1)
    except zstd.ZstdError as error:
        raise BadBatch(f"body is not zstd: {error}") from None
    if len(expanded) > max_expanded_bytes:
        raise BatchTooLarge(f"{limit}: body expands to more than {max_expanded_bytes} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise BadBatch("body is not one whole zstd frame")
    return expanded


# --- JSON values

_COMMAS_EACH = 32
_BRACKETS_EACH = 8
_FEWEST_ENTRIES = 100
_COUNTED_BYTES = 64 << 10


def _require_modest(body: bytes, limit: str, most: int) -> None:
    """Raise `BatchTooLarge`, which names `limit`, for JSON with more in it than `most` entries can need.

    Counted before it is parsed: of two bytes of JSON a parser makes a hundred of memory, and holds up all threads meanwhile.
    An item needs ten commas and two brackets; those in names count too, so there is room for them.
    """
    most = max(most, _FEWEST_ENTRIES)
    commas = brackets = 0
    for start in range(0, len(body), _COUNTED_BYTES):  # piece by piece: counting all of a bomb would be work, too
        end = start + _COUNTED_BYTES
        commas += body.count(b",", start, end)
        brackets += body.count(b"[", start, end) + body.count(b"{", start, end)
        if commas > most * _COMMAS_EACH or brackets > most * _BRACKETS_EACH:
            raise BatchTooLarge(
                f"{limit}: JSON with {commas} commas and {brackets} brackets so far, more than {most} entries need"
            )


def _load_object(body: bytes) -> dict[str, Any]:
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBatch(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise BadBatch("not a JSON object")
    return record


def _require_version(record: dict[str, Any], what: str, *, default: int | None = None) -> None:
    version = record.get("v", default)
    if type(version) is int and version == VERSION:
        return
    kind = OtherVersion if type(version) is int else BadBatch
    raise kind(f"{what} version {ascii(version)[:40]}, this receiver speaks {VERSION}")


def _string(record: dict[str, Any], key: str, *, most: int, default: str | None = None) -> str:
    value = record.get(key, default)
    if not isinstance(value, str) or len(value) > most:
        raise BadBatch(f"{key} must be a string of at most {most} characters")
    return value


def _number(record: dict[str, Any], key: str) -> float:
    value: Any = record.get(key)
    if type(value) not in (int, float) or not 0 <= value <= _MAX_INT:
        raise BadBatch(f"{key} must be a number from 0 to {_MAX_INT}, not {ascii(value)[:40]}")
    return float(value)


def _maybe_number(record: dict[str, Any], key: str) -> float | None:
    return None if record.get(key) is None else _number(record, key)


def _integer(record: dict[str, Any], key: str, *, most: int = _MAX_INT) -> int:
    value = record.get(key)
    if type(value) is not int or not 0 <= value <= most:
        raise BadBatch(f"{key} must be an integer from 0 to {most}, not {ascii(value)[:40]}")
    return value


def _seconds(record: dict[str, Any], key: str, *, most: float) -> float:
    """Return a number of seconds, 0 where there is none; more than `most` counts as `most`."""
    value = record.get(key, 0.0)
    if type(value) not in (int, float) or not value >= 0:
        raise BadBatch(f"{key} must be a number of at least 0, not {ascii(value)[:40]}")
    return min(float(value), most)


def _held_to_json(held: Held) -> dict[str, int]:
    return {"size": held.size, "crc": held.crc}


def _held_from_json(record: object) -> Held:
    if not isinstance(record, dict):
        raise BadBatch("what is held must be an object with size and crc")
    return Held(Offset(_integer(record, "size")), Crc(_integer(record, "crc", most=0xFFFFFFFF)))
