"""Where a run is written, whatever the user named: paths, homes, file URLs, and receivers."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ml_logger import LogDirectoryError, ML_Logger
from ml_logger.destination import destination
from ml_logger.recording import check_name


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ML_LOGGER_SPOOL", raising=False)


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("http://storage:8081", "storage_8081"),
        ("HTTP://Storage:8081/", "storage_8081"),
        ("http://storage", "storage_80"),
        ("https://10.0.0.7", "10.0.0.7_443"),
        ("https://[::1]:8081", "%3A%3A1_8081"),
        ("https://proxy/ml/logs/", "proxy_443%2Fml%2Flogs"),
    ],
)
def test_a_receiver_is_spooled_for_below_the_home(tmp_path, url, folder):
    """For a receiver's URL the run lies in a spool named after its host and port."""
    place = destination(url, "team/run")
    spool = tmp_path / "home/.ml_logger/spool" / folder
    assert (place.spool, place.directory) == (str(spool), str(spool / "team/run"))


def test_spool_from_the_environment(tmp_path, monkeypatch):
    """$ML_LOGGER_SPOOL is the spool, whichever the receiver."""
    monkeypatch.setenv("ML_LOGGER_SPOOL", str(tmp_path / "a spool"))
    place = destination("http://storage:8081", "run")
    assert place.directory == str(tmp_path / "a spool/run")
    assert yaml.safe_load(place.agent_config()) == {
        "spool": str(tmp_path / "a spool"),
        "server": "http://storage:8081",
    }


@pytest.mark.parametrize(
    "url", ["http://", "http://me:secret@host", "https://host?token=x", "http://a b", "ftp://host"]
)
def test_urls_that_are_no_receiver(url):
    """A URL with a password, a query or no host is refused, without repeating the password."""
    with pytest.raises(LogDirectoryError) as caught:
        destination(url)
    assert "secret" not in caught.value.one_line()


@pytest.mark.parametrize("prefix", ["team/run", Path("team/run"), b"team/run", "./team/run"])
def test_prefixes(tmp_path, prefix):
    """A prefix is text or a path, and None is none."""
    assert destination(tmp_path, prefix).directory == str(tmp_path / "team/run")
    assert destination(tmp_path, None).directory == destination(tmp_path).directory == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", ".hid"), "hidden"),
        (("run", "a/.hid/b"), "hidden"),
        (("run", "../a"), "leads out"),
        (("run", Path("/a")), "leads out"),
        (("run", 3), "not a path"),
        ((3,), "not a path"),
    ],
)
def test_what_is_no_destination(arguments, message):
    """Whatever can't be a directory or prefix is refused in one line, before anything is made."""
    with pytest.raises(LogDirectoryError, match=message):
        ML_Logger(*arguments)


@pytest.mark.parametrize("url", ["http://storage:8081", "HTTPS://storage/ml", "file:///logs/run"])
def test_a_url_that_went_through_pathlib(url):
    """A URL that argparse made a Path of is the URL, not a folder called http:."""
    assert destination(Path(url)).directory == destination(url).directory


def test_unknown_home():
    """A home that nobody has does not become a folder called ~nobody."""
    with pytest.raises(LogDirectoryError, match="no home directory"):
        destination("~no-such-user-here/run")


def test_a_receiver_is_never_talked_to(tmp_path):
    """Logging to a URL opens no socket, resolves no name, and says once which config ships the spool."""
    code = """if True:
        import sys
        def audit(event, arguments):
            if event.startswith("socket."):
                print("SOCKET", event, file=sys.stderr)
        sys.addaudithook(audit)
        from ml_logger import ML_Logger
        for name in ("a", "b"):
            with ML_Logger("http://storage.invalid:8081", prefix=name) as run:
                run.log(1, x=1, silent=True)
        assert "socket" not in sys.modules
    """
    environment = {"HOME": str(tmp_path), "PATH": "", "ML_LOGGER_SPOOL": str(tmp_path / "spool")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    assert result.stderr == ""
    first, *config = result.stdout.splitlines()
    assert "ml-logger-agent" in first
    assert config == [f"spool: {tmp_path}/spool", "server: http://storage.invalid:8081"]
    assert {p.name for p in (tmp_path / "spool/b").iterdir()} == {"metrics.jsonl", "run.jsonl"}


def test_a_local_directory_says_nothing(tmp_path, capsys):
    """A local log directory prints nothing by itself."""
    ML_Logger(tmp_path / "run")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        "/a",
        "a/../b",
        "..",
        "",
        ".hidden",
        "a/.b/c",
        "metrics.jsonl",
        "METRICS.7.jsonl",
        "text.log",
        "run.1.jsonl",
        "metrics.jsonl/x/0.png",
    ],
)
def test_names_users_must_not_take(name):
    """A user's file stays inside the run, is not hidden, and is no stream of the logger's own."""
    with pytest.raises(Exception, match="path"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "a/metrics.jsonl", "metrics.x.jsonl", "my metrics.jsonl", "ü/ö.txt"])
def test_names_users_may_take(name):
    """All else is a user's to take."""
    assert check_name(name) == name
