"""The client of ``docs/ship.sh``, written from PROTOCOL.md with curl and shell alone: ships, resumes, and refuses to mix."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from processes import TOKEN, Commands, Receiver

from ml_logger import ML_Logger

SCRIPT = Path(__file__).parent.parent / "docs" / "ship.sh"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the example is written with curl")


def ship(url: str, file: Path, path: str = "run/metrics.jsonl", token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SCRIPT), url, str(file), path],
        env={"PATH": os.environ["PATH"], "ML_LOGGER_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def receiver(commands: Commands, tmp_path: Path) -> Receiver:
    return commands.start_receiver(tmp_path / "mirror")


def test_a_growing_file_is_shipped_bit_by_bit(receiver: Receiver, tmp_path: Path) -> None:
    """It is durable after each run, and goes on where the receiver stands, in several requests where it is large."""
    stored = receiver.data_dir / "run/metrics.jsonl"
    file = tmp_path / "run/metrics.jsonl"
    with ML_Logger(tmp_path / "run") as logger:
        for step in range(3):
            logger.log(step, loss=1 / (step + 1), silent=True)
            done = ship(receiver.url, file)
            assert (done.returncode, done.stderr) == (0, "")
            assert stored.read_bytes() == file.read_bytes()
    with file.open("ab") as more:
        more.write(b'{"_step":3}\n' * 800_000)
    for _ in range(2):  # the second finds that all is there
        done = ship(receiver.url, file)
        assert done.stdout == f"run/metrics.jsonl: {file.stat().st_size} bytes are durable\n", done.stderr
    assert stored.read_bytes() == file.read_bytes()


def test_a_url_may_end_with_a_slash(receiver: Receiver, tmp_path: Path) -> None:
    """It means the same receiver as without."""
    (tmp_path / "one").write_bytes(b"one\n")
    assert ship(receiver.url + "/", tmp_path / "one").stderr == ""
    assert (receiver.data_dir / "run/metrics.jsonl").read_bytes() == b"one\n"


def test_an_empty_file_is_made(receiver: Receiver, tmp_path: Path) -> None:
    """An item without bytes makes an empty file."""
    (tmp_path / "empty.log").touch()
    assert ship(receiver.url, tmp_path / "empty.log", "run/empty.log").returncode == 0
    assert (receiver.data_dir / "run/empty.log").read_bytes() == b""


def test_other_bytes_are_never_mixed(receiver: Receiver, tmp_path: Path) -> None:
    """A file that does not begin with what is held, or is shorter, ends with code 1, and nothing is changed."""
    (tmp_path / "one").write_bytes(b"one\ntwo\n")
    assert ship(receiver.url, tmp_path / "one").returncode == 0
    for content in (b"two\nthree\nfour\n", b"one\n"):
        (tmp_path / "other").write_bytes(content)
        done = ship(receiver.url, tmp_path / "other")
        assert (done.returncode, done.stdout) == (1, "")
        assert (receiver.data_dir / "run/metrics.jsonl").read_bytes() == b"one\ntwo\n"


def test_a_refused_token_is_told(receiver: Receiver, tmp_path: Path) -> None:
    """The receiver's own words come out, and the token does not."""
    (tmp_path / "one").write_bytes(b"one\n")
    done = ship(receiver.url, tmp_path / "one", token="not-the-token")
    assert done.returncode != 0
    assert "401" in done.stderr
    assert "not-the-token" not in done.stdout + done.stderr


def test_it_is_as_short_as_it_says() -> None:
    """Sixty lines of code, comments and blank lines aside."""
    lines = [line.strip() for line in SCRIPT.read_text(encoding="utf-8").splitlines()]
    assert len([line for line in lines if line and not line.startswith("#")]) <= 60
