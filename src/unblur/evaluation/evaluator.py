"""What faces-1 finds: metrics of frames against the truth in both orders, and Frechet distances of all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.data.metadata_exposures import FaceExposures
from unblur.evaluation.faces_table import BETTER, ORDERS, POOLED, CentreRow, FilmRow, Order
from unblur.evaluation.film_table import INPUT
from unblur.evaluation.options import FRECHET, Measures
from unblur.evaluation.protocols import DISTANCES, Film
from unblur.metrics.frechet import Moments, described, frechet_distance
from unblur.metrics.sequence import centre_scores, compare_pairs, film_scores, wanted_pairs


@dataclass(frozen=True)
class Found:
    """What was found of one class of W exposures of N frames, of which T were made each.

    Attributes
    ----------
    compared : dict of str to Tensor
        (W, T, N), see `metrics.sequence.compare_pairs`; T is N or 1.
    every, centre : Moments or None
        Of what is seen in all frames, and in those of t = 0.5, where Frechet distances are asked for.
    """

    compared: dict[str, Tensor]
    every: Moments | None
    centre: Moments | None

    @property
    def whole(self) -> bool:
        """Whether all frames were made."""
        return all(table.shape[1] == table.shape[2] for table in self.compared.values())


@dataclass(frozen=True)
class Judge:
    """Measures films on classes of exposures.

    Attributes
    ----------
    classes : list of FaceExposures
    measures : Measures
    device : torch.device
    truths : list of dict
        For each class the moments of its true frames: of all, and of the middle ones in each order. Empty where no
        Frechet distances are asked for.
    """

    classes: list[FaceExposures]
    measures: Measures
    device: torch.device
    truths: list[dict[str, Moments]]

    @classmethod
    def of(cls, classes: list[FaceExposures], measures: Measures, device: torch.device) -> Judge:
        """Look at what is true."""
        judge = cls(classes, measures, device, [])
        judge.truths.extend(judge._look(one) for one in classes if measures.observer is not None)
        return judge

    @property
    def size(self) -> int:
        """Pixels of the longest side, by the first exposure of each class."""
        return max(max(one.one(0)["blurry"].shape[-2:]) for one in self.classes)

    @torch.inference_mode()
    def _look(self, exposures: FaceExposures) -> dict[str, Moments]:
        seen = {name: self._moments() for name in ("every", *ORDERS)}
        for batch in exposures.batches():
            features = self._seen(batch["frames"].to(self.device))
            seen["every"].add(features.flatten(0, 1))
            for order in ORDERS:
                middle = batch[order][:, exposures.frames // 2]
                seen[order].add(features[torch.arange(len(features)), middle])
        return seen

    def _moments(self) -> Moments:
        assert self.measures.observer is not None
        return Moments(self.measures.observer.length)

    def _seen(self, frames: Tensor) -> Tensor:
        assert self.measures.observer is not None
        return described(self.measures.observer.network, frames).cpu()

    @torch.inference_mode()
    def run(self, film: Film, batch: Mapping[str, Tensor], times: Sequence[float]) -> Tensor:
        """Frames (B, T, 3, H, W) in [0, 1]."""
        return film(batch["blurry"].to(self.device), torch.tensor(times, device=self.device)).float().clamp(0, 1)

    @torch.inference_mode()
    def measure(
        self,
        film: Film,
        exposures: FaceExposures,
        times: Sequence[float],
        batch_size: int = 4,
        on_batch: Callable[[int], None] | None = None,
    ) -> Found:
        """Compare what a film makes of one class at `times`, all of them or 0.5 alone, with what is true.

        Parameters
        ----------
        on_batch : callable, optional
            Called with the number of exposures done.
        """
        parts: defaultdict[str, list[Tensor]] = defaultdict(list)
        looks = self.measures.observer is not None
        every, centre = (self._moments() if looks else None for _ in range(2))
        done = 0
        for batch in exposures.batches(batch_size):
            made = self.run(film, batch, times)
            truth = batch["frames"].to(self.device)
            wanted = wanted_pairs(len(times), batch["rank"], batch["time"]).to(self.device)
            for name, metric in self.measures.metrics.items():
                parts[name].append(compare_pairs(made, truth, wanted, metric).cpu())
            if every is not None and centre is not None:
                seen = self._seen(made)
                # One picture that stands for all frames counts as often as there are.
                every.add(seen.expand(-1, exposures.frames, -1).flatten(0, 1))
                centre.add(seen[:, seen.shape[1] // 2])
            done += len(made)
            if on_batch:
                on_batch(done)
        return Found({name: torch.cat(tables) for name, tables in parts.items()}, every, centre)

    def centres(self, found: Sequence[Found], metric: str, order: Order) -> list[Tensor]:
        """The scores (W,) of the frames of t = 0.5 of each class."""
        pairs = zip(self.classes, found, strict=True)
        return [centre_scores(own.compared[metric], getattr(one, order)) for one, own in pairs]

    def rows(self, name: str, found: Sequence[Found]) -> tuple[list[CentreRow], list[FilmRow]]:
        """What is told of a model, or of the blurry input."""
        centres = [self._centre_row(name, order, found) for order in ORDERS]
        films: list[FilmRow] = []
        orders: Iterable[Order | None] = (None,) if name == INPUT else ORDERS
        places = [place for place, own in enumerate(found) if own.whole or name == INPUT]
        for order in orders:
            own = [self._film_row(name, order, found[place], place) for place in places]
            films += own
            if len(own) > 1:
                films.append(self._over_all(own, [found[place] for place in places], places))
        return centres, films

    def _centre_row(self, name: str, order: Order, found: Sequence[Found]) -> CentreRow:
        metrics = self.measures.metrics
        values = {metric: float(torch.cat(self.centres(found, metric, order)).mean()) for metric in metrics}
        values |= _distance(FRECHET, [own.centre for own in found], [truth[order] for truth in self.truths])
        return CentreRow(name, order, sum(map(len, self.classes)), values)

    def _film_row(self, name: str, order: Order | None, found: Found, place: int) -> FilmRow:
        exposures, values = self.classes[place], {}
        for metric, compared in found.compared.items():
            both = film_scores(compared, getattr(exposures, order or "rank"), lower_is_better=metric in DISTANCES)
            values[metric] = float(both.forward.mean())
            if order is not None:
                values[f"{BETTER}{metric}"] = float(both.best().mean())
        values |= _distance(FRECHET, [found.every], [truth["every"] for truth in self.truths[place : place + 1]])
        return FilmRow(name, order, exposures.frames, len(exposures), values)

    def _over_all(self, rows: Sequence[FilmRow], found: Sequence[Found], places: Sequence[int]) -> FilmRow:
        """All lengths together, as in the paper: every frame counts alike, but of Frechet distances every length."""
        weights = [row.count * (row.frames or 0) for row in rows]
        values = {}
        for name in rows[0].values:
            counts = [1] * len(rows) if name == FRECHET else weights
            if all(name in row.values for row in rows):
                total = sum(row.values[name] * count for row, count in zip(rows, counts, strict=True))
                values[name] = total / sum(counts)
        true = [self.truths[place]["every"] for place in places] if self.truths else []
        values |= _distance(POOLED, [own.every for own in found], true)
        return FilmRow(rows[0].of, rows[0].order, None, sum(row.count for row in rows), values)

    def notes(self) -> list[str]:
        """What is to be known of the numbers."""
        few = min((moments.count for truth in self.truths for moments in truth.values() if moments.few), default=None)
        if few is None or self.measures.observer is None:
            return []
        said = f"{self.measures.names[FRECHET]} of as few as {few} pictures"
        return [
            f"{said} with {self.measures.observer.length} features each comes out too large: compare it within a row"
        ]


def _distance(name: str, made: Sequence[Moments | None], true: Sequence[Moments]) -> dict[str, float]:
    """The Frechet distance of two sets, if there is one."""
    known = [one for one in made if one is not None]
    if not known or min(sum(one.count for one in side) for side in (known, true)) < 2:
        return {}
    return {name: frechet_distance(Moments.over(known), Moments.over(true))}
