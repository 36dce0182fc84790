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
from .words import word_of

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
        if token.children:
            token.children = _with_links_for_pictures(token.children, folder)
            _lead_to_files(token.children, folder)
        for name in ("href", "src"):
            link = token.attrGet(name)
            if isinstance(link, str):
                token.attrSet(name, _file_of(link, folder) or link)
        if token.type == "link_open":
            token.attrSet("rel", "noopener noreferrer")
            token.attrSet("target", "_blank")


def _with_links_for_pictures(tokens: Sequence[Token], folder: str) -> list[Token]:
    """Return the tokens of a line, with a link for each picture from outside, which the page's policy lets nobody load.

    Within a link, and where it leads to nothing, what the picture is called stands alone.
    """
    found: list[Token] = []
    depth = 0
    for token in tokens:
        depth += token.nesting if token.type in ("link_open", "link_close") else 0
        source = str(token.attrGet("src") or "")
        if token.type != "image" or source.startswith("data:") or _file_of(source, folder):
            found.append(token)
        else:
            found += _link(token, source, is_alone=depth == 0 and _is_of_the_web(source))
    return found


def _link(picture: Token, source: str, *, is_alone: bool) -> list[Token]:
    from markdown_it.token import Token  # the optional extra, which is there

    text = Token("text", "", 0, content=picture.content or source)
    if not is_alone:
        return [text]
    return [Token("link_open", "a", 1, attrs={"href": source}), text, Token("link_close", "a", -1)]


def _is_of_the_web(link: str) -> bool:
    try:
        return urlsplit(link).scheme in ("http", "https")
    except ValueError:
        return False


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
    return f"view/files/{quote(word_of(path))}"
