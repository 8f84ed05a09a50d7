"""The one exception that a user sees: which file, what is wrong, what to do."""

from __future__ import annotations

from os import PathLike


class UnblurError(Exception):
    """A problem with something the user gave, told in one line.

    Parameters
    ----------
    subject : str or path
        The file, option or value at fault.
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
