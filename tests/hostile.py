"""Hostile requests, as a table: a name, the bytes, and the statuses that are right. Nothing here knows how the receiver works.

`None` among the statuses means that the connection may be closed without an answer. What is not answered with 200 must be
refused with a 4xx; a 200 must acknowledge nothing (`is_harmless`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ml_logger import wire

Statuses = frozenset[int | None]

BAD = frozenset({400})
NOT_FOUND = frozenset({400, 404})
TOO_LARGE = frozenset({413})
REFUSED: Statuses = frozenset({None, 400, 413, 431})
HARMLESS = frozenset({200})

DEEP = 100_000


@dataclass(frozen=True)
class Attack:
    """One hostile request."""

    name: str
    request: bytes
    statuses: Statuses


def request(
    body: bytes = b"", *, method: str = "POST", path: str = "/v1/batch", headers: tuple[str, ...] = (), token: str
) -> bytes:
    """Return a well-formed request around a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]).encode("latin-1") + body


def item(**changes: Any) -> dict[str, Any]:
    """Return an item that would be stored, but for the changes; `...` leaves a key out."""
    good = {"path": "run/x", "op": "append", "offset": 0, "length": 1, "crc_before": 0, "crc": zlib.crc32(b"x")}
    return {key: value for key, value in (good | changes).items() if value is not ...}


def manifest(*items: object, **changes: Any) -> bytes:
    """Return a manifest line of these items."""
    record = {"v": 1, "source": "s", "items": list(items)} | changes
    return json.dumps({key: value for key, value in record.items() if value is not ...}).encode() + b"\n"


PATHS = {
    "empty": "",
    "slash": "/",
    "absolute": "/etc/passwd",
    "up": "..",
    "up and away": "../outside",
    "up inside": "run/../../outside",
    "up at the end": "run/..",
    "here": "./x",
    "here inside": "run/./x",
    "two slashes": "run//x",
    "slash at the end": "run/x/",
    "own folder": ".ml-logger/stage/x",
    "own folder, capitals": ".ML-Logger/x",
    "own folder alone": ".ml-logger",
    "own lock": ".ml-logger/locks",
    "NUL": "run/a\0b",
    "newline": "run/a\nb",
    "return": "run/a\rb",
    "escape": "run/\x1b[2Jx",
    "delete": "run/\x7f",
    "backslash": "run\\..\\x",
    "UNC": "\\\\host\\share",
    "surrogate": "run/\ud800",
    "C1 control": "run/\x85x",
    "long name": "n" * 256,
    "long in bytes": "\u00e4" * 128,
    "long path": "/".join(["d" * 200] * 11),
    "deep path": "/".join(["d"] * 65),
    "very long": "x" * 70_000,
}

NOT_STRINGS: dict[str, object] = {"null": None, "number": 1, "list": ["run/x"], "object": {"run": "x"}, "true": True}

NUMBERS: dict[str, object] = {
    "negative": -1,
    "2^63": 2**63,
    "2^64": 2**64,
    "2^65": 2**65,
    "float": 0.5,
    "1e3": 1e3,
    "text": "0",
    "null": None,
    "list": [0],
    "true": True,
    "missing": ...,
}


def paths(token: str) -> Iterator[Attack]:
    """Paths that lead out, into the receiver's own folder, or to no file at all."""
    for name, path in PATHS.items():
        for op in ("append", "commit", "stage"):
            body = manifest(item(path=path, op=op, **({} if op == "append" else {"upload": "u"}))) + b"x"
            statuses = BAD if name in ("surrogate", "very long") else HARMLESS
            yield Attack(f"{op} to a path: {name}", request(body, token=token), statuses)
        stat = json.dumps({"v": 1, "paths": [path]}).encode()
        statuses = HARMLESS if name != "surrogate" else BAD
        yield Attack(f"stat of a path: {name}", request(stat, path="/v1/stat", token=token), statuses)
    for name, value in NOT_STRINGS.items():
        yield Attack(f"path is {name}", request(manifest(item(path=value)) + b"x", token=token), BAD)


URLS = (
    *("/v1/files/", "/v1/files/..", "/v1/files/%2e%2e/%2e%2e/etc/passwd", "/v1/files/..%2f..%2fetc/passwd"),
    *("/v1/files//etc/passwd", "/v1/files/%2fetc/passwd", "/v1/files/run/%00", "/v1/files/%ff%fe", "/v1/files/%"),
    *("/v1/files/%zz", "/v1/files/.ml-logger/lineage", "/v1/files/%2eml-logger/lineage", "/v1/files/" + "x" * 3000),
    *("/v1/files/run%5c..%5cx", "/v1/files/a%0d%0aSet-Cookie:x", "/v1/list/..", "/v1/list/.ml-logger"),
    *("/v1/list/%2e%2e%2f", "/v1/list?limit=-1", "/v1/list?limit=1e9", "/v1/list?limit=99999999999999999999"),
    *("/v1/list?limit=0", "/v1/list?limit=\u0661", "/v1/list/none?after=%ff", "/v1", "/v1/", "/v1/none", "//"),
    *("/v1/files/none?x=" + "y" * 3000, "/../../etc/passwd", "/v1/../../etc/passwd", "/healthz/../v1/files/x"),
    *(
        "/view",
        "/view/",
        "/view/../v1/files/x",
        "/view/%2e%2e/v1/files/x",
        "/view/files/..%2f..%2fetc/passwd",
        "/view/files/",
    ),
    *(
        "/view/files/.ml-logger/lineage",
        "/view/static/..%2fpage.py",
        "/view/api/text?path=../x",
        "/view/api/run?run=%00",
    ),
    *(
        "/view/api/text?path=x&offset=-1",
        "/view/api/runs?since=1e9",
        "/view/api/tensor?path=" + "x" * 3000,
        "/view/api/",
    ),
)


def urls(token: str) -> Iterator[Attack]:
    """URLs that are no path of the tree."""
    for url in URLS:
        shown = url.encode("utf-8").decode("latin-1")
        yield Attack(f"GET {url[:60]!a}", request(method="GET", path=shown, token=token), NOT_FOUND | {403, 414})
    for method in ("TRACE", "CONNECT", "OPTIONS", "PATCH", "LOCK", "get", "X" * 2000, "GE T"):
        yield Attack(
            f"method {method[:20]}", request(method=method, path="/v1/batch", token=token), REFUSED | {404, 405, 501}
        )


def manifests(token: str) -> Iterator[Attack]:
    """First lines that are no manifest."""
    bodies = {
        "nothing": b"",
        "newline": b"\n",
        "no newline": b'{"v":1}',
        "not JSON": b"{\n",
        "null": b"null\n",
        "list": b"[]\n",
        "string": b'"x"\n',
        "number": b"1\n",
        "two objects": b"{}{}\n",
        "trailing comma": b'{"v":1,"source":"s","items":[],}\n',
        "comment": b'{"v":1,/**/"source":"s","items":[]}\n',
        "single quotes": b"{'v':1}\n",
        "Latin-1": '{"v":1,"source":"\u00e9","items":[]}\n'.encode("latin-1"),
        "UTF-16": '{"v":1,"source":"s","items":[]}\n'.encode("utf-16"),
        "UTF-8 with BOM": b'\xef\xbb\xbf{"v":1,"source":"s","items":[]}\n',
        "overlong UTF-8": b'{"v":1,"source":"\xc0\xaf","items":[]}\n',
        "NUL in it": b'{"v":1,"source":"s\0","items":[]}\n',
        "NaN": b'{"v":1,"source":"s","items":[],"x":NaN}\n',
        "Infinity": b'{"v":1,"source":"s","items":[],"x":-Infinity}\n',
        "1e400": b'{"v":1e400,"source":"s","items":[]}\n',
        "too deep a list": b'{"v":1,"source":"s","items":' + b"[" * DEEP + b"]" * DEEP + b"}\n",
        "too deep an object": b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"\n",
        "too deep and open": b"[" * DEEP + b"\n",
        "long number": b'{"v":' + b"1" * 10_000 + b',"source":"s","items":[]}\n',
        "no items": manifest(items=...),
        "items null": manifest(items=None),
        "items object": manifest(items={}),
        "items string": manifest(items="x"),
        "no source": manifest(source=...),
        "source null": manifest(source=None),
        "source long": manifest(source="s" * 201),
        "source surrogate": manifest(source="\ud800"),
        "host number": manifest(host=1),
        "host long": manifest(host="h" * 301),
        "agent list": manifest(agent=[]),
        "item null": manifest(None),
        "item list": manifest([]),
        "item string": manifest("x"),
        "item empty": manifest({}),
        "op none": manifest(item(op="delete")),
        "op number": manifest(item(op=1)),
        "op capitals": manifest(item(op="APPEND")),
        "op list": manifest(item(op=["append"])),
        "upload missing": manifest(item(op="stage")),
        "upload long": manifest(item(op="stage", upload="u" * 101)),
        "upload number": manifest(item(op="commit", upload=1)),
        "replaces list": manifest(item(op="commit", upload="u", replaces=[])),
        "replaces empty": manifest(item(op="commit", upload="u", replaces={})),
        "replaces negative": manifest(item(op="commit", upload="u", replaces={"size": -1, "crc": 0})),
        "mtime text": manifest(item(mtime_ns="now")),
        "mtime negative": manifest(item(mtime_ns=-1)),
        "mtime beyond": manifest(item(mtime_ns=2**63)),
        "an item too many": manifest(*[item(path=f"run/{n}", length=0, crc=0) for n in range(10_001)]),
        "manifest too long": b" " * (5 << 20) + b"{}\n",
    }
    for name, body in bodies.items():
        statuses = TOO_LARGE if "too" in name else BAD
        tail = b"" if name in ("nothing", "newline", "no newline") or "too" in name else b"x"
        yield Attack(f"manifest: {name}", request(body + tail, token=token), statuses)
    duplicate = b'{"v":1,"source":"s","items":[],"items":[{}]}\n'
    yield Attack("manifest: a key twice", request(duplicate, token=token), BAD)


def numbers(token: str) -> Iterator[Attack]:
    """Offsets, lengths and CRCs that are none, or lie."""
    for key in ("offset", "length", "crc_before", "crc"):
        for name, value in NUMBERS.items():
            yield Attack(f"{key} {name}", request(manifest(item(**{key: value})) + b"x", token=token), BAD)
    lies = {
        "ends past 2^63": item(offset=2**63 - 1, length=2),
        "length more than follows": item(length=2),
        "length less than follows": item(length=0, crc=0),
        "length of a petabyte": item(length=2**50),
    }
    for name, lie in lies.items():
        yield Attack(name, request(manifest(lie) + b"x", token=token), BAD)
    wrong = {
        "CRC of other bytes": item(crc=1),
        "CRC before of nothing": item(crc_before=1),
        "far offset": item(offset=2**62),
        "commit of a file at an offset": item(op="commit", upload="u", offset=5),
        "commit that replaces what is not there": item(op="commit", upload="u", crc=1, replaces={"size": 9, "crc": 9}),
    }
    for name, lie in wrong.items():
        yield Attack(name, request(manifest(lie) + b"x", token=token), HARMLESS)
    overlapping = manifest(item(), item(offset=2**40), item(op="stage", upload="u", offset=7)) + b"xxx"
    yield Attack(
        "items that contradict each other",
        request(overlapping.replace(b"run/x", b"run/none/../x"), token=token),
        HARMLESS,
    )


def other_bodies(token: str) -> Iterator[Attack]:
    """Bodies of the other calls that are none of theirs."""
    shapes = {
        "nothing": b"",
        "null": b"null",
        "list": b"[]",
        "empty": b"{}",
        "not JSON": b"{",
        "deep": b"[" * DEEP,
        "deep, but few": b"[" * 2000,
        "NaN": b'{"v":1,"paths":NaN,"mark":NaN}',
        "paths numbers": b'{"v":1,"paths":[1],"mark":1}',
        "paths object": b'{"v":1,"paths":{},"mark":[]}',
        "surrogate": b'{"v":1,"paths":["\\ud800"],"mark":"\\ud800"}',
        "not UTF-8": b'{"v":1,"paths":["\xff"],"mark":"\xff"}',
        "long": json.dumps({"v": 1, "paths": ["x"] * 10_001, "mark": "m" * 101}).encode(),
    }
    for call in ("stat", "lineage", "heartbeat"):
        for name, body in shapes.items():
            is_meant = call == "lineage" and name == "empty"  # no mark is known, which may be said so
            statuses = HARMLESS if is_meant else BAD | TOO_LARGE
            yield Attack(f"{call}: {name}", request(body, path=f"/v1/{call}", token=token), statuses)
    spools = json.dumps({"v": 1, "source": "s", "spools": [{}] * 33}).encode()
    yield Attack("heartbeat of too many spools", request(spools, path="/v1/heartbeat", token=token), BAD)
    yield Attack("heartbeat too long", request(b" " * 70_000, path="/v1/heartbeat", token=token), TOO_LARGE)


def encodings(token: str) -> Iterator[Attack]:
    """Bodies that are not what their encoding says, and bombs."""
    frame = wire.compress_parts([manifest(item()) + b"x"])
    zstd = ("Content-Encoding: zstd",)
    bodies = {
        "not zstd": b"hello",
        "nothing": b"",
        "cut": frame[:-3],
        "two frames": frame + frame,
        "a frame and more": frame + b"x",
        "skippable": b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd",
        "flipped": frame[:10] + bytes([frame[10] ^ 0xFF]) + frame[11:],
        "dictionary wanted": b"\x28\xb5\x2f\xfd\x23\x01\x00\x00\x00",
    }
    for name, body in bodies.items():
        yield Attack(f"zstd: {name}", request(body, headers=zstd, token=token), BAD)
    bomb = wire.compress_parts([bytes(1 << 20)] * 100)
    yield Attack("zstd: a bomb of 100 MiB", request(bomb, headers=zstd, token=token), TOO_LARGE)
    for call in ("batch", "stat", "digest", "lineage"):
        for mib in (3, 60):
            json_bomb = b'{"v":1,"x":[' + b"[]," * ((mib << 20) // 3) + b"[]]}\n"
            body = wire.compress_parts([json_bomb])
            yield Attack(
                f"zstd: {mib} MiB of JSON to {call}",
                request(body, path=f"/v1/{call}", headers=zstd, token=token),
                TOO_LARGE,
            )
    window = b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00"
    yield Attack("zstd: a window of 2 GiB", request(window, headers=zstd, token=token), BAD)
    for name in ("gzip", "deflate", "br", "zstd, zstd", "identity, zstd", "x" * 500, "\u00ff"):
        answer = request(b"x", headers=(f"Content-Encoding: {name}",), token=token)
        yield Attack(f"encoding {name[:20]!a}", answer, frozenset({400, 415}))


def smuggling(token: str) -> Iterator[Attack]:
    """Requests that two HTTP parsers would cut apart at different places (RFC 9112, section 11.2)."""
    inner = f"GET /v1/list HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    shapes = {
        "length and chunked": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        "two lengths": "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
        "lengths in a list": "Content-Length: 0, 5\r\n\r\nhello",
        "length with a plus": "Content-Length: +5\r\n\r\nhello",
        "length with a minus": "Content-Length: -5\r\n\r\nhello",
        "length in hex": "Content-Length: 0x5\r\n\r\nhello",
        "length with an underscore": "Content-Length: 1_0\r\n\r\n0123456789",
        "length in other digits": "Content-Length: \u0665\r\n\r\nhello",
        "length empty": "Content-Length: \r\n\r\n",
        "length beyond": f"Content-Length: {2**64}\r\n\r\nx",
        "chunked twice": "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "chunked misspelt": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "chunked not last": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "chunked with a tab": "Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
        "chunk size negative": "Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
        "chunk size beyond": "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx\r\n0\r\n\r\n",
        "chunk size with 0x": "Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        "chunk longer than its size": "Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
        "space before the colon": "Content-Length : 5\r\n\r\nhello",
        "folded header": "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "header without a colon": "Content-Length 5\r\n\r\nhello",
        "header with a NUL": "X: a\0b\r\nContent-Length: 0\r\n\r\n",
        "bare line feeds": "X: a\nContent-Length: 0\n\n",
        "bare returns": "X: a\rContent-Length: 5\r\n\r\nhello",
        "name with a space": "Content Length: 5\r\n\r\nhello",
        "empty name": ": 5\r\n\r\nhello",
        "no host": None,
        "two hosts": "Host: y\r\nContent-Length: 0\r\n\r\n",
    }
    start = f"POST /v1/batch HTTP/1.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    for name, rest in shapes.items():
        text = start + ("Content-Length: 0\r\n\r\n" if rest is None else "Host: x\r\n" + rest)
        yield Attack(f"smuggling: {name}", text.encode("utf-8"), REFUSED | {501})
    lines = {
        "no version": "GET /v1/list",
        "version 0.9": "GET /v1/list HTTP/0.9",
        "version 2": "GET /v1/list HTTP/2.0",
        "version 9.9": "GET /v1/list HTTP/9.9",
        "version none": "GET /v1/list HTTQ/1.1",
        "two spaces": "GET  /v1/none HTTP/1.1",
        "a tab": "GET\t/v1/list HTTP/1.1",
        "an absolute URL": "GET http://other/v1/none HTTP/1.1",
        "a control in the URL": "GET /v1/\x01 HTTP/1.1",
    }
    for name, line in lines.items():
        text = f"{line}\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        yield Attack(f"request line: {name}", text.encode("utf-8"), REFUSED | {404, 405, 501, 505})
    yield Attack("TLS to a plain port", bytes.fromhex("160301020001000001fc0303") + bytes(500), REFUSED)
    yield Attack("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED | {404, 405, 505})
    yield Attack("noise", bytes(range(256)) * 8, REFUSED)


def floods(token: str) -> Iterator[Attack]:
    """Heads that are too large."""
    heads = {
        "a long URL": (("/v1/files/" + "x" * 20_000), ()),
        "a long header": ("/v1/list", ("X: " + "y" * 20_000,)),
        "a long name": ("/v1/list", ("x" * 20_000 + ": y",)),
        "many headers": ("/v1/list", tuple(f"X-{n}: y" for n in range(200_000 // 10))),
        "a long token": ("/v1/list", ("Authorization: Bearer " + "t" * 20_000,)),
        "a header of 8 MiB": ("/v1/list", ("X: " + "y" * (8 << 20),)),
    }
    for name, (path, headers) in heads.items():
        yield Attack(f"flood: {name}", request(method="GET", path=path, headers=headers, token=token), REFUSED | {414})
    for name in ("Bearer", "Bearer ", "bearer x", "Basic dDp0", "Bearer \u00ff", "Digest x", "Bearer a b", "Negotiate"):
        head = f"GET /v1/list HTTP/1.1\r\nHost: x\r\nAuthorization: {name}\r\nConnection: close\r\n\r\n"
        yield Attack(f"token {name!a}", head.encode("utf-8"), frozenset({401, 429}))


def all_attacks(token: str) -> list[Attack]:
    """Return the whole table."""
    parts = (paths, urls, manifests, numbers, other_bodies, encodings, smuggling, floods)
    return [attack for part in parts for attack in part(token)]
