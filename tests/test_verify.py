"""The comparison finds every difference between a spool and its mirror, and nothing else."""

import os

import pytest

from ml_logger.layout import remote_path
from ml_logger.verify import compare_trees, first_difference


@pytest.fixture
def trees(tmp_path):
    for tree in ("spool", "mirror"):
        (tmp_path / tree / "run/images").mkdir(parents=True)
        (tmp_path / tree / "run/metrics.jsonl").write_bytes(b"one\ntwo\n")
        (tmp_path / tree / "run/images/0001.png").write_bytes(b"")
    return tmp_path / "spool", tmp_path / "mirror"


def test_equal_trees(trees):
    """Equal trees are reported in one line with files and bytes."""
    found = compare_trees(*trees)
    assert found.is_equal
    assert found.report() == "equal: 2 files, 8 bytes"


def test_each_kind_of_difference(trees):
    """Missing, extra, longer, shorter and changed files are all named, with the first byte that differs."""
    spool, mirror = trees
    (spool / "a").write_bytes(b"missing")
    (mirror / "b").write_bytes(b"extra")
    (spool / "longer").write_bytes(b"abcd")
    (mirror / "longer").write_bytes(b"ab")
    (spool / "changed").write_bytes(b"abcd")
    (mirror / "changed").write_bytes(b"abXd")
    found = compare_trees(spool, mirror)
    assert (found.missing, found.extra, found.differs) == (["a"], ["b"], [("changed", 2), ("longer", 2)])
    assert found.report().splitlines() == [
        "missing 'a'",
        "extra 'b'",
        "differs at byte 2 'changed'",
        "differs at byte 2 'longer'",
    ]


def test_what_is_no_part_of_it(trees):
    """Dotfiles of the spool and the receiver's own folder are passed over; a dotfile in the mirror is extra."""
    spool, mirror = trees
    (spool / ".ml-logger-agent").mkdir()
    (spool / ".ml-logger-agent/ledger").write_text("state")
    (spool / "run/.0002.png.tmp-1").write_text("half")
    (mirror / ".ml-logger").mkdir()
    (mirror / ".ml-logger/store").write_text("state")
    assert compare_trees(spool, mirror).is_equal
    (mirror / "run/.ml-logger").mkdir()
    (mirror / "run/.ml-logger/x").touch()
    assert compare_trees(spool, mirror).extra == ["run/.ml-logger/x"]


def test_names_as_they_are_shipped(trees):
    """A spool name that the wire does not allow is looked for under its escaped name."""
    spool, mirror = trees
    for name in ("tab\there", "back\\slash", os.fsdecode(b"latin\xe9"), "100%", "学"):
        (spool / name).write_text(repr(name))
        (mirror / remote_path(name)).write_text(repr(name))
    assert compare_trees(spool, mirror).is_equal


def test_difference_past_the_first_chunk(tmp_path):
    """The offset is right in large files too, and a torn tail differs where it begins."""
    one, other = tmp_path / "one", tmp_path / "other"
    data = os.urandom(3 << 20)
    one.write_bytes(data)
    other.write_bytes(data)
    assert first_difference(one, other) == (len(data), None)
    for offset in (0, (1 << 20) - 1, 1 << 20, len(data) - 1):
        other.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        assert first_difference(one, other) == (offset, offset)
    other.write_bytes(data[: 2 << 20])
    assert first_difference(one, other) == (2 << 20, 2 << 20)


def test_progress_sees_every_pair(trees):
    """The caller's progress bar is given all pairs that will be compared."""
    seen = []
    compare_trees(*trees, lambda pairs: seen.extend(pairs) or pairs)
    assert [path for path, _, _ in seen] == ["run/images/0001.png", "run/metrics.jsonl"]
