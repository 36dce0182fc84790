"""The receiver's small parts: config, door, byte ranges, the memory of checksums."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ml_logger.byterange import maybe_range
from ml_logger.errors import ConfigError, UsageError
from ml_logger.journal import LogSettings
from ml_logger.server.auth import Caller, Door, door_for, is_loopback, require_safe_bind
from ml_logger.server.checksums import Checksums, Signature
from ml_logger.server.config import Limits, ServerConfig, load_config
from ml_logger.wire import Crc

EXAMPLE = Path(__file__).parent.parent / "config" / "server.yaml"

# --- config


def test_the_example_shows_every_key_with_its_default() -> None:
    """``config/server.yaml`` is complete, every key has a comment, and it says what holds without it."""
    text = EXAMPLE.read_text(encoding="utf-8")
    shown = yaml.safe_load(text)
    defaults = ServerConfig(Path("/tmp/ml_logger/data"))
    for cls, keys in ((ServerConfig, shown), (Limits, shown["limits"]), (LogSettings, shown["log"])):
        assert list(keys) == [field.name for field in dataclasses.fields(cls)]
    assert load_config(EXAMPLE, {}, {}) == defaults
    lines = text.splitlines()
    keys = [number for number, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    assert all(lines[number - 1].lstrip().startswith("#") for number in keys)
    for number in keys:
        value = lines[number].partition(":")[2].strip()
        comment = next(lines[i] for i in range(number - 1, -1, -1) if "efault" in lines[i])
        assert not value or lines[number].startswith("data_dir") or value in comment, lines[number]


def test_flags_count_more_than_variables_and_these_more_than_the_file(tmp_path: Path) -> None:
    """Each key is taken from the nearest place that gives it."""
    file = tmp_path / "server.yaml"
    file.write_text("data_dir: here\nport: 1\nhost: ::1\nlog: {level: error, format: json}\n", encoding="utf-8")
    environ = {"ML_LOGGER_SERVER_PORT": "2", "ML_LOGGER_SERVER_MIN_FREE_BYTES": "7"}
    config = load_config(file, environ, {"port": 3, "host": None, "log.level": "debug"})
    assert (config.port, config.host, config.min_free_bytes) == (3, "::1", 7)
    assert config.log == LogSettings("debug", "json")
    assert config.data_dir == tmp_path / "here"
    assert load_config(file, environ, {"data_dir": Path("there")}).data_dir == Path.cwd() / "there"


@pytest.mark.parametrize(
    "line",
    ["port: -1", "port: 65536", "min_free_bytes: -1", "stop_timeout_s: 0", "limits: {body_timeout_s: .inf}"]
    + [f"limits: {{{field.name}: 0}}" for field in dataclasses.fields(Limits)],
)
def test_values_out_of_range_are_refused(tmp_path: Path, line: str) -> None:
    """A number that can't work is named with its key."""
    file = tmp_path / "server.yaml"
    file.write_text(f"data_dir: x\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=line.replace("{", "").split(":")[-2].split()[-1]):
        load_config(file, {}, {})


# --- the door


def test_an_open_door_lets_anybody_in_on_loopback_only() -> None:
    """Without a token nobody is asked for one, and nothing but loopback may be bound."""
    door = Door(None)
    assert door.maybe_caller(None) == Caller("anybody")
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        require_safe_bind(host, door)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match="loopback only"):
            require_safe_bind(host, door)
        require_safe_bind(host, door_for("token"))


def test_only_the_token_opens() -> None:
    """A token in the Authorization header, as Bearer, equal in every byte."""
    door = door_for("t\u00f6ken")
    assert door.maybe_caller("Bearer t\u00f6ken") == Caller("token")
    for shown in (
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer token",
        "t\u00f6ken",
        "Basic t\u00f6ken",
        "Bearer t\u00f6ken \udcff",
    ):
        assert door.maybe_caller(shown) is None


# --- byte ranges


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_what_slicing_gives(size: int, first: int, last: int) -> None:
    """Every form of a single range picks the bytes that a slice picks."""
    positions = list(range(size))
    assert list(maybe_range(f"bytes={first}-", size) or ()) == positions[first:]
    assert list(maybe_range(f"bytes=-{last}", size) or ()) == (positions[-last:] if last else [])
    found = maybe_range(f"bytes={first}-{last}", size)
    assert (found is None) == (last < first)
    assert list(found or ()) == (positions[first : last + 1] if last >= first else [])


@pytest.mark.parametrize(
    "header", [None, "", "bytes", "bytes=-", "bytes=a-b", "bytes=1-2,3-4", "bytes=--1", f"bytes={'9' * 30}-"]
)
def test_what_is_no_range_means_the_whole_file(header: str | None) -> None:
    """A header that is not understood is passed over."""
    assert maybe_range(header, 10) is None


# --- checksums


def test_checksums_count_for_one_state_only(tmp_path: Path) -> None:
    """Points are found again while the file is as it was, and never afterwards."""
    path = tmp_path / "m"
    path.write_bytes(b"abc")
    signature = Signature.of(os.stat(path))
    checksums = Checksums()
    checksums.remember("m", signature, {3: Crc(1)})
    assert checksums.maybe_points("m", signature) == {3: 1}
    for key in ("device", "inode", "size", "mtime_ns", "ctime_ns"):
        other = signature._replace(**{key: getattr(signature, key) + 1})
        assert checksums.maybe_points("m", other) is None
    assert checksums.maybe_points("n", signature) is None


def test_checksums_are_bounded() -> None:
    """The least recently used files are forgotten, and of each file only the last points are kept."""
    checksums, signature = Checksums(most_files=3), Signature(1, 2, 3, 4, 5)
    for name in "abc":
        checksums.remember(name, signature, {n: Crc(n) for n in range(100)})
    assert len(checksums.maybe_points("a", signature) or ()) == 8
    checksums.remember("d", signature, {})
    assert [checksums.maybe_points(name, signature) is not None for name in "abcd"] == [True, False, True, True]
