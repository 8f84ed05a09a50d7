"""A photo in; what kind of blur it has, how long, which way, and a picture of it out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from unblur.analysis.blur_length import Length, predict_length
from unblur.analysis.blur_type import UNSURE, Spectra, Verdict, classify_blur
from unblur.analysis.motion_field import Field, Motion
from unblur.media.image import Picture
from unblur.pipeline.restore import Pipeline, Progress, load
from unblur.tasks.inputs import Source, name_of, open_picture
from unblur.tasks.plots import draw_field

DESCRIPTIONS = {
    "motion": "motion blur",
    "defocus": "out of focus",
    "sharp": "sharp already",
    UNSURE: "cannot tell what blur it has, if any",
}


@dataclass(frozen=True)
class Inspected:
    """What is known of a photo's blur.

    Attributes
    ----------
    picture : Picture
        The photo.
    verdict : Verdict
        Motion, defocus, sharp, or unsure.
    field : Field
        The paths found; they mean little where the verdict is not motion.
    tile : int
        Side of the tiles that were used.
    pipeline : Pipeline
        What found the paths.
    spectra : Spectra
        Of the photo, which the verdict was read from.
    """

    picture: Picture
    verdict: Verdict
    field: Field
    tile: int
    pipeline: Pipeline
    spectra: Spectra

    @cached_property
    def motion(self) -> Motion:
        """How long and which way; it means little where the verdict is not motion."""
        return self.field.motion(self.length)

    @cached_property
    def length(self) -> Length | None:
        """How long by the photo's spectra alone, whatever the model.

        None where the verdict is sharp or defocus, since they tell how long a motion is, not whether there was one; and
        where no place has texture to tell it from.
        """
        return predict_length(self.spectra) if self.verdict.kind in ("motion", UNSURE) else None

    @cached_property
    def drawing(self) -> Picture:
        """The photo, dimmed, with the paths of a grid of places."""
        return Picture(draw_field(self.picture.pixels, self.field, self.length))

    def save(self, path: str | PathLike[str], quality: int = 95) -> Path:
        """Write the drawing; the suffix decides the format. Written whole or not at all."""
        return self.drawing.save(Path(path), quality=quality)

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {**self.verdict.as_dict(), "motion": self.motion.as_dict()}

    def __str__(self) -> str:
        kind = self.verdict.kind
        said = DESCRIPTIONS[kind]
        if kind != UNSURE:
            said += f" ({100 * getattr(self.verdict, kind):.0f} %)"
        return f"{said}, {self.motion}" if kind == "motion" else said


def inspect(
    source: Source,
    model: str | PathLike[str] | nn.Module | Pipeline | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Inspected:
    """Tell whether a photo is blurred by motion, how far and which way, or out of focus, or sharp.

    Parameters
    ----------
    source : path, Picture or Tensor
        A file, or a picture in memory; a tensor is (3, H, W) or (1, 3, H, W), RGB in [0, 1].
    model, device, dtype, tile
        See `unblur.load`; without a model the best one is taken if it is quick enough for this picture, else the fast.
    max_pixels : int, optional
        Refuse files with more pixels.
    progress : callable, optional
        Called with (stage, steps done, steps in all).

    Raises
    ------
    UnblurError
        The file cannot be read, an option cannot be met, the model finds no paths, or memory ran out.

    Examples
    --------
    >>> unblur.inspect("photo.jpg").motion.length                    # doctest: +SKIP
    """
    picture = open_picture(source, max_pixels)
    pipeline = load(model, device, dtype, tile, sizes=[picture.width * picture.height])
    pipeline.check_paths()
    made = pipeline.restore(picture.pixels[None], name_of(picture), data_consistency=0, progress=progress)
    assert made.motion is not None
    spectra = Spectra(picture.pixels)
    verdict = classify_blur(spectra, made.motion.motion().path_length)
    return Inspected(picture, verdict, made.motion, made.tile, pipeline, spectra)
