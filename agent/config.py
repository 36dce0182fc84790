"""What `agent.yaml` may say. Every key, its unit and its default stand in `config/agent.yaml` too."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ..errors import BadPath, ConfigError
from ..journal import LogSettings
from ..layout import AGENT_DIR, STREAM_PATTERNS, check_path
from ..settings import MAX_TIME_S, check_server, load_settings, read_token
from .rights import may

ENV_PREFIX = "ML_LOGGER_AGENT_"

MAX_CONNECTIONS = 64
MAX_BATCH_BYTES = 1 << 30
MAX_PID = 2**31 - 1
MAX_KEEP_S = 1e9  # thirty years: unlike the other times it is only compared with

_MAY_BE_ZERO = ("settle_s", "min_interval_s", "drain_timeout_s", "heartbeat_s", "retention.keep_s")
_SEE = "see the comment beside it in config/"


@dataclass(frozen=True)
class TimeoutSettings:
    """How long one request may take, in seconds."""

    connect_s: float = 5.0
    read_s: float = 30.0
    request_s: float = 300.0


@dataclass(frozen=True)
class RetrySettings:
    """The back-off between failed rounds, in seconds: from `initial_s`, doubling, to `max_s`, with full jitter."""

    initial_s: float = 0.5
    max_s: float = 60.0


@dataclass(frozen=True)
class TlsSettings:
    """Who is trusted: `ca_file` instead of the public CAs (PEM); `cert_file` and `key_file` say who this agent is."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True)
class RetentionSettings:
    """When shipped, final files are deleted from the spool: older than `keep_s`, or oldest first above `max_spool_bytes`."""

    keep_s: float | None = None
    max_spool_bytes: int | None = None

    @property
    def is_on(self) -> bool:
        """Whether anything is ever deleted."""
        return self.keep_s is not None or self.max_spool_bytes is not None


@dataclass(frozen=True)
class PrometheusSettings:
    """Where metrics are offered; no `port`, no endpoint."""

    host: str = "127.0.0.1"
    port: int | None = None


@dataclass(frozen=True)
class AgentConfig:
    """The agent's settings; `spool` and `server` have no default."""

    spool: Path | tuple[Path, ...]
    server: str
    token: str | None = None
    token_file: Path | None = None
    state_dir: Path | None = None
    remote_prefix: str = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    streams: tuple[str, ...] = STREAM_PATTERNS
    settle_s: float = 2.0
    scan_interval_s: float = 5.0
    quiet_scan_interval_s: float = 60.0
    min_interval_s: float = 0.12
    batch_bytes: int = 4 << 20
    batch_files: int = 100
    connections: int = 4
    max_bytes_per_s: int | None = None
    compression: Literal["zstd", "none"] = "zstd"
    proxy: str | None = None
    tls: TlsSettings = field(default_factory=TlsSettings)
    timeouts: TimeoutSettings = field(default_factory=TimeoutSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    heartbeat_s: float = 10.0
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    drain_timeout_s: float = 60.0
    until_pid: int | None = None
    until_file: Path | None = None
    spot_notice: bool = False
    spot_notice_url: str = "http://169.254.169.254"
    prometheus: PrometheusSettings = field(default_factory=PrometheusSettings)
    log: LogSettings = field(default_factory=LogSettings)

    def spools(self) -> tuple[Path, ...]:
        """Return the spool directories, absolute."""
        return (self.spool,) if isinstance(self.spool, Path) else self.spool

    def state_dir_of(self, spool: Path) -> Path:
        """Return where the agent keeps what it remembers of `spool`."""
        if self.state_dir is None:
            return spool / AGENT_DIR
        return self.state_dir if len(self.spools()) == 1 else self.state_dir / str(spool).strip("/").replace("/", "%2F")

    def largest_batch_bytes(self) -> int:
        """Return the most bytes of a batch: no more than a narrow bandwidth carries in half a second."""
        if self.max_bytes_per_s is None:
            return self.batch_bytes
        return min(self.batch_bytes, max(self.max_bytes_per_s // 2, 4096))


def load_config(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any], *, is_for_looking: bool = False
) -> AgentConfig:
    """Return the checked config; raise `ConfigError` with file, line, key and mend.

    Where it `is_for_looking`, one spool that can be used is enough: of the others it is to be shown what is wrong.
    """
    config = load_settings(AgentConfig, file=file, environ=environ, env_prefix=ENV_PREFIX, flags=flags)
    config = _normal(config)
    wrong = [error for spool in config.spools() if (error := spool_trouble(spool)) is not None]
    if wrong and not (is_for_looking and len(wrong) < len(config.spools())):
        raise wrong[0]
    return _check(config)


def _normal(config: AgentConfig) -> AgentConfig:
    return replace(
        config,
        spool=tuple(Path(os.path.realpath(spool)) for spool in config.spools()),
        server=config.server.rstrip("/"),
        remote_prefix=(config.remote_prefix.rstrip("/") or config.remote_prefix).replace(
            "{hostname}", os.uname().nodename
        ),
    )


def _check(config: AgentConfig) -> AgentConfig:
    check_server(config.server, userinfo_hint="use token_file instead")
    _check_spools(config.spools())
    _check_numbers(config)
    _check_url("proxy", config.proxy, like="http://proxy:3128")
    _check_url("spot_notice_url", config.spot_notice_url, like=AgentConfig.spot_notice_url)
    _check_tls(config.tls)
    _check_prefix(config.remote_prefix)
    if not config.include:
        raise ConfigError("key 'include' is empty: nothing would be shipped", hint='leave it out to ship all: ["*"]')
    return config


def _check_prefix(prefix: str) -> None:
    if not prefix:
        return
    if "{" in prefix or "}" in prefix:
        raise ConfigError(
            f"key 'remote_prefix': {prefix[:200]!a} holds a brace", hint="the only placeholder is {hostname}"
        )
    try:
        check_path(prefix)
    except BadPath as error:
        raise ConfigError(f"key 'remote_prefix': {error}", hint="use a relative path such as team/{hostname}") from None


def _check_spools(spools: tuple[Path, ...]) -> None:
    if not spools:
        raise ConfigError("key 'spool' names no directory", hint="give the directory the training logs to")
    if len(set(spools)) != len(spools):
        raise ConfigError("key 'spool' names a directory twice", hint="name each once")
    for spool in spools:
        if not set(spool.parents).isdisjoint(spools):
            raise ConfigError(f"key 'spool': {spool} lies inside another one", hint="name the outer one alone")


def spool_trouble(spool: Path) -> ConfigError | None:
    """Return why `spool` can't be shipped from, None if it can."""
    mend = "create it, or set 'spool' to the log directory of the training"
    try:
        is_directory = stat.S_ISDIR(spool.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_directory = False
    except OSError as error:
        return ConfigError(f"spool {spool} can't be read: {error.strerror}", hint=mend)
    if not is_directory:
        return ConfigError(f"spool {spool} is not a directory", hint=mend)
    if not may(spool, os.R_OK | os.X_OK):
        return ConfigError(
            f"spool {spool} can't be read by this user", hint="change its permissions or the agent's user"
        )
    return None


def _check_url(key: str, url: str | None, *, like: str) -> None:
    """Refuse what is no http(s) URL; the message leaves out what stands before an @."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        shown = url.rpartition("@")[2][:200]
        raise ConfigError(f"key '{key}': {shown!a} is not an http(s) URL", hint=f"write it like {like}")


def _check_tls(tls: TlsSettings) -> None:
    for key, file in vars(tls).items():
        if file is not None and not may(file, os.R_OK):
            raise ConfigError(f"key 'tls.{key}': {file} can't be read", hint="check path and permissions")
    if tls.key_file is not None and tls.cert_file is None:
        raise ConfigError("key 'tls.key_file' stands without 'tls.cert_file'", hint="name the certificate too")


def _check_numbers(config: AgentConfig) -> None:
    values = vars(config) | {
        f"{name}.{key}": value
        for name in ("timeouts", "retry", "retention", "prometheus")
        for key, value in vars(getattr(config, name)).items()
    }
    for key, value in values.items():
        if isinstance(value, float):
            _check_time(key, value)
    for key in (
        "batch_bytes",
        "batch_files",
        "connections",
        "max_bytes_per_s",
        "until_pid",
        "retention.max_spool_bytes",
    ):
        least = 0 if key == "retention.max_spool_bytes" else 1
        if values[key] is not None and values[key] < least:
            raise ConfigError(f"key '{key}' must be at least {least}, not {values[key]}", hint=_SEE)
    for key, most in (
        ("batch_bytes", MAX_BATCH_BYTES),
        ("connections", MAX_CONNECTIONS),
        ("prometheus.port", 65535),
        ("until_pid", MAX_PID),
    ):
        if values[key] is not None and not 0 <= values[key] <= most:
            raise ConfigError(f"key '{key}' must be at most {most}, not {values[key]}", hint=_SEE)
    if config.retry.initial_s > config.retry.max_s:
        raise ConfigError(
            f"key 'retry.initial_s' is {config.retry.initial_s:g}, more than retry.max_s, {config.retry.max_s:g}",
            hint="the wait doubles from the one up to the other",
        )


def _check_time(key: str, value: float) -> None:
    may_be_zero = key in _MAY_BE_ZERO
    most_s = MAX_KEEP_S if key == "retention.keep_s" else MAX_TIME_S
    if not (0 < value <= most_s or (value == 0 and may_be_zero)):
        least = "from 0" if may_be_zero else "more than 0 and"
        raise ConfigError(f"key '{key}' must be {least} to {most_s:.0f} seconds, not {value}", hint=_SEE)


def current_token(config: AgentConfig, environ: Mapping[str, str]) -> str | None:
    """Return the token as it is now: a token file is read again, since people replace it while the agent runs."""
    token = read_token(config.token, config.token_file, environ)
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError("the token holds a space or a character that HTTP can't carry", hint="use printable ASCII")
    return token
