"""The tasks on files: find them, name the outputs, do one after the other, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from unblur.errors import UnblurError
from unblur.media.folder import IMAGE_SUFFIXES, find_images, output_paths
from unblur.media.image import Picture
from unblur.tasks.batch import Job, Outcome, Report, plan, run
from unblur.tasks.check import check_has_paths
from unblur.tasks.choice import sizes_of
from unblur.tasks.deblur import Deblurred, deblur
from unblur.tasks.engine import Engine, load
from unblur.tasks.faces import FaceOptions, Faces
from unblur.tasks.inspect import inspect
from unblur.tasks.report import Residual
from unblur.tasks.search import Searched, SearchPlan, deblur_by_search

SHARP, PATHS, REBLURRED = ".sharp", ".paths", ".reblurred"
OURS = (SHARP, PATHS, REBLURRED)


class Listener(Protocol):
    """Who is told what happens."""

    def begin(self, job: Job, number: int, total: int) -> None:
        """A file is begun."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Steps of the file at hand."""

    def done(self, outcome: Outcome) -> None:
        """A file was written."""

    def failed(self, error: UnblurError, cause: BaseException | None = None) -> None:
        """A file failed."""


class Silent:
    """A listener that tells nobody."""

    def begin(self, job: Job, number: int, total: int) -> None: ...
    def progress(self, stage: str, done: int, total: int) -> None: ...
    def done(self, outcome: Outcome) -> None: ...
    def failed(self, error: UnblurError, cause: BaseException | None = None) -> None: ...


@dataclass(frozen=True)
class Options:
    """What the tasks on files share; see `unblur.load`."""

    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    tile: int | str = "auto"
    max_pixels: int | None = None
    skip_existing: bool = False
    check: bool = True
    consistency: int | None = None
    faces: FaceOptions | None = None

    def load(self, jobs: Sequence[Job]) -> Engine:
        """The model, ready to run; where none is named, one for all that is to be done."""
        due = [job.source for job in jobs if not (self.skip_existing and job.output.exists())]
        return load(self.model, self.device, self.dtype, self.tile, sizes=sizes_of(due))

    def load_faces(self, jobs: Sequence[Job]) -> Faces | None:
        """The model of faces, if faces are to be restored by themselves."""
        return None if self.faces is None else self.faces.load(self.device, self.dtype, self.tile, len(jobs))


def deblur_files(
    inputs: Sequence[str],
    out: str | None,
    options: Options,
    listener: Listener,
    *,
    quality: int = 95,
    search: SearchPlan | None = None,
) -> Report:
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
        more: dict[str, Any] = {"consistency": options.consistency, "check": options.check}
        more |= {"max_pixels": options.max_pixels, "progress": listener.progress}
        result: Deblurred | Searched
        lines: tuple[str, ...] = ()
        if search is None:
            result = deblur(job.source, engine, faces=faces, **more)
            said, facts = facts_of(result.picture, result.tile, result.residual)
            if result.faces is not None:
                said, facts["faces"], lines = f"{said}; {result.faces}", result.faces.as_dict(), result.faces.lines()
        else:
            result = deblur_by_search(job.source, search, engine, **more)
            said, facts = f"{result.picture.width}x{result.picture.height}, {result}", _size(result.picture)
            facts |= result.as_dict()
        result.save(job.output, quality=quality)
        return Outcome(job, said, facts | {"warning": result.warning}, lines)

    report = Report("deblur", "sharpened")
    found, several = find(inputs, out, IMAGE_SUFFIXES, report)
    jobs = jobs_of(found, several, inputs, out, beside, report)
    search = None if search is None else search.ready(options.device)
    if jobs:
        faces = options.load_faces(jobs)
        engine = options.load(jobs)
        report.about = {"method": "network", "model": engine.as_dict()}
        report.by = made_with(engine)
        if faces is not None:
            report.about["face_model"] = faces.engine.as_dict()
        if search is not None:
            report.about |= {"method": "search", "search": search.as_dict()}
            report.by += f", searched in {search.name}"
    return run_jobs(jobs, work, report, options, listener)


def inspect_files(inputs: Sequence[str], out: str | None, options: Options, listener: Listener) -> Report:
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
        seen = inspect(job.source, engine, max_pixels=options.max_pixels, progress=listener.progress)
        seen.save(job.output)
        height, width = seen.picture.height, seen.picture.width
        facts = {"width": width, "height": height, "tile": _tile(seen.picture, seen.tile), **seen.as_dict()}
        return Outcome(job, f"{width}x{height}, {seen}", facts)

    report = Report("inspect", "inspected")
    found, several = find(inputs, out, IMAGE_SUFFIXES, report)
    beside = lambda source: source.with_name(f"{source.stem}{PATHS}.png")  # noqa: E731
    jobs = jobs_of(found, several, inputs, out, beside, report, ".png")
    if jobs:
        engine = options.load(jobs)
        check_has_paths(engine.film, engine.name)
        report.about = {"model": engine.as_dict()}
        report.by = made_with(engine)
    return run_jobs(jobs, work, report, options, listener)


def made_with(engine: Engine) -> str:
    """For the summary."""
    behind = f" behind {engine.first}" if engine.first else ""
    return f"with {engine.name}{behind}" + (f" ({engine.reason})" if engine.reason else "")


def find(
    inputs: Sequence[str], out: str | None, suffixes: Iterable[str], report: Report, *, several: bool = False
) -> tuple[list[Path], bool]:
    """The pictures that were named, and whether the outputs go into a folder for several, as `several` may demand."""
    found, errors = find_images(inputs)
    report.errors.extend(errors)
    several = several or len(inputs) > 1 or len(found) > 1 or any(Path(name).is_dir() for name in inputs)
    if several and out is not None and Path(out).suffix.lower() in suffixes and not Path(out).is_dir():
        raise UnblurError(f"-o {out}", "is one file, but several pictures need a folder", "name a folder")
    return found, several


def jobs_of(
    found: Sequence[Path],
    several: bool,
    inputs: Sequence[str],
    out: str | None,
    beside: Callable[[Path], Path],
    report: Report,
    suffix: str | None = None,
) -> list[Job]:
    """Where each picture's output goes: into `out`, with another suffix if one is given, or `beside` it."""
    if out is None:
        return _beside(found, inputs, beside, report)
    return [Job(*pair) for pair in zip(found, output_paths(found, out, suffix, many=several), strict=True)]


def _beside(
    found: Sequence[Path], inputs: Sequence[str], output_of: Callable[[Path], Path], report: Report
) -> list[Job]:
    """Outputs beside their inputs; what an earlier run put into a folder is no input, unless it is named."""
    named = {os.path.realpath(name) for name in inputs}
    fresh = [path for path in found if Path(path.stem).suffix not in OURS or os.path.realpath(path) in named]
    jobs, clashes = plan(fresh, output_of)
    report.errors.extend(clashes)
    return jobs


def run_jobs(
    jobs: list[Job], work: Callable[[Job], Outcome], report: Report, options: Options, listener: Listener
) -> Report:
    for error in report.errors:
        listener.failed(error)
    return run(
        jobs,
        work,
        report,
        on_begin=listener.begin,
        on_done=listener.done,
        on_error=listener.failed,
        skip_existing=options.skip_existing,
    )


def facts_of(picture: Picture, tile: int, residual: Residual) -> tuple[str, dict[str, object]]:
    """The half line and the report's entries that every result has."""
    facts = {**_size(picture), "tile": _tile(picture, tile), "residual": residual.as_dict()}
    return f"{picture.width}x{picture.height}, {residual}", facts


def _size(picture: Picture) -> dict[str, object]:
    return {"width": picture.width, "height": picture.height, "bits": picture.bits}


def _tile(picture: Picture, tile: int) -> int | None:
    """The side of the tiles, if there was more than one."""
    return tile if tile < max(picture.height, picture.width) else None
