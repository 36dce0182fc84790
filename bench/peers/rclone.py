"""rclone to its own WebDAV server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..processes import Server, free_port, serving
from . import Peer, Place


@dataclass(frozen=True)
class Rclone(Peer):
    """``rclone copy`` to ``rclone serve webdav``, both with their default settings."""

    programs = ("rclone",)

    @contextlib.contextmanager
    def serve(self, place: Place) -> Iterator[Server]:
        """See `Peer.serve`."""
        port = free_port()
        command = ["rclone", *_no_config(place), "serve", "webdav", str(place.mirror), "--addr", f"127.0.0.1:{port}"]
        with serving(command, place.work / "webdav.log", port) as server:
            yield server

    def command(self, place: Place, port: int) -> list[str]:
        """See `Peer.command`."""
        where = ["--webdav-url", f"http://127.0.0.1:{port}", "--webdav-vendor", "other"]
        return ["rclone", *_no_config(place), "copy", *where, str(place.source), ":webdav:"]


def _no_config(place: Place) -> list[str]:
    return ["--config", str(place.work / "rclone.conf"), "--quiet"]
