"""Agreeing with the receiver on one file: under which name it is shipped and from which position on.

What both sides hold decides, byte for byte, never a memory: a lost ledger, a copied spool, a log that was truncated or
rotated and a second machine with the same run name are all answered by comparing the receiver's CRC with the file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import dropwhile

from .. import layout
from ..wire import Held
from . import local_file
from .ledger import Entry
from .scanner import LocalFile

log = logging.getLogger(__name__)

Stat = Callable[[Sequence[str]], list[Held | None]]


def agree_on_stream(
    file: LocalFile, fd: int, plain: str, source: str, *, refused: str | None, stat: Stat
) -> Entry | None:
    """Return the name and position to go on from, or None if every name holds other bytes.

    The candidates follow from the stream's first lines, the last one from the sender (`layout.other_names`).
    `refused` is a name the receiver has already answered `diverged` for: the search goes on behind it. The last name
    comes before one that is free if it holds a beginning of this stream, which went there before its first line was whole.
    """
    content = local_file.read_range(fd, 0, min(file.signature.size, layout.NAME_WINDOW_BYTES))
    names = [plain, *layout.other_names(plain, content, source)]
    if refused in names:
        names = list(dropwhile(lambda name: name != refused, names))[1:]
    found = [try_agree(file, fd, name, held) for name, held in zip(names, stat(names) if names else (), strict=True)]
    agreed = [entry for entry in found if entry is not None]
    if not agreed:
        return None
    own = found[-1]
    entry = own if own is not None and agreed[0].held is None and own.acked.size > 0 else agreed[0]
    if entry.remote != plain:
        log.warning("%s holds other bytes on the receiver: shipping as %s", ascii(plain), ascii(entry.remote))
    return entry


def try_agree(file: LocalFile, fd: int, name: str, held: Held | None) -> Entry | None:
    """Return where to go on with a stream under `name`, given what is `held` there, or None if that is other bytes."""
    if held is None or held.size > file.signature.size:
        return Entry(name, None, file.signature)  # if the receiver's is longer, only the receiver can compare
    if not local_file.holds_prefix(fd, held):
        return None
    is_done = held.size == file.signature.size
    return Entry(name, held, file.signature, is_done, local_file.mark_of(fd, held.size))


def agree_on_whole(file: LocalFile, fd: int, before: Entry, held: Held | None) -> Entry:
    """Return what is known of a whole file when the receiver holds `held`: done if it is the same, else all to send."""
    is_same = held is not None and held.size == file.signature.size and local_file.holds_prefix(fd, held)
    if held is None or not is_same or local_file.signature_now(fd) != file.signature:
        return Entry(before.remote, before.held, file.signature)
    return Entry(before.remote, held, file.signature, is_done=True)
