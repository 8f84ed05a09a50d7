"""A blurry picture in, the film of its exposure out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unblur.analysis.blur_type import Verdict
from unblur.analysis.motion_field import Field, measure_field
from unblur.errors import UnblurError, UsageError
from unblur.exposure.average import frame_times
from unblur.media.image import Picture
from unblur.media.video import write_clip
from unblur.models.registry import DEFAULT, network_name
from unblur.pipeline.compositing import PatchedFilm
from unblur.pipeline.consistency import STEPS, consistency_steps
from unblur.pipeline.film import AnyFilm
from unblur.pipeline.refine import Refinement
from unblur.pipeline.residual import Residual, measure_residual
from unblur.pipeline.restore import Pipeline, Progress, load
from unblur.tasks.blur_check import check_blur, warning_of
from unblur.tasks.faces import Faces, RestoredFaces
from unblur.tasks.inputs import Source, name_of, open_picture

Method = Literal["paths", "jin", "purohit"]


class Film:
    """Sharp frames at given times of the exposure of one picture, made as they are asked for.

    Iterating gives (3, H, W) float32 tensors in [0, 1], one by one, so a film of any length takes the memory of a few
    frames. Alpha is not part of the frames.

    Attributes
    ----------
    times : tuple of float
        In [0, 1], one for each frame.
    reverse : bool
        Whether the film runs against the model's own direction of time: blur does not tell which way things moved.
    picture : Picture
        The blurry picture.
    pipeline : Pipeline
        What makes it.
    tile : int
        Side of the tiles that were used for the sharp frame.
    refinement : Refinement or None
        What refining came to, if it was asked for.
    verdict : Verdict or None
        Whether motion blurred the photo at all, if that was looked at.
    faces : RestoredFaces or None
        What became of each face, if faces were restored by themselves.
    """

    def __init__(
        self,
        picture: Picture,
        film: AnyFilm | PatchedFilm,
        times: Sequence[float],
        reverse: bool,
        pipeline: Pipeline,
        tile: int,
        refinement: Refinement | None = None,
        verdict: Verdict | None = None,
        faces: RestoredFaces | None = None,
    ) -> None:
        self.picture = picture
        self.times = tuple(times)
        self.reverse = reverse
        self.pipeline = pipeline
        self.tile = tile
        self.refinement = refinement
        self.verdict = verdict
        self.faces = faces
        self._film = film

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Tensor]:
        return self.frames()

    def frames(self) -> Iterator[Tensor]:
        """Make the frames, (3, H, W) float32 in [0, 1], one after the other; grey pictures give grey frames."""
        yield from self.at([1 - time for time in self.times] if self.reverse else self.times)

    def at(self, times: Sequence[float]) -> Iterator[Tensor]:
        """Frames at other times, as the model has them, whatever `reverse` says."""
        for frame in self._film.frames(list(times)):
            yield frame.mean(0, keepdim=True).expand(3, -1, -1) if self.picture.grey else frame

    @property
    def field(self) -> Field | None:
        """The paths that it follows, as the model has them, thinned out; None if it was made in another way."""
        paths = self._film.paths
        return None if paths is None else measure_field(paths, self.picture.pixels)

    def turn(self) -> None:
        """Let it run the other way."""
        self.reverse = not self.reverse

    @property
    def warning(self) -> str | None:
        """One line where the photo is out of focus or sharp already, rather than blurred by motion."""
        return warning_of(self.verdict)

    def tensor(self) -> Tensor:
        """All frames at once, (T, 3, H, W)."""
        return torch.stack(list(self.frames()))

    @cached_property
    def residual(self) -> Residual:
        """How far the film, averaged over the whole exposure, is from the blurry picture."""
        return measure_residual(self._film, self.picture.pixels)

    def save(self, path: str | PathLike[str], fps: float = 25.0, *, progress: Progress | None = None) -> Path:
        """Write a .mp4, .gif or .webp file, or a folder of PNGs if `path` has no suffix; whole or not at all."""
        return write_clip(path, self._told(progress), fps=fps, count=len(self))

    def _told(self, progress: Progress | None) -> Iterator[Tensor]:
        for done, frame in enumerate(self.frames(), 1):
            yield frame
            if progress is not None:
                progress("frames", done, len(self))


def frames(
    source: Source,
    n: int = 7,
    times: Sequence[float] | None = None,
    reverse: bool = False,
    model: str | PathLike[str] | nn.Module | Pipeline | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    sharp: Source | None = None,
    refine: bool = False,
    data_consistency: int | None = None,
    check: bool = True,
    faces: Faces | None = None,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Film:
    """Give back the moments that a blurry picture is the average of.

    Parameters
    ----------
    source : path, Picture or Tensor
        A file, or a picture in memory; a tensor is (3, H, W) or (1, 3, H, W), RGB in [0, 1].
    n : int
        Number of frames, from the opening of the shutter (t = 0) to its closing (t = 1); 1 gives the middle.
    times : sequence of float, optional
        Times in [0, 1], in any order, in place of `n`.
    reverse : bool
        Run the film the other way.
    model, device, dtype, tile
        See `unblur.load`; without a model the best one is taken if it is quick enough for this picture, else the fast.
        A model for single pictures makes the middle frame, and the film follows from it. A cascade makes seven frames,
        so that `n` is 7, or `times` are sixths.
    sharp : path, Picture or Tensor, optional
        The middle frame, from any other program, in place of one that a model makes.
    refine : bool
        Bend the paths until the mean of the film is nearer to the photo; see `unblur.pipeline.refine`. Pays with a
        sharp middle frame; where that is still blurred, the paths stay as they are.
    data_consistency : int, optional
        Steps that bring the photo's own light back into the middle frame; see `unblur.deblur`. By default none where
        `sharp` is given.
    check : bool
        See whether it is motion that blurred the picture.
    faces : Faces, optional
        Restores faces by a model of their own; see `unblur.load_faces`.
    max_pixels : int, optional
        Refuse files with more pixels.
    progress : callable, optional
        Called with (stage, steps done, steps in all).

    Raises
    ------
    UnblurError
        The file cannot be read, an option cannot be met, `sharp` does not fit, or memory ran out.

    Examples
    --------
    >>> unblur.frames("photo.jpg", n=51).save("moment.mp4")          # doctest: +SKIP
    """
    chosen = checked_times(n, times)
    steps = consistency_steps(data_consistency, STEPS if sharp is None else 0)
    picture = open_picture(source, max_pixels)
    if sharp is None:
        pipeline, middle = load(model, device, dtype, tile, sizes=[picture.width * picture.height]), None
    else:
        pipeline = load(DEFAULT if model is None else model, device, dtype, tile)
        middle = _middle_frame(open_picture(sharp, max_pixels), picture, pipeline)
    pipeline.check_times(chosen, *(("n", n) if times is None else ("times", None)))
    if refine:
        pipeline.check_paths("refine")
    made = pipeline.restore(
        picture.pixels[None],
        name_of(picture),
        sharp=middle,
        refine=refine,
        data_consistency=steps,
        residual=True,
        progress=progress,
    )
    assert made.film is not None
    verdict = check_blur(made) if check else None
    restored = None if faces is None else faces.restore(picture, progress=progress)
    film = made.film if restored is None else restored.film(made.film)
    return Film(picture, film, chosen, reverse, pipeline, made.tile, made.refinement, verdict, restored)


def _middle_frame(sharp: Picture, blurry: Picture, pipeline: Pipeline) -> Tensor:
    """The user's own middle frame, (1, 3, H, W), where it can be one."""
    pipeline.check_starts_from_sharp()
    if (sharp.width, sharp.height) != (blurry.width, blurry.height):
        problem = f"is {sharp.width}x{sharp.height}, but the photo {blurry.width}x{blurry.height}"
        raise UnblurError(name_of(sharp), problem, "give the sharp picture in the photo's size")
    return sharp.pixels[None]


def check_method(pipeline: Pipeline, method: Method) -> None:
    """Refuse a model that makes films in another way.

    Raises
    ------
    UsageError
    """
    network = network_name(pipeline.film.network)
    if (method == "paths") != pipeline.has_paths or (method != "paths" and network != method):
        problem = f"{pipeline.name} makes its films in another way"
        raise UsageError("method", method, problem, "leave one of the two out")


def checked_times(n: int, times: Sequence[float] | None) -> list[float]:
    """The times asked for, in [0, 1].

    Raises
    ------
    UsageError
    """
    if times is None:
        if n < 1:
            raise UsageError("n", n, "not a number of frames", "use 1 or more")
        return [round(time, 7) for time in frame_times(n).tolist()]
    chosen = [float(time) for time in times]
    outside = [time for time in chosen if not 0 <= time <= 1]
    if outside or not chosen:
        given = ",".join(f"{time:g}" for time in chosen)
        raise UsageError("times", given, "not times of the exposure", "use numbers from 0 to 1, as in 0,0.5,1")
    return chosen
