"""Buffers: memory for the copies of images, used again and again.

What costs in a copy is fresh memory: the kernel hands it out page by page, at the first touch of each. An array of 640×480×3
bytes takes a millisecond to copy there, and a twenty-fifth of that into memory that was touched before. So the memory of an
image that is written is kept for the next one of its size, up to `SPARE_BYTES` in all; the first images of a run still pay.

Nothing here waits: where another thread, or a parent at the moment of a fork, is at the list, there is just no spare memory.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPARE_BYTES = 16 << 20
"""How much memory is kept for later images at most."""

_SMALLEST_BYTES = 64 << 10  # smaller copies come from memory that the allocator itself uses again


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """Return a C-ordered copy of `array`; its memory goes back to the spares when the copy and all views of it are gone."""
    import numpy as np  # lazily: importing ml_logger must not cost an import of numpy

    if array.nbytes < _SMALLEST_BYTES or array.dtype.hasobject:
        return array.copy()
    lease = _Lease(_spares, _spares.take(array.nbytes))
    copy: NDArray[Any] = np.asarray(lease).view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    return copy


class _Spares:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: deque[NDArray[np.uint8]] = deque()
        self._held_bytes = 0

    def take(self, size_bytes: int) -> NDArray[np.uint8]:
        """Return a spare block of that size, the last one that came, or a new one."""
        import numpy as np  # lazily: as above

        if self._lock.acquire(blocking=False):
            try:
                for index in range(len(self._blocks) - 1, -1, -1):
                    block = self._blocks[index]
                    if block.nbytes == size_bytes:
                        del self._blocks[index]
                        self._held_bytes -= size_bytes
                        return block
            finally:
                self._lock.release()
        return np.empty(size_bytes, np.uint8)

    def give(self, block: NDArray[np.uint8]) -> None:
        """Keep `block` for later; where that is too much, those that have waited longest go."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._blocks.append(block)
            self._held_bytes += block.nbytes
            while self._held_bytes > SPARE_BYTES:
                self._held_bytes -= self._blocks.popleft().nbytes
        finally:
            self._lock.release()


class _Lease:
    """Lends a block to an array, which keeps its lease alive, and gives the block back at its end."""

    def __init__(self, spares: _Spares, block: NDArray[np.uint8]) -> None:
        self._spares, self._block = spares, block
        self.__array_interface__ = block.__array_interface__  # numpy's protocol: an array made of this refers to it

    def __del__(self) -> None:
        self._spares.give(self._block)


_spares = _Spares()
