"""The `unblur` command: it parses, calls a task, and prints what was written where.

Nothing heavy is imported before a command runs, so that help comes at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from unblur._version import __version__
from unblur.cli import blur, data, evaluate, models, order, photos, train
from unblur.cli.console import FAILED, INTERRUPTED, OK, WRONG_USAGE, Console, Spelling, print_json
from unblur.errors import UnblurError, UsageError

DEBUG = "UNBLUR_DEBUG"

app = typer.Typer(
    name="unblur",
    help="Undo motion blur, and see what happened while the shutter was open.",
    epilog="Try: unblur deblur photo.jpg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (photos, blur, evaluate, train):
    app.add_typer(part.app)
for name, group in (("models", models), ("order", order), ("data", data)):
    app.add_typer(group.app, name=name)


@app.callback(invoke_without_command=False)
def _unblur(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=lambda on: on and _version())] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere. Or UNBLUR_DEBUG=1.")
    ] = False,
) -> None:
    pass


def _version() -> NoReturn:
    typer.echo(f"unblur {__version__}")
    raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 1 if an input failed, 2 for wrong usage, 130 if interrupted.

    Whatever goes wrong is told in one line on stderr; the traceback comes only with ``--debug`` or UNBLUR_DEBUG=1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get(DEBUG, "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    command = typer.main.get_command(app)
    console = Console(as_json="--json" in arguments, debug=debug, spelling=Spelling.of(command, arguments))
    _prepare(debug)
    try:
        code = command.main(arguments, prog_name="unblur", standalone_mode=False, obj=console)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except UnblurError as error:
        return _fail(console, arguments, error, error)
    except Exception as cause:
        if hasattr(cause, "format_message"):
            return _misused(cause)
        from unblur.run_report import unexpected

        return _fail(console, arguments, unexpected(" ".join(["unblur", *arguments[:1]]), cause), cause)
    if code == INTERRUPTED:
        typer.echo("unblur: interrupted; files that were finished are kept", err=True)
    return int(code or OK)


def _prepare(debug: bool) -> None:
    """File names may hold what the terminal cannot show; libraries' warnings are not for users."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not debug:
        warnings.simplefilter("ignore")


def _fail(console: Console, arguments: list[str], error: UnblurError, cause: BaseException) -> int:
    """A command that could not begin; an option that cannot be met is wrong usage."""
    console.failed(error, cause)
    if console.as_json:
        entry = console.entry(error)
        print_json({"command": arguments[0], "unblur": __version__, "ok": False, "results": [], "errors": [entry]})
    return WRONG_USAGE if isinstance(error, UsageError) else FAILED


def _misused(cause: Exception) -> int:
    """One line for what the parser of the command line refused; the help where nothing at all was said."""
    if type(cause).__name__ == "NoArgsIsHelpError":
        typer.echo(cause.format_message(), err=True)  # type: ignore[attr-defined]
        return WRONG_USAGE
    context = getattr(cause, "ctx", None)
    path = context.command_path if context is not None else "unblur"
    said = " ".join(cause.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    typer.echo(f"unblur: {said}; see `{path} --help`", err=True)
    return WRONG_USAGE
