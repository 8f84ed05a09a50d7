"""`unblur models`: what is here, and what can be made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unblur._version import __version__
from unblur.cli.console import OK, print_json
from unblur.cli.options import Json

app = typer.Typer(help="The models that are here: list, show, convert, export.", no_args_is_help=True)


@app.command("list", epilog="Example: unblur models list")
def models_list(as_json: Json = False) -> int:
    """List the models that came with the package."""
    from unblur.models.catalogue import list_models

    entries = list_models()
    if as_json:
        print_json({"command": "models list", "unblur": __version__, "models": [entry.as_dict() for entry in entries]})
        return OK
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        typer.echo(f"{entry.name:<{width}}  {entry}")
    typer.echo(f"{len(entries)} came with the package; a .safetensors file of your own is named by its path")
    return OK


@app.command("show", epilog="Example: unblur models show best")
def models_show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A model.")], as_json: Json = False
) -> int:
    """Tell what is known of a model: what it was trained on, how well it does, its licence."""
    from unblur.models.catalogue import show_model

    entry = show_model(name)
    if as_json:
        print_json({"command": "models show", "unblur": __version__, "model": entry.as_dict()})
        return OK
    details = entry.details()
    width = max(map(len, details))
    for key, value in details.items():
        typer.echo(f"{key:<{width}}  {value}")
    return OK


@app.command("convert", epilog="Example: unblur models convert MIMO-UNet.pth mimo.safetensors")
def models_convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Weights as their authors released them: .pth, .pkl, MAXIM's .tgz.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .safetensors file.")],
    network: Annotated[str | None, typer.Option(metavar="NAME", help="Found from the weights if left out.")] = None,
    as_json: Json = False,
) -> int:
    """Turn released weights into a model file of ours."""
    from unblur.models.catalogue import show_model
    from unblur.models.convert.released import convert

    entry = show_model(convert(source, network, out=out))
    if as_json:
        report = {"command": "models convert", "unblur": __version__, "input": str(source), "output": str(out)}
        print_json({**report, "model": entry.as_dict()})
    else:
        typer.echo(f"{source} -> {out}  ({entry})")
    return OK


@app.command("export", epilog="Example: unblur models export best -o maxim.onnx")
def models_export(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A model.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE.onnx", help="The file to write.")],
    part: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="restorer, film, score, encoder or decoder, as the model has; its first if left out."
        ),
    ] = None,
    opset: Annotated[int, typer.Option(min=18, help="Of ONNX's operators.")] = 18,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there; it is left alone otherwise.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Write a model as an ONNX file, for programs without Python, and check that it answers as torch does."""
    from unblur.models.export_onnx import export_model

    with context.obj.running(as_json) as console:
        done = export_model(model, out, part, opset=opset, overwrite=overwrite, progress=console.progress)
    if as_json:
        report = {"command": "models export", "unblur": __version__, "input": model, "output": str(out)}
        print_json({**report, "export": done.as_dict()})
        return OK
    typer.echo(f"{model} -> {out}  ({done})")
    for line in done.lines():
        typer.echo(f"  {line}")
    return OK
