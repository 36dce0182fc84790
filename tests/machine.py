"""A machine of its own, as far as the kernel can make one: namespaces for the network, the mounts and the host name.

A process that does nothing holds them, and others enter them with nsenter(1). All that was set up inside (links, mounts, the
host name) ends with the holder, and that ends when its standard input does: nothing of a test that was killed stays behind.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

DEADLINE_S = 30.0
_FLAGS = {"net": "--net", "mount": "--mount", "name": "--uts"}


class Machine:
    """Holds namespaces of the given `kinds` (net, mount, name) in which `script` (sh) was run once, from now until `end`.

    Skips the test where making them is not permitted, or a tool is missing; a script that fails there too.
    """

    def __init__(self, *kinds: str, script: str = ":") -> None:
        self._flags = [_FLAGS[kind] for kind in kinds]
        hold = f"set -e\n{script}\necho ready\nexec cat"
        try:
            self._holder = subprocess.Popen(
                ["unshare", *self._flags, "sh", "-c", hold],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            pytest.skip("there is no unshare(1) to make namespaces with")
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self._skip(kinds)

    def _skip(self, kinds: tuple[str, ...]) -> None:
        _, said = self._holder.communicate(timeout=DEADLINE_S)
        reason = said.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        pytest.skip(f"namespaces ({', '.join(kinds)}) can't be set up here, most likely for want of root: {reason[0]}")

    @property
    def pid(self) -> int:
        return self._holder.pid

    @property
    def enter(self) -> tuple[str, ...]:
        """Return the words that start a command on this machine."""
        return ("nsenter", "--target", str(self.pid), *self._flags, "--")

    def run(self, *command: object) -> str:
        """Run a command on this machine, require that it ends well, and return what it printed."""
        words = [*self.enter, *map(str, command)]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=DEADLINE_S).stdout

    def see(self, path: Path) -> Path:
        """Return `path` as this machine sees it (its mounts included), for those who are not on it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def end(self) -> None:
        """Let it all go; processes that are still on it keep their namespaces."""
        self._holder.kill()
        self._holder.communicate(timeout=DEADLINE_S)
