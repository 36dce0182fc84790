"""The installed receiver as a process: starting, stopping, and everything a person can get wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from batches import append, held_of
from processes import TOKEN, Commands, wait_first_line, wait_until

from ml_logger import wire
from ml_logger.layout import RECEIVER_DIR
from ml_logger.server.cli import main
from ml_logger.server.lineage import NAME
from ml_logger.version import __version__
from ml_logger.wire import Manifest

LINES = b'{"_step":0}\n' * 50
EXAMPLE = Path(__file__).parent.parent / "config" / "server.yaml"


def post(url: str, path: str, body: bytes) -> bytes:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(url + path, data=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.content


def store_lines(url: str) -> None:
    item, payload = append("run/m.jsonl", LINES)
    body = wire.encode_batch(Manifest("source-1", (item,)), [payload], compress=False)
    (outcome,) = wire.decode_answer(post(url, "/v1/batch", body), [item]).outcomes
    assert outcome.result == "stored"


def test_it_serves_until_it_is_told_to_stop(commands: Commands, tmp_path: Path) -> None:
    """The first line on stdout is the URL; SIGTERM ends it with 0; what it stored is there the next time."""
    receiver = commands.start_receiver(tmp_path / "data")
    assert receiver.running.stdout == receiver.url + "\n"
    store_lines(receiver.url)
    assert receiver.running.terminate() == 0
    receiver.restart()
    answer = post(receiver.url, "/v1/stat", wire.encode_stat_request(["run/m.jsonl"]))
    assert wire.decode_stat_answer(answer, ["run/m.jsonl"]) == [held_of(LINES)]
    assert TOKEN not in receiver.running.stderr


def test_it_stops_with_clients_connected(commands: Commands, tmp_path: Path) -> None:
    """A client that sends nothing, and one in the middle of a body, don't keep it from ending in time."""
    receiver = commands.start_receiver(tmp_path / "data", "--config", str(quick_stop(tmp_path)))
    with socket.create_connection(receiver.address), socket.create_connection(receiver.address) as busy:
        head = f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n"
        busy.sendall(head.encode() + b"{")
        assert receiver.running.terminate() == 0


def test_a_client_that_does_not_read_makes_no_unclean_stop(commands: Commands, tmp_path: Path) -> None:
    """Its answer is cut off when the time for requests is over: exit code 0, and the lineage ends with a stop."""
    config = tmp_path / "server.yaml"
    config.write_text("stop_timeout_s: 5\n", encoding="utf-8")
    receiver = commands.start_receiver(tmp_path / "data", "--config", str(config))
    (tmp_path / "data" / "large").write_bytes(bytes(64 << 20))
    with socket.create_connection(receiver.address, timeout=30) as deaf:
        deaf.sendall(f"GET /v1/files/large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert deaf.recv(10).startswith(b"HTTP/1.1 2")
        assert receiver.running.terminate() == 0
    marks = (tmp_path / "data" / RECEIVER_DIR / NAME).read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in marks] == ["start", "stop"]
    assert "Traceback" not in receiver.running.stderr


def test_it_opens_as_many_files_as_the_system_lets_it(commands: Commands, tmp_path: Path) -> None:
    """A low soft limit is raised to the hard one: a batch needs a descriptor for each folder."""
    low = ("sh", "-c", 'ulimit -Sn 64; ulimit -Hn 900; exec "$0" "$@"')
    receiver = commands.start_receiver(tmp_path / "data", before=low)
    limits = Path(f"/proc/{receiver.running.process.pid}/limits").read_text(encoding="utf-8")
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["900", "900"]
    assert receiver.running.terminate() == 0
    assert "max_connections is 450" in receiver.running.stderr


def quick_stop(tmp_path: Path) -> Path:
    path = tmp_path / "quick.yaml"
    path.write_text("stop_timeout_s: 0.5\n", encoding="utf-8")
    return path


def test_it_runs_as_a_module_without_a_token(commands: Commands, tmp_path: Path) -> None:
    """``python -m ml_logger.server`` is the same command; on loopback no token is asked for where none is set."""
    args = ("-m", "ml_logger.server", "--data-dir", tmp_path / "data", "--port", 0, "--host", "localhost")
    running = commands.start("python", *args)
    store_lines(wait_first_line(running))
    assert running.terminate() == 0


def test_the_config_works_as_it_stands(commands: Commands, tmp_path: Path) -> None:
    """The example config starts a receiver; flags and variables count more than it."""
    env = {"ML_LOGGER_SERVER_DATA_DIR": str(tmp_path / "data")}
    running = commands.start("ml-logger-server", "--config", EXAMPLE, "--port", 0, env=env)
    store_lines(wait_first_line(running))
    assert (tmp_path / "data" / "run" / "m.jsonl").read_bytes() == LINES


def test_paths_in_the_config_are_taken_from_its_folder(commands: Commands, tmp_path: Path) -> None:
    """A relative data_dir is the config's neighbour; the log may be JSON lines."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    config = folder / "server.yaml"
    config.write_text("data_dir: kept\nport: 0\ntoken_file: token\nlog: {format: json}\n", encoding="utf-8")
    running = commands.start("ml-logger-server", "--config", config)
    store_lines(wait_first_line(running))
    assert (folder / "kept" / "run" / "m.jsonl").read_bytes() == LINES
    wait_until(lambda: '"level":"info"' in running.stderr, 10)


def test_a_port_in_use(commands: Commands, tmp_path: Path) -> None:
    """A second receiver on the port ends with one line that names it."""
    first = commands.start_receiver(tmp_path / "data")
    second = commands.run("ml-logger-server", "--data-dir", tmp_path / "other", "--port", first.address[1])
    assert second.process.returncode == 2
    (line,) = [line for line in second.stderr.splitlines() if line.startswith("ml-logger-server:")]
    assert f"port {first.address[1]}: Address already in use" in line
    assert "--port 0" in line
    assert second.stdout == ""


def mistakes(root: Path) -> dict[str, tuple[list[str], str]]:
    """Return what a person can get wrong: arguments, and words of the line that says so."""
    (root / "file").write_bytes(b"")
    (root / "empty").write_text("\n", encoding="utf-8")
    (root / "typo.yaml").write_text("data_dirr: x\n", encoding="utf-8")
    (root / "type.yaml").write_text("data_dir: x\nlimits:\n  max_items: many\n", encoding="utf-8")
    (root / "zero.yaml").write_text("data_dir: x\nlimits: {max_items: 0}\n", encoding="utf-8")
    (root / "none.yaml").write_text("port: 0\n", encoding="utf-8")
    data = ["--data-dir", str(root / "data"), "--port", "0"]
    return {
        "nothing": ([], "add --data-dir DIR"),
        "unknown flag": ([*data, "--frobnicate"], "--frobnicate"),
        "no number": (["--data-dir", "x", "--port", "http"], "--port"),
        "no port": (["--data-dir", "x", "--port", "70000"], "65535"),
        "no config": (["--config", str(root / "missing.yaml")], "missing.yaml does not exist"),
        "a folder as config": (["--config", str(root)], "can't be read"),
        "typo": (
            ["--config", str(root / "typo.yaml")],
            "line 1: unknown key 'data_dirr': the nearest known key is 'data_dir'",
        ),
        "type": (["--config", str(root / "type.yaml")], "line 3: key 'limits.max_items' must be a whole number"),
        "zero": (["--config", str(root / "zero.yaml")], "limits.max_items is 0"),
        "no data_dir": (["--config", str(root / "none.yaml")], "key 'data_dir' is missing"),
        "a file as data_dir": (["--data-dir", str(root / "file")], f"data directory {root / 'file'} can't be used"),
        "no token file": ([*data, "--token-file", str(root / "missing")], "does not exist"),
        "empty token file": ([*data, "--token-file", str(root / "empty")], "is empty"),
        "open to the world": ([*data, "--host", "0.0.0.0"], "--token-file"),
        "open by name": ([*data, "--host", "storage.example"], "--token-file"),
    }


def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad input is one line on stderr with the mend and exit code 2; nothing is started."""
    monkeypatch.delenv("ML_LOGGER_TOKEN", raising=False)
    for name, (args, words) in mistakes(tmp_path).items():
        assert main(args) == 2, name
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), (name, err)
        assert err.startswith("ml-logger-server: "), name
        assert words in err, name
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("token", [" ", "\n", " token", "token\n"])
def test_a_token_that_nobody_can_send_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """A header's value has no blanks around it, so that such a variable would lock everybody out; it is one line and code 2."""
    monkeypatch.setenv("ML_LOGGER_TOKEN", token)
    assert main(["--data-dir", str(tmp_path / "data"), "--host", "192.0.2.1"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "ML_LOGGER_TOKEN is blank" in err
    assert not (tmp_path / "data").exists()


def test_an_address_of_another_machine(commands: Commands, tmp_path: Path) -> None:
    """An address that is not here is named."""
    token = commands.token_file()
    args = ("--data-dir", tmp_path / "data", "--host", "192.0.2.1", "--port", 0, "--token-file", token)
    running = commands.run("ml-logger-server", *args)
    assert running.process.returncode == 2
    assert "can't listen on 192.0.2.1 port 0" in running.stderr


def test_the_version() -> None:
    """``--version`` says which."""
    said = subprocess.run(
        [sys.executable, "-m", "ml_logger.server", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"ml-logger-server {__version__}\n"


def test_few_descriptors_bound_the_connections(commands: Commands, tmp_path: Path) -> None:
    """Where few files may be open, connections get half of them, and the log says so."""
    receiver = commands.start_receiver(tmp_path / "data", before=("prlimit", "--nofile=1000:1000", "--"))
    assert "max_connections is 500, since only 1000 files may be open" in receiver.running.stderr
