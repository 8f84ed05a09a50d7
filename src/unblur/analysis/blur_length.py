"""How long is a motion blur? Read from the spectra of the photo alone.

A place that moved by L pixels lost the power along its direction from about 1 / L cycles per pixel on, where the
spectrum of the path, a sinc if it is straight and steady, has its first zero. So the numbers that tell what blur it is,
`analysis.blur_type`, tell how long it is as well: at the size of the photo and at half of it, where long motions fall
into bands that are finer for them. Nothing sharp is needed, so a middle frame that kept some blur does not shorten it.

A logistic regression on the numbers and their squares, with fitted `analysis.coefficients`, gives each place a
distribution over `LENGTHS`; the mean of the places' logits is that of the photo, and its median the length. What is
longer than `LONG` is looked at again at half the size, and so is what is soft all round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.analysis.blur_type import HALVINGS, KINDS, SURE, Spectra, probabilities, quadratic
from unblur.analysis.coefficients import coefficients

LENGTHS = tuple(1.75 * (48 / 1.75) ** (step / 11) for step in range(12))
"""Pixels, equally spaced in their logarithm: the middles of the classes."""
LONG = 32.0
"""Pixels, from which on half the size tells better."""
OWN = 0.5
"""How far a place is believed against the whole photo."""


@dataclass(frozen=True)
class Length:
    """How long the motion of a photo is, in its pixels.

    Attributes
    ----------
    median : float
        Of the photo.
    most : float
        95 % of the places with texture moved less.
    """

    median: float
    most: float


def predict_length(image: Tensor | Spectra) -> Length | None:
    """The length of the motion that a photo is blurred by; None if no place has texture to tell it from.

    As far as it is blurred by motion: of what is out of focus or sharp it tells the motion that would look alike.

    Parameters
    ----------
    image : Tensor or Spectra
        (3, H, W) RGB in [0, 1], stored values, any size; under 64 pixels a side it is always None. Or what its spectra
        tell, to share it with `unblur.analysis.blur_type.classify_blur`.

    Examples
    --------
    >>> predict_length(torch.full((3, 200, 200), 0.5))
    """
    spectra, found = image if isinstance(image, Spectra) else Spectra(image), None
    for halvings in range(HALVINGS + 1):
        (fine, enough), (half, _) = spectra.at(halvings), spectra.at(halvings + 1)
        if enough:
            told = predict(seen(fine), seen(half))
            found = Length(2**halvings * told.median, 2**halvings * told.most)
            if told.median < LONG and not _is_soft(fine):
                break
    return found


def _is_soft(numbers: Tensor) -> bool:
    """Whether places have lost the finest detail all round, as enlarged photos have: it is motion at half the size."""
    return float(probabilities(numbers).mean(0)[KINDS.index("defocus")]) > SURE


def seen(numbers: Tensor) -> Tensor:
    """What is regressed on of places (N, K) as `verdict.described` gives them: (N, 2 K), with the squares."""
    return quadratic(numbers) if len(numbers) else numbers.new_zeros(0, coefficients()["blur_length.mean"].shape[1])


def joined(fine: Tensor, half: Tensor, mean: Tensor | None = None) -> Tensor:
    """(N, 4 K): places at a size, and beside each the mean of those at half of it; zero where nothing is known."""
    here, there = (coefficients()["blur_length.mean"] if mean is None else mean).to(fine)
    rest = half.mean(0) - there if len(half) else torch.zeros_like(there)
    return torch.cat((fine - here, rest.expand_as(fine)), 1)


def predict(fine: Tensor, half: Tensor) -> Length:
    """The length in pixels at the size of the first, of which there are some; both as `seen` gives them."""
    table = coefficients()["blur_length.table"].to(fine)
    logits = joined(fine, half) @ table[:, :-1].T + table[:, -1]
    whole = logits.mean(0, keepdim=True)
    places = medians(torch.lerp(whole, logits, OWN).softmax(1))
    return Length(float(medians(whole.softmax(1))), float(places.quantile(0.95)))


def medians(shares: Tensor) -> Tensor:
    """Of distributions (N, C) over `LENGTHS`, each class spread evenly over its part of the logarithm: (N,) pixels."""
    before = shares.cumsum(1) - shares
    chosen = (before <= 0.5).sum(1, keepdim=True) - 1
    within = (0.5 - before.gather(1, chosen)) / shares.gather(1, chosen)
    step = math.log(LENGTHS[1] / LENGTHS[0])
    return (math.log(LENGTHS[0]) + step * (chosen + within - 0.5))[:, 0].exp()
