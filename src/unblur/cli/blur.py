"""Blur for sharp pictures: `unblur reblur`, `augment`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from unblur.cli.options import Device, Json, MaxPixels, Skip

app = typer.Typer()


@app.command(epilog="Example: unblur reblur other.jpg --like sharp.png blurry.png -o moved.jpg")
def reblur(
    context: typer.Context,
    photos: Annotated[list[str] | None, typer.Argument(metavar="SHARP", help="Pictures, folders or globs.")] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", metavar="FILE|FOLDER", help="Beside each picture, as NAME.reblurred.EXT, if left out."
        ),
    ] = None,
    like: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="SHARP BLURRY", help="Read the blur from a sharp picture and the same one blurry."),
    ] = None,
    code: Annotated[str | None, typer.Option(metavar="FILE", help="Take a blur that --save-code kept.")] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Draw N random blurs for each picture; see --seed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Makes random blurs repeatable.")] = 0,
    save_code: Annotated[str | None, typer.Option(metavar="FILE", help="Keep the blur's code.")] = None,
    psf_grid: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw the blur's kernels: what it does to points of light.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME|FILE", help="A blur space; blur-space-small if left out.")
    ] = None,
    device: Device = "auto",
    max_pixels: MaxPixels = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    skip_existing: Skip = False,
    as_json: Json = False,
) -> int:
    """Blur sharp pictures as another photo was blurred, or at random."""
    from unblur.tasks import batch_reblur as task
    from unblur.tasks.batch import Options

    with context.obj.running(as_json) as console:
        options = Options(model, device, max_pixels=max_pixels, skip_existing=skip_existing)
        origin = task.Origin(like, code, sample, seed, save_code, psf_grid)
        return console.close(task.reblur_files(photos or [], out, origin, options, console, quality=quality))


@app.command(epilog="Example: unblur augment GOPRO_Large/ photos/ -o more/ -n 5000")
def augment(
    context: typer.Context,
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[PAIRS] SHARP",
            help="Pairs to take blur from (a folder, an LMDB, a metadata.json, or SHARP,BLURRY), and sharp pictures.",
        ),
    ],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FOLDER|OUT.lmdb", help="For the pairs; goes on there.")],
    n: Annotated[int, typer.Option("-n", help="Pairs in all.")] = 1000,
    sample: Annotated[bool, typer.Option("--sample", help="Draw random blurs; then only SHARP is named.")] = False,
    size: Annotated[int, typer.Option(help="Side of the crops in pixels; 0 for whole pictures.")] = 256,
    seed: Annotated[int, typer.Option(help="Of what is chosen.")] = 0,
    split: Annotated[
        Literal["train", "val", "test", "all"], typer.Option(help="Of data sets with pictures kept for validation.")
    ] = "train",
    workers: Annotated[
        int | None, typer.Option(help="Pictures at a time; all cores if left out. The result is the same.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only draw the first few, into OUT.preview.png.")] = False,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME|FILE", help="A blur space.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Put the blur of pairs of pictures on sharp ones, by the thousand: data to train on."""
    if len(places) != (1 if sample else 2):
        wanted = "one place with --sample: SHARP" if sample else "two places: PAIRS SHARP, or one with --sample"
        raise typer.BadParameter(f"name {wanted}")
    from unblur.datasets import augment as task

    options = task.AugmentOptions(n, size, seed, split, workers)
    sources = None if sample else places[0]
    with context.obj.running(as_json) as console:
        report = task.augment_files(
            sources, places[-1], out, options, console, model=model, device=device, preview=preview
        )
        return console.close(report)
