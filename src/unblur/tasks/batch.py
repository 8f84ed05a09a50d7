"""What commands on files share: their options, which files they are given, and where each output goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unblur.errors import UsageError
from unblur.media.folder import IMAGE_SUFFIXES, find_images, output_paths
from unblur.media.image import Picture
from unblur.pipeline.residual import Residual
from unblur.pipeline.restore import Pipeline, load
from unblur.run_report import Job, Listener, Outcome, RunReport, plan, run
from unblur.tasks.faces import FaceOptions, Faces
from unblur.tasks.inputs import PictureFile

SHARP, PATHS, REBLURRED = ".sharp", ".paths", ".reblurred"
OURS = (SHARP, PATHS, REBLURRED)
"""Ends of names that our outputs get, before the suffix."""


@dataclass(frozen=True)
class Options:
    """Options that commands on files share; see `unblur.load` and `unblur.deblur`.

    Attributes
    ----------
    skip_existing : bool
        Skip pictures whose output exists.
    """

    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    tile: int | str = "auto"
    max_pixels: int | None = None
    skip_existing: bool = False
    check: bool = True
    data_consistency: int | None = None
    faces: FaceOptions | None = None

    def files(self, jobs: Sequence[Job]) -> dict[Path, PictureFile]:
        """The pictures that will be read, by their paths, in order."""
        sources = [job.source for job in jobs if not (self.skip_existing and job.output.exists())]
        return {source: PictureFile(source, self.max_pixels) for source in sources}

    def load(self, files: Iterable[PictureFile]) -> Pipeline:
        """The model, ready to run. Where none is named, the sizes of all files decide which."""
        sizes = (0 if file.size is None else file.size[0] * file.size[1] for file in files)
        return load(self.model, self.device, self.dtype, self.tile, sizes=sizes)

    def load_faces(self, jobs: Sequence[Job]) -> Faces | None:
        """The face model; None where faces get no model of their own."""
        return None if self.faces is None else self.faces.load(self.device, self.dtype, self.tile, len(jobs))


def model_note(pipeline: Pipeline) -> str:
    """The model, and why it was chosen, for the end of the summary."""
    return f"with {pipeline.full_name}" + (f" ({pipeline.reason})" if pipeline.reason else "")


def find(
    inputs: Sequence[str], out: str | None, suffixes: Iterable[str], report: RunReport, *, several: bool = False
) -> tuple[list[Path], bool]:
    """Find the pictures that `inputs` name; what is wrong with the rest goes into `report`.

    Returns
    -------
    found : list of Path
    several : bool
        Whether the outputs go into a folder: the argument `several`, or more than one picture, or a folder was named.

    Raises
    ------
    UsageError
        There are several, but `out` has one of the `suffixes` of a single file.
    """
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
    """Name each picture's output: in `out`, with the given `suffix` if any, or `beside` the picture."""
    if out is None:
        return _jobs_beside(found, inputs, beside, report)
    return [Job(*pair) for pair in zip(found, output_paths(found, out, suffix, many=several), strict=True)]


def picture_beside(mark: str, source: Path) -> Path:
    """NAME.MARK.EXT beside a picture; a PNG where pictures are not written in the format of the source."""
    suffix = source.suffix if source.suffix.lower() in IMAGE_SUFFIXES else ".png"
    return source.with_name(source.stem + mark + suffix)


def _jobs_beside(
    found: Sequence[Path], inputs: Sequence[str], output_of: Callable[[Path], Path], report: RunReport
) -> list[Job]:
    """Outputs beside their inputs. The outputs of an earlier run in a folder are no inputs, unless they are named."""
    named = {os.path.realpath(name) for name in inputs}
    fresh = [path for path in found if Path(path.stem).suffix not in OURS or os.path.realpath(path) in named]
    jobs, clashes = plan(fresh, output_of)
    report.errors.extend(clashes)
    return jobs


def run_jobs(
    jobs: Sequence[Job], work: Callable[[Job], Outcome], report: RunReport, options: Options, listener: Listener
) -> RunReport:
    """Pass the errors so far to `listener`, then run every job; see `unblur.run_report.run`."""
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


def describe(picture: Picture, tile: int, residual: Residual | None) -> tuple[str, dict[str, object]]:
    """The message and the details that restored pictures have in common."""
    details = {**size_of(picture), "tile": tile_of(picture, tile)}
    if residual is None:
        return f"{picture.width}x{picture.height}", details | {"residual": None}
    return f"{picture.width}x{picture.height}, {residual}", details | {"residual": residual.as_dict()}


def size_of(picture: Picture) -> dict[str, object]:
    """The size and depth of a picture, as details of a report."""
    return {"width": picture.width, "height": picture.height, "bits": picture.bits}


def tile_of(picture: Picture, tile: int) -> int | None:
    """The side of the tiles; None if one tile covered the picture."""
    return tile if tile < max(picture.height, picture.width) else None
