"""How far one set of pictures is from another: the Frechet distance between the features that a network gives them.

A network gives each picture D numbers, and each set is taken for a Gaussian with their mean m and covariance S:

    d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)      (Heusel et al., NeurIPS 2017, equation 6)

The number means nothing without the name of the network: only with the Inception of 2015 it is FID, see
`unblur.models.feature_networks`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from unblur.exposure.average import quantise

BATCH_SIZE = 16
"""Pictures that a network is given at a time: features take more memory than pictures."""


class Moments:
    """Mean and covariance of vectors that come in batches; no vector is kept.

    Parameters
    ----------
    length : int
        D, of each vector.

    Attributes
    ----------
    count : int
        Vectors so far.
    mean : Tensor
        (D,) float64, on the CPU.
    scatter : Tensor
        (D, D) float64: the sum of the outer products of deviations from the mean.
    """

    def __init__(self, length: int) -> None:
        self.count = 0
        self.mean = torch.zeros(length, dtype=torch.float64)
        self.scatter = torch.zeros(length, length, dtype=torch.float64)
        self._root: Tensor | None = None

    def add(self, vectors: Tensor) -> None:
        """Add vectors (N, D).

        Means and sums of squares of both parts are joined (Chan, Golub, LeVeque, 1979), which loses no digits where the
        mean is large.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise ValueError(f"vectors must be (N, {len(self.mean)}), got {tuple(vectors.shape)}")
        if not len(vectors):
            return
        vectors = vectors.detach().cpu().double()
        mean = vectors.mean(0)
        off = vectors - mean
        self._join(len(vectors), mean, off.mT @ off)

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        self._root = None
        whole = self.count + count
        apart = mean - self.mean
        self.scatter += scatter
        self.scatter.addr_(apart, apart, alpha=self.count * count / whole)
        self.mean += apart * (count / whole)
        self.count = whole

    @classmethod
    def over(cls, parts: Iterable[Moments]) -> Moments:
        """Of all vectors of several."""
        parts = list(parts)
        whole = cls(len(parts[0].mean))
        for part in parts:
            if part.count:
                whole._join(part.count, part.mean, part.scatter)
        return whole

    @property
    def covariance(self) -> Tensor:
        """(D, D), over N - 1; of two vectors or more."""
        if self.count < 2:
            raise ValueError(f"{self.count} vectors have no covariance")
        return self.scatter / (self.count - 1)

    @property
    def root(self) -> Tensor:
        """(D, D): the symmetric square root of the covariance; kept, because it takes the longest."""
        if self._root is None:
            values, vectors = torch.linalg.eigh(self.covariance)
            self._root = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
        return self._root

    @property
    def few(self) -> bool:
        """Whether vectors are no more than dimensions: then the covariance is singular, and distances too large."""
        return self.count <= len(self.mean)


def frechet_distance(first: Moments, second: Moments) -> float | None:
    """The squared Frechet distance d^2 between the Gaussians of two sets of vectors, as FID has it.

    (S1 S2)^1/2 is not symmetric, and a general square root of it fails where S1 or S2 is singular, which is so with
    fewer vectors than dimensions. S1^1/2 S2 S1^1/2 has the same eigenvalues and is symmetric: they are all that its
    trace needs, and those that rounding took below zero are zero.

    Parameters
    ----------
    first, second : Moments
        Where several are compared with one, it is quicker to pass the one as `first`.

    Returns
    -------
    float or None
        0 for equal moments. None where a set has fewer than two vectors, and no covariance.
    """
    if min(first.count, second.count) < 2:
        return None
    between = first.root @ second.covariance @ first.root
    shared = torch.linalg.eigvalsh((between + between.mT) / 2).clamp_min(0).sqrt().sum()
    apart = (first.mean - second.mean).square().sum()
    return max(0.0, float(apart + first.covariance.trace() + second.covariance.trace() - 2 * shared))


class FilmMoments:
    """Moments of the frames of films: of all frames, and of the middle one of each film.

    Neither depends on the direction of time.

    Parameters
    ----------
    length : int
        D, features of a frame.

    Attributes
    ----------
    films : int
    every, middle : Moments
        Films with an even number of frames have no middle one.
    """

    def __init__(self, length: int) -> None:
        self.films = 0
        self.every, self.middle = Moments(length), Moments(length)

    def add(self, features: Tensor) -> None:
        """Of films (B, T, D)."""
        self.films += len(features)
        self.every.add(features.flatten(0, 1))
        if features.shape[1] % 2:
            self.middle.add(features[:, features.shape[1] // 2])

    @classmethod
    def over(cls, parts: Iterable[FilmMoments]) -> FilmMoments:
        """Of all films of several."""
        parts = list(parts)
        whole = cls(len(parts[0].every.mean))
        whole.films = sum(part.films for part in parts)
        whole.every = Moments.over(part.every for part in parts)
        whole.middle = Moments.over(part.middle for part in parts)
        return whole


def file_features(network: nn.Module, frames: Tensor) -> Tensor:
    """The features of pictures as a file would hold them.

    Parameters
    ----------
    network : nn.Module
        (N, 3, H, W) in [0, 1] to (N, D).
    frames : Tensor
        (..., 3, H, W); clamped to [0, 1] and rounded to 8 bits, as where such distances are measured on files.

    Returns
    -------
    Tensor
        (..., D).
    """
    pictures = quantise(frames.flatten(0, -4))
    features = torch.cat([network(part) for part in pictures.split(BATCH_SIZE)])
    return features.unflatten(0, frames.shape[:-3])
