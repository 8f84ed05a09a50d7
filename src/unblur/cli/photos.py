"""Blurry photos: `unblur deblur`, `frames`, `inspect`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from unblur.cli.options import (
    Check,
    DataConsistency,
    Device,
    Dtype,
    FaceBoxes,
    FaceModel,
    Faces,
    Json,
    MaxPixels,
    Model,
    Photos,
    Skip,
    Tile,
)

app = typer.Typer()


@app.command(epilog="Example: unblur deblur holiday/ -o sharp/")
def deblur(
    context: typer.Context,
    photos: Photos,
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", metavar="FILE|FOLDER", help="Beside each photo, as NAME.sharp.EXT, if left out."),
    ] = None,
    model: Model = None,
    tile: Tile = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    max_pixels: MaxPixels = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    skip_existing: Skip = False,
    check: Check = True,
    data_consistency: DataConsistency = None,
    method: Annotated[
        Literal["network", "search", "shake"],
        typer.Option(
            help="A model alone; a search that goes on from its answer; or shake, for a camera that moved: "
            "one blur for the whole photo, read from it and undone."
        ),
    ] = "network",
    space: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="Search: a blur space.")] = None,
    preset: Annotated[
        Literal["default", "released"], typer.Option(help="Search: ours, or that of Blur Kernel Space.")
    ] = "default",
    seconds: Annotated[float | None, typer.Option(help="Search: most for each photo.")] = None,
    steps: Annotated[int | None, typer.Option(help="Search: most for each photo.")] = None,
    seed: Annotated[int, typer.Option(help="Search: of the deep priors.")] = 0,
    start: Annotated[
        str | None,
        typer.Option(metavar="network|identity|mean|FILE", help="Search: the code to begin with."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Search: a weight or setting; may be repeated."),
    ] = None,
    faces: Faces = False,
    face_model: FaceModel = None,
    boxes: FaceBoxes = None,
    as_json: Json = False,
) -> int:
    """Make blurry photos sharp."""
    from unblur.tasks import batch_photos as task
    from unblur.tasks.batch import Options

    plan = None
    if method == "search":
        from unblur.tasks.search import SearchPlan

        plan = SearchPlan.of(
            settings or [], space=space, preset=preset, steps=steps, seconds=seconds, seed=seed, start=start
        )
    elif preset != "default" or seed or settings or any(x is not None for x in (space, seconds, steps, start)):
        raise typer.BadParameter("is for --method search", param_hint="a setting of the search")
    chosen_faces = _faces(faces, face_model, boxes)
    if chosen_faces is not None and plan is not None:
        raise typer.BadParameter("is for --method network", param_hint="--faces")
    if method == "shake" and (chosen_faces is not None or model is not None or data_consistency is not None):
        raise typer.BadParameter("uses no model, no faces and no data consistency", param_hint="--method shake")
    with context.obj.running(as_json) as console:
        options = Options(model, device, dtype, tile, max_pixels, skip_existing, check, data_consistency, chosen_faces)
        return console.close(
            task.deblur_files(photos, out, options, console, quality=quality, search=plan, shake=method == "shake")
        )


@app.command(epilog="Example: unblur frames photo.jpg -n 51 -o moment.mp4")
def frames(
    context: typer.Context,
    photos: Photos,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE|FOLDER",
            help=".mp4, .gif, .webp, or a folder of PNGs; of several photos one film, or a folder of films. "
            "Beside each photo, as NAME.film.mp4, if left out.",
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="Number of frames; if left out 51, or as many as the model makes.")
    ] = None,
    times: Annotated[
        str | None, typer.Option(metavar="T,T,...", help="Times in place of -n: 0 shutter opens, 1 closes.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Run the film the other way.")] = False,
    sharp: Annotated[
        str | None, typer.Option(metavar="PICTURE", help="The middle frame, sharp, from any other program.")
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Refine the paths until the film's mean is nearer to the photo.")
    ] = False,
    method: Annotated[
        Literal["paths", "jin", "purohit"] | None,
        typer.Option(
            help="How the film is made: a sharp frame moved along paths, as the models do that are here; or, with "
            "weights of --model FILE, by the network of Jin et al. or of Purohit et al.",
        ),
    ] = None,
    burst: Annotated[
        bool | None,
        typer.Option(
            "--burst/--no-burst",
            help="One direction of time for all photos of one size, or each for itself; if left out, "
            "one for photos that are named, each for itself in folders.",
        ),
    ] = None,
    order: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="An order network that decides the direction of time.")
    ] = None,
    fps: Annotated[float, typer.Option(min=0.01, help="Frames per second.")] = 25.0,
    kind: Annotated[
        Literal["mp4", "gif", "webp", "png"],
        typer.Option("--format", help="Of films that are named after their photos."),
    ] = "mp4",
    model: Model = None,
    tile: Tile = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    max_pixels: MaxPixels = None,
    skip_existing: Skip = False,
    check: Check = True,
    data_consistency: DataConsistency = None,
    faces: Faces = False,
    face_model: FaceModel = None,
    boxes: FaceBoxes = None,
    as_json: Json = False,
) -> int:
    """Show what happened while the shutter was open, as a film."""
    chosen = _times(times)
    from unblur.tasks import batch_films as task
    from unblur.tasks.batch import Options

    chosen_faces = _faces(faces, face_model, boxes)
    with context.obj.running(as_json) as console:
        options = Options(model, device, dtype, tile, max_pixels, skip_existing, check, data_consistency, chosen_faces)
        film = task.FilmOptions(n, chosen, reverse, fps, kind, sharp, refine, method, burst, order)
        return console.close(task.frames_files(photos, out, options, console, film))


def _faces(find: bool, model: str | None, boxes: list[str] | None) -> Any:
    if not find and model is None and not boxes:
        return None
    from unblur.tasks.faces import FaceOptions

    return FaceOptions.of(find, model, boxes or [])


def _times(times: str | None) -> list[float] | None:
    if times is None:
        return None
    try:
        chosen = [float(time) for time in times.split(",")]
    except ValueError:
        chosen = [-1.0]
    if not all(0 <= time <= 1 for time in chosen):
        raise typer.BadParameter("use numbers from 0 to 1, as in 0,0.5,1", param_hint="--times")
    return chosen


@app.command(epilog="Example: unblur inspect photo.jpg")
def inspect(
    context: typer.Context,
    photos: Photos,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE|FOLDER",
            help="For the picture of the paths; beside each photo, as NAME.paths.png, if left out.",
        ),
    ] = None,
    model: Model = None,
    tile: Tile = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    max_pixels: MaxPixels = None,
    skip_existing: Skip = False,
    as_json: Json = False,
) -> int:
    """Tell what blur photos have: motion (how long, which way), out of focus, or none; draw the paths."""
    from unblur.tasks import batch_photos as task
    from unblur.tasks.batch import Options

    with context.obj.running(as_json) as console:
        options = Options(model, device, dtype, tile, max_pixels, skip_existing)
        return console.close(task.inspect_files(photos, out, options, console))
