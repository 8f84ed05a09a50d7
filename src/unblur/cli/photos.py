"""Blurry photos: `unblur deblur`, `frames`, `inspect`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from unblur.cli.options import (
    Check,
    Consistency,
    Device,
    Dtype,
    FaceBox,
    FaceModel,
    FindFaces,
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
    consistency: Consistency = None,
    method: Annotated[
        str, typer.Option(metavar="network|search", help="A model alone, or a search that goes on from its answer.")
    ] = "network",
    space: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="Search: a blur space.")] = None,
    preset: Annotated[
        str, typer.Option(metavar="default|released", help="Search: ours, or that of Blur Kernel Space.")
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
    find_faces: FindFaces = False,
    face_model: FaceModel = None,
    face_box: FaceBox = None,
    as_json: Json = False,
) -> int:
    """Make blurry photos sharp."""
    if method not in ("network", "search"):
        raise typer.BadParameter(f"{method!r} is not one of network, search", param_hint="--method")
    from unblur.tasks import batch_photos as task
    from unblur.tasks.batch_jobs import Options

    plan = None
    if method == "search":
        from unblur.tasks.search import SearchPlan

        plan = SearchPlan.of(
            settings or [], space=space, preset=preset, steps=steps, seconds=seconds, seed=seed, start=start
        )
    elif preset != "default" or seed or settings or any(x is not None for x in (space, seconds, steps, start)):
        raise typer.BadParameter("is for --method search", param_hint="a setting of the search")
    faces = _faces(find_faces, face_model, face_box)
    if faces is not None and plan is not None:
        raise typer.BadParameter("is for --method network", param_hint="--faces")
    with context.obj.running(as_json) as console:
        options = Options(model, device, dtype, tile, max_pixels, skip_existing, check, consistency, faces)
        return console.close(task.deblur_files(photos, out, options, console, quality=quality, search=plan))


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
        bool, typer.Option("--refine", help="Bend the paths until the film's mean is nearer to the photo.")
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="paths|cascade|recurrent",
            help="How the film is made: a sharp frame moved along paths, as the models do that are here; or with "
            "weights of --model FILE seven frames at once, or moved step by step.",
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
        str, typer.Option("--format", metavar="mp4|gif|webp|png", help="Of films that are named after their photos.")
    ] = "mp4",
    model: Model = None,
    tile: Tile = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    max_pixels: MaxPixels = None,
    skip_existing: Skip = False,
    check: Check = True,
    consistency: Consistency = None,
    find_faces: FindFaces = False,
    face_model: FaceModel = None,
    face_box: FaceBox = None,
    as_json: Json = False,
) -> int:
    """Show what happened while the shutter was open, as a film."""
    if kind not in ("mp4", "gif", "webp", "png"):
        raise typer.BadParameter(f"{kind!r} is not one of mp4, gif, webp, png", param_hint="--format")
    if method not in (None, "paths", "cascade", "recurrent"):
        raise typer.BadParameter(f"{method!r} is not one of paths, cascade, recurrent", param_hint="--method")
    chosen = _times(times)
    from unblur.tasks import batch_films as task
    from unblur.tasks.batch_jobs import Options

    faces = _faces(find_faces, face_model, face_box)
    with context.obj.running(as_json) as console:
        options = Options(model, device, dtype, tile, max_pixels, skip_existing, check, consistency, faces)
        film = task.FilmOptions(n, chosen, reverse, fps, kind, sharp, refine, method, burst, order)  # type: ignore[arg-type]
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
    from unblur.tasks.batch_jobs import Options

    with context.obj.running(as_json) as console:
        options = Options(model, device, dtype, tile, max_pixels, skip_existing)
        return console.close(task.inspect_files(photos, out, options, console))
