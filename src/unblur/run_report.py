"""Many files, one after the other: a file that fails is told of, the others are still done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unblur._version import __version__
from unblur.errors import UnblurError
from unblur.table import Table

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True)
class Job:
    """A file to read and one to write."""

    source: Path
    output: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job that did not fail.

    Attributes
    ----------
    job : Job
    said : str
        For people, in half a line.
    facts : dict
        For machines.
    lines : tuple of str
        More for people, a line each.
    """

    job: Job
    said: str
    facts: dict[str, object] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {"input": str(self.job.source), "output": str(self.job.output), **self.facts}


@dataclass
class RunReport:
    """All that a command did.

    Attributes
    ----------
    command : str
    verb : str
        What became of a file, for the summary: "sharpened".
    about : dict
        What holds for every file: the model, the device.
    by : str
        The same for people, in half a line.
    count : int, optional
        What the summary counts, where it is not results: pictures that make one whole.
    results : list of Outcome
        Of the files; of other things what a command has instead, each with ``as_dict``.
    errors : list of UnblurError
    begun, ended : float
        By `time.perf_counter`; without an end the command is still running.
    """

    command: str
    verb: str = "done"
    about: dict[str, object] = field(default_factory=dict)
    by: str = ""
    count: int | None = None
    results: list[Any] = field(default_factory=list)
    errors: list[UnblurError] = field(default_factory=list)
    begun: float = field(default_factory=time.perf_counter)
    ended: float | None = None

    @property
    def exit_code(self) -> int:
        """0, or 1 if anything failed."""
        return 1 if self.errors else 0

    @property
    def seconds(self) -> float:
        """Since the report was begun, until it ended."""
        return (time.perf_counter() if self.ended is None else self.ended) - self.begun

    def summary(self) -> str:
        """One line."""
        skipped = sum("skipped" in result.facts for result in self.results) if self.count is None else 0
        counts = [f"{len(self.results) - skipped if self.count is None else self.count} {self.verb}"]
        counts += [f"{skipped} skipped"] if skipped else []
        counts += [f"{len(self.errors)} failed"] if self.errors else []
        return f"{', '.join(counts)} in {self.seconds:.1f} s {self.by}".rstrip()

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {
            "command": self.command,
            "unblur": __version__,
            "ok": not self.errors,
            "seconds": round(self.seconds, 3),
            **self.about,
            "results": [result.as_dict() for result in self.results],
            "errors": [
                {"input": error.subject, "problem": error.problem, "remedy": error.remedy} for error in self.errors
            ],
        }

    @property
    def title(self) -> str:
        """Stands above the tables in a terminal."""
        return ""

    def tables(self) -> list[Table]:
        """The numbers that are shown; of most commands none."""
        return []

    def markdown(self) -> str:
        """The tables in Markdown."""
        return "\n".join(table.markdown() for table in self.tables())

    def __rich__(self) -> Group:
        """The tables for a terminal."""
        from rich.console import Group

        first, *others = self.tables()
        return Group(first._replace(title=first.title or self.title), *others)


def plan(sources: Iterable[Path], output_of: Callable[[Path], Path]) -> tuple[list[Job], list[UnblurError]]:
    """Choose every output; refuse one that would replace an input, or another output of the same run."""
    sources = list(sources)
    inputs = {os.path.realpath(source) for source in sources}
    taken: dict[str, Path] = {}
    jobs, errors = [], []
    for source in sources:
        try:
            job = Job(source, output_of(source))
        except UnblurError as error:
            errors.append(error)
            continue
        place = os.path.realpath(job.output)
        if place in inputs:
            errors.append(UnblurError(source, f"{job.output} is an input too", "write to another name or folder"))
        elif place in taken:
            problem = f"its output {job.output} is that of {taken[place]} too"
            errors.append(UnblurError(source, problem, "rename one, or run them into separate folders"))
        else:
            taken[place] = source
            jobs.append(job)
    return jobs, errors


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], Outcome],
    report: RunReport,
    *,
    on_begin: Callable[[Job, int, int], None],
    on_done: Callable[[Outcome], None],
    on_error: Callable[[UnblurError, BaseException], None],
    skip_existing: bool = False,
) -> RunReport:
    """Do every job, and add what became of it to `report`.

    Parameters
    ----------
    work : callable
        Does a job. Any exception ends that job alone; one that is not an `UnblurError` is told as one.
    on_begin, on_done, on_error : callable
        Told of every job with its number and how many there are, and of every outcome as it comes; `on_error` also of
        the exception behind the error.
    skip_existing : bool
        Leave jobs alone whose output is there.
    """
    for number, job in enumerate(jobs, 1):
        if skip_existing and job.output.exists():
            done = Outcome(job, "there already, skipped", {"skipped": True})
        else:
            begun = time.perf_counter()
            on_begin(job, number, len(jobs))
            try:
                done = work(job)
            except Exception as cause:
                error = cause if isinstance(cause, UnblurError) else unexpected(job.source, cause)
                report.errors.append(error)
                on_error(error, cause)
                continue
            done.facts["seconds"] = round(time.perf_counter() - begun, 3)
        report.results.append(done)
        on_done(done)
    return report


def unexpected(subject: str | os.PathLike[str], cause: BaseException) -> UnblurError:
    """One line for an exception that nobody foresaw."""
    said = " ".join(str(cause).split())[:200]
    remedy = "run it again with `debug` and report what it prints"
    return UnblurError(subject, f"unexpected {type(cause).__name__}: {said}", remedy)


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
