"""Who is told what happens to files."""

from __future__ import annotations

from typing import Protocol

from unblur.errors import UnblurError
from unblur.tasks.batch import Job, Outcome


class Listener(Protocol):
    """Who is told what happens."""

    def begin(self, job: Job, number: int, total: int) -> None:
        """A file is begun."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Steps of the file at hand."""

    def done(self, outcome: Outcome) -> None:
        """A file was written."""

    def failed(self, error: UnblurError, cause: BaseException | None = None) -> None:
        """A file failed."""


class Silent:
    """A listener that tells nobody."""

    def begin(self, job: Job, number: int, total: int) -> None: ...
    def progress(self, stage: str, done: int, total: int) -> None: ...
    def done(self, outcome: Outcome) -> None: ...
    def failed(self, error: UnblurError, cause: BaseException | None = None) -> None: ...
