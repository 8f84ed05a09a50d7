"""Exposures of faces to look at: those on which a model does worst, in the middle and best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from unblur.data.metadata_exposures import FaceExposures
from unblur.data.pictures import Pixels
from unblur.data.stills import to_uint8
from unblur.evaluation.faces_table import ORDERS, Example
from unblur.evaluation.film_table import INPUT
from unblur.evaluation.html_report import Strip
from unblur.metrics.fidelity import psnr

TIMES = (0.0, 0.5, 1.0)
"""Of the frames that are shown."""


@dataclass
class Shown:
    """An exposure whose pictures are kept, and what every model made of it."""

    said: str
    name: str
    batch: dict[str, Tensor]
    strips: list[Strip]

    @classmethod
    def of(cls, said: str, exposures: FaceExposures, index: int) -> Shown:
        """With the blurry picture and the truth."""
        batch = exposures.one(index)
        name = exposures.names[index]
        shown = cls(said, name, batch, [Strip((to_uint8(batch["blurry"][0]),), INPUT)])
        for order, called in ORDERS.items():
            places = batch[order][0][[0, exposures.frames // 2, -1]]
            shown.strips.append(Strip(_pixels(batch["frames"][0, places]), f"truth by {called}"))
        return shown

    def add(self, name: str, frames: Tensor) -> None:
        """What a model made at `TIMES`."""
        frames = frames.cpu()
        truth = self.batch["frames"][0]
        numbers = []
        for order, called in ORDERS.items():
            places = self.batch[order][0][[0, truth.shape[0] // 2, -1]]
            each = ", ".join(f"{value:.1f}" for value in psnr(frames, truth[places]).tolist())
            numbers.append(f"by {called} {each}")
        self.strips.append(Strip(_pixels(frames), name, f"PSNR in dB {'; '.join(numbers)}"))

    def example(self) -> Example:
        """For the report."""
        return Example(self.said, self.name, self.batch["frames"].shape[1], tuple(self.strips))


def _pixels(pictures: Iterable[Tensor]) -> tuple[Pixels, ...]:
    return tuple(to_uint8(picture) for picture in pictures)


def choose(classes: Sequence[FaceExposures], scores: Sequence[Tensor]) -> list[Shown]:
    """The exposures with the least, the middle and the highest of the scores (W,) of each class."""
    ranked = sorted((value, n, i) for n, one in enumerate(scores) for i, value in enumerate(one.tolist()))
    places = {"worst": 0, "median": (len(ranked) - 1) // 2, "best": len(ranked) - 1}
    return [Shown.of(said, classes[ranked[place][1]], ranked[place][2]) for said, place in places.items()]
