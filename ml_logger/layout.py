"""Names: what a file in a run directory is called, and what it is called on the receiver.

Pure: no function here touches a file system. Three rules that agent, receiver and reader share:

- A key becomes **one path component** (`escape_key`), percent-escaped so that any name is safe and can be turned back.
- A stream has **numbered parts** (`numbered`): ``metrics.jsonl``, ``metrics.1.jsonl``, … each with one writer for life.
- A path on the wire is relative, UTF-8, with ``/`` between components (`check_path`). A local name that does not fit
  (bytes that are not UTF-8, control characters, a backslash) is shipped under an escaped one (`remote_path`).
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from urllib.parse import unquote_to_bytes

from .errors import BadPath

METRICS = "metrics.jsonl"
PARAMETERS = "parameters.jsonl"
HISTOGRAMS = "histograms.jsonl"
TEXT = "text.log"
RUN = "run.jsonl"

STREAM_PATTERNS = ("*.jsonl", "*.log", "*.txt", "*.csv", "events.out.tfevents.*")
"""Names of append-only files; everything else is a whole file."""

COMPRESSED_PATTERNS = (
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.mp4", "*.webm", "*.mp3", "*.ogg", "*.pdf", "*.npz", "*.gz"),
    *("*.tgz", "*.bz2", "*.xz", "*.zst", "*.zip", "*.7z", "*.parquet", "*.safetensors", "*.pt", "*.pth"),
)
"""Names of files that compression makes no smaller: pictures, archives, and weights, which look like noise."""

RECEIVER_DIR = ".ml-logger"
"""The receiver's own directory in its data directory; no path on the wire may lead into it."""

AGENT_DIR = ".ml-logger-agent"
"""The agent's default state directory in the spool; like every dotfile it is never shipped."""

AGENT_STATUS = "status.json"
AGENT_LOCK = "agent.lock"
"""In it: what the agent last said of itself, and the lock that it holds for as long as it lives."""

TEMPORARY_SUFFIXES = (".tmp", ".temp", ".part", ".partial", ".filepart", ".incomplete", ".crdownload", "~")
"""What common writers put behind a name until the file is whole and gets its own, and editors behind that of a backup.

They are those of checkpoint writers and downloads in general, of WinSCP, the Hugging Face hub, Chrome, Emacs and Vim. What has
a leading dot anyway (``.x.swp``, ``.nfs…``, rsync's ``.x.a1b2c3``) needs no place here. Case matters, as in patterns.
"""

NAME_WINDOW_BYTES = 16 << 20
"""How much of a stream is looked at for a name of its own, where its plain name holds other bytes."""

MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 2048
MAX_PATH_DEPTH = 64

_remembered = functools.lru_cache(maxsize=1 << 12)
"""What follows from a name alone is asked several times whenever a live stream has grown: thousands of times a second."""

_KEY_PIECE_BYTES = 200
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}\Z")  # what nearly every key is: nothing to escape
_PLAIN_COMPONENT = r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,99}"
_PLAIN_PATH = re.compile(rf"{_PLAIN_COMPONENT}(?:/{_PLAIN_COMPONENT}){{0,15}}\Z")  # what nearly every path is
_UNSAFE_IN_KEY = frozenset('%/\\:*?"<>|')
_SPLIT_SUFFIX = re.compile(r"^(.+?)((?:\.[A-Za-z0-9]{1,12}){0,3})\Z", re.DOTALL)
_DIVERGED = re.compile(r"(.+)~[0-9a-f]{8}((?:\.[A-Za-z0-9]{1,12}){0,3})\Z", re.DOTALL)
_PART_NUMBER = re.compile(r"^[1-9][0-9]{0,17}\Z")


def escape_key(key: str) -> str:
    """Return `key` as path text that is safe on every file system and that `unescape_key` turns back.

    Percent-escaped (UTF-8, lone surrogates included) are the separators, what Windows forbids, control characters, a
    leading dot, and the begin of a temporary ending (`TEMPORARY_SUFFIXES`). A result of more than 200 bytes goes on in a folder
    below: each piece but the last ends in a bare ``%``. The empty key is ``%``.
    """
    if _PLAIN_KEY.match(key) and not is_hidden(key):
        return key
    units = [_escape_character(c, is_first=i == 0) for i, c in enumerate(key)]
    if ending := _temporary_ending(key):
        units[-len(ending)] = _percent(ending[0])
    pieces, piece, size_bytes = [], "", 0
    for unit in units:
        if size_bytes + len(unit.encode()) > _KEY_PIECE_BYTES:
            pieces.append(piece + "%")
            piece, size_bytes = "", 0
            unit = "%2E" if unit == "." else unit
        piece += unit
        size_bytes += len(unit.encode())
    return "/".join([*pieces, piece]) if piece else "%"


def _escape_character(character: str, *, is_first: bool) -> str:
    is_control = unicodedata.category(character) in ("Cc", "Cs")
    if character in _UNSAFE_IN_KEY or is_control or (is_first and character == "."):
        return _percent(character)
    return character


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _temporary_ending(name: str) -> str:
    return next((suffix for suffix in TEMPORARY_SUFFIXES if name.endswith(suffix) and name != suffix), "")


def unhidden(name: str) -> str:
    """Return the file name `name` as one that scanners do not pass over: ``%2Ex`` for ``.x``, ``x%2Etmp`` for ``x.tmp``."""
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    ending = _temporary_ending(name)
    return f"{name[: -len(ending)]}{_percent(ending[0])}{ending[1:]}" if ending else name


def unescape_key(path: str) -> str:
    """Return the key that `escape_key` made `path` from."""
    if path == "%":
        return ""
    joined = path.replace("%/", "")
    return unquote_to_bytes(joined).decode("utf-8", "surrogatepass")


def numbered(name: str, number: int) -> str:
    """Return the name of part `number` of a stream: ``metrics.jsonl`` for 0, then ``metrics.1.jsonl``, …"""
    before, behind = _around_number(name)
    return f"{before}.{number}{behind}" if number else name


def _around_number(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


@_remembered
def part_of(name: str, stream: str) -> int | None:
    """Return which part of `stream` the file `name` is (0, 1, …), or None if it is none."""
    if name == stream:
        return 0
    before, behind = _around_number(stream)
    number = name[len(before) + 1 : len(name) - len(behind)]
    if _PART_NUMBER.match(number) and name == f"{before}.{number}{behind}":
        return int(number)
    return None


def unnumbered(name: str) -> str:
    """Return the name of a user's stream, the dot before a number escaped: ``a.1.jsonl`` would be a part of ``a.jsonl``."""
    before, behind = _around_number(name)
    stem, _, number = before.rpartition(".")
    return f"{stem}%2E{number}{behind}" if stem and _PART_NUMBER.match(number) else name


def temporary_name(name: str, token: str) -> str:
    """Return the name a whole file has while it is written; no scanner looks at it."""
    return f".{name[:200]}.tmp-{token}"


def is_hidden(name: str) -> bool:
    """Whether scanners pass over a file or folder of this name: a dotfile, or a temporary name (`TEMPORARY_SUFFIXES`)."""
    return name.startswith(".") or (name.endswith(TEMPORARY_SUFFIXES) and name != "~")


def matches_any(path: str, patterns: Sequence[str]) -> bool:
    """Whether a relative `path`, or its last component, matches one of the shell `patterns` (case matters)."""
    matches = _compiled(tuple(patterns)).match
    return matches(path.rpartition("/")[2]) is not None or matches(path) is not None


@functools.lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one expression for all `patterns`."""
    return re.compile("|".join(map(fnmatch.translate, patterns)) if patterns else r"(?!)")


@_remembered
def is_compressed(path: str) -> bool:
    """Whether the name says that compression would make the file no smaller."""
    return matches_any(path.casefold(), COMPRESSED_PATTERNS)


def is_line_stream(path: str) -> bool:
    """Whether a stream consists of lines, so that it is cut at the last newline (event files of TensorBoard do not)."""
    return not path.rpartition("/")[2].startswith("events.out.tfevents.")


def check_path(path: object) -> str:
    """Return `path` if a receiver may store it, else raise `BadPath` with the reason.

    A path is a non-empty relative UTF-8 string of at most 2048 bytes and 64 components of at most 255 bytes, without
    empty, ``.`` or ``..`` components, NUL, control characters, backslashes or lone surrogates, and outside
    ``.ml-logger/``.
    """
    if not isinstance(path, str):
        raise BadPath(f"a path must be a string, not {type(path).__name__}")
    reason = _why_refused(path)
    if reason is not None:
        raise BadPath(f"path {path[:80]!a} {reason}", path=path)
    return path


@_remembered
def _why_refused(path: str) -> str | None:
    if _PLAIN_PATH.match(path):
        return None
    if not path:
        return "is empty"
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        return "holds a lone surrogate"
    if size_bytes > MAX_PATH_BYTES:
        return f"has {size_bytes} bytes, more than {MAX_PATH_BYTES}"
    if path.startswith("/"):
        return "is absolute"
    if "\\" in path or not (path.isprintable() or all(unicodedata.category(character) != "Cc" for character in path)):
        return "holds a backslash or control character"
    components = path.split("/")
    if len(components) > MAX_PATH_DEPTH:
        return f"has {len(components)} components, more than {MAX_PATH_DEPTH}"
    if components[0].casefold() == RECEIVER_DIR:
        return f"leads into {RECEIVER_DIR}/"
    return next((why for why in map(_why_component_refused, components) if why), None)


def _why_component_refused(component: str) -> str | None:
    if component in ("", ".", ".."):
        return f"has the component {component!r}"
    if len(component.encode()) > MAX_COMPONENT_BYTES:
        return f"has a component of more than {MAX_COMPONENT_BYTES} bytes"
    return None


def remote_path(local_path: str) -> str:
    """Return the name a local relative path is shipped under: itself wherever the wire allows it.

    `local_path` is as the operating system gives it (undecodable bytes as surrogates, PEP 383). A component that is not
    UTF-8 or holds a control character or backslash has those bytes and ``%`` percent-escaped, is cut to 255 bytes, and
    carries ``~`` and a digest of the true name: every name the wire allows is already some file's own, so without it the
    file ``a%0A`` and the file ``a`` + newline would overwrite each other.
    """
    if local_path.isascii() and local_path.isprintable() and "\\" not in local_path:
        return local_path  # what nearly every path is
    return "/".join(_remote_component(component) for component in local_path.split("/"))


def _remote_component(component: str) -> str:
    if all(c != "\\" and unicodedata.category(c) not in ("Cc", "Cs") for c in component):
        return component
    raw = os.fsencode(component)
    text = raw.decode("utf-8", "surrogateescape")
    return digest_name("".join(_escape_for_wire(c) for c in text), raw)


def _escape_for_wire(character: str) -> str:
    if character in "%\\" or unicodedata.category(character) in ("Cc", "Cs"):
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
    return character


def plain_name(local_path: str, remote_prefix: str) -> str:
    """Return the name a local path has on the receiver unless other bytes are there."""
    name = remote_path(local_path)
    return f"{remote_prefix}/{name}" if remote_prefix else name


def digest_name(path: str, content: bytes) -> str:
    """Return `path` with a short digest of `content` in it: ``a/metrics.jsonl`` becomes ``a/metrics~1f2e3d4c.jsonl``.

    Used where two machines ship different bytes under one name, so that both are kept.
    """
    folder, slash, name = path.rpartition("/")
    match = _SPLIT_SUFFIX.match(name)
    stem, suffix = (match[1], match[2]) if match else (name, "")
    digest = hashlib.sha256(content).hexdigest()[:8]
    room = MAX_COMPONENT_BYTES - len(suffix) - len(digest) - 1
    stem = stem.encode()[:room].decode("utf-8", "ignore")
    return f"{folder}{slash}{stem}~{digest}{suffix}"


def undiverged(name: str) -> str:
    """Return the name that `digest_name` made `name` from, or `name` itself if it has no digest in it."""
    match = _DIVERGED.match(name)
    return f"{match[1]}{match[2]}" if match else name


def diverged_names(path: str, content: bytes) -> Iterator[str]:
    """Yield the names to try, in order, for a stream whose plain name holds other bytes.

    The digest is of the first line, then of the first 2, 4, 8, … lines of `content`: whatever grows behind them, the same
    bytes give the same names, so nothing has to be remembered. Ends when `content` has no further line; of an unfinished first
    line there is no name, since it would be another one a moment later.
    """
    end, wanted, seen = 0, 1, 0
    while True:
        while seen < wanted:
            newline = content.find(b"\n", end)
            if newline < 0:
                return
            end, seen = newline + 1, seen + 1
        yield digest_name(path, content[:end])
        wanted *= 2


def own_name(plain: str, source: str) -> str:
    """Return the name of a file of this sender where another sender's file has the plain one; both are kept."""
    return digest_name(plain, source.encode())


def other_names(plain: str, content: bytes, source: str) -> list[str]:
    """Return all names a file may be shipped under where the plain one holds other bytes, in order.

    `content` is its first `NAME_WINDOW_BYTES`; whole files are shipped under the last of these names only.
    """
    return [*diverged_names(plain, content), own_name(plain, source)]
