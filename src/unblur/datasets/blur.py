"""Blurry and sharp pictures out of a user's own photos and clips, to train on.

    OUT/blurry/NAME_0000.png       the exposure
    OUT/sharp/NAME_0000/00.png     what was there at each time
    OUT/metadata.json              which belongs to which; see `unblur.data.exposure_metadata`
    OUT/options.json               the options of the run

A photo is moved along random smooth paths; of a clip, consecutive frames are averaged where they leave no ghosts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unblur.data.clips import AVERAGED, Limits, clip_exposures
from unblur.data.exposure_metadata import NAME as METADATA
from unblur.data.exposure_metadata import Entry, Metadata, Order, Split, id_of, read_metadata, write_metadata
from unblur.data.stills import sharp_factor, shrink, to_uint8
from unblur.errors import UnblurError, UsageError
from unblur.exposure.average import frame_times
from unblur.exposure.camera import MotionSpec
from unblur.exposure.response import Response
from unblur.exposure.synthetic_exposure import CLEAN, render
from unblur.media.folder import find_clips, find_images, is_clip, output_paths
from unblur.media.image import Picture, read_image, write_image
from unblur.media.output_folder import OutputFolder
from unblur.media.video import read_clip
from unblur.run_report import Job, Listener, Outcome, RunReport, Silent, run

SCALE = 1.2  # pixels of a photo per pixel of its exposure: hides the softness of interpolation


@dataclass(frozen=True)
class BlurOptions:
    """Options of `blur_data`.

    Attributes
    ----------
    count : int
        Exposures in all, shared among the sources; a clip may yield fewer, then later sources yield more.
    size : int
        Height and width in pixels.
    frames : int
        Sharp frames of each exposure, at i / (frames - 1).
    average : int, optional
        Frames of a clip that are averaged: a multiple of ``frames - 1``, plus 1. About 13 by default.
    response : {"srgb", "gamma", "linear"}
        Camera response of the sources.
    seed : int
        Of the synthetic paths.
    length : (float, float)
        Photos: pixels that a path is long over the exposure.
    layer : float
        Photos: share of exposures in which something else moves in front.
    split : {"train", "val", "test"}
        Split of the exposures.
    max_step : float
        Clips: largest motion from frame to frame in pixels; above about 2 ghosts appear.
    """

    count: int = 100
    size: int = 256
    frames: int = 7
    average: int | None = None
    response: Response = "srgb"
    seed: int = 0
    length: tuple[float, float] = (3.0, 28.0)
    layer: float = 0.5
    max_step: float = 1.5
    split: Split = "train"

    def checked(self) -> BlurOptions:
        """Validate; returns self."""
        for name, least in (("count", 1), ("size", 16), ("frames", 1)):
            if getattr(self, name) < least:
                raise UsageError(name, getattr(self, name), "too small", f"use {least} or more")
        low, high = self.length
        if not 0 <= low <= high:
            raise UsageError("length", f"{low:g},{high:g}", "not a range of pixels", "use for instance 3,28")
        if not 0 <= self.layer <= 1:
            raise UsageError("layer", f"{self.layer:g}", "not a share", "use a number from 0 to 1")
        if not self.max_step > 0:
            raise UsageError("max_step", f"{self.max_step:g}", "nothing may move", "use for instance 1.5")
        if self.average is not None and (self.average < 2 or (self.average - 1) % self._gaps):
            problem = f"{self.frames} frames cannot be equally spaced among them"
            raise UsageError("average", self.average, problem, f"use {self.averaged} or leave it out")
        return self

    @property
    def averaged(self) -> int:
        """Frames of a clip that are averaged, if the user leaves it to us."""
        return ceil((AVERAGED - 1) / self._gaps) * self._gaps + 1

    @property
    def _gaps(self) -> int:
        # One frame is the middle one, which needs an even number of steps.
        return self.frames - 1 if self.frames > 1 else 2


@dataclass(frozen=True)
class _Exposure:
    """An exposure to be stored."""

    blurry: Tensor
    frames: Tensor
    order: Order
    seed: int | None = None
    span: tuple[int, int] | None = None


def blur_data(
    sources: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    options: BlurOptions | None = None,
    listener: Listener | None = None,
) -> RunReport:
    """Make blurry and sharp pictures out of photos and clips.

    The same sources, options and seed give the same pictures. What is there already from an earlier run with the same
    options is kept, so that an interrupted run can be taken up and `count` raised.

    Parameters
    ----------
    sources : sequence of str or path
        Photos, clips, folders of either, globs.
    out : str or path
        Folder for the result.

    Returns
    -------
    RunReport
        One result per source; what concerns one source alone is an error in it.

    Raises
    ------
    UnblurError
        Options that cannot be met, no usable source, an output that cannot be written or was made otherwise.
    """
    options, listener = (options or BlurOptions()).checked(), listener or Silent()
    report = RunReport("data blur", "exposed")
    clips, photos, report.errors = _find(sources)
    for error in report.errors:
        listener.failed(error)
    if clips or photos:
        maker = _Maker(Path(out), options, clips, photos, listener)
        report.metadata = {"out": str(out), "options": asdict(options)}
        jobs = [Job(source, Path(out)) for source in maker.names]
        with maker.folder:
            run(jobs, maker.expose, report, on_begin=listener.begin, on_done=listener.done, on_error=listener.failed)
        report.metadata |= {"metadata": str(maker.metadata), "exposures": len(maker.entries)}
    return report


@dataclass
class _Maker:
    """Exposes one source after the other, and keeps the metadata."""

    out: Path
    options: BlurOptions
    clips: list[Path]
    photos: list[Path]
    listener: Listener
    entries: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Clips first: what they cannot yield, photos can.
        sources = self.clips + self.photos
        stems = output_paths(sources, self.out / "blurry", suffix="", many=True)
        self.names = {source: path.name for source, path in zip(sources, stems, strict=True)}
        self.metadata = self.out / METADATA
        self.remaining, self.waiting = self.options.count, len(sources)
        self.folder = OutputFolder(self.out, asdict(self.options), free=("count",))
        if self.metadata.exists():
            found = read_metadata(self.metadata, check_pictures=False)
            self.entries = {Path(entry.blurry).stem: entry for entry in found.entries}

    def expose(self, job: Job) -> Outcome:
        """Make this source's share of the exposures."""
        share = ceil(self.remaining / self.waiting)
        self.waiting -= 1
        kept = made = 0
        try:
            names = [f"{self.names[job.source]}_{number:04d}" for number in range(share)]
            kept = sum(self._is_there(name, job.source) for name in names)
            if kept < share:
                exposures = self._exposures(job.source, names)
                for number, (name, exposure) in enumerate(zip(names, exposures, strict=False)):
                    if exposure is not None and not self._is_there(name, job.source):
                        self._store(name, job.source, exposure)
                        made += 1
                    self.listener.progress("exposing", number + 1, share)
        finally:
            self.remaining -= kept + made
            self._write_metadata()
        if share and not kept + made:
            remedy = "use a slower clip or one with more frames per second, a smaller `size` or a larger `max_step`"
            raise UnblurError(job.source, "holds no window that moves, and slowly enough to leave no ghosts", remedy)
        details: dict[str, object] = {"exposures": kept + made, "made": made}
        return Outcome(job, _message(kept, made), details if made or not kept else {**details, "skipped": True})

    def _exposures(self, source: Path, names: list[str]) -> Iterator[_Exposure | None]:
        if source in self.clips:
            return self._of_clip(source)
        return self._of_photo(source, names)

    def _of_clip(self, source: Path) -> Iterator[_Exposure]:
        options, clip = self.options, read_clip(source)
        _check_size(source, clip.height, clip.width, options.size)
        average = options.average or options.averaged
        limits = Limits(max_step=options.max_step, min_side=options.size)
        for found in clip_exposures(
            clip, average, size=options.size, limits=limits, response=options.response, canonical=False
        ):
            step = (average - 1) // max(options.frames - 1, 1)
            frames = found.frames[::step] if options.frames > 1 else found.frames[average // 2][None]
            yield _Exposure(found.blurry, frames, "keep" if found.direction > 0 else "reverse", span=found.span)

    def _of_photo(self, source: Path, names: list[str]) -> Iterator[_Exposure | None]:
        """One exposure per name, None for what is there already."""
        pixels = to_uint8(read_image(source).pixels)
        _check_size(source, pixels.shape[0], pixels.shape[1], self.options.size)
        grey = pixels.astype(np.float32).mean(2).round().astype(np.uint8)
        pixels = shrink(pixels, sharp_factor(grey, min_side=self.options.size) or 1.0)
        for number, name in enumerate(names):
            if self._is_there(name, source):
                yield None
                continue
            seed = _seed(self.options.seed, source.name, number)
            yield _moved(pixels, self.options, seed)

    def _is_there(self, name: str, source: Path) -> bool:
        entry = self.entries.get(name)
        if entry is None:
            return False
        if entry.source != source.name:
            problem = f"{name} in it comes from {entry.source}, not from {source.name}"
            raise UnblurError(self.out, problem, "choose an empty folder")
        return all((self.out / path).is_file() for path in (entry.blurry, *entry.frames))

    def _store(self, name: str, source: Path, exposure: _Exposure) -> None:
        files = [f"sharp/{name}/{i:02d}.png" for i in range(len(exposure.frames))]
        for path, frame in zip(files, exposure.frames, strict=True):
            write_image(self.out / path, Picture(frame))
        # Last, so that a blurry picture is never without its sharp ones.
        write_image(self.out / "blurry" / f"{name}.png", Picture(exposure.blurry))
        blurry = f"blurry/{name}.png"
        self.entries[name] = Entry(
            id_of(blurry),
            exposure.order,
            self.options.split,
            blurry,
            tuple(files),
            source=source.name,
            response=self.options.response,
            size=(self.options.size, self.options.size),
            seed=exposure.seed,
            span=exposure.span,
        )

    def _write_metadata(self) -> None:
        if self.entries:
            entries = tuple(self.entries[name] for name in sorted(self.entries))
            # Not the folder's name: the same options give the same files everywhere.
            write_metadata(self.metadata, Metadata("blur", self.options.frames, entries))


def _moved(pixels: np.ndarray, options: BlurOptions, seed: int) -> _Exposure:
    """A random part of a photo along a random path, perhaps with another part of it in front."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    side = min(*pixels.shape[:2], ceil((options.size + 0.7 * options.length[1]) * SCALE))
    parts = []
    for _ in range(2):
        top, left = (int(rng.integers(n - side + 1)) for n in pixels.shape[:2])
        parts.append(pixels[top : top + side, left : left + side])
    stills = torch.from_numpy(np.stack((parts[0], parts[1][:, ::-1]))).permute(0, 3, 1, 2).float() / 255
    exposure = render(
        stills[:1],
        (options.size, options.size),
        frame_times(options.frames),
        MotionSpec(length=options.length, layer=options.layer),
        CLEAN,
        foreground=stills[1:],
        response=options.response,
        scale=min(SCALE, side / options.size),
        generator=generator,
    )
    return _Exposure(exposure.blurry[0], exposure.frames[0], "keep", seed=seed)


def _find(
    sources: Sequence[str | PathLike[str]],
) -> tuple[list[Path], list[Path], list[UnblurError]]:
    """Clips, photos, and what was wrong; a folder of pictures is a folder of photos."""
    clips: dict[Path, None] = {}
    photos: dict[Path, None] = {}
    errors = []
    for source in sources:
        if Path(source).is_file():
            (clips if is_clip(Path(source)) else photos)[Path(source)] = None
            continue
        found_clips = [path for path in find_clips([source])[0] if not path.is_dir()]
        found_photos, wrong = find_images([source])
        found_photos = [path for path in found_photos if not is_clip(path)]
        clips.update(dict.fromkeys(found_clips))
        photos.update(dict.fromkeys(found_photos))
        if not found_clips and not found_photos:
            errors += wrong or [UnblurError(source, "holds no photo or clip", "name a folder with some")]
    return list(clips), [path for path in photos if path not in clips], errors


def _check_size(source: Path, height: int, width: int, size: int) -> None:
    if min(height, width) < size:
        raise UnblurError(
            source, f"{width} x {height} is smaller than {size} x {size}", f"use `size={min(height, width)}`"
        )


def _seed(seed: int, name: str, number: int) -> int:
    digest = hashlib.sha256(f"{seed} {number} {name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big")


def _message(kept: int, made: int) -> str:
    text = f"{made} exposures" if made != 1 else "1 exposure"
    return f"{text}, {kept} there already" if kept else text
