"""The `unblur` command; see `program`."""

from unblur.cli.program import main

__all__ = ["main"]
