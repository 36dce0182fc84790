"""A terminal of a given size for a command to write to, and what it wrote there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path

from processes import BIN, clean_environment

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(
    *words: object, cwd: Path, columns: int = 80, env: Mapping[str, str] | None = None, deadline_s: float = 60
) -> tuple[int, str]:
    """Run an installed command whose output and errors go to a terminal; return its exit code and all that came there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [str(BIN / "ml-logger"), *map(str, words)]
    environment = {
        k: v for k, v in clean_environment(env or {}).items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    }
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=cwd, env={**environment, **(env or {})})
    os.close(theirs)
    shown = b""
    try:
        while chunk := _maybe_read(ours):
            shown += chunk
    finally:
        os.close(ours)
    return process.wait(deadline_s), shown.decode().replace("\r\n", "\n")


def _maybe_read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux says so when the last writer is gone
        return b""


def plain(text: str) -> str:
    """Return text without what steers a terminal."""
    return _ANSI.sub("", text)
