"""`unblur reblur` on files: where the blur comes from, and which pictures get it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

from unblur.errors import UnblurError, UsageError
from unblur.media.folder import IMAGE_SUFFIXES
from unblur.media.image import Picture
from unblur.pipeline.blur_transfer import BlurCode, BlurSpace, load_blur_space
from unblur.run_report import Job, Listener, Outcome, RunReport
from unblur.tasks.batch import REBLURRED, Options, find, jobs_of, picture_beside, run_jobs, size_of
from unblur.tasks.inputs import open_picture
from unblur.tasks.plots import draw_psf_grid
from unblur.tasks.reblur import Reading, apply_blur, each_sample, read_blur


@dataclass(frozen=True)
class Origin:
    """Where the blur comes from: exactly one of `like`, `code` and `sample`.

    Attributes
    ----------
    like : (str, str), optional
        A sharp picture, and a blurry one of the same scene.
    code : str, optional
        A file with a code.
    sample : int, optional
        Random blurs to draw for each picture.
    seed : int
        Of the random blurs.
    save_code : str, optional
        A file to write the code to.
    psf_grid : str, optional
        A file for a picture of what the blur does to points of light.
    """

    like: tuple[str, str] | None = None
    code: str | None = None
    sample: int | None = None
    seed: int = 0
    save_code: str | None = None
    psf_grid: str | None = None

    def check(self) -> None:
        """Refuse none or several sources of blur, and outputs that need one blur where blurs are drawn."""
        given = [name for name in ("like", "code", "sample") if getattr(self, name) is not None]
        if len(given) != 1:
            problem = "are given at once" if given else "are both missing"
            names = " and ".join(f"`{name}`" for name in given) if given else "`like` and `sample`"
            raise UsageError(names, None, problem, "name one: `like` SHARP BLURRY, `code` FILE or `sample` N")
        if self.sample is not None and self.sample < 1:
            raise UsageError("sample", self.sample, "not a number of blurs", "use 1 or more")
        if self.sample is not None and (self.save_code or self.psf_grid):
            raise UsageError("`save_code` and `psf_grid`", None, "want one blur, not draws", "use `like` or `code`")

    def sources(self) -> list[str]:
        """The files that the blur is read from."""
        return [*(self.like or ()), *([self.code] if self.code is not None else [])]

    def check_outputs(self, outputs: Iterable[str | PathLike[str]]) -> None:
        """Refuse to write over the blur's own files, or to write two outputs into one file."""
        taken = {os.path.realpath(source) for source in self.sources()}
        for output in (*filter(None, (self.save_code, self.psf_grid)), *outputs):
            place = os.path.realpath(output)
            if place in taken:
                raise UnblurError(output, "would overwrite an input or another output", "choose another name")
            taken.add(place)


def reblur_files(
    inputs: Sequence[str],
    out: str | None,
    origin: Origin,
    options: Options,
    listener: Listener,
    *,
    quality: int = 95,
) -> RunReport:
    """Put a blur on files, folders and globs.

    Parameters
    ----------
    inputs : sequence of str
        Sharp pictures; none if only the code or the picture of it is wanted.
    out : str, optional
        A file for one picture, a folder for several or for several draws; beside each picture as NAME.reblurred.EXT
        if left out. The first of several draws is NAME.000.EXT in a folder, else NAME.000.reblurred.EXT.
    quality : int
        Of JPEG and WebP, 1 to 100.

    Raises
    ------
    UnblurError
        An option cannot be met, or the pair or the code cannot be read. Errors of single files are in the report, and
        passed to `listener`.
    """
    origin.check()
    if not inputs and (out is not None or not (origin.save_code or origin.psf_grid)):
        remedy = "name one, or leave out `out` and use `save_code` or `psf_grid`"
        raise UsageError("inputs", None, "no picture is named", remedy)
    report = RunReport("reblur", "reblurred")
    found, many = find(inputs, out, IMAGE_SUFFIXES, report, several=(origin.sample or 1) > 1)
    jobs = jobs_of(found, many, inputs, out, partial(picture_beside, REBLURRED), report)
    # A picture is finished when its last draw is there: `skip_existing` must not skip an interrupted one.
    draws = {job.source: _draws(job.output, origin.sample or 1) for job in jobs}
    jobs = [Job(job.source, draws[job.source][-1]) for job in jobs]
    origin.check_outputs([output for each in draws.values() for output in each])
    space = load_blur_space(options.model, options.device)
    reading, code = _read_blur(origin, space, options)
    report.metadata = {"model": space.as_dict(), "seed": origin.seed if origin.sample else None}
    report.metadata |= {"code": origin.code, "saved_code": origin.save_code, "psf_grid": origin.psf_grid}
    report.metadata |= {} if reading is None else {"reading": reading.as_dict()}
    report.suffix = f"with {space.name}" + (f"; {reading}" if reading is not None else "")
    if code is None:
        return run_jobs(jobs, _sampler(draws, origin.seed, space, options, quality), report, options, listener)
    for outcome in _write_blur(origin, space, code):
        listener.done(outcome)
        if not inputs:
            # Without pictures, these files are the results.
            report.verb = "written"
            report.results.append(outcome)
    return run_jobs(jobs, _applier(code, space, options, quality), report, options, listener)


def _read_blur(origin: Origin, space: BlurSpace, options: Options) -> tuple[Reading | None, BlurCode | None]:
    """How well a pair explains its blur, and the code; None where there is none."""
    if origin.like is not None:
        reading = read_blur(*origin.like, space, max_pixels=options.max_pixels)
        return reading, reading.code
    if origin.code is None:
        space.check_draws()
        return None, None
    code = BlurCode.load(origin.code)
    space.check(code, origin.code)
    return None, code


def _write_blur(origin: Origin, space: BlurSpace, code: BlurCode) -> Iterator[Outcome]:
    source = Path(origin.like[1] if origin.like else str(origin.code))
    if origin.save_code:
        yield Outcome(Job(source, code.save(origin.save_code)), "the blur's code")
    if origin.psf_grid:
        drawn = Picture(draw_psf_grid(space, code)).save(Path(origin.psf_grid))
        yield Outcome(Job(source, drawn), "what it does to points of light")


def _applier(code: BlurCode, space: BlurSpace, options: Options, quality: int) -> Callable[[Job], Outcome]:
    def work(job: Job) -> Outcome:
        reblurred = apply_blur(job.source, code, space, max_pixels=options.max_pixels)
        reblurred.save(job.output, quality=quality)
        return Outcome(job, *_describe(reblurred.picture))

    return work


def _sampler(
    draws: dict[Path, list[Path]], seed: int, space: BlurSpace, options: Options, quality: int
) -> Callable[[Job], Outcome]:
    def work(job: Job) -> Outcome:
        picture, outputs = open_picture(job.source, options.max_pixels), draws[job.source]
        for reblurred, output in zip(each_sample(picture, len(outputs), seed, space), outputs, strict=True):
            reblurred.save(output, quality=quality)
        message, details = _describe(picture)
        message += f", the last of {len(outputs)} draws" if len(outputs) > 1 else ""
        return Outcome(job, message, details | {"outputs": [str(output) for output in outputs]})

    return work


def _draws(output: Path, count: int) -> list[Path]:
    """The file of each draw: `output` itself if there is one draw, else NAME.000.EXT, NAME.001.EXT, ..."""
    if count == 1:
        return [output]
    kind = REBLURRED if output.stem.endswith(REBLURRED) else ""
    stem = output.stem.removesuffix(REBLURRED)
    return [output.with_name(f"{stem}.{number:03d}{kind}{output.suffix}") for number in range(count)]


def _describe(picture: Picture) -> tuple[str, dict[str, object]]:
    return f"{picture.width}x{picture.height}", size_of(picture)
