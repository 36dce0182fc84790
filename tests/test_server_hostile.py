"""Hostile input against a running receiver: refused in one line, nothing outside the data directory, memory bounded.

The table is in `hostile.py`. Every row goes to one receiver, which must be as well afterwards as before.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hostile import Attack, all_attacks, item, manifest, request
from processes import TOKEN, Commands, Receiver, read_tree

ATTACKS = all_attacks(TOKEN)
MOST_MIB = 400
"""What the receiver may take at its worst; a bomb, a flood or a lie about a length would take more."""

PATIENCE_S = 3.0
MARK = b"what must not be read"


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, Path, Commands]]:
    """A receiver, the folder around its data directory with a file beside it, and who started it."""
    around = tmp_path_factory.mktemp("hostile")
    (around / "outside").mkdir()
    (around / "outside" / "secret").write_bytes(MARK)
    commands = Commands(tmp_path_factory.mktemp("work"))
    receiver = commands.start_receiver(around / "data")
    os.symlink(around / "outside", around / "data" / "link")
    yield receiver, around, commands
    commands.end_all()


def answer_to(address: tuple[str, int], sent: bytes) -> bytes:
    """Return all that is answered before the connection ends; who answers early may close before all was sent."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        answer = b""
        with suppress(ConnectionError):
            connection.sendall(sent)
        with suppress(ConnectionError):
            try:
                answer = connection.recv(1 << 16)
            except TimeoutError:  # it waits for more, which does not come
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(30)
            while chunk := connection.recv(1 << 16):
                answer += chunk
        return answer


def status_of(answer: bytes) -> int | None:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused(grounds: tuple[Receiver, Path, Commands], attack: Attack) -> None:
    """It is answered with the right status in one line, or acknowledges nothing; never a 5xx, never a trace."""
    answer = answer_to(grounds[0].address, attack.request)
    assert status_of(answer) in attack.statuses, answer[:300]
    assert b"Traceback" not in answer
    assert MARK not in answer
    assert TOKEN.encode() not in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.count(b"HTTP/1.1 ") <= 1, "two answers to one request"
    assert body.rstrip(b"\n").count(b"\n") == 0 or b"application/json" not in head
    if status_of(answer) == 200:
        assert b'"stored"' not in body
        assert b'"already"' not in body


def test_links_are_not_followed(grounds: tuple[Receiver, Path, Commands]) -> None:
    """What a link in the tree leads to is neither read nor written nor listed."""
    receiver, around, _ = grounds
    attacks = [
        request(manifest(item(path="link/new")) + b"x", token=TOKEN),
        request(manifest(item(path="link/secret", offset=len(MARK))) + b"x", token=TOKEN),
        request(manifest(item(path="link", op="commit", upload="u")) + b"x", token=TOKEN),
        request(b'{"v":1,"paths":["link/secret","link"]}', path="/v1/stat", token=TOKEN),
        request(method="GET", path="/v1/files/link/secret", token=TOKEN),
        request(method="GET", path="/v1/list/link", token=TOKEN),
        request(method="GET", path="/v1/list", token=TOKEN),
    ]
    for sent in attacks:
        answer = answer_to(receiver.address, sent)
        assert status_of(answer) in (200, 404)
        assert MARK not in answer
        assert b'"stored"' not in answer
        assert b'"link"' not in answer.partition(b'"entries"')[2]
    assert (around / "outside" / "secret").read_bytes() == MARK
    assert os.listdir(around / "outside") == ["secret"]


def resident_mib(pid: int) -> float:
    """Return the most memory the process ever held, in MiB."""
    (line,) = [text for text in Path(f"/proc/{pid}/status").read_text().splitlines() if text.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def test_after_the_whole_table_all_is_well(tmp_path: Path) -> None:
    """All attacks in a row leave no file, no trace and no token in the log, bounded memory, and a good agent served."""
    commands = Commands(tmp_path / "work")
    (tmp_path / "work").mkdir()
    try:
        receiver = commands.start_receiver(tmp_path / "data")
        for attack in ATTACKS:
            answer_to(receiver.address, attack.request)
        assert TOKEN.encode() not in Path(f"/proc/{receiver.running.process.pid}/cmdline").read_bytes()
        assert resident_mib(receiver.running.process.pid) < MOST_MIB
        spool = tmp_path / "spool"
        spool.mkdir()
        (spool / "m.jsonl").write_bytes(b'{"_step":0}\n')
        commands.drain(commands.write_agent_config(spool, receiver.url))
        kept = read_tree(tmp_path / "data", hidden=lambda name, is_top: is_top and name == b".ml-logger")
        assert kept == {b"m.jsonl": b'{"_step":0}\n'}
        assert sorted(os.listdir(tmp_path)) == ["data", "spool", "work"]
        assert receiver.running.terminate() == 0
        assert "Traceback" not in receiver.running.stderr
        assert TOKEN not in receiver.running.stderr
    finally:
        commands.end_all()
