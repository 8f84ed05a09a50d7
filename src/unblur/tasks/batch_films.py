"""Films of files, folders and globs; of a burst one direction of time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from unblur.errors import UnblurError, UsageError
from unblur.media.decode import picture_size
from unblur.media.video import write_clip
from unblur.pipeline.frame_order import OrderScorer, load_order_scorer
from unblur.pipeline.restore import Pipeline
from unblur.run_report import Job, Listener, Outcome, RunReport
from unblur.runtime.memory import working_memory
from unblur.tasks.batch import Options, facts_of, find, jobs_of, made_with, run_jobs
from unblur.tasks.burst import HELD, Burst, direct
from unblur.tasks.faces import Faces
from unblur.tasks.frames import (
    Film,
    Method,
    check_method,
    checked_times,
    frames,
)

MEMORY = 64
"""Bytes for each pixel of a film that waits."""


class Reel:
    """Films of files in one direction, made a few ahead of when they are asked for.

    Parameters
    ----------
    files : sequence of Path
        In order. Those of equal size that follow each other are a burst; another size begins a new one.
    make : callable
        Makes a film.
    order_scorer : OrderScorer, optional
        Decides the direction of the whole.
    together : bool
        Whether there are bursts at all; else each picture is one.

    Attributes
    ----------
    bursts : list of (Burst, int)
        And how many pictures each has.
    """

    def __init__(
        self,
        files: Sequence[Path],
        make: Callable[[Path], Film],
        order_scorer: OrderScorer | None = None,
        *,
        together: bool = True,
    ) -> None:
        self._make, self._orderer = make, order_scorer
        self._ready: dict[Path, Film | Exception] = {}
        self._batches: dict[Path, tuple[Burst, list[Path]]] = {}
        self.bursts: list[tuple[Burst, int]] = []
        sized = list(_sized(files))
        for _, alike in groupby(sized, key=lambda one: one[1] if together else one[0]):
            (first_one, size), *rest = alike
            chosen, burst = [first_one, *(file for file, _ in rest)], Burst()
            held = working_memory(torch.device("cpu")) // (MEMORY * max(size[0] * size[1], 1))
            step = min(max(held, 1), HELD)
            for first in range(0, len(chosen), step):
                batch = chosen[first : first + step]
                self._batches |= dict.fromkeys(batch, (burst, batch))
            self.bursts.append((burst, len(chosen)))

    def film(self, file: Path) -> Film:
        """The film of a file, once; whatever its making raised is raised here."""
        if file not in self._ready:
            self._fill(*self._batches[file])
        made = self._ready.pop(file)
        if isinstance(made, Exception):
            raise made
        return made

    def _fill(self, burst: Burst, batch: Sequence[Path]) -> None:
        films: dict[Path, Film] = {}
        for file in batch:
            try:
                films[file] = self._make(file)
            except Exception as cause:  # told when its turn comes; the others are done
                self._ready[file] = cause
        self._ready |= films
        if self._orderer is not None or (burst, 1) not in self.bursts:
            direct(list(films.values()), burst, self._orderer)

    def as_dict(self) -> list[dict[str, object]]:
        """For a machine-readable report."""
        return [{"pictures": count, "direction": burst.by} for burst, count in self.bursts if burst.by is not None]


def _sized(files: Iterable[Path]) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Height and width of each file; a file that cannot be read breaks no burst."""
    size = (0, 0)
    for path in files:
        try:
            with path.open("rb") as file:
                size = picture_size(path, file)
        except (OSError, UnblurError):
            pass
        yield path, size


FILM = ".film"
SUFFIXES = (".mp4", ".gif", ".webp")
FRAMES = 51


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
        An option cannot be met. What concerns one file is in the report, and told to `listener`.
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
    faces = options.load_faces(jobs)
    pipeline = options.load(jobs)
    film = _checked(pipeline, film)
    work = _Work(jobs, pipeline, options, listener, film, as_folder, faces)
    named = not any(Path(name).is_dir() for name in inputs)
    work.begin(together=joined or (named if film.burst is None else film.burst))
    report.about = {"model": pipeline.as_dict(), "sharp": film.sharp, "fps": film.fps, "reverse": film.reverse}
    report.about |= {} if faces is None else {"face_model": faces.pipeline.as_dict()}
    report.by = made_with(pipeline)
    if joined:
        report.count = 0
        whole = Job(jobs[0].source, Path(str(out)))
        run_jobs([whole], lambda job: work.join(job, report), report, options, listener)
    else:
        run_jobs(jobs, work.one, report, options, listener)
    bursts = work.reel.as_dict()
    report.about["bursts"] = bursts
    most = max((int(str(burst["pictures"])) for burst in bursts), default=1)
    report.by += f"; {most} in one direction of time" if most > 1 else ""
    return report


def _jobs(
    found: Sequence[Path], several: bool, inputs: Sequence[str], out: str | None, film: FilmOptions, report: RunReport
) -> tuple[list[Job], bool]:
    """Where each film goes, and whether that is a folder of frames."""
    suffix = "" if film.format == "png" else f".{film.format}"
    if out is None or several:
        beside = lambda source: source.with_name(source.stem + FILM + suffix)  # noqa: E731
        return jobs_of(found, several, inputs, out, beside, report, suffix), suffix == ""
    if os.path.realpath(out) in {os.path.realpath(source) for source in found}:
        raise UsageError("out", out, "is an input too", "write to another name or folder")
    # A name that ends with a slash is a folder of frames, whatever dots are in it.
    return [Job(source, Path(out)) for source in found], out.endswith(("/", os.sep))


def _checked(pipeline: Pipeline, film: FilmOptions) -> FilmOptions:
    """The number of frames decided; refuses what the model cannot do."""
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
        jobs: Sequence[Job],
        pipeline: Pipeline,
        options: Options,
        listener: Listener,
        film: FilmOptions,
        as_folder: bool,
        faces: Faces | None = None,
    ) -> None:
        self.pipeline, self.options, self.listener, self.film = pipeline, options, listener, film
        self.as_folder, self.faces = as_folder, faces
        self.files = [job.source for job in jobs if not (options.skip_existing and job.output.exists())]

    def begin(self, *, together: bool) -> None:
        """Know which of the pictures belong together."""
        order_scorer = (
            None if self.film.order is None else load_order_scorer(self.film.order, self.options.device, "order")
        )
        self.reel = Reel(self.files, self._made, order_scorer, together=together)

    def one(self, job: Job) -> Outcome:
        """The film of one picture in one file or folder."""
        made = self.reel.film(job.source)
        place = f"{job.output}/" if self.as_folder else job.output
        made.save(place, self.film.fps, progress=self.listener.progress)
        said, facts = self._said(made)
        lines = () if made.faces is None else made.faces.lines()
        return Outcome(job, f"{len(made)} frames, {said}", facts, lines)

    def join(self, job: Job, report: RunReport) -> Outcome:
        """The films of all pictures in one file, in order."""
        parts: list[dict[str, object]] = []
        write_clip(job.output, self._strip(parts), fps=self.film.fps)
        report.count = len(parts)
        count = sum(int(str(part["frames"])) for part in parts)
        warnings = [f"{Path(str(part['input'])).name} {part['warning']}" for part in parts if part["warning"]]
        size = {key: parts[0][key] for key in ("width", "height")}
        facts = {**size, "frames": count, "pictures": parts, "warning": warnings[0] if warnings else None}
        return Outcome(job, f"{count} frames of {len(parts)} pictures, {size['width']}x{size['height']}", facts)

    def _strip(self, parts: list[dict[str, object]]) -> Iterator[Tensor]:
        first = None
        for number, file in enumerate(self.files):
            self.listener.progress("pictures", number, len(self.files))
            made = self.reel.film(file)
            size = (made.picture.width, made.picture.height)
            first = first or size
            if size != first:
                problem = f"is {size[0]}x{size[1]}, but the first picture {first[0]}x{first[1]}"
                raise UnblurError(file, problem, "name pictures of one size, or a folder for a film of each")
            yield from made.frames()
            parts.append({"input": str(file), **self._said(made)[1]})

    def _said(self, made: Film) -> tuple[str, dict[str, object]]:
        self.listener.progress("checking", 0, 1)
        said, facts = facts_of(made.picture, made.tile, made.residual)
        facts |= {"frames": len(made), "times": list(made.times), "reverse": made.reverse, "warning": made.warning}
        if made.refinement is not None:
            said += f" ({made.refinement})"
            facts["refinement"] = made.refinement.as_dict()
        if made.faces is not None:
            said += f"; {made.faces}"
            facts["faces"] = made.faces.as_dict()
        return said, facts

    def _made(self, file: Path) -> Film:
        film, options = self.film, self.options
        return frames(
            file,
            film.n or FRAMES,
            film.times,
            film.reverse,
            self.pipeline,
            sharp=film.sharp,
            refine=film.refine,
            data_consistency=options.data_consistency,
            check=options.check,
            faces=self.faces,
            max_pixels=options.max_pixels,
            progress=self.listener.progress,
        )
