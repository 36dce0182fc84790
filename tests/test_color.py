"""Colour shows on terminals and nowhere else, unless it is asked for."""

import io
import sys

import pytest

import ml_logger.color as color
from ml_logger.color import Color, is_wanted, ms, paint, percent, sec, terminal_width


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def test_formatters():
    """Fractions become percentages with one decimal, seconds milliseconds and seconds."""
    assert percent(0.85) == "85.0%"
    assert percent(0.28571) == "28.6%"
    assert ms(0.0123) == "12.3ms"
    assert sec(1.5) == "1.500s"


def test_text_uses_the_formatter():
    """The text of a coloured value is what its formatter returns, or `str` of it."""
    assert Color(0.85, "yellow", percent).text() == "85.0%"
    assert Color(10, "yellow").text() == "10"
    assert float(Color(0.5)) == 0.5


@pytest.mark.parametrize("name", [*color.CODES, "default"])
def test_every_colour_function(name):
    """Each colour function wraps the value under its own name."""
    wrapped = getattr(color, name)(0.5, percent)
    assert (wrapped.value, wrapped.color, wrapped.text()) == (0.5, name, "50.0%")


def test_paint():
    """Known colours are wrapped in codes; unknown ones and none leave the text alone."""
    assert paint("x", "yellow") == "\x1b[33mx\x1b[0m"
    assert paint("x", "default") == paint("x", None) == paint("x", "puce") == "x"


def test_terminals_get_colour():
    """A terminal gets colour; a pipe, a closed stream and no stream at all do not."""
    closed = io.StringIO()
    closed.close()
    assert is_wanted(Terminal())
    assert not any(is_wanted(stream) for stream in (io.StringIO(), closed, None))


def test_environment_decides(monkeypatch):
    """FORCE_COLOR asks for colour everywhere, and NO_COLOR beats it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert is_wanted(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_wanted(Terminal())


def test_printing_a_coloured_value(monkeypatch):
    """`print(red(...))` is coloured on a terminal only, and a width in an f-string counts no codes."""
    assert f"{color.red('late'):>6}" == "  late"
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert str(color.red("late")) == "\x1b[31mlate\x1b[0m"
    assert f"{color.red('late'):>6}" == "\x1b[31m  late\x1b[0m"


def test_only_a_terminal_is_narrow(monkeypatch):
    """COLUMNS, which many shells export, says how wide a terminal is, and cuts nothing in a file or pipe."""
    monkeypatch.setenv("COLUMNS", "60")
    assert terminal_width(Terminal()) == 60
    assert terminal_width(io.StringIO()) is None
    monkeypatch.delenv("COLUMNS")
    assert terminal_width(Terminal()) is None  # one of no size
