"""Origin: where a run comes from (host, process, command, commit), found without starting a process."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


def start_event(*, is_forked: bool = False) -> dict[str, Any]:
    """Return the first record of ``run.jsonl``; a forked child says so, since it may leave without an end of its own."""
    event: dict[str, Any] = {
        "event": "start",
        "_timestamp": time.time(),
        "host": host_name(),
        "pid": os.getpid(),
        "user": os.environ.get("USER") or os.environ.get("USERNAME"),
        "argv": list(getattr(sys, "argv", [])),
        "cwd": _working_directory(),
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    commit = git_commit(event["cwd"]) if event["cwd"] else None
    return event | ({"git": commit} if commit else {}) | ({"forked": True} if is_forked else {})


def host_name() -> str:
    """Return the name of this machine, as it stands in ``run.jsonl``."""
    if sys.platform == "win32":
        return os.environ.get("COMPUTERNAME", "")
    return os.uname().nodename  # what platform.node() gives, without importing half the standard library


def _working_directory() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was deleted
        return None


def git_commit(directory: str) -> str | None:
    """Return the hash that HEAD of the repository around `directory` points to, or None; reads ``.git`` by itself."""
    for folder in (Path(directory), *Path(directory).parents):
        git = folder / ".git"
        if git.exists():
            return _commit_of(git)
    return None


def _commit_of(git: Path) -> str | None:
    try:
        if git.is_file():  # a worktree or submodule: "gitdir: <path>"
            git = git.parent / git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return head or None
        return _commit_of_ref(git, head.partition("ref:")[2].strip())
    except (OSError, ValueError):
        return None


def _commit_of_ref(git: Path, ref: str) -> str | None:
    common = git / "commondir"
    folders = [git, git / common.read_text(encoding="utf-8").strip()] if common.is_file() else [git]
    for folder in folders:
        loose, packed = folder / ref, folder / "packed-refs"
        if loose.is_file():
            return loose.read_text(encoding="utf-8").strip() or None
        if packed.is_file():
            for line in packed.read_text(encoding="utf-8").splitlines():
                commit, _, name = line.partition(" ")
                if name == ref:
                    return commit
    return None
