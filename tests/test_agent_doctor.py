"""The doctor: one line a check with the mend, and an exit code; whatever is wrong, never a traceback."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import TOKEN, Commands, Receiver, read_mirror, wait_until
from proxy import HTML, Answer, Behaviour, CutResponse, Drop, Proxy
from tls import tls_server

from ml_logger.agent import local_checks
from ml_logger.agent.config import AgentConfig, TlsSettings
from ml_logger.agent.doctor import examine, run_doctor
from ml_logger.agent.finding import Finding
from ml_logger.agent.secret import Secrets
from ml_logger.errors import ConfigError
from ml_logger.layout import AGENT_DIR
from ml_logger.server.auth import Caller, Right
from ml_logger.server.tokens import add_token

OpenProxy = Callable[[tuple[str, int]], Proxy]
CHECKS = ["config", "spool", "state", "disk", "agent", "inotify", "token"]
WAY = ["name", "connect", "tls", "receiver", "clock", "accepted", "probe"]
HEALTHY = Answer(200, b'{"ok":true,"version":"1.2.3"}', "application/json")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    spool = tmp_path / "spool"
    (spool / "run").mkdir(parents=True)
    (spool / "run/metrics.jsonl").write_bytes(b"{}\n")
    return spool


@pytest.fixture
def receiver(commands: Commands, tmp_path: Path) -> Receiver:
    return commands.start_receiver(tmp_path / "mirror")


def see_doctor(commands: Commands, config: Path, *extra: str) -> tuple[int, dict[str, str]]:
    """Run the doctor; return its exit code and its lines by check."""
    running = commands.run("ml-logger-agent", "doctor", "--config", config, *extra)
    assert running.stderr == ""
    lines = running.stdout.splitlines()
    assert all(re.match(r"(ok|warn|FAIL|skip) +[a-z]+ +\S", line) for line in lines), lines
    return running.wait(), {line.split()[1]: line for line in lines}


def findings(config: AgentConfig, token: str | None = TOKEN) -> dict[str, Finding]:
    environ = {} if token is None else {"ML_LOGGER_TOKEN": token}
    return {f.check: f for f in examine(lambda: config, environ, Secrets(), with_probe=True)}


def config_of(spool: Path, url: str = "http://127.0.0.1:1", **settings: object) -> AgentConfig:
    return AgentConfig(spool=(spool,), server=url, **settings)  # type: ignore[arg-type]


# --- with real processes


def test_all_is_well(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """Every check passes, the probe came the whole way, and the spool and the agent's state are as they were."""
    code, lines = see_doctor(commands, commands.write_agent_config(spool, receiver.url))
    assert (code, list(lines)) == (0, CHECKS + WAY)
    assert not [line for line in lines.values() if not line.startswith("ok")], lines
    probes = [path for path in read_mirror(receiver.data_dir) if path.startswith(b"ml-logger-doctor/")]
    assert len(probes) == 1
    assert sorted(os.listdir(spool)) == ["run"]
    assert TOKEN not in str(lines)


def test_the_probe_litters_little(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """However often the doctor is asked, there is one file for this machine, under the agent's own prefix."""
    config = commands.write_agent_config(spool, receiver.url, remote_prefix="team/a")
    for _ in range(2):
        code, lines = see_doctor(commands, config)
        assert code == 0, lines
    (path,) = read_mirror(receiver.data_dir)
    assert path.startswith(b"team/a/ml-logger-doctor/")
    shutil.rmtree(receiver.data_dir / "team")
    code, lines = see_doctor(commands, config, "--no-probe")
    assert (code, list(lines)) == (0, [*CHECKS, *WAY[:-1]])
    assert read_mirror(receiver.data_dir) == {}


def test_a_running_agent_is_seen_and_left_alone(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """The doctor names it and checks all the rest beside it."""
    config = commands.write_agent_config(spool, receiver.url)
    agent = commands.start_agent(config)
    wait_until(lambda: b"run/metrics.jsonl" in read_mirror(receiver.data_dir), what=agent.tail())
    code, lines = see_doctor(commands, config)
    assert code == 0, lines
    assert f"pid {agent.process.pid}" in lines["agent"]
    assert agent.is_alive


def test_a_receiver_that_is_away_fails_at_its_step(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """The line says which step and what to look at; what can't be checked behind it is left out."""
    receiver.kill()
    code, lines = see_doctor(commands, commands.write_agent_config(spool, receiver.url))
    assert (code, list(lines)) == (1, [*CHECKS, "name", "connect"])
    assert lines["connect"].startswith("FAIL")
    assert str(receiver.address[1]) in lines["connect"]
    assert " – " in lines["connect"]


def test_a_wrong_token_fails_at_its_step(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """The receiver is reached, and does not let the agent in."""
    config = commands.write_agent_config(spool, receiver.url, token_file=None, token="another-token")
    code, lines = see_doctor(commands, config)
    assert (code, list(lines)[-1]) == (1, "accepted")
    assert "401" in lines["accepted"]
    assert "another-token" not in str(lines)


def start_with_token(
    commands: Commands, tmp_path: Path, rights: list[Right], prefix: str = "", **settings: object
) -> Path:
    """Start a receiver with one token; return the config of an agent that has it."""
    tokens, own = tmp_path / "tokens", tmp_path / "own-token"
    own.write_text(add_token(tokens, Caller("gpu-box", frozenset(rights), prefix)))
    own.chmod(0o600)
    receiver = commands.start_receiver(tmp_path / "mirror", "--token-file", str(tokens))
    return commands.write_agent_config(tmp_path / "spool", receiver.url, token_file=str(own), **settings)


@pytest.mark.usefixtures("spool")
@pytest.mark.parametrize("prefix", ["", "team-a"])
def test_the_token_of_the_docs_is_enough(commands: Commands, tmp_path: Path, prefix: str) -> None:
    """One with the right to write, and no other, also confined to a folder: all an agent needs is all the doctor needs."""
    config = start_with_token(commands, tmp_path, ["write"], prefix, remote_prefix=prefix)
    code, lines = see_doctor(commands, config)
    assert (code, list(lines)) == (0, CHECKS + WAY), lines
    assert "stored durably, and is there" in lines["probe"]


@pytest.mark.usefixtures("spool")
def test_a_token_that_may_only_read_is_named(commands: Commands, tmp_path: Path) -> None:
    """With the command that makes a better one."""
    code, lines = see_doctor(commands, start_with_token(commands, tmp_path, ["read"]))
    assert (code, list(lines)[-1]) == (1, "accepted")
    assert "no right to write" in lines["accepted"]
    assert "ml-logger-server token add" in lines["accepted"]


@pytest.mark.usefixtures("spool")
def test_a_token_of_another_folder_is_named(commands: Commands, tmp_path: Path) -> None:
    """The mend is in the agent's own config."""
    code, lines = see_doctor(commands, start_with_token(commands, tmp_path, ["write"], "team-a", remote_prefix="b"))
    assert (code, list(lines)[-1]) == (1, "probe")
    assert "remote_prefix" in lines["probe"]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"spool": "{tmp}/none"}, "none"),
        ({"servr": "x"}, "servr"),
        ({"settle_s": "soon"}, "settle_s"),
        ({"spool": None}, "spool"),
    ],
)
def test_a_config_of_no_use_is_a_finding(
    commands: Commands, tmp_path: Path, settings: dict[str, object], word: str
) -> None:
    """It is the first check, in one line with the mend, and the last."""
    filled = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in settings.items()}
    given = {"spool": tmp_path, "server": "http://127.0.0.1:1"} | filled
    code, lines = see_doctor(commands, commands.write_agent_config(**given))  # type: ignore[arg-type]
    assert (code, list(lines)) == (1, ["config"])
    assert word in lines["config"]


# --- this machine


def test_a_token_that_others_can_read_is_a_warning(spool: Path, tmp_path: Path) -> None:
    """With the command that mends it; without a token there is another."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    found = findings(config_of(spool, token_file=file), token=None)["token"]
    assert (found.level, found.mend) == ("warn", f"chmod 600 {file}")
    file.chmod(0o600)
    assert findings(config_of(spool, token_file=file), token=None)["token"].level == "ok"
    assert findings(config_of(spool), token=None)["token"].level == "warn"
    assert findings(config_of(spool, token_file=tmp_path / "none"), token=None)["token"].level == "FAIL"


def test_a_state_directory_of_no_use_fails(spool: Path, tmp_path: Path) -> None:
    """One below a file, and one in which nothing can be written."""
    (tmp_path / "file").touch()
    for state_dir in (tmp_path / "file" / "state", Path("/proc")):
        found = findings(config_of(spool, state_dir=state_dir))["state"]
        assert found.level == "FAIL", found
        assert found.mend
    assert findings(config_of(spool, state_dir=tmp_path / "new" / "state"))["state"].level == "ok"
    assert not (tmp_path / "new").exists()


def test_a_state_directory_on_a_network_is_a_warning(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks and databases are brittle there."""
    monkeypatch.setattr(local_checks, "_file_system_of", lambda _path: "nfs4")
    (spool / ".ml-logger-agent").mkdir()
    found = findings(config_of(spool))["state"]
    assert (found.level, "nfs4" in found.text) == ("warn", True)


def test_the_kind_of_file_system_is_the_nearest_mounts() -> None:
    """``/proc`` is a file system of its own, and a folder in it is on it."""
    assert local_checks._file_system_of(Path("/proc/self")) == "proc"
    assert local_checks._file_system_of(Path("/procession")) != "proc"


def test_a_disk_that_fills_up_is_a_warning(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is full, with what to do; the same for inodes."""
    monkeypatch.setattr(local_checks, "LEAST_FREE_BYTES", 1 << 60)
    assert findings(config_of(spool))["disk"].level == "warn"
    monkeypatch.setattr(local_checks, "LEAST_FREE_BYTES", 0)
    monkeypatch.setattr(local_checks, "LEAST_FREE_INODES", 1 << 60)
    found = findings(config_of(spool))["disk"]
    assert found.level == ("warn" if os.statvfs(spool).f_files else "ok")


@pytest.mark.parametrize(
    ("limits", "level", "word"),
    [
        ({"max_user_watches": 10**9, "max_user_instances": 10**6}, "ok", "watches"),
        ({"max_user_watches": 1, "max_user_instances": 10**6}, "warn", "max_user_watches"),
        ({"max_user_watches": 10**9, "max_user_instances": 0}, "warn", "max_user_instances"),
        ({}, "skip", "limits"),
    ],
)
def test_inotify_limits_are_compared_with_what_is_needed(
    spool: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], level: str, word: str
) -> None:
    """Two folders need two watches and one instance; too few is a warning with the sysctl."""
    monkeypatch.setattr(local_checks, "_limit", limits.get)
    found = findings(config_of(spool))["inotify"]
    assert found.level == level
    assert word in found.line()


def test_files_that_cannot_be_read_are_counted(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one of them as an example; special files are none."""
    os.mkfifo(spool / "pipe")
    real = local_checks.may
    monkeypatch.setattr(local_checks, "may", lambda path, mode: "metrics" not in str(path) and real(path, mode))
    found = findings(config_of(spool))["spool"]
    assert found.level == "warn"
    assert "1 file in 2 folders" in found.text
    assert "metrics.jsonl" in found.text


def test_only_what_is_shipped_is_counted(spool: Path) -> None:
    """The agent's own files in the spool, and other hidden ones, are not what it looks for."""
    (spool / AGENT_DIR / "inner").mkdir(parents=True)
    for hidden in (f"{AGENT_DIR}/ledger.sqlite", f"{AGENT_DIR}/inner/f", "run/.m.pt.tmp-0123"):
        (spool / hidden).write_bytes(b"x")
    assert findings(config_of(spool))["spool"].text == f"{spool}: 1 file in 2 folders, 3 B"


def test_the_lock_file_is_not_disturbed(spool: Path) -> None:
    """While the doctor writes and locks its own file in the state directory, an agent's lock stays the agent's."""
    state_dir = spool / ".ml-logger-agent"
    state_dir.mkdir()
    with (state_dir / "agent.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = findings(config_of(spool))
    assert found["state"].level == "ok"
    assert "unknown" in found["agent"].text
    assert os.listdir(state_dir) == ["agent.lock"]


# --- the way to the receiver


@pytest.mark.parametrize(
    "behaviour",
    [
        HTML,
        Answer(200, b"{}"),
        Answer(200, b"[1]"),
        Answer(404),
        Answer(502, b"{"),
        Drop(),
        Drop(reset=True),
        CutResponse(20),
    ],
    ids=str,
)
def test_something_else_at_the_address_is_noticed(spool: Path, open_proxy: OpenProxy, behaviour: Behaviour) -> None:
    """A captive portal, a broken box, a closed door: the check fails with a hint, and the probe is not sent."""
    proxy = open_proxy(("127.0.0.1", 1))
    proxy.default = behaviour
    found = findings(config_of(spool, proxy.url))
    assert found["receiver"].level == "FAIL"
    assert found["receiver"].mend
    assert "probe" not in found


@pytest.mark.parametrize(
    "behaviour", [HTML, Answer(200, b'{"v":1,"files":[]}'), Answer(503, b'{"error":"busy"}'), Drop()], ids=str
)
def test_a_probe_that_fails_says_why(spool: Path, open_proxy: OpenProxy, behaviour: Behaviour) -> None:
    """The small calls pass, what ships does not: a finding, whatever the answer is."""
    proxy = open_proxy(("127.0.0.1", 1))
    proxy.default = behaviour
    proxy.script("/healthz", HEALTHY)
    proxy.script("/v1/stat", HEALTHY)
    last = list(examine(lambda: config_of(spool, proxy.url), {}, Secrets(), with_probe=True))[-1]
    assert last.level == "FAIL"
    assert last.mend


@pytest.mark.parametrize(
    ("date", "level"),
    [
        ("Sun, 22 Nov 2020 16:00:00 GMT", "warn"),
        ("Sun, 22 Nov 2099 16:00:00 GMT", "warn"),
        ("yesterday", "skip"),
        ("Sun, 99 Nov 99999 16:00:00 GMT", "skip"),
    ],
)
def test_a_clock_that_differs_is_a_warning(spool: Path, open_proxy: OpenProxy, date: str, level: str) -> None:
    """By the Date of the answer; nothing is lost by it, so it never fails."""
    proxy = open_proxy(("127.0.0.1", 1))
    proxy.default = Answer(401, b'{"error":"no"}')
    proxy.script("/healthz", Answer(200, HEALTHY.body, headers=(("Date", date),)))
    assert findings(config_of(spool, proxy.url))["clock"].level == level


def test_an_unknown_name_fails_at_its_step(spool: Path) -> None:
    """Names that DNS does not know, or that can't be names."""
    for host in ("no.such.host.invalid", "a" * 64 + ".example"):
        found = findings(config_of(spool, f"http://{host}:8081"))
        assert found["name"].level == "FAIL"
        assert "connect" not in found


def test_tls_is_checked_with_the_ca_of_the_config(spool: Path, certificates: Path) -> None:
    """Trusted by `tls.ca_file`, with a warning since it ends soon; without it, and for another name, it fails."""
    trusting = TlsSettings(ca_file=certificates / "cert.pem")
    with tls_server(certificates) as port:
        found = findings(config_of(spool, f"https://127.0.0.1:{port}", tls=trusting))
        assert (found["tls"].level, "10.0 d" in found["tls"].text or "9.9" in found["tls"].text) == ("warn", True), (
            found
        )
        assert (found["receiver"].level, found["accepted"].level) == ("ok", "FAIL")
        unknown = findings(config_of(spool, f"https://127.0.0.1:{port}"))["tls"]
        assert (unknown.level, "ca_file" in (unknown.mend or "")) == ("FAIL", True)
        other = findings(config_of(spool, f"https://localhost:{port}", tls=trusting))["tls"]
        assert (other.level, "not trusted" in other.text) == ("FAIL", True), other


def test_tls_where_none_is_spoken_fails(spool: Path, open_proxy: OpenProxy) -> None:
    """https at a port that speaks http, and CA files that are none, are findings."""
    proxy = open_proxy(("127.0.0.1", 1))
    url = proxy.url.replace("http:", "https:")
    assert findings(config_of(spool, url))["tls"].level == "FAIL"
    (spool / "ca.pem").write_text("none")
    found = findings(config_of(spool, url, tls=TlsSettings(ca_file=spool / "ca.pem")))["receiver"]
    assert (found.level, "'tls'" in found.text) == ("FAIL", True)


def test_plain_http_across_a_network_is_a_warning(spool: Path) -> None:
    """On this machine it is well; elsewhere the token can be read on the way."""
    from ml_logger.agent.call import Reply
    from ml_logger.agent.remote_checks import _about_tls

    reply = Reply(200, None, b"", 0.0)
    assert _about_tls(config_of(spool, "http://localhost:1"), reply).level == "ok"
    assert _about_tls(config_of(spool, "http://storage:8081"), reply).level == "warn"


# --- the lines


def test_what_is_said_is_one_line_without_secrets() -> None:
    """Whatever stands in names and answers, a finding is one printable line."""

    def load() -> AgentConfig:
        raise ConfigError(f"bad\n\x1b[31m{TOKEN}", hint="mend\nit")

    secrets, said = Secrets(), []
    secrets.note(TOKEN)
    assert run_doctor(load, {}, secrets, with_probe=True, say=said.append) == 1
    assert said == ["FAIL  config    bad\\n\\x1b[31m[secret] – mend\\nit"]


def test_what_the_system_refuses_to_show_is_a_finding(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the operating system in the middle of a check is that check's line, and the others follow."""

    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied", "/proc/x")

    monkeypatch.setattr(local_checks, "_inotify_use", refuse)
    monkeypatch.setattr(local_checks, "maybe_holder", refuse)
    found = findings(config_of(spool))
    assert (found["agent"].level, found["inotify"].level) == ("FAIL", "FAIL")
    assert found["token"].level == "ok"
