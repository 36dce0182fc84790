"""Metrics: what the status says, in the words of Prometheus; an extra that nobody needs who does not want it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from processes import TOKEN, Commands, wait_until

from ml_logger.agent.config import PrometheusSettings
from ml_logger.agent.metrics import offering_metrics
from ml_logger.agent.progress import Progress
from ml_logger.agent.scanner import Problem
from ml_logger.agent.status_file import StatusFile
from ml_logger.errors import ConfigError
from ml_logger.version import __version__

FAR = Progress(
    backlog_files=2,
    backlog_bytes=300,
    oldest_unshipped_s=4.0,
    shipped_bytes=5,
    shipped_files=6,
    errors=7,
    last_ack_at=1795363200.5,
    last_error="no route",
    aside=(Problem("a", "b"),),
    runs_alive=("one", "two"),
)
SETTINGS = PrometheusSettings(port=0)


def status_of(folder: Path, progress: Progress) -> StatusFile:
    status = StatusFile(folder, wall_s=lambda: 1795363000.0, steady_s=lambda: 100.0)
    status.tell(lambda: progress)
    return status


def samples(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^([^# ].*) (\S+)$", text, re.MULTILINE)}


def test_metrics_say_what_the_status_says(tmp_path: Path) -> None:
    """One sample a spool and name, by the field's conventions; the age of the oldest byte is 0 where there is none."""
    spools = [(Path("/one"), status_of(tmp_path, FAR)), (Path("/two"), status_of(tmp_path, Progress()))]
    with offering_metrics(SETTINGS, spools) as url:
        assert url is not None
        text = requests.get(url, timeout=10).text
    got = {name: value for name, value in samples(text).items() if name.startswith("ml_logger_agent_")}
    one, two = '{spool="/one"}', '{spool="/two"}'
    assert got == {
        f"ml_logger_agent_backlog_files{one}": 2,
        f"ml_logger_agent_backlog_bytes{one}": 300,
        f"ml_logger_agent_oldest_unshipped_seconds{one}": 4,
        f"ml_logger_agent_set_aside_files{one}": 1,
        f"ml_logger_agent_runs_alive{one}": 2,
        f"ml_logger_agent_failing{one}": 1,
        f"ml_logger_agent_last_ack_timestamp_seconds{one}": 1795363200.5,
        f"ml_logger_agent_shipped_bytes_total{one}": 5,
        f"ml_logger_agent_shipped_files_total{one}": 6,
        f"ml_logger_agent_errors_total{one}": 7,
        f"ml_logger_agent_backlog_files{two}": 0,
        f"ml_logger_agent_backlog_bytes{two}": 0,
        f"ml_logger_agent_oldest_unshipped_seconds{two}": 0,
        f"ml_logger_agent_set_aside_files{two}": 0,
        f"ml_logger_agent_runs_alive{two}": 0,
        f"ml_logger_agent_failing{two}": 0,
        f"ml_logger_agent_shipped_bytes_total{two}": 0,
        f"ml_logger_agent_shipped_files_total{two}": 0,
        f"ml_logger_agent_errors_total{two}": 0,
        "ml_logger_agent_start_timestamp_seconds": 1795363000,
        f'ml_logger_agent_build_info{{version="{__version__}"}}': 1,
    }
    assert "# TYPE ml_logger_agent_shipped_bytes_total counter" in text
    assert "# TYPE ml_logger_agent_backlog_bytes gauge" in text


def test_the_endpoint_ends_with_the_agent(tmp_path: Path) -> None:
    """Its port is free again afterwards."""
    with offering_metrics(SETTINGS, [(tmp_path, status_of(tmp_path, FAR))]) as url:
        assert url is not None
        port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_client_that_hangs_up_is_no_news(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nonsense and cut connections leave no trace on stderr, and the next one is answered."""
    with offering_metrics(SETTINGS, [(tmp_path, status_of(tmp_path, FAR))]) as url:
        assert url is not None
        port = int(url.split(":")[2].split("/")[0])
        for request in (b"", b"\xff\xfe\r\n\r\n", b"GET /metrics HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                client.sendall(request)
                # a reset, so that writing the answer fails
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        assert requests.get(url, timeout=10).status_code == 200
    assert "Traceback" not in capfd.readouterr().err


def test_without_a_port_nothing_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No port, no endpoint, and the extra need not be installed."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with offering_metrics(PrometheusSettings(), []) as url:
        assert url is None


def test_without_the_extra_the_person_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line with the name of the extra."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with (
        pytest.raises(ConfigError) as caught,
        offering_metrics(SETTINGS, [(tmp_path, status_of(tmp_path, FAR))]),
    ):
        raise AssertionError
    assert "ml-logger[prometheus]" in caught.value.one_line()


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_no_use_is_named(tmp_path: Path, host: str) -> None:
    """A port in use, an address of another machine, an unknown name: one line with the mend."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = PrometheusSettings(host=host, port=taken.getsockname()[1])
        with (
            pytest.raises(ConfigError) as caught,
            offering_metrics(settings, [(tmp_path, status_of(tmp_path, FAR))]),
        ):
            raise AssertionError
    assert host in str(caught.value)
    assert caught.value.hint


def test_the_client_library_is_loaded_only_where_metrics_are_wanted() -> None:
    """Importing the command does not import it."""
    code = "import sys, ml_logger.agent.cli; print('prometheus_client' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "False\n"


def test_a_running_agent_offers_them(commands: Commands, tmp_path: Path) -> None:
    """They follow what is shipped, the process's own are beside them, and no token is in them."""
    receiver = commands.start_receiver(tmp_path / "mirror")
    spool = tmp_path / "spool"
    spool.mkdir()
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url, prometheus={"port": 0}))
    wait_until(lambda: "metrics at" in agent.stderr, what=f"the URL\n{agent.tail()}")
    url = re.search(r"metrics at (\S+)", agent.stderr)[1]  # type: ignore[index]
    (spool / "a.bin").write_bytes(b"x" * 1000)
    label = f'{{spool="{spool}"}}'
    wait_until(
        lambda: samples(requests.get(url, timeout=10).text)[f"ml_logger_agent_shipped_bytes_total{label}"] == 1000,
        what=f"the metrics of what was shipped\n{agent.tail()}",
    )
    text = requests.get(url, timeout=10).text
    assert samples(text)["process_resident_memory_bytes"] > 0
    assert TOKEN not in text
    assert agent.terminate() == 0


def test_a_second_agent_with_the_same_port_says_so(commands: Commands, tmp_path: Path) -> None:
    """Code 2 and one line that names the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "spool").mkdir()
        config = commands.write_agent_config(tmp_path / "spool", "http://127.0.0.1:1", prometheus={"port": port})
        running = commands.start_agent(config)
        assert running.wait() == 2
    (line,) = running.stderr.splitlines()
    assert str(port) in line
