"""The augmentation of HyperCUT: one change for a blurry picture and all its frames alike."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin, tan
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from unblur.data.pictures import Pixels

Floats = NDArray[Any]  # float32


@dataclass(frozen=True)
class Augmentation:
    """How pictures are changed while a network learns; the defaults are those of HyperCUT.

    Attributes
    ----------
    affine : float
        Share of exposures that are moved, turned and sheared.
    translate : float
        At most, as a share of the side.
    rotate, shear : float
        At most, in degrees.
    jitter : float
        Share of exposures whose colours change.
    brightness, contrast : float
        The factors are drawn from 1 - this to 1 + this.
    noise : float
        Share of exposures with noise.
    sigma : (float, float)
        Its standard deviation, for values in [0, 1].
    noise_on : {"blurry", "all"}
        The released program has noise on the sharp frames too, so that its networks learn to make some.
    near : float
        Where a person is known, each side of the crop is moved from theirs so far towards the picture's edge, at most.
    enlarge : float
        Pictures are enlarged by a factor between 1 and this before they are cropped; CFMD-GAN has 1.5.
    mirror : float
        Share of exposures that are seen in a mirror, and learned at 1 - t: for frames that are sorted from left to
        right, see `datasets.face_windows`. Leave it 0 where frames are sorted in another way.
    """

    affine: float = 0.6
    translate: float = 0.05
    rotate: float = 5.0
    shear: float = 7.0
    jitter: float = 0.6
    brightness: float = 0.4
    contrast: float = 0.3
    noise: float = 0.4
    sigma: tuple[float, float] = (0.0124, 0.0277)
    noise_on: Literal["blurry", "all"] = "blurry"
    near: float = 0.1
    enlarge: float = 1.0
    mirror: float = 0.0

    def __post_init__(self) -> None:
        if self.enlarge < 1:
            raise ValueError(f"augmentation.enlarge must be 1 or more, got {self.enlarge}")


NO_CHANGE = Augmentation(affine=0, jitter=0, noise=0)
"""Crops at random places, and nothing else."""


def moved(pictures: Pixels, how: Augmentation, rng: np.random.Generator) -> Pixels:
    """(N, H, W, 3) uint8 moved, turned and sheared, all alike; mirrored at their edges."""
    chosen, shifts, angles = rng.random(), rng.uniform(-1, 1, 2), rng.uniform(-1, 1, 3)
    if chosen >= how.affine:
        return pictures
    height, width = pictures.shape[1:3]
    turn, (right, down) = radians(how.rotate * angles[0]), np.array([width, height]) * how.translate * shifts
    across, along = (tan(radians(how.shear * angle)) for angle in angles[1:])
    matrix = np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]]) @ np.array([[1, across], [along, 1]])
    middle = np.array([width - 1, height - 1]) / 2
    offset = middle - matrix @ middle + (right, down)
    warp = np.hstack((matrix, offset[:, None]))
    warped = [
        cv2.warpAffine(one, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for one in pictures
    ]
    return np.stack(warped)


def enlarged(pictures: Pixels, how: Augmentation, rng: np.random.Generator) -> Pixels:
    """(N, H, W, 3) uint8 to (N, H', W', 3), all by one factor."""
    if how.enlarge == 1:
        return pictures
    factor = rng.uniform(1, how.enlarge)
    height, width = (round(side * factor) for side in pictures.shape[1:3])
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in pictures])


def recoloured(pictures: Floats, how: Augmentation, rng: np.random.Generator) -> Floats:
    """(N, H, W, 3) float32 in [0, 1], the blurry picture first, brighter and with more contrast, all alike."""
    chosen, brightness, contrast = rng.random(), rng.uniform(-1, 1), rng.uniform(-1, 1)
    if chosen >= how.jitter:
        return pictures
    brighter = pictures * np.float32(1 + how.brightness * brightness)
    grey = brighter[0].mean()
    return np.clip(grey + (brighter - grey) * np.float32(1 + how.contrast * contrast), 0, 1)


def noisy(pictures: Floats, how: Augmentation, rng: np.random.Generator) -> Floats:
    """(N, H, W, 3) float32 in [0, 1], the blurry picture first, with noise on it, or on each."""
    chosen, sigma = rng.random(), np.float32(rng.uniform(*how.sigma))
    if chosen >= how.noise:
        return pictures
    count = len(pictures) if how.noise_on == "all" else 1
    noise = rng.standard_normal((count, *pictures.shape[1:]), dtype=np.float32)
    return np.concatenate((np.clip(pictures[:count] + sigma * noise, 0, 1), pictures[count:]))
