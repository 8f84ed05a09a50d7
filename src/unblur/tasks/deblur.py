"""A blurry picture in, a sharp one out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from unblur.media.image import Picture
from unblur.runtime.film import film_of
from unblur.runtime.runner import finished
from unblur.runtime.tiling import tiled, until_it_fits
from unblur.tasks.engine import Engine, load
from unblur.tasks.report import Residual, measure_residual
from unblur.tasks.source import Source, name_of, open_picture

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Deblurred:
    """A sharp picture and the check it carries.

    Attributes
    ----------
    picture : Picture
        With the depth, alpha, greyness and profile of the blurry one.
    residual : Residual or None
        How far the film that the picture is taken from is from explaining the blur; None if the model makes no film.
    tile : int
        Side of the tiles that were used.
    engine : Engine
        What made it.
    """

    picture: Picture
    residual: Residual | None
    tile: int
    engine: Engine

    @property
    def image(self) -> Tensor:
        """The sharp picture, (3, H, W) float32 in [0, 1]."""
        return self.picture.pixels

    def save(self, path: str | PathLike[str], quality: int = 95) -> Path:
        """Write it; the suffix decides the format. Written whole or not at all."""
        return self.picture.save(Path(path), quality=quality)


def deblur(
    source: Source,
    model: str | PathLike[str] | nn.Module | Engine | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Deblurred:
    """Make a blurry picture sharp, as it was in the middle of the exposure.

    Parameters
    ----------
    source : path, Picture or Tensor
        A file, or a picture in memory; a tensor is (3, H, W) or (1, 3, H, W), RGB in [0, 1].
    model, device, dtype, tile
        See `unblur.load`.
    max_pixels : int, optional
        Refuse files with more pixels.
    progress : callable, optional
        Called with (stage, steps done, steps in all).

    Raises
    ------
    UnblurError
        The file cannot be read, an option cannot be met, or memory ran out.

    Examples
    --------
    >>> unblur.deblur("photo.jpg").save("sharp.jpg")                 # doctest: +SKIP
    """
    engine = load(model, device, dtype, tile)
    picture = open_picture(source, max_pixels)
    subject, blurry = name_of(picture), picture.pixels[None]
    tell = _staged(progress, "sharpening")
    if tell is not None:
        tell(0, 1)
    if not engine.is_film:
        sharp, side = _single(engine, blurry, subject, tell)
        return Deblurred(picture.with_pixels(sharp), None, side, engine)
    film = film_of(engine.runner, blurry, tile=engine.tile, subject=subject, progress=tell)
    sharp = next(film.frames([0.5]))
    if progress is not None:
        progress("checking", 0, 1)
    residual = measure_residual(film, picture.pixels)
    return Deblurred(picture.with_pixels(sharp), residual, film.tile, engine)


def _single(
    engine: Engine, blurry: Tensor, subject: str, progress: Callable[[int, int], None] | None
) -> tuple[Tensor, int]:
    """The picture (3, H, W) of a network that makes only one, and the tile."""
    runner = engine.runner
    height, width = blurry.shape[-2:]
    cost = lambda: runner.cost("forward", lambda side: runner.forward(runner.grey(side)))  # noqa: E731
    run = lambda side: tiled(  # noqa: E731
        runner.forward,
        blurry,
        tile=side,
        overlap=runner.overlap,
        multiple=runner.multiple,
        ramp=runner.ramp,
        store="cpu",
        progress=progress,
    )
    side = runner.tile(height, width, engine.tile, cost)
    result, side = until_it_fits(run, side, smallest=runner.smallest, subject=subject)
    return finished(result[0], subject), side


def _staged(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)
