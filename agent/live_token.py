"""The token while the agent runs: read for each request, since its file may be replaced, and whoever waits for that is told."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ConfigError, TryAgain
from .secret import Secrets


class LiveToken:
    """Returns the token as it is now, None where there is none; for any thread.

    `read` looks at its file. A listener that was given to `tell_of_new` is called, in the thread that asks, when the token is
    another one than at the last request of anybody.
    """

    def __init__(self, read: Callable[[], str | None], secrets: Secrets) -> None:
        self._read = read
        self._secrets = secrets
        self._listeners: list[Callable[[], None]] = []
        self._shown: set[str | None] = set()  # the last one; a set, as no token is one too

    def tell_of_new(self, listener: Callable[[], None]) -> None:
        """Let `listener` be called when there is another token."""
        self._listeners.append(listener)

    def __call__(self) -> str | None:
        """Return the token; raises `TryAgain` where its file can't be read: it may be there again at the next try."""
        try:
            token = self._secrets.note(self._read())
        except ConfigError as error:
            raise TryAgain(str(error), hint=error.hint) from None
        before, self._shown = self._shown, {token}
        if before not in (set(), {token}):
            for listener in self._listeners:
                listener()
        return token
