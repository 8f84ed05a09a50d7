"""Messages name arguments as Python does; here they are translated to the options of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from unblur.errors import UnblurError, UsageError

MARKED = re.compile(r"`([a-z_]\w*)(?:=([^`]*))?`")
"""An argument in a message, as in ```tile=auto```."""
INPUTS = "inputs"
"""What tasks call the files that a command is given."""


class Spelling:
    """Translates ```tile=auto``` to ``--tile auto``.

    Parameters
    ----------
    options : mapping of str to str
        From names of arguments in Python to options.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    @classmethod
    def of(cls, command: Any, arguments: Sequence[str]) -> Spelling:
        """The spelling of the command that the words of a command line name, with its groups.

        An argument in Python has the name of a parameter of the command, as in ``boxes`` for ``--face-box``, or that of
        its option, as in ``format``.
        """
        commands = [command]
        for argument in arguments:
            if argument in getattr(commands[-1], "commands", {}):
                commands.append(commands[-1].commands[argument])
        options = {"json": "--json"}
        for parameter in (each for one in commands for each in one.params):
            if parameter.param_type_name == "option":
                option = max(parameter.opts, key=len)
                options |= dict.fromkeys((option.lstrip("-").replace("-", "_"), parameter.name), option)
            elif parameter.nargs == -1:
                options[INPUTS] = parameter.metavar
        return cls(options)

    def text(self, text: str) -> str:
        """Translate a message."""
        return MARKED.sub(lambda found: self._option(found[1], found[2], found[0]), text)

    def all(self, report: Any) -> Any:
        """Translate every text in a report."""
        if isinstance(report, str):
            return self.text(report)
        if isinstance(report, dict):
            return {key: self.all(value) for key, value in report.items()}
        return [self.all(each) for each in report] if isinstance(report, list | tuple) else report

    def error(self, error: UnblurError) -> UnblurError:
        """Translate the subject, the problem and the remedy of an error."""
        subject = self.text(error.subject)
        if isinstance(error, UsageError):
            subject = self._option(error.argument, error.value, subject)
        return UnblurError(subject, self.text(error.problem), self.text(error.remedy))

    def _option(self, name: str, value: Any, unknown: str) -> str:
        """The option of an argument with a value, or `unknown` if the command has none of that name."""
        option = self.options.get(name)
        if option is None:
            return unknown
        return option if value is None else f"{option} {value}"
