"""Blurs read from one pair of pictures, put on others, and drawn anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from unblur.errors import UnblurError, UsageError
from unblur.media.image import Picture
from unblur.metrics.fidelity import psnr
from unblur.pipeline.blur_transfer import BlurCode, BlurSpace, Model, load_blur_space, seed_of
from unblur.tasks.inputs import Source, name_of, open_picture


@dataclass(frozen=True)
class Reblurred:
    """A sharp picture with a blur put on it.

    Attributes
    ----------
    picture : Picture
        With the depth, alpha, greyness and profile of the sharp one.
    code : BlurCode
        The blur.
    space : BlurSpace
        What put it on.
    """

    picture: Picture
    code: BlurCode
    space: BlurSpace

    @property
    def image(self) -> Tensor:
        """The blurry picture, (3, H, W) float32 in [0, 1]."""
        return self.picture.pixels

    def save(self, path: str | PathLike[str], quality: int = 95) -> Path:
        """Write it; the suffix decides the format. Written whole or not at all."""
        return self.picture.save(Path(path), quality=quality)


@dataclass(frozen=True)
class Reading:
    """A code, and how well it explains the pair that it was read from.

    Attributes
    ----------
    code : BlurCode
    psnr : float
        dB, of the sharp picture with the code put on it against the blurry one.
    before : float
        dB, of the sharp picture itself against the blurry one.
    """

    code: BlurCode
    psnr: float
    before: float

    def __str__(self) -> str:
        return f"read the blur to {self.psnr:.1f} dB (the pair is {self.before:.1f} dB apart)"

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {"reconstruction_psnr": round(self.psnr, 3), "pair_psnr": round(self.before, 3)}


def encode_blur(
    sharp: Source,
    blurry: Source,
    model: Model = None,
    device: str | torch.device = "auto",
    *,
    max_pixels: int | None = None,
) -> BlurCode:
    """Read the blur between a sharp picture and a blurry one of the same scene.

    Parameters
    ----------
    sharp, blurry : path, Picture or Tensor
        Of one size; a tensor is (3, H, W) or (1, 3, H, W), RGB in [0, 1].
    model : str, path, Module or BlurSpace, optional
        A blur space, "blur-space-small" if left out.
    device : str
        "auto", "cpu", "cuda", ...

    Raises
    ------
    UnblurError
        A file cannot be read, the sizes differ, or the model is no blur space.

    Examples
    --------
    >>> code = unblur.encode_blur("sharp.png", "blurry.png")         # doctest: +SKIP
    >>> unblur.apply_blur("other.png", code).save("moved.png")       # doctest: +SKIP
    """
    space = load_blur_space(model, device)
    one, other = _pair(sharp, blurry, max_pixels)
    return space.encode(one.pixels, other.pixels, name_of(other))


def read_blur(sharp: Source, blurry: Source, model: Model = None, *, max_pixels: int | None = None) -> Reading:
    """`encode_blur`, and how much of the blur the code explains."""
    space = load_blur_space(model)
    one, other = _pair(sharp, blurry, max_pixels)
    code = space.encode(one.pixels, other.pixels, name_of(other))
    again = space.apply(one.pixels, code, name_of(one))
    return Reading(code, float(psnr(again, other.pixels)), float(psnr(one.pixels, other.pixels)))


def apply_blur(
    source: Source,
    code: BlurCode | str | PathLike[str],
    model: Model = None,
    device: str | torch.device = "auto",
    *,
    max_pixels: int | None = None,
) -> Reblurred:
    """Put a blur on a sharp picture of any size.

    The code of a picture of another size is fitted: its motion is stretched over the picture, and its length in pixels
    kept.

    Parameters
    ----------
    source : path, Picture or Tensor
        The sharp picture.
    code : BlurCode or path
        From `encode_blur`, or a file of one.
    model, device
        See `encode_blur`.

    Raises
    ------
    UnblurError
        A file cannot be read, the code belongs to another model, or memory ran out.
    """
    space = load_blur_space(model, device)
    picture = open_picture(source, max_pixels)
    chosen = code if isinstance(code, BlurCode) else BlurCode.load(code)
    return Reblurred(picture.with_pixels(space.apply(picture.pixels, chosen, name_of(picture))), chosen, space)


def sample_blur(
    source: Source,
    n: int = 1,
    seed: int = 0,
    model: Model = None,
    device: str | torch.device = "auto",
    *,
    max_pixels: int | None = None,
) -> list[Reblurred]:
    """Put `n` blurs that never were on a sharp picture.

    The same seed gives the same blurs; the first of five is the only one of one.

    Parameters
    ----------
    source : path, Picture or Tensor
        The sharp picture.
    n : int
        How many, 1 or more.
    seed : int
        Any number.
    model, device
        See `encode_blur`; the blur space must be variational.

    Raises
    ------
    UnblurError
        The file cannot be read, the model knows no prior, or memory ran out.
    """
    return list(each_sample(open_picture(source, max_pixels), n, seed, load_blur_space(model, device)))


def each_sample(picture: Picture, n: int, seed: int, space: BlurSpace) -> Iterator[Reblurred]:
    """See `sample_blur`; one after the other."""
    if n < 1:
        raise UsageError("n", n, "not a number of blurs", "use 1 or more")
    for number in range(n):
        code = space.draw(picture.height, picture.width, seed_of(seed, number))
        yield Reblurred(picture.with_pixels(space.apply(picture.pixels, code, name_of(picture))), code, space)


def _pair(sharp: Source, blurry: Source, max_pixels: int | None) -> tuple[Picture, Picture]:
    one, other = (open_picture(source, max_pixels) for source in (sharp, blurry))
    if one.pixels.shape != other.pixels.shape:
        sizes = [f"{picture.width}x{picture.height}" for picture in (one, other)]
        problem = f"is {sizes[1]}, but its sharp picture {name_of(one)} is {sizes[0]}"
        raise UnblurError(name_of(other), problem, "name two pictures of one scene and size")
    return one, other
