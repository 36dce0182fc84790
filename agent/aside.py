"""Files that can't be shipped as they are: set aside, listed, retried rarely; they block nothing and lose nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..wire import OUTSIDE
from .scanner import LocalFile, Problem, Signature
from .settling import Clock

log = logging.getLogger(__name__)

REST_S = 600.0
"""How long a file rests before it is tried again, unless it changes before."""


@dataclass(frozen=True, slots=True)
class _Rest:
    reason: str
    signature: Signature | None
    until_s: float
    is_refused: bool


class Aside:
    """The files that are set aside, and why."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rests: dict[str, _Rest] = {}
        self._has_told_outside = False

    def put(self, file: LocalFile, reason: str, *, is_lasting: bool = False, is_refused: bool = False) -> None:
        """Set `file` aside in the state it is in; one that `is_lasting` rests whatever changes in it.

        `is_refused` if it is the receiver that does not take it.
        """
        if OUTSIDE not in reason:
            log.warning("set aside %s: %s", ascii(file.path), reason)
        elif not self._has_told_outside:
            self._has_told_outside = True
            log.warning(
                "the token is for another folder than 'remote_prefix' says: %s and all else outside it is set aside",
                ascii(file.path),
            )
        signature = None if is_lasting else file.signature
        self._rests[file.path] = _Rest(reason, signature, self._clock.steady_s() + REST_S, is_refused)

    def take_refused(self) -> list[str]:
        """Return the files that the receiver refused, which are aside no more: whoever is another to it may be let in."""
        refused = [path for path, rest in self._rests.items() if rest.is_refused]
        for path in refused:
            del self._rests[path]
        self._has_told_outside = False
        return refused

    def rest_left_s(self, file: LocalFile) -> float:
        """Return for how long `file` is to be left alone; one that has changed or rested long enough is not aside any more."""
        rest = self._rests.get(file.path)
        if rest is None:
            return 0.0
        left_s = rest.until_s - self._clock.steady_s()
        if rest.signature in (None, file.signature) and left_s > 0:
            return left_s
        del self._rests[file.path]
        return 0.0

    def __contains__(self, path: str) -> bool:
        return path in self._rests

    def problems(self) -> list[Problem]:
        """Return what is set aside, with the reasons."""
        return [Problem(path, rest.reason) for path, rest in self._rests.items()]

    def forget(self, path: str) -> None:
        """Drop what is remembered of `path`."""
        self._rests.pop(path, None)
