"""What was deleted on the receiver is done for the agent: never sent again, no error, and in nobody's way."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import requests
from direct import Pair
from processes import TOKEN, read_mirror, wait_until
from scene import Scene

from ml_logger.agent.config import RetentionSettings
from ml_logger.agent.deletion import Broom, Errand
from ml_logger.agent.ledger import Ledger, peek
from ml_logger.agent.retention import plan
from ml_logger.agent.scanner import LocalFile, Signature, Walk
from ml_logger.server.trash_cli import main as trash

LINE = b'{"_step": 1, "loss": 0.25}\n'


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, settle_s=2.0, batch_bytes=4096)
    yield made
    made.close()


def fill(pair: Pair) -> None:
    for run in ("run", "other"):
        pair.append(f"{run}/run.jsonl", LINE)
        pair.append(f"{run}/metrics.jsonl", LINE * 100)
        pair.write(f"{run}/images/0.png", b"12345")


def names(pair: Pair) -> set[str]:
    return {os.fsdecode(name) for name in read_mirror(pair.data_dir)}


def test_a_deleted_run_is_not_sent_again(pair: Pair) -> None:
    """What grows or is new in it is tried once and then left alone, also after a restart; other runs go on."""
    fill(pair)
    pair.drain()
    pair.transport.store.delete("run", "alice")
    for run in ("run", "other"):
        pair.append(f"{run}/metrics.jsonl", LINE)
        pair.write(f"{run}/images/1.png", b"67890")
    pair.drain()
    assert names(pair) == {f"other/{name}" for name in ("run.jsonl", "metrics.jsonl", "images/0.png", "images/1.png")}
    assert pair.shipper.progress().gone_files == 2
    pair.ledger.save()
    for _ in range(2):
        before = len(pair.transport.sent), len(pair.transport.stats)
        pair.append("run/metrics.jsonl", LINE)
        pair.write("run/images/1.png", b"another")
        pair.drain()
        assert (len(pair.transport.sent), len(pair.transport.stats)) == before
        assert pair.shipper.progress().gone_files == 2
        assert pair.shipper.progress().aside == ()
        pair.restart_agent()


def test_it_is_said_once_a_run(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """However many files of a run are gone, the log has one line, which names the run."""
    for number in range(50):
        pair.write(f"a/run/images/{number}/0.png", b"%d" % number)
    pair.append("a/run/run.jsonl", LINE)
    pair.drain()
    pair.transport.store.delete("a/run", "alice")
    with caplog.at_level(logging.INFO):
        for number in range(50):
            pair.write(f"a/run/images/{number}/1.png", b"%d" % number)
        pair.drain()
    (line,) = [record.getMessage() for record in caplog.records if "deleted on the receiver" in record.getMessage()]
    assert "'a/run'" in line


def test_a_large_file_under_way(pair: Pair) -> None:
    """An upload of many pieces ends with the first that is answered so."""
    pair.write("run/model.pt", bytes(200_000))
    pair.append("run/run.jsonl", LINE)
    pair.now_s += 3600 * 24 * 365 * 100
    pair.shipper.ship_once()
    pair.transport.store.delete("run", "alice")
    pair.write("run/next.pt", bytes(200_001))
    pair.drain()
    assert pair.transport.sent_bytes < 500_000
    assert names(pair) == set()


def test_a_lifted_tombstone_and_a_new_file(pair: Pair) -> None:
    """Once the name is free at the receiver, a file that is new in the spool under it is shipped."""
    fill(pair)
    pair.drain()
    pair.transport.store.delete("run", "alice")
    pair.append("run/metrics.jsonl", LINE)
    pair.drain()
    trash(["forget", "run", "--data-dir", str(pair.data_dir)])
    pair.append("run/metrics.jsonl", LINE)
    pair.drain()
    assert "run/metrics.jsonl" not in names(pair)
    (pair.spool / "run/metrics.jsonl").unlink()
    pair.drain()
    pair.append("run/metrics.jsonl", LINE * 2)
    pair.drain()
    assert read_mirror(pair.data_dir)[b"run/metrics.jsonl"] == LINE * 2


def test_a_receiver_that_was_restored_is_not_asked_about_it(pair: Pair) -> None:
    """Doubt about what is held is no doubt about what is not wanted."""
    fill(pair)
    pair.drain()
    pair.transport.store.delete("run", "alice")
    pair.append("run/metrics.jsonl", LINE)
    pair.drain()
    (pair.data_dir / ".ml-logger" / "lineage").unlink()
    pair.restart_receiver()
    pair.transport.stats.clear()
    pair.drain()
    asked = {path for paths in pair.transport.stats for path in paths}
    assert "other/metrics.jsonl" in asked
    assert "run/metrics.jsonl" not in asked


def test_the_ledger_keeps_it(pair: Pair) -> None:
    """It is read back as gone, and by an older agent, which knows no such thing, as done."""
    fill(pair)
    pair.drain()
    pair.transport.store.delete("run", "alice")
    pair.append("run/metrics.jsonl", LINE)
    pair.drain()
    pair.ledger.save()
    file = pair.state_dir / "ledger.sqlite"
    entry = (peek(file, "") or {})["run/metrics.jsonl"]
    assert (entry.is_done, entry.is_gone, entry.held) == (True, True, None)
    with_others = Ledger(pair.state_dir / "copy.sqlite")
    with_others.put("x", entry)
    assert with_others.gone_files == 1
    with_others.forget("x")
    assert with_others.gone_files == 0
    with_others.close()


def test_retention_takes_it_by_age_alone(pair: Pair) -> None:
    """A full spool takes nothing that may be the last copy; what has not changed for keep_s goes as any other file."""
    fill(pair)
    pair.drain()
    pair.transport.store.delete("run", "alice")
    pair.append("run/metrics.jsonl", LINE)
    pair.drain()
    file = LocalFile("run/metrics.jsonl", Signature(2800, 1, 1, 1, 1))
    for settings, wanted in (
        (RetentionSettings(max_spool_bytes=1), []),
        (RetentionSettings(keep_s=10.0), ["run/metrics.jsonl"]),
    ):
        made = plan(
            [file],
            file.signature.size,
            entry_of=pair.ledger.get,
            rests_for_s=lambda _path: 0.0,
            now_ns=10**18,
            settings=settings,
            settle_s=2.0,
        )
        assert [candidate.file.path for candidate in made.candidates] == wanted


def test_retention_deletes_it(pair: Pair) -> None:
    """It goes though the receiver holds nothing of it, and stays if the receiver holds something again."""
    pair.append("run/a.log", LINE)
    pair.append("run/b.log", LINE)
    pair.drain()
    pair.transport.store.delete("run", "alice")
    for name in ("a", "b"):
        pair.append(f"run/{name}.log", LINE)
    pair.drain()
    trash(["restore", "run", "--data-dir", str(pair.data_dir)])
    pair.transport.store.delete("run/a.log", "alice")
    walk = Walk.of(pair.shipper._memory.config, pair.spool)
    walk.look(None)
    made = plan(
        walk.files(),
        walk.size_bytes,
        entry_of=pair.ledger.get,
        rests_for_s=lambda _path: 0.0,
        now_ns=int(4e18),
        settings=RetentionSettings(keep_s=10.0),
        settle_s=2.0,
    )
    broom = Broom(pair.spool, pair.transport.stat, lambda: int(4e18), lambda _s: None)
    swept = broom.sweep(Errand(made.candidates))
    assert [candidate.file.path for candidate in swept.deleted] == ["run/a.log"]
    assert [kept.path for kept in swept.kept] == ["run/b.log"]


# --- real processes


def test_a_run_deleted_while_it_is_shipped(scene: Scene) -> None:
    """It stays deleted, by a live agent and by one that is started again; the other run arrives; nothing is an error."""
    doomed, other = scene.train("doomed"), scene.train("other", steps=300)
    agent = scene.start_agent()
    wait_until(lambda: (scene.mirror / "doomed" / "metrics.jsonl").exists(), what="the first lines")
    answer = requests.delete(
        f"{scene.receiver.url}/v1/files/doomed", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    wait_until(lambda: "deleted on the receiver" in agent.stderr, what="the agent's word")
    other.wait()
    wait_until(lambda: "gone        deleted on the receiver" in status(scene), what="status")
    doomed.kill()
    assert agent.terminate(60) == 0, agent.tail()
    assert agent.stderr.count("deleted on the receiver") == 1
    scene.commands.drain(scene.config())
    assert not (scene.mirror / "doomed").exists()
    spool = {path.name: path.read_bytes() for path in (scene.spool / "other").iterdir() if path.is_file()}
    assert {p.name: p.read_bytes() for p in (scene.mirror / "other").iterdir() if p.is_file()} == spool
    shown = scene.commands.run("ml-logger-agent", "status", "--json", "--config", scene.config())
    assert shown.process.returncode == 0
    (said,) = orjson.loads(shown.stdout)["spools"]
    assert said["gone_files"] > 0
    assert said["aside"] == []
    assert said["backlog_files"] == 0


def status(scene: Scene) -> str:
    return scene.commands.run("ml-logger-agent", "status", "--config", scene.config()).stdout


def test_the_trash_beside_a_running_receiver(scene: Scene) -> None:
    """The command puts a run back under a receiver at work, whose HTTP side has it at once."""
    scene.train("run", steps=5).wait()
    scene.commands.drain(scene.config())
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{scene.receiver.url}/v1/files/run"
    assert requests.delete(url, headers=headers, timeout=30).status_code == 200
    assert requests.get(f"{url}/metrics.jsonl", headers=headers, timeout=30).status_code == 410
    listing = scene.commands.run("ml-logger-server", "trash", "list", "--data-dir", scene.mirror)
    assert "by token" in listing.stdout
    back = scene.commands.run("ml-logger-server", "trash", "restore", "run", "--data-dir", scene.mirror)
    assert back.process.returncode == 0, back.tail()
    answer = requests.get(f"{url}/metrics.jsonl", headers=headers, timeout=30)
    assert answer.content == (scene.spool / "run" / "metrics.jsonl").read_bytes()
    again = scene.commands.run("ml-logger-server", "trash", "restore", "run", "--data-dir", scene.mirror)
    assert again.process.returncode == 2
    assert "is no deletion" in again.stderr
