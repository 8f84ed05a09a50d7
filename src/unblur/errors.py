"""The exceptions that a user sees: what is at fault, what is wrong with it, what to do."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import Any


class UnblurError(Exception):
    """A problem with something the user gave, told in one line.

    Parameters
    ----------
    subject : str or path
        The file or value at fault.
    problem : str
        What is wrong with it, without a full stop.
    remedy : str
        What the user can do about it, without a full stop.

    Examples
    --------
    >>> str(UnblurError("a.png", "the file is empty", "save or download it again"))
    'a.png: the file is empty; save or download it again'
    """

    def __init__(self, subject: str | PathLike[str], problem: str, remedy: str) -> None:
        self.subject, self.problem, self.remedy = str(subject), problem, remedy
        super().__init__(" ".join(f"{self.subject}: {problem}; {remedy}".split()))


class UsageError(UnblurError):
    """An argument that cannot be met, whatever the files are.

    The argument is named as Python has it. `problem` and `remedy` name arguments in backticks, as in ```n=7```: the
    command line says its options in their place.

    Parameters
    ----------
    argument : str
        Its name in Python.
    value : object
        What was given; left out of the message if None.
    problem, remedy : str
        As of `UnblurError`.

    Examples
    --------
    >>> str(UsageError("tile", 12, "is too small for this network", "use 448 or more, or `tile=auto`"))
    'tile=12: is too small for this network; use 448 or more, or `tile=auto`'
    """

    def __init__(self, argument: str, value: object, problem: str, remedy: str) -> None:
        self.argument, self.value = argument, value
        super().__init__(argument if value is None else f"{argument}={value}", problem, remedy)


def require(module: str, extra: str) -> Any:
    """Import a module of an extra, when it is needed.

    Parameters
    ----------
    module : str
        Its name, such as ``"lmdb"``.
    extra : str
        The extra of this package that brings it, such as ``"train"``.

    Raises
    ------
    UnblurError
        It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UnblurError(module, "is not installed", f"needs pip install 'unblur[{extra}]'") from error
