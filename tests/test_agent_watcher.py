"""The doorbell hears what happens in a spool, and what it can't hear is looked for."""

import os
import sys
import threading

import pytest
from processes import wait_until

from ml_logger.agent import inotify
from ml_logger.agent.watcher import Doorbell, Watcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


class Ear:
    """A watcher of a folder, and all that was heard since the test last asked."""

    def __init__(self, root):
        self.root = root
        self.doorbell = Doorbell()
        self.watcher = Watcher([root], self.doorbell)
        self.watcher.ensure_alive()
        self.complete, self.places = set(), set()

    def _relative(self, paths):
        return {os.path.relpath(path, self.root) for path in paths}

    def take(self):
        heard = self.doorbell.take()
        self.complete |= self._relative(heard.complete)
        self.places |= self._relative(heard.folders)

    def forget(self):
        self.complete, self.places = set(), set()

    def hears(self, *, complete=(), places=()):
        """Wait until all of these were heard of."""

        def is_heard():
            self.take()
            return self.complete >= set(complete) and self.places >= set(places)

        wait_until(is_heard, 20, f"{complete} {places}")

    def close(self):
        self.watcher.stop()
        self.doorbell.close()


@pytest.fixture
def ear(tmp_path):
    heard = Ear(tmp_path)
    yield heard
    heard.close()


def watched_folders():
    """Return how many watches this process has."""
    return sum(_watches_in(f"/proc/self/fdinfo/{name}") for name in os.listdir("/proc/self/fdinfo"))


def _watches_in(info):
    try:
        with open(info, encoding="ascii") as lines:
            return sum(line.startswith("inotify wd:") for line in lines)
    except FileNotFoundError:
        return 0


def test_appending_names_the_file_alone(ear, tmp_path):
    """A line that is appended is news of its file; its folder need not be listed."""
    with (tmp_path / "m.jsonl").open("ab", buffering=0) as file:
        ear.hears(places={"."})
        ear.forget()
        file.write(b"{}\n")
        ear.hears(places={"m.jsonl"})
        assert "." not in ear.places
        assert not ear.complete
    ear.hears(complete={"m.jsonl"})


def test_a_renamed_file_is_complete(ear, tmp_path):
    """What appears by rename, as the client's files do, is complete; its temporary name was never heard of."""
    (tmp_path / ".x.png.tmp-1").write_bytes(b"x")
    (tmp_path / ".x.png.tmp-1").rename(tmp_path / "x.png")
    ear.hears(complete={"x.png"}, places={"x.png"})
    assert ear.places == {"x.png"}


def test_removing_names_the_file(ear, tmp_path):
    """A file that was deleted or moved out is news."""
    (tmp_path / "one").touch()
    (tmp_path / "two").touch()
    ear.hears(complete={"one", "two"})
    ear.forget()
    (tmp_path / "one").unlink()
    (tmp_path / "two").rename(tmp_path / ".two")
    ear.hears(places={"one", "two"})


def test_new_folders_are_listened_to(ear, tmp_path):
    """A folder that was made, with what is in it by then, is watched, once each; a hidden one is not."""
    before = watched_folders()
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / ".hidden" / "d").mkdir(parents=True)
    wait_until(lambda: watched_folders() == before + 3, 20, "three more watches")
    ear.hears(places={".", "a"})
    (tmp_path / "a" / "b" / "c" / "f").write_bytes(b"x")
    ear.hears(complete={"a/b/c/f"})


def test_a_moved_folder_is_heard_where_it_is(ear, tmp_path):
    """After a folder was renamed, its files are heard of under the new name, and the old one may come again."""
    before = watched_folders()
    (tmp_path / "a" / "b").mkdir(parents=True)
    wait_until(lambda: watched_folders() == before + 2, 20, "two watches")
    (tmp_path / "a").rename(tmp_path / "z")
    (tmp_path / "a").mkdir()
    wait_until(lambda: watched_folders() == before + 3, 20, "a watch on the new folder")
    ear.hears(places={"a", "z"})
    (tmp_path / "z" / "b" / "f").write_bytes(b"x")
    (tmp_path / "a" / "g").write_bytes(b"x")
    ear.hears(complete={"z/b/f", "a/g"})


def test_a_folder_that_left_the_spool_is_not_heard(ear, tmp_path, tmp_path_factory):
    """What happens in a folder that was moved out of the spool is nobody's news any more, and its watch is given back."""
    (tmp_path / "a").mkdir()
    ear.hears(places={"a"})
    before = watched_folders()
    away = tmp_path_factory.mktemp("away") / "a"
    (tmp_path / "a").rename(away)
    wait_until(lambda: watched_folders() == before - 1, 20, "one watch fewer")
    (away / "f").write_bytes(b"x")
    (tmp_path / "seen").write_bytes(b"x")
    ear.hears(complete={"seen"})
    assert ear.complete == {"seen"}


def test_deleted_folders_give_their_watches_back(ear, tmp_path):
    """A folder that was deleted is news for the one above it, and keeps no watch."""
    before = watched_folders()
    (tmp_path / "a").mkdir()
    wait_until(lambda: watched_folders() == before + 1, 20, "a watch")
    (tmp_path / "a").rmdir()
    ear.hears(places={".", "a"})
    wait_until(lambda: watched_folders() == before, 20, "the watch given back")


def test_links_are_not_followed(ear, tmp_path, tmp_path_factory):
    """A symbolic link to a folder is not watched."""
    other = tmp_path_factory.mktemp("other")
    before = watched_folders()
    (tmp_path / "link").symlink_to(other)
    (tmp_path / "after").mkdir()
    wait_until(lambda: watched_folders() == before + 1, 20, "the watch of the folder")


def test_lost_events_make_every_folder_news(ear, tmp_path, monkeypatch):
    """Where the kernel dropped events, every folder is looked into, and a folder that came unheard is watched."""
    (tmp_path / "a").mkdir()
    ear.hears(places={"a"})
    ear.forget()
    real = inotify.Inotify._read_raw
    monkeypatch.setattr(inotify.Inotify, "_read_raw", lambda self: [*list(real(self))[:0], (-1, inotify.OVERFLOW, b"")])
    (tmp_path / "b").mkdir()
    ear.hears(places={".", "a", "b"})
    monkeypatch.undo()
    (tmp_path / "b" / "f").write_bytes(b"x")
    ear.hears(complete={"b/f"})


def test_a_spool_that_went_away_ends_the_watch(ear, tmp_path):
    """When the spool itself is moved, nothing is watched any more: the timer looks, until there is one again."""
    root = tmp_path / "spool"
    root.mkdir()
    other = Ear(root)
    root.rename(tmp_path / "elsewhere")
    wait_until(lambda: not other.watcher.is_watching, 20, "the end of the watch")
    root.mkdir()
    other.watcher.ensure_alive()
    assert other.watcher.is_watching
    (root / "f").write_bytes(b"x")
    other.hears(complete={"f"})
    other.close()


def test_a_spool_that_is_gone_is_said_as_that(tmp_path, caplog):
    """Not as a limit of the system, which a person would raise in vain; once, until it is back."""
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.mkdir()
    doorbell = Doorbell()
    watcher = Watcher([there, gone], doorbell)
    for _ in range(3):
        watcher.ensure_alive()
    assert caplog.text.count(f"spool {gone} is gone") == 1
    assert "max_user_watches" not in caplog.text
    watcher.stop()
    doorbell.close()


def test_too_few_watches_for_a_new_folder(ear, tmp_path, monkeypatch, caplog):
    """At the limit of watches the watch ends, it is said once, and nobody tries again at every turn."""

    def refuse(self, path, mask):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(inotify.Inotify, "_add", refuse)
    (tmp_path / "one-too-many").mkdir()
    wait_until(lambda: not ear.watcher.is_watching, 20, "the end of the watch")
    for _ in range(3):
        ear.watcher.ensure_alive()
    assert not ear.watcher.is_watching
    assert caplog.text.count("can't watch the spool") == 1


def test_thousands_of_events_ring_once(ear, tmp_path):
    """While nobody takes the news, more of them do not ring again."""
    for number in range(2_000):
        (tmp_path / f"f{number}").touch()
    ear.hears(complete={f"f{number}" for number in range(2_000)})


def test_no_descriptor_is_left(tmp_path):
    """A watcher that was stopped has closed what it opened, whether it is stopped from here or from another thread."""
    Ear(tmp_path).close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        ear = Ear(tmp_path)
        closing = threading.Thread(target=ear.close)
        closing.start()
        closing.join()
    assert len(os.listdir("/proc/self/fd")) == before
