"""What goes wrong, and when: a fault is asked before each call whether that one fails. It counts, and never draws."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from typing import TypeAlias

Fault: TypeAlias = Callable[[str, int], "BaseException | None"]
"""Asked with the name of a call and its number, from 1 on; returns what it raises, or None to let it pass."""


class Died(BaseException):
    """The process is gone: nothing after the call runs, no handler of an error either."""


class Faults:
    """The calls of one process, counted, and the `fault` that is asked about each.

    Several layers of one process (an agent's ledger, its line) share one, so that its death ends all of them.
    """

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault or never
        self.calls = 0

    def maybe_error(self, call: str) -> BaseException | None:
        """Count a call and return what it is to raise, None if it is to work."""
        self.calls += 1
        return self.fault(call, self.calls)

    def meet(self, call: str) -> None:
        """Count a call; raises what it is to raise."""
        error = self.maybe_error(call)
        if error is not None:
            raise error

    def die_in(self, calls: int) -> None:
        """Let the process die at the `calls`-th call from now on (1: the next), and at each after it."""
        self.fault = dies_at(self.calls + calls)


def never(_call: str, _number: int) -> BaseException | None:
    """Let every call pass."""
    return None


def fails(call: str, code: int = errno.EIO) -> Fault:
    """Return a fault by which every `call` fails with the error number `code`."""
    return lambda met, _number: _error(code) if met == call else None


def fails_at(number: int, code: int = errno.EIO) -> Fault:
    """Return a fault by which the call with this number fails, once."""
    return lambda _met, met_number: _error(code) if met_number == number else None


def dies_at(number: int) -> Fault:
    """Return a fault by which, from the call with this number on, nothing happens any more."""
    return lambda _met, met_number: Died() if met_number >= number else None


def is_full(calls: Collection[str]) -> Fault:
    """Return a fault by which the disk has no room: all of `calls` (a module's `NEEDS_ROOM`) fail."""
    return lambda met, _number: _error(errno.ENOSPC) if met in calls else None


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
