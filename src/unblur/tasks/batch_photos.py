"""`unblur deblur` and `unblur inspect` on files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from unblur.media.folder import IMAGE_SUFFIXES
from unblur.models.registry import DENOISER
from unblur.run_report import Job, Listener, Outcome, RunReport
from unblur.tasks.batch import (
    PATHS,
    SHARP,
    Options,
    describe,
    find,
    jobs_of,
    model_note,
    picture_beside,
    run_jobs,
    size_of,
    tile_of,
)
from unblur.tasks.camera_shake import Unshaken, deblur_camera_shake, load_denoiser
from unblur.tasks.deblur import Deblurred, deblur
from unblur.tasks.inspect import inspect
from unblur.tasks.search import Searched, SearchPlan, deblur_by_search


def deblur_files(
    inputs: Sequence[str],
    out: str | None,
    options: Options,
    listener: Listener,
    *,
    quality: int = 95,
    search: SearchPlan | None = None,
    shake: bool = False,
) -> RunReport:
    """Sharpen files, folders and globs.

    Parameters
    ----------
    inputs : sequence of str
        Pictures, folders, globs.
    out : str, optional
        A file for one picture, a folder for several; beside each picture as NAME.sharp.EXT if left out.
    quality : int
        Of JPEG and WebP, 1 to 100.
    search : SearchPlan, optional
        Search on from the model's answer.
    shake : bool
        Undo a shake of the camera, without a model's answer; see `unblur.tasks.camera_shake`.

    Raises
    ------
    UnblurError
        An option cannot be met. Errors of single files are in the report, and passed to `listener`.
    """

    def work(job: Job) -> Outcome:
        common: dict[str, Any] = {"data_consistency": options.data_consistency, "check": options.check}
        common |= {"progress": listener.progress}
        result: Deblurred | Searched | Unshaken
        notes: tuple[str, ...] = ()
        picture = files[job.source].read()
        if search is None and not shake:
            result = deblur(picture, pipeline, faces=faces, **common)
            message, details = describe(result.picture, result.tile, result.residual)
            if result.faces is not None:
                message += f"; {result.faces}"
                details["faces"], notes = result.faces.as_dict(), result.faces.lines()
        else:
            result = (
                deblur_camera_shake(picture, tile=options.tile, denoiser=denoiser, progress=listener.progress)
                if shake
                else deblur_by_search(picture, search, pipeline, **common)
            )
            message = f"{result.picture.width}x{result.picture.height}, {result}"
            details = size_of(result.picture) | result.as_dict()
        result.save(job.output, quality=quality)
        return Outcome(job, message, details | {"warning": result.warning}, notes)

    report = RunReport("deblur", "sharpened")
    found, several = find(inputs, out, IMAGE_SUFFIXES, report)
    jobs = jobs_of(found, several, inputs, out, partial(picture_beside, SHARP), report)
    search = None if search is None else search.ready(options.device)
    files = options.files(jobs)
    if jobs and shake:
        denoiser = load_denoiser(options.device, options.dtype)
        report.metadata = {"method": "shake", "model": {"name": DENOISER}}
        report.suffix = "as a shake of the camera"
    elif jobs:
        faces = options.load_faces(jobs)
        pipeline = options.load(files.values())
        report.metadata = {"method": "network", "model": pipeline.as_dict()}
        report.suffix = model_note(pipeline)
        if faces is not None:
            report.metadata["face_model"] = faces.pipeline.as_dict()
        if search is not None:
            report.metadata |= {"method": "search", "search": search.as_dict()}
            report.suffix += f", searched in {search.name}"
    return run_jobs(jobs, work, report, options, listener)


def inspect_files(inputs: Sequence[str], out: str | None, options: Options, listener: Listener) -> RunReport:
    """Tell the kind of blur of files, folders and globs, and draw the paths.

    Parameters
    ----------
    inputs : sequence of str
        Pictures, folders, globs.
    out : str, optional
        For the drawings: a file for one picture, a folder for several; beside each picture as NAME.paths.png if left
        out.

    Raises
    ------
    UnblurError
        An option cannot be met. Errors of single files are in the report, and passed to `listener`.
    """

    def work(job: Job) -> Outcome:
        inspected = inspect(files[job.source].read(), pipeline, progress=listener.progress)
        inspected.save(job.output)
        picture = inspected.picture
        details: dict[str, object] = {"width": picture.width, "height": picture.height}
        details |= {"tile": tile_of(picture, inspected.tile), **inspected.as_dict()}
        return Outcome(job, f"{picture.width}x{picture.height}, {inspected}", details)

    report = RunReport("inspect", "inspected")
    found, several = find(inputs, out, IMAGE_SUFFIXES, report)
    beside = lambda source: source.with_name(f"{source.stem}{PATHS}.png")  # noqa: E731
    jobs = jobs_of(found, several, inputs, out, beside, report, ".png")
    files = options.files(jobs)
    if jobs:
        pipeline = options.load(files.values())
        pipeline.check_paths()
        report.metadata = {"model": pipeline.as_dict()}
        report.suffix = model_note(pipeline)
    return run_jobs(jobs, work, report, options, listener)
