"""The walk sees every regular file, opens none, and passes over what must not be shipped."""

import os
import socket

import pytest

from ml_logger.agent.scanner import scan


def paths(root, include=("*",), exclude=()):
    files, problems = scan(root, include=include, exclude=exclude)
    assert problems == []
    return {f.path for f in files}


def test_regular_files_at_every_depth(tmp_path):
    """Files are named relative to the spool, with their size, whatever their names consist of."""
    deep = tmp_path / "a b" / "c\nd" / "ü"
    deep.mkdir(parents=True)
    (deep / "x").write_bytes(b"123")
    (tmp_path / os.fsdecode(b"\xff")).touch()
    files, _ = scan(tmp_path, include=("*",), exclude=())
    assert {(f.path, f.signature.size) for f in files} == {("a b/c\nd/ü/x", 3), ("\udcff", 0)}


def test_special_files_are_passed_over(tmp_path):
    """Symlinks (also to folders), FIFOs and sockets are neither reported nor followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "f")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        assert paths(tmp_path) == {"real/f"}


def test_hidden_names_are_passed_over(tmp_path):
    """Dotfiles, temporary names and everything in hidden folders stay where they are."""
    (tmp_path / ".ml-logger-agent").mkdir()
    (tmp_path / ".ml-logger-agent" / "ledger.sqlite").touch()
    (tmp_path / ".x.png.tmp-1234").touch()
    (tmp_path / "seen").touch()
    assert paths(tmp_path) == {"seen"}


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("*.jsonl",), (), {"r/m.jsonl"}),
        (("*",), ("*.pt",), {"r/m.jsonl", "r/t.log", "r/cache/x"}),
        (("*",), ("r/cache",), {"r/m.jsonl", "r/t.log", "r/c.pt"}),
        (("r/t*", "*.pt"), (), {"r/t.log", "r/c.pt"}),
        (("*",), ("R",), {"r/m.jsonl", "r/t.log", "r/c.pt", "r/cache/x"}),
    ],
)
def test_patterns(tmp_path, include, exclude, expected):
    """Patterns match the path or the name, with case; an excluded folder is not entered."""
    (tmp_path / "r" / "cache").mkdir(parents=True)
    for name in ("m.jsonl", "t.log", "c.pt", "cache/x"):
        (tmp_path / "r" / name).touch()
    assert paths(tmp_path, include, exclude) == expected


def test_a_folder_that_can_not_be_listed_is_a_problem(tmp_path, monkeypatch):
    """One unreadable folder is reported and the walk goes on around it."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "f").touch()
    real = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)  # tests run as root, for whom nothing is unreadable
    files, problems = scan(tmp_path, include=("*",), exclude=())
    assert [f.path for f in files] == ["open/f"]
    assert [(p.path, p.reason) for p in problems] == [("closed", "can't list this folder: Permission denied")]
