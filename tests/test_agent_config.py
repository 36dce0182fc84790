"""The agent's config: whatever stands in it, the answer is a config or one line with the mend."""

from pathlib import Path

import pytest

from ml_logger.agent.cli import _flags, _parse
from ml_logger.agent.config import current_token, load_config
from ml_logger.errors import ConfigError


def config_of(tmp_path: Path, *lines: str, environ: dict[str, str] | None = None, **flags: object):
    (tmp_path / "spool").mkdir(exist_ok=True)
    file = tmp_path / "agent.yaml"
    given = {line.partition(":")[0] for line in lines}
    base = [text for key, text in (("spool", "spool: spool"), ("server", "server: http://h:1")) if key not in given]
    file.write_text("\n".join([*base, *lines]) + "\n", encoding="utf-8")
    return load_config(file, environ or {}, flags)


@pytest.mark.parametrize(
    "line",
    [
        "token: !!timestamp foo",
        "token: !!bool foo",
        "batch_bytes: !!int ''",
        "batch_bytes: 0",
        "connections: 0",
        "connections: 65",
        "max_bytes_per_s: 0",
        "heartbeat_s: -1",
        "until_pid: 0",
        "retention: {keep_s: -1}",
        "retention: {keep_s: 1.0e+10}",
        f"until_pid: {2**31}",
        "retention: {max_spool_bytes: -1}",
        "prometheus: {port: 65536}",
        "proxy: proxy",
        "proxy: socks5://h:1",
        "spot_notice_url: 169.254.169.254",
        "tls: {ca_file: missing.pem}",
        "tls: {key_file: agent.yaml}",
        "batch_bytes: 1" + "0" * 400,
        "settle_s: 1" + "0" * 400,
        "settle_s: .nan",
        "settle_s: -1",
        "scan_interval_s: 1.0e+300",
        "scan_interval_s: 0",
        "timeouts: {connect_s: 1.0e+300}",
        "retry: {max_s: .inf}",
        'spool: "a\\0b"',
        'spool: ""',
        "spool: /" + "a" * 300,
        "spool: agent.yaml",
        "spool: []",
        "spool: [spool, spool]",
        "spool: [spool, .]",
        "spool: [spool, missing]",
        'token_file: "a\\0b"',
        'state_dir: ""',
        "server: http://a..b",
        "server: http://" + "a" * 64,
        "server: http://h:99999",
        "server: ftp://h",
        "server: http://user:password@h",
        "remote_prefix: ../up",
        "remote_prefix: /",
        f"batch_bytes: {2**30 + 1}",
        "include: &a [*a]",
        "exclude: &a {x: *a}",
        "log: {level: loud}",
    ],
)
def test_what_can_not_be_used_is_refused_in_one_line(tmp_path, line):
    """Every odd value is a `ConfigError` of one bounded line that names the key or what it holds."""
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, line)
    message = caught.value.one_line()
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('remote_prefix: "{host}"', ("remote_prefix", "'{host}'", "{hostname}")),
        ('remote_prefix: "team/{hostname"', ("remote_prefix", "'team/{hostname'", "{hostname}")),
        ("remote_prefix: /x", ("remote_prefix", "'/x'", "relative")),
        ("include: []", ("include", "nothing")),
        ("retry: {initial_s: 10, max_s: 1}", ("retry.initial_s", "10", "retry.max_s", "1")),
        ("spot_notice_url: foo", ("spot_notice_url", "like http://169.254.169.254")),
        ("proxy: foo", ("proxy", "like http://proxy:3128")),
        ('until_file: ""', ("line 3", "until_file", "empty")),
        ('token_file: "a\\0b"', ("line 3", "token_file", "NUL")),
        ("state_dir: ~nobody-of-this-name/x", ("line 3", "state_dir", "home")),
    ],
)
def test_what_is_refused_is_named_with_its_mend(tmp_path, line, words):
    """The key, the value and what would do stand in the line."""
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, line)
    assert [word for word in words if word not in caught.value.one_line()] == []


def test_a_variable_that_is_no_key_is_refused(tmp_path):
    """A misspelt variable is not passed over; the other commands' variables and those of Kubernetes are not meant."""
    others = {
        "ML_LOGGER_TOKEN": "t",
        "ML_LOGGER_SPOOL": "s",
        "ML_LOGGER_SERVER_PORT": "1",
        "ML_LOGGER_AGENT_SERVICE_HOST": "10.0.0.1",
        "ML_LOGGER_AGENT_SERVICE_PORT_METRICS": "9108",
        "ML_LOGGER_AGENT_PORT": "tcp://10.0.0.1:9108",
        "ML_LOGGER_AGENT_PORT_9108_TCP_ADDR": "10.0.0.1",
    }
    assert config_of(tmp_path, environ={**others, "ML_LOGGER_AGENT_SETTLE_S": "3"}).settle_s == 3.0
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, environ={**others, "ML_LOGGER_AGENT_SETTLE": "3"})
    line = caught.value.one_line()
    assert [w for w in ("variable ML_LOGGER_AGENT_SETTLE:", "nearest known key is 'settle_s'") if w not in line] == []


def test_several_spools_on_the_command_line(tmp_path):
    """``--spool`` given twice means both folders, whatever the file says."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    arguments = _parse(["--spool", str(tmp_path / "a"), "--spool", str(tmp_path / "b")])
    assert config_of(tmp_path, **_flags(arguments)).spools() == (tmp_path / "a", tmp_path / "b")
    assert config_of(tmp_path, **_flags(_parse([]))).spools() == (tmp_path / "spool",)


def test_a_token_file_may_begin_with_a_byte_order_mark(tmp_path):
    """What some editors put before the first line is no part of the token."""
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbfsecret\r\n")
    assert current_token(config_of(tmp_path, "token_file: token"), {}) == "secret"


def test_files_may_be_kept_for_months(tmp_path):
    """`retention.keep_s` may be longer than the other times; without a bound retention is off."""
    assert config_of(tmp_path, "retention: {keep_s: 31536000}").retention.keep_s == 31536000.0
    assert config_of(tmp_path, "retention: {max_spool_bytes: 0}").retention.is_on
    assert not config_of(tmp_path).retention.is_on


def test_a_huge_alias_is_refused_quickly(tmp_path):
    """Nested aliases, a few bytes that stand for millions of elements, cost neither time nor memory."""
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]" for n in range(9)]
    with pytest.raises(ConfigError):
        config_of(tmp_path, *rows[:8], "token: *a7")


def test_flags_start_where_they_are_typed_and_the_file_where_it_lies(tmp_path, monkeypatch):
    """A relative path means the folder of the place it is written in."""
    (tmp_path / "elsewhere" / "spool").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert config_of(tmp_path).spools() == (tmp_path / "spool",)
    assert config_of(tmp_path, spool=Path("spool")).spools() == (tmp_path / "elsewhere" / "spool",)


def test_the_token_is_read_anew(tmp_path):
    """A replaced token file counts at once; the environment goes before it."""
    (tmp_path / "token").write_text("first\n")
    config = config_of(tmp_path, "token_file: token")
    assert current_token(config, {}) == "first"
    (tmp_path / "token").write_text("second\n")
    assert current_token(config, {}) == "second"
    assert current_token(config, {"ML_LOGGER_TOKEN": "env"}) == "env"
    (tmp_path / "token").write_text("has a space\n")
    with pytest.raises(ConfigError):
        current_token(config, {})


def test_the_hostname_in_the_prefix(tmp_path):
    """`{hostname}` stands for this machine's name."""
    import os

    assert config_of(tmp_path, "remote_prefix: team/{hostname}/").remote_prefix == f"team/{os.uname().nodename}"
