"""Names: keys turn back, hostile paths are refused, and every local name gets a remote one that a receiver stores."""

from __future__ import annotations

import os
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ml_logger import layout
from ml_logger.errors import BadPath

# every code point, lone surrogates included, and often the awkward ones
keys = st.text(st.characters() | st.sampled_from('%./\\:*?"<>|~\0\n\x7f\x85\ud800\udc80'), max_size=200)
# what a POSIX file system takes as one name
local_names = (
    st.binary(min_size=1, max_size=255)
    | st.text(st.sampled_from("a%.\n\\é\udcff~"), min_size=1, max_size=90).map(os.fsencode)
).filter(lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..") and len(raw) <= 255)
stream_names = st.sampled_from([layout.METRICS, layout.TEXT, "log", "events.out.tfevents.17.host", "a.b.c", "x.", ".x"])


# --- keys


@given(keys)
@example("")
@example("%")
@example(".")
@example("..")
@example("%2F")
@example("train/loss")
@example("~")
@example("model.pt.tmp")
@example("a~")
@example("x" * 197 + ".part")
@example("x" * 200 + "~")
@example("é" * 200)
@example("\ud800" * 100)
@example("." * 500)
@example("%" * 199 + "." * 199)
def test_a_key_turns_back(key: str) -> None:
    """Any key survives escaping, and what it becomes is a path that a receiver stores, in pieces of at most 201 bytes."""
    path = layout.escape_key(key)
    assert layout.unescape_key(path) == key
    assert layout.check_path(path) == layout.remote_path(path) == path
    assert all(len(piece.encode()) <= 201 and not layout.is_hidden(piece) for piece in path.split("/"))


@given(keys, keys)
def test_two_keys_never_share_a_path(one: str, two: str) -> None:
    """Different keys become different paths."""
    assume(one != two)
    assert layout.escape_key(one) != layout.escape_key(two)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("loss", "loss"),
        ("train/loss", "train%2Floss"),
        ("50%", "50%25"),
        (".hidden", "%2Ehidden"),
        ("draft~", "draft%7E"),
        ("model.tmp", "model%2Etmp"),
        ("~", "~"),
        ("a.b", "a.b"),
        ("", "%"),
        ("größe 日本", "größe 日本"),
        ("a\nb", "a%0Ab"),
        ("x" * 201, "x" * 200 + "%/x"),
    ],
)
def test_readable_keys_stay_readable(key: str, path: str) -> None:
    """The format is fixed: other programs and old directories rely on these very names."""
    assert layout.escape_key(key) == path


# --- parts of a stream


@given(stream_names, st.integers(0, 10_000))
def test_numbered_parts_are_known_again(stream: str, number: int) -> None:
    """`part_of` tells the number of every name that `numbered` makes."""
    assert layout.part_of(layout.numbered(stream, number), stream) == number


@pytest.mark.parametrize(
    "name",
    ["metrics.01.jsonl", "metrics.0.jsonl", "metrics.x.jsonl", "metrics.1.json", "metrics.1.jsonl.1", "1.jsonl", ""],
)
def test_other_files_are_no_parts(name: str) -> None:
    """Names that `numbered` never makes are no part of the stream."""
    assert layout.part_of(name, layout.METRICS) is None


# --- which files


def test_a_temporary_name_is_hidden_and_fits() -> None:
    """Scanners pass over a file that is being written, and its name fits the file system however long the final one is."""
    for name in ("a.png", "x" * 255):
        temporary = layout.temporary_name(name, "0" * 16)
        assert layout.is_hidden(temporary)
        assert len(temporary) <= 255


@pytest.mark.parametrize(
    "name", ["model.pt.tmp", "x.temp", "x.part", "x.partial", "x.filepart", "x.incomplete", "a.py~"]
)
def test_what_common_writers_call_their_half_files_is_hidden(name: str) -> None:
    """Scanners pass over it, not over the name that it gets in the end, and a copy of it can be given one that is shipped."""
    assert layout.is_hidden(name)
    assert not layout.is_hidden(name.rstrip("~").rpartition(".")[0] or "x")
    assert not layout.is_hidden(layout.unhidden(name))
    assert layout.unescape_key(layout.unhidden(name)) == name


@pytest.mark.parametrize("name", ["tmp", "part", "x.tmp.png", "x.parts", "tmp_x", "~", "~x", "x.TMP", "atmp"])
def test_what_only_looks_like_it_is_shipped(name: str) -> None:
    """An ending counts, as it is spelled, behind something."""
    assert not layout.is_hidden(name)
    assert layout.unhidden(name) == name


@pytest.mark.parametrize(
    ("path", "is_stream", "is_line_stream"),
    [
        ("run/metrics.jsonl", True, True),
        ("run/metrics.1.jsonl", True, True),
        ("a/b/text.log", True, True),
        ("a.csv", True, True),
        ("tb/events.out.tfevents.17.host.1.0", True, False),
        ("images/loss/0001.png", False, True),
        ("metrics.JSONL", False, True),
        ("log/model.pt", False, True),
    ],
)
def test_streams_are_known_by_their_last_component(path: str, is_stream: bool, is_line_stream: bool) -> None:
    """Append-only files are found by pattern, case included; all but event files consist of lines."""
    assert layout.matches_any(path, layout.STREAM_PATTERNS) == is_stream
    assert layout.is_line_stream(path) == is_line_stream


# --- paths on the wire

HOSTILE = [
    ("", "is empty"),
    ("/etc/passwd", "is absolute"),
    ("//a", "is absolute"),
    ("..", "component '..'"),
    ("../a", "component '..'"),
    ("a/../../b", "component '..'"),
    ("a/..", "component '..'"),
    (".", "component '.'"),
    ("a/./b", "component '.'"),
    ("a//b", "component ''"),
    ("a/", "component ''"),
    ("a\0b", "control character"),
    ("a\nb", "control character"),
    ("a\x1b[31m", "control character"),
    ("a\x7f", "control character"),
    ("a\x85", "control character"),
    ("a\\b", "backslash"),
    ("C:\\a", "backslash"),
    ("a\udcff", "lone surrogate"),
    ("a/" + "é" * 128, "component of more than 255 bytes"),
    ("/".join(["a" * 200] * 11), "has 2210 bytes"),
    ("/".join("a" * 65), "has 65 components"),
    (".ml-logger", "leads into .ml-logger/"),
    (".ml-logger/trash/x", "leads into .ml-logger/"),
    (".ML-Logger/x", "leads into .ml-logger/"),
]


@pytest.mark.parametrize(("path", "reason"), HOSTILE)
def test_a_hostile_path_is_refused_with_the_reason(path: str, reason: str) -> None:
    """Nothing that leaves the data directory, hides in it or breaks a terminal may be stored."""
    with pytest.raises(BadPath, match=reason) as refused:
        layout.check_path(path)
    assert refused.value.path == path
    assert refused.value.one_line().isascii()


@pytest.mark.parametrize("path", [None, 7, b"a", ["a"]])
def test_a_path_that_is_no_string_is_refused(path: object) -> None:
    """What JSON can put in a path's place is refused too."""
    with pytest.raises(BadPath, match="must be a string"):
        layout.check_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b.c",
        "...",
        "a..b/..c",
        "ü/日本/😀",
        " ",
        "a:b",
        "~",
        "%",
        "x/.ml-logger/y",
        "a" * 255,
        "/".join("a" * 64),
    ],
)
def test_an_odd_but_harmless_path_is_stored(path: str) -> None:
    """Names that a POSIX file system takes and that lead nowhere else are fine."""
    assert layout.check_path(path) == path


@given(st.text(st.sampled_from("a./\\\0\n%é\udcff"), max_size=30))
def test_a_path_that_passes_stays_inside(path: str) -> None:
    """Joined to a directory, no path that passes leads out of it."""
    try:
        layout.check_path(path)
    except BadPath:
        return
    assert os.path.normpath(os.path.join("/data", path)) == "/data/" + path


# --- local names on the wire


@given(st.lists(local_names, min_size=1, max_size=4))
@example([b"\xff" * 255])
@example([b"\n" * 255])
@example([b"a.\n" * 85])
@example([("é" * 127).encode() + b"\n"])
@example([b"\n" + b".a" * 127])
def test_every_local_name_has_a_remote_one(names: list[bytes]) -> None:
    """Whatever bytes a file is called by, the name it is shipped under is stored by a receiver, and always the same."""
    local = os.fsdecode(b"/".join(names))
    assume(not local.startswith("."))  # hidden, never shipped
    remote = layout.remote_path(local)
    assert layout.check_path(remote) == remote
    assert layout.remote_path(remote) == remote


@given(local_names, local_names)
@example(b"a\n", b"a%0A")
@example(b"a\xff", b"a%FF")
@example(b"\xff" * 255, b"\xff" * 254 + b"\xfe")
@example("é\n".encode(), "é".encode("latin-1") + b"\n")
def test_two_local_names_never_share_a_remote_one(one: bytes, two: bytes) -> None:
    """Two files of one folder are two files on the receiver, however alike their names."""
    assume(one != two)
    assert layout.remote_path(os.fsdecode(one)) != layout.remote_path(os.fsdecode(two))


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "größe 日本 😀", "50%", "a%0A", "~", "a b", "é" * 127, "train%2Floss"]
)
def test_a_name_that_fits_the_wire_is_kept(name: str) -> None:
    """`diff -r` of the two trees prints nothing for every name that is plain UTF-8."""
    assert layout.remote_path(f"run/{name}") == f"run/{name}"


def test_an_escaped_name_is_readable_and_keeps_its_suffix() -> None:
    """A name that the wire does not allow stays recognisable, and its type too."""
    remote = layout.remote_path("run/a\nb\udcff\\.jsonl")
    assert remote.startswith("run/a%0Ab%FF%5C")
    assert remote.endswith(".jsonl")


# --- names of diverged streams

lines = st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"") + b"\n"), min_size=1, max_size=40)


@given(lines, lines)
def test_diverged_names_are_stable_under_growth(first: list[bytes], more: list[bytes]) -> None:
    """The names to try only grow at their end as the stream does, so the same stream always finds its own file."""
    before = list(layout.diverged_names("run/metrics.jsonl", b"".join(first)))
    after = list(layout.diverged_names("run/metrics.jsonl", b"".join(first + more)))
    assert after[: len(before)] == before
    assert before


@given(lines, st.binary(min_size=1, max_size=20).map(lambda b: b.replace(b"\n", b"x")))
def test_a_line_still_being_written_changes_no_name(whole: list[bytes], torn: bytes) -> None:
    """Bytes behind the last newline do not count."""
    names = list(layout.diverged_names("m.jsonl", b"".join(whole)))
    assert list(layout.diverged_names("m.jsonl", b"".join(whole) + torn)) == names


def test_streams_that_part_later_part_in_a_later_name() -> None:
    """Two streams with the same first lines share the first names only, and get names of their own in the end."""
    shared = b"same\n" * 4
    one = list(layout.diverged_names("m.jsonl", shared + b"one\n" * 4))
    two = list(layout.diverged_names("m.jsonl", shared + b"two\n" * 4))
    assert len(one) == len(two) == 4
    assert one[:3] == two[:3]
    assert one[3] != two[3]


def test_an_unfinished_first_line_names_nothing() -> None:
    """A stream that has no whole line yet has only the sender's name, which stays the same as it grows."""
    assert list(layout.diverged_names("a.log", b"torn")) == list(layout.diverged_names("a.log", b"")) == []
    assert layout.other_names("a.log", b"torn", "me") == [layout.own_name("a.log", "me")]


@pytest.mark.parametrize(
    ("path", "start", "end"),
    [
        ("a/metrics.jsonl", "a/metrics~", ".jsonl"),
        ("a/metrics.1.jsonl", "a/metrics~", ".1.jsonl"),
        ("log", "log~", ""),
        ("a.b/c", "a.b/c~", ""),
    ],
)
def test_a_digest_stands_before_the_suffix(path: str, start: str, end: str) -> None:
    """A diverged file keeps its type and its place in the listing."""
    name = layout.digest_name(path, b"content")
    assert name.startswith(start)
    assert name.endswith(end)
    assert len(name) == len(start) + 8 + len(end)


@given(st.text(string.ascii_letters + ".é", min_size=1, max_size=255), st.binary(max_size=5))
@example("x" + ".a" * 127, b"")
@example("é" * 127 + ".", b"")
def test_a_digest_name_always_fits(name: str, content: bytes) -> None:
    """Whatever the name, the one with the digest is stored by a receiver."""
    assume(not name.startswith(".") and len(name.encode()) <= 255)
    remote = layout.digest_name(f"run/{name}", content)
    assert layout.check_path(remote) == remote
