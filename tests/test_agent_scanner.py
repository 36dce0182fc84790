"""The walk sees every regular file, opens none, and passes over what must not be shipped."""

import os
import socket

import pytest

from ml_logger.agent.scanner import QUIET_SHARE, Walk, signature_of


class Watched:
    """A walk of a folder with a clock that the test sets."""

    def __init__(self, root, include=("*",), exclude=()):
        self.now_s = 0.0
        self.walk = Walk(
            root,
            include=include,
            exclude=exclude,
            interval_s=5.0,
            quiet_interval_s=60.0,
            steady_s=self.read_clock,
        )
        self.meanwhile = None

    def read_clock(self):
        """Tell the time; what happens `meanwhile` happens now, once: in a look, after the files named and before a folder."""
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        return self.now_s

    def changes(self, folders=None):
        """Look, and return the paths that changed and those that are gone."""
        found = self.walk.look(folders)
        return {f.path for f in found.changed}, set(found.gone)


def scan(root, include=("*",), exclude=()):
    found = Watched(root, include, exclude).walk.look()
    return found.changed, found.problems


def paths(root, include=("*",), exclude=()):
    files, problems = scan(root, include=include, exclude=exclude)
    assert problems == ()
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


def test_a_look_tells_what_is_different(tmp_path):
    """New, grown, replaced and removed files are told once each, in known and in new folders."""
    watched = Watched(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").write_bytes(b"1")
    (tmp_path / "a" / "grows").write_bytes(b"1")
    assert watched.changes() == ({"a/kept", "a/grows"}, set())
    assert watched.changes() == (set(), set())
    (tmp_path / "a" / "grows").write_bytes(b"12")
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "new").touch()
    assert watched.changes() == ({"a/grows", "b/c/new"}, set())
    (tmp_path / "a" / "kept").unlink()
    (tmp_path / "b").rename(tmp_path / "d")
    assert watched.changes() == ({"d/c/new"}, {"a/kept", "b/c/new"})
    assert set(watched.walk.paths()) == {"a/grows", "d/c/new"}


@pytest.mark.parametrize("places", [None, ["a"], ["a/f"], [""]])
def test_a_folder_that_became_a_file_is_no_problem(tmp_path, places):
    """Wherever the walk looks first, the folder is forgotten and the file is found."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/f").touch()
    watched = Watched(tmp_path)
    watched.changes()
    (tmp_path / "a/f").unlink()
    (tmp_path / "a").rmdir()
    (tmp_path / "a").write_bytes(b"1")
    watched.changes(places)
    watched.now_s += 100.0
    assert watched.walk.look([]).problems == ()
    assert [f.path for f in watched.walk.files()] == ["a"]


def test_a_file_that_becomes_a_folder_and_back(tmp_path):
    """A name that changes its kind is one thing gone and another come."""
    watched = Watched(tmp_path)
    (tmp_path / "x").touch()
    assert watched.changes() == ({"x"}, set())
    (tmp_path / "x").unlink()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").touch()
    assert watched.changes() == ({"x/y"}, {"x"})


def test_quiet_folders_are_looked_into_less_often(tmp_path):
    """The time between two looks doubles while nothing happens, up to the longest, and starts anew with a change."""
    watched = Watched(tmp_path)
    (tmp_path / "f").touch()
    watched.changes()
    waits_s = []
    for _ in range(6):
        waits_s.append(watched.walk.next_look_in_s())
        watched.now_s += waits_s[-1]
        watched.changes([])
    assert waits_s == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    (tmp_path / "f").write_bytes(b"1")
    assert watched.changes([]) == (set(), set())
    watched.now_s += 60.0
    assert watched.changes([]) == ({"f"}, set())
    assert watched.walk.next_look_in_s() == 5.0


def test_a_spool_that_takes_long_to_walk_is_walked_less_often(tmp_path, monkeypatch):
    """Where a walk takes seconds, quiet folders wait until walking is a small share of the time; busy ones do not."""
    watched = Watched(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "f").touch()
    real, listed = Walk._list, []

    def slow(walk, path):
        watched.now_s += 0.5
        listed.append(path)
        return real(walk, path)

    monkeypatch.setattr(Walk, "_list", slow)
    watched.changes()
    while watched.now_s < 20_000:
        watched.now_s += max(watched.walk.next_look_in_s(), 0.1)
        watched.changes([])
        if watched.now_s < 2_000:
            listed.clear()
    assert 0.5 < 0.5 * len(listed) / 18_000 / QUIET_SHARE < 1.2
    (tmp_path / "a" / "f").write_bytes(b"1")
    assert watched.changes(["a/f"]) == ({"a/f"}, set())
    assert watched.walk.next_look_in_s() <= 5.0
    (tmp_path / "b").rmdir()
    watched.changes()
    assert watched.walk._cost_s == pytest.approx(1.0)


def test_a_named_folder_is_looked_into_at_once(tmp_path):
    """An event names a folder; one that is not known yet is reached from the nearest known one above it."""
    watched = Watched(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "other").mkdir()
    watched.changes()
    (tmp_path / "a" / "f").touch()
    (tmp_path / "other" / "g").touch()
    assert watched.changes(["a"]) == ({"a/f"}, set())
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "h").touch()
    assert watched.changes(["a/b/c"]) == ({"a/b/c/h"}, set())
    assert watched.changes() == ({"other/g"}, set())


def test_a_named_file_is_looked_at_alone(tmp_path):
    """A file that an event names is found new, grown, replaced or gone; what else is in its folder waits for its turn."""
    watched = Watched(tmp_path, include=("*.jsonl", "a"), exclude=("*.tmp.jsonl",))
    (tmp_path / "a").mkdir()
    watched.changes()
    for name in ("m.jsonl", "unheard.jsonl", "x.tmp.jsonl", ".hidden.jsonl", "x.pt"):
        (tmp_path / "a" / name).write_bytes(b"1")
    named = [f"a/{name}" for name in ("m.jsonl", "x.tmp.jsonl", ".hidden.jsonl", "x.pt", "never-there.jsonl")]
    assert watched.changes(named) == ({"a/m.jsonl"}, set())
    assert watched.changes(named) == (set(), set())
    (tmp_path / "a" / "m.jsonl").write_bytes(b"12")
    assert watched.changes(["a/m.jsonl"]) == ({"a/m.jsonl"}, set())
    assert watched.walk.size_bytes == 2
    (tmp_path / "a" / "m.jsonl").unlink()
    assert watched.changes(["a/m.jsonl"]) == (set(), {"a/m.jsonl"})
    assert watched.walk.size_bytes == 0
    watched.now_s += watched.walk.next_look_in_s()
    assert watched.changes([]) == ({"a/unheard.jsonl"}, set())


def test_a_busy_folder_is_looked_into_all_the_same(tmp_path):
    """News of one file do not put off the look at its folder, which finds what nobody heard of."""
    watched = Watched(tmp_path)
    (tmp_path / "m.jsonl").touch()
    watched.changes()
    (tmp_path / "unheard").touch()
    found = set()
    for number in range(1, 12):
        watched.now_s += 0.5
        (tmp_path / "m.jsonl").write_bytes(b"x" * number)
        found |= watched.changes(["m.jsonl"])[0]
    assert found == {"m.jsonl", "unheard"}


@pytest.mark.parametrize("then_s", [-3600, 3600])
def test_a_file_that_changes_within_a_look_is_told_as_it_was_last(tmp_path, then_s):
    """Named, and found in another state with its folder in the same look, it is told once; its times may have gone back."""
    watched = Watched(tmp_path)
    file = tmp_path / "f"
    file.touch()
    watched.changes()
    file.write_bytes(b"1")
    at_s = file.stat().st_mtime + then_s
    watched.now_s += 5.0
    watched.meanwhile = lambda: os.utime(file, (at_s, at_s))
    (told,) = watched.walk.look(["f"]).changed
    assert told == watched.walk.find("f")
    assert told.signature == signature_of(file.stat())


def test_a_file_that_goes_within_a_look_is_gone(tmp_path):
    """Named, and not found with its folder in the same look, it is not told as changed as well."""
    watched = Watched(tmp_path)
    watched.changes()
    (tmp_path / "f").touch()
    watched.now_s += 5.0
    watched.meanwhile = (tmp_path / "f").unlink
    assert watched.changes(["f"]) == (set(), {"f"})


def test_a_named_file_that_became_something_else(tmp_path):
    """Where a file stood there is a folder, a link or nothing that can be listed: its folder is looked into."""
    watched = Watched(tmp_path / "spool")
    folder = tmp_path / "spool" / "a"
    folder.mkdir(parents=True)
    for name in ("x", "y"):
        (folder / name).touch()
    assert watched.changes() == ({"a/x", "a/y"}, set())
    (folder / "x").unlink()
    (folder / "x" / "z").mkdir(parents=True)
    (folder / "x" / "z" / "f").touch()
    (folder / "y").unlink()
    (folder / "y").symlink_to(folder / "x" / "z" / "f")
    assert watched.changes(["a/x", "a/y"]) == ({"a/x/z/f"}, {"a/x", "a/y"})


def test_a_file_is_not_gone_because_its_spool_is_away(tmp_path):
    """A file that is named while the whole spool is away (a mount) is not taken for deleted."""
    root = tmp_path / "spool"
    root.mkdir()
    (root / "f").touch()
    watched = Watched(root)
    watched.changes()
    root.rename(tmp_path / "away")
    assert watched.changes(["f"]) == (set(), set())
    (tmp_path / "away").rename(root)
    assert watched.changes() == (set(), set())


def test_what_is_known_survives_a_folder_that_can_not_be_listed(tmp_path):
    """A root that is gone is a problem; nothing in it counts as gone, and when it is back nothing counts as new."""
    root = tmp_path / "spool"
    (root / "a").mkdir(parents=True)
    (root / "a" / "f").touch()
    watched = Watched(root)
    watched.changes()
    root.rename(tmp_path / "away")
    found = watched.walk.look()
    assert found.gone == ()
    assert [p.path for p in found.problems] == [str(root)]
    (tmp_path / "away").rename(root)
    found = watched.walk.look()
    assert (found.changed, found.gone, found.problems) == ((), (), ())


def test_the_size_of_all_is_known_without_counting(tmp_path):
    """`size_bytes` is what the files known hold together, whatever came, grew, went or was noted as deleted."""
    watched = Watched(tmp_path, exclude=("*.tmp",))

    def looked_at():
        watched.walk.look(None)
        assert watched.walk.size_bytes == sum(f.signature.size for f in watched.walk.files())
        return watched.walk.size_bytes

    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_bytes(b"1")
    (tmp_path / "a/b/two").write_bytes(b"22")
    (tmp_path / "a/no.tmp").write_bytes(b"333")
    assert looked_at() == 3
    (tmp_path / "a/one").write_bytes(b"1" * 10)
    assert looked_at() == 12
    (one,) = [f for f in watched.walk.files() if f.path == "a/one"]
    (tmp_path / "a/one").unlink()
    watched.walk.note_gone([one, one])
    assert watched.walk.size_bytes == 2
    assert watched.walk.look([]).gone == ("a/one",)
    assert looked_at() == 2
    (tmp_path / "a/b/two").unlink()
    (tmp_path / "a/b").rmdir()
    assert looked_at() == 0


def test_a_file_that_came_anew_is_not_gone(tmp_path):
    """Noting the deletion of a file's former state takes nothing from the file that has its name by now."""
    watched = Watched(tmp_path)
    (tmp_path / "f").write_bytes(b"1")
    (former,) = watched.walk.look(None).changed
    (tmp_path / "f").write_bytes(b"22")
    watched.walk.look(None)
    watched.walk.note_gone([former])
    assert watched.walk.size_bytes == 2
    assert watched.changes() == (set(), set())
