"""TLS at the receiver: what it shows, that a renewal needs no restart, and what it says of files that are no certificate."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import requests
from processes import Commands, wait_first_line, wait_until, workers_of
from serving import serving

from ml_logger.errors import ConfigError
from ml_logger.server.certificate import Certificate
from ml_logger.server.cli import main
from ml_logger.server.local_store import LocalStore

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


def make_certificate(folder: Path, *more: str) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that is its own CA, and its key."""
    folder.mkdir(exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    how = more or ("-nodes",)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *how),
            *("-keyout", str(key), "-out", str(cert), "-days", "10", "-subj", "/CN=receiver"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return cert, key


def shown_at(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=30)


def test_it_speaks_https_and_nothing_else(commands: Commands, tmp_path: Path) -> None:
    """With a certificate the URL is https, clients that trust the CA are served, and plain http is not."""
    cert, key = make_certificate(tmp_path / "tls")
    args = ("--data-dir", tmp_path / "data", "--port", 0, "--tls-cert", cert, "--tls-key", key)
    url = wait_first_line(commands.start("ml-logger-server", *args))
    assert url.startswith("https://127.0.0.1:")
    assert requests.get(url + "/healthz", verify=str(cert), timeout=30).status_code == 200
    with pytest.raises(requests.ConnectionError):
        requests.get(url.replace("https", "http") + "/healthz", timeout=30)


def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The files are looked at now and then; one that is broken meanwhile changes nothing, and is said once."""
    cert, key = make_certificate(tmp_path / "tls")
    certificate = Certificate(cert, key)
    store = LocalStore(tmp_path / "data")
    with closing(store), serving(store, tls=certificate.context) as site:
        port = int(site.url.rpartition(":")[2])
        first = shown_at(port)
        cert.write_text("broken", encoding="utf-8")
        for _ in range(2):
            certificate.refresh()
        assert shown_at(port) == first
        assert [record.levelname for record in caplog.records if "certificate" in record.message] == ["ERROR"]
        other, _ = make_certificate(tmp_path / "other")
        shutil.copy(other, cert)  # a renewal that has not come to the key yet
        certificate.refresh()
        assert shown_at(port) == first
        make_certificate(tmp_path / "tls")
        certificate.refresh()
        assert shown_at(port) not in ("", first)


def test_a_new_worker_shows_the_renewed_certificate(commands: Commands, tmp_path: Path) -> None:
    """Where the files are broken when it starts, it shows what was good last, not what was at the receiver's start."""
    cert, key = make_certificate(tmp_path / "tls")
    receiver = commands.start_receiver(
        tmp_path / "data", "--workers", "2", "--tls-cert", str(cert), "--tls-key", str(key)
    )
    make_certificate(tmp_path / "tls")
    wait_until(
        lambda: receiver.running.stderr.count("a new certificate is shown") == 3
    )  # by the parent and both workers
    renewed = cert.read_text(encoding="utf-8")
    cert.write_text("broken", encoding="utf-8")
    before = set(workers_of(receiver))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(workers_of(receiver)) - before) == 2)
    assert shown_at(receiver.address[1]).split() == renewed.split()


def test_files_that_are_no_certificate_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing, broken, mismatched or locked file ends the start with one line, and never asks for a password."""
    cert, key = make_certificate(tmp_path / "one")
    _, other = make_certificate(tmp_path / "two")
    _, locked = make_certificate(tmp_path / "three", "-passout", "pass:secret")
    broken = tmp_path / "broken"
    broken.write_text("x", encoding="utf-8")
    for pair in ((cert, tmp_path / "none"), (broken, key), (cert, broken), (cert, other), (cert, locked)):
        with pytest.raises(ConfigError, match="the certificate can't be used"):
            Certificate(*pair)
    assert main(["--data-dir", str(tmp_path / "data"), "--tls-cert", str(cert)]) == 2
    assert "tls_cert and tls_key go together" in capsys.readouterr().err
