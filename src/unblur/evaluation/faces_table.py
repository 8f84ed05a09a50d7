"""What faces-1 measured: centre frames and films of faces, in both of their orders, beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from unblur.data.metadata_exposures import Order
from unblur.evaluation.film_table import INPUT
from unblur.evaluation.html_report import Page, Part, Strip
from unblur.evaluation.options import FRECHET
from unblur.evaluation.published_faces import published
from unblur.table import Measured, Sheet

ORDERS: dict[Order, str] = {"rank": "FMR", "time": "time"}
POOLED = "frechet_pooled"
BETTER = "p_"
"""What stands before a metric's name where each film runs in its better direction."""
CENTRES_OF, FILMS_OF = "Centre frames, t = 0.5 (as tables 2, 3 and 5)", "Films (as table 4)"
ON_CENTRES = (
    "The frame of t = 0.5 against the one of middle rank by FMR, the paper's target, and against the one in the middle "
    "of time. Means over all exposures of all lengths.",
)
ON_FILMS = (
    "Frames at t = i / (N - 1), in the order of FMR (the paper's) and in that of time; as they were made, and with a p "
    "before the metric each film in the direction that is better by it: blur does not tell which way time ran, and "
    "models that were not trained on sorted frames cannot know.",
    "ALL is weighted by the number of frames; of a Frechet distance it is the plain mean over the lengths, as in the "
    "paper, and pooled that of all frames together.",
)
ON_EXAMPLES = (
    "Frames at t = 0, 0.5 and 1, as they were made, and how near they are to the truth in either order.",
    "Chosen by the PSNR of the centre frame of {} against that of FMR.",
)


@dataclass(frozen=True)
class CentreRow:
    """Of the frames of t = 0.5: means over all exposures, each counting once.

    Attributes
    ----------
    of : str
        The model, or the blurry input.
    order : {"rank", "time"}
        Which truth they are compared with: the frame of middle rank by FMR, or the middle one in time.
    count : int
        Exposures.
    values : dict
        Metrics to numbers; ``frechet`` among them where it was asked for.
    """

    of: str
    order: Order
    count: int
    values: dict[str, float]


@dataclass(frozen=True)
class FilmRow:
    """Of films of one length, or of all.

    Attributes
    ----------
    of : str
    order : {"rank", "time"} or None
        In which the true frames are taken; None for the blurry input, to which all are the same.
    frames : int or None
        Of each film; None for all lengths together.
    count : int
        Exposures.
    values : dict
        Metrics to numbers, of films as they were made, and with "p_" before the name of each film in its better
        direction. All lengths together: means weighted by the number of frames, as in the paper; of ``frechet`` the
        plain mean over the lengths, as in the paper, and ``frechet_pooled`` of all frames together.
    """

    of: str
    order: Order | None
    frames: int | None
    count: int
    values: dict[str, float]


@dataclass(frozen=True)
class Example:
    """An exposure to look at.

    Attributes
    ----------
    chosen : {"worst", "median", "best"}
        By the PSNR of the first model's centre frame against that of FMR.
    name : str
    frames : int
    strips : tuple of Strip
        The blurry picture, the truth in both orders, and every model.
    """

    chosen: str
    name: str
    frames: int
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class FacesReport(Measured):
    """What faces-1 measured.

    Attributes
    ----------
    data : str
        The folder.
    models : tuple of dict
        As ``model``, of each that was measured; ``model`` names them all.
    size : int
        Pixels of the longest side, by the first exposure of each length: ``unblur data fmr`` makes all of one size.
    metrics : dict of str to str
        What was measured, and its heading: of those that depend on a network with its name.
    centres : tuple of CentreRow
    films : tuple of FilmRow
    examples : tuple of Example
    notes : tuple of str
        What was left out, and why.
    written : tuple of str
        Files of the report.
    """

    data: str
    models: tuple[dict[str, object], ...]
    size: int
    metrics: dict[str, str]
    centres: tuple[CentreRow, ...]
    films: tuple[FilmRow, ...]
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()
    written: tuple[str, ...] = ()

    def centre(self, of: str = INPUT, order: Order = "rank") -> CentreRow:
        """One row of the centre frames."""
        return next(row for row in self.centres if (row.of, row.order) == (of, order))

    def film(self, of: str = INPUT, frames: int | None = None, order: Order | None = None) -> FilmRow:
        """One row of the films."""
        return next(row for row in self.films if (row.of, row.frames, row.order) == (of, frames, order))

    def counted(self) -> str:
        """What was measured, and how many."""
        return f"{self.centres[0].count} exposures of faces"

    def summary(self) -> str:
        """One line."""
        written = f" -> {', '.join(self.written)}" if self.written else ""
        return super().summary() + "".join(f"; {note}" for note in self.notes) + written

    def results(self) -> dict[str, object]:
        """The numbers, for a machine-readable report."""
        return {
            "data": self.data,
            "models": list(self.models),
            "size": self.size,
            "metrics": self.metrics,
            "centres": [asdict(row) for row in self.centres],
            "films": [asdict(row) for row in self.films],
            "notes": list(self.notes),
            "written": list(self.written),
        }

    def sheets(self) -> list[Sheet]:
        """The tables, and those of the paper."""
        return [*self.own_sheets(), *published(self.size)]

    def page(self) -> Page:
        """All of it, with its pictures."""
        own = self.own_sheets()
        centre, films, ablation = (Part(sheet.title, (), sheet) for sheet in published(self.size))
        parts = [Part(CENTRES_OF, ON_CENTRES, own[0]), centre]
        parts += [Part(FILMS_OF, ON_FILMS, sheet) for sheet in own[1:]]
        parts += [films, ablation]
        if self.examples:
            parts.append(Part("Examples", [text.format(self.models[0]["name"]) for text in ON_EXAMPLES]))
        for one in self.examples:
            heading = f"{one.chosen.capitalize()}: {one.name}, {one.frames} frames"
            parts.append(Part(heading, strips=one.strips))
        models = [_about(one) for one in self.models]
        about = f"{self.counted()} from {self.data}, up to {self.size} pixels a side"
        if self.limit:
            about += f", {self.limit} of each length only, evenly spread"
        text = [f"{about}.", *models, *self.notes]
        return Page(f"{self.protocol}: {self.model['name']}", text, parts)

    def own_sheets(self) -> list[Sheet]:
        """Centre frames, and films."""
        wanted = list(self.metrics)
        lines = [
            [row.of, ORDERS[row.order], str(row.count), *(_text(row.values.get(name), name) for name in wanted)]
            for row in self.centres
        ]
        ends = _ends(row.of for row in self.centres)
        sheets = [Sheet(("of", "order", "n", *self.metrics.values()), lines, ends, CENTRES_OF)]
        if self.films:
            columns = self._film_columns()
            lines = [_film_line(row, list(columns)) for row in self.films]
            ends = _ends((row.of, row.order) for row in self.films)
            sheets.append(Sheet(("of", "order", "frames", "n", *columns.values()), lines, ends, FILMS_OF))
        return sheets

    def _film_columns(self) -> dict[str, str]:
        columns: dict[str, str] = {}
        for name, heading in self.metrics.items():
            columns[name] = heading
            columns |= {POOLED: "pooled"} if name == FRECHET else {f"{BETTER}{name}": f"p{heading}"}
        return columns


def _about(model: Mapping[str, object]) -> str:
    first = model.get("sharpener") or model.get("estimator")
    behind = f" behind {first}" if first else ""
    return f"{model['name']}: {model['network']}{behind} on {model['device']} in {model['dtype']}"


def _film_line(row: FilmRow, columns: Sequence[str]) -> list[str]:
    order = "any" if row.order is None else ORDERS[row.order]
    frames = "ALL" if row.frames is None else str(row.frames)
    return [row.of, order, frames, str(row.count), *(_text(row.values.get(name), name) for name in columns)]


def _ends(groups: Iterable[object]) -> list[bool]:
    """Where another group begins after a line."""
    return [one != other for one, other in pairwise([*groups, None])]


def _text(value: float | None, name: str) -> str:
    if value is None:
        return "–"
    digits = 2 if "psnr" in name else 4
    return f"{value:.{digits}f}"
