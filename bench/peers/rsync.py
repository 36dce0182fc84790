"""rsync to a daemon of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..processes import Server, free_port, serving
from . import Peer, Place


@dataclass(frozen=True)
class Rsync(Peer):
    """``rsync -rt`` with `options`."""

    programs = ("rsync",)
    options: tuple[str, ...] = ()

    @contextlib.contextmanager
    def serve(self, place: Place) -> Iterator[Server]:
        """See `Peer.serve`."""
        lines = [
            "use chroot = no",
            # as root it would become nobody, who may not write here
            *(["uid = root", "gid = root"] if os.getuid() == 0 else []),
            "[mirror]",
            f"path = {place.mirror}",
            "read only = no",
        ]
        config, port = place.work / "rsyncd.conf", free_port()
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        options = ["--daemon", "--no-detach", f"--config={config}", f"--port={port}", "--address=127.0.0.1"]
        with serving(["rsync", *options], place.work / "rsyncd.log", port) as server:
            yield server

    def command(self, place: Place, port: int) -> list[str]:
        """See `Peer.command`."""
        return ["rsync", "-rt", *self.options, f"{place.source}/", f"rsync://127.0.0.1:{port}/mirror/"]
