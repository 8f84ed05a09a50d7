"""Python's names of arguments as the command line spells them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from unblur.errors import UnblurError, UsageError

MARKED = re.compile(r"`([a-z_]\w*)(?:=([^`]*))?`")
"""An argument in a message, as in ```tile=auto```."""


class Spelling:
    """Turns ```tile=auto``` into ``--tile auto``, by the options of a command.

    Parameters
    ----------
    options : mapping of str to str
        From names of arguments to options.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    @classmethod
    def of(cls, command: Any, arguments: Sequence[str]) -> Spelling:
        """That of the command that a command line names."""
        commands = [command]
        for argument in arguments:
            if argument in getattr(commands[-1], "commands", {}):
                commands.append(commands[-1].commands[argument])
        options = [each for one in commands for each in one.params if each.param_type_name == "option"]
        return cls({"json": "--json"} | {each.name: max(each.opts, key=len) for each in options})

    def text(self, text: str) -> str:
        """A message for people."""
        return MARKED.sub(lambda found: self._option(found[1], found[2], found[0]), text)

    def all(self, report: Any) -> Any:
        """A report with all the texts in it."""
        if isinstance(report, str):
            return self.text(report)
        if isinstance(report, dict):
            return {key: self.all(value) for key, value in report.items()}
        return [self.all(each) for each in report] if isinstance(report, list | tuple) else report

    def error(self, error: UnblurError) -> UnblurError:
        """An error; what it is about, and all that it says."""
        subject = self.text(error.subject)
        if isinstance(error, UsageError):
            subject = self._option(error.argument, error.value, subject)
        return UnblurError(subject, self.text(error.problem), self.text(error.remedy))

    def _option(self, name: str, value: Any, otherwise: str) -> str:
        option = self.options.get(name)
        if option is None:
            return otherwise
        return option if value is None else f"{option} {value}"
