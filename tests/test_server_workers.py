"""Several workers behind one socket, as real processes: same files, deaths, stopping, what each knows of the others."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from batches import append, commit, held_of
from processes import TOKEN, Commands, Receiver, assert_trees_equal, read_mirror, wait_until, workers_of

from ml_logger import wire
from ml_logger.server.auth import Caller
from ml_logger.server.disk import Disk
from ml_logger.server.lineage import NAME
from ml_logger.server.locks import PathLocks
from ml_logger.server.tokens import add_token, revoke_token
from ml_logger.server.tree import Tree
from ml_logger.wire import Answer, Heartbeat, Manifest

LINE = b'{"_step":%d,"text":"%s"}\n'
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        made.headers.update(HEADERS)
        yield made


def call(url: str, path: str, body: bytes | None = None) -> requests.Response:
    """Send one request over a connection of its own, so that any worker may get it."""
    with session() as one:
        return one.get(url + path, timeout=30) if body is None else one.post(url + path, data=body, timeout=30)


def ship(url: str, *parts: tuple[wire.Item, bytes], source: str = "source-1") -> Answer:
    items = tuple(item for item, _ in parts)
    body = wire.encode_batch(Manifest(source, items), [payload for _, payload in parts], compress=False)
    answer = call(url, "/v1/batch", body)
    assert answer.status_code == 200, answer.text
    return wire.decode_answer(answer.content, items)


def ask(url: str, known: str | None) -> wire.Lineage:
    return wire.decode_lineage(call(url, "/v1/lineage", wire.encode_lineage_request(known)).content)


def many(ask_one: Callable[[], object], times: int = 24) -> set[object]:
    """Return the answers to many requests side by side, so that all workers get some."""
    with ThreadPoolExecutor(8) as pool:
        return {job.result() for job in [pool.submit(ask_one) for _ in range(times)]}


@pytest.fixture
def receiver(commands: Commands, tmp_path: Path) -> Receiver:
    return commands.start_receiver(tmp_path / "data", "--workers", "3")


# --- the same files


def append_all(url: str, path: str, content: bytes, cuts: list[int], source: str) -> None:
    """Bring a stream piece by piece, as one of many senders of the same bytes does."""
    for start, end in pairwise(cuts):
        (outcome,) = ship(url, append(path, content, start, end), source=source).outcomes
        assert outcome.result in ("stored", "already", "ahead"), outcome


def commit_all(url: str, path: str, versions: list[bytes], source: str) -> None:
    """Put version after version into one place, each in the place of what is held; somebody else may be quicker."""
    for content in versions:
        held = None
        for _ in range(200):
            item, payload = commit(path, content, upload=source, replaces=held)
            (outcome,) = ship(url, (item, payload), source=source).outcomes
            if outcome.result in ("stored", "already"):
                break
            assert outcome.result == "diverged", outcome
            held = outcome.held
        else:
            raise AssertionError(f"{source} never got its turn")


def test_the_same_files_through_workers_and_receivers(commands: Commands, tmp_path: Path) -> None:
    """Senders of the same streams, and of versions of the same whole files, through 3 workers and a second receiver on the
    same folder: nothing twice, nothing missing, every file whole."""
    first = commands.start_receiver(tmp_path / "data", "--workers", "3")
    second = commands.start_receiver(tmp_path / "data")
    content = b"".join(LINE % (n, b"x" * (n % 97)) for n in range(300))
    cuts = [0, *(n for n in range(1, len(content)) if content[n - 1 : n] == b"\n" and n % 5 == 0), len(content)]
    versions = {source: [f"{source} {n} ".encode() * 400 for n in range(6)] for source in "abcd"}
    with ThreadPoolExecutor(12) as pool:
        jobs = []
        for number, source in enumerate("abcd"):
            url = second.url if number == 3 else first.url
            jobs += [pool.submit(append_all, url, f"run/{n}.jsonl", content, cuts, source) for n in range(2)]
            jobs.append(pool.submit(commit_all, url, "run/model.pt", versions[source], source))
        for job in jobs:
            job.result()
    assert [r.running.terminate() for r in (first, second)] == [0, 0]
    found = read_mirror(tmp_path / "data", is_at_rest=True)
    assert found.pop(b"run/model.pt") in [made[-1] for made in versions.values()]
    assert found == {b"run/0.jsonl": content, b"run/1.jsonl": content}


def test_agents_ship_through_workers_that_die(commands: Commands, tmp_path: Path) -> None:
    """Workers are killed under an agent: each is started again with a word about it, and the trees become equal."""
    receiver = commands.start_receiver(tmp_path / "data", "--workers", "3")
    spool = tmp_path / "spool"
    (spool / "run").mkdir(parents=True)
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url))
    killed: set[int] = set()
    for number in range(12):
        with (spool / "run/m.jsonl").open("ab") as file:
            file.write(LINE % (number, b"y" * 2000))
        (spool / "run" / f"{number}.bin").write_bytes(os.urandom(3000 * number))
        if number % 4 == 3:
            wait_until((tmp_path / f"data/run/{number - 1}.bin").exists)
            victim = workers_of(receiver)[number % 3]
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            wait_until(lambda: len(workers_of(receiver)) == 3 and not killed & set(workers_of(receiver)))
    assert agent.terminate() == 0
    commands.drain(commands.write_agent_config(spool, receiver.url))
    assert receiver.running.terminate() == 0
    assert_trees_equal(spool, tmp_path / "data")
    for pid in killed:
        assert f"(pid {pid}) ended with signal 9: started again" in receiver.running.stderr


def test_what_a_dead_worker_acknowledged_is_in_the_log_for_the_others(receiver: Receiver) -> None:
    """All workers die after an answer; the ones in their places hold it, and it is no new start for agents."""
    content = LINE % (1, b"z")
    mark = ship(receiver.url, append("run/m.jsonl", content)).mark
    before = set(workers_of(receiver))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(workers_of(receiver)) - before) == 3)
    answer = call(receiver.url, "/v1/stat", wire.encode_stat_request(["run/m.jsonl"]))
    assert wire.decode_stat_answer(answer.content, ["run/m.jsonl"]) == [held_of(content)]
    assert ask(receiver.url, mark).since == "same"


@pytest.mark.parametrize("instead", [False, True], ids=["missing", "another"])
def test_a_new_worker_takes_no_other_data_directory(commands: Commands, tmp_path: Path, instead: bool) -> None:
    """Where the data directory was moved or unmounted no second store is begun; once it is back, workers serve again."""
    receiver = commands.start_receiver(tmp_path / "data", "--workers", "2")
    content = LINE % (1, b"before")
    ship(receiver.url, append("run/m.jsonl", content))
    receiver.data_dir.rename(tmp_path / "away")
    if instead:
        receiver.data_dir.mkdir()
    for pid in workers_of(receiver):
        os.kill(pid, signal.SIGKILL)
    reason = "is another one than at the receiver's start" if instead else "can't be used: No such file"
    wait_until(lambda: f"can't start: data directory {receiver.data_dir} {reason}" in receiver.running.stderr)
    if instead:
        assert os.listdir(receiver.data_dir) == []
        receiver.data_dir.rmdir()
    assert not receiver.data_dir.exists()
    (tmp_path / "away").rename(receiver.data_dir)
    answer = call(receiver.url, "/v1/stat", wire.encode_stat_request(["run/m.jsonl"]))  # waits for a worker
    assert wire.decode_stat_answer(answer.content, ["run/m.jsonl"]) == [held_of(content)]
    assert receiver.running.terminate() == 0


def status_for(url: str, token: str) -> int:
    with session() as one:
        one.headers["Authorization"] = f"Bearer {token}"
        return one.get(url + "/v1/list", timeout=30).status_code


@pytest.mark.parametrize("is_asked", [True, False], ids=["a worker noticed", "nobody asked"])
def test_a_revoked_token_stays_out_when_workers_die(commands: Commands, tmp_path: Path, is_asked: bool) -> None:
    """Where the token file is broken by then, new workers start with what was read last, not with what was at the start."""
    file = tmp_path / "tokens"
    kept, revoked = (add_token(file, Caller(name)) for name in ("kept", "revoked"))
    receiver = commands.start_receiver(tmp_path / "data", "--workers", "2", "--token-file", str(file))
    assert {status_for(receiver.url, token) for token in (kept, revoked)} == {200}
    revoke_token(file, "revoked")
    if is_asked:
        assert status_for(receiver.url, revoked) == 401
    else:
        wait_until(lambda: "read again: 1 tokens" in receiver.running.stderr)
    with file.open("ab") as broken:
        broken.write(b"oops\n")
    before = set(workers_of(receiver))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(workers_of(receiver)) - before) == 2)
    assert many(lambda: status_for(receiver.url, revoked), 4) == {401}
    assert many(lambda: status_for(receiver.url, kept), 4) == {200}


# --- what they know of each other


def test_one_receiver_is_one_start_whatever_its_workers(commands: Commands, receiver: Receiver) -> None:
    """The file has one start and, after a stop in order, one stop; no worker calls a mark unknown that it knows."""
    (answer,) = many(lambda: ask(receiver.url, None))
    assert isinstance(answer, wire.Lineage)
    assert {lineage.since for lineage in many(lambda: ask(receiver.url, answer.mark))} == {"same"}  # type: ignore[attr-defined]
    assert receiver.running.terminate() == 0
    lines = (receiver.data_dir / ".ml-logger" / NAME).read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["start", "stop"]


def test_a_killed_receiver_is_a_restarted_one(receiver: Receiver) -> None:
    """The parent's death ends the workers, so that the next receiver gets the port; to agents it was started since."""
    mark = ask(receiver.url, None).mark
    workers = workers_of(receiver)
    receiver.kill()
    wait_until(lambda: all(is_gone(pid) for pid in workers))
    receiver.restart()
    assert ask(receiver.url, mark).since == "restarted"


def test_every_worker_lists_every_agent(receiver: Receiver) -> None:
    """A heartbeat that one worker got is seen through the others."""
    for name in ("one", "two", "three"):
        beat = wire.encode_heartbeat(Heartbeat(name, "gpu-7", "0.1.0", 42, 1.5, ()))
        assert call(receiver.url, "/v1/heartbeat", beat).status_code == 200

    def listed() -> tuple[str, ...]:
        agents = call(receiver.url, "/v1/agents").json()["agents"]
        return tuple(sorted(agent["source"] for agent in agents))

    wait_until(lambda: many(listed) == {("one", "three", "two")})


def test_the_metrics_are_those_of_all(receiver: Receiver) -> None:
    """Whichever worker answers, the figures are the sums, and they stay when a worker dies."""
    for number in range(20):
        ship(receiver.url, append(f"run/{number}.jsonl", LINE % (number, b"m")))

    def stored() -> float:
        return metric(receiver.url, 'ml_logger_receiver_items_total{result="stored"}')

    assert many(stored) == {20.0}
    before = set(workers_of(receiver))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(workers_of(receiver)) - before) == 3)
    assert stored() == 20.0


def metric(url: str, name: str) -> float:
    text = call(url, "/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.split()[-1])


# --- starting and stopping


def test_the_port_is_said_once_and_closed_at_the_end(receiver: Receiver) -> None:
    """stdout has the URL alone; after SIGTERM all have ended and nobody is let in."""
    workers = workers_of(receiver)
    assert len(workers) == 3
    assert receiver.running.stdout == receiver.url + "\n"
    assert receiver.running.terminate() == 0
    assert all(is_gone(pid) for pid in workers)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(receiver.address)


def test_a_worker_that_hangs_is_killed_in_time(commands: Commands, tmp_path: Path) -> None:
    """A frozen worker does not keep the receiver from ending; the exit code says that it was not in order."""
    (tmp_path / "quick.yaml").write_text("stop_timeout_s: 0.5\n", encoding="utf-8")
    receiver = commands.start_receiver(tmp_path / "data", "--workers", "2", "--config", str(tmp_path / "quick.yaml"))
    os.kill(workers_of(receiver)[0], signal.SIGSTOP)
    assert receiver.running.terminate() == 1
    assert "workers that have not ended are killed" in receiver.running.stderr


def test_a_second_signal_ends_it_at_once(receiver: Receiver) -> None:
    """The parent does not wait for a frozen worker any longer."""
    workers = workers_of(receiver)
    os.kill(workers[0], signal.SIGSTOP)
    receiver.running.process.terminate()
    wait_until(lambda: len([pid for pid in workers if not is_gone(pid)]) == 1)
    receiver.running.process.send_signal(signal.SIGINT)
    assert receiver.running.wait(20) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_client_in_the_middle_of_a_batch_gets_its_answer(commands: Commands, tmp_path: Path, workers: str) -> None:
    """SIGTERM while a batch waits for the disk: new clients are refused, this one is answered, the exit code is 0."""
    data_dir = tmp_path / "data"
    receiver = commands.start_receiver(data_dir, "--workers", workers)
    content = LINE % (7, b"held")
    with held_lock(data_dir, "run/m.jsonl"):
        answers: list[Answer] = []
        client = threading.Thread(target=lambda: answers.append(ship(receiver.url, append("run/m.jsonl", content))))
        client.start()
        wait_until(lambda: waits_for_lock(data_dir))
        receiver.running.process.terminate()
        wait_until(lambda: is_refused(receiver.address))
        assert receiver.running.is_alive
        assert not answers
    client.join(30)
    assert [outcome.result for outcome in answers[0].outcomes] == ["stored"]
    assert receiver.running.wait(30) == 0
    assert read_mirror(data_dir) == {b"run/m.jsonl": content}


@contextmanager
def held_lock(data_dir: Path, path: str) -> Iterator[None]:
    """Hold a path's lock, as another receiver does while its disk stands still."""
    locks = PathLocks(Tree(data_dir, Disk()))
    with locks.hold([path]):
        yield


def waits_for_lock(data_dir: Path) -> bool:
    """Whether somebody waits for a range of the receiver's file of locks."""
    inode = (data_dir / ".ml-logger" / "locks").stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f":{inode} " in line for line in lines)


def is_refused(address: tuple[str, int]) -> bool:
    with suppress(ConnectionResetError):
        try:
            socket.create_connection(address, timeout=5).close()
        except ConnectionRefusedError:
            return True
    return False


def test_what_a_person_gets_wrong_is_said_once(commands: Commands, tmp_path: Path) -> None:
    """A data directory that can't be used, or a port that is taken, ends with 2 and one line, not one a worker."""
    (tmp_path / "file").write_bytes(b"")
    port = commands.start_receiver(tmp_path / "data").address[1]
    for args in (["--data-dir", tmp_path / "file"], ["--data-dir", tmp_path / "other", "--port", port]):
        running = commands.run("ml-logger-server", *args, "--workers", 3)
        assert running.process.returncode == 2
        assert running.stderr.count("ml-logger-server:") == 1
        assert running.stdout == ""
    assert "from 1 to" in commands.run("ml-logger-server", "--data-dir", "x", "--workers", 0).stderr


def test_json_of_health(receiver: Receiver) -> None:
    """Both are open to anybody."""
    for path in ("/healthz", "/readyz"):
        assert json.loads(requests.get(receiver.url + path, timeout=30).content)["ok"] is True
