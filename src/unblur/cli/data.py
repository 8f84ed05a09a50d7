"""`unblur data`: training data out of photos and clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from unblur.cli.options import Device, Dtype, Json, Model, ResponseName, SplitName

app = typer.Typer(help="Make training data from your own photos and clips.", no_args_is_help=True)


@app.command("blur", epilog="Example: unblur data blur photos/ clips/ -o data/ --count 1000")
def data_blur(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(metavar="PHOTO|CLIP", help="Pictures, clips, folders or globs.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FOLDER", help="For blurry/, sharp/ and metadata.json.")],
    count: Annotated[int, typer.Option(help="Exposures in all.")] = 100,
    size: Annotated[int, typer.Option(help="Their height and width in pixels.")] = 256,
    frames: Annotated[int, typer.Option(help="Sharp frames of each, at i / (N - 1) of the exposure.")] = 7,
    average: Annotated[int | None, typer.Option(help="Clips: frames to average; about 13 if left out.")] = None,
    response: Annotated[
        ResponseName, typer.Option(help="Camera response; linear averages the stored values.")
    ] = "srgb",
    length: Annotated[str, typer.Option(metavar="LOW,HIGH", help="Photos: pixels of motion.")] = "3,28",
    layer: Annotated[float, typer.Option(help="Photos: share with something moving in front.")] = 0.5,
    max_step: Annotated[float, typer.Option(help="Clips: most motion from frame to frame, pixels.")] = 1.5,
    seed: Annotated[int, typer.Option(help="Of the random paths.")] = 0,
    split: Annotated[SplitName, typer.Option(help="Of all exposures.")] = "train",
    as_json: Json = False,
) -> int:
    """Make blurry and sharp pictures from photos and clips, and list them in a metadata.json."""
    from unblur.datasets import blur as task

    options = task.BlurOptions(
        count=count,
        size=size,
        frames=frames,
        average=average,
        response=response,
        seed=seed,
        length=_range(length),
        layer=layer,
        max_step=max_step,
        split=split,
    )
    with context.obj.running(as_json) as console:
        return console.close(task.blur_data(sources, out, options, console))


@app.command("lmdb", epilog="Example: unblur data lmdb GOPRO_Large/ -o gopro.lmdb")
def data_lmdb(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="With pictures, at any depth, of any sizes.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.lmdb", help="Goes on where it was interrupted.")],
    as_json: Json = False,
) -> int:
    """Put the pictures of a folder into one LMDB, as they are: faster to read on slow disks."""
    from unblur.datasets.lmdb import store_pictures

    with context.obj.running(as_json) as console:
        return console.close(store_pictures(source, out, console))


@app.command("metadata", epilog="Example: unblur data metadata RB2V-Street/ -o metadata.json")
def data_metadata(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="ROOT", help="A data set's folder, a manifest.jsonl, or a metadata.json.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="ROOT/metadata.json if left out; .jsonl exports a manifest."),
    ] = None,
    layout: Annotated[
        Literal["auto", "rb2v", "baist", "reds"], typer.Option(help="How the folder is laid out.")
    ] = "auto",
    split: Annotated[SplitName, typer.Option(help="Of clips in no folder of such a name.")] = "train",
    name: Annotated[str | None, typer.Option(help="Of the data set; its folder's if left out.")] = None,
    group: Annotated[int, typer.Option(help="reds: consecutive frames that are averaged.")] = 7,
    response: Annotated[ResponseName, typer.Option(help="reds: camera response.")] = "srgb",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that says something else; it is left alone otherwise.")
    ] = False,
    as_json: Json = False,
) -> int:
    """List exposures and their frames in a metadata.json, as HyperCUT has it."""
    from unblur.datasets import metadata as task

    options = task.MetadataOptions(layout, split, name, group, response)
    with context.obj.running(as_json) as console:
        return console.close(task.make_metadata(source, out, options, console, overwrite=overwrite))


@app.command("fmr", epilog="Example: unblur data fmr 300VW/ -o faces/")
def data_fmr(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="300VW as downloaded, clips, folders of clips or of pictures.")
    ],
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FOLDER", help="For frames-07/ and so on; goes on there.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure what sorting does; write nothing.")] = False,
    frames: Annotated[str, typer.Option(metavar="N,N,...", help="Frames of a window.")] = "5,7,9,11,13",
    every: Annotated[int, typer.Option(help="A window of each length begins every so many frames.")] = 5,
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 256,
    margin: Annotated[float, typer.Option(help="On each side of the face, in sides of its box.")] = 0.5,
    box: Annotated[Literal["union", "mean"], typer.Option(help="Of the boxes in a window; released: mean.")] = "union",
    sharpness: Annotated[float, typer.Option(help="Least variance of the Laplacian of every frame.")] = 100.0,
    sort: Annotated[Literal["fmr", "time"], typer.Option(help="By the place of the left eye, or not at all.")] = "fmr",
    response: Annotated[ResponseName, typer.Option(help="Camera response; released: linear.")] = "srgb",
    max_step: Annotated[float | None, typer.Option(help="Most pixels that the eye moves from frame to frame.")] = None,
    min_length: Annotated[float, typer.Option(help="Least pixels that the eye moves in a window.")] = 0.0,
    landmarks: Annotated[
        str | None, typer.Option(metavar="FILE|FOLDER", help="Where faces are; what is found is kept there.")
    ] = None,
    split: Annotated[SplitName, typer.Option(help="Of clips in no folder of such a name.")] = "train",
    as_json: Json = False,
) -> int:
    """Cut faces out of clips as blurry pictures and their frames, sorted by the place of the left eye."""
    if out is None and not dry_run:
        raise typer.BadParameter("name a folder with -o, or ask for --dry-run alone")
    try:
        counts = tuple(int(count) for count in frames.split(","))
    except ValueError:
        raise typer.BadParameter(f"{frames}: not numbers; use for instance 5,7,9", param_hint="--frames") from None
    from unblur.datasets import fmr as task

    rules = (counts, every, size, margin, box, sharpness, sort, response, max_step, min_length, split)
    with context.obj.running(as_json) as console:
        options = task.FmrOptions(*rules)
        return console.close(task.fmr_data(sources, None if dry_run else out, options, console, landmarks=landmarks))


@app.command("precompute", epilog="Example: unblur data precompute faces/ --model best")
def data_precompute(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="A metadata.json, or folders with some, as data fmr makes them."),
    ],
    model: Model = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="So many exposures of each file.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> int:
    """Keep the films of a model as initial estimates, which a refiner learns to improve."""
    from unblur.datasets import precompute as task

    with context.obj.running(as_json) as console:
        return console.close(task.precompute(list(sources), model, device, dtype, console, limit=limit))


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text}: not a range; use for instance 3,28") from None
    return low, high
