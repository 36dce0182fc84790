"""The receiver with little room: a disk at its floor, and requests that want more memory than they may have."""

from __future__ import annotations

import threading
from pathlib import Path

import requests
from batches import append
from processes import TOKEN, Commands, assert_trees_equal, wait_first_line, wait_until
from small_disk import SmallDisk

from ml_logger import wire
from ml_logger.wire import Manifest

LINES = b'{"_step":0}\n' * 1000
EXPANDED = 8 << 20
SLOTS = 2


def test_an_agent_waits_while_the_disk_is_at_its_floor(commands: Commands, tmp_path: Path) -> None:
    """It is told the bytes wanted and free and the floor, sends nothing in vain, and goes on by itself once there is room."""
    disk = SmallDisk(tmp_path / "mirror")
    try:
        server = tmp_path / "server.yaml"
        server.write_text(f"data_dir: {tmp_path}/mirror/data\nmin_free_bytes: 100000\n")
        receiver = commands.start_receiver(tmp_path / "mirror/data", "--config", str(server), before=disk.machine.enter)
        spool = tmp_path / "spool"
        (spool / "run").mkdir(parents=True)
        (spool / "run/before.jsonl").write_bytes(LINES)
        agent = commands.start_agent(commands.write_agent_config(spool, receiver.url))
        wait_until(lambda: (disk.seen / "data/run/before.jsonl").exists(), 30, f"the first file\n{agent.tail()}")
        disk.fill()
        (spool / "run/model.pt").write_bytes(bytes(20_000))
        wait_until(lambda: "bytes wanted" in agent.stderr, 30, f"the refusal\n{agent.tail()}")
        assert "20000 bytes wanted, 0 free, the floor is 100000" in agent.stderr
        assert not (disk.seen / "data/run/model.pt").exists()
        disk.free()
        wait_until(lambda: (disk.seen / "data/run/model.pt").exists(), 60, f"the rest\n{agent.tail()}")
        assert agent.terminate() == 0
        assert_trees_equal(spool, disk.seen / "data")
    finally:
        commands.end_all()
        disk.end()


def test_a_receiver_that_starts_on_a_full_disk_waits_for_room(commands: Commands, tmp_path: Path) -> None:
    """It says that there is none and neither ends nor answers; once there is some, it serves, with nobody's doing."""
    disk = SmallDisk(tmp_path / "mirror", "ext4")
    try:
        (disk.seen / "data").mkdir()
        disk.fill()
        words = ("--data-dir", tmp_path / "mirror/data", "--port", 0, "--token-file", commands.token_file())
        receiver = commands.start("ml-logger-server", *words, before=disk.machine.enter)
        wait_until(lambda: "no room for what a start writes" in receiver.stderr, 30, "a word of the full disk")
        assert receiver.is_alive
        assert receiver.stdout == ""
        disk.free()
        assert wait_first_line(receiver, 60).startswith("http://")
        assert receiver.terminate() == 0
    finally:
        commands.end_all()
        disk.end()


def bombs() -> dict[str, tuple[bytes, int]]:
    """Return bodies that want to be much larger than they may be, by name, with the status each gets."""
    plain = wire.compress_parts([bytes(1 << 20)] * 200)
    assert plain[:4] == b"\x28\xb5\x2f\xfd"
    skippable = b"\x50\x2a\x4d\x18" + (1 << 16).to_bytes(4, "little") + bytes(1 << 16)
    wide = b"\x28\xb5\x2f\xfd\x00\x88" + plain[6:]  # no size, and a window of 128 MiB
    small = wire.compress_parts([b"x"])
    return {
        "plain": (plain, 413),
        "many frames": (small * 10_000, 400),
        "skippable frames": (skippable * 20 + plain, 400),
        "a size that lies": (plain[:5] + b"\x01\x00\x00\x00" + plain[9:], 400),
        "a wide window": (wide, 400),
    }


def test_bombs_cost_bounded_memory(commands: Commands, tmp_path: Path) -> None:
    """While twenty bombs come, each is refused, a good agent's file arrives, and memory stays within what the limits say."""
    server = tmp_path / "server.yaml"
    server.write_text(
        f"data_dir: {tmp_path}/mirror\nlimits: {{max_expanded_bytes: {EXPANDED}, max_requests_in_memory: {SLOTS}}}\n"
    )
    receiver = commands.start_receiver(tmp_path / "mirror", "--config", str(server))
    warm_up(receiver.url)
    before = most_resident_bytes(receiver.running.process.pid)
    answers: list[tuple[str, int, int]] = []

    def attack(name: str, body: bytes, status: int) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "zstd"}
        answer = requests.post(f"{receiver.url}/v1/batch", data=body, headers=headers, timeout=60)
        answers.append((name, answer.status_code, status))

    threads = [threading.Thread(target=attack, args=(name, *bomb)) for name, bomb in bombs().items() for _ in range(4)]
    for thread in threads:
        thread.start()
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "m.jsonl").write_bytes(LINES)
    commands.drain(commands.write_agent_config(spool, receiver.url))
    for thread in threads:
        thread.join(60)
    assert len(answers) == 20
    assert [answer for answer in answers if answer[1] != answer[2]] == []
    assert most_resident_bytes(receiver.running.process.pid) - before < SLOTS * EXPANDED * 2 + (16 << 20)
    assert_trees_equal(spool, tmp_path / "mirror")


def warm_up(url: str) -> None:
    """Have one good batch stored, so that what a first request loads is there."""
    item, payload = append("m.jsonl", LINES, 0, 12)
    body = wire.encode_batch(Manifest("first", (item,)), [payload], compress=True)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "zstd"}
    assert requests.post(f"{url}/v1/batch", data=body, headers=headers, timeout=60).status_code == 200


def most_resident_bytes(pid: int) -> int:
    """Return the most memory that the process ever held."""
    (line,) = [text for text in Path(f"/proc/{pid}/status").read_text().splitlines() if text.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
