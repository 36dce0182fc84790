"""The index of runs, round by round: what it finds, how often it looks, and what it tells."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from ml_logger.errors import NotHeld, StoreError
from ml_logger.files import Entry, Files, LocalFiles, OpenFile
from ml_logger.origin import host_name
from ml_logger.reader import Columns
from ml_logger.reader.cache import ColumnCache
from ml_logger.view import index as index_module
from ml_logger.view import listed as listed_module
from ml_logger.view.agenda import LATEST_S, QUIET_S, SHARE, SHOWN_S, SOONEST_S, Agenda, affordable_s, rest_s
from ml_logger.view.index import KEPT_S, RunIndex
from ml_logger.view.kept_lines import KeptLine, KeptLines
from ml_logger.view.open_runs import OpenRuns

LONG_AGO_S = 3600.0


class Counted(Files):
    """Files that note which folders were listed and which files opened; streams are as `alive` as a test says."""

    def __init__(self, root: Path) -> None:
        self._files = LocalFiles(root)
        self.place = str(root)
        self.listed: list[str] = []
        self.opened: list[str] = []
        self.alive: dict[str, bool] = {}
        self.refused: str | None = None
        self.why: Exception = StoreError("the disk is ill")

    def list(self, folder: str) -> list[Entry]:
        self.listed.append(folder)
        if folder == self.refused:
            raise self.why
        return self._files.list(folder)

    def open(self, path: str) -> OpenFile:
        self.opened.append(path)
        if path == self.refused:
            raise self.why
        return self._files.open(path)

    def is_being_written(self, path: str) -> bool | None:
        return self.alive.get(path)


class Scene:
    """A folder of runs, an index over it, and a clock that only moves when it is told."""

    def __init__(self, root: Path, kept: KeptLines | None = None) -> None:
        self.root, self.now_s = root, 1000.0
        self.files = Counted(root)
        self.index = RunIndex(self.files, OpenRuns(self.files, None).columns, kept, lambda: self.now_s)
        self.version: int | None = None

    def write(self, path: str, *steps: int, age_s: float = 0.0) -> None:
        folder = self.root / path
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "metrics.jsonl").open("ab") as file:
            file.writelines(orjson.dumps({"_step": step, "loss": 1.0}) + b"\n" for step in steps)
        for one in (folder / "metrics.jsonl", folder):
            os.utime(one, (time.time() - age_s,) * 2)

    def append(self, path: str, step: int) -> None:
        """Add a line to a run, which leaves the time of its folder as it is."""
        with (self.root / path / "metrics.jsonl").open("ab") as file:
            file.write(orjson.dumps({"_step": step, "loss": 1.0}) + b"\n")

    def look(self, for_s: float = 0.0) -> None:
        """Let some time pass, looking every tenth of a second."""
        end_s = self.now_s + for_s
        while True:
            self.index.look(10.0)
            if self.now_s >= end_s:
                return
            self.now_s += 0.1

    def lines(self) -> dict[str, dict[str, Any]]:
        """Return all lines by the paths of their runs."""
        told = orjson.loads(self.index.changes(None, lambda _path: True))
        return {line.pop("path"): {**line, "version": None} for line in told["runs"]}

    def news(self) -> tuple[dict[str, int], list[str]]:
        """Return the runs that changed since the last time, with their last steps, and those that are gone."""
        told = orjson.loads(self.index.changes(self.version, lambda _path: True))
        self.version = told["version"]
        return {line["path"]: line["step"] for line in told["runs"]}, told["gone"]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_runs_are_found_wherever_they_are(scene: Scene) -> None:
    """Runs beside and below each other, at any depth, and one at the very top."""
    for path in ("", "a", "a/b", "deep/er/est", "images/a"):
        scene.write(path, 1)
    (scene.root / "a" / "images").mkdir()
    scene.write("a/images/none", 1)  # in a folder of pictures
    (scene.root / ".hidden").mkdir()
    scene.write(".hidden/none", 1)
    scene.look()
    assert set(scene.news()[0]) == {"", "a", "a/b", "deep/er/est"}  # the top is a run: its images/ are pictures
    assert not scene.index.is_scanning


def test_names_that_begin_with_an_underscore_are_metrics(scene: Scene) -> None:
    """Of the last values only a record's own step and time are left out, not what somebody logged under such a name."""
    scene.write("run", 1)
    with (scene.root / "run/metrics.jsonl").open("ab") as file:
        file.write(b'{"_step":2,"_timestamp":1.8e9,"_loss":0.5,"_private/grad":3}\n')
    scene.look(1)
    (run,) = orjson.loads(scene.index.changes(None, lambda _path: True))["runs"]
    assert run["last"] == {"loss": 1.0, "_loss": 0.5, "_private/grad": 3}


def test_only_what_is_new_is_told(scene: Scene) -> None:
    """A run that grew, one that came, one that went: each once."""
    scene.write("one", 1)
    scene.write("two", 1)
    scene.look()
    assert scene.news() == ({"one": 1, "two": 1}, [])
    scene.look(5)
    assert scene.news() == ({}, [])
    scene.write("one", 2)
    scene.write("three", 7)
    scene.look(5)
    assert scene.news() == ({"one": 2, "three": 7}, [])
    shutil.rmtree(scene.root / "two")
    scene.look(5)
    assert scene.news() == ({}, ["two"])
    scene.write("two", 3)
    scene.look(5)
    assert scene.news() == ({"two": 3}, [])


def test_a_folder_that_goes_takes_its_runs_along(scene: Scene) -> None:
    """All runs below it are gone with it."""
    for path in ("group/a", "group/b/c", "other"):
        scene.write(path, 1)
    scene.look()
    scene.news()
    shutil.rmtree(scene.root / "group")
    scene.look(5)
    assert sorted(scene.news()[1]) == ["group/a", "group/b/c"]


def test_a_new_image_is_news_of_its_run(scene: Scene) -> None:
    """A file in the folder of a key changes nothing in the run's own folder, and is seen all the same."""
    scene.write("one", 1)
    (scene.root / "one" / "images" / "key").mkdir(parents=True)
    scene.look()
    scene.news()
    time.sleep(0.01)  # a time of change of its own
    (scene.root / "one" / "images" / "key" / "0001.png").write_bytes(b"")
    scene.look(5)
    assert scene.news()[0] == {"one": 1}


def test_what_is_quiet_is_looked_at_rarely(scene: Scene) -> None:
    """A run that nobody has written to for an hour is looked at every few seconds, one that just changed all the time."""
    scene.write("quiet", 1, age_s=LONG_AGO_S)
    scene.write("busy", 1)
    scene.look()
    scene.files.listed.clear()
    scene.look(30)
    looks = {path: scene.files.listed.count(path) for path in ("quiet", "busy")}
    assert 2 <= looks["quiet"] <= 30 / QUIET_S + 1
    assert looks["busy"] >= 10


def test_a_quiet_run_that_goes_on_is_seen_within_seconds(scene: Scene) -> None:
    """A line behind the others changes no folder; it is found all the same."""
    scene.write("quiet", 1, age_s=LONG_AGO_S)
    scene.look(10)
    scene.news()
    scene.append("quiet", 2)
    scene.look(QUIET_S + 0.2)
    assert scene.news()[0] == {"quiet": 2}


def test_a_run_that_a_page_shows_is_looked_at_each_second(scene: Scene) -> None:
    """However long it was quiet, and though others are due for longer than there is time to look at them."""
    for number in range(40):
        scene.write(f"quiet-{number}", 1, age_s=LONG_AGO_S)
    scene.look(10)
    scene.index.show("quiet-7")
    scene.index.show("no such folder")
    looks_s = _make_slow(scene, 0.005)["quiet-7"]
    end_s = scene.now_s + 30
    while scene.now_s < end_s:
        scene.now_s += max(0.05, scene.index.look(0.05))
    times_s = [*looks_s, scene.now_s]
    assert max(later - sooner for sooner, later in pairwise(times_s)) < SHOWN_S + 1
    scene.news()
    scene.append("quiet-7", 2)
    for _ in range(10):
        scene.now_s += max(0.05, scene.index.look(0.05))
    assert "quiet-7" in scene.news()[0]


def _make_slow(scene: Scene, look_s: float) -> dict[str, list[float]]:
    """Let each listing take so long on the scene's clock; return when each folder is listed."""
    listed, times_s = scene.files.list, defaultdict[str, list[float]](list)

    def slow(folder: str) -> list[Entry]:
        times_s[folder].append(scene.now_s)
        scene.now_s += look_s
        return listed(folder)

    scene.files.list = slow  # type: ignore[method-assign]
    return times_s


def test_only_so_many_runs_count_as_shown(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were named last; the others are looked at as rarely as before."""
    monkeypatch.setattr(index_module, "MOST_SHOWN", 1)
    for name in ("first", "second"):
        scene.write(name, 1, age_s=LONG_AGO_S)
    scene.look()
    for name in ("first", "second"):
        scene.index.show(name)
    scene.look()
    scene.files.listed.clear()
    scene.look(30)
    looks = {path: scene.files.listed.count(path) for path in ("first", "second")}
    assert looks["first"] <= 30 / QUIET_S + 1
    assert looks["second"] >= 20


HOSTILE_FILES = {
    "big metric": ("metrics.jsonl", b'{"_step":4,"big":%d}\n' % 2**70),
    "big parameter": ("parameters.jsonl", b'{"seed":%d}\n' % 2**70),
    "surrogates": ("parameters.jsonl", b'{"a\\ud800":"\\udfff \\ud83d\\ude00","b":%d}\n' % 2**70),
    "deep list": ("parameters.jsonl", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}\n"),
    "deep section": ("parameters.jsonl", b'{"a":' * 900 + b"1" + b"}" * 900 + b"\n"),
    "big pid": ("run.jsonl", b'{"event":"start","pid":%d,"host":"h"}\n' % 2**70),
    "big time": ("run.jsonl", b'{"event":"start","_timestamp":1%s}\n' % (b"0" * 400)),
    "surrogate note": (".notes.yml", b'note: "\\uD83D\\uDE00 \\uD83D"\n'),
    "bad notes": (".notes.yml", b"note: !!bool what\n"),
}


def test_whatever_is_in_a_run_it_is_listed_and_the_others_are(scene: Scene) -> None:
    """Numbers, texts and depths that JSON can't hold hide neither their run nor any other."""
    for name, (file, line) in HOSTILE_FILES.items():
        scene.write(name, 1)
        with (scene.root / name / file).open("ab") as stream:
            stream.write(line)
    scene.write("z", 1)
    scene.look()
    assert set(scene.news()[0]) == {*HOSTILE_FILES, "z"}
    assert not scene.index.is_scanning
    lines = {line["path"]: line for line in orjson.loads(scene.index.changes(None, lambda _path: True))["runs"]}
    assert lines["big metric"]["last"]["big"] == lines["big parameter"]["params"]["seed"] == str(2**70)
    assert lines["surrogates"]["params"]["a\\ud800"] == "\\udfff \N{GRINNING FACE}"
    assert lines["big pid"]["pid"] == str(2**70)
    assert lines["surrogate note"]["notes"]["note"] == "\N{GRINNING FACE} \\ud83d"


def test_a_run_that_cannot_be_read_costs_its_own_line_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is listed and says why, the log says so once, and it is shown as soon as it can be read."""
    for name in ("bad", "good"):
        scene.write(name, 1)
    columns, looks = scene.index._columns_of, []

    def failing(path: str) -> Columns:
        if path == "bad":
            looks.append(path)
            raise ZeroDivisionError(f"look {len(looks)}")
        return columns(path)

    monkeypatch.setattr(scene.index, "_columns_of", failing)
    scene.look(10)
    assert scene.news() == ({"bad": None, "good": 1}, [])
    scene.look(30)
    assert scene.news() == ({}, [])
    assert 1 < len(looks) < 10  # again, and ever more rarely
    assert [record.getMessage() for record in caplog.records] == ["'bad' can't be read: ZeroDivisionError: look 1"]
    told = orjson.loads(scene.index.changes(None, lambda _path: True))["runs"]
    assert {line["path"]: line.get("trouble") for line in told} == {
        "bad": "ZeroDivisionError: look 1",
        "good": None,
    }
    monkeypatch.setattr(scene.index._folders["bad"].line, "_columns_of", columns)
    scene.write("bad", 2)
    scene.look(10)
    assert scene.news()[0] == {"bad": 2}


def test_a_quiet_run_that_goes_on_in_a_new_file_is_seen_at_once(scene: Scene) -> None:
    """The folder above shows that it changed."""
    scene.write("quiet", 1, age_s=LONG_AGO_S)
    scene.look()
    scene.news()
    (scene.root / "quiet" / "metrics.1.jsonl").write_bytes(b'{"_step":2}\n')
    scene.look(3)
    assert scene.news()[0] == {"quiet": 2}


def test_who_says_so_has_a_run_looked_at_now(scene: Scene) -> None:
    """A run about which something is known is looked at in the next round."""
    scene.write("quiet", 1, age_s=LONG_AGO_S)
    scene.look()
    scene.files.listed.clear()
    scene.index.hurry("quiet")
    scene.index.hurry("no such folder")
    scene.index.look(10.0)
    assert "quiet" in scene.files.listed


def test_looking_at_nothing_new_is_followed_by_a_long_rest(scene: Scene) -> None:
    """Whatever a round costs, a rest of many times as long follows it."""
    for number in range(5):
        scene.write(f"run-{number}", 1)
    scene.look()
    _make_slow(scene, 0.01)
    scene.now_s += 10
    before_s = scene.now_s
    pause_s = scene.index.look(10.0)
    assert pause_s >= SHARE * 0.9 * (scene.now_s - before_s) > 0


def test_a_version_that_is_not_remembered_any_more_is_answered_with_everything(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what went, a bounded number is kept; whoever knows less than that is told all."""
    monkeypatch.setattr(listed_module, "_MOST_GONE", 2)
    for number in range(5):
        scene.write(f"run-{number}", 1)
    scene.look()
    scene.news()
    known = scene.version
    for number in range(4):
        shutil.rmtree(scene.root / f"run-{number}")
    scene.look(5)
    told = orjson.loads(scene.index.changes(known, lambda _path: True))
    assert told["is_whole"]
    assert [line["path"] for line in told["runs"]] == ["run-4"]


def test_links_to_folders_are_not_followed(scene: Scene) -> None:
    """What they lead to is listed once, where it is: a link to a folder above would lead round and round."""
    scene.write("one", 1)
    (scene.root / "loop").mkdir()
    (scene.root / "loop" / "again").symlink_to(scene.root / "loop")
    (scene.root / "one" / "up").symlink_to(scene.root)
    (scene.root / "latest").symlink_to("one")
    (scene.root / "out").symlink_to("/etc")
    scene.look()
    assert set(scene.news()[0]) == {"one"}
    assert set(scene.files.listed) == {"", "loop", "one"}


def test_files_that_are_no_streams_hide_no_run(scene: Scene) -> None:
    """Torn, empty and binary files where streams are expected leave a line with what could be read."""
    scene.write("one", 1)
    (scene.root / "one" / "parameters.jsonl").write_bytes(b"\x00\xff{not json\n[1,2]\n" + b"[" * 100_000 + b"\n")
    (scene.root / "one" / "run.jsonl").write_bytes(b'{"event":7,"host":[1],"pid":"x","_timestamp":"y"}\n{"event":"sta')
    (scene.root / "one" / ".notes.yml").write_bytes(b"\xff\xfe: [")
    scene.look()
    assert scene.news()[0] == {"one": 1}


# --- what can't be had for a while


@pytest.mark.parametrize("where", ["", "team", "team/run"])
def test_what_was_away_comes_back(scene: Scene, where: str) -> None:
    """A folder that can't be listed for a while takes its runs along, and brings them back without a change of its own."""
    scene.write("team/run", 1)
    scene.write("other", 1)
    scene.look()
    scene.files.refused, scene.files.why = where, NotHeld("Permission denied")
    scene.look(10)
    assert set(scene.lines()) == ({"other"} if where else set())
    scene.files.refused = None
    scene.look(10)
    assert set(scene.lines()) == {"team/run", "other"}
    assert not scene.index.is_scanning


def test_a_top_that_is_deleted_and_made_anew_is_seen(scene: Scene) -> None:
    """Whoever moves all runs away and back again need not restart the server."""
    scene.write("one", 1)
    scene.look()
    away = scene.root.with_name("away")
    scene.root.rename(away)
    scene.look(10)
    assert scene.lines() == {}
    away.rename(scene.root)
    scene.write("two", 1)
    scene.look(10)
    assert set(scene.lines()) == {"one", "two"}


@pytest.mark.parametrize("stream", ["run.jsonl", "metrics.jsonl", "parameters.jsonl"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_stream_that_could_not_be_read_is_read_later(scene: Scene, stream: str, *, is_known: bool) -> None:
    """It has not changed meanwhile; what was known of the run stands, and where nothing was the line says why."""
    scene.write("run", 7)
    (scene.root / "run/run.jsonl").write_bytes(b'{"event":"start","host":"a","pid":1,"_timestamp":1.8e9}\n')
    (scene.root / "run/parameters.jsonl").write_bytes(b'{"lr":0.5}\n')
    if is_known:
        scene.look()
        (scene.root / "run/note").touch()  # so that it is looked at again
        before = scene.lines()["run"]
    scene.files.refused, scene.files.why = f"run/{stream}", NotHeld("Permission denied")
    if is_known:
        with (scene.root / "run" / stream).open("ab") as file:
            file.write(b'{"_timestamp":1.9e9}\n')
    scene.look(5)
    line = scene.lines()["run"]
    assert line == before if is_known else "Permission denied" in line["trouble"]
    scene.files.refused = None
    scene.look(60)
    line = scene.lines()["run"]
    assert (line["step"], line["host"], line["params"], line.get("trouble")) == (7, "a", {"lr": 0.5}, None)


@pytest.mark.parametrize(
    ("host", "pid", "state"),
    [("elsewhere", 1, "silent"), (host_name(), os.getpid(), "silent"), (host_name(), 2**22 + 1, "killed")],
    ids=["elsewhere", "here", "gone"],  # the process's own number in a name would have each worker collect other tests
)
def test_of_a_copy_nobody_says_that_it_was_killed(scene: Scene, host: str, pid: int, state: str) -> None:
    """Nobody holds the lock of its file; it was killed only if its process ran here and is no more."""
    scene.files.is_of_this_machine = True
    scene.write("run", 1)
    start = {"event": "start", "host": host, "pid": pid, "_timestamp": 1.8e9}
    (scene.root / "run/run.jsonl").write_bytes(orjson.dumps(start) + b"\n")
    scene.look()
    assert scene.lines()["run"]["state"] == state


# --- what is kept


@pytest.fixture
def kept(tmp_path_factory: pytest.TempPathFactory) -> KeptLines:
    return KeptLines(ColumnCache(tmp_path_factory.mktemp("cache"), min_free_bytes=0), "place")


def test_an_index_shows_at_once_what_another_has_kept(tmp_path: Path, kept: KeptLines) -> None:
    """Without a look at any folder of a run; and when all were looked at, no file was opened."""
    before = Scene(tmp_path, kept)
    for number in range(20):
        before.write(f"sweep/run-{number}", number)
    before.look()
    again = Scene(tmp_path, kept)
    again.index.look(0.0)
    assert again.files.listed == []
    assert (again.index.is_scanning, again.index.is_recalled) == (True, True)
    assert again.lines() == before.lines()
    again.look()
    assert not again.index.is_scanning
    assert again.lines() == before.lines()
    assert again.files.opened == []


def test_what_changed_while_nobody_looked_is_seen(tmp_path: Path, kept: KeptLines) -> None:
    """A run that grew, one that came, one that went: the kept lines stand until a look has come by."""
    before = Scene(tmp_path, kept)
    for path in ("same", "grows", "goes", "stops/being/a run"):
        before.write(path, 1)
    before.look()
    before.write("grows", 2)
    before.write("comes", 3)
    shutil.rmtree(tmp_path / "goes")
    (tmp_path / "stops/being/a run/metrics.jsonl").unlink()
    again = Scene(tmp_path, kept)
    again.index.look(0.0)
    assert set(again.news()[0]) == {"same", "grows", "goes", "stops/being/a run"}
    again.look()
    assert (set(again.lines()), again.news()) == (
        {"same", "grows", "comes"},
        ({"grows": 2, "comes": 3}, ["stops/being/a run", "goes"]),
    )


def test_a_kept_run_that_was_running_is_asked_for_again(tmp_path: Path, kept: KeptLines) -> None:
    """No file of it has changed, its process is gone."""
    before = Scene(tmp_path, kept)
    before.write("run", 1)
    (tmp_path / "run/run.jsonl").write_bytes(b'{"event":"start","host":"a","pid":1,"_timestamp":1.8e9}\n')
    before.files.alive["run/run.jsonl"] = True
    before.look()
    again = Scene(tmp_path, kept)
    again.files.alive["run/run.jsonl"] = False
    again.index.look(0.0)
    assert again.lines()["run"]["state"] == "running"
    again.look()
    assert again.lines()["run"]["state"] == "killed"


def test_lines_are_kept_now_and_then_and_at_the_end(tmp_path: Path, kept: KeptLines) -> None:
    """When all were found, then when some have changed and much time has passed, and when somebody says so."""
    scene = Scene(tmp_path, kept)
    scene.write("run", 1)
    scene.look()
    assert set(kept.load()) == {"run"}
    scene.write("second", 1)
    scene.look(5)
    assert set(kept.load()) == {"run"}
    scene.look(KEPT_S)
    assert set(kept.load()) == {"run", "second"}
    scene.write("third", 1)
    scene.look(5)
    scene.index.keep()
    assert set(kept.load()) == {"run", "second", "third"}


def test_what_cannot_be_kept_is_found_again(tmp_path: Path, kept: KeptLines) -> None:
    """A run whose name no JSON can hold, and one that can't be read."""
    scene = Scene(tmp_path, kept)
    for path in ("good", "odd-\udcff"):
        scene.write(path, 1)
    scene.write("bad", 1)
    scene.files.refused = "bad/metrics.jsonl"
    scene.look()
    assert set(kept.load()) == {"good"}
    again = Scene(tmp_path, kept)
    again.look()
    assert set(again.lines()) == {"good", "odd-\\udcff", "bad"}
    assert "trouble" not in again.lines()["bad"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other version", "no JSON", "a folder"])
def test_kept_lines_that_are_damaged_are_none(tmp_path: Path, kept: KeptLines, damage: str) -> None:
    """They are made anew; nothing fails."""
    scene = Scene(tmp_path, kept)
    scene.write("run", 1)
    scene.look()
    (file,) = kept._cache.folder.glob("lines-*")
    body = file.read_bytes()
    changed = {
        "cut": body[:-10],
        "flipped": body[:-10] + b"X" + body[-9:],
        "empty": b"",
        "other version": body.replace(b'"version":"', b'"version":"9', 1),
        "no JSON": b"\xff\x00",
        "a folder": None,
    }[damage]
    file.unlink()
    if changed is None:
        file.mkdir()
    else:
        file.write_bytes(changed)
    assert kept.load() == {}
    again = Scene(tmp_path, kept)
    again.look()
    assert set(again.lines()) == {"run"}


def test_kept_lines_of_places_nobody_looks_at_are_let_go_of(tmp_path: Path) -> None:
    """After a month; others stay."""
    cache = ColumnCache(tmp_path, min_free_bytes=0)
    line = KeptLine("run", "x", (), (), "finished", 1.0, b"{}")
    for place in ("old", "young", "mine"):
        KeptLines(cache, place).save([line])
        if place == "old":
            (file,) = tmp_path.glob("lines-*")
            os.utime(file, (time.time() - 31 * 86_400,) * 2)
    found = {place: KeptLines(cache, place).load() for place in ("old", "young", "mine")}
    assert found == {"old": {}, "young": {"run": line}, "mine": {"run": line}}


def test_nothing_is_kept_on_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    """It costs the next index its time, and nothing else."""
    kept = KeptLines(ColumnCache(tmp_path / "cache", min_free_bytes=1 << 62), "place")
    scene = Scene(tmp_path / "runs", kept)
    scene.write("run", 1)
    scene.look()
    assert set(scene.lines()) == {"run"}
    assert not (tmp_path / "cache").exists()


def test_the_agenda_knows_each_folder_once() -> None:
    """Put again, a folder is due at the new time only; dropped, never."""
    agenda = Agenda()
    agenda.put("a", 5.0)
    agenda.put("b", 3.0)
    agenda.put("a", 1.0)
    assert (agenda.maybe_next(0.5), agenda.next_at_s()) == (None, 1.0)
    assert agenda.maybe_next(9.0) == "a"
    agenda.drop("b")
    assert (agenda.maybe_next(9.0), agenda.next_at_s()) == (None, None)


def test_rests_grow_with_quiet() -> None:
    """From a moment to seconds, to a minute where there are many; beside runs, and of one that is written, less."""
    rests = [rest_s(quiet_s, is_alive=False, has_runs=False) for quiet_s in (0, 60, 600, 1e9)]
    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (SOONEST_S, QUIET_S)
    assert rest_s(1e9, is_alive=False, has_runs=False, latest_s=LATEST_S) == LATEST_S
    assert rest_s(1e9, is_alive=False, has_runs=True, latest_s=LATEST_S) < LATEST_S / 10
    assert rest_s(1e9, is_alive=True, has_runs=False) == SOONEST_S


def test_looking_at_all_in_turn_takes_half_of_what_looking_may_cost() -> None:
    """The other half is for what changes."""
    assert 1000 * 0.001 / affordable_s(0.001, 1000) == 1 / SHARE / 2
