"""README.md of a folder as HTML: Markdown alone, all HTML in it is shown as the text it is."""

from __future__ import annotations

from contextlib import closing
from posixpath import normpath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from ..errors import NotHeld
from ..files import Files
from ..layout import RECEIVER_DIR
from .answers import Refused, Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

NAME = "README.md"
MOST_BYTES = 256 << 10
HINT = "README files are rendered by markdown-it-py: pip install 'ml-logger[view]'"


def readme(files: Files, folder: str) -> Reply:
    """Return the README of a folder as HTML; raises `NotHeld` where there is none."""
    try:
        from markdown_it import MarkdownIt  # an optional extra
    except ImportError:
        raise NotHeld(HINT) from None
    path = f"{folder}/{NAME}" if folder else NAME
    with closing(files.open(path)) as file:
        if file.size > MOST_BYTES:
            raise Refused(413, f"the README has {file.size >> 10} KiB; download it")
        text = file.read(0, file.size).decode("utf-8", "replace")
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = markdown.parse(text)
    _lead_to_files(tokens, folder)
    return json_reply({"html": markdown.renderer.render(tokens, markdown.options, {})})


def _lead_to_files(tokens: Sequence[Token], folder: str) -> None:
    """Let relative links and pictures lead to the files of the folder, and all others to a tab of their own."""
    for token in tokens:
        _lead_to_files(token.children or (), folder)
        for name in ("href", "src"):
            link = token.attrGet(name)
            if isinstance(link, str):
                token.attrSet(name, _file_of(link, folder) or link)
        if token.type == "link_open":
            token.attrSet("rel", "noopener noreferrer")
            token.attrSet("target", "_blank")


def _file_of(link: str, folder: str) -> str | None:
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/"):
        return None
    path = normpath(f"{folder}/{unquote(parts.path)}" if folder else unquote(parts.path))
    if path.startswith("..") or path.partition("/")[0].casefold() == RECEIVER_DIR:
        return None
    return f"view/files/{quote(path)}"
