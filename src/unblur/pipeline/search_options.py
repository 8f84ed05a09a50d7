"""How to search for the picture and the blur behind a photo; see `unblur.pipeline.search`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Weight = tuple[float, ...]

DATA = ("square", "absolute", "unlikeness", "perceptual")
"""The distances to the photo."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search; every number may be changed.

    A weight is one number, or several, each for an equal share of the steps.

    Attributes
    ----------
    picture : {"pixels", "prior"}
        Search the pixels by gradient descent, or the weights of an `DeepImagePrior` by Adam.
    code : {"encoder", "free", "prior"}
        Read the code again from the picture that was reached, search its numbers by Adam, or the weights of a
        `DeepCodePrior`.
    steps : int
        At most.
    patience : int
        Stop where so many steps have lowered the residual by less than `plateau` of itself; 0 for never.
    plateau : float
    reread : int
        Steps between two readings of the code, for "encoder".
    turns : tuple of int
        Steps of the picture, then of the code, in turns; both in every step if empty.
    picture_rate, code_rate : float
        Of the descent, or of Adam.
    decay : float
        What rates of Adam are multiplied by after every fifth of the steps.
    warmup : int
        Steps that fit each prior to where it is to begin.
    begin_blurry : bool
        Whether the picture's prior begins at the photo itself.
    jitter : float
        Deviation of what is added to the priors' inputs in every step.
    padding : {"reflect", "zeros"}
        Of the `DeepImagePrior`.
    square, absolute, unlikeness, perceptual : tuple of float
        Weights of the distance between reblurred picture and photo: half the mean square, Charbonnier's, 1 - SSIM,
        features of a `Backbone`.
    sparsity : tuple of float
        Of `hyper_laplacian`.
    code_length : tuple of float
        Of `code_norm`.
    familiarity : tuple of float
        Of the mean square of the space's own distance to known codes, if it has one, else of the code.
    anchor : tuple of float
        Of half the mean square between the picture and where it began.
    """

    picture: Literal["pixels", "prior"] = "pixels"
    code: Literal["encoder", "free", "prior"] = "encoder"
    steps: int = 20
    patience: int = 5
    plateau: float = 0.05
    reread: int = 5
    turns: tuple[int, ...] = ()
    picture_rate: float = 1.0
    code_rate: float = 0.02
    decay: float = 1.0
    warmup: int = 0
    begin_blurry: bool = False
    jitter: float = 0.001
    padding: Literal["reflect", "zeros"] = "reflect"
    square: Weight = (1.0,)
    absolute: Weight = (0.0,)
    unlikeness: Weight = (0.0,)
    perceptual: Weight = (0.0,)
    sparsity: Weight = (3e-5,)
    code_length: Weight = (0.0,)
    familiarity: Weight = (0.0,)
    anchor: Weight = (0.03,)

    def __post_init__(self) -> None:
        if self.turns and (len(self.turns) != 2 or not sum(self.turns)):
            raise ValueError(f"turns are two numbers of steps, got {self.turns}")
        if self.steps < 1 or self.reread < 1:
            raise ValueError(f"steps and reread are 1 or more, got {self.steps} and {self.reread}")

    @classmethod
    def released(cls) -> SearchOptions:
        """What the authors' program does; but the best picture is kept, not the last."""
        return cls(
            picture="prior",
            code="prior",
            steps=5000,
            patience=0,
            picture_rate=5e-4,
            code_rate=5e-4,
            decay=0.7,
            warmup=300,
            begin_blurry=True,
            padding="zeros",
            square=(0.0,),
            unlikeness=(1.0, 0.0),
            perceptual=(0.6, 1.0),
            sparsity=(0.02, 0.05),
            code_length=(5e-5, 5e-4),
            anchor=(0.0,),
        )

    def weight(self, name: str, step: int) -> float:
        """Of a term, in a step from 0 on."""
        weights: Weight = getattr(self, name)
        return weights[min(step * len(weights) // max(self.steps, 1), len(weights) - 1)]

    def without_backbone(self) -> SearchOptions:
        """1 - SSIM in the place of the perceptual term."""
        count = len(self.unlikeness) * len(self.perceptual)
        spread = lambda weights: [w for w in weights for _ in range(count // len(weights))]  # noqa: E731
        both = zip(spread(self.unlikeness), spread(self.perceptual), strict=True)
        return replace(self, unlikeness=tuple(a + b for a, b in both), perceptual=(0.0,))
