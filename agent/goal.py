"""What a drain has to ship: every file as it was when the drain began. What a living writer adds later does not count. Pure."""

from __future__ import annotations


class Goal:
    """The files that have something to ship.

    Of a stream that had grown it is a size, which the acknowledged end has to reach. Of all others, rewritten streams
    included, one version has to be acknowledged whole: an older end says nothing of them.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._versions: set[str] = set()

    def add_grown(self, path: str, size: int) -> None:
        """Want a stream up to `size` bytes."""
        self._sizes[path] = size

    def add_version(self, path: str) -> None:
        """Want a version of a file that is sent from now on."""
        self._sizes.pop(path, None)
        self._versions.add(path)

    def note_version(self, path: str) -> None:
        """Take note that a version of `path` is acknowledged whole."""
        self._versions.discard(path)

    def is_reached(self, path: str, acked_bytes: int) -> bool:
        """Whether what is wanted of `path` is shipped, which may be nothing."""
        return path not in self._versions and acked_bytes >= self._sizes.get(path, 0)
