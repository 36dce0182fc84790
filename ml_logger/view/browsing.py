"""Files as they are: the names in a folder, the end of a growing text, the bytes of a file.

A file of a run may be anything, a page with scripts in it too. So its bytes are served in a sandbox, where nothing of them can
run as the site; only what a browser shows safely has its own type, all else is text or a download.
"""

from __future__ import annotations

import zlib
from contextlib import closing
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web

from ..byterange import maybe_range
from ..errors import BadPath
from ..files import Files, OpenFile
from .answers import HEADERS, Refused, Reply, add_missing, json_reply, tags_in
from .asked import checked_path
from .work import Workers

MOST_TEXT_BYTES = 1 << 20
SANDBOX = "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'"
_MARK_BYTES = 1024
_CHUNK_BYTES = 1 << 18

_SHOWN = {
    ".png": "image/png",
    ".apng": "image/apng",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".ico": "image/x-icon",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
    ".pdf": "application/pdf",
    ".svg": "image/svg+xml",
    ".html": "text/html",
    ".htm": "text/html",
}
_TEXT_SUFFIXES = frozenset(
    (".txt", ".log", ".jsonl", ".json", ".csv", ".tsv", ".md", ".yml", ".yaml", ".toml", ".ini", ".cfg", ".py", ".sh")
)
_PACKED_FROM = "application/octet-stream"


def list_folder(files: Files, folder: str) -> Reply:
    """Return the names in a folder; what is hidden there too, but for the receiver's own."""
    entries = [{"name": e.name, "kind": e.kind, "size": e.size, "mtime": e.mtime_ns / 1e9} for e in files.list(folder)]
    return json_reply({"entries": entries})


def text(files: Files, path: str, offset: int | None, mark: str | None = None) -> Reply:
    """Return what a text has from `offset` on, at most 1 MiB; without it its end. It is cut at whole characters.

    Where the bytes before `offset` are not those that `mark` is of, it is another text by now: nothing of it but that is told.
    """
    with closing(files.open(path)) as file:
        size = file.size
        start = max(0, size - MOST_TEXT_BYTES) if offset is None else min(offset, size)
        before = min(start, _MARK_BYTES)
        head = file.read(0, min(size, _MARK_BYTES))
        data = file.read(start - before, before + min(MOST_TEXT_BYTES, size - start))
    if mark is not None and (start != offset or mark != _mark(head, data[:before], start)):
        return json_reply(
            {"text": "", "offset": 0, "end": 0, "size": size, "is_cut": False, "is_other": True, "mark": ""}
        )
    near, data = data[:before], data[before:]
    if offset is None and start:
        start, data = _from_whole_character(start, data)
    data = _to_whole_character(data)
    end = start + len(data)
    return json_reply(
        {
            "text": data.decode("utf-8", "replace"),
            "offset": start,
            "end": end,
            "size": size,
            "is_cut": start > 0 if offset is None else False,
            "is_other": False,
            "mark": _mark(head, near + data, end),
        }
    )


def _mark(head: bytes, near: bytes, end: int) -> str:
    """Return what tells a text from another one up to `end`: a CRC of its first KiB and of the one before there."""
    return f"{zlib.crc32(near[-_MARK_BYTES:], zlib.crc32(head[:end])):08x}"


def _from_whole_character(start: int, data: bytes) -> tuple[int, bytes]:
    """Leave out the rest of a line at the beginning; where no line ends, the rest of a character."""
    cut = data.find(b"\n") + 1 or next((at for at, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
    return start + cut, data[cut:]


def _to_whole_character(data: bytes) -> bytes:
    """Leave out the begin of a character whose rest is not there yet."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return data
        if byte >= 0xC0:  # it begins here: how long is it to be?
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < wanted else data
    return data


def type_of(path: str) -> str:
    """Return the type that a file of a run is served with."""
    suffix = "." + path.rpartition("/")[2].rpartition(".")[2].lower()
    return _SHOWN.get(suffix) or ("text/plain; charset=utf-8" if suffix in _TEXT_SUFFIXES else _PACKED_FROM)


def attachment(name: str) -> str:
    """Return the ``Content-Disposition`` of a download that is to be called `name`."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='', errors='surrogateescape')}"


async def send_file(request: web.Request, files: Files, workers: Workers) -> web.StreamResponse:
    """Answer ``GET view/files/PATH``."""
    path = checked_path(_path_in_url(request), may_be_empty=False)
    file = await workers.do(files.open, path)
    try:
        return await _send(request, path, file, workers)
    finally:
        await workers.do(file.close)


def _path_in_url(request: web.Request) -> str:
    """Return the path in the URL, decoded once; names may hold any escaped byte, so aiohttp's own decoding won't do."""
    raw = request.rel_url.raw_path.partition("/view/files/")[2]
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadPath("the path in the URL is not UTF-8") from None


async def _send(request: web.Request, path: str, file: OpenFile, workers: Workers) -> web.StreamResponse:
    tag = f'"{file.version}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Accept-Ranges": "bytes", "Content-Security-Policy": SANDBOX}
    if tag in tags_in(request.headers.get("If-None-Match", "")):
        return web.Response(status=304, headers=headers)
    is_current = request.headers.get("If-Range", tag) == tag
    wanted = maybe_range(request.headers.get("Range"), file.size) if is_current else None
    if wanted is not None and not wanted:
        raise Refused(416, f"the file has {file.size} bytes", {"Content-Range": f"bytes */{file.size}"})
    span = range(file.size) if wanted is None else wanted
    response = web.StreamResponse(status=200 if wanted is None else 206, headers=headers)
    if wanted is not None:
        response.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
    if "download" in request.query:
        response.headers["Content-Disposition"] = attachment(path.rpartition("/")[2])
    response.headers["Content-Type"] = type_of(path)
    response.content_length = len(span)
    response.last_modified = file.mtime_ns // 10**9
    add_missing(response, HEADERS.items())
    await response.prepare(request)
    if request.method != "HEAD":
        await _send_span(response, file, span, workers)
    return response


async def _send_span(response: web.StreamResponse, file: OpenFile, span: range, workers: Workers) -> None:
    for start in range(span.start, span.stop, _CHUNK_BYTES):
        wanted = min(_CHUNK_BYTES, span.stop - start)
        chunk = await workers.do(file.read, start, wanted)
        if len(chunk) < wanted:
            # The length is promised already: cutting the connection is the only way left to say that it is wrong.
            raise ConnectionResetError("the file became shorter while it was read")
        await response.write(chunk)
    await response.write_eof()
