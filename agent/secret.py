"""The token, and a proxy's password, kept out of whatever is said: logs, errors, status, heartbeats.

Nothing of the agent's own ever says one. What it repeats of others may: an answer that quotes the request's header back.
"""

from __future__ import annotations

import logging
from urllib.parse import unquote, urlsplit

_LEAST_LENGTH = 4  # a shorter one stands in ordinary words, and is no secret
_MOST_KNOWN = 8
HIDDEN = "[secret]"


class Secrets:
    """The secrets in use, the last few of them: a token may be replaced while the agent runs."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def note(self, secret: str | None) -> str | None:
        """Remember `secret`, and return it."""
        if secret is not None and len(secret) >= _LEAST_LENGTH and secret not in self._known:
            self._known = (*self._known, secret)[-_MOST_KNOWN:]
        return secret

    def note_proxy(self, proxy: str | None) -> None:
        """Remember the password in the URL of a proxy, as it is written there and as it is sent."""
        try:
            password = urlsplit(proxy or "").password
        except ValueError:
            return
        if password is not None:
            self.note(password)
            self.note(unquote(password))

    def hide(self, text: str) -> str:
        """Return `text` without the secrets."""
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        return text


class _Discreet(logging.Formatter):
    def __init__(self, inner: logging.Formatter, secrets: Secrets) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return self._secrets.hide(self._inner.format(record))


def keep_out_of_log(secrets: Secrets) -> None:
    """Let no handler of the root logger say any of `secrets`, traces included."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Discreet(handler.formatter or logging.Formatter(), secrets))
