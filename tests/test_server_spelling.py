"""Names that differ only in case: kept apart where the file system can, refused clearly where it can't."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from batches import Part, append, apply, commit, content_of, held_of
from processes import Commands, assert_trees_equal
from small_disk import SmallDisk

from ml_logger.errors import BadPath, NotHeld
from ml_logger.server.disk import Disk
from ml_logger.server.local_store import LocalStore

LINES = b'{"_step":0}\n' * 3
BLIND = ("vfat", "ext4-casefold", "ntfs-case-blind")


class BlindDisk(Disk):
    """A disk that takes names that differ only in case for one."""

    opens_paths = False

    def _own(self, name: str, folder_fd: int) -> str:
        names = os.listdir(folder_fd)
        return next((n for n in names if n.casefold() == name.casefold()), name)

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        return super().open_file(self._own(name, folder_fd), flags, folder_fd)

    def open_folder(self, name: str, folder_fd: int) -> int:
        return super().open_folder(self._own(name, folder_fd), folder_fd)

    def make_folder(self, name: str, folder_fd: int) -> None:
        super().make_folder(self._own(name, folder_fd), folder_fd)

    def link_unnamed(self, fd: int, new_name: str, new_folder_fd: int) -> None:
        super().link_unnamed(fd, self._own(new_name, new_folder_fd), new_folder_fd)


@pytest.fixture
def blind(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "data", disk=BlindDisk())
    yield store
    store.close()


def said(store: LocalStore, *parts: Part) -> list[tuple[str, str | None]]:
    return [(outcome.result, outcome.reason) for outcome in apply(store, *parts)]


def refusal(path: str, twin: str) -> tuple[str, str]:
    reason = f"path {path!a}: differs only in case from {twin!a}, and this file system can't keep them apart"
    return "rejected", reason


def test_where_the_file_system_can_they_are_kept_apart(tmp_path: Path) -> None:
    """Two names that differ in case are two files, in one batch too."""
    store = LocalStore(tmp_path / "data")
    assert (
        said(store, append("Run/m", LINES), append("run/M", b"x\n"), append("run/m", b"y\n")) == [("stored", None)] * 3
    )
    assert (content_of(store, "Run/m"), content_of(store, "run/M"), content_of(store, "run/m")) == (
        LINES,
        b"x\n",
        b"y\n",
    )
    store.close()


@pytest.mark.parametrize("first", [append, commit])
@pytest.mark.parametrize("second", [append, commit])
def test_where_it_can_not_the_second_is_refused(blind: LocalStore, first: type, second: type) -> None:
    """A file is refused where another one has its name in other letters; that one stays as it is and goes on."""
    assert said(blind, first("run/metrics.jsonl", LINES)) == [("stored", None)]
    for content in (b"other\n", LINES, LINES + b"more\n"):
        assert said(blind, second("run/Metrics.jsonl", content)) == [refusal("run/Metrics.jsonl", "metrics.jsonl")]
    assert content_of(blind, "run/metrics.jsonl") == LINES
    assert said(blind, first("run/metrics.jsonl", LINES)) == [("already", None)]


@pytest.mark.parametrize("kind", [append, commit])
def test_in_one_batch_the_first_is_stored(blind: LocalStore, kind: type) -> None:
    """Of names in one batch that differ only in case one is stored, and what is beside them."""
    outcomes = said(blind, kind("B", b"1\n"), kind("a", b"2\n"), kind("b", b"3\n"), kind("c", b"4\n"))
    assert outcomes == [("stored", None), ("stored", None), refusal("b", "B"), ("stored", None)]
    assert content_of(blind, "B") == b"1\n"


def test_folders_have_one_spelling_too(blind: LocalStore) -> None:
    """A file is refused below a folder that is there in other letters, and a folder in the place of a file."""
    assert said(blind, append("Team/run/m", LINES))[0][0] == "stored"
    assert said(blind, append("team/run/n", LINES)) == [refusal("team/run", "Team")]
    assert said(blind, append("Team/RUN/n", LINES)) == [refusal("Team/RUN", "run")]
    assert said(blind, append("Team/Run", LINES))[0][0] == "rejected"


def test_another_spelling_is_not_held(blind: LocalStore) -> None:
    """Nobody reads, lists or asks about a file under another spelling."""
    apply(blind, append("run/m", LINES))
    assert blind.stat(["run/m", "run/M", "Run/m"]) == [held_of(LINES), None, None]
    for path in ("run/M", "Run/m"):
        with pytest.raises(NotHeld):
            blind.open(path)
    with pytest.raises((NotHeld, BadPath)):
        blind.list("Run")
    assert [entry.name for entry in blind.list("run").entries] == ["m"]


@pytest.mark.parametrize("kind", BLIND)
def test_a_receiver_on_a_real_case_blind_disk(commands: Commands, tmp_path: Path, kind: str) -> None:
    """Everything an agent ships arrives there, survives a restart, and a second spelling is refused with the reason."""
    disk = SmallDisk(tmp_path / "mirror", kind)
    try:
        server = tmp_path / "server.yaml"
        server.write_text(f"data_dir: {tmp_path}/mirror/data\nmin_free_bytes: 1000000\n")
        receiver = commands.start_receiver(tmp_path / "mirror/data", "--config", str(server), before=disk.machine.enter)
        spool = tmp_path / "spool"
        (spool / "run/images").mkdir(parents=True)
        (spool / "run/metrics.jsonl").write_bytes(LINES)
        (spool / "run/images/0.png").write_bytes(os.urandom(100_000))
        (spool / "run/model.pt").write_bytes(os.urandom(2_000_000))
        config = commands.write_agent_config(spool, receiver.url)
        commands.drain(config)
        receiver.kill()
        receiver.restart()
        (spool / "run/model.pt").write_bytes(os.urandom(1_500_000))
        with (spool / "run/metrics.jsonl").open("ab") as file:
            file.write(LINES)
        commands.drain(config)
        assert_trees_equal(spool, disk.seen / "data")
        (spool / "run/Metrics.jsonl").write_bytes(b"{}\n")
        agent = commands.start_agent(config, "--once")
        assert agent.wait() == 1
        assert "differs only in case from 'metrics.jsonl'" in agent.stderr
        assert (disk.seen / "data/run/metrics.jsonl").read_bytes() == LINES * 2
    finally:
        commands.end_all()
        disk.end()
