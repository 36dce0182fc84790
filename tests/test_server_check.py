"""The check of a data directory finds what does not belong there, and mends nothing that may have been acknowledged."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
import requests
from batches import append, apply, commit, content_of, stage
from processes import BIN, TOKEN, Commands, read_mirror, wait_until

from ml_logger import wire
from ml_logger.server.cli import main
from ml_logger.server.disk import Disk
from ml_logger.server.inspection import Inspection
from ml_logger.server.local_store import STAGE_KEEP_S, LocalStore
from ml_logger.server.store import Finding
from ml_logger.server.tree import Tree
from ml_logger.testing.disk import let_go
from ml_logger.wire import Manifest

LINES = b'{"_step":0}\n{"_step":1}\n'
DAY_S = 24 * 3600


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data directory that was served and stopped in order, with a stream and a whole file."""
    with closing(LocalStore(tmp_path / "data")) as store:
        apply(store, append("run/m.jsonl", LINES), commit("run/w.npy", b"whole"))
    return tmp_path / "data"


def found(data_dir: Path, *, repair: bool = False) -> list[Finding]:
    with closing(Tree(data_dir, Disk())) as tree:
        return list(Inspection(tree, repair=repair, upload_keep_s=STAGE_KEEP_S).findings())


def kinds(findings: list[Finding]) -> dict[str, str]:
    return {finding.path: finding.kind for finding in findings}


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_what_root_mends_is_the_receivers(data_dir: Path) -> None:
    """Files and folders that `check --repair` brings back, run as root, belong to whom the tree does."""
    store = LocalStore(data_dir, keeps_house=False)
    apply(store, append("new/m.jsonl", LINES), commit("new/images/w.png", b"png"))
    let_go(data_dir)
    shutil.rmtree(data_dir / "new")
    (data_dir / ".ml-logger" / "locks").unlink()
    for path in (data_dir, *data_dir.rglob("*")):
        os.chown(path, 12345, 12346)
    assert {finding.kind for finding in found(data_dir, repair=True)} == {"redo"}
    owners = {str(path): (path.stat().st_uid, path.stat().st_gid) for path in data_dir.rglob("*")}
    assert (data_dir / "new" / "images" / "w.png").read_bytes() == b"png"
    assert set(owners.values()) == {(12345, 12346)}, owners


def test_nothing_is_found_where_all_is_well(data_dir: Path) -> None:
    """A directory that was stopped in order has no findings."""
    assert found(data_dir) == []


def test_what_does_not_belong_there(data_dir: Path) -> None:
    """Links, pipes, sockets, names of no path and temporary names are told by kind, and never entered, mended or removed."""
    (data_dir / "run/link").symlink_to("/etc")
    os.mkfifo(data_dir / "run/pipe")
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(data_dir)  # such names are short
        server.bind("run/socket")
    (data_dir / "run/a\\b").mkdir()
    (data_dir / "run/a\\b/below").write_bytes(b"x")
    (data_dir / os.fsdecode(b"latin\xe9")).write_bytes(b"x")
    (data_dir / "run/.w.npy.tmp-0123456789abcdef").write_bytes(b"x")
    before = sorted(map(str, data_dir.rglob("*")))
    for repair in (False, True):
        findings = found(data_dir, repair=repair)
        assert kinds(findings) == {
            "run/link": "link",
            "run/pipe": "special",
            "run/socket": "special",
            "run/a\\b": "name",
            "latin\udce9": "name",
            "run/.w.npy.tmp-0123456789abcdef": "temporary",
        }
        assert not any(finding.is_mended for finding in findings)
    assert sorted(map(str, data_dir.rglob("*"))) == before


def test_torn_streams(data_dir: Path) -> None:
    """A last line without an end stays, NULs that nobody was told of are cut off, and other bytes behind the same name stay."""
    contents = {
        "cut.jsonl": LINES + b'{"_st',
        "nuls.jsonl": LINES + bytes(5000),
        "only-nuls.log": bytes(100),
        "events.out.tfevents.1": b"binary",
        "whole.npy": bytes(100),
        "empty.jsonl": b"",
    }
    for name, content in contents.items():
        (data_dir / name).write_bytes(content)
    told = {"cut.jsonl": "torn-line", "nuls.jsonl": "nul-tail", "only-nuls.log": "nul-tail"}
    assert kinds(found(data_dir)) == told
    assert {name: (data_dir / name).read_bytes() for name in contents} == contents
    mended = found(data_dir, repair=True)
    assert kinds(mended) == told
    assert {finding.path for finding in mended if finding.is_mended} == {"nuls.jsonl", "only-nuls.log"}
    contents |= {"nuls.jsonl": LINES, "only-nuls.log": b""}
    assert {name: (data_dir / name).read_bytes() for name in contents} == contents
    assert kinds(found(data_dir)) == {"cut.jsonl": "torn-line"}


def test_acknowledged_nuls_stay(tmp_path: Path) -> None:
    """NULs at a stream's end that somebody was told of are never cut off."""
    with closing(LocalStore(tmp_path / "data")) as store:
        apply(store, append("m.jsonl", LINES + bytes(100)))
    assert kinds(found(tmp_path / "data", repair=True)) == {"m.jsonl": "torn-line"}
    assert (tmp_path / "data/m.jsonl").read_bytes() == LINES + bytes(100)


@pytest.mark.parametrize("stamp", [b"", b"source\0", b"source\x000123", b"\xff\xfe", b"s\0" + b"x" * 12])
def test_a_torn_stamp(data_dir: Path, stamp: bytes) -> None:
    """A stamp that no version has written is told; that of an earlier version is not one."""
    os.setxattr(data_dir / "run/w.npy", "user.ml_logger.source", b"source alone")
    assert found(data_dir) == []
    os.setxattr(data_dir / "run/w.npy", "user.ml_logger.source", stamp)
    assert kinds(found(data_dir, repair=True)) == {"run/w.npy": "stamp"}


class BadSectors(Disk):
    """A disk that does not give back the files of a run."""

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        if name in ("m.jsonl", "w.npy"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().open_file(name, flags, folder_fd)


def test_unreadable_files(data_dir: Path) -> None:
    """What the disk does not give back is told file by file, and the look goes on."""
    with closing(Tree(data_dir, BadSectors())) as tree:
        findings = list(Inspection(tree, repair=True, upload_keep_s=STAGE_KEEP_S).findings())
    assert kinds(findings) == {"run/m.jsonl": "unreadable", "run/w.npy": "unreadable"}
    assert "Input/output error" in findings[0].detail


def test_temporary_files_and_uploads(data_dir: Path) -> None:
    """Old ones are removed unless somebody holds them; an upload that may be resumed is told of when it is stale, and kept."""
    with closing(LocalStore(data_dir)) as store:
        for number in range(4):
            apply(store, stage(f"large{number}", LINES, 0, 5, upload="u"))
    young, stale, old, held = sorted((data_dir / ".ml-logger/stage").iterdir())
    age(stale, DAY_S)
    age(old, STAGE_KEEP_S + DAY_S)
    age(held, STAGE_KEEP_S + DAY_S)
    tmp = data_dir / ".ml-logger/tmp"
    for name in ("fresh-1", "fresh-2", "newborn"):
        (tmp / name).write_bytes(b"x")
    age(tmp / "fresh-1", DAY_S)
    age(tmp / "fresh-2", DAY_S)
    with held.open("rb") as one, (tmp / "fresh-2").open("rb") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX)
        expected = {
            str(stale.relative_to(data_dir)): "staged",
            str(old.relative_to(data_dir)): "staged",
            ".ml-logger/tmp/fresh-1": "temporary",
        }
        assert kinds(found(data_dir)) == expected
        assert kinds(found(data_dir, repair=True)) == expected
    assert {path.name for path in tmp.iterdir()} == {"fresh-2", "newborn"}
    assert set((data_dir / ".ml-logger/stage").iterdir()) == {young, stale, held}


# --- a receiver that died, and one that lives


def send(url: str, *parts: tuple[wire.Item, bytes]) -> list[str]:
    manifest = Manifest("me", tuple(item for item, _ in parts))
    body = wire.encode_batch(manifest, [payload for _, payload in parts], compress=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = requests.post(f"{url}/v1/batch", data=body, headers=headers, timeout=30)
    return [outcome.result for outcome in wire.decode_answer(answer.content, manifest.items).outcomes]


def test_what_a_dead_receiver_left_is_redone(commands: Commands, tmp_path: Path) -> None:
    """Without --repair the log and the files that lack its changes are told; with it they are whole again; then all is well."""
    receiver = commands.start_receiver(tmp_path / "data")
    assert send(receiver.url, append("m.jsonl", LINES), commit("w.npy", b"whole")) == ["stored", "stored"]
    receiver.kill()
    (tmp_path / "data/m.jsonl").write_bytes(LINES[:12])
    check = ("ml-logger-server", "check", "--data-dir", tmp_path / "data")
    told = commands.run(*check)
    assert told.process.returncode == 1
    assert "2 changes that no receiver has redone\n" in told.stdout
    assert "crc 'm.jsonl': 24 bytes were acknowledged, 12 are held\n" in told.stdout
    assert (tmp_path / "data/m.jsonl").read_bytes() == LINES[:12]
    mended = commands.run(*check, "--repair", "--json")
    (record,) = map(orjson.loads, mended.stdout.splitlines())
    assert (mended.process.returncode, record["kind"], record["mended"]) == (1, "redo", True)
    assert read_mirror(tmp_path / "data") == {b"m.jsonl": LINES, b"w.npy": b"whole"}
    clean = commands.run(*check, env={"ML_LOGGER_SERVER_HOST": "unused"})
    assert (clean.process.returncode, clean.stdout, clean.stderr) == (0, "", "")


def test_other_bytes_than_the_log_says_are_told_and_left(data_dir: Path, commands: Commands) -> None:
    """A file that was changed by hand since the crash is not what was acknowledged: told, after redoing too, and kept."""
    receiver = commands.start_receiver(data_dir)
    assert send(receiver.url, append("x.jsonl", LINES)) == ["stored"]
    receiver.kill()
    (data_dir / "x.jsonl").write_bytes(other := LINES.upper() + b"longer\n")
    assert kinds(found(data_dir, repair=True)).items() >= {"x.jsonl": "crc"}.items()
    assert (data_dir / "x.jsonl").read_bytes() == other


def test_beside_a_running_receiver(commands: Commands, tmp_path: Path) -> None:
    """While batches come in, again and again mending finds nothing, disturbs nothing and loses nothing."""
    receiver = commands.start_receiver(tmp_path / "data")
    content, is_over = b"".join(b'{"_step":%d}\n' % n for n in range(100)), threading.Event()
    sent: list[str] = []

    def ship() -> None:
        ends = [0, *(at + 1 for at, byte in enumerate(content) if byte == ord("\n"))]
        for start, end in pairwise(ends):
            sent.extend(send(receiver.url, append("m.jsonl", content, start, end), commit(f"w/{start}", b"whole")))
        is_over.set()

    thread = threading.Thread(target=ship)
    thread.start()
    while not is_over.is_set():
        assert found(tmp_path / "data", repair=True) == []
    thread.join()
    assert set(sent) == {"stored"}
    receiver.kill()
    assert main(["check", "--repair", "--data-dir", str(tmp_path / "data")]) == 1
    assert read_mirror(tmp_path / "data")[b"m.jsonl"] == content
    assert len(read_mirror(tmp_path / "data")) == 101


def test_a_receiver_that_starts_beside_a_look_redoes_all_the_same(data_dir: Path, commands: Commands) -> None:
    """A segment that a check has locked for a moment is waited for, not passed over as another receiver's."""
    receiver = commands.start_receiver(data_dir)
    assert send(receiver.url, append("x.jsonl", LINES)) == ["stored"]
    receiver.kill()
    (data_dir / "x.jsonl").unlink()
    (segment,) = (data_dir / ".ml-logger/redo").glob("*.redo")
    stores: list[LocalStore] = []
    with segment.open("rb") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        thread = threading.Thread(target=lambda: stores.append(LocalStore(data_dir, keeps_house=False)))
        thread.start()
        inode = segment.stat().st_ino
        wait_until(lambda: _openings(inode) > 1, what="the store to open the segment")
    thread.join()
    assert content_of(stores[0], "x.jsonl") == LINES
    stores[0].close()


def _openings(inode: int) -> int:
    numbers = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            numbers.append(os.stat(f"/proc/self/fd/{name}").st_ino)
    return numbers.count(inode)


# --- the command


@pytest.fixture
def odd(data_dir: Path) -> Iterator[Path]:
    (data_dir / os.fsdecode(b"latin\xe9\n")).write_bytes(b"x")
    yield data_dir


def test_one_line_a_finding(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Odd names stay in one line of plain characters, as text and as JSON."""
    assert main(["check", "--data-dir", str(odd)]) == 1
    assert capsys.readouterr().out.startswith(r"name 'latin\udce9\n': not shown to anybody: ")
    assert main(["check", "--json", "--data-dir", str(odd)]) == 1
    record = orjson.loads(capsys.readouterr().out)
    assert (record["kind"], record["path"], record["mended"]) == ("name", "latin\\xe9\n", False)


def test_misuse_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no data directory is not touched: exit code 2, one line."""
    (tmp_path / "home").mkdir()
    for arguments in ([], ["--data-dir", str(tmp_path / "home")], ["--data-dir", str(tmp_path / "none")], ["--what"]):
        assert main(["check", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]
    assert list((tmp_path / "home").iterdir()) == []


def test_the_config_names_the_directory(odd: Path, tmp_path: Path) -> None:
    """A server.yaml will do in place of the flag."""
    (tmp_path / "server.yaml").write_text(f"data_dir: {odd}\n")
    assert main(["check", "--config", str(tmp_path / "server.yaml")]) == 1


def test_reader_of_the_output_goes_away(odd: Path) -> None:
    """A closed pipe (`check | head`) ends the command without a traceback."""
    command = [BIN / "ml-logger-server", "check", "--data-dir", odd]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, shown = process.communicate(timeout=60)
    assert (process.returncode, shown) == (1, b"")
