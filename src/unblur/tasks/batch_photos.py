"""`unblur deblur` and `unblur inspect` on files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unblur.media.folder import IMAGE_SUFFIXES
from unblur.run_report import Job, Listener, Outcome, RunReport
from unblur.tasks.batch import (
    PATHS,
    SHARP,
    Options,
    facts_of,
    find,
    jobs_of,
    made_with,
    run_jobs,
    size_of,
    tile_of,
)
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
) -> RunReport:
    """Sharpen files, folders and globs.

    Parameters
    ----------
    inputs : sequence of str
        Pictures, folders, globs.
    out : str, optional
        A file for one picture, a folder for several; beside each picture as NAME.sharp.EXT if left out.
    search : SearchPlan, optional
        Go on from the model's answer by search, as this says.

    Raises
    ------
    UnblurError
        An option cannot be met. What concerns one file is in the report, and told to `listener`.
    """

    def beside(source: Path) -> Path:
        suffix = source.suffix if source.suffix.lower() in IMAGE_SUFFIXES else ".png"
        return source.with_name(source.stem + SHARP + suffix)

    def work(job: Job) -> Outcome:
        more: dict[str, Any] = {"data_consistency": options.data_consistency, "check": options.check}
        more |= {"max_pixels": options.max_pixels, "progress": listener.progress}
        result: Deblurred | Searched
        lines: tuple[str, ...] = ()
        if search is None:
            result = deblur(job.source, pipeline, faces=faces, **more)
            said, facts = facts_of(result.picture, result.tile, result.residual)
            if result.faces is not None:
                said, facts["faces"], lines = f"{said}; {result.faces}", result.faces.as_dict(), result.faces.lines()
        else:
            result = deblur_by_search(job.source, search, pipeline, **more)
            said, facts = f"{result.picture.width}x{result.picture.height}, {result}", size_of(result.picture)
            facts |= result.as_dict()
        result.save(job.output, quality=quality)
        return Outcome(job, said, facts | {"warning": result.warning}, lines)

    report = RunReport("deblur", "sharpened")
    found, several = find(inputs, out, IMAGE_SUFFIXES, report)
    jobs = jobs_of(found, several, inputs, out, beside, report)
    search = None if search is None else search.ready(options.device)
    if jobs:
        faces = options.load_faces(jobs)
        pipeline = options.load(jobs)
        report.about = {"method": "network", "model": pipeline.as_dict()}
        report.by = made_with(pipeline)
        if faces is not None:
            report.about["face_model"] = faces.pipeline.as_dict()
        if search is not None:
            report.about |= {"method": "search", "search": search.as_dict()}
            report.by += f", searched in {search.name}"
    return run_jobs(jobs, work, report, options, listener)


def inspect_files(inputs: Sequence[str], out: str | None, options: Options, listener: Listener) -> RunReport:
    """Tell what blur files, folders and globs have, and draw the paths.

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
        An option cannot be met. What concerns one file is in the report, and told to `listener`.
    """

    def work(job: Job) -> Outcome:
        seen = inspect(job.source, pipeline, max_pixels=options.max_pixels, progress=listener.progress)
        seen.save(job.output)
        height, width = seen.picture.height, seen.picture.width
        facts = {"width": width, "height": height, "tile": tile_of(seen.picture, seen.tile), **seen.as_dict()}
        return Outcome(job, f"{width}x{height}, {seen}", facts)

    report = RunReport("inspect", "inspected")
    found, several = find(inputs, out, IMAGE_SUFFIXES, report)
    beside = lambda source: source.with_name(f"{source.stem}{PATHS}.png")  # noqa: E731
    jobs = jobs_of(found, several, inputs, out, beside, report, ".png")
    if jobs:
        pipeline = options.load(jobs)
        pipeline.check_paths()
        report.about = {"model": pipeline.as_dict()}
        report.by = made_with(pipeline)
    return run_jobs(jobs, work, report, options, listener)
