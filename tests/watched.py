"""Files that are watched: what is read of them, and a memory-only tree; both behave as the seam says."""

from __future__ import annotations

from collections import Counter

from ml_logger.errors import NotHeld
from ml_logger.files import Entry, Files, LocalFiles, OpenFile


class WatchedFiles(LocalFiles):
    """The files below a directory; `bytes_read` counts by path what was read of each since it was last cleared."""

    def __init__(self, root) -> None:
        super().__init__(root)
        self.bytes_read: Counter[str] = Counter()

    def open(self, path: str) -> OpenFile:
        return _Watched(super().open(path), path, self.bytes_read)


class _Watched(OpenFile):
    def __init__(self, file: OpenFile, path: str, bytes_read: Counter[str]) -> None:
        self._file, self._path, self._bytes_read = file, path, bytes_read
        self.size, self.mtime_ns, self.version = file.size, file.mtime_ns, file.version

    def read(self, offset: int, length: int) -> bytes:
        data = self._file.read(offset, length)
        self._bytes_read[self._path] += len(data)
        return data

    def close(self) -> None:
        self._file.close()


class MemoryFiles(Files):
    """A tree that is a dict of paths to bytes; nobody can know who writes in it."""

    place = "memory"

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content

    def list(self, folder: str) -> list[Entry]:
        top = f"{folder}/" if folder else ""
        inside = [path[len(top) :] for path in self.content if path.startswith(top)]
        if not inside:
            raise NotHeld(folder)
        folders = {path.partition("/")[0] for path in inside if "/" in path}
        entries = [Entry(name, "dir", 0, 0) for name in folders]
        entries += [Entry(name, "file", len(self.content[top + name]), 1) for name in inside if "/" not in name]
        return sorted(entries, key=lambda entry: entry.name)

    def open(self, path: str) -> OpenFile:
        if path not in self.content:
            raise NotHeld(path)
        return MemoryFile(self.content[path])


class MemoryFile(OpenFile):
    """Bytes as an open file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size, self.mtime_ns, self.version = len(data), 1, str(len(data))

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        pass
