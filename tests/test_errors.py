"""The error tree: what each leaf promises about trying again, and how a command prints it."""

from __future__ import annotations

import inspect

import pytest

from ml_logger import errors
from ml_logger.errors import MLLoggerError, TryAgain

CAN_RETRY = {
    "ConfigError": False,
    "SpoolTaken": False,
    "SpoolReplaced": False,
    "LogDirectoryError": False,
    "BatchTooLarge": False,
    "OtherVersion": False,
    "BadPath": False,
    "BadAnswer": True,
    "TimedOut": True,
    "TooLarge": False,
    "StopSending": False,
    "StoreFull": True,
    "StoreBusy": True,
    "Gone": False,
    "Changed": False,
    "Undeletable": False,
}


def classes() -> list[type[MLLoggerError]]:
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert all(issubclass(c, MLLoggerError) for c in found)
    return found


def leaves() -> list[type[MLLoggerError]]:
    return [c for c in classes() if not any(s.__module__ == c.__module__ for s in c.__subclasses__())]


def test_every_leaf_says_whether_trying_again_helps() -> None:
    """`can_retry` of each leaf is what the agent and the commands are built on."""
    assert {c.__name__: c.can_retry for c in leaves()} == CAN_RETRY


def test_the_drawn_tree_is_the_tree() -> None:
    """The picture in the module's docstring names every class."""
    drawn = errors.__doc__ or ""
    assert all(c.__name__ in drawn for c in classes())


@pytest.mark.parametrize("cls", leaves(), ids=lambda c: c.__name__)
def test_one_line_is_one_line_with_the_hint(cls: type[MLLoggerError]) -> None:
    """A message that spans lines is printed as one, with the hint behind it."""
    error = cls("token file x\n  can't be read", hint="check\nits permissions")
    assert error.one_line() == "token file x can't be read: check its permissions"
    assert cls("plain").one_line() == "plain"


def test_errors_carry_the_place() -> None:
    """Path, offset and the receiver's wish travel with the error; a caller that names none gets None."""
    error = errors.BadPath("no", path="a/b", offset=7)
    assert (error.path, error.offset, error.hint) == ("a/b", 7, None)
    assert TryAgain("busy", retry_after_s=1.5).retry_after_s == 1.5
    assert TryAgain("busy").retry_after_s is None
