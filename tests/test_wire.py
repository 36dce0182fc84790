"""The wire: what is encoded comes back, and no bytes of any kind raise anything but `BadBatch` or `BadAnswer`."""

from __future__ import annotations

import json
import string
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ml_logger import wire
from ml_logger.errors import BadAnswer, BadBatch, BatchTooLarge
from ml_logger.wire import NOTHING, Crc, Digest, Held, Item, Manifest, Offset, Outcome, Unreadable, crc32

LIMITS = {"max_manifest_bytes": 1 << 16, "max_items": 10}

helds = st.builds(Held, size=st.integers(0, 2**63 - 1).map(Offset), crc=st.integers(0, 2**32 - 1).map(Crc))
# what JSON can carry: any text but lone surrogates
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
payload_lists = st.lists(st.binary(max_size=50), max_size=10)


@st.composite
def items(draw: st.DrawFn, length: int) -> Item:
    op = draw(st.sampled_from(wire.OPS))
    return Item(
        path=draw(texts),
        op=op,
        offset=Offset(draw(st.integers(0, 2**63 - 1 - length))),
        length=length,
        crc_before=Crc(draw(st.integers(0, 2**32 - 1))),
        crc=Crc(draw(st.integers(0, 2**32 - 1))),
        upload=None if op == "append" else draw(texts),
        replaces=draw(st.none() | helds),
        mtime_ns=draw(st.none() | st.integers(0, 2**63 - 1)),
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[Manifest, list[bytes]]:
    payloads = draw(payload_lists)
    listed = tuple(draw(items(len(p))) for p in payloads)
    return Manifest(draw(texts), listed, draw(texts), draw(texts)), payloads


def an_item(payload: bytes = b"one\n") -> Item:
    return Item("run/metrics.jsonl", "append", Offset(0), len(payload), Crc(0), crc32(payload))


def an_outcome(item: Item) -> Outcome:
    return Outcome(item.path, item.op, "stored", item.offset, item.length, item.crc, Held(item.end, item.crc), "why")


def a_batch(*, compress: bool = False) -> bytes:
    whole = Item(
        "a/ü.npy", "commit", Offset(3), 4, Crc(1), Crc(2), "up-1", Held(Offset(9), Crc(8)), 1795363200_000000000
    )
    return wire.encode_batch(
        Manifest("me", (an_item(), whole), "host", "1.0"), [b"one\n", b"\0\n\xff{"], compress=compress
    )


def flips(body: bytes) -> list[bytes]:
    return [body[:i] + bytes([body[i] ^ 1 << bit]) + body[i + 1 :] for i in range(len(body)) for bit in range(8)]


# --- round trips


@given(batches())
def test_a_batch_comes_back(batch: tuple[Manifest, list[bytes]]) -> None:
    """Manifest and payloads are the same after encoding and splitting, whatever bytes they hold."""
    manifest, payloads = batch
    body = wire.encode_batch(manifest, payloads, compress=False)
    got, views = wire.split_batch(body, **LIMITS)
    assert got == manifest
    assert [bytes(v) for v in views] == payloads


@given(batches())
def test_a_compressed_batch_comes_back(batch: tuple[Manifest, list[bytes]]) -> None:
    """A zstd body expands to the plain one; its exact size is enough of a bound, one byte less is not."""
    plain = wire.encode_batch(*batch, compress=False)
    packed = wire.encode_batch(*batch, compress=True)
    assert wire.expand(packed, max_expanded_bytes=len(plain)) == plain
    with pytest.raises(BadBatch, match="expands to more"):
        wire.expand(packed, max_expanded_bytes=len(plain) - 1)


@given(st.lists(st.builds(an_outcome, items(4)), max_size=5))
def test_outcomes_come_back(outcomes: list[Outcome]) -> None:
    """Outcomes survive the wire when they answer the items that were sent."""
    sent = [Item(o.path, o.op, o.offset, o.length, Crc(0), o.crc) for o in outcomes]
    assert list(wire.decode_answer(wire.encode_outcomes(outcomes), sent).outcomes) == list(outcomes)


@given(st.lists(st.tuples(texts, st.none() | helds), max_size=10))
def test_stat_comes_back(pairs: list[tuple[str, Held | None]]) -> None:
    """Question and answer of a stat survive the wire, None for what is not held."""
    paths, held = [p for p, _ in pairs], [h for _, h in pairs]
    assert wire.decode_stat_request(wire.encode_stat_request(paths), max_paths=10) == paths
    assert wire.decode_stat_answer(wire.encode_stat_answer(paths, held), paths) == held


def test_an_error_comes_back_as_one_line() -> None:
    """The reason of a refusal survives the wire, folded into one line."""
    assert wire.decode_error(wire.encode_error("disk is full:\n 3 bytes left")) == "disk is full: 3 bytes left"


def test_running_crc_is_that_of_the_whole() -> None:
    """The CRC of a tail, started from that of its prefix, is the CRC of both, and 0 for nothing."""
    assert crc32(b"two", crc32(b"one")) == crc32(b"onetwo") == crc32(memoryview(b"onetwo"))
    assert Held(Offset(0), crc32(b"")) == NOTHING
    assert crc32(b"123456789") == 0xCBF43926  # the check value that every CRC-32 (ISO 3309) table gives


# --- damage


def test_a_batch_cut_anywhere_is_refused() -> None:
    """No proper prefix of a batch is a batch, plain or compressed, and nor is one with a byte too many."""
    body = a_batch()
    for end in range(len(body)):
        with pytest.raises(BadBatch):
            wire.split_batch(body[:end], **LIMITS)
    with pytest.raises(BadBatch, match="promise 8 bytes, 9 follow"):
        wire.split_batch(body + b"x", **LIMITS)


def test_a_compressed_body_cut_anywhere_is_refused() -> None:
    """No proper prefix of a zstd body expands, nor does one with bytes behind it."""
    packed = a_batch(compress=True)
    for body in [*(packed[:end] for end in range(len(packed))), packed + b"x", packed + packed]:
        with pytest.raises(BadBatch):
            wire.expand(body, max_expanded_bytes=1 << 20)


def test_flipped_bits_raise_nothing_but_bad_batch() -> None:
    """A batch with any one bit flipped is split or refused, never anything else."""
    for body in flips(a_batch()):
        with suppress(BadBatch):
            assert sum(map(len, wire.split_batch(body, **LIMITS)[1])) == 8


def test_flipped_bits_in_compressed_bodies_raise_nothing_but_bad_batch() -> None:
    """A compressed body with any one bit flipped expands within the bound or is refused."""
    for body in flips(a_batch(compress=True)):
        with suppress(BadBatch):
            assert len(wire.expand(body, max_expanded_bytes=4096)) <= 4096


def test_damaged_answers_raise_nothing_but_bad_answer() -> None:
    """Answers cut at every length or with any bit flipped answer exactly what was asked, or are `BadAnswer`."""
    sent = [an_item()]
    outcomes = wire.encode_outcomes([an_outcome(sent[0])])
    stat = wire.encode_stat_answer(["a", "b"], [None, NOTHING])
    for body in [*(outcomes[:end] for end in range(len(outcomes))), *flips(outcomes)]:
        with suppress(BadAnswer):
            assert [o.path for o in wire.decode_answer(body, sent).outcomes] == [sent[0].path]
    for body in [*(stat[:end] for end in range(len(stat))), *flips(stat)]:
        with suppress(BadAnswer):
            assert len(wire.decode_stat_answer(body, ["a", "b"])) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["path", "held", "size"]), inner),
    max_leaves=8,
)
KEYS = ["v", "source", "items", "outcomes", "files", "paths", "path", "op", "offset", "length", "crc", "held", "result"]


def _shaped(inner: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    entry = st.dictionaries(st.sampled_from(KEYS), inner | st.sampled_from([*wire.OPS, *wire.RESULTS, 0, 1, "a"]))
    lists = st.fixed_dictionaries(
        {k: st.lists(inner | entry, max_size=3) for k in ("items", "outcomes", "files", "paths")}
    )
    return lists.map(lambda record: {"v": 1, "source": "me", **record})


@given(st.binary(max_size=200) | _shaped(json_values).map(lambda r: json.dumps(r).encode() + b"\n"))
@example(b'{"files":[{"path":"a","held":null},1]}')
@example(b"[" * 100_000)
@example(b'{"v":1,"source":"\\ud800","items":[]}\n')
def test_any_bytes_raise_nothing_but_the_two(body: bytes) -> None:
    """Random bytes, and JSON of nearly the right shape, raise `BadBatch` where a request is read and `BadAnswer` elsewhere."""
    for decode, error in [
        (lambda: wire.split_batch(body, **LIMITS), BadBatch),
        (lambda: wire.expand(body, max_expanded_bytes=1000), BadBatch),
        (lambda: wire.decode_stat_request(body, max_paths=2), BadBatch),
        (lambda: wire.decode_error(body), BadBatch),
        (lambda: wire.decode_answer(body, [an_item()]), BadAnswer),
        (lambda: wire.decode_stat_answer(body, ["a"]), BadAnswer),
    ]:
        with suppress(error):
            decode()


# --- what is refused, and why


def _manifest(**changes: object) -> bytes:
    record = {"v": 1, "source": "me", "items": [], **changes}
    return json.dumps({k: v for k, v in record.items() if v is not ...}).encode() + b"\n"


def _item(**changes: object) -> dict[str, object]:
    item = {"path": "a", "op": "append", "offset": 0, "length": 0, "crc_before": 0, "crc": 0, **changes}
    return {k: v for k, v in item.items() if v is not ...}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no newline"),
        (b"null\n", "not a JSON object"),
        (b"{\n", "not JSON"),
        (b'{"v": NaN}\n', "not JSON"),
        (b"\xff\xfe{}\n", "not JSON"),
        (_manifest(v=2), "manifest version 2"),
        (_manifest(v="1"), "manifest version '1'"),
        (_manifest(source=...), "source must be a string"),
        (_manifest(source="x" * 201), "source must be a string of at most 200"),
        (_manifest(host=7), "host must be a string"),
        (_manifest(items={}), "items must be a list"),
        (_manifest(items=[7]), "an item must be an object"),
        (_manifest(items=[_item(op="delete")]), "op 'delete' is none of"),
        (_manifest(items=[_item(op=["append"])]), "is none of"),
        (_manifest(items=[_item(path=None)]), "path must be a string"),
        (_manifest(items=[_item(offset=-1)]), "offset must be an integer"),
        (_manifest(items=[_item(offset=1.0)]), "offset must be an integer"),
        (_manifest(items=[_item(offset=True)]), "offset must be an integer"),
        (_manifest(items=[_item(offset="0")]), "offset must be an integer"),
        (_manifest(items=[_item(length=2**63)]), "length must be an integer"),
        (_manifest(items=[_item(offset=2**63 - 1, length=1)]), "end past"),
        (_manifest(items=[_item(crc=2**32)]), "crc must be an integer"),
        (_manifest(items=[_item(crc_before=...)]), "crc_before must be an integer"),
        (_manifest(items=[_item(op="stage")]), "upload must be a string"),
        (_manifest(items=[_item(replaces=[])]), "what is held must be an object"),
        (_manifest(items=[_item(replaces={"size": 1})]), "crc must be an integer"),
        (_manifest(items=[_item(mtime_ns=-1)]), "mtime_ns must be an integer"),
        (_manifest(items=[_item(length=5)]) + b"four", "promise 5 bytes, 4 follow"),
        (_manifest(items=[_item(length=2**62)]) + b"four", "promise"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    """Each way a manifest can break the protocol is named in the refusal."""
    with pytest.raises(BadBatch, match=reason):
        wire.split_batch(body, **LIMITS)


@pytest.mark.parametrize("body", [b"x" * 70_000, b" " * 65_537 + b"\n", _manifest(items=[_item()] * 11)])
def test_a_batch_over_a_limit_is_too_large(body: bytes) -> None:
    """Past a limit the refusal is `BatchTooLarge`, so that the sender can halve; at the limit there is none."""
    with pytest.raises(BatchTooLarge):
        wire.split_batch(body, **LIMITS)
    wire.split_batch(_manifest(items=[_item()] * 10), **LIMITS)


@pytest.mark.parametrize("value", [b"[]", b"{}", b'{"a":0}', b"0.1", b'"ab"', b"[[[[[[]]]]]]"])
@pytest.mark.parametrize("call", ["batch", "stat"])
def test_json_is_counted_before_it_is_parsed(call: str, value: bytes) -> None:
    """What has more values than the items or paths that may be takes no memory; the refusal names the limit."""
    values = b",".join([value] * ((4 << 20) // (len(value) + 1) - 100))
    tracemalloc.start()
    try:
        with pytest.raises(BatchTooLarge, match=r"max_(items|paths): JSON with \d+ commas"):
            if call == "batch":
                wire.split_batch(b'{"v":1,"items":[%s]}\n' % values, max_manifest_bytes=4 << 20, max_items=10_000)
            else:
                wire.decode_stat_request(b'{"v":1,"paths":[%s]}' % values, max_paths=10_000)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20  # a few copies of the body itself
    finally:
        tracemalloc.stop()


def test_as_many_items_as_may_be_pass_with_commas_in_their_names() -> None:
    """The count leaves room for all that an item may hold, and for names as sweeps make them."""
    swept = "run/" + ",".join(f"key{n}={n}" for n in range(20)) + "/[a]{b}-m.jsonl"
    whole = _item(path=swept, op="commit", upload="u", replaces={"size": 1, "crc": 1}, mtime_ns=1)
    manifest, _ = wire.split_batch(_manifest(items=[whole] * 1000), max_manifest_bytes=1 << 20, max_items=1000)
    assert len(manifest.items) == 1000
    assert len(wire.decode_stat_request(wire.encode_stat_request([swept] * 1000), max_paths=1000)) == 1000


def test_a_long_lineage_request_is_too_large() -> None:
    """A mark is short: what is long is refused unparsed."""
    with pytest.raises(BatchTooLarge, match="lineage"):
        wire.decode_lineage_request(b'{"v":1,"x":[' + b"[]," * 30_000 + b"[]]}")


def test_a_hostile_path_costs_only_its_own_item() -> None:
    """Paths that no receiver may store pass the framing, so that the rest of the batch can be stored."""
    body = _manifest(items=[_item(path="../../etc/passwd"), _item(path="\0"), _item(path="")])
    manifest, _ = wire.split_batch(body, **LIMITS)
    assert [i.path for i in manifest.items] == ["../../etc/passwd", "\0", ""]


def test_an_upload_of_an_append_is_ignored() -> None:
    """Only staged files have an upload; a stray one beside an append changes nothing."""
    manifest, _ = wire.split_batch(_manifest(items=[_item(upload="x")]), **LIMITS)
    assert manifest.items[0].upload is None


def test_a_bomb_costs_no_more_than_the_bound() -> None:
    """A body that would expand to far more than the bound is refused after the bound."""
    bomb = wire.encode_batch(Manifest("me", (an_item(),)), [bytes(50_000_000)], compress=True)
    assert len(bomb) < 50_000
    with pytest.raises(BadBatch, match="more than 1000 bytes"):
        wire.expand(bomb, max_expanded_bytes=1000)


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html><html></html>",
        b"{}",
        b'{"v":1,"outcomes":null}',
        b'{"v":2,"outcomes":[]}',
        wire.encode_outcomes([]),
        wire.encode_outcomes([an_outcome(an_item())] * 2),
        wire.encode_outcomes([an_outcome(an_item(b"two\n"))]),
        wire.encode_outcomes([an_outcome(an_item())]).replace(b"stored", b"kept"),
        wire.encode_outcomes([an_outcome(an_item())]).replace(b"run/", b"run2/"),
        wire.encode_outcomes([an_outcome(an_item())]).replace(b'"offset":0', b'"offset":1'),
    ],
)
def test_an_answer_to_something_else_acknowledges_nothing(body: bytes) -> None:
    """An HTML page, another version, another batch's answer: all are `BadAnswer`."""
    with pytest.raises(BadAnswer):
        wire.decode_answer(body, [an_item()])


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"files":{}}', wire.encode_stat_answer(["b"], [None]), b'{"files":[{"path":"a","held":1}]}'],
)
def test_a_stat_answer_to_something_else_is_refused(body: bytes) -> None:
    """A stat answer counts only if it names the paths that were asked for."""
    with pytest.raises(BadAnswer):
        wire.decode_stat_answer(body, ["a"])


@pytest.mark.parametrize("body", [b"", b"[]", b'{"paths":null}', b'{"paths":[1]}'])
def test_a_bad_stat_request_is_refused(body: bytes) -> None:
    """A stat asks for a list of strings."""
    with pytest.raises(BadBatch):
        wire.decode_stat_request(body, max_paths=2)


def test_a_stat_request_over_the_limit_is_too_large() -> None:
    """A stat asks for at most as many paths as the receiver allows."""
    body = wire.encode_stat_request(["a", "b", "c"])
    assert len(wire.decode_stat_request(body, max_paths=3)) == 3
    with pytest.raises(BatchTooLarge, match="3 paths"):
        wire.decode_stat_request(body, max_paths=2)


SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize("found", [Digest(Offset(8), SHA), Unreadable("the disk failed"), None])
@given(path=texts)
def test_a_digest_comes_back(found: Digest | Unreadable | None, path: str) -> None:
    """What a receiver says of one file survives the wire: its digest, why there is none, or that nothing is held."""
    line = wire.encode_digest(path, found)
    assert b"\n" not in line
    assert wire.decode_digest(line, path) == found


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
@example(wire.encode_digest("a", Digest(Offset(8), SHA)).replace(b'"a"', b'"b"'))
@example(wire.encode_digest("a", Digest(Offset(8), SHA.upper())))
@example(wire.encode_digest("a", Digest(Offset(8), SHA[:-1])))
@example(wire.encode_digest("a", Digest(Offset(8), SHA)).replace(b"8", b"-8"))
@example(b'{"path":"a"}')
@example(b'{"path":"a","held":7}')
@example(b'{"path":"a","held":null,"error":7}')
@example(b"<html>")
def test_no_other_line_is_a_digest(line: bytes) -> None:
    """Whatever stands in a line that is no digest of the path is `BadAnswer`, cut anywhere too; nothing else escapes."""
    with pytest.raises(BadAnswer):
        wire.decode_digest(line, "a")
    whole = wire.encode_digest("a", Digest(Offset(8), SHA))
    for size in range(len(whole)):
        with pytest.raises(BadAnswer):
            wire.decode_digest(whole[:size], "a")
