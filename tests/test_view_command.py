"""``ml-logger view``: where it listens, what it says, how it ends."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
import requests
from processes import Commands, wait_first_line
from viewing import log_failed_run

from ml_logger.errors import UsageError
from ml_logger.view.local import Site, bind


def test_it_says_its_url_and_ends_when_told(commands: Commands, tmp_path: Path) -> None:
    """The first line is the URL; SIGINT ends it in order, also with a connection open."""
    log_failed_run(tmp_path / "runs" / "one")
    view = commands.start("ml-logger", "view", tmp_path / "runs", "--port", 0)
    url = wait_first_line(view)
    with requests.Session() as session:
        assert url.startswith("http://127.0.0.1:")
        assert [run["path"] for run in session.get(f"{url}view/api/runs", timeout=30).json()["runs"]] == ["one"]
        view.process.send_signal(signal.SIGINT)
        assert view.wait(20) == 0
    assert view.stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 3, "nowhere"),
        ([".", "--port", "70000"], 2, "70000"),
        ([".", "--host", "192.0.2.1"], 2, "192.0.2.1"),
        ([], 2, "directory"),
    ],
)
def test_what_can_not_be_done_is_one_line(commands: Commands, words: list[str], code: int, said: str) -> None:
    """A wrong directory, port or address ends it with the exit code of its kind and one line."""
    view = commands.run("ml-logger", "view", *words)
    assert view.process.returncode == code, view.tail()
    assert said in view.stderr
    assert view.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_left_to_whoever_has_it() -> None:
    """Without a wish any free port will do, with one the error says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with bind("127.0.0.1", None, otherwise=port) as other:
            assert other.getsockname()[1] != port
        with pytest.raises(UsageError, match=str(port)):
            bind("127.0.0.1", port)


def test_a_site_in_a_thread_begins_and_ends(tmp_path: Path) -> None:
    """As a notebook starts it: there once it is made, gone once it is closed, and closing again does nothing."""
    site = Site(tmp_path)
    assert requests.get(site.url, timeout=30).status_code == 200
    site.close()
    site.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(site.url, timeout=30)


def test_ipv6_is_an_address_like_others(tmp_path: Path) -> None:
    """Loopback of IPv6 is bound, and its URL has brackets."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    site = Site(tmp_path, host="::1")
    assert site.url.startswith("http://[::1]:")
    assert requests.get(f"{site.url}view/api/runs", timeout=30).status_code == 200
    site.close()
