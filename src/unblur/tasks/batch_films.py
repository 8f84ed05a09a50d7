"""`unblur frames` on files: a film of each picture, or one film of several; the films of a burst get one direction."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from unblur.errors import UnblurError, UsageError
from unblur.media.video import write_clip
from unblur.pipeline.frame_order import OrderScorer, load_order_scorer
from unblur.pipeline.restore import Pipeline
from unblur.run_report import Job, Listener, Outcome, RunReport
from unblur.runtime.memory import working_memory
from unblur.tasks.batch import Options, describe, find, jobs_of, model_note, run_jobs
from unblur.tasks.burst import HELD, Burst, direct
from unblur.tasks.faces import Faces
from unblur.tasks.frames import Film, Method, check_method, checked_times, frames
from unblur.tasks.inputs import PictureFile

FILM = ".film"
SUFFIXES = (".mp4", ".gif", ".webp")
FRAMES = 51
MEMORY = 64
"""Bytes for each pixel of a film that waits in a `BurstQueue`."""


class BurstQueue:
    """The films of files, in one direction of time within each burst.

    A direction is decided on a few films together, so that asking for one film may make the next few, too.

    Parameters
    ----------
    files : sequence of PictureFile
        In order. Neighbours of equal size are a burst; another size begins a new one. A file whose size cannot be read
        counts as part of the burst before it.
    make : callable
        Makes the film of a file.
    order_scorer : OrderScorer, optional
        Decides the direction of each burst.
    together : bool
        Whether there are bursts at all; otherwise each film keeps its own direction.

    Attributes
    ----------
    bursts : list of (Burst, int)
        Each burst, and how many pictures it has.
    """

    def __init__(
        self,
        files: Sequence[PictureFile],
        make: Callable[[PictureFile], Film],
        order_scorer: OrderScorer | None = None,
        *,
        together: bool = True,
    ) -> None:
        self._make, self._order_scorer = make, order_scorer
        self._ready: dict[PictureFile, Film | Exception] = {}
        self._batches: dict[PictureFile, tuple[Burst, list[PictureFile]]] = {}
        self.bursts: list[tuple[Burst, int]] = []
        for _, group in groupby(_with_sizes(files), key=lambda pair: pair[1] if together else pair[0]):
            pairs = list(group)
            members, (height, width), burst = [file for file, _ in pairs], pairs[0][1], Burst()
            fitting = working_memory(torch.device("cpu")) // (MEMORY * max(height * width, 1))
            step = min(max(fitting, 1), HELD)
            for first in range(0, len(members), step):
                batch = members[first : first + step]
                self._batches |= dict.fromkeys(batch, (burst, batch))
            self.bursts.append((burst, len(members)))

    def film(self, file: PictureFile) -> Film:
        """Give the film of a file, once; an exception from making it is raised here."""
        if file not in self._ready:
            self._fill(*self._batches[file])
        film = self._ready.pop(file)
        if isinstance(film, Exception):
            raise film
        return film

    def _fill(self, burst: Burst, batch: Sequence[PictureFile]) -> None:
        films: dict[PictureFile, Film] = {}
        for file in batch:
            try:
                films[file] = self._make(file)
            except Exception as cause:  # raised when this film is asked for; the others do not depend on it
                self._ready[file] = cause
        self._ready |= films
        if self._order_scorer is not None or (burst, 1) not in self.bursts:
            direct(list(films.values()), burst, self._order_scorer)

    def as_dict(self) -> list[dict[str, object]]:
        """For a machine-readable report."""
        return [{"pictures": count, "direction": burst.by} for burst, count in self.bursts if burst.by is not None]


def _with_sizes(files: Iterable[PictureFile]) -> Iterator[tuple[PictureFile, tuple[int, int]]]:
    """Each file with its height and width; with those of the file before where its own cannot be read."""
    size = (0, 0)
    for file in files:
        size = file.size or size
        yield file, size


@dataclass(frozen=True)
class FilmOptions:
    """Which frames, and how they are stored; see `unblur.frames`.

    Attributes
    ----------
    burst : bool, optional
        Whether all pictures get one direction of time; if left out, where they are named rather than found in folders.
    order : str, optional
        An order network that decides the direction.
    """

    n: int | None = None
    times: Sequence[float] | None = None
    reverse: bool = False
    fps: float = 25.0
    format: str = "mp4"
    sharp: str | None = None
    refine: bool = False
    method: Method | None = None
    burst: bool | None = None
    order: str | None = None


def frames_files(
    inputs: Sequence[str], out: str | None, options: Options, listener: Listener, film: FilmOptions
) -> RunReport:
    """Make films of files, folders and globs.

    Parameters
    ----------
    inputs : sequence of str
        Pictures, folders, globs.
    out : str, optional
        A .mp4, .gif or .webp file, in which the films of several pictures follow each other; or for one picture a
        folder of PNGs, for several a folder that gets a film of each; beside each picture as NAME.film.mp4 if left out.

    Raises
    ------
    UnblurError
        An option cannot be met. Errors of single files are in the report, and passed to `listener`.
    """
    checked_times(film.n or FRAMES, film.times)
    if film.method in ("jin", "purohit") and options.model is None:
        remedy = "name a file of weights with `model`"
        raise UsageError("method", film.method, "no weights of it come with this package", remedy)
    report = RunReport("frames", "filmed")
    found, several = find(inputs, out, (), report)
    if film.sharp is not None and several:
        raise UsageError("sharp", None, "is the middle frame of one photo, but several are named", "name one photo")
    joined = several and out is not None and Path(out).suffix.lower() in SUFFIXES and not Path(out).is_dir()
    jobs, as_folder = _jobs(found, several and not joined, inputs, out, film, report)
    if not jobs:
        return run_jobs(jobs, lambda job: Outcome(job, ""), report, options, listener)
    if film.sharp is not None:
        options = replace(options, model=options.model or "fast")
    files = options.files(jobs)
    faces = options.load_faces(jobs)
    pipeline = options.load(files.values())
    film = _checked(pipeline, film)
    named = not any(Path(name).is_dir() for name in inputs)
    together = joined or (named if film.burst is None else film.burst)
    work = _Work(files, pipeline, options, listener, film, as_folder, faces, together=together)
    report.metadata = {"model": pipeline.as_dict(), "sharp": film.sharp, "fps": film.fps, "reverse": film.reverse}
    report.metadata |= {} if faces is None else {"face_model": faces.pipeline.as_dict()}
    report.suffix = model_note(pipeline)
    if joined:
        report.count = 0
        whole = Job(jobs[0].source, Path(str(out)))
        run_jobs([whole], lambda job: work.join(job, report), report, options, listener)
    else:
        run_jobs(jobs, work.one, report, options, listener)
    bursts = work.queue.as_dict()
    report.metadata["bursts"] = bursts
    largest = max((int(str(burst["pictures"])) for burst in bursts), default=1)
    report.suffix += f"; {largest} in one direction of time" if largest > 1 else ""
    return report


def _jobs(
    found: Sequence[Path], several: bool, inputs: Sequence[str], out: str | None, film: FilmOptions, report: RunReport
) -> tuple[list[Job], bool]:
    """The output of each film, and whether it is a folder of frames."""
    suffix = "" if film.format == "png" else f".{film.format}"
    if out is None or several:
        beside = lambda source: source.with_name(source.stem + FILM + suffix)  # noqa: E731
        return jobs_of(found, several, inputs, out, beside, report, suffix), suffix == ""
    if os.path.realpath(out) in {os.path.realpath(source) for source in found}:
        raise UsageError("out", out, "is an input too", "write to another name or folder")
    # A name that ends with a slash is a folder of frames, even with dots in it.
    return [Job(source, Path(out)) for source in found], out.endswith(("/", os.sep))


def _checked(pipeline: Pipeline, film: FilmOptions) -> FilmOptions:
    """The options with the number of frames filled in; refuses what the model cannot do."""
    if film.method is not None:
        check_method(pipeline, film.method)
    film = replace(film, n=film.n or pipeline.count or FRAMES)
    pipeline.check_times(
        checked_times(film.n or FRAMES, film.times), *(("times", None) if film.times else ("n", film.n))
    )
    if film.sharp is not None:
        pipeline.check_starts_from_sharp()
    if film.refine:
        pipeline.check_paths("refine")
    return film


class _Work:
    """Makes films and writes them."""

    def __init__(
        self,
        files: dict[Path, PictureFile],
        pipeline: Pipeline,
        options: Options,
        listener: Listener,
        film: FilmOptions,
        as_folder: bool,
        faces: Faces | None = None,
        *,
        together: bool,
    ) -> None:
        self.files, self.pipeline, self.options, self.listener = files, pipeline, options, listener
        self.film, self.as_folder, self.faces = film, as_folder, faces
        order_scorer = None if film.order is None else load_order_scorer(film.order, options.device, "order")
        self.queue = BurstQueue(list(files.values()), self._make, order_scorer, together=together)

    def one(self, job: Job) -> Outcome:
        """Write the film of one picture to its own file or folder."""
        film = self.queue.film(self.files[job.source])
        place = f"{job.output}/" if self.as_folder else job.output
        film.save(place, self.film.fps, progress=self.listener.progress)
        message, details = self._describe(film)
        notes = () if film.faces is None else film.faces.lines()
        return Outcome(job, f"{len(film)} frames, {message}", details, notes)

    def join(self, job: Job, report: RunReport) -> Outcome:
        """Write the films of all pictures into one file, in order."""
        parts: list[dict[str, object]] = []
        write_clip(job.output, self._all_frames(parts), fps=self.film.fps)
        report.count = len(parts)
        count = sum(int(str(part["frames"])) for part in parts)
        warnings = [f"{Path(str(part['input'])).name} {part['warning']}" for part in parts if part["warning"]]
        size = {key: parts[0][key] for key in ("width", "height")}
        details = {**size, "frames": count, "pictures": parts, "warning": warnings[0] if warnings else None}
        return Outcome(job, f"{count} frames of {len(parts)} pictures, {size['width']}x{size['height']}", details)

    def _all_frames(self, parts: list[dict[str, object]]) -> Iterator[Tensor]:
        """The frames of all films; the details of each film are appended to `parts`."""
        first = None
        for number, file in enumerate(self.files.values()):
            self.listener.progress("pictures", number, len(self.files))
            film = self.queue.film(file)
            size = (film.picture.width, film.picture.height)
            first = first or size
            if size != first:
                problem = f"is {size[0]}x{size[1]}, but the first picture {first[0]}x{first[1]}"
                raise UnblurError(file.path, problem, "name pictures of one size, or a folder for a film of each")
            yield from film.frames()
            parts.append({"input": str(file.path), **self._describe(film)[1]})

    def _describe(self, film: Film) -> tuple[str, dict[str, object]]:
        self.listener.progress("checking", 0, 1)
        message, details = describe(film.picture, film.tile, film.residual)
        details |= {"frames": len(film), "times": list(film.times), "reverse": film.reverse, "warning": film.warning}
        if film.refinement is not None:
            message += f" ({film.refinement})"
            details["refinement"] = film.refinement.as_dict()
        if film.faces is not None:
            message += f"; {film.faces}"
            details["faces"] = film.faces.as_dict()
        return message, details

    def _make(self, file: PictureFile) -> Film:
        return frames(
            file.read(),
            self.film.n or FRAMES,
            self.film.times,
            self.film.reverse,
            self.pipeline,
            sharp=self.film.sharp,
            refine=self.film.refine,
            data_consistency=self.options.data_consistency,
            check=self.options.check,
            faces=self.faces,
            max_pixels=self.options.max_pixels,
            progress=self.listener.progress,
        )
