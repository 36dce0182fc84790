"""The page: runs to look at in a browser, of a receiver or of any local directory (docs/VIEWER.md)."""

from .notebook import Frame, frame

__all__ = ["Frame", "frame"]
