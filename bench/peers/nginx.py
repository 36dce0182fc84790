"""One PUT a file: curl, over one connection, to nginx's WebDAV module."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from ..processes import Server, free_port, serving
from . import Peer, Place

_CONFIG = """
daemon off;
{user}
pid {work}/nginx.pid;
error_log {work}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {work}/part;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        location / {{ root {mirror}; dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


@dataclass(frozen=True)
class CurlToNginx(Peer):
    """``curl -T`` of every file in turn."""

    programs = ("curl", "nginx")

    @contextlib.contextmanager
    def serve(self, place: Place) -> Iterator[Server]:
        """See `Peer.serve`."""
        config, port = place.work / "nginx.conf", free_port()
        user = "user root;" if os.getuid() == 0 else ""
        text = _CONFIG.format(user=user, work=place.work, mirror=place.mirror, port=port)
        config.write_text(text, encoding="utf-8")
        command = ["nginx", "-p", str(place.work), "-e", str(place.work / "error.log"), "-c", str(config)]
        with serving(command, place.work / "nginx.log", port) as server:
            yield server

    def command(self, place: Place, port: int) -> list[str]:
        """See `Peer.command`."""
        files = sorted(path for path in place.source.rglob("*") if path.is_file())
        lines = ["silent", "show-error", "fail"]
        for path in files:
            url = f"http://127.0.0.1:{port}/{quote(str(path.relative_to(place.source)))}"
            lines += [f'upload-file = "{path}"', f'url = "{url}"']
        listing = place.work / "curl.config"
        listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return ["curl", "--config", str(listing)]
