"""The page in a notebook: one call that shows it in a frame, over a directory, or over what a receiver holds.

A server of the notebook's own process answers the frame, on loopback. What a receiver holds is read through the seam of files,
with the notebook's token: a frame of the receiver's own page could not log in, since its cookie is for no other site's frames.
"""

from __future__ import annotations

import html
import os
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotHeld
from ..settings import read_token

if TYPE_CHECKING:
    from .page import Page

NOTEBOOKS = "'self' http://localhost:* http://127.0.0.1:* https://localhost:* vscode-webview: vscode-file:"
"""Where notebooks are shown: Jupyter on this machine, or through a tunnel to it, and Visual Studio Code."""


@dataclass(frozen=True)
class Frame:
    """The page in a frame of `height` px, for a notebook to show; `url` opens it by itself. Ends with `close`."""

    url: str
    height: int

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        size = f'width="100%" height="{self.height}"'
        frame = f'<iframe src="{url}" {size} frameborder="0" allow="clipboard-write"></iframe>'
        return f'<div>{frame}</div><a href="{url}" target="_blank">{url}</a>'

    def close(self) -> None:
        """Stop answering, in other frames of the same place too; again does nothing."""
        with _lock:
            for key, served in list(_served.items()):
                if served.url == self.url:
                    served.end.close()
                    del _served[key]


@dataclass(frozen=True)
class _Served:
    url: str
    end: ExitStack


_lock = threading.Lock()
_served: dict[tuple[str, str | None, int], _Served] = {}  # a cell that is run again has the server that it had


def frame(where: str | os.PathLike[str], *, height: int = 800, token: str | None = None, port: int = 0) -> Frame:
    """Show the page over `where`: a directory of this machine, or the URL of a receiver or of a run in it.

    A receiver is shown `token`, or ``$ML_LOGGER_TOKEN``; the page can only read there. `port` 0 is any free one; name one to
    reach it through a tunnel, where the notebook runs on another machine than the browser. Raises `NotHeld` and `UsageError`.
    """
    is_far = str(where).lower().startswith(("http://", "https://"))
    key = (str(where) if is_far else os.path.realpath(where), token, port)
    with _lock:
        if key not in _served:
            _served[key] = _serve(str(where) if is_far else Path(where), token, port)
        return Frame(_served[key].url, height)


def _serve(where: str | Path, token: str | None, port: int) -> _Served:
    from .local import Site  # lazily: commands have this package too, and load no server for other things

    with ExitStack() as stack:
        page = _near_page(where) if isinstance(where, Path) else _far_page(where, token, stack)
        site = stack.enter_context(closing(Site(page, port=port)))
        return _Served(site.url, stack.pop_all())


def _near_page(directory: Path) -> Page:
    from .gate import OpenGate
    from .local import page_of

    if not directory.is_dir():
        raise NotHeld(f"there is no directory {str(directory)!r}")
    return page_of(directory, OpenGate(framed_by=NOTEBOOKS))


def _far_page(url: str, token: str | None, stack: ExitStack) -> Page:
    from ..remote import find_receiver
    from ..remote_files import RemoteFiles
    from .gate import OpenGate
    from .page import Page
    from .place import far_place
    from .visitor import Visitor

    remote, path = find_receiver(url, token=token or read_token(None, None, os.environ))
    files = stack.enter_context(closing(RemoteFiles(remote)))
    files.list(path.strip("/"))  # whoever is wrong about it hears so here, not in an empty page
    reader = Visitor("anybody", frozenset(("read",)), path.strip("/"))
    return Page(far_place(files, url), OpenGate(visitor=reader, framed_by=NOTEBOOKS))
