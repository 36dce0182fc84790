"""The page in a notebook: one call, a frame, over a directory or over a receiver from afar."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from browser import Opened
from playwright.sync_api import expect
from serving import Site as Receiver
from serving import serving

from ml_logger import ML_Logger
from ml_logger.errors import MLLoggerError, NotHeld, UsageError
from ml_logger.server.local_store import LocalStore
from ml_logger.view import Frame, frame
from ml_logger.view.local import Site

TOKEN = "a-token-for-notebooks"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with two runs."""
    root = tmp_path_factory.mktemp("logs")
    for name in ("team/one", "two"):
        with ML_Logger(root / name) as logger:
            logger.log(1, loss=0.5, silent=True)
    return root


@pytest.fixture(scope="module")
def receiver(logs: Path) -> Iterator[Receiver]:
    """Serve the same files as a receiver that asks for a token."""
    with closing(LocalStore(logs)) as store, serving(store, token=TOKEN) as site:
        yield site


@pytest.fixture
def shown(logs: Path) -> Iterator[Frame]:
    with closing(frame(logs, height=321)) as made:
        yield made


@contextmanager
def notebook_showing(shown: Frame) -> Iterator[str]:
    """Serve a page with what a notebook draws, under another name than the frame's: another site to a browser."""

    class Notebook(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            icon = "<link rel=icon href='data:,'>"
            self.wfile.write(f"<!doctype html>{icon}<body>{shown._repr_html_()}".encode())

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Notebook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def runs_at(url: str) -> list[str]:
    return sorted(run["path"] for run in requests.get(f"{url}view/api/runs", timeout=30).json()["runs"])


def test_a_notebook_shows_the_page_in_a_frame(open_page: Opened, shown: Frame) -> None:
    """What a notebook draws for the call is a frame in which the page works, though the notebook is another site."""
    with notebook_showing(shown) as url:
        page = open_page(url)
        expect(page.locator("iframe")).to_have_attribute("height", "321")
        inside = page.frame_locator("iframe")
        expect(inside.locator("#tab-runs")).to_be_visible()
        expect(inside.locator("body")).to_contain_text("team/one")


def test_a_frame_is_for_notebooks_alone(logs: Path, shown: Frame) -> None:
    """Pages of this machine may frame it, and no others; the page of `ml-logger view` may be framed by itself only."""
    policy = requests.get(shown.url, timeout=30).headers["Content-Security-Policy"]
    assert "frame-ancestors 'self' http://localhost:*" in policy
    with closing(Site(logs)) as site:
        assert requests.get(site.url, timeout=30).headers["Content-Security-Policy"].endswith("frame-ancestors 'self'")


def test_the_same_place_is_served_once(logs: Path, shown: Frame) -> None:
    """A cell that is run again has the server that it had; closing stops it, and then there is another."""
    assert frame(logs).url == shown.url
    assert runs_at(shown.url) == ["team/one", "two"]
    shown.close()
    shown.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(shown.url, timeout=30)
    with closing(frame(logs)) as again:
        assert runs_at(again.url) == ["team/one", "two"]


def test_a_receiver_is_read_with_a_token(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL shows what the receiver holds, or the run that it names; the token is given or in the environment."""
    with closing(frame(receiver.url, token=TOKEN)) as far:
        assert runs_at(far.url) == ["team/one", "two"]
    monkeypatch.setenv("ML_LOGGER_TOKEN", TOKEN)
    with closing(frame(f"{receiver.url}/team")) as far:
        assert runs_at(far.url) == ["team/one"]


def test_what_one_token_saw_is_kept_for_no_other(
    logs: Path, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of runs is kept for later servers of a directory, and never of a receiver, where another token sees others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with closing(frame(receiver.url, token=TOKEN)) as far:
        assert len(requests.get(f"{far.url}view/api/runs", timeout=30).json()["runs"]) == 2
    assert not [*tmp_path.rglob("lines-*")]
    with closing(frame(logs)) as near:
        assert len(requests.get(f"{near.url}view/api/runs", timeout=30).json()["runs"]) == 2
    assert len([*tmp_path.rglob("lines-*")]) == 1


def test_nothing_is_written_at_a_receiver(receiver: Receiver) -> None:
    """Notes are refused there: the frame lets everybody on this machine in, and may not lend them the token's rights."""
    with closing(frame(receiver.url, token=TOKEN)) as far:
        note = {"pinned": True, "tags": [], "note": ""}
        headers = {"X-ML-Logger": "1"}
        answer = requests.put(f"{far.url}view/api/notes?run=two", json=note, headers=headers, timeout=30)
    assert answer.status_code == 403


def test_what_can_not_be_shown_is_said_at_once(tmp_path: Path, receiver: Receiver) -> None:
    """A directory that is not there, a run that is not held and a wrong token raise where the call is."""
    with pytest.raises(NotHeld, match="there is no directory"):
        frame(tmp_path / "none")
    with pytest.raises(NotHeld):
        frame(f"{receiver.url}/none", token=TOKEN)
    with pytest.raises(MLLoggerError):
        frame(receiver.url, token="wrong")
    with pytest.raises(UsageError):
        frame("http://", token=TOKEN)
