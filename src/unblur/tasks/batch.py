"""What the commands on files share: their options, which files they are given, and where each output goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unblur.errors import UsageError
from unblur.media.folder import find_images, output_paths
from unblur.media.image import Picture
from unblur.models.auto_select import sizes_of
from unblur.pipeline.residual import Residual
from unblur.pipeline.restore import Pipeline, load
from unblur.run_report import Job, Listener, Outcome, RunReport, plan, run
from unblur.tasks.faces import FaceOptions, Faces

SHARP, PATHS, REBLURRED = ".sharp", ".paths", ".reblurred"
OURS = (SHARP, PATHS, REBLURRED)


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
    data_consistency: int | None = None
    faces: FaceOptions | None = None

    def load(self, jobs: Sequence[Job]) -> Pipeline:
        """The model, ready to run; where none is named, one for all that is to be done."""
        due = [job.source for job in jobs if not (self.skip_existing and job.output.exists())]
        return load(self.model, self.device, self.dtype, self.tile, sizes=sizes_of(due))

    def load_faces(self, jobs: Sequence[Job]) -> Faces | None:
        """The model of faces, if faces are to be restored by themselves."""
        return None if self.faces is None else self.faces.load(self.device, self.dtype, self.tile, len(jobs))


def made_with(pipeline: Pipeline) -> str:
    """For the summary."""
    behind = f" behind {pipeline.first}" if pipeline.first else ""
    return f"with {pipeline.name}{behind}" + (f" ({pipeline.reason})" if pipeline.reason else "")


def find(
    inputs: Sequence[str], out: str | None, suffixes: Iterable[str], report: RunReport, *, several: bool = False
) -> tuple[list[Path], bool]:
    """The pictures that were named, and whether the outputs go into a folder for several, as `several` may demand."""
    found, errors = find_images(inputs)
    report.errors.extend(errors)
    several = several or len(inputs) > 1 or len(found) > 1 or any(Path(name).is_dir() for name in inputs)
    if several and out is not None and Path(out).suffix.lower() in suffixes and not Path(out).is_dir():
        raise UsageError("out", out, "is one file, but several pictures need a folder", "name a folder")
    return found, several


def jobs_of(
    found: Sequence[Path],
    several: bool,
    inputs: Sequence[str],
    out: str | None,
    beside: Callable[[Path], Path],
    report: RunReport,
    suffix: str | None = None,
) -> list[Job]:
    """Where each picture's output goes: into `out`, with another suffix if one is given, or `beside` it."""
    if out is None:
        return _beside(found, inputs, beside, report)
    return [Job(*pair) for pair in zip(found, output_paths(found, out, suffix, many=several), strict=True)]


def _beside(
    found: Sequence[Path], inputs: Sequence[str], output_of: Callable[[Path], Path], report: RunReport
) -> list[Job]:
    """Outputs beside their inputs; what an earlier run put into a folder is no input, unless it is named."""
    named = {os.path.realpath(name) for name in inputs}
    fresh = [path for path in found if Path(path.stem).suffix not in OURS or os.path.realpath(path) in named]
    jobs, clashes = plan(fresh, output_of)
    report.errors.extend(clashes)
    return jobs


def run_jobs(
    jobs: list[Job], work: Callable[[Job], Outcome], report: RunReport, options: Options, listener: Listener
) -> RunReport:
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


def facts_of(picture: Picture, tile: int, residual: Residual | None) -> tuple[str, dict[str, object]]:
    """The half line and the report's entries that every result has."""
    facts = {**size_of(picture), "tile": tile_of(picture, tile)}
    if residual is None:
        return f"{picture.width}x{picture.height}", facts | {"residual": None}
    return f"{picture.width}x{picture.height}, {residual}", facts | {"residual": residual.as_dict()}


def size_of(picture: Picture) -> dict[str, object]:
    """The report's entries of a picture."""
    return {"width": picture.width, "height": picture.height, "bits": picture.bits}


def tile_of(picture: Picture, tile: int) -> int | None:
    """The side of the tiles, if there was more than one."""
    return tile if tile < max(picture.height, picture.width) else None
