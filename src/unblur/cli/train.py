"""`unblur train`: a model, from a recipe."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()

# What a command passes on untouched.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=PASS_ON, epilog="Example: unblur train recipes/film.yaml --max-minutes 60")
def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml", help="Then any fields of it: --KEY VALUE.")],
) -> int:
    """Train what a recipe says."""
    from unblur.training import build as training

    return training.main([recipe, *context.args])
