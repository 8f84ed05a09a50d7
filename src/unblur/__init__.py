"""Undo motion blur, and see what happened while the shutter was open."""

from unblur._version import __version__

__all__ = ["__version__"]
