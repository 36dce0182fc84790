"""The command lists runs, in a directory and from afar: aligned, sorted, filtered, in the width there is."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from processes import TOKEN
from serving import Site, serving
from terminal import on_terminal, plain

from ml_logger import ML_Logger
from ml_logger.cli import main
from ml_logger.cli.aligned import Column, aligned
from ml_logger.server.local_store import LocalStore
from ml_logger.table import Cell, columns

HOSTILE = "a\x1b[31mred\nline\u202e"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of four runs, one with names that would steer a terminal."""
    root = tmp_path_factory.mktemp("logs")
    for number, rate in enumerate((0.1, 0.01, 0.001)):
        with ML_Logger(root, prefix=f"team/seed{number}") as run:
            run.log_params(model={"lr": rate})
            for step in range(3):
                run.log(step, loss=10.0 - number, accuracy=number / 3, silent=True)
    with ML_Logger(root, prefix="zoo/odd") as run:
        run.log(7, {HOSTILE: HOSTILE, "loss": float("nan")}, silent=True)
    return root


@pytest.fixture(scope="module")
def site(logs: Path) -> Iterator[Site]:
    """Serve the same directory as a receiver does."""
    with closing(LocalStore(logs)) as store, serving(store) as site:
        yield site


@pytest.fixture
def ls(logs: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run ``ls --json`` on a place and return the document."""

    def run(*words: str, place: str = "") -> Any:
        assert main(["ls", place or str(logs), "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def names(document: Any) -> list[str]:
    return [entry["path"] for entry in document]


def test_newest_first(ls: Callable[..., Any]) -> None:
    """Without a wish the run that began last comes first, and the other way round with -r."""
    assert names(ls()) == ["zoo/odd", "team/seed2", "team/seed1", "team/seed0"]
    assert names(ls("-r", "-n", "2")) == ["team/seed0", "team/seed1"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("loss", ["team/seed2", "team/seed1", "team/seed0", "zoo/odd"]),  # NaN is no number to be first by
        ("model.lr", ["team/seed2", "team/seed1", "team/seed0", "zoo/odd"]),
        ("path", ["team/seed0", "team/seed1", "team/seed2", "zoo/odd"]),
        ("step", ["team/seed0", "team/seed1", "team/seed2", "zoo/odd"]),
    ],
)
def test_sorted_by(key: str, expected: list[str], ls: Callable[..., Any]) -> None:
    """Runs are sorted by metrics, parameters and facts; those that lack it, or have NaN, come last."""
    assert names(ls("--sort", key)) == expected


def test_sorted_by_what_no_run_has(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that no run has is a misuse."""
    assert main(["ls", str(logs), "--sort", "los"]) == 2
    assert "'los'" in capsys.readouterr().err


def test_filtered(ls: Callable[..., Any], logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths, states and parameters are searched, all of several texts; that nothing is left is code 3."""
    assert names(ls("--filter", "SEED", "--filter", "model.lr=0.01")) == ["team/seed1"]
    assert main(["ls", str(logs), "--filter", "nothing"]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_document(ls: Callable[..., Any]) -> None:
    """The document has what is known of a run; special floats are words."""
    (odd,) = ls("--filter", "zoo")
    assert (odd["path"], odd["state"], odd["records"], odd["step"]) == ("zoo/odd", "finished", 1, 7)
    assert odd["last"] == {HOSTILE: HOSTILE, "loss": "NaN"}
    assert ls("--filter", "seed1")[0]["params"] == {"model.lr": 0.01}


def test_from_afar(ls: Callable[..., Any], site: Site, logs: Path) -> None:
    """A receiver's runs are listed as a directory's are, below any folder of it."""
    assert ls(place=site.url) == ls()
    assert names(ls(place=f"{site.url}/team")) == ["seed2", "seed1", "seed0"]
    assert names(ls(place=f"{site.url}/team/seed1")) == ["."]


def test_at(site: Site, logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What ls calls a run is what --at the same place takes, whatever is in the name."""
    with ML_Logger(logs, prefix="odd/50% #1?é") as run:
        run.log(3, loss=1.0, silent=True)
    try:
        for at in (str(logs), site.url, f"{site.url}/"):
            assert main(["ls", at, "--json", "--filter", "50%"]) == 0
            (found,) = json.loads(capsys.readouterr().out)
            assert main(["tail", "--at", at, found["path"], "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["_step"] == 3
    finally:
        shutil.rmtree(logs / "odd")


def test_behind_a_proxy_path(ls: Callable[..., Any], site: Site) -> None:
    """A receiver that lies below a path of its host is found there, and the run's path behind it."""
    host = site.url.removeprefix("http://")

    class Below(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            connection = http.client.HTTPConnection(host, timeout=30)
            with closing(connection):
                is_ours = self.path.startswith("/deep/logs/")
                headers = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
                connection.request(
                    "GET", self.path.removeprefix("/deep/logs") if is_ours else "/nowhere", headers=headers
                )
                answer = connection.getresponse()
                body = answer.read() if is_ours else b"<html>not found</html>"
                self.send_response(answer.status)
                for name in ("Content-Range", "ETag", "Last-Modified"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Below) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/deep/logs/team"
            assert names(ls(place=url)) == ["seed2", "seed1", "seed0"]
        finally:
            server.shutdown()
            thread.join(30)


def test_tls_and_tokens(logs: Path, certificates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A private CA is trusted if it is named, a token read from its file; without either one line says what to give."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    trusting, showing = ["--ca-file", str(certificates / "cert.pem")], ["--token-file", str(tmp_path / "token")]
    with closing(LocalStore(logs)) as store, serving(store, token=TOKEN, tls=context) as site:
        url = site.url.replace("http://", "https://")
        assert main(["ls", url, *trusting, *showing]) == 0
        assert "team/seed2" in capsys.readouterr().out
        for words, mend in ((showing, "--ca-file"), (trusting, "--token-file")):
            assert main(["ls", url, *words]) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert mend in error
            assert TOKEN not in error


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_fits_the_terminal(width: int, logs: Path) -> None:
    """No line passes the terminal's width, columns stand under each other, and what does not fit is left out whole."""
    code, shown = on_terminal("ls", cwd=logs, columns=width)
    lines = plain(shown).splitlines()
    assert code == 0
    assert max(map(columns, lines)) <= width
    start = lines[0].index("STATE")
    assert {line[start:].split()[0] for line in lines[1:]} == {"finished"}
    assert ("accuracy" in lines[0]) == (width >= 60)


def test_nothing_of_a_run_steers_the_terminal(logs: Path) -> None:
    """Control characters in names and values come as escapes, and what turns text around too."""
    code, shown = on_terminal("ls", "--filter", "zoo", cwd=logs, columns=300)
    text = plain(shown).replace("\n", "")
    assert code == 0
    assert r"a\x1b[31mred\nline\u202e" in text
    assert text.isprintable()


@pytest.mark.parametrize(("env", "is_colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"FORCE_COLOR": "1"}, True)])
def test_colour(env: dict[str, str], is_colored: bool, logs: Path) -> None:
    """A terminal gets colour unless NO_COLOR is set."""
    assert ("\x1b[" in on_terminal("ls", cwd=logs, env=env)[1]) == is_colored


def test_a_receiver_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody at the address: one line, and the code that says to try again."""
    assert main(["ls", "http://127.0.0.1:1"]) == 5
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_is_not_there(site: Site, logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that neither the disk nor the receiver has is code 3, one outside of what a path may be code 2."""
    assert main(["ls", f"{site.url}/nowhere"]) == 3
    assert main(["ls", str(logs / "nowhere")]) == 3
    assert main(["ls", f"{site.url}/team/../.."]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_columns_that_fit() -> None:
    """Of a row the first columns always stay; the name is cut before others are left out."""
    found = [Column("NAME", [Cell("x" * 50)]), Column("A", [Cell("1")], is_right=True), Column("B", [Cell("2" * 30)])]
    assert aligned(found, always=2, width=30, is_colored=False) == ["NAME" + " " * 20 + "  A  …", "x" * 23 + "…  1"]
    assert aligned(found, always=2, width=None, is_colored=False)[1] == f"{'x' * 50}  1  {'2' * 30}"
