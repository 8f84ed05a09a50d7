"""`unblur order`: which way time runs in clips."""

from __future__ import annotations

from typing import Annotated

import typer

from unblur.cli.options import Device, Json, Root, Split

app = typer.Typer(help="Which way time runs in clips: score, label, eval.", no_args_is_help=True)

Clips = Annotated[list[str], typer.Argument(metavar="METADATA.json|CLIP|FOLDER", help="Of exposures; or clips, globs.")]
OrderModel = Annotated[
    str | None, typer.Option("--model", metavar="NAME|FILE", help="An order network; order-small if left out.")
]
Side = Annotated[int, typer.Option(help="Larger frames are scored with so many pixels a side; 0 for as they are.")]


@app.command(
    "eval",
    help="Measure how far the pairs of clips agree: hit, con@2, con@3; name the clips where they do not.",
    epilog="Example: unblur order eval metadata.json --split test",
)
@app.command(
    "score",
    help="Score clips: which way time runs, and how sure that is.",
    epilog="Example: unblur order score clip.mp4",
)
def order_measure(
    context: typer.Context,
    clips: Clips,
    model: OrderModel = None,
    side: Side = 128,
    split: Split = None,
    root: Root = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """`order score` and `order eval`."""
    from unblur.tasks import order_files as task

    measure = task.eval_files if context.info_name == "eval" else task.score_files
    options = task.OrderOptions(model, device, side, split, root)
    with context.obj.running(as_json) as console:
        return console.close(measure(clips, options, console))


@app.command("label", epilog="Example: unblur order label metadata.json -o ordered.json")
def order_label(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="METADATA.json|FOLDER", help="Of exposures.")],
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help="NAME.ordered.json beside it if left out.")
    ] = None,
    model: OrderModel = None,
    side: Side = 128,
    split: Split = None,
    root: Root = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Write new metadata in which every clip says which way it runs."""
    from unblur.tasks import order_files as task

    options = task.OrderOptions(model, device, side, split, root)
    with context.obj.running(as_json) as console:
        return console.close(task.label_files(source, out, options, console))
