"""The index of runs: what is below the top, kept up to date a little at a time.

`look` does one round: it lists the folders that are due, and makes the line of each run that has changed. A folder that a
listing shows for the first time, or with another time of change, is due at once. So a new run beside others, or one that goes
on, is seen by a look at the folder above it.

Lines that an index before this one has kept are there from the first look on, and go when no look has found their run again.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..errors import NotHeld, StoreError
from ..files import Entry, Files
from ..layout import is_hidden
from ..reader import Columns
from ..reader.find import has_streams
from ..reader.media import KINDS
from ..reader.parts import joined
from .agenda import LATEST_S, MOST_REST_S, MOST_SHOWN, QUIET_S, SHARE, SHOWN_S, Agenda, affordable_s, rest_s
from .answers import trouble_of
from .kept_lines import KeptLine, KeptLines
from .listed import Listed
from .run_line import RunLine

MOST_FOLDERS = 200_000
MOST_DEPTH = 24
KEPT_S = 300.0
"""Lines are kept so often while they change, and when nobody looks any more."""

_MOST_HURRIED = 1000
_log = logging.getLogger(__name__)


@dataclass
class _Folder:
    """A folder as it was seen last; `changed_s` is on the clock of the index, far back for what was quiet from the start."""

    depth: int
    changed_s: float = 0.0
    is_new: bool = True
    children: dict[str, int] = field(default_factory=dict)  # name to time of change
    line: RunLine | None = None
    is_told: bool = False  # the log has said that it can't be read


class RunIndex:
    """The runs in `files`; `columns_of` a path are its numbers, and lines are `kept`.

    Thread-safe, but for `look` and `keep`, which one thread calls.
    """

    def __init__(
        self,
        files: Files,
        columns_of: Callable[[str], Columns],
        kept: KeptLines | None = None,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files, self._columns_of, self._kept, self._steady_s = files, columns_of, kept, steady_s
        self._has_begun = self._is_recalled = False
        self._unseen: dict[str, KeptLine] = {}  # kept by another index, and not looked at since
        self._kept_version, self._kept_s = 0, -math.inf
        self._listed = Listed()
        self._agenda, self._shown_agenda = Agenda(), Agenda()
        self._shown: OrderedDict[str, None] = OrderedDict()  # the runs that pages show, that which was named last last
        self._look_s = 0.0  # what a look at something quiet takes, smoothed
        self._folders: dict[str, _Folder] = {}
        self._hurried: deque[str] = deque(maxlen=_MOST_HURRIED)
        self._named: deque[str] = deque(maxlen=_MOST_HURRIED)
        self._new = 0  # folders that were never looked at
        self._meet("", 0, 0)

    # --- looking

    def hurry(self, path: str) -> None:
        """Have the folder at `path` looked at first in the next round; any thread may say so."""
        self._hurried.append(path)

    def show(self, path: str) -> None:
        """Have the run at `path`, which a page shows, looked at each second from now on; any thread may say so."""
        self._named.append(path)

    def look(self, most_s: float) -> float:
        """Look at what is due, for about `most_s`; return how long to rest."""
        start_s = self._steady_s()
        if not self._has_begun:
            self._recall()
        self._hear()
        idle_s = 0.0
        while (before_s := self._steady_s()) < start_s + most_s and idle_s * SHARE < MOST_REST_S:
            path = self._maybe_next(before_s)
            if path is None:
                break
            is_news = self._look_at(path)
            took_s = self._steady_s() - before_s
            if not is_news:
                idle_s += took_s
                self._look_s += (took_s - self._look_s) / 64
        if not self.is_scanning:
            self._settle()
        dues = [at_s for agenda in (self._shown_agenda, self._agenda) if (at_s := agenda.next_at_s()) is not None]
        due_in_s = min(dues, default=start_s + 1.0) - self._steady_s()
        return max(idle_s * SHARE, min(due_in_s, 1.0), 0.0)

    def _recall(self) -> None:
        """Show what was kept, until it has been looked at."""
        self._has_begun = True
        self._unseen = {} if self._kept is None else self._kept.load()
        for path, line in self._unseen.items():
            self._listed.put(path, line.text)
        self._is_recalled = bool(self._unseen)
        self._kept_version = self._listed.version

    def _settle(self) -> None:
        """All folders were looked at: let go of what was kept and is no more, and keep what is there now and then."""
        while self._unseen:
            self._listed.drop(self._unseen.popitem()[0])
        if self._steady_s() > self._kept_s + KEPT_S:
            self.keep()

    def keep(self) -> None:
        """Keep the lines for an index to come, if all are known and any has changed."""
        if self._kept is None or self.is_scanning or self._listed.version == self._kept_version:
            return
        self._kept_version, self._kept_s = self._listed.version, self._steady_s()
        lines = (folder.line.maybe_kept() for folder in self._folders.values() if folder.line is not None)
        self._kept.save(line for line in lines if line is not None)

    def _hear(self) -> None:
        """Take up what others have said since the last round."""
        while self._named:
            self._take_up(self._named.popleft())
        while self._hurried:
            if (hurried := self._hurried.popleft()) in self._folders:
                self._put(hurried, 0.0)

    def _take_up(self, path: str) -> None:
        is_new = path in self._folders and path not in self._shown
        if path in self._folders:
            self._shown[path] = None
            self._shown.move_to_end(path)
        if is_new:
            self._put(path, 0.0)
        if len(self._shown) > MOST_SHOWN:
            self._put(self._shown.popitem(last=False)[0], self._steady_s())

    def _put(self, path: str, at_s: float) -> None:
        """Let a folder be due at `at_s`; what pages show has an agenda of its own, which goes first."""
        is_shown = path in self._shown
        (self._shown_agenda if is_shown else self._agenda).put(path, at_s)
        (self._agenda if is_shown else self._shown_agenda).drop(path)

    def _maybe_next(self, now_s: float) -> str | None:
        path = self._shown_agenda.maybe_next(now_s)
        return self._agenda.maybe_next(now_s) if path is None else path

    def _look_at(self, path: str) -> bool:
        """Look at one folder, and return whether anything was new; whatever is in it costs no other folder its look."""
        folder = self._folders[path]
        try:
            is_news = self._take(path, folder, self._files.list(path))
        except NotHeld:
            is_news = self._empty(path, folder)
        except (StoreError, OSError):  # it may be had later
            is_news = False
        except Exception as error:  # noqa: BLE001 - what nobody foresaw
            is_news = False
            self._tell(path, folder, trouble_of(error))
        if folder.line is not None:
            self._tell(path, folder, folder.line.trouble)
        was_new, folder.is_new = folder.is_new, False
        self._new -= was_new
        self._rest(path, folder)
        return is_news or was_new

    def _empty(self, path: str, folder: _Folder) -> bool:
        """Let go of what was in a folder that can't be had: it goes when that above it names it no more, or comes back."""
        is_news = self._lose_what_is_in(path, folder) or bool(folder.children)
        folder.children, folder.line = {}, None
        if is_news:
            folder.changed_s = self._steady_s()
        return is_news

    def _tell(self, path: str, folder: _Folder, trouble: str | None) -> None:
        if trouble is not None and not folder.is_told:
            folder.is_told = True
            _log.warning("%s can't be read: %s", ascii(path[:200]), ascii(trouble)[1:-1])

    def _take(self, path: str, folder: _Folder, entries: Sequence[Entry]) -> bool:
        is_run = has_streams(entries)
        has_other_children = self._take_children(path, folder, entries, is_run=is_run)
        is_news = self._take_line(path, folder, entries if is_run else None) or has_other_children
        if folder.is_new:
            newest_ns = max((entry.mtime_ns for entry in entries), default=0)
            folder.changed_s = self._steady_s() - max(0.0, time.time() - newest_ns / 1e9)
        elif is_news:
            folder.changed_s = self._steady_s()
        return is_news

    def _rest(self, path: str, folder: _Folder) -> None:
        now_s = self._steady_s()
        is_alive = folder.line is not None and folder.line.state == "running"
        latest_s = min(max(affordable_s(self._look_s, len(self._folders)), QUIET_S), LATEST_S)
        quiet_s, has_runs = now_s - folder.changed_s, self._has_runs(path, folder)
        rests_s = rest_s(quiet_s, is_alive=is_alive, has_runs=has_runs, latest_s=latest_s)
        if path in self._shown:
            rests_s = min(rests_s, max(affordable_s(self._look_s, len(self._shown)), SHOWN_S))
        self._put(path, now_s + rests_s)

    def _has_runs(self, path: str, folder: _Folder) -> bool:
        if path == "":
            return True
        return folder.line is None and any(joined(path, name) in self._listed for name in list(folder.children)[:20])

    # --- folders that come and go

    def _meet(self, path: str, depth: int, mtime_ns: int) -> None:
        """Take up a folder; of many new ones those that changed last are looked at first."""
        if len(self._folders) < MOST_FOLDERS and depth <= MOST_DEPTH:
            self._folders[path] = _Folder(depth)
            self._new += 1
            self._put(path, -mtime_ns / 1e9)

    def _take_children(self, path: str, folder: _Folder, entries: Sequence[Entry], *, is_run: bool) -> bool:
        children = {e.name: e.mtime_ns for e in entries if e.kind == "dir" and not e.is_link and not is_hidden(e.name)}
        if is_run:
            children = {name: mtime_ns for name, mtime_ns in children.items() if name not in KINDS}
        if children == folder.children:
            return False
        for name in folder.children.keys() - children.keys():
            self._lose(joined(path, name))
        for name, mtime_ns in children.items():
            if joined(path, name) not in self._folders:
                self._meet(joined(path, name), folder.depth + 1, mtime_ns)
            elif folder.children.get(name) != mtime_ns:
                self._put(joined(path, name), 0.0)
        folder.children = children
        return True

    def _lose(self, path: str) -> None:
        folder = self._folders.pop(path, None)
        if folder is None:
            return
        self._agenda.drop(path)
        self._shown_agenda.drop(path)
        self._shown.pop(path, None)
        self._new -= folder.is_new
        self._lose_what_is_in(path, folder)

    def _lose_what_is_in(self, path: str, folder: _Folder) -> bool:
        """Let go of the folders and the run in one, and return whether that was listed."""
        for name in folder.children:
            self._lose(joined(path, name))
        return self._listed.drop(path)

    # --- lines

    def _take_line(self, path: str, folder: _Folder, entries: Sequence[Entry] | None) -> bool:
        if entries is None:
            folder.line = None
            return self._listed.drop(path)
        folder.line = folder.line or RunLine(self._files, path, self._columns_of, self._unseen.pop(path, None))
        if not folder.line.look(entries) and path in self._listed:
            return False
        self._listed.put(path, folder.line.text)
        return True

    # --- what is known

    @property
    def is_scanning(self) -> bool:
        """Whether there are folders that were never looked at."""
        return self._new > 0

    @property
    def is_recalled(self) -> bool:
        """Whether there are lines to show that were kept, before all is looked at."""
        return self._is_recalled

    def version_of(self, path: str) -> int:
        """Return the version of a run's last change that was seen, 0 where none was."""
        return self._listed.version_of(path)

    def changes(self, since: int | None, may_see: Callable[[str], bool]) -> bytes:
        """Return what a visitor `may_see` of what is newer than the version `since`, as JSON (docs/VIEWER.md)."""
        return self._listed.changes(since, may_see, is_scanning=self.is_scanning)
