"""docs/OPERATIONS.md knows every message the agent can print, and none that it can't: both are read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/OPERATIONS.md"

SPEAKERS = {
    **dict.fromkeys(("log.info", "log.warning", "log.error", "log.exception", "print"), 0),
    **dict.fromkeys(("ConfigError", "UsageError", "SpoolTaken", "SpoolReplaced", "super().__init__"), 0),
    **dict.fromkeys(("TryAgain", "TimedOut", "StopSending", "BatchRefused", "TooLarge", "NotServed", "BadAnswer"), 0),
    **dict.fromkeys(("Problem", "Refused", "Kept", "set_aside", "_keep_back", "_tell_once", "_tell"), 1),
}
"""What is called with a message for people, and which of its arguments that is."""

ERROR_TABLES = {"_TRANSPORT_ERRORS", "_ERRORS"}
"""Tables of exception, message and hint."""

MESSAGE_NAMES = {"said"}
"""Variables that hold a message before it is raised."""

OTHER_SECTIONS = {"doctor", "local_checks", "remote_checks", "finding", "status", "metrics"}
"""Modules whose lines say themselves what to do; the page tells of them in another section."""

SHARED = ("settings.py", "wire.py")
"""Modules outside of agent/ whose messages the agent prints."""


def files() -> list[Path]:
    own = [path for path in sorted((ROOT / "agent").glob("*.py")) if path.stem not in OTHER_SECTIONS]
    return own + [ROOT / "ml_logger" / name for name in SHARED]


def messages_in(tree: ast.AST) -> Iterator[str]:
    """Yield the messages in a module, with … for what is filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            index = SPEAKERS.get(name, SPEAKERS.get(name.rpartition(".")[2]))
            if index is not None and len(node.args) > index:
                yield from texts_of(node.args[index])
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if names & MESSAGE_NAMES:
                yield from texts_of(node.value)
            elif names & ERROR_TABLES and isinstance(node.value, ast.Tuple):
                for row in node.value.elts:
                    assert isinstance(row, ast.Tuple)
                    yield from texts_of(row.elts[1])


def texts_of(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"%[-.0-9]*[a-z]|\{\w+\}", "…", node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    else:
        return
    text = plain(text)
    if len(re.findall(r"[A-Za-z]{2,}", text)) >= 2:  # else there is nothing to look up
        yield text


def plain(text: str) -> str:
    return re.sub("…+", "…", " ".join(text.split()))


def said() -> set[str]:
    return {text for path in files() for text in messages_in(ast.parse(path.read_text(encoding="utf-8")))}


def told() -> list[tuple[str, str, str]]:
    """Return the rows of the page's tables of messages: message, what it means, what to do."""
    rows, is_inside = [], False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[:1] == ["message"]:
            assert cells == ["message", "what it means", "what to do"]
            is_inside = True
        elif not cells:
            is_inside = False
        elif is_inside and not cells[0].startswith("-"):
            assert len(cells) == 3, line
            rows.append((cells[0], cells[1], cells[2]))
    return rows


def looked_up() -> list[str]:
    """Return the messages on the page; rows with several have them in lines of their own."""
    return [plain(message.strip().strip("`")) for cell, _, _ in told() for message in cell.split("<br>")]


def test_there_is_something_to_check() -> None:
    """The search of the source finds messages of every kind: logged, raised, set aside, from a table, from a variable."""
    found = said()
    assert len(found) > 60
    assert {
        "set aside …: …",
        "spool … is not a directory",
        "TLS failed: …",
        "the receiver answered …",
        "it is open for writing",
        "can't list this folder: …",
    } <= found


def test_every_message_is_on_the_page() -> None:
    """Whatever the agent prints can be looked up: a new message needs a row in docs/OPERATIONS.md."""
    assert sorted(said() - set(looked_up())) == []


def test_the_page_tells_of_no_message_that_is_gone() -> None:
    """A message that was renamed or removed is so on the page too, and each has one row."""
    assert sorted(set(looked_up()) - said()) == []
    assert sorted(m for m in set(looked_up()) if looked_up().count(m) > 1) == []


def test_every_row_says_what_to_do() -> None:
    """No cell is empty."""
    assert [cell for cell, means, mend in told() if not (means and mend)] == []
