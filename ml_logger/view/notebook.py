"""The page in a notebook: one call that shows it in a frame, over a directory, or over what a receiver holds.

A server of the notebook's own process answers the frame, on loopback. What a receiver holds is read through the seam of files,
with the notebook's token: a frame of the receiver's own page could not log in, since its cookie is for no other site's frames.
"""

from __future__ import annotations

import html
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotHeld
from ..settings import read_token

if TYPE_CHECKING:
    from .local import Site
    from .page import Page

NOTEBOOKS = "'self' http://localhost:* http://127.0.0.1:* https://localhost:* vscode-webview: vscode-file:"
"""Where notebooks are shown: Jupyter on this machine, or through a tunnel to it, and Visual Studio Code."""

_lock = threading.Lock()
_sites: dict[tuple[str, str | None, int], Site] = {}  # a cell that is run again has the server that it had


@dataclass(frozen=True)
class Frame:
    """The page in a frame of `height` px, for a notebook to show; `url` opens it by itself. Ends with `close`."""

    url: str
    height: int

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        frame = (
            f'<iframe src="{url}" width="100%" height="{self.height}" frameborder="0" allow="clipboard-write"></iframe>'
        )
        return f'<div>{frame}</div><a href="{url}" target="_blank">{url}</a>'

    def close(self) -> None:
        """Stop answering, in other frames of the same place too; again does nothing."""
        with _lock:
            for key, site in list(_sites.items()):
                if site.url == self.url:
                    site.close()
                    del _sites[key]


def frame(where: str | os.PathLike[str], *, height: int = 800, token: str | None = None, port: int = 0) -> Frame:
    """Show the page over `where`: a directory of this machine, or the URL of a receiver or of a run in it.

    A receiver is shown `token`, or ``$ML_LOGGER_TOKEN``; the page can only read there. `port` 0 is any free one; name one to
    reach it through a tunnel, where the notebook runs on another machine than the browser. Raises `NotHeld` and `UsageError`.
    """
    from .local import Site  # lazily: the command, which has this package too, loads no server for other things

    is_far = str(where).lower().startswith(("http://", "https://"))
    key = (str(where) if is_far else os.path.realpath(where), token, port)
    with _lock:
        if key not in _sites:
            page = _far_page(str(where), token) if is_far else _near_page(Path(where))
            _sites[key] = Site(page, port=port)
        return Frame(_sites[key].url, height)


def _near_page(directory: Path) -> Page:
    from .gate import OpenGate
    from .local import page_of

    if not directory.is_dir():
        raise NotHeld(f"there is no directory {str(directory)!r}")
    return page_of(directory, OpenGate(loopback_only=True, framed_by=NOTEBOOKS))


def _far_page(url: str, token: str | None) -> Page:
    from ..remote import find_receiver
    from ..remote_files import RemoteFiles
    from .gate import OpenGate
    from .page import Page
    from .place import far_place
    from .visitor import Visitor

    remote, path = find_receiver(url, token=token or read_token(None, None, os.environ))
    reader = Visitor("anybody", frozenset(("read",)), path.strip("/"))
    gate = OpenGate(loopback_only=True, visitor=reader, framed_by=NOTEBOOKS)
    return Page(far_place(RemoteFiles(remote), url), gate)
