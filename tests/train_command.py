"""`unblur train`, as the command runs it."""

from collections.abc import Sequence

from unblur import cli


def main(arguments: Sequence[str]) -> int:
    """Run ``unblur train`` with these arguments; the exit code."""
    return cli.main(["train", *arguments])
