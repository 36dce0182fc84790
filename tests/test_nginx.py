"""The nginx of config/nginx.conf between agent and receiver, as it stands but for addresses and files."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from processes import TOKEN, Commands, Receiver, assert_trees_equal, clean_environment, wait_until
from test_server_certificate import make_certificate

ROOT = Path(__file__).parent.parent
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
ODD_NAME = "epoch 1%2F2?é#+.txt"

pytestmark = pytest.mark.skipif(
    (NGINX is None or shutil.which("openssl") is None) and "CI" not in os.environ,
    reason="nginx and openssl are not installed",
)

# `master_process off` leaves one process, which ends with the test whatever happens
MAIN = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


@dataclass(frozen=True)
class Front:
    """A running nginx: its URL, the CA it is trusted by, and its logs."""

    url: str
    ca_file: Path
    folder: Path

    @property
    def access_log(self) -> str:
        return (self.folder / "access.log").read_text(encoding="utf-8")

    def ask(self, method: str, path: str, **more: object) -> requests.Response:
        """Send one request with the tests' token."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return requests.request(
            method, self.url + path, **{"headers": headers, "verify": str(self.ca_file), "timeout": 60, **more}
        )


def site_for(receiver: Receiver, port: int, cert: Path, key: Path) -> str:
    """Return config/nginx.conf with the addresses and files of a test; each must stand there once."""
    text = (ROOT / "config/nginx.conf").read_text(encoding="utf-8")
    for pattern, ours in (
        (r"(?m)^    server 127\.0\.0\.1:8081;", f"    server 127.0.0.1:{receiver.address[1]};"),
        (r"listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        (r"/etc/nginx/storage\.pem", str(cert)),
        (r"/etc/nginx/storage\.key", str(key)),
    ):
        text, count = re.subn(pattern, ours, text)
        assert count == 1, pattern
    return text


def free_port() -> int:
    """Return a port that is free now; nginx takes no port 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running_nginx(folder: Path, receiver: Receiver) -> Iterator[Front]:
    """Run nginx until the end of the block; it starts once its port accepts connections."""
    assert NGINX is not None, "nginx is not installed"
    folder.mkdir()
    cert, key = make_certificate(folder / "tls")
    port = free_port()
    (folder / "site.conf").write_text(site_for(receiver, port, cert, key), encoding="utf-8")
    (folder / "main.conf").write_text(MAIN.format(folder=folder), encoding="utf-8")
    command = [NGINX, "-p", folder, "-c", folder / "main.conf", "-e", folder / "error.log"]
    process = subprocess.Popen(command, env=clean_environment({}), stdin=subprocess.DEVNULL)

    def is_there() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text(encoding="utf-8")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(is_there, 30, "nginx")
        yield Front(f"https://127.0.0.1:{port}", cert, folder)
    finally:
        process.kill()
        process.wait()


OpenFront = Callable[[Receiver], Front]


@pytest.fixture
def open_front(tmp_path: Path) -> Iterator[OpenFront]:
    """Open nginx in front of a receiver; it ends with the test."""
    with ExitStack() as stack:
        yield lambda receiver: stack.enter_context(running_nginx(tmp_path / "nginx", receiver))


@pytest.mark.parametrize("path", ["", "/ml-logger"])
def test_all_is_shipped_through_nginx(commands: Commands, tmp_path: Path, open_front: OpenFront, path: str) -> None:
    """A receiver that dies in the middle of a large file and comes back has everything, byte for byte."""
    spool, receiver = tmp_path / "spool", commands.start_receiver(tmp_path / "mirror")
    front = open_front(receiver)
    (spool / "run").mkdir(parents=True)
    (spool / "run/metrics.jsonl").write_bytes(b'{"loss":1}\n' * 10_000)
    (spool / "run" / ODD_NAME).write_bytes(b"odd\n")
    (spool / "run/model.pt").write_bytes(os.urandom(40 << 20))
    config = commands.write_agent_config(
        spool, front.url + path, tls={"ca_file": str(front.ca_file)}, max_bytes_per_s=16 << 20, compression="none"
    )
    agent = commands.start_agent(config)
    wait_until(lambda: front.access_log.count(f'POST {path}/v1/batch HTTP/1.1" 200') > 3, 60, agent.tail())
    receiver.kill()
    wait_until(lambda: f'POST {path}/v1/batch HTTP/1.1" 502' in front.access_log, 60, agent.tail())
    receiver.restart()
    assert agent.terminate(60) == 0, agent.tail()
    assert_trees_equal(spool, receiver.data_dir)
    assert front.ask("GET", f"{path}/v1/files/run/{quote(ODD_NAME)}").content == b"odd\n"
    doctor = commands.run("ml-logger-agent", "doctor", "--config", config)
    assert doctor.wait() == 0, doctor.tail()


def test_what_the_receiver_refuses_is_said_through_nginx(
    commands: Commands, tmp_path: Path, open_front: OpenFront
) -> None:
    """A body that is too large for the receiver, and a token it does not know, are answered by itself."""
    receiver = commands.start_receiver(tmp_path / "mirror")
    front = open_front(receiver)
    body = bytes(80 << 20)
    refused = front.ask("POST", "/v1/batch", data=body)
    assert (refused.status_code, refused.json()["error"]) == (
        413,
        "max_body_bytes: body of 83886080 bytes, more than 67108864",
    ), refused.text
    unknown = front.ask("GET", "/v1/list", headers={"Authorization": "Bearer other"})
    assert (unknown.status_code, unknown.headers["WWW-Authenticate"]) == (401, "Bearer"), unknown.text


def test_long_paths_come_through(commands: Commands, tmp_path: Path, open_front: OpenFront) -> None:
    """A path near the longest that the receiver takes, percent-encoded and below a path, leads to its file."""
    path = Path("mirror", *["é" * 100] * 8, "end")
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"found")
    front = open_front(commands.start_receiver(tmp_path / "mirror"))
    answer = front.ask("GET", "/ml-logger/v1/files/" + quote(str(path.relative_to("mirror"))))
    assert (answer.status_code, answer.content) == (200, b"found"), answer.text
