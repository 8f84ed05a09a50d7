"""`unblur train`: a model, from a recipe."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from unblur._version import __version__
from unblur.cli.console import OK, print_json
from unblur.cli.options import Json
from unblur.errors import UnblurError, UsageError, require

app = typer.Typer()

# Fields of the recipe are options that only the recipe knows, `--help` among them.
ANY_FIELD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
PACKAGES = ("lightning", "jsonargparse", "yaml")


@app.command(
    context_settings=ANY_FIELD,
    epilog="Example: unblur train recipes/film-small.yaml --max-minutes 60 --trainer.max-steps 5000",
)
def train(
    context: typer.Context,
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE.yaml", help="Then any of its fields: --FIELD VALUE.")
    ] = None,
    as_json: Json = False,
    show_help: Annotated[
        bool, typer.Option("--help", "-h", help="Show this message; after a recipe, all its fields.", is_eager=True)
    ] = False,
) -> int:
    """Train what a recipe says; an interrupted run goes on exactly with --resume auto."""
    if recipe is None:
        typer.echo(context.get_help(), err=not show_help)
        if show_help:
            return OK
        raise typer.BadParameter("name a recipe, such as recipes/film-small.yaml")
    for package in PACKAGES:
        require(package, "train")
    from unblur.training import build
    from unblur.training import recipe as recipes

    overrides = [underscored(word) for word in context.args]
    if show_help:
        typer.echo(recipes.fields_help(recipe, overrides))
        return OK
    with context.obj.running(as_json) as console:
        _quiet(sys.stderr if as_json else sys.stdout)
        try:
            wanted = recipes.read_recipe(recipe, overrides)
        except UnblurError as error:
            raise UsageError(error.subject, None, error.problem, error.remedy) from error
        begun = time.perf_counter()
        trained = build.train(wanted)
        report = {
            "command": "train",
            "unblur": __version__,
            "ok": True,
            "seconds": round(time.perf_counter() - begun, 3),
            "name": wanted.name,
            "steps": trained.steps,
            "folder": str(trained.folder),
            "weights": [str(path) for path in trained.weights],
            "score": trained.score,
        }
        console.stop()
    if as_json:
        print_json(report)
    else:
        for path in trained.weights:
            typer.echo(f"{recipe} -> {path}")
        typer.echo(f"trained {wanted.name} to step {trained.steps} in {report['seconds']:.1f} s")
    return OK


def underscored(word: str) -> str:
    """A field as recipes spell it: ``--trainer.max-steps=3`` becomes ``--trainer.max_steps=3``."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def _quiet(stream: Any) -> None:
    """Only the lines of the training, and real warnings, reach the terminal."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=stream)
    logging.getLogger("unblur").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
