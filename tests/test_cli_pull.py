"""A run is brought over from a receiver byte for byte: whatever dies on the way, whatever grows, whatever is there already."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from processes import TOKEN, Commands, Receiver, Running, assert_trees_equal, wait_until
from relay import Relay
from serving import Site, serving

from ml_logger.cli import main
from ml_logger.pulling import ASIDE
from ml_logger.server.local_store import LocalStore

Pull = Callable[..., tuple[int, str]]

LARGE_BYTES = 24 << 20
LINES = b"one\ntwo\nthree\n"


def fill(run: Path) -> None:
    """Put some of everything there: streams, whole files, an empty one, odd names."""
    (run / "images/a").mkdir(parents=True)
    (run / "metrics.jsonl").write_bytes(LINES)
    (run / "model.pt").write_bytes(os.urandom(3 << 20))
    (run / "empty").touch()
    (run / "odd % name#?é").write_bytes(b"odd")
    for number in range(120):  # more than are asked for at a time
        (run / f"images/a/{number:04}.png").write_bytes(os.urandom(100))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    fill(folder / "team/run")
    (folder / "other").mkdir()
    (folder / "other/x").write_bytes(b"x")
    return folder


@pytest.fixture
def site(data: Path) -> Iterator[Site]:
    with closing(LocalStore(data)) as store, serving(store, token=TOKEN) as site:
        yield site


@pytest.fixture
def pull(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pull:
    """Pull into the folder ``here``; gives the exit code and what was said."""
    monkeypatch.setenv("ML_LOGGER_TOKEN", TOKEN)

    def run(*more: str) -> tuple[int, str]:
        code = main(["pull", site.url, "team/run", str(tmp_path / "here"), *more])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def test_all_of_it(pull: Pull, data: Path, tmp_path: Path) -> None:
    """Everything below the run is there, with its times, and nothing else; the second time nothing is to be done."""
    code, said = pull()
    assert (code, said.splitlines()[-1].endswith("(124 new)")) == (0, True)
    assert_trees_equal(data / "team/run", tmp_path / "here")
    assert (tmp_path / "here/model.pt").stat().st_mtime_ns == (data / "team/run/model.pt").stat().st_mtime_ns
    assert not (tmp_path / "here" / ASIDE).exists()
    before = {path: path.stat().st_ino for path in (tmp_path / "here").rglob("*")}
    code, said = pull()
    assert (code, said.splitlines()[-1].endswith("(124 here already)")) == (0, True)
    assert {path: path.stat().st_ino for path in (tmp_path / "here").rglob("*")} == before


def test_where_it_goes(pull: Pull, site: Site, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a destination it is the run's own name, here; a run may stand in the URL, and the top has all."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert main(["pull", f"{site.url}/team/run"]) == 0
    assert_trees_equal(data / "team/run", tmp_path / "work/run")
    assert main(["pull", site.url, ".", "all"]) == 0
    assert (tmp_path / "work/all/other/x").read_bytes() == b"x"


def test_streams_are_extended(pull: Pull, data: Path, tmp_path: Path) -> None:
    """Of a stream that grew only the rest is added, to the same file; whole files that are new come along."""
    pull()
    inode = (tmp_path / "here/metrics.jsonl").stat().st_ino
    (data / "team/run/metrics.jsonl").write_bytes(LINES + b"four\n")
    (data / "team/run/new.bin").write_bytes(b"new")
    code, said = pull()
    assert (code, said.splitlines()[-1].endswith("(1 new, 1 extended, 123 here already)")) == (0, True)
    assert_trees_equal(data / "team/run", tmp_path / "here")
    assert (tmp_path / "here/metrics.jsonl").stat().st_ino == inode


def test_what_differs_is_kept(pull: Pull, data: Path, tmp_path: Path) -> None:
    """Other bytes here are left alone and told, code 1; with --overwrite they are replaced, and that is told."""
    pull()
    mine = {"model.pt": b"mine", "metrics.jsonl": b"one\nmine\n", "images/a/0003.png": b"", "empty": b"longer"}
    for name, content in mine.items():
        (tmp_path / "here" / name).write_bytes(content)
    (data / "team/run/metrics.jsonl").write_bytes(LINES + b"four\n")
    code, said = pull()
    assert code == 1
    assert "kept, and differs: 'model.pt' (4 bytes here, 3145728 there); --overwrite replaces it\n" in said
    assert all((tmp_path / "here" / name).read_bytes() == content for name, content in mine.items())
    code, said = pull("--overwrite", "--json")
    assert (code, sorted(json.loads(said)["replaced"])) == (0, sorted(mine))
    assert_trees_equal(data / "team/run", tmp_path / "here")


def test_what_is_in_the_way(pull: Pull, tmp_path: Path) -> None:
    """Where a folder or a link stands nothing is written, also not through a link that leads out."""
    (tmp_path / "here/model.pt").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "here/images").symlink_to(tmp_path / "out")
    (tmp_path / "here/empty").symlink_to(tmp_path / "out/empty")
    code, said = pull("--overwrite")
    assert code == 1
    assert said.count("in the way") == 122
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_only_one_at_a_time(pull: Pull, tmp_path: Path) -> None:
    """A second pull to the same place is refused, for as long as the first one lives."""
    (tmp_path / "here" / ASIDE).mkdir(parents=True)
    with (tmp_path / "here" / ASIDE / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert pull()[0] == 2
    assert pull()[0] == 0


def test_wrong_bytes_aside_are_thrown_away(pull: Pull, data: Path, tmp_path: Path) -> None:
    """What was begun and is damaged is found by its digest and fetched anew; what is of another version is removed."""
    aside = tmp_path / "here" / ASIDE
    aside.mkdir(parents=True)
    name = hashlib.sha256(b"model.pt").hexdigest()[:32]
    proof = hashlib.sha256((data / "team/run/model.pt").read_bytes()).hexdigest()[:32]
    (aside / f"{name}-{proof}-0").write_bytes(b"damaged")
    (aside / f"{name}-{'0' * 32}-0").write_bytes(b"of another version")
    assert pull()[0] == 0
    assert_trees_equal(data / "team/run", tmp_path / "here")


@pytest.mark.parametrize(
    ("words", "code"),
    [(["nowhere"], 3), (["team/../.."], 2), (["team/run/model.pt"], 3)],
)
def test_what_can_not_be_pulled(
    words: list[str], code: int, site: Site, tmp_path: Path, pull: Pull, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not there, or no path, ends in one line and makes no folder."""
    assert main(["pull", site.url, *words, str(tmp_path / "none")]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_no_url(capsys: pytest.CaptureFixture[str]) -> None:
    """A directory in the place of a URL is a misuse."""
    assert main(["pull", "/srv/logs", "run"]) == 2
    assert "not a URL" in capsys.readouterr().err


# --- whoever dies on the way


@pytest.fixture
def receiver(commands: Commands, tmp_path: Path) -> Receiver:
    """Return a receiver that holds a run of some large files."""
    fill(tmp_path / "data/run")
    for number in range(4):
        (tmp_path / f"data/run/checkpoint{number}.pt").write_bytes(os.urandom(LARGE_BYTES))
    return commands.start_receiver(tmp_path / "data")


def begun(here: Path) -> int:
    """Return how many bytes lie aside."""
    return sum(path.stat().st_size for path in (here / ASIDE).glob("*-*") if path.exists())


def start_pull(receiver: Receiver, url: str, here: Path, *more: object) -> Running:
    commands = receiver.commands
    return commands.start("ml-logger", "pull", url, "run", here, "--token-file", commands.token_file(), *more)


def wait_begun(pulling: Running, here: Path) -> None:
    wait_until(lambda: begun(here) > 1 << 20 or not pulling.is_alive, what="a large file on its way", poll_s=0.001)
    assert pulling.is_alive, pulling.tail()


def test_the_receiver_is_killed_again_and_again(receiver: Receiver, tmp_path: Path) -> None:
    """A receiver that dies in the middle and comes back costs time only: in the end the trees are equal."""
    pulling = start_pull(receiver, receiver.url, tmp_path / "here")
    for _ in range(2):
        wait_begun(pulling, tmp_path / "here")
        receiver.kill()
        receiver.restart()
    assert pulling.wait() == 0, pulling.tail()
    assert pulling.stderr == ""
    assert_trees_equal(tmp_path / "data/run", tmp_path / "here")


def test_it_is_killed_and_goes_on(receiver: Receiver, tmp_path: Path) -> None:
    """After kill -9 the next pull fetches what is missing, not what is here; of a file that was begun only the rest."""
    with closing(Relay(receiver.address)) as relay:
        pulling = start_pull(receiver, relay.url, tmp_path / "here")
        wait_begun(pulling, tmp_path / "here")
        pulling.kill()
        held = begun(tmp_path / "here")
        before = relay.down_bytes
        again = start_pull(receiver, relay.url, tmp_path / "here")
        assert again.wait() == 0, again.tail()
        total = sum(path.stat().st_size for path in (tmp_path / "data/run").rglob("*") if path.is_file())
        assert relay.down_bytes - before <= total - held + (1 << 20)
    assert_trees_equal(tmp_path / "data/run", tmp_path / "here")


def test_a_receiver_that_stays_away(receiver: Receiver, tmp_path: Path) -> None:
    """A receiver that does not come back ends it with the code that says to try again, and what is here stays."""
    pulling = start_pull(receiver, receiver.url, tmp_path / "here", "--patience", 0.3)
    wait_begun(pulling, tmp_path / "here")
    receiver.kill()
    assert pulling.wait() == 5
    assert pulling.stderr.count("\n") == 1
    assert begun(tmp_path / "here") > 0


def test_interrupted(receiver: Receiver, tmp_path: Path) -> None:
    """Ctrl-C ends it at once and quietly, also while the receiver says nothing."""
    pulling = start_pull(receiver, receiver.url, tmp_path / "here")
    wait_begun(pulling, tmp_path / "here")
    receiver.running.freeze()
    try:
        pulling.process.send_signal(signal.SIGINT)
        assert pulling.wait(20) == 130
    finally:
        receiver.running.thaw()
    assert (pulling.stdout, pulling.stderr) == ("", "")


def test_a_run_that_grows_and_changes(receiver: Receiver, tmp_path: Path) -> None:
    """While a run goes on each file comes as it was at one moment: streams to a whole line, whole files in one version."""
    run, stop = tmp_path / "data/run", threading.Event()

    def train() -> None:
        with (run / "metrics.jsonl").open("ab", buffering=0) as stream:
            for number in range(10**9):
                if stop.is_set():
                    return
                stream.write(b'{"step":%d}\n' % number * 100)
                (run / ".aside").write_bytes(b"%09d" % number * 100_000)
                (run / ".aside").rename(run / "model.pt")
                stop.wait(0.02)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(2):
            pulling = start_pull(receiver, receiver.url, tmp_path / "here", "--overwrite")
            assert pulling.wait() == 0, pulling.tail()
            here = (tmp_path / "here/metrics.jsonl").read_bytes()
            assert (run / "metrics.jsonl").read_bytes().startswith(here)
            assert here.endswith(b"\n")
            model = (tmp_path / "here/model.pt").read_bytes()
            assert model == model[:9] * 100_000
    finally:
        stop.set()
        thread.join(30)
