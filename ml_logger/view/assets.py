"""What the page is made of: its own files in ``static/``, read from the package, and plotly.js as its package ships it.

All of the page's files carry one version, a digest over all of them: the page asks for ``view/static/NAME?v=VERSION``, the
modules import each other the same way, and what was asked for with the right version may be kept for ever. Nothing is built:
the versions are put in as the files are read, and links by which a browser asks for all modules of a page at once, not for
each when it has read the one that imports it. A file that changes is read again, so whoever works on the page just reloads it.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ..errors import NotHeld
from .answers import packed

STATIC = Path(__file__).parent / "static"
_FRESH_S = 0.5

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
_IN_PAGE = re.compile(rb"(?<=[\"'])(?:\./)?(view/static/[\w.-]+)(?=[\"'])")
_MODULES = re.compile(rb"<!-- modules(?: for (\w+): ([\w.-]+))? -->")
_SCRIPT = re.compile(rb'<script type="module" src="view/static/([\w.-]+)"')
_STATIC_IMPORT = re.compile(rb"^(?:import|export)\b[^;(]*?[\"']\./([\w.-]+\.js)[\"']", re.MULTILINE)
_IN_MODULE = re.compile(rb"(?<=[\"'])(\./[\w.-]+\.(?:js|css|json|svg|png))(?=[\"'])")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page: its bytes, their type, and the version of the page it belongs to."""

    body: bytes
    content_type: str
    version: str
    _packed: dict[str, bytes] = field(default_factory=dict)

    def packed(self, encoding: str) -> bytes:
        """Return the bytes in this content encoding; each is made once."""
        if encoding not in self._packed:
            self._packed[encoding] = packed(self.body, encoding, "small")
        return self._packed[encoding]


class Assets:
    """The files in a folder. Thread-safe; every method may block."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, int]] = {}
        self._assets: dict[str, Asset] = {}
        self._fresh_until_s = 0.0

    def get(self, name: str) -> Asset:
        """Return the file `name`; raises `NotHeld`."""
        with self._lock:
            self._refresh()
            try:
                return self._assets[name]
            except KeyError:
                raise NotHeld(f"the page has no file {name[:100]!a}") from None

    def _refresh(self) -> None:
        if time.monotonic() < self._fresh_until_s:  # a page asks for a hundred files at once
            return
        self._fresh_until_s = time.monotonic() + _FRESH_S
        files = [path for path in sorted(self._folder.iterdir()) if path.suffix in _TYPES]
        seen = {path.name: ((status := path.stat()).st_mtime_ns, status.st_size) for path in files}
        if seen != self._seen:
            self._assets = _versioned({path.name: path.read_bytes() for path in files})
            self._seen = seen


def _versioned(bodies: dict[str, bytes]) -> dict[str, Asset]:
    bodies = {name: _with_links(body, bodies) if name.endswith(".html") else body for name, body in bodies.items()}
    digest = hashlib.blake2b(digest_size=8)
    for name, body in bodies.items():
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(body), body))
    version = digest.hexdigest()
    return {name: Asset(_with_versions(name, body, version), type_of(name), version) for name, body in bodies.items()}


def _with_links(body: bytes, bodies: dict[str, bytes]) -> bytes:
    """Return a page with links to modules in the place of its comments that want some.

    ``<!-- modules -->`` are those that its scripts need, to be asked for at once; ``<!-- modules for VIEW: NAME -->`` those
    that the module NAME needs beside them, which the page asks for if it is to show the VIEW.
    """
    own = _needed([name.decode() for name in _SCRIPT.findall(body)], bodies)

    def links(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            return b"\n".join(b'<link rel="modulepreload" href="view/static/%s">' % name.encode() for name in own)
        others = [name for name in _needed([found[2].decode()], bodies) if name not in own]
        return b"\n".join(b'<link data-for="%s" href="view/static/%s">' % (found[1], name.encode()) for name in others)

    return _MODULES.sub(links, body)


def _needed(names: list[str], bodies: dict[str, bytes]) -> list[str]:
    """Return `names` and all modules that they import, but for those that are loaded when they are wanted."""
    needed = list(names)
    for name in needed:  # grows as it goes
        found = [one.decode() for one in _STATIC_IMPORT.findall(bodies.get(name, b""))]
        needed += [one for one in dict.fromkeys(found) if one not in needed]
    return needed


def _with_versions(name: str, body: bytes, version: str) -> bytes:
    suffix = rb"\1?v=" + version.encode()
    return _IN_MODULE.sub(suffix, _IN_PAGE.sub(suffix, body)) if name.endswith((".html", ".js")) else body


def type_of(name: str) -> str:
    """Return the type of one of the page's files."""
    return _TYPES[Path(name).suffix]


class Plotly:
    """plotly.js of the installed package `plotly`, which is not imported; each compression is made once."""

    HINT = "plotly.js is not installed: pip install 'ml-logger[view]'"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: dict[str, bytes] = {}

    def maybe_path(self) -> Path | None:
        """Return where it is, None if it is not installed."""
        spec = find_spec("plotly")
        folders = spec.submodule_search_locations if spec is not None else None
        paths = [Path(folder) / "package_data" / "plotly.min.js" for folder in folders or ()]
        return next((path for path in paths if path.is_file()), None)

    def body(self, encoding: str) -> bytes:
        """Return it in this content encoding; raises `NotHeld` with the way to get it."""
        with self._lock:
            if encoding not in self._bodies:
                path = self.maybe_path()
                if path is None:
                    raise NotHeld(self.HINT)
                self._bodies[encoding] = packed(path.read_bytes(), encoding, "small")
            return self._bodies[encoding]
