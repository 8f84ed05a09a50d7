"""What is measured of pictures as sets: Frechet distances of all frames of a class, and of the middle ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unblur.metrics.frechet import FilmMoments, Moments, described, frechet_distance
from unblur.models.feature_networks import FeatureExtractor
from unblur.table import Sheet

HEADINGS = ("exposures", "n", "of", "metric", "all frames", "middle frame")


@dataclass(frozen=True)
class SetRow:
    """Frechet distances of one class.

    Attributes
    ----------
    exposures, of, count
        As in `unblur.evaluation.film_table.Row`.
    measure : str
        Its name, which says the network.
    every, middle : float or None
        Between all frames that were made and all true ones, and between the middle ones. None for less than two
        pictures.
    """

    exposures: str
    of: str
    count: int
    measure: str
    every: float | None
    middle: float | None

    def cells(self) -> list[str]:
        """As text."""
        numbers = ["–" if value is None else f"{value:.4f}" for value in (self.every, self.middle)]
        return [self.exposures, str(self.count), self.of, self.measure, *numbers]

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        about = {"exposures": self.exposures, "of": self.of, "count": self.count, "metric": "frechet"}
        return {**about, "name": self.measure, "frames": self.every, "middle": self.middle}


class SetMeter:
    """Frechet distances of films, class by class and of all.

    Parameters
    ----------
    observer : FeatureExtractor
        Its network on the device of the frames.
    """

    def __init__(self, observer: FeatureExtractor) -> None:
        self.observer = observer
        self.truths: dict[str, FilmMoments] = {}
        self.made: dict[tuple[str, str], FilmMoments] = {}

    def watch(self, exposures: str, of: str, *, still: bool = False) -> Callable[[Tensor, Tensor], None]:
        """A function that takes note of frames (B, T, 3, H, W) of a class, and of the true ones.

        Parameters
        ----------
        exposures, of : str
            The class, and what made the frames. What is true is looked at for the first `of` a class alone.
        still : bool
            Frames are one picture T times.
        """
        network, length = self.observer.network, self.observer.length
        made = self.made[exposures, of] = FilmMoments(length)
        known = exposures in self.truths
        truth = self.truths.setdefault(exposures, FilmMoments(length))

        def look(frames: Tensor, true: Tensor) -> None:
            shown = frames[:, :1] if still else frames
            made.add(described(network, shown).expand(-1, frames.shape[1], -1))
            if not known:
                truth.add(described(network, true))

        return look

    def rows(self, of: str, whole: str) -> list[SetRow]:
        """One for each class, and one for all together, which is called `whole`."""
        classes = [name for name, maker in self.made if maker == of]
        rows = [self._row(name, of, self.made[name, of], self.truths[name]) for name in classes]
        if len(classes) == 1:
            return [*rows, SetRow(whole, of, rows[0].count, rows[0].measure, rows[0].every, rows[0].middle)]
        made = FilmMoments.over(self.made[name, of] for name in classes)
        return [*rows, self._row(whole, of, made, FilmMoments.over(self.truths[name] for name in classes))]

    def _row(self, exposures: str, of: str, made: FilmMoments, truth: FilmMoments) -> SetRow:
        distances = [_distance(*pair) for pair in ((made.every, truth.every), (made.middle, truth.middle))]
        return SetRow(exposures, of, made.films, self.observer.measure, *distances)

    def notes(self) -> list[str]:
        """What is to be known of the numbers."""
        sets = [part for truth in self.truths.values() for part in (truth.every, truth.middle) if part.count]
        few = min((part for part in sets if part.few), key=lambda part: part.count, default=None)
        if few is None:
            return []
        said = f"{self.observer.measure} of as few as {few.count} pictures with {self.observer.length} features each"
        return [f"{said} comes out too large: compare it within this table alone"]


def sheet(rows: list[SetRow]) -> Sheet:
    """The table."""
    ends = [one.exposures != other.exposures for one, other in zip(rows, [*rows[1:], rows[0]], strict=True)]
    return Sheet(HEADINGS, [row.cells() for row in rows], ends)


def _distance(made: Moments, truth: Moments) -> float | None:
    return None if min(made.count, truth.count) < 2 else frechet_distance(truth, made)
