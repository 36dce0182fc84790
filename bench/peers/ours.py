"""ML_Logger: ``ml-logger-server`` and ``ml-logger-agent --once`` with their default settings."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from ..processes import Server, serving, wait_first_line
from . import Peer, Place

TOKEN = "a-token-for-benchmarks"
"""Of a receiver on this machine, for seconds."""


@dataclass(frozen=True)
class Ours(Peer):
    """The agent with `settings` over its defaults."""

    settings: dict[str, object] = field(default_factory=dict)

    @contextlib.contextmanager
    def serve(self, place: Place) -> Iterator[Server]:
        """See `Peer.serve`."""
        token = _token_file(place)
        arguments = ["--data-dir", str(place.mirror), "--port", "0", "--token-file", str(token)]
        with serving([_program("ml-logger-server"), *arguments], place.work / "server.log") as server:
            server.port = urlsplit(wait_first_line(server)).port or 0
            yield server

    def command(self, place: Place, port: int) -> list[str]:
        """See `Peer.command`."""
        return [*self.agent(place, port), "--once"]

    def agent(self, place: Place, port: int) -> list[str]:
        """Return the command of an agent that goes on until it is stopped."""
        config = {
            "spool": str(place.source),
            "server": f"http://127.0.0.1:{port}",
            "token_file": str(_token_file(place)),
            "state_dir": str(place.work / "state"),
            **self.settings,
        }
        path = place.work / "agent.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return [_program("ml-logger-agent"), "--config", str(path)]


def version_command() -> list[str]:
    """Return the command that starts the agent, loads all of it and ends."""
    return [_program("ml-logger-agent"), "--version"]


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _token_file(place: Place) -> Path:
    path = place.work / "token"
    if not path.exists():
        path.write_text(TOKEN + "\n", encoding="utf-8")
        path.chmod(0o600)
    return path
