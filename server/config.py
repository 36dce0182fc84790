"""The receiver's config: every key with its type and default. `config/server.yaml` shows and explains them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadPath, ConfigError
from ..journal import LogSettings
from ..layout import check_path
from ..settings import MAX_NUMBER, MAX_TIME_S, load_settings

ENV_PREFIX = "ML_LOGGER_SERVER_"
MOST_WORKERS = 256
_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one request or connection may cost; sizes in bytes, times in seconds."""

    max_body_bytes: int = 64 * _MIB
    max_expanded_bytes: int = 64 * _MIB
    max_manifest_bytes: int = 4 * _MIB
    max_json_bytes: int = 4 * _MIB
    max_items: int = 10_000
    max_paths: int = 10_000
    header_timeout_s: float = 20.0
    body_timeout_s: float = 120.0
    stall_timeout_s: float = 30.0
    idle_timeout_s: float = 120.0
    max_connections: int = 4096
    max_connections_a_client: int = 1024
    max_requests_in_memory: int = 8
    max_put_bytes: int | None = None


@dataclass(frozen=True)
class ServerConfig:
    """All keys of ``server.yaml``; `data_dir` is the only one that must be there."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8081
    workers: int = 1
    token_file: Path | None = None
    insecure: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    metrics_open: bool = False
    view: bool = True
    min_free_bytes: int = 256 * _MIB
    quotas: Mapping[str, int] = field(default_factory=dict)
    trash_keep_s: float = 7 * 24 * 3600.0
    stop_timeout_s: float = 30.0
    limits: Limits = field(default_factory=Limits)
    log: LogSettings = field(default_factory=LogSettings)


def load_config(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> ServerConfig:
    """Return the config from flags, ``ML_LOGGER_SERVER_…`` variables and `file`; raises `ConfigError`."""
    config = load_settings(ServerConfig, file=file, environ=environ, env_prefix=ENV_PREFIX, flags=flags)
    _require_ranges(config)
    return config


def token_file_in(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the token file that a config or the environment names, None if neither does; raises `ConfigError`."""
    # Whoever keeps the tokens need not say where the data is.
    flags = {"data_dir": Path("/")} if file is None else {}
    return load_settings(ServerConfig, file=file, environ=environ, env_prefix=ENV_PREFIX, flags=flags).token_file


def data_dir_in(file: Path | None, environ: Mapping[str, str], flag: Path | None) -> Path:
    """Return the data directory that a flag, the environment or a config names; raises `ConfigError`."""
    if file is None and flag is None and not environ.get(ENV_PREFIX + "DATA_DIR"):
        raise ConfigError("no data directory is given", hint="add --data-dir DIR or --config FILE")
    flags = {"data_dir": flag}
    return load_settings(ServerConfig, file=file, environ=environ, env_prefix=ENV_PREFIX, flags=flags).data_dir


def _require_ranges(config: ServerConfig) -> None:
    if not 0 <= config.port <= 65535:
        raise ConfigError(f"port {config.port} is none", hint="give one from 0 (any free one) to 65535")
    if not 1 <= config.workers <= MOST_WORKERS:
        raise ConfigError(f"workers is {config.workers}", hint=f"give a number from 1 to {MOST_WORKERS}")
    if not 0 <= config.trash_keep_s <= MAX_TIME_S:
        raise ConfigError(f"trash_keep_s is {config.trash_keep_s}", hint=f"give 0 to {MAX_TIME_S:.0f} seconds")
    if config.min_free_bytes < 0:
        raise ConfigError(f"min_free_bytes is {config.min_free_bytes}", hint="give 0 or more")
    for folder, most_bytes in config.quotas.items():
        _require_quota(folder, most_bytes)
    numbers = {f"limits.{key}": value for key, value in dataclasses.asdict(config.limits).items()}
    if (config.tls_cert is None) != (config.tls_key is None):
        raise ConfigError("tls_cert and tls_key go together", hint="give both, as PEM files, or neither")
    for name, value in {**numbers, "stop_timeout_s": config.stop_timeout_s}.items():
        most = MAX_TIME_S if name.endswith("_s") else MAX_NUMBER
        if value is not None and not 0 < value <= most:
            raise ConfigError(f"{name} is {value}", hint=f"give a number above 0, at most {most:.0f}")


def _require_quota(folder: str, most_bytes: int) -> None:
    try:
        check_path(folder)
    except BadPath as error:
        raise ConfigError(f"quotas: {error}", hint="give a folder as its files name it: team-a or team-a/ann") from None
    if most_bytes < 0:
        raise ConfigError(f"quotas.{folder} is {most_bytes}", hint="give 0 or more bytes")
