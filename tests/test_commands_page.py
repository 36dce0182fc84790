"""docs/COMMANDS.md tells of every command and option there is, and of none that is not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ml_logger.cli import COMMANDS, _parser
from ml_logger.cli.exits import EXITS

PAGE = (Path(__file__).parent.parent / "docs/COMMANDS.md").read_text(encoding="utf-8")
SHARED = {"--help", "--json", "--at", "--token-file", "--ca-file"}
"""What the page tells of once for all commands."""

ELSEWHERE = {"verify", "view"}
"""Commands of which other pages tell more."""


def options_of(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Return the long options that a command's --help names."""
    with pytest.raises(SystemExit):
        _parser(command).parse_args([command, "--help"])
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", capsys.readouterr().out))


def test_every_command_is_on_the_page() -> None:
    """The table has all commands and no other."""
    told = re.findall(r"^\| `([a-z]+) ?[^`]*` \|", PAGE.partition("## Exit codes")[0], re.MULTILINE)
    assert told == list(COMMANDS)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - ELSEWHERE))
def test_every_option_is_on_the_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What --help names is told of in the command's own paragraph, and nothing else is."""
    paragraph = PAGE.partition(f"\n**{command}**: ")[2].partition("\n\n")[0]
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", paragraph))
    assert options_of(command, capsys) - SHARED == told - SHARED


def test_every_exit_code_is_on_the_page() -> None:
    """The table of the page is that of --help."""
    told = re.findall(r"^\| ([0-9]+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert told == [(str(code), meaning) for code, meaning in EXITS.items()]


def test_every_document_is_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that has --json has a row that says what comes."""
    told = re.findall(r"^\| `([a-z]+)` \|", PAGE.partition("## JSON")[2], re.MULTILINE)
    assert told == [command for command in COMMANDS if "--json" in options_of(command, capsys)]


def test_only_the_command_called_is_loaded() -> None:
    """Help, and a command on local files, load neither an HTTP client nor the others."""
    code = "import sys; from ml_logger.cli import main; main(['show', '/dev']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.split()
    assert "ml_logger.cli.show" in loaded
    assert not {"requests", "aiohttp", "tqdm", "pyarrow", "ml_logger.cli.pull", "ml_logger.view"} & set(loaded)
