"""The certificate that the receiver shows: read at the start, and again when its files change, so that renewals just work."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from ..errors import ConfigError

_log = logging.getLogger(__name__)


class Certificate:
    """A certificate chain and its key, from PEM files; raises `ConfigError` if they can't be used at the start."""

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._files = (cert_file, key_file)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._state = self._state_now()
        try:
            self._load()
        except OSError as error:  # an SSLError is one
            raise ConfigError(
                f"the certificate can't be used: {_reason(error)}", hint="give PEM files as tls_cert and tls_key"
            ) from None

    def _load(self) -> None:
        # Tried aside first: a context that takes a certificate and then not its key (half a renewal) is left with neither.
        for context in (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), self.context):
            # A key with a password would ask for it on the terminal, and a daemon has none.
            context.load_cert_chain(*self._files, password=_no_password)

    def _state_now(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            found = [file.stat() for file in self._files]
        except OSError:
            return None
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)

    def refresh(self) -> None:
        """Show a new certificate to new connections if the files have changed; one that can't be read is logged."""
        now = self._state_now()
        if now == self._state:
            return
        self._state = now
        try:
            self._load()
        except OSError as error:
            _log.error("the new certificate can't be used, the old one stays: %s", _reason(error))
        else:
            _log.info("a new certificate is shown from now on")


def _no_password() -> str:
    raise OSError("the key has a password: give one without")


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)
