"""The terminal's side of the commands: progress and lines while they run, one report at the end.

Messages name arguments as Python does; here they are translated to the options of the command line.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from unblur.errors import UnblurError, UsageError

if TYPE_CHECKING:
    from unblur.run_report import Job, Outcome, RunReport
    from unblur.table import Table

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


OK, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done, an input failed, a command that makes no sense, stopped by the user."""


class Console:
    """Prints what happens: results on stdout, progress and errors on stderr.

    Parameters
    ----------
    as_json : bool
        Print nothing on stdout but one report at the end.
    debug : bool
        Print tracebacks below errors.
    spelling : Spelling, optional
        Of the arguments that messages name.
    """

    def __init__(self, as_json: bool = False, debug: bool = False, spelling: Spelling | None = None) -> None:
        self.as_json, self.debug = as_json, debug
        self.spelling = spelling or Spelling({})
        self._progress: Any = None
        self._task: Any = None
        self._title = ""

    @contextmanager
    def running(self, as_json: bool) -> Iterator[Console]:
        """Run a command; whatever happens, the progress bar is gone at the end."""
        self.as_json = as_json
        try:
            yield self
        finally:
            self.stop()

    def begin(self, job: Job, number: int, total: int) -> None:
        """Say which file is at hand."""
        self._title = f"{job.source.name} " if total == 1 else f"{number} of {total}, {job.source.name} "
        self.progress("reading", 0, 1)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Move the bar; shown only on a terminal."""
        if self._progress is None:
            if not sys.stderr.isatty():
                return
            self._progress = _bar()
            self._progress.start()
            self._task = self._progress.add_task("")
        self._progress.update(self._task, description=self._title + stage, completed=done, total=total)

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def done(self, outcome: Outcome) -> None:
        """Print a file that was written, and what speaks against it."""
        self.stop()
        if not self.as_json:
            typer.echo(f"{outcome.job.source} -> {outcome.job.output}  ({self.spelling.text(outcome.message)})")
            for line in outcome.notes:
                typer.echo(f"  {self.spelling.text(line)}")
        if outcome.details.get("warning"):
            warning = self.spelling.text(str(outcome.details["warning"]))
            typer.echo(f"unblur: {outcome.job.source}: {warning}", err=True)

    def failed(self, error: UnblurError, cause: BaseException | None = None) -> None:
        """Print an error in one line, and its traceback for those who want it."""
        self.stop()
        if self.debug and cause is not None:
            traceback.print_exception(cause, file=sys.stderr)
        typer.echo(f"unblur: {self.spelling.error(error)}", err=True)

    def close(self, report: RunReport) -> int:
        """Print the tables of a report and one line, or all of it for machines; return the exit code."""
        self.stop()
        if self.as_json:
            spelled = self.spelling.all(report.as_dict())
            if "errors" in spelled:
                spelled["errors"] = [self.entry(error) for error in report.errors]
            print_json(spelled)
            return report.exit_code
        if tables := report.tables():
            self._print_tables(tables, report.title)
        typer.echo(self.spelling.text(report.summary()))
        return report.exit_code

    def _print_tables(self, tables: list[Table], title: str) -> None:
        """Draw them on a terminal; Markdown elsewhere."""
        if sys.stdout.isatty():
            from rich.console import Console as Screen

            Screen().print(tables[0]._replace(title=tables[0].title or title), *tables[1:])
        else:
            typer.echo(self.spelling.text("\n".join(table.markdown() for table in tables)))

    def entry(self, error: UnblurError) -> dict[str, str]:
        """An error, for a machine-readable report."""
        spelled = self.spelling.error(error)
        return {"input": spelled.subject, "problem": spelled.problem, "remedy": spelled.remedy}


def print_json(report: dict[str, object]) -> None:
    """One report on stdout."""
    typer.echo(json.dumps(report, indent=2, default=str))


def _bar() -> Any:
    from rich.console import Console as Screen
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = Screen(stderr=True)
    return Progress(*columns, console=screen, transient=True, redirect_stdout=False, redirect_stderr=False)
