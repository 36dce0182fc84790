"""Exit codes: what a script can know of how a command ended. One table, for the code, ``--help`` and the docs."""

from __future__ import annotations

from ..errors import MLLoggerError, NotHeld, TryAgain, UsageError, WireError

DONE = 0
DIFFERS = 1
ERROR = 1
USAGE = 2
NOT_FOUND = 3
TRY_AGAIN = 5
INTERRUPTED = 130

EXITS = {
    DONE: "done",
    ERROR: "something went wrong; of verify, diff and pull also: what was compared differs",
    USAGE: "the command can't be done as it was given; the line says what to mend",
    NOT_FOUND: "there is no such run, folder or key",
    TRY_AGAIN: "the receiver can't be reached or fails; the same command may work later",
    INTERRUPTED: "interrupted (Ctrl-C)",
}


def exit_code(error: MLLoggerError | OSError) -> int:
    """Return the exit code of a command that `error` ended."""
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code
    return ERROR


_CODES: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((TryAgain,), TRY_AGAIN),
    ((NotHeld, FileNotFoundError), NOT_FOUND),
    ((UsageError, WireError), USAGE),  # what breaks the protocol is no receiver: another URL is to be given
)


def table_of_exits() -> str:
    """Return the table as ``--help`` shows it."""
    return "exit codes:\n" + "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXITS.items())
