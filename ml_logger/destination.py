"""Destination: which local directory a run is written to, whatever the user named.

A path, ``~``, ``file://`` or an ``http(s)://`` receiver. The client never talks to a receiver: for one it spools into a local
directory, and says which two lines of the agent's config ship that. Only strings are handled here.
"""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

from .errors import LogDirectoryError
from .layout import escape_key, is_hidden

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_PLAIN_YAML = re.compile(r"[A-Za-z0-9/.~_-][A-Za-z0-9/.~_:@%+-]*(?<!:)\Z")
_PATH_OF_URL = re.compile(r"\A(https?|file):/(?!/)", re.IGNORECASE)  # pathlib makes one slash of the two
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:@\s]+)(:(?P<port>[0-9]{1,5}))?\Z")


class Destination(NamedTuple):
    """The absolute `directory` of a run, and, for a run named by a receiver's URL, the `spool` it lies in and that `server`."""

    directory: str
    spool: str | None = None
    server: str | None = None

    def agent_config(self) -> str | None:
        """Return the two lines of ``agent.yaml`` that ship the run, or None if it was named by a local path."""
        if self.spool is None or self.server is None:
            return None
        return f"spool: {_yaml(self.spool)}\nserver: {_yaml(self.server)}\n"


def destination(log_directory: str | os.PathLike[str], prefix: str | os.PathLike[str] | None = None) -> Destination:
    """Return where a run of `log_directory` and the relative `prefix` is written.

    Raises `LogDirectoryError` for a `prefix` that is absolute, has ``..`` or is hidden, for a URL of another kind or with a
    password, for what is no path at all, and for an unknown home or current directory.
    """
    named, prefix = _text("log directory", log_directory), _checked_prefix(prefix)
    named = _PATH_OF_URL.sub(lambda match: match[0] + ("//" if match[1].lower() == "file" else "/"), named)
    scheme, separator, rest = named.partition("://")
    if separator and scheme.lower() in _DEFAULT_PORTS:
        server, spool = f"{scheme.lower()}://{rest.rstrip('/')}", _spool_for(named, scheme.lower(), rest)
        return Destination(_joined(spool, prefix), spool, server)
    return Destination(_joined(_absolute(_from_file_url(named) if separator else named), prefix))


def _text(what: str, path: object) -> str:
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]  # what else it may be is what is asked
    except TypeError:
        hint = "use text or a pathlib.Path"
        raise LogDirectoryError(f"{what} {path!r} is not a path", hint=hint) from None


def _checked_prefix(given: str | os.PathLike[str] | None) -> str:
    prefix = "" if given is None else _text("prefix", given)
    parts = prefix.replace("\\", "/").split("/")
    if prefix.startswith("/") or os.path.isabs(prefix) or ".." in parts or "\0" in prefix:  # noqa: PTH117 - plain text
        raise LogDirectoryError(
            f"prefix {prefix!r} leads out of the log directory", hint="use a relative path without '..'"
        )
    if any(is_hidden(part) and part != "." for part in parts):
        hint = "use a name without a dot in front, and without an ending such as .tmp, .part or ~"
        raise LogDirectoryError(
            f"prefix {prefix!r} is hidden or temporary, and such files are never shipped", hint=hint
        )
    return prefix


def _spool_for(url: str, scheme: str, rest: str) -> str:
    authority, slash, path = rest.partition("/")
    match = _AUTHORITY.match(authority)
    if match is None or "?" in rest or "#" in rest:
        hint = "write it like http://storage:8081; a token belongs into agent.yaml"
        shown = f"{scheme}://…@{authority.rpartition('@')[2]}" if "@" in authority else url
        raise LogDirectoryError(f"log directory {shown!r} is not the URL of a receiver", hint=hint)
    named = os.environ.get("ML_LOGGER_SPOOL")
    if named:
        return _absolute(named)
    folder = f"{match['host'].strip('[]').lower()}_{match['port'] or _DEFAULT_PORTS[scheme]}"
    if path.strip("/"):
        folder += slash + path.strip("/")
    return _absolute(f"~/.ml_logger/spool/{escape_key(folder)}")


def _from_file_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if scheme.lower() != "file" or host not in ("", "localhost") or not slash:
        hint = "use a local path, file:///path, or http(s)://host:port of a receiver"
        raise LogDirectoryError(f"log directory {url!r} is neither a local one nor a receiver", hint=hint)
    from urllib.request import url2pathname  # lazily: it imports the whole of http.client

    return url2pathname(slash + path)


def _absolute(path: str) -> str:
    expanded = os.path.expanduser(path)  # noqa: PTH111 - module of strings
    if path.startswith("~") and expanded == path and not os.path.exists(path):  # noqa: PTH110 - the same
        raise LogDirectoryError(f"there is no home directory for {path!r}", hint="write the whole path")
    try:
        return os.path.abspath(expanded)  # noqa: PTH100 - the same
    except OSError:
        hint = "the current directory was deleted; name an absolute one"
        raise LogDirectoryError(f"log directory {path!r} has no place to start from", hint=hint) from None


def _joined(directory: str, prefix: str) -> str:
    return os.path.abspath(os.path.join(directory, prefix))  # noqa: PTH100, PTH118 - the same


def _yaml(text: str) -> str:
    return text if _PLAIN_YAML.match(text) else json.dumps(text)
