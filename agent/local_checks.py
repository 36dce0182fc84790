"""The doctor's checks of this machine: spool, state directory, disk, inotify, token. Each yields what it found.

Raises OSError where the system does not let it look; the doctor makes a finding of that.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..layout import is_hidden
from .amounts import bytes_text, count_text
from .config import AgentConfig, current_token
from .finding import Finding
from .lock import maybe_holder
from .rights import may

LEAST_FREE_BYTES = 256 << 20
LEAST_FREE_INODES = 10_000

_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "ceph", "glusterfs")
_MEND_STATE = "set 'state_dir' to a local directory that this user can write to"


@dataclass(slots=True)
class _Count:
    files: int = 0
    folders: int = 0
    size_bytes: int = 0
    unreadable: int = 0
    example: str = ""


def check_spool(spool: Path) -> Iterator[Finding]:
    """Look through the spool: can the agent read what it is to ship?"""
    count = _count(spool)
    held = f"{count_text(count.files, 'file')} in {count_text(count.folders, 'folder')}, {bytes_text(count.size_bytes)}"
    text = f"{spool}: {held}"
    if count.unreadable:
        what = f"{text}; {count.unreadable} can't be read, such as {count.example}"
        yield Finding("warn", "spool", what, "let the agent run as the user of the training, or widen the permissions")
    else:
        yield Finding("ok", "spool", text)


def _count(spool: Path) -> _Count:
    count = _Count()

    def note(path: str) -> None:
        count.unreadable += 1
        count.example = count.example or path

    for folder, folders, names in os.walk(spool, onerror=lambda error: note(str(error.filename))):
        folders[:] = [name for name in folders if not is_hidden(name)]
        count.folders += 1
        for name in names:
            if is_hidden(name):
                continue
            path = f"{folder}/{name}"
            try:
                status = os.lstat(path)
            except OSError:
                continue  # gone meanwhile
            if stat.S_ISREG(status.st_mode):
                count.files += 1
                count.size_bytes += status.st_size
                if not may(path, os.R_OK):
                    note(path)
    return count


def check_state(state_dir: Path) -> Iterator[Finding]:
    """Write and lock a file in the state directory, which is gone again at once."""
    kind = _file_system_of(state_dir)
    if not state_dir.exists():
        above = next(folder for folder in state_dir.parents if folder.exists())
        if may(above, os.W_OK | os.X_OK):
            yield Finding("ok", "state", f"{state_dir} is made when the agent starts")
        else:
            yield Finding("FAIL", "state", f"{state_dir} can't be made", "set 'state_dir' to one that can")
        return
    try:
        _try_write_and_lock(state_dir)
    except OSError as error:
        mend = "free the disk, or set 'state_dir' to another one" if error.errno == errno.ENOSPC else _MEND_STATE
        yield Finding("FAIL", "state", f"{state_dir} can't be written and locked: {error.strerror}", mend)
        return
    if kind in _NETWORK_FILE_SYSTEMS:
        yield Finding("warn", "state", f"{state_dir} is on {kind}, where locks and databases are brittle", _MEND_STATE)
    else:
        yield Finding("ok", "state", f"{state_dir} can be written")


def _try_write_and_lock(state_dir: Path) -> None:
    probe = state_dir / f"doctor-{os.getpid()}.tmp"
    fd = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, bytes(4096))
        os.fsync(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)
        probe.unlink(missing_ok=True)


def _file_system_of(path: Path) -> str:
    """Return the type of the file system that `path` is or would be on, "" where the system does not say."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        _, mount, type_, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if path.is_relative_to(mount) and len(mount) >= best:
            best, kind = len(mount), type_
    return kind


def check_disk(config: AgentConfig, spool: Path) -> Iterator[Finding]:
    """Look at the room on the disks of spool and state directory."""
    state_dir = config.state_dir_of(spool)
    for folder in dict.fromkeys((spool, next(f for f in (state_dir, *state_dir.parents) if f.exists()))):
        free = shutil.disk_usage(folder).free
        status = os.statvfs(folder)
        if folder != spool and folder.stat().st_dev == spool.stat().st_dev:
            continue
        text = f"{folder}: {bytes_text(free)} free"
        if status.f_files and status.f_favail < LEAST_FREE_INODES:
            yield Finding("warn", "disk", f"{text}, but only {status.f_favail} inodes", "delete small files")
        elif free < LEAST_FREE_BYTES:
            yield Finding("warn", "disk", text, "free some, or set 'retention': a full disk stops the training's logs")
        else:
            yield Finding("ok", "disk", text)


def check_agent(config: AgentConfig, spool: Path) -> Iterator[Finding]:
    """Say who ships the spool now."""
    holder = maybe_holder(config.state_dir_of(spool))
    if holder is None:
        yield Finding("ok", "agent", f"none runs on {spool}: ml-logger-agent with this config starts one")
    else:
        yield Finding("ok", "agent", f"runs on {spool}: {holder}")


def check_inotify(config: AgentConfig) -> Iterator[Finding]:
    """Compare the limits on watches with what is in use and what the folders need."""
    watches, instances = _limit("max_user_watches"), _limit("max_user_instances")
    if watches is None or instances is None:
        yield Finding("skip", "inotify", "this system does not say its limits")
        return
    used = _inotify_use()
    runs = any(maybe_holder(config.state_dir_of(spool)) is not None for spool in config.spools())
    needed = 0 if runs else sum(_count(spool).folders for spool in config.spools())
    new = 0 if runs else len(config.spools())
    text = f"{used.watches} of {watches} watches and {used.instances} of {instances} instances in use"
    if used.watches + needed > watches:
        yield Finding(
            "warn",
            "inotify",
            f"{text}, {needed} more watches are needed: changes are noticed every scan_interval_s only",
            f"sysctl fs.inotify.max_user_watches={2 * (used.watches + needed)}",
        )
    elif used.instances + new > instances:
        mend = f"sysctl fs.inotify.max_user_instances={2 * instances}"
        yield Finding("warn", "inotify", f"{text}: changes are noticed every scan_interval_s only", mend)
    else:
        yield Finding("ok", "inotify", f"{text}, {needed} more watches are needed" if needed else text)


def _limit(name: str) -> int | None:
    try:
        return int(Path("/proc/sys/fs/inotify", name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


@dataclass(slots=True)
class _Use:
    instances: int = 0
    watches: int = 0


def _inotify_use() -> _Use:
    """Return what the processes of this user have in use, as far as it can be seen."""
    use = _Use()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != os.getuid():
                continue
            for link in (process / "fd").iterdir():
                if str(link.readlink()) == "anon_inode:inotify":
                    use.instances += 1
                    info = (process / "fdinfo" / link.name).read_text(encoding="ascii")
                    use.watches += sum(line.startswith("inotify ") for line in info.splitlines())
        except OSError:
            continue  # it ended, or is not to be looked into
    return use


def check_token(config: AgentConfig, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Say whether there is a token, and who else may read it."""
    if current_token(config, environ) is None:
        text = "none is set: only a receiver without one, on the same machine, takes that"
        yield Finding("warn", "token", text, "set 'token_file' to a file with the receiver's token")
        return
    file = None if environ.get("ML_LOGGER_TOKEN") or config.token else config.token_file
    if file is not None and file.stat().st_mode & 0o077:
        yield Finding("warn", "token", f"{file} can be read by other users", f"chmod 600 {file}")
    else:
        yield Finding("ok", "token", "there is one" if file is None else f"there is one in {file}")
