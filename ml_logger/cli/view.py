"""``ml-logger view``: the page over a directory; what it does is the page's own."""

from ..view.command import add_arguments

__all__ = ["add_arguments"]
