"""Reading: what of one file is ready to go, as the item and the bytes of a batch.

A stream gives its bytes from the acknowledged position to the last whole line, and the rest once no writer is left. A whole
file gives itself, in parts if it is large, and only while it stays in the state that was scanned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from .. import layout, wire
from ..wire import NOTHING, Held, Item, Offset
from . import local_file
from .ledger import Entry
from .local_file import Behind
from .scanner import LocalFile, Problem, Signature
from .settling import Settling


class Piece(NamedTuple):
    """Bytes of one file that are ready to go, the state it was read in, and whether nothing ready is left behind them.

    `plain` is the file's name on the receiver where no other bytes have it; `mark` is that of the file up to the end of these
    bytes, where it has one.
    """

    file: LocalFile
    plain: str
    item: Item
    payload: bytes | memoryview
    signature: Signature
    is_last: bool
    mark: local_file.Mark | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """The bytes behind a stream's last whole line, which wait: for `settles_in_s`, or (None) for their living writer."""

    size_bytes: int
    settles_in_s: float | None


@dataclass(frozen=True, slots=True)
class _Upload:
    name: str
    signature: Signature
    staged: Held = NOTHING


def maybe_following(fd: int, piece: Piece, room: int) -> Piece | None:
    """Return the piece of `room` bytes behind `piece` of the open file, as if that were stored.

    None if it would be the last, which takes a closer look, or holds no whole line, or the file is not what it was.
    """
    before, now = piece.item, local_file.signature_now(fd)
    if now.size - before.end <= room or (before.op == "stage" and now != piece.signature):
        return None
    chunk = local_file.read_range(fd, before.end, room)
    is_cut = before.op == "append" and layout.is_line_stream(piece.file.path)
    payload = memoryview(chunk)[: local_file.whole_lines_end(chunk, 0)] if is_cut else chunk
    if not payload:
        return None
    crc = wire.crc32(payload, before.crc)
    item = before._replace(offset=before.end, length=len(payload), crc_before=before.crc, crc=crc)
    mark = local_file.mark_of(fd, item.end) if before.op == "append" else None
    return piece._replace(item=item, payload=payload, signature=now, mark=mark)


class PieceReader:
    """Reads pieces, and remembers between them the uploads under way and the unfinished lines."""

    def __init__(self, settling: Settling, settle_s: float) -> None:
        self._settling = settling
        self._settle_s = settle_s
        self._uploads: dict[str, _Upload] = {}
        self._tails: dict[str, Tail] = {}

    def forget(self, path: str) -> None:
        """Drop what is remembered of `path`."""
        self._uploads.pop(path, None)
        self._tails.pop(path, None)

    # --- streams

    def read_stream(
        self, file: LocalFile, plain: str, entry: Entry, fd: int, now: Signature, behind: Behind
    ) -> Piece | None:
        """Return what of the bytes `behind` the acknowledged ones is ready to go, None if nothing is.

        `now` is the state that the open file was in before they were read.
        """
        start, crc, chunk = entry.acked.size, entry.acked.crc, behind.chunk
        end = self._cut(file, fd, chunk, start, now.size)
        if end == start and now.size > 0:
            return None
        payload = memoryview(chunk)[: end - start]  # a slice would copy
        item = Item(entry.remote, "append", start, len(payload), crc, wire.crc32(payload, crc))
        mark = behind.mark(len(payload)) or local_file.mark_of(fd, end)
        return Piece(file, plain, item, payload, now, start + len(chunk) == now.size, mark)

    def _cut(self, file: LocalFile, fd: int, chunk: bytes, start: Offset, size: int) -> Offset:
        """Return where this chunk may end: at a line's end, unless no more of the line will come."""
        self._tails.pop(file.path, None)
        end = Offset(start + len(chunk))
        if not layout.is_line_stream(file.path) or chunk.endswith(b"\n") or not chunk:
            return end
        lines_end = local_file.whole_lines_end(chunk, start)
        if end < size and (lines_end > start or local_file.has_newline(fd, end, size)):
            return lines_end if lines_end > start else end  # a line longer than a batch goes in parts once it is whole
        if self._is_final(file, fd, Tail(size - lines_end, None)):
            return end
        return lines_end

    def _is_final(self, file: LocalFile, fd: int, tail: Tail) -> bool:
        """Whether nothing more will come: the file has settled (foreign writers take no lock) and no lock is held."""
        wait_s = self._settle_s - self._settling.age_s(file)
        if wait_s <= 0 and local_file.is_writer_gone(fd):
            return True
        self._tails[file.path] = replace(tail, settles_in_s=wait_s if wait_s > 0 else None)
        return False

    def tail_of(self, path: str) -> Tail | None:
        """Return the unfinished last line of `path`, None if there is none that waits."""
        return self._tails.get(path)

    def tail_problems(self) -> list[Problem]:
        """Return the unfinished lines, as what is left to ship."""
        return [Problem(p, f"{t.size_bytes} bytes of a line that is not finished yet") for p, t in self._tails.items()]

    # --- whole files

    def read_whole(self, file: LocalFile, plain: str, entry: Entry, fd: int, room: int) -> Piece | None:
        """Return the next piece of at most `room` bytes of the open file, None if it is not what was scanned."""
        upload = self._upload(file)
        start, size = upload.staged.size, upload.signature.size
        length = min(room, size - start)
        payload = local_file.read_range(fd, start, length)
        if local_file.signature_now(fd) != upload.signature or len(payload) != length:
            return None  # it changed since the scan; the next one sees that
        is_last = start + length == size
        item = Item(
            entry.remote,
            "commit" if is_last else "stage",
            start,
            length,
            upload.staged.crc,
            wire.crc32(payload, upload.staged.crc),
            upload=upload.name,
            replaces=entry.held if is_last else None,
            mtime_ns=max(0, upload.signature.mtime_ns) if is_last else None,
        )
        return Piece(file, plain, item, payload, upload.signature, is_last)

    def _upload(self, file: LocalFile, attempt: int = 0) -> _Upload:
        upload = self._uploads.get(file.path)
        if upload is None or upload.signature != file.signature or attempt:
            state = file.signature
            upload = _Upload(f"{state.size:x}-{state.mtime_ns:x}-{state.ino:x}-{state.dev:x}-{attempt:x}", state)
            self._uploads[file.path] = upload
        return upload

    def is_uploading(self, file: LocalFile) -> bool:
        """Whether an upload of this version of `file` is under way."""
        upload = self._uploads.get(file.path)
        return upload is not None and upload.signature == file.signature

    def staged_bytes(self, file: LocalFile) -> int:
        """Return how much of this version of `file` the receiver has built already."""
        upload = self._uploads.get(file.path)
        return upload.staged.size if upload is not None and upload.signature == file.signature else 0

    def note_staged(self, file: LocalFile, staged: Held) -> None:
        """Remember that the receiver has built `staged` of this version of `file`."""
        self._uploads[file.path] = replace(self._upload(file), staged=staged)

    def restart_upload(self, file: LocalFile, attempt: int) -> None:
        """Build this version of `file` anew, under another name: what was built is not what the file holds."""
        self._upload(file, attempt)

    def end_upload(self, path: str) -> None:
        """Forget the upload of `path`: it is stored, or will go elsewhere."""
        self._uploads.pop(path, None)
