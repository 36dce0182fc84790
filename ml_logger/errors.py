"""Every error this project raises on purpose, as one tree.

::

    MLLoggerError
    ├── UsageError            the person who started the command can mend it; commands exit with 2
    │   ├── ConfigError       a config file, flag or environment variable: which, where, and the nearest known key
    │   ├── SpoolTaken        another agent ships the spool (`path`); the message says which
    │   ├── SpoolReplaced     a directory (`path`) is another one than the agent has locked; it opens all anew
    │   └── LogDirectoryError the client's directory or prefix
    ├── WireError             the bytes of a request or an answer break the protocol
    │   ├── BadBatch          manifest or framing; nothing of the batch was applied
    │   │   ├── BatchTooLarge past a size limit of the receiver; answered with 413, a smaller one may pass
    │   │   └── OtherVersion  of another version of the protocol; answered with 426
    │   ├── BadPath           a path that no receiver may store
    │   └── BadAnswer         an answer that does not acknowledge what was sent (a middlebox, another version)
    ├── ShipError             what the agent met on its way to the receiver
    │   ├── TryAgain          network, 5xx, 429, 503, 507: the same request may succeed later
    │   │   └── TimedOut      no answer in time: a smaller request may have one
    │   ├── BatchRefused      400, 422: this batch as it is never will; parts of it may
    │   │   └── TooLarge      413: a smaller batch may succeed now
    │   └── StopSending       401, 403, 426: no request will succeed until a person acts
    └── StoreError            what the receiver's store met
        ├── StoreFull         below the free-space floor or ENOSPC; answered with 507
        ├── StoreBusy         the disk under one run stands still, or no more files can be opened; answered with 503
        ├── Changed           the file is another version than was meant; answered with 412
        ├── Undeletable       the path can't be moved to the trash; answered with 409
        └── NotHeld           the path is not in the store; answered with 404
            └── Gone          it was deleted, and is not to come back; answered with 410

``can_retry`` says whether the same call can succeed later without anybody's doing. This module imports nothing.
"""

from __future__ import annotations

from typing import ClassVar


class MLLoggerError(Exception):
    """The root: a message in lower case with the value in it, the place, and a hint for the person who runs it."""

    can_retry: ClassVar[bool] = False

    def __init__(
        self, message: str, *, path: str | None = None, offset: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
        self.hint = hint

    def one_line(self) -> str:
        """Return the message and the hint as the one line that a command prints."""
        text = str(self) if self.hint is None else f"{self}: {self.hint}"
        return " ".join(text.split())


class UsageError(MLLoggerError):
    """Something the person who started the command can mend."""


class ConfigError(UsageError):
    """A config file, flag or environment variable that can't be used as it is."""


class SpoolTaken(UsageError):
    """A spool (`path`) that has an agent already; one is enough."""


class SpoolReplaced(UsageError):
    """A spool or state directory (`path`) that was deleted and made anew: the locks lie on what is no longer there."""


class LogDirectoryError(UsageError):
    """A log directory or prefix that the client can't write to or must not."""


class WireError(MLLoggerError):
    """Bytes that break the protocol."""


class BadBatch(WireError):
    """A manifest or framing that can't be read; nothing of the batch was applied."""


class BatchTooLarge(BadBatch):
    """A body, manifest or list past a limit of the receiver; a smaller one may pass."""


class OtherVersion(BadBatch):
    """A body of a version of the protocol that is not spoken here."""


class BadPath(WireError):
    """A path that no receiver may store."""


class BadAnswer(WireError):
    """An answer that does not acknowledge what was sent; trying again may reach the real receiver."""

    can_retry = True


class ShipError(MLLoggerError):
    """Something the agent met on its way to the receiver."""


class TryAgain(ShipError):
    """The same request may succeed later; ``retry_after_s`` is the receiver's wish in seconds, if it said one."""

    can_retry = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class TimedOut(TryAgain):
    """The request or its answer took longer than allowed; a smaller one may not."""


class BatchRefused(ShipError):
    """The receiver refuses this batch as it is; each half of it may pass."""


class TooLarge(BatchRefused):
    """The receiver refuses a body of this size; half of it may pass."""


class StopSending(ShipError):
    """No request will succeed until a person acts (token, rights, version)."""


class StoreError(MLLoggerError):
    """Something the receiver's store met."""


class StoreFull(StoreError):
    """The disk is below its floor; the agent waits and tries again."""

    can_retry = True


class StoreBusy(StoreError):
    """The disk under one run does not answer, and enough of its requests wait for it; or too many files are open."""

    can_retry = True


class NotHeld(StoreError):
    """The path is not in the store."""


class Gone(NotHeld):
    """The path, or a folder above it, was deleted through the receiver, and is not to come back."""


class Changed(StoreError):
    """The file is another version than the one that was to be changed, or is not held."""


class Undeletable(StoreError):
    """The path can't be moved to the trash: another file system is in the way, or this one forbids it."""
