"""Is a photo blurred by motion, out of focus, or sharp? Read from its spectra.

The power of natural pictures falls with frequency about alike in every direction. Motion takes the high frequencies
along its direction and leaves those across it; a lens out of focus takes them in all directions; a sharp photo keeps
them. So each place of the photo (128 x 128 pixels, nine windows under Hann's) is described by the logarithm of its
power, above the noise, in six bands of frequency: how it falls along the direction of least power and across it, how
unlike the two are, how well the windows agree on that direction. A logistic regression on these numbers and their
squares, with fitted `analysis.coefficients`, gives three probabilities, and their means over all places with texture
the verdict.

What is drawn out in one direction by itself, waves or grass, can look sharp still when it has moved along it. So if
paths were found they are asked too, before a photo is called sharp. And a photo with a soft background is not out of
focus.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.analysis.coefficients import coefficients
from unblur.layers.spectral import faded

KINDS = ("sharp", "motion", "defocus")
UNSURE = "unsure"
WINDOW, STRIDE, PLACE = 64, 32, 128
BANDS = (0.022, 0.045, 0.075, 0.12, 0.18, 0.27, 0.42)
"""Limits of the bands of frequency, in cycles per pixel."""
SECTORS = 8
MOST = 256
"""Places that are looked at, at most: enough for a photo of any size."""
HALVINGS = 3
SURE = 0.5
"""The probability from which on a verdict is given."""
SHORTEST = 3.0
"""Pixels; the shortest motion that the coefficients were fitted to see."""
IN_FOCUS = 0.1
"""The share of sharp places from which on a photo is not out of focus but focused there."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Verdict:
    """What kind of blur a photo has.

    Attributes
    ----------
    kind : str
        "motion", "defocus", "sharp", or "unsure".
    sharp, motion, defocus : float
        Probabilities, their sum 1: means over the places; thirds if there are none.
    places : int
        Places with enough texture to tell.
    """

    kind: str
    sharp: float
    motion: float
    defocus: float
    places: int

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        shares = {kind: round(getattr(self, kind), 3) for kind in KINDS}
        return {"verdict": self.kind, "probabilities": shares, "places": self.places}


class Spectra:
    """What the spectra of a photo tell, at its size and at halves of it: each is looked at once, when it is asked for.

    Parameters
    ----------
    image : Tensor
        (3, H, W) RGB in [0, 1], stored values.
    """

    def __init__(self, image: Tensor) -> None:
        self.side = min(image.shape[-2:])
        self._grey = grey_of(image)
        self._known: list[tuple[Tensor, bool]] = []

    def at(self, halvings: int) -> tuple[Tensor, bool]:
        """As `spectral_features` tells of the photo, its sides halved so often."""
        while len(self._known) <= halvings:
            self._grey = _halved(self._grey) if self._known else self._grey
            self._known.append(spectral_features(self._grey))
        return self._known[halvings]


def classify_blur(image: Tensor | Spectra, length: float | None = None) -> Verdict:
    """Tell whether a photo is blurred by motion, out of focus, or sharp.

    Parameters
    ----------
    image : Tensor or Spectra
        (3, H, W) RGB in [0, 1], stored values, any size; under 64 pixels a side it is always "unsure". Or what its
        spectra tell, to share it with `unblur.analysis.blur_length.predict_length`.
    length : float, optional
        Of the motion that a path network found, in pixels: what looks sharp but was found to move is "unsure".

    Examples
    --------
    >>> classify_blur(torch.full((3, 200, 200), 0.5)).kind
    'unsure'
    """
    described = describe(image)
    if not len(described):
        return Verdict(UNSURE, 1 / 3, 1 / 3, 1 / 3, 0)
    places = probabilities(described)
    sharp, motion, defocus = places.mean(0).tolist()
    return Verdict(_decided(places, length), sharp, motion, defocus, len(described))


def _decided(places: Tensor, length: float | None) -> str:
    shares = places.mean(0)
    kind = KINDS[int(shares.argmax())]
    in_focus = (places.argmax(1) == 0).float().mean()
    doubtful = {
        "sharp": length is not None and length > SHORTEST,
        "defocus": bool(in_focus > IN_FOCUS),
        "motion": False,
    }
    return UNSURE if doubtful[kind] or shares.max() < SURE else kind


def probabilities(described: Tensor) -> Tensor:
    """Of sharp, motion and defocus, (N, 3), for places (N, K) as `describe` gives them."""
    known = coefficients()
    centre, table = known["blur_type.centre"].to(described), known["blur_type.table"].to(described)
    return (quadratic(described - centre) @ table[:, :-1].T + table[:, -1]).softmax(1)


def quadratic(numbers: Tensor) -> Tensor:
    """(N, K) numbers and their squares, (N, 2 K): a blur leaves a band neither too much power nor too little."""
    return torch.cat((numbers, numbers.square()), 1)


def describe(image: Tensor | Spectra) -> Tensor:
    """The numbers (N, K) that tell the blur of N places with texture; N is 0 if there are none."""
    spectra = image if isinstance(image, Spectra) else Spectra(image)
    for halvings in range(HALVINGS + 1):
        found, enough = spectra.at(halvings)
        # What is smooth all over at this size may be told at half of it.
        if enough or spectra.side >> halvings < 2 * PLACE:
            break
    return found


def grey_of(image: Tensor) -> Tensor:
    """(3, H, W) to (H, W), stored values, on the CPU."""
    return torch.einsum("chw,c->hw", image.detach().float().cpu(), torch.tensor(LUMA))


def _halved(grey: Tensor) -> Tensor:
    """(H, W) to (H // 2, W // 2); to nothing where no window would fit."""
    return F.avg_pool2d(grey[None], 2)[0] if min(grey.shape) >= 2 * WINDOW else grey.new_zeros(0, 0)


def spectral_features(grey: Tensor) -> tuple[Tensor, bool]:
    """The numbers of the places of (H, W) with texture, and whether so many have some that they speak for it."""
    power = powers(grey)
    found = _described(power) if len(power) else power.new_zeros(0, 1)
    return found, 0 < len(found) >= max(min(3, len(power)), len(power) / 16)


def powers(grey: Tensor) -> Tensor:
    """Power (N, windows, SECTORS, bands) per frequency in up to `MOST` places of (H, W)."""
    if min(grey.shape) < WINDOW:
        return grey.new_zeros(0, 1, SECTORS, len(BANDS) - 1)
    height, width = (min(PLACE, side // STRIDE * STRIDE) for side in grey.shape)
    step = PLACE // 2
    while math.prod((side - size) // step + 1 for side, size in zip(grey.shape, (height, width), strict=True)) > MOST:
        step += STRIDE
    places = grey.unfold(0, height, step).unfold(1, width, step).flatten(0, 1)
    windows = places.unfold(1, WINDOW, STRIDE).unfold(2, WINDOW, STRIDE).flatten(1, 2)
    found = [torch.fft.rfft2(faded(some)).abs().square() for some in windows.split(64)]
    return torch.cat([torch.einsum("pnij,sbij->pnsb", some, _masks()) for some in found])


@cache
def _masks() -> Tensor:
    """Means over each sector and band of a spectrum, (SECTORS, bands, WINDOW, WINDOW / 2 + 1).

    White noise of variance 1 has power 1.
    """
    y, x = torch.fft.fftfreq(WINDOW)[:, None], torch.fft.rfftfreq(WINDOW)
    radius, angle = torch.hypot(x, y), torch.atan2(y, x.expand(WINDOW, -1)) % math.pi
    sector = (angle / math.pi * SECTORS).round() % SECTORS
    twice = torch.where((x == 0) | (x == 0.5), 1.0, 2.0)
    masks = torch.stack(
        [
            torch.stack([((sector == s) & (radius >= low) & (radius < high)) * twice for low, high in _bands()])
            for s in range(SECTORS)
        ]
    )
    taper = torch.hann_window(WINDOW, periodic=False)
    return masks / masks.sum((-1, -2), keepdim=True) / taper.square().sum() ** 2


def _bands() -> list[tuple[float, float]]:
    return list(pairwise(BANDS))


def _described(power: Tensor) -> Tensor:
    noise = power[..., -1].mean(-1).flatten().quantile(0.05)
    floor = noise + (0.35 / 255) ** 2  # the rounding to whole grey levels
    clean = (power - noise).clamp_min(0) + 0.25 * floor
    texture = clean[..., 1:4].mean((-1, -2))
    good = texture > 6 * floor
    kept = good.float().mean(1) >= 1 / 3
    weight = (texture.pow(0.25) * good)[kept]
    return _numbers(clean[kept].log(), weight / weight.sum(1, keepdim=True), noise)


def _numbers(level: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
    """From the log power (N, windows, SECTORS, bands) of windows of some weight (N, windows)."""
    angle = 2 * math.pi * torch.arange(SECTORS) / SECTORS  # doubled: a direction and its opposite are one
    wave = torch.stack((angle.cos(), angle.sin()))
    mean = torch.einsum("pnsb,pn->psb", level, weight)
    tilt = torch.einsum("pnsb,ks->pnbk", level, wave) * (2 / SECTORS)
    total = torch.einsum("pnbk,pn->pbk", tilt, weight)
    unlike = total.norm(dim=-1)
    agreed = unlike / (torch.einsum("pnb,pn->pb", tilt.norm(dim=-1), weight) + 1e-6)
    most = torch.atan2(*total[:, 1:].sum(1).flip(-1).unbind(-1))
    look = lambda way: torch.einsum("psb,ps->pb", mean, (6 * (angle - way[:, None]).cos()).softmax(1))  # noqa: E731
    along, across = look(most + math.pi), look(most)
    grain = noise.sqrt().mul(255).clamp_min(0.05).log().expand(len(level), 1)
    return torch.cat(
        (along.diff(), across.diff(), across - along, (unlike + 0.05).log(), agreed, mean.mean(1).diff(), grain), 1
    )
