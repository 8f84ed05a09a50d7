"""Run jobs one after the other and report on them; a file that fails does not stop the others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from unblur._version import __version__
from unblur.errors import UnblurError, UsageError
from unblur.table import Table


@dataclass(frozen=True)
class Job:
    """A file to read and one to write."""

    source: Path
    output: Path


@dataclass(frozen=True)
class Outcome:
    """The result of a job that succeeded.

    Attributes
    ----------
    job : Job
    message : str
        Printed in brackets after the names of the files.
    details : dict
        Entries of the machine-readable report; its ``warning``, if any, is printed too.
    notes : tuple of str
        Further lines to print.
    """

    job: Job
    message: str
    details: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {"input": str(self.job.source), "output": str(self.job.output), **self.details}


@dataclass
class RunReport:
    """The report of a command: a summary for people, and all entries for machines.

    Attributes
    ----------
    command : str
    verb : str
        What was done to each file, as a past participle for the summary: "sharpened".
    metadata : dict
        Entries that hold for every file, such as the model and the device.
    suffix : str
        The end of the summary line, such as "with film-small".
    count : int, optional
        The number in the summary, where it is not the number of results: pictures that are joined into one film.
    results : list of Outcome
        One for each file. Commands on other things have results of their own, each with ``as_dict``.
    errors : list of UnblurError
    begun, ended : float
        `time.perf_counter` at the start and the end; without an end the command is still running.
    """

    command: str
    verb: str = "done"
    metadata: dict[str, object] = field(default_factory=dict)
    suffix: str = ""
    count: int | None = None
    results: list[Any] = field(default_factory=list)
    errors: list[UnblurError] = field(default_factory=list)
    begun: float = field(default_factory=time.perf_counter)
    ended: float | None = None

    @property
    def exit_code(self) -> int:
        """0; 1 if a file failed; 2 if an argument was wrong."""
        if any(isinstance(error, UsageError) for error in self.errors):
            return 2
        return 1 if self.errors else 0

    @property
    def seconds(self) -> float:
        """Seconds from the start to the end, or until now."""
        return (time.perf_counter() if self.ended is None else self.ended) - self.begun

    def summary(self) -> str:
        """One line."""
        skipped = sum("skipped" in result.details for result in self.results) if self.count is None else 0
        counts = [f"{len(self.results) - skipped if self.count is None else self.count} {self.verb}"]
        counts += [f"{skipped} skipped"] if skipped else []
        counts += [f"{len(self.errors)} failed"] if self.errors else []
        return f"{', '.join(counts)} in {self.seconds:.1f} s {self.suffix}".rstrip()

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {
            "command": self.command,
            "unblur": __version__,
            "ok": not self.errors,
            "seconds": round(self.seconds, 3),
            **self.metadata,
            "results": [result.as_dict() for result in self.results],
            "errors": [
                {"input": error.subject, "problem": error.problem, "remedy": error.remedy} for error in self.errors
            ],
        }

    @property
    def title(self) -> str:
        """The title above the tables in a terminal."""
        return ""

    def tables(self) -> list[Table]:
        """The tables that are shown; most commands have none."""
        return []

    def markdown(self) -> str:
        """The tables in Markdown."""
        return "\n".join(table.markdown() for table in self.tables())


def plan(sources: Iterable[Path], output_of: Callable[[Path], Path]) -> tuple[list[Job], list[UnblurError]]:
    """Name the output of every source.

    Returns
    -------
    jobs : list of Job
    errors : list of UnblurError
        For outputs that would replace an input, or another output of the same run.
    """
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
    """Do every job, and add its outcome or its error to `report`.

    Parameters
    ----------
    work : callable
        Does a job. An exception ends that job alone; one that is not an `UnblurError` is reported as one.
    on_begin : callable
        Called before each job with the job, its number from 1, and the number of jobs.
    on_done : callable
        Called with each outcome.
    on_error : callable
        Called with each error and the exception behind it.
    skip_existing : bool
        Skip jobs whose output exists.
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
            done.details["seconds"] = round(time.perf_counter() - begun, 3)
        report.results.append(done)
        on_done(done)
    return report


def unexpected(subject: str | os.PathLike[str], cause: BaseException) -> UnblurError:
    """The error, in one line, for an exception that is not an `UnblurError`."""
    message = " ".join(str(cause).split())[:200]
    remedy = "run it again with `debug` and report what it prints"
    return UnblurError(subject, f"unexpected {type(cause).__name__}: {message}", remedy)


class Listener(Protocol):
    """Receives the progress of a run, such as the console."""

    def begin(self, job: Job, number: int, total: int) -> None:
        """Job `number` of `total` starts."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps in a stage of the current job are finished."""

    def done(self, outcome: Outcome) -> None:
        """A job succeeded."""

    def failed(self, error: UnblurError, cause: BaseException | None = None) -> None:
        """A job failed; `cause` is the exception behind the error."""


class Silent:
    """A listener that ignores everything."""

    def begin(self, job: Job, number: int, total: int) -> None: ...
    def progress(self, stage: str, done: int, total: int) -> None: ...
    def done(self, outcome: Outcome) -> None: ...
    def failed(self, error: UnblurError, cause: BaseException | None = None) -> None: ...
