"""What leaves the spool is acknowledged, final and old, whatever happens in that very moment; all else stays."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pytest
from direct import Pair
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import Commands, assert_trees_equal, read_mirror, read_spool, wait_until

from ml_logger import ML_Logger
from ml_logger.agent import deletion, retention
from ml_logger.agent.config import RetentionSettings
from ml_logger.agent.deletion import Broom, Candidate, Errand, Swept
from ml_logger.agent.hiding import recover
from ml_logger.agent.janitor import Janitor
from ml_logger.agent.ledger import Entry
from ml_logger.agent.retention import Retention, plan
from ml_logger.agent.scanner import LocalFile, Signature, Walk, signature_of
from ml_logger.agent.settling import Clock
from ml_logger.errors import TryAgain
from ml_logger.layout import remote_path
from ml_logger.reader import Run
from ml_logger.wire import Crc, Held, Offset, crc32

LINE = b'{"_step": 1, "loss": 0.25}\n'
SETTLE_S = 2.0
DAY_S = 24 * 3600.0
OLD_S = 10 * DAY_S


class Home:
    """A spool whose files are shipped for real, and its retention; the clock is ahead of the real one by `ahead_s`."""

    def __init__(self, root: Path, **bounds: object) -> None:
        self.pair = Pair(root, settle_s=SETTLE_S)
        self.spool, self.mirror = self.pair.spool, self.pair.data_dir
        self.ahead_s = 0.0
        self.asked: list[list[str]] = []
        self.settings = RetentionSettings(**bounds)  # type: ignore[arg-type]
        self.clock = Clock(lambda: time.time_ns() + int(self.ahead_s * 1e9), lambda: self.ahead_s)
        self.walk = Walk(
            self.spool,
            include=("*",),
            exclude=(),
            interval_s=1.0,
            quiet_interval_s=1.0,
            steady_s=lambda: self.ahead_s,
        )
        self.in_grace: Callable[[], None] = lambda: None
        self.broom = self.new_broom()
        self.retention = Retention(self.settings, SETTLE_S, self.pair.ledger, self.walk, self.clock)

    def new_broom(self) -> Broom:
        return Broom(self.spool, self.stat, self.clock.wall_ns, lambda seconds: self.in_grace())

    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        self.asked.append(list(paths))
        return self.pair.transport.stat(paths)

    def ship(self) -> None:
        self.pair.drain()

    def sweep(self, ahead_s: float = OLD_S) -> list[Swept]:
        """Let time go by, look into the spool, and do all that is due."""
        self.ahead_s += ahead_s
        self.walk.look(None)
        done = []
        while (errand := self.retention.select()) is not None:
            done.append(self.broom.sweep(errand))
            self.retention.note(done[-1])
        return done

    def sweep_only(self, *, is_rehearsal: bool = False) -> Swept:
        """Do the one errand that is due after a long time."""
        self.ahead_s += OLD_S
        self.walk.look(None)
        errand = self.retention.select()
        assert errand is not None
        swept = self.broom.sweep(errand, is_rehearsal=is_rehearsal)
        self.retention.note(swept)
        return swept

    def names(self) -> set[str]:
        return {os.fsdecode(name) for name in read_spool(self.spool)}

    def close(self) -> None:
        self.pair.close()


MakeHome = Callable[..., Home]


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[MakeHome]:
    homes: list[Home] = []

    def make(**bounds: object) -> Home:
        homes.append(Home(tmp_path / str(len(homes)), **bounds))
        return homes[-1]

    yield make
    for home in homes:
        home.close()


def reasons(done: list[Swept]) -> set[str]:
    return {kept.reason for swept in done for kept in swept.kept}


# --- by age


def test_what_is_shipped_final_and_old_goes(make_home: MakeHome) -> None:
    """Files of both kinds go once they have not changed for keep_s, not before; the mirror keeps them."""
    home = make_home(keep_s=3600.0)
    home.pair.append("run/metrics.jsonl", LINE * 3)
    home.pair.append("run/empty.log", b"")
    home.pair.write("run/images/a/0001.png", b"pixels")
    home.pair.write("ü/new\nline", b"odd")
    home.ship()
    before = read_mirror(home.mirror)
    assert home.sweep(3000.0) == []
    assert len(home.names()) == 4
    home.sweep(700.0)
    assert home.names() == set()
    assert read_mirror(home.mirror) == before


def test_it_is_off_by_default(make_home: MakeHome) -> None:
    """Without a bound nothing is ever looked at."""
    home = make_home()
    home.pair.write("a.png", b"x")
    home.ship()
    assert home.sweep(1e9) == []
    assert home.names() == {"a.png"}


def test_a_copy_that_kept_its_old_times_is_not_old(make_home: MakeHome) -> None:
    """A file that came with the times of its original (`cp -p`, `tar`) is as old as it is here."""
    home = make_home(keep_s=3600.0)
    home.pair.write("a.png", b"x")
    os.utime(home.spool / "a.png", (1e9, 1e9))
    home.ship()
    (swept,) = home.sweep(60.0)
    assert [(k.reason, k.is_told) for k in swept.kept] == [("it is not old enough", False)]
    assert home.sweep(60.0) == []
    home.sweep(3600.0)
    assert home.names() == set()


# --- by size


def test_above_the_bound_the_oldest_go_first(make_home: MakeHome) -> None:
    """As many of the oldest files go as bring the spool to its bound, however young they are, and no more."""
    home = make_home(max_spool_bytes=2500)
    for name, age_s in (("b", 30), ("d", 10), ("a", 40), ("c", 20), ("e", 0)):
        home.pair.write(f"run/{name}.npy", b"x" * 1000)
        os.utime(home.spool / f"run/{name}.npy", (1e9 - age_s, 1e9 - age_s))
    home.ship()
    home.sweep(SETTLE_S + 1)
    assert home.names() == {"run/d.npy", "run/e.npy"}


def test_the_bound_counts_what_may_not_go_as_well(make_home: MakeHome) -> None:
    """What is not shipped yet counts, stays, and the shipped files go in its stead."""
    home = make_home(max_spool_bytes=1000)
    home.pair.write("shipped.npy", b"x" * 600)
    home.ship()
    home.pair.write("new.npy", b"x" * 900)
    home.sweep(60.0)
    assert home.names() == {"new.npy"}


def test_both_bounds_together(make_home: MakeHome) -> None:
    """What is old goes by its age alone; the size is then brought to its bound."""
    home = make_home(keep_s=3600.0, max_spool_bytes=1500)
    home.pair.write("old.npy", b"x" * 10)
    os.utime(home.spool / "old.npy", (1e9, 1e9))
    for name in ("one.npy", "two.npy"):
        home.pair.write(name, b"x" * 1000)
    home.ship()
    home.sweep(60.0)
    assert len(home.names() & {"one.npy", "two.npy"}) == 1
    home.sweep(7200.0)
    assert home.names() == set()


def test_a_spool_that_stays_full_is_said_once(make_home: MakeHome, caplog: pytest.LogCaptureFixture) -> None:
    """Over its bound with nothing to delete for a minute: one warning, and another one only after it had room again."""
    home = make_home(max_spool_bytes=10)
    home.pair.write("new.npy", b"x" * 100)
    for _ in range(5):
        home.sweep(40.0)
    assert caplog.text.count("more than retention.max_spool_bytes") == 1
    home.ship()
    home.sweep(40.0)
    assert home.names() == set()
    home.pair.write("new.npy", b"x" * 100)
    for _ in range(5):
        home.sweep(40.0)
    assert caplog.text.count("more than retention.max_spool_bytes") == 2


# --- what never goes


def lock(path: Path) -> subprocess.Popen[bytes]:
    """Hold the writer's lock on `path`, as a living client does, in another process that has it open for reading only."""
    code = "import fcntl, sys; f = open(sys.argv[1], 'rb'); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    return holder


def test_a_locked_stream_stays_until_its_writer_is_gone(make_home: MakeHome) -> None:
    """However old: while a process holds the lock the file stays; after its death by SIGKILL it goes."""
    home = make_home(keep_s=1.0, max_spool_bytes=0)
    home.pair.append("run/metrics.jsonl", LINE)
    home.ship()
    with lock(home.spool / "run/metrics.jsonl") as holder:
        assert reasons(home.sweep()) == {"it is open for writing"}
        assert home.names() == {"run/metrics.jsonl"}
        holder.kill()
    home.sweep()
    assert home.names() == set()


def test_a_foreign_log_that_is_open_stays(make_home: MakeHome) -> None:
    """A program that takes no lock and writes once in ten days loses no line: its file is open for writing."""
    home = make_home(keep_s=1.0, max_spool_bytes=0)
    home.pair.append("train.log", b"started\n")
    home.ship()
    with (home.spool / "train.log").open("ab") as log:
        assert reasons(home.sweep()) == {"it is open for writing"}
        log.write(b"still here\n")
    assert home.names() == {"train.log"}
    home.ship()
    home.sweep()
    assert home.names() == set()
    assert read_mirror(home.mirror)[b"train.log"] == b"started\nstill here\n"


def test_a_file_that_is_read_may_go(make_home: MakeHome) -> None:
    """Who only reads a file keeps what it has open, and keeps nobody from deleting it."""
    home = make_home(keep_s=1.0)
    home.pair.append("train.log", b"x\n")
    home.ship()
    with (home.spool / "train.log").open("rb") as reader:
        home.sweep()
        assert home.names() == set()
        assert reader.read() == b"x\n"


def never_shipped(home: Home) -> None:
    home.pair.write("f.npy", b"new")


def partly_acknowledged(home: Home) -> None:
    home.pair.append("f.npy", LINE)
    home.ship()
    entry = home.pair.ledger.get("f.npy")
    assert entry is not None
    home.pair.append("f.npy", LINE)


def changed_since(home: Home) -> None:
    home.pair.write("f.npy", b"one")
    home.ship()
    home.pair.write("f.npy", b"two")


@pytest.mark.parametrize("prepare", [never_shipped, partly_acknowledged, changed_since])
def test_what_is_not_acknowledged_stays(make_home: MakeHome, prepare: Callable[[Home], None]) -> None:
    """A file that is new, that has grown, or that was rewritten since it was shipped is no candidate."""
    home = make_home(keep_s=1.0, max_spool_bytes=0)
    prepare(home)
    content = (home.spool / "f.npy").read_bytes()
    assert home.sweep() == []
    assert (home.spool / "f.npy").read_bytes() == content


def emptied(home: Home) -> None:
    (home.mirror / "f.log").unlink()


def restored_shorter(home: Home) -> None:
    (home.mirror / "f.log").write_bytes(LINE)


def replaced(home: Home) -> None:
    (home.mirror / "f.log").write_bytes(b"#" * len(LINE * 2))


@pytest.mark.parametrize("damage", [emptied, restored_shorter, replaced])
def test_the_receiver_is_asked_right_before(
    make_home: MakeHome, damage: Callable[[Home], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A receiver that lost, was restored to less of, or holds other bytes than it acknowledged: the local file stays.

    That is said once, the receiver is not asked about the file again at once, and the next file goes all the same.
    """
    home = make_home(keep_s=1.0)
    home.pair.append("f.log", LINE * 2)
    home.pair.append("fine.log", LINE)
    home.ship()
    home.pair.restart_receiver()
    damage(home)
    assert reasons(home.sweep()) == {"the receiver no longer holds what it acknowledged"}
    assert home.names() == {"f.log"}
    asked = len(home.asked)
    assert home.sweep(60.0) == []
    assert len(home.asked) == asked
    home.sweep(deletion.LATER_S)
    assert len(home.asked) == asked + 1
    assert home.names() == {"f.log"}
    assert caplog.text.count("no longer holds") == 1


def test_without_a_receiver_nothing_goes(make_home: MakeHome) -> None:
    """If the receiver can't be asked the error passes through, all stays, and the errand comes again."""
    home = make_home(keep_s=1.0)
    home.pair.append("f.log", LINE)
    home.ship()
    home.ahead_s = OLD_S
    home.walk.look(None)

    def refuse(paths: object) -> list[Held | None]:
        raise TryAgain("no route")

    errand = home.retention.select()
    assert errand is not None
    with pytest.raises(TryAgain):
        Broom(home.spool, refuse, home.clock.wall_ns).sweep(errand)
    assert home.retention.select() is None
    home.retention.put_back()
    assert home.names() == {"f.log"}
    home.sweep(60.0)
    assert home.names() == set()


# --- what no time of the file tells


def store_in_secret(home: Home, name: str, content: bytes) -> None:
    """Ship a file and then write into it through a page that is mapped and dirty already, which moves none of its times.

    A store moves them where the system has written the page to disk since the last one: then it is all done again.
    """
    path = home.spool / name
    with path.open("r+b") as file, closing(mmap.mmap(file.fileno(), path.stat().st_size)) as mapped:
        for _ in range(100):
            mapped[:3] = b"one"
            home.ship()
            before = signature_of(path.stat())  # two stat results are equal if their times are, in whole seconds
            mapped[:3] = content
            if signature_of(path.stat()) == before:
                return
    raise AssertionError("each store to a mapped page has moved the times")


@pytest.mark.parametrize("name", ["run/w.npy", "run/w.log"])
def test_bytes_that_the_receiver_never_had_stay_and_are_shipped(
    make_home: MakeHome, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The file itself is read before it goes: if it is not what was acknowledged, it is put back and shipped, and goes then."""
    home = make_home(keep_s=1.0)
    home.pair.append(name, LINE)
    store_in_secret(home, name, b"two")
    before = read_spool(home.spool)
    rehearsed = home.sweep_only(is_rehearsal=True)
    swept = home.sweep_only()
    assert [kept.reason for kept in rehearsed.kept] == [kept.reason for kept in swept.kept]
    assert [kept.path for kept in swept.kept if kept.is_unlike] == [name]
    assert swept.deleted == rehearsed.deleted == []
    assert read_spool(home.spool) == before
    assert caplog.text.count("its bytes are not those") == 1
    home.ship()
    assert set(before.values()) <= set(read_mirror(home.mirror).values())
    home.sweep()
    assert home.names() == set()


@pytest.mark.parametrize("name", ["run/w.npy", "run/w.log"])
def test_a_store_to_a_page_that_was_written_back_is_a_change_as_any_other(make_home: MakeHome, name: str) -> None:
    """The system writes a mapped page to disk when it likes: what is stored after that stays and is shipped as well."""
    home = make_home(keep_s=1.0)
    home.pair.append(name, LINE)
    path = home.spool / name
    with path.open("r+b") as file, closing(mmap.mmap(file.fileno(), len(LINE))) as mapped:
        mapped[:3] = b"one"
        home.ship()
        mapped.flush()
        mapped[:3] = b"two"
    before = read_spool(home.spool)
    home.sweep()
    assert read_spool(home.spool) == before
    home.ship()
    assert set(before.values()) <= set(read_mirror(home.mirror).values())
    home.sweep()
    assert home.names() == set()


def test_the_shipper_hears_of_other_bytes(make_home: MakeHome) -> None:
    """What the janitor finds is compared and shipped anew, whatever times the file system gives to what was put back."""
    home = make_home(keep_s=1.0)
    home.pair.write("w.npy", LINE)
    home.ship()
    janitor = Janitor(home.retention, home.broom, lambda: None)
    store_in_secret(home, "w.npy", b"two")
    found: list[str] = []

    def turned() -> bool:
        home.ahead_s += OLD_S
        home.walk.look(None)
        found.extend(janitor.turn())
        return bool(found)

    wait_until(turned, 30)
    janitor.close()
    assert set(found) == {"w.npy"}


# --- what happens between the plan and the deletion


def swap_for_a_symlink(home: Home) -> None:
    (home.spool / "run/f.npy").unlink()
    (home.spool / "run/f.npy").symlink_to(home.spool.parent / "precious")


def swap_for_a_pipe(home: Home) -> None:
    (home.spool / "run/f.npy").unlink()
    os.mkfifo(home.spool / "run/f.npy")


def swap_the_folder(home: Home) -> None:
    (home.spool / "run").rename(home.spool.parent / "moved")
    (home.spool / "run").symlink_to(home.spool.parent / "moved")


def delete_the_file(home: Home) -> None:
    (home.spool / "run/f.npy").unlink()


def delete_the_folder(home: Home) -> None:
    shutil.rmtree(home.spool / "run")


def delete_the_spool(home: Home) -> None:
    shutil.rmtree(home.spool)


def rewrite(home: Home) -> None:
    home.pair.write("run/f.npy", b"two")


def overwrite(home: Home) -> None:
    (home.spool / "run/f.npy").write_bytes(b"two")


@pytest.mark.parametrize(
    "happen",
    [
        *(swap_for_a_symlink, swap_for_a_pipe, swap_the_folder, delete_the_file, delete_the_folder, delete_the_spool),
        *(rewrite, overwrite),
    ],
)
def test_what_happens_after_the_plan_is_seen(
    make_home: MakeHome, happen: Callable[[Home], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Links, pipes, other files under the name, missing folders: nothing of them is deleted, and none is an error."""
    home = make_home(keep_s=1.0)
    home.pair.write("run/f.npy", b"one")
    (home.spool.parent / "precious").write_bytes(b"one")
    home.ship()
    home.ahead_s = OLD_S
    home.walk.look(None)
    errand = home.retention.select()
    assert errand is not None
    happen(home)
    before = {path: path.lstat().st_ino for path in home.spool.parent.rglob("*") if "state" not in path.parts}
    swept = home.broom.sweep(errand)
    home.retention.note(swept)
    assert swept.deleted == []
    assert {path: path.lstat().st_ino for path in home.spool.parent.rglob("*") if "state" not in path.parts} == before
    assert (home.spool.parent / "precious").read_bytes() == b"one"
    assert caplog.text == ""


def in_the_last_moment(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    """Let something happen between the look at a file and the call that takes its name away."""
    rename = os.rename

    def late_rename(*args: object, **kwargs: object) -> None:
        monkeypatch.setattr(os, "rename", rename)
        happen()
        rename(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", late_rename)


def test_a_file_renamed_into_place_in_the_last_moment_stays(
    make_home: MakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that is replaced just when its former version is to be deleted is not deleted with it."""
    home = make_home(keep_s=1.0)
    home.pair.write("model.pt", b"one")
    home.ship()
    in_the_last_moment(monkeypatch, lambda: home.pair.write("model.pt", b"two"))
    assert reasons(home.sweep()) == {"it changed in the last moment"}
    assert [(p.name, p.read_bytes()) for p in home.spool.iterdir()] == [("model.pt", b"two")]
    home.ship()
    assert read_mirror(home.mirror) == {b"model.pt": b"two"}


def test_a_folder_that_takes_the_name_in_the_last_moment_keeps_it(
    make_home: MakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the name leads to when it is taken away is put back as it was."""
    home = make_home(keep_s=1.0)
    home.pair.write("best", b"one")
    home.ship()

    def replace() -> None:
        (home.spool / "best").unlink()
        home.pair.write("best/model.pt", b"two")

    in_the_last_moment(monkeypatch, replace)
    home.sweep()
    assert {str(p.relative_to(home.spool)) for p in home.spool.rglob("*")} == {"best", "best/model.pt"}


def test_who_had_found_the_name_is_seen(make_home: MakeHome) -> None:
    """A writer that comes to a file while it has no name any more writes into it as ever: the file is put back."""
    home = make_home(keep_s=1.0)
    home.pair.append("a.log", LINE)
    home.pair.append("b.log", LINE)
    home.pair.append("c.log", LINE)
    home.ship()
    files: list[BinaryIO] = []

    def come() -> None:
        files.extend(aside.open("ab") for aside in home.spool.glob(".a.log.*"))
        for aside in home.spool.glob(".b.log.*"):
            with aside.open("ab") as file:
                file.write(LINE)

    home.in_grace = come
    assert reasons(home.sweep()) == {"it changed in the last moment"}
    files[0].write(LINE)
    files[0].close()
    assert read_spool(home.spool) == {b"a.log": LINE * 2, b"b.log": LINE * 2}
    assert len(list(home.spool.iterdir())) == 2


def test_a_name_that_is_taken_again_keeps_both(make_home: MakeHome) -> None:
    """If a file can't have its name back because another one has it by now, it gets a name beside it."""
    home = make_home(keep_s=1.0)
    home.pair.append("a.log", LINE)
    home.ship()

    def go_on() -> None:
        (aside,) = home.spool.glob(".a.log.*")
        aside.write_bytes(b"late\n")
        (home.spool / "a.log").write_bytes(b"another\n")

    home.in_grace = go_on
    home.sweep()
    found = read_spool(home.spool)
    assert found.pop(b"a.log") == b"another\n"
    assert list(found.values()) == [b"late\n"]
    assert all(name.startswith(b"a~") for name in found)


def test_a_crash_in_the_middle_costs_nothing(make_home: MakeHome) -> None:
    """What lies under hidden names when the agent is killed, long ones too, has its names back with the next start."""
    home = make_home(keep_s=3600.0)
    long = "ü" * 127
    for name in ("run/a.log", "run/images/b.png", "c\n.npy", long):
        home.pair.write(name, LINE)
    home.ship()
    before = read_spool(home.spool)

    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    home.in_grace = die
    with pytest.raises(Killed):
        home.sweep()
    assert read_spool(home.spool) == {}
    home.in_grace = lambda: None
    assert recover(home.spool) == []
    assert read_spool(home.spool) == before
    assert not list(home.spool.rglob("*going*"))


def test_what_cannot_have_its_name_back_is_told(make_home: MakeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has to stay under its hidden name is counted among what is set aside; nothing of it is lost."""
    home = make_home()
    home.pair.append("run/.a.log.going-0123456789ab", LINE)

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "rename", refuse)
    (problem,) = recover(home.spool)
    assert problem.path == "run/a.log"
    assert problem.reason == "lies under the hidden name '.a.log.going-0123456789ab': Read-only file system"
    home.pair.shipper.note_lost([problem])
    assert home.pair.shipper.progress().aside == (problem,)


def test_hidden_files_have_their_names_back_without_retention(commands: Commands, tmp_path: Path) -> None:
    """Whatever the config says by the next start; they are found, and shipped if they are not yet."""
    spool, long = tmp_path / "spool", "x" * 250 + ".bin"
    (spool / "run" / ".going-0123456789ab").mkdir(parents=True)
    (spool / "run" / ".going-0123456789ab" / long).write_bytes(b"long")
    (spool / "run" / ".a.log.going-0123456789ab").write_bytes(LINE)
    receiver = commands.start_receiver(tmp_path / "data")
    commands.drain(commands.write_agent_config(spool, receiver.url))
    assert read_mirror(tmp_path / "data") == {b"run/a.log": LINE, f"run/{long}".encode(): b"long"}
    assert not list((spool / "run").glob(".*"))


def test_who_opens_a_log_in_the_last_moment_loses_nothing(tmp_path: Path) -> None:
    """A program that appends to a log, opening it for each line, keeps every line through thousands of sweeps."""
    code = """
import sys
for number in range(20000):
    with open(sys.argv[1], "a") as log:
        log.write(f"{number}\\n")
"""
    lines: list[bytes] = []
    writer = subprocess.Popen([sys.executable, "-c", code, tmp_path / "run.log"])
    while writer.poll() is None:
        take(tmp_path, "run.log", lines)
    for left in tmp_path.glob("run*.log"):
        lines += left.read_bytes().splitlines()
    assert sorted(map(int, lines)) == list(range(20000))


def take(spool: Path, name: str, lines: list[bytes]) -> None:
    """Delete the file as it is right now, as if all of it had been acknowledged, and note the lines that went with it."""
    try:
        with open(spool / name, "rb") as file:
            content, status = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return
    state = signature_of(status)
    if len(content) != state.size:
        return
    held = Held(Offset(len(content)), crc32(content))
    candidate = Candidate(LocalFile(name, state), Entry(name, held, state, is_done=True), 0.0, "test")
    broom = Broom(
        spool, lambda paths: [held for _ in paths], lambda: time.time_ns() + 10**12, lambda _: time.sleep(0.02)
    )
    if broom.sweep(Errand((candidate,))).deleted:
        lines += content.splitlines()


def test_where_nobody_can_tell_who_writes_time_must_tell(make_home: MakeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leases a file must not have changed for an hour, whatever the bounds say."""
    home = make_home(max_spool_bytes=0)
    home.pair.write("a.npy", b"x")
    home.ship()
    monkeypatch.setattr(deletion, "_try_lease", lambda fd: None)
    assert reasons(home.sweep(1800.0)) == {"it is not old enough"}
    home.sweep(1900.0)
    assert home.names() == set()


def test_what_may_not_be_deleted_is_said_once(
    make_home: MakeHome, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Missing rights are one warning that names a file, however many files and sweeps there are; nothing is lost."""
    home = make_home(keep_s=1.0)
    for number in range(5):
        home.pair.write(f"{number}.npy", b"x")
    home.ship()

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        home.sweep()
        home.sweep()
    assert len(home.names()) == 5
    assert caplog.text.count("it can't be deleted: Permission denied") == 1
    home.sweep()
    assert home.names() == set()


# --- runs


def log_some(logger: ML_Logger, steps: int) -> None:
    for step in range(steps):
        logger.log(step, loss=0.5, silent=True)


def test_a_full_segment_of_a_living_run_goes_and_its_number_is_not_given_again(make_home: MakeHome) -> None:
    """Earlier segments go while the run goes on; the last one stays, and a second process takes the number behind it."""
    home = make_home(keep_s=1.0)
    with ML_Logger(home.spool / "run", segment_bytes=500) as logger:
        log_some(logger, 40)
        home.ship()
        last = max((name for name in home.names() if name.startswith("run/metrics")), key=_number)
        home.sweep()
        after = {name for name in home.names() if name.startswith("run/metrics")}
        assert after == {last}
        with ML_Logger(home.spool / "run", segment_bytes=500) as other:
            log_some(other, 1)
        assert {name for name in home.names() if name.startswith("run/metrics")} - after == {
            f"run/metrics.{_number(last) + 1}.jsonl"
        }
    assert "run/run.jsonl" in home.names()


def _number(name: str) -> int:
    parts = name.split(".")
    return int(parts[1]) if len(parts) == 3 else 0


def test_a_closed_stream_of_a_living_run_keeps_its_name(make_home: MakeHome) -> None:
    """A stream nobody has open, in a run that goes on, stays: the next text would go into a new file of the same name."""
    home = make_home(keep_s=1.0)
    run = home.spool / "run"
    with ML_Logger(run) as logger:
        log_some(logger, 1)
        (run / "sub").mkdir()
        (run / "sub/notes.txt").write_bytes(b"note\n")
        (run / "sub/model.pt").write_bytes(b"weights")
        home.ship()
        assert reasons(home.sweep()) >= {"it is the last part of a stream of a living run"}
        assert "run/sub/notes.txt" in home.names()
        assert "run/sub/model.pt" not in home.names()
    home.ship()
    home.sweep()
    assert home.names() == set()


def test_a_folder_that_was_emptied_goes_a_day_later(make_home: MakeHome) -> None:
    """Emptied folders go, and those above them, once nobody has used them for a day; others are left alone."""
    home = make_home(keep_s=1.0)
    home.pair.write("old/images/a.png", b"x")
    home.pair.write("used/b.png", b"x")
    (home.spool / "mine").mkdir()
    home.ship()
    home.sweep(60.0)
    assert sorted(p.name for p in home.spool.rglob("*")) == ["images", "mine", "old", "used"]
    home.pair.write("used/c.png", b"x")
    for _ in range(5):
        home.sweep(DAY_S * 1.01)
    assert sorted(p.name for p in home.spool.rglob("*")) == ["c.png", "mine", "used"]


def test_only_old_empty_folders_of_no_living_run_go(make_home: MakeHome) -> None:
    """A folder that is young, holds anything (a temporary file too), is a link, or belongs to a living run stays."""
    home = make_home(keep_s=1.0)
    for name in ("young", "old", "run/sub", "full", "elsewhere"):
        (home.spool / name).mkdir(parents=True)
    (home.spool / "full/.a.png.tmp-1").touch()
    (home.spool / "link").symlink_to(home.spool / "elsewhere")
    for name in ("old", "run/sub", "full", "elsewhere"):
        os.utime(home.spool / name, (1e9, 1e9))
    os.utime(home.spool / "link", (1e9, 1e9), follow_symlinks=False)
    errand = Errand(folders=("young", "old", "run/sub", "full", "link", "none"))
    with ML_Logger(home.spool / "run") as logger:
        log_some(logger, 1)
        swept = home.broom.sweep(errand)
        assert (swept.removed_folders, sorted(swept.used_folders)) == (["old"], ["full", "link", "none"])
    assert home.broom.sweep(errand).removed_folders == ["run/sub"]


# --- the plan


def entry_of(path: str, state: Signature) -> Entry:
    return Entry(path, Held(Offset(state.size), Crc(0)), state, is_done=True)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["yes", "no", "partly"])), max_size=12),
    st.none() | st.integers(0, 6),
    st.none() | st.integers(0, 40),
)
@example([(5, 6, "yes"), (5, 3, "yes"), (5, 2, "yes")], 5, 8)
def test_a_plan_takes_what_it_must_and_no_more(
    made: list[tuple[int, int, str]], keep_s: int | None, bound: int | None
) -> None:
    """For any files: only shipped and settled ones go; all old ones; and of the others the oldest, just to the bound."""
    files = [LocalFile(str(i), Signature(size, (1000 - age) * 10**9, 0, i, 1)) for i, (size, age, _) in enumerate(made)]
    known = {
        f.path: entry_of(f.path, f.signature)._replace(is_done=state == "yes")
        for f, (_, _, state) in zip(files, made, strict=True)
        if state != "no"
    }
    shipped = {path: entry for path, entry in known.items() if entry.is_done}
    total = sum(f.signature.size for f in files)
    bounds = RetentionSettings(None if keep_s is None else float(keep_s), bound)
    planned = plan(
        files,
        total,
        entry_of=known.get,
        rests_for_s=lambda path: 0.0,
        now_ns=1000 * 10**9,
        settings=bounds,
        settle_s=SETTLE_S,
    )
    ages = {f.path: 1000 - f.signature.mtime_ns // 10**9 for f in files}
    chosen = [c.file.path for c in planned.candidates]
    assert set(chosen) <= shipped.keys()
    assert all(ages[path] >= SETTLE_S for path in chosen)
    old = {p for p in shipped if keep_s is not None and ages[p] >= max(keep_s, SETTLE_S)}
    assert old <= set(chosen)
    young = [c for c in planned.candidates if c.file.path not in old]
    assert bound is not None or not young
    left = total - sum(c.file.signature.size for c in planned.candidates)
    if young and bound is not None:
        assert left + young[-1].file.signature.size > bound
        others = [p for p in shipped if p not in chosen and made[int(p)][0] and ages[p] >= SETTLE_S]
        assert all(ages[p] <= ages[young[-1].file.path] for p in others)
    if bound is not None and left > bound:
        assert not [p for p in shipped if p not in chosen and made[int(p)][0] and ages[p] >= SETTLE_S]


def test_it_costs_nothing_while_nothing_is_due(tmp_path: Path) -> None:
    """With 100,000 files a call takes microseconds, and the files are looked at once, until one of them gets old."""
    state = Signature(1000, 0, 0, 1, 1)
    files = [LocalFile(f"runs/{n // 50}/images/{n}.png", state) for n in range(100_000)]
    entries = {f.path: entry_of(f.path, state) for f in files}
    now_s, walks = [0.0], [0]

    class Many:
        size_bytes = 100_000_000

        def files(self) -> Iterator[LocalFile]:
            walks[0] += 1
            return iter(files)

        def note_gone(self, gone: object) -> None:
            pass

    class Known:
        def get(self, path: str) -> Entry | None:
            return entries[path]

    clock = Clock(lambda: int(now_s[0] * 1e9), lambda: now_s[0])
    kept = Retention(RetentionSettings(500.0, 10**12), SETTLE_S, Known(), Many(), clock)
    began = time.process_time()
    for second in range(490):
        now_s[0] = float(second)
        for _ in range(10):
            assert kept.select() is None
    assert walks[0] == 1
    assert time.process_time() - began < 2.0
    now_s[0] = 501.0
    errand = kept.select()
    assert errand is not None
    assert len(errand.files) == retention.MOST_FILES
    kept.note(Swept())
    assert kept.select() is not None
    assert walks[0] == 2


# --- any order of events


class Life:
    """A home in which things happen: files are written, opened, locked, shipped, lost by the receiver and swept."""

    names = ("run/a.jsonl", "run/b.npy", "c.log", "d.pt")

    def __init__(self, root: Path) -> None:
        self.home = Home(root, keep_s=0.0, max_spool_bytes=0)
        self.open: dict[str, BinaryIO] = {}
        self.locked: dict[str, int] = {}
        self.count = 0

    def path(self, name: str) -> Path:
        return self.home.spool / name

    def write(self, name: str) -> None:
        self.count += 1
        self.home.pair.write(name, b"%d\n" % self.count * self.count)

    def append(self, name: str) -> None:
        self.count += 1
        self.home.pair.append(name, b"%d\n" % self.count)

    def ship(self, name: str) -> None:
        self.home.ship()

    def hold_open(self, name: str) -> None:
        if self.path(name).exists() and name not in self.open:
            self.open[name] = self.path(name).open("ab")

    def let_go(self, name: str) -> None:
        if name in self.open:
            self.open.pop(name).close()

    def lock(self, name: str) -> None:
        if self.path(name).exists() and name not in self.locked:
            self.locked[name] = os.open(self.path(name), os.O_RDONLY)
            fcntl.flock(self.locked[name], fcntl.LOCK_SH)

    def unlock(self, name: str) -> None:
        if name in self.locked:
            os.close(self.locked.pop(name))

    def lose(self, name: str) -> None:
        (self.home.mirror / name).unlink(missing_ok=True)

    def touch(self, name: str) -> None:
        if self.path(name).exists():
            os.utime(self.path(name))

    def sweep(self, name: str) -> None:
        """Sweep; nothing went that is in use or that the receiver does not hold, and nothing else has changed."""
        live = {os.fstat(fd).st_ino for fd in (*(f.fileno() for f in self.open.values()), *self.locked.values())}
        before = self.look()
        went = [candidate for swept in self.home.sweep() for candidate in swept.deleted]
        mirror = read_mirror(self.home.mirror)
        for candidate in went:
            content, inode = before.pop(self.path(candidate.file.path))
            assert inode not in live
            assert mirror[os.fsencode(candidate.entry.remote)] == content
        assert self.look() == before

    def look(self) -> dict[Path, tuple[bytes, int]]:
        return {p: (p.read_bytes(), p.stat().st_ino) for p in self.home.spool.rglob("*") if p.is_file()}

    def close(self) -> None:
        for name in self.names:
            self.let_go(name)
            self.unlock(name)
        self.home.close()


EVENTS = ("write", "append", "ship", "ship", "sweep", "sweep", "hold_open", "let_go", "lock", "unlock", "lose", "touch")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from(Life.names)), max_size=40))
def test_nothing_goes_that_the_receiver_does_not_hold(events: list[tuple[str, str]]) -> None:
    """In any order of writing, shipping, losing and sweeping: what a sweep took is on the receiver byte for byte."""
    with TemporaryDirectory() as root, closing(Life(Path(root))) as life:
        for event, name in events:
            getattr(life, event)(name)


def test_messages_are_quiet(make_home: MakeHome, caplog: pytest.LogCaptureFixture) -> None:
    """What was deleted is one line a minute, with the sums."""
    caplog.set_level(logging.INFO)
    home = make_home(keep_s=1.0)
    for number in range(4):
        home.pair.write(f"{number}.npy", b"x" * 10)
        home.ship()
        home.sweep(25.0)
    said = [r.message for r in caplog.records if "retention deleted" in r.message]
    assert said == [
        "retention deleted 1 shipped files, 10 bytes, from the spool",
        "retention deleted 2 shipped files, 20 bytes, from the spool",
    ]


# --- at work


def settle(home: Home, janitor: Janitor, condition: Callable[[], object]) -> None:
    def turned() -> object:
        home.ahead_s += 10.0
        home.walk.look(None)
        janitor.turn()
        return condition()

    wait_until(turned, 30)


def test_the_janitor_works_beside_the_shipper(make_home: MakeHome) -> None:
    """An errand is done in another thread, rings when it is done, and its outcome is taken in at the next turn."""
    home = make_home(keep_s=1.0)
    home.pair.write("a.npy", b"x")
    home.ship()
    home.ahead_s = OLD_S
    home.walk.look(None)
    may_go, has_rung = threading.Event(), threading.Event()
    home.in_grace = lambda: may_go.wait(30)
    janitor = Janitor(home.retention, home.broom, has_rung.set)
    janitor.turn()
    wait_until(lambda: home.names() == set(), 30)
    home.ahead_s += 100.0
    janitor.turn()
    assert home.walk.size_bytes == 1
    may_go.set()
    assert has_rung.wait(30)
    janitor.turn()
    assert home.walk.size_bytes == 0
    assert home.asked == [["a.npy"]]
    home.pair.write("b.npy", b"x")
    home.ship()
    settle(home, janitor, lambda: home.names() == set())
    janitor.close()


def test_the_janitor_survives_a_receiver_that_is_away_and_hands_on_a_bug(make_home: MakeHome) -> None:
    """What the receiver can't be asked is asked later; an unexpected error comes out on the thread that decides, once."""
    home = make_home(keep_s=1.0)
    home.pair.write("a.npy", b"x")
    home.ship()
    errors: list[Exception] = [TryAgain("no route"), ValueError("a bug")]

    def stat(paths: Sequence[str]) -> list[Held | None]:
        if errors:
            raise errors.pop(0)
        return home.stat(paths)

    janitor = Janitor(home.retention, Broom(home.spool, stat, home.clock.wall_ns, lambda _: None), lambda: None)
    home.ahead_s = OLD_S
    with pytest.raises(ValueError, match="a bug"):
        settle(home, janitor, lambda: not errors and not home.names())
    settle(home, janitor, lambda: not home.names())
    janitor.close()


def test_a_closed_janitor_begins_nothing(make_home: MakeHome) -> None:
    """After `close` nothing is deleted any more."""
    home = make_home(keep_s=1.0)
    home.pair.write("a.npy", b"x")
    home.ship()
    home.ahead_s = OLD_S
    home.walk.look(None)
    janitor = Janitor(home.retention, home.broom, lambda: None)
    janitor.close()
    janitor.turn()
    assert home.names() == {"a.npy"}


def test_a_rehearsal_says_what_would_go_and_deletes_nothing(commands: Commands, tmp_path: Path) -> None:
    """`--dry-run` beside a running agent names what is due, what has to stay and why, and the sums; all stays as it is."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    for name in ("a\n.npy", "b.npy", "open.log", "lost.npy"):
        (spool / name).write_bytes(b"x" * 1000)
    config = commands.write_agent_config(spool, receiver.url)
    commands.drain(config)
    assert_trees_equal(spool, receiver.data_dir, rename=lambda name: os.fsencode(remote_path(os.fsdecode(name))))
    (receiver.data_dir / "lost.npy").unlink()
    agent = commands.start_agent(config)
    wait_until(lambda: "shipping" in agent.stderr, 30)
    due = commands.write_agent_config(spool, receiver.url, settle_s=0.0, retention={"keep_s": 0})
    with (spool / "open.log").open("ab"):
        told = commands.run("ml-logger-agent", "--config", due, "--dry-run")
    assert told.process.returncode == 0, told.tail()
    assert sorted(told.stdout.splitlines()) == sorted(
        [
            "would delete a\\n.npy, 1000 bytes: it has not changed for 0 s",
            "would delete b.npy, 1000 bytes: it has not changed for 0 s",
            "would keep lost.npy: the receiver no longer holds what it acknowledged",
            "would keep open.log: it is open for writing",
            f"{spool}: would delete 2 files, 2000 bytes, and leave 2000 bytes",
        ]
    )
    assert len(read_spool(spool)) == 4
    assert not [path for path in spool.iterdir() if "going" in path.name]
    assert agent.terminate() == 0, agent.tail()


def test_a_rehearsal_without_bounds_is_refused(commands: Commands, tmp_path: Path) -> None:
    """Nobody is left to believe that retention works while it is off."""
    told = commands.run("ml-logger-agent", "--config", commands.write_agent_config(tmp_path, "http://h:1"), "--dry-run")
    assert told.process.returncode == 2
    assert told.stderr == ("ml-logger-agent: retention is off: set retention.keep_s or retention.max_spool_bytes\n")


TRAINING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training import log_run
for number in range(50):
    log_run(Path(sys.argv[2]) / f"run{number}", 25)
"""


def spool_bytes(spool: Path) -> int:
    total = 0
    for folder, folders, names in os.walk(spool):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def test_fifty_runs_pass_through_a_small_spool(commands: Commands, tmp_path: Path) -> None:
    """While 50 runs are logged the agent deletes what is shipped: all is in the mirror, the spool within its bound."""
    spool, bound = tmp_path / "spool", 100_000
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url, retention={"max_spool_bytes": bound}))
    training = commands.start("python", "-c", TRAINING, Path(__file__).parent, spool)
    assert training.wait() == 0, training.tail()
    wait_until(lambda: spool_bytes(spool) <= bound, what=f"a spool within its bound\n{agent.tail()}")
    assert agent.terminate() == 0, agent.tail()
    mirror, left = read_mirror(receiver.data_dir), read_spool(spool)
    assert 0 < sum(map(len, left.values())) <= bound
    assert {name: mirror[name] for name in left} == left
    for number in range(50):
        run = f"run{number}/".encode()
        steps = [json.loads(line)["_step"] for line in mirror[run + b"metrics.jsonl"].splitlines()]
        events = [json.loads(line)["event"] for line in mirror[run + b"run.jsonl"].splitlines()]
        assert (steps, events) == (list(range(25)), ["start", "end"])
        assert {run + b"images/sample/0000.png", run + b"images/sample/0020.png"} <= mirror.keys()
        assert len([name for name in mirror if name.startswith(run)]) == 9
    assert "retention deleted" in agent.stderr
    assert not [path for path in spool.rglob(".*") if "going" in path.name]


def test_a_run_that_is_resumed_after_its_files_went_reads_as_one(commands: Commands, tmp_path: Path) -> None:
    """Who goes on with a run whose shipped files were deleted begins at the first names again; the mirror has all of it."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url, retention={"keep_s": 0}))
    for steps in (range(20), range(20, 40)):
        with ML_Logger(spool / "run") as logger:
            logger.log_params(Args={"began_at": steps.start})
            for step in steps:
                logger.log(step, loss=1 / (step + 1), silent=True)
        wait_until(lambda: not read_spool(spool), what=f"an empty spool\n{agent.tail()}")
    assert agent.terminate() == 0, agent.tail()
    run = Run(receiver.data_dir / "run")
    assert [record["_step"] for record in run.records()] == list(range(40))
    assert (run.params["Args"], run.state, len(run.events)) == ({"began_at": 20}, "finished", 4)
    shown = commands.run("ml-logger", "show", receiver.data_dir / "run")
    assert "finished, 40 records, last step 39" in shown.stdout, shown.tail()
