"""The page: runs to look at in a browser, of a receiver or of any local directory (docs/VIEWER.md)."""
