"""The whole path with the installed commands as real processes; whatever happens on the way, the trees are equal.

What goes wrong is really so: processes are killed with SIGKILL, and the faults of the line are made by a proxy between
agent and receiver that can hold a request half sent. No test waits longer than it must: all wait on conditions.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from processes import TOKEN, Commands, Receiver, Running, assert_trees_equal, read_mirror, read_spool, wait_until
from proxy import (
    HTML,
    Answer,
    Behaviour,
    CutRequest,
    CutResponse,
    Delay,
    Drop,
    Duplicate,
    Hold,
    HoldAnswer,
    LoseAnswer,
    Pass,
    Proxy,
)
from training import log_run

from ml_logger import ML_Logger, wire
from ml_logger.layout import remote_path
from ml_logger.wire import Crc, Item, Manifest, Offset, crc32

TRAINING = Path(__file__).parent / "training.py"
BATCH_BYTES = 20_000  # small, so that a run of some hundred kilobytes is many batches
HELD_DEADLINE_S = 30.0

OpenProxy = Callable[[tuple[str, int]], Proxy]


@dataclass
class House:
    """A spool, a receiver on a mirror, and a proxy between the agents to come and the receiver."""

    commands: Commands
    spool: Path
    receiver: Receiver
    proxy: Proxy

    @property
    def mirror(self) -> Path:
        return self.receiver.data_dir

    def config(self, **settings: object) -> Path:
        return self.commands.write_agent_config(self.spool, self.proxy.url, batch_bytes=BATCH_BYTES, **settings)

    def drain(self) -> None:
        self.commands.drain(self.config())

    def is_equal(self) -> bool:
        return read_spool(self.spool) == read_mirror(self.mirror)


@pytest.fixture
def house(commands: Commands, open_proxy: OpenProxy, tmp_path: Path) -> House:
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    return House(commands, spool, receiver, open_proxy(receiver.address))


def held(hold: Hold | HoldAnswer) -> None:
    assert hold.is_held.wait(HELD_DEADLINE_S), "no request came"


# --- the plain way


def test_what_is_logged_arrives_byte_for_byte(house: House) -> None:
    """Metrics, parameters, images, tensors, histograms, text and run records of two runs arrive as they are."""
    log_run(house.spool / "one", 100)
    log_run(house.spool / "team/two", 30)
    house.drain()
    assert_trees_equal(house.spool, house.mirror)
    names = {os.path.basename(path) for path in read_mirror(house.mirror)}
    assert {b"metrics.jsonl", b"parameters.jsonl", b"histograms.jsonl", b"text.log", b"run.jsonl"} <= names
    assert {b"0000.png", b"0000.npy"} <= names
    assert house.proxy.count(Pass, "/v1/batch") > 2


def test_an_agent_at_work_follows_a_run_and_drains_at_sigterm(house: House) -> None:
    """While the run goes on its records arrive; SIGTERM right after the last one ships the rest and exits with 0."""
    agent = house.commands.start_agent(house.config())
    with ML_Logger(house.spool / "run") as logger:
        logger.log(0, loss=1.0, silent=True)
        wait_until(lambda: b"run/metrics.jsonl" in read_mirror(house.mirror), what="the first record")
        for step in range(1, 200):
            logger.log(step, loss=0.5, silent=True)
    assert agent.terminate() == 0, agent.tail()
    assert_trees_equal(house.spool, house.mirror)


def test_nothing_new_sends_no_bytes(house: House) -> None:
    """A second drain finds all acknowledged: it sends no batch and changes nothing."""
    log_run(house.spool / "run", 20)
    house.drain()
    batches, before = house.proxy.count(Pass, "/v1/batch"), read_mirror(house.mirror)
    house.drain()
    assert house.proxy.count(Pass, "/v1/batch") == batches
    assert read_mirror(house.mirror) == before


def test_an_agent_without_its_memory_ships_nothing_twice(house: House) -> None:
    """With the ledger gone everything is checked again and nothing is stored twice."""
    log_run(house.spool / "run", 50)
    house.drain()
    for file in (house.spool / ".ml-logger-agent").iterdir():
        file.unlink()
    log_run(house.spool / "run", 50)
    house.drain()
    assert_trees_equal(house.spool, house.mirror)


def test_files_of_all_sizes_and_awkward_names_arrive(house: House) -> None:
    """Empty files, sizes around the batch's, names that are not UTF-8, with newlines, of 255 bytes: all arrive."""
    sizes = (0, 1, BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1, 5 * BATCH_BYTES)
    for size in sizes:
        (house.spool / f"{size}.bin").write_bytes(random.Random(size).randbytes(size))
        (house.spool / f"{size}.log").write_bytes(b"line\n" * (size // 5))
    folder = os.fsencode(house.spool / "odd")
    os.mkdir(folder)
    for name in (
        b"\xff\xfe.jsonl",
        b"a\nb",
        b"a%0Ab",
        b"back\\slash",
        "日本.log".encode(),
        b"x" * 255,
        b" ",
        b"a\x1b[31m",
    ):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name + b"\n")
    house.drain()
    assert_trees_equal(house.spool, house.mirror, rename=lambda p: os.fsencode(remote_path(os.fsdecode(p))))


def test_a_killed_training_is_shipped_to_its_last_byte(house: House) -> None:
    """After SIGKILL of the training all that it wrote arrives, a torn last line too."""
    training = house.commands.start("python", TRAINING, house.spool / "run", 10_000, 0.001)
    metrics = house.spool / "run/metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.stat().st_size > 5_000, what="some records")
    training.kill()
    (house.spool / "torn.jsonl").write_bytes(b'{"a":1}\n{"b":')
    house.drain()
    assert_trees_equal(house.spool, house.mirror)


# --- the receiver dies


@pytest.mark.parametrize("after_bytes", [1, 600, BATCH_BYTES // 2, -1], ids=lambda n: f"after {n}")
def test_receiver_killed_in_the_middle_of_a_batch(house: House, after_bytes: int) -> None:
    """SIGKILL with a request part received: after a restart the agent at work ships all, nothing twice."""
    hold = Hold(after_bytes)
    house.proxy.script("/v1/batch", Pass(), hold)
    agent = house.commands.start_agent(house.config())
    log_run(house.spool / "run", 100)
    held(hold)
    house.receiver.kill()
    hold.release.set()
    house.receiver.restart()
    wait_until(house.is_equal, what=f"equal trees\n{agent.tail()}")
    assert agent.terminate() == 0, agent.tail()
    assert_trees_equal(house.spool, house.mirror)


def test_receiver_killed_again_and_again(house: House) -> None:
    """Killed at random moments of a run, always on the same port, the receiver ends with the whole tree."""
    agent = house.commands.start_agent(house.config())
    training = house.commands.start("python", TRAINING, house.spool / "run", 400, 0.003)
    dice = random.Random(1)
    for _ in range(5):
        target = len(house.proxy.seen) + dice.randrange(1, 4)
        wait_until(lambda target=target: len(house.proxy.seen) >= target or not training.is_alive, what="requests")
        house.receiver.kill()
        house.receiver.restart()
    assert training.wait() == 0, training.tail()
    assert agent.terminate() == 0, agent.tail()
    assert_trees_equal(house.spool, house.mirror)


def test_no_receiver_while_training_runs_to_its_end(house: House) -> None:
    """Training neither waits nor fails without a receiver; when one appears, everything ships."""
    house.receiver.kill()
    agent = house.commands.start_agent(house.config())
    training = house.commands.start("python", TRAINING, house.spool / "run", 300, 0)
    assert training.wait() == 0, training.tail()
    assert agent.is_alive, agent.tail()
    assert read_mirror(house.mirror) == {}
    house.receiver.restart()
    assert agent.terminate() == 0, agent.tail()
    assert_trees_equal(house.spool, house.mirror)


def test_once_without_a_receiver_lists_what_is_left(house: House) -> None:
    """`--once` gives up after its time with code 1 and the list of what stays; a later one ships it."""
    house.receiver.kill()
    log_run(house.spool / "run", 20)
    agent = house.commands.start_agent(house.config(drain_timeout_s=0.5), "--once")
    assert agent.wait() == 1
    assert "run/metrics.jsonl" in agent.stderr
    house.receiver.restart()
    house.drain()
    assert_trees_equal(house.spool, house.mirror)


def test_a_receiver_that_lost_files_is_refilled(house: House) -> None:
    """A mirror restored from an older backup is filled up again while the run goes on."""
    log_run(house.spool / "run", 30)
    with ML_Logger(house.spool / "long") as logger:
        logger.log(0, loss=1.0, silent=True)
        house.drain()
        stored = house.mirror / "long/metrics.jsonl"
        stored.write_bytes(b"")
        for step in range(1, 10):
            logger.log(step, loss=1.0, silent=True)
    house.drain()
    assert_trees_equal(house.spool, house.mirror)


# --- the agent dies


@pytest.mark.parametrize("is_answered", [False, True], ids=["before the answer", "before it sees the answer"])
@pytest.mark.parametrize(("path", "number"), [("/v1/stat", 0), ("/v1/batch", 0), ("/v1/batch", 1), ("/v1/batch", 4)])
def test_agent_killed_in_the_middle_of_a_request(house: House, path: str, number: int, is_answered: bool) -> None:
    """SIGKILL with a request under way, stored or not: the next agent goes on where the receiver is, nothing twice."""
    hold = HoldAnswer() if is_answered else Hold(-5)
    house.proxy.script(path, *[Pass()] * number, hold)
    log_run(house.spool / "run", 100)
    agent = house.commands.start_agent(house.config())
    held(hold)
    agent.kill()
    hold.release.set()
    log_run(house.spool / "run", 10)
    house.drain()
    assert_trees_equal(house.spool, house.mirror)


def test_agent_killed_again_and_again(house: House) -> None:
    """Agents killed at random moments of a run, one after the other, leave the whole tree in the end."""
    training = house.commands.start("python", TRAINING, house.spool / "run", 400, 0.003)
    dice = random.Random(2)
    for _ in range(6):
        agent = house.commands.start_agent(house.config())
        target = len(house.proxy.seen) + dice.randrange(1, 8)
        wait_until(lambda target=target: len(house.proxy.seen) >= target, what=f"requests\n{agent.tail()}")
        agent.kill()
    assert training.wait() == 0, training.tail()
    house.drain()
    assert_trees_equal(house.spool, house.mirror)


def test_both_die_at_once(house: House) -> None:
    """As in a power cut of one machine: both are killed with a batch under way, both come back, nothing is missing."""
    hold = HoldAnswer()
    house.proxy.script("/v1/batch", Pass(), hold)
    log_run(house.spool / "run", 100)
    agent = house.commands.start_agent(house.config())
    held(hold)
    agent.kill()
    house.receiver.kill()
    hold.release.set()
    house.receiver.restart()
    house.drain()
    assert_trees_equal(house.spool, house.mirror)


# --- the line


FAULTS: dict[str, tuple[Behaviour, ...]] = {
    "500": (Answer(500), Answer(500, b"Internal Server Error" * 1000)),
    "502 HTML": (Answer(502, b"<html>Bad Gateway</html>", "text/html"),),
    "503": (Answer(503), Answer(503, headers=(("Retry-After", "0"),))),
    "429 Retry-After": (Answer(429, headers=(("Retry-After", "1"),)),),
    "507": (Answer(507, b'{"error":"disk is full"}', "application/json"),),
    "200 HTML": (HTML, HTML),
    "200 empty": (Answer(200), Answer(204)),
    "200 of another question": (Answer(200, b'{"v":1,"outcomes":[],"files":[]}', "application/json"),),
    "302": (Answer(302, headers=(("Location", "http://127.0.0.1:1/login"),)),),
    "delay": (Delay(0.3), Delay(0.3)),
    "duplicate": (Duplicate(), Duplicate()),
    "lost answer": (LoseAnswer(), Pass(), LoseAnswer()),
    "drop": (Drop(), Drop(reset=True), Drop(), Drop()),
    "cut request": (CutRequest(10), CutRequest(300), CutRequest(-1)),
    "cut answer": (CutResponse(0), CutResponse(20), CutResponse(-1)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_line_costs_nothing(house: House, name: str) -> None:
    """Each fault, on questions and on batches, first and later ones: `--once` still ships all, once."""
    for path in ("/v1/stat", "/v1/batch"):
        house.proxy.script(path, *FAULTS[name], Pass(), *FAULTS[name])
    log_run(house.spool / "run", 120)
    house.drain()
    assert house.proxy.is_done("/v1/batch")
    assert_trees_equal(house.spool, house.mirror)


def test_a_storm_of_faults_while_training(house: House) -> None:
    """With most requests going wrong in every way at random, a run that goes on meanwhile arrives whole."""
    dice = random.Random(3)
    every = [b for behaviours in FAULTS.values() for b in behaviours if b != FAULTS["429 Retry-After"][0]]
    house.proxy.script("/v1/", *(Pass() if dice.random() < 0.3 else dice.choice(every) for _ in range(60)))
    agent = house.commands.start_agent(house.config())
    training = house.commands.start("python", TRAINING, house.spool / "run", 300, 0.003)
    assert training.wait() == 0, training.tail()
    wait_until(house.is_equal, what=f"equal trees\n{agent.tail()}")
    assert agent.terminate() == 0, agent.tail()
    assert house.proxy.count(LoseAnswer) > 0
    assert_trees_equal(house.spool, house.mirror)


def test_a_dead_line_stops_no_training_and_no_agent(house: House) -> None:
    """With every request dropped the agent goes on trying; when the line is back, all ships."""
    house.proxy.default = Drop(reset=True)
    agent = house.commands.start_agent(house.config())
    log_run(house.spool / "run", 50)
    wait_until(lambda: house.proxy.count(Drop) > 5, what="some tries")
    house.proxy.default = Pass()
    wait_until(house.is_equal, what=f"equal trees\n{agent.tail()}")
    assert agent.terminate() == 0, agent.tail()
    assert_trees_equal(house.spool, house.mirror)


# --- a hostile sender


HOSTILE = [
    "../out",
    "/etc/out",
    "a/../../out",
    "a\0b",
    "a\\b",
    "a\nb",
    "x" * 300,
    ".ml-logger/out",
    "",
    "a//b",
    "a/" * 70 + "b",
]


def test_hostile_paths_are_rejected_one_by_one_and_nothing_is_written(house: House, tmp_path: Path) -> None:
    """A path that leads out, hides or is too long costs its own item; the good ones of the batch are stored."""
    paths = ["good/first.log", *HOSTILE, "good/last.log"]
    items = tuple(Item(p, "append", Offset(0), 4, Crc(0), crc32(b"evil")) for p in paths)
    body = wire.encode_batch(Manifest("hostile", items), [b"evil"] * len(items), compress=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = requests.post(house.receiver.url + "/v1/batch", data=body, headers=headers, timeout=10)
    outcomes = wire.decode_answer(answer.content, items).outcomes
    assert [o.result for o in outcomes] == ["stored", *["rejected"] * len(HOSTILE), "stored"]
    assert all(o.reason for o in outcomes[1:-1])
    assert read_mirror(house.mirror) == {b"good/first.log": b"evil", b"good/last.log": b"evil"}
    assert b"evil" not in {p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and house.mirror not in p.parents}
    own = house.mirror / ".ml-logger"
    assert not any(p.name == "out" for p in own.rglob("*"))


# --- bad input


def refused(running: Running, *words: str, code: int = 2) -> None:
    """Assert that a command ended with `code` and one line on stderr that holds `words`."""
    assert running.wait(30) == code, running.tail()
    lines = running.stderr.splitlines()
    assert len(lines) == 1, running.tail()
    assert all(word in lines[0] for word in words), lines[0]
    assert running.stdout == ""


SERVER_REFUSALS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "missing config": (("--config", "{tmp}/none.yaml"), ("none.yaml", "does not exist")),
    "config is a directory": (("--config", "{tmp}"), ("{tmp}", "can't be read")),
    "config is not YAML": (("--config", "{tmp}/broken.yaml"), ("broken.yaml, line", "not YAML")),
    "unknown key": (("--config", "{tmp}/typo.yaml"), ("typo.yaml, line 2", "'prot'", "'port'")),
    "no data directory": ((), ("--data-dir",)),
    "data directory below a file": (("--data-dir", "{tmp}/file/data"), ("{tmp}/file/data",)),
    "data directory is a file": (("--data-dir", "{tmp}/file"), ("{tmp}/file",)),
    "data directory in proc": (("--data-dir", "/proc/data"), ("/proc/data",)),
    "missing token file": (("--data-dir", "{tmp}/d", "--token-file", "{tmp}/none"), ("{tmp}/none",)),
    "empty token file": (("--data-dir", "{tmp}/d", "--token-file", "{tmp}/file"), ("{tmp}/file", "empty")),
    "no token for all the world": (("--data-dir", "{tmp}/d", "--host", "0.0.0.0"), ("token",)),
    "port of no use": (("--data-dir", "{tmp}/d", "--port", "70000"), ("70000",)),
    "port that is no number": (("--data-dir", "{tmp}/d", "--port", "many"), ("many",)),
    "not an address": (("--data-dir", "{tmp}/d", "--host", "127.0.0.999", "--token-file", "{token}"), ("127.0.0.999",)),
    "unknown flag": (("--data-dir", "{tmp}/d", "--colour", "red"), ("--colour",)),
}


@pytest.mark.parametrize("name", SERVER_REFUSALS)
def test_the_receiver_refuses_what_cannot_work_in_one_line(commands: Commands, tmp_path: Path, name: str) -> None:
    """Code 2 and one line that names the thing, for everything the person who starts it can mend."""
    (tmp_path / "file").touch()
    (tmp_path / "broken.yaml").write_text("data_dir: [\n")
    (tmp_path / "typo.yaml").write_text(f"data_dir: {tmp_path}/d\nprot: 1\n")
    args, words = SERVER_REFUSALS[name]
    places = {"tmp": str(tmp_path), "token": str(commands.token_file())}
    running = commands.start("ml-logger-server", *(a.format(**places) for a in args))
    refused(running, "ml-logger-server: ", *(w.format(**places) for w in words))


def test_the_receiver_refuses_a_port_in_use(commands: Commands, tmp_path: Path) -> None:
    """The second receiver on one port names the port and ends; the first goes on."""
    first = commands.start_receiver(tmp_path / "one")
    port = str(first.address[1])
    refused(commands.start("ml-logger-server", "--data-dir", tmp_path / "two", "--port", port), port, "in use")
    assert first.running.is_alive


AGENT_REFUSALS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "missing spool": ({"spool": "{tmp}/none"}, ("{tmp}/none",)),
    "spool is a file": ({"spool": "{tmp}/file"}, ("{tmp}/file",)),
    "no spool": ({"spool": None}, ("spool", "missing")),
    "no server": ({"server": None}, ("server", "missing")),
    "server is no URL": ({"server": "storage:8081"}, ("storage:8081", "http")),
    "missing token file": ({"token_file": "{tmp}/none"}, ("{tmp}/none",)),
    "empty token file": ({"token_file": "{tmp}/file"}, ("{tmp}/file", "empty")),
    "unknown key": ({"servr": "x"}, ("agent.yaml, line", "'servr'", "'server'")),
    "ill-typed key": ({"settle_s": "soon"}, ("agent.yaml, line", "settle_s", "a number", "'soon'")),
    "a number out of range": ({"batch_bytes": 0}, ("batch_bytes", "0")),
    "state directory below a file": ({"state_dir": "{tmp}/file/state"}, ("{tmp}/file/state",)),
}


@pytest.mark.parametrize("name", AGENT_REFUSALS)
def test_the_agent_refuses_what_cannot_work_in_one_line(commands: Commands, tmp_path: Path, name: str) -> None:
    """Code 2 and one line that names the thing, for everything the person who starts it can mend."""
    (tmp_path / "file").touch()
    (tmp_path / "spool").mkdir()
    changes, words = AGENT_REFUSALS[name]
    filled = {"spool": tmp_path / "spool", "server": "http://127.0.0.1:1"} | {
        k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in changes.items()
    }
    config = commands.write_agent_config(**filled)
    refused(commands.start_agent(config), "ml-logger-agent: ", *(w.format(tmp=tmp_path) for w in words))


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--config", "/nowhere/agent.yaml"), "/nowhere/agent.yaml"),
        (("--config", "/"), "/"),
        (("--colour",), "--colour"),
    ],
)
def test_the_agent_refuses_a_config_it_cannot_read(commands: Commands, args: tuple[str, ...], word: str) -> None:
    """A missing or unreadable config, or an unknown flag, is named in one line."""
    refused(commands.start("ml-logger-agent", *args), word)


@pytest.mark.parametrize("token", [None, "wrong"], ids=["no token", "wrong token"])
def test_the_agent_stops_where_its_token_is_not_taken(house: House, token: str | None) -> None:
    """No request can succeed: `--once` ends with code 2 and says that it is the token; nothing is stored."""
    log_run(house.spool / "run", 5)
    config = house.config(token_file=None, token=token, log={"level": "error"})
    refused(house.commands.start_agent(config, "--once"), "token")
    assert read_mirror(house.mirror) == {}
    house.drain()
    assert_trees_equal(house.spool, house.mirror)


def test_one_spool_has_one_agent(house: House) -> None:
    """A second agent on the same spool names it and ends; the first goes on."""
    first = house.commands.start_agent(house.config())
    log_run(house.spool / "run", 5)
    wait_until(house.is_equal, what=f"the first agent at work\n{first.tail()}")
    refused(house.commands.start_agent(house.config()), "already has an agent", str(house.spool))
    assert first.is_alive


def test_the_ml_logger_command_refuses_in_one_line(commands: Commands, tmp_path: Path) -> None:
    """`ml-logger verify` and `ls` name what is not there; a real difference is code 1."""
    refused(commands.start("ml-logger", "verify", tmp_path / "none", tmp_path), "none", code=3)
    refused(commands.start("ml-logger", "ls", tmp_path / "none"), "none", code=3)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one/a").write_text("a")
    assert commands.run("ml-logger", "verify", tmp_path / "one", tmp_path / "two").wait() == 1


@pytest.mark.parametrize("module", ["ml_logger.server", "ml_logger.agent"])
def test_the_commands_are_modules_too(commands: Commands, module: str) -> None:
    """`python -m` starts the same commands."""
    running = commands.run("python", "-m", module, "--version")
    assert running.wait() == 0
    assert module.replace(".", "-").replace("_", "-") in running.stdout
