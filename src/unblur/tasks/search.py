"""A blurry picture in, a sharp one out, found by search in a space of blurs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.losses.perceptual import Backbone
from unblur.models.registry import choose_from
from unblur.pipeline.blur_transfer import BlurCode, BlurSpace
from unblur.pipeline.reblur_residual import decibels
from unblur.pipeline.restore import Pipeline, Progress
from unblur.pipeline.search import Found, search
from unblur.runtime.runner import to_output_range
from unblur.runtime.tiling import is_out_of_memory, lay_out, smallest_tile, tiled
from unblur.tasks.deblur import Look, Sharpened, opened
from unblur.tasks.inputs import Source, name_of
from unblur.tasks.search_plan import SearchPlan

STARTS = ("network", "identity", "mean")
TILE, OVERLAP = 512, 128
"""A larger picture is searched in tiles: what gradients need grows with the picture."""
FAMILIAR = 2.0
"""Codes at most this far from those of training fields, whose own distance is about 1, are of a blur we know."""


@dataclass(frozen=True, kw_only=True)
class Searched(Sharpened):
    """A sharp picture, and what the search for it came to.

    Attributes
    ----------
    before, after : float
        What the sharp picture and its code leave unexplained of the photo, at the start and in the end: root mean
        square of stored values.
    iterations : int
        Steps that were done, the most of any tile.
    seconds : float
        Of the search itself.
    stopped : str
        Why it ended: "steps", "plateau", "seconds".
    code_norm : float
        Length of the code.
    distance : float or None
        Of the code from those that the space learned from, about 1 for them: root mean square over the picture; None
        where the space does not tell.
    tiles : int
    notes : tuple of str
        What was otherwise than one might think.
    space : BlurSpace
    """

    before: float
    after: float
    iterations: int
    seconds: float
    stopped: str
    code_norm: float
    distance: float | None
    tiles: int
    notes: tuple[str, ...]
    space: BlurSpace

    @property
    def warning(self) -> str | None:
        """One line where the photo is out of focus or sharp already, or its blur is none that the space knows."""
        if (seen := super().warning) is not None:
            return seen
        if self.distance is not None and self.distance > FAMILIAR:
            return f"its blur is unlike those that {self.space.name} knows (distance {self.distance:.1f})"
        return None

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        ends = {"before": self.before, "after": self.after}
        return {
            "residual": {name: {"rms": rms, "db": decibels(rms)} for name, rms in ends.items()},
            "code_norm": self.code_norm,
            "distance": self.distance,
            "iterations": self.iterations,
            "search_seconds": round(self.seconds, 3),
            "stopped": self.stopped,
            "tiles": self.tiles,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        steps = "1 step" if self.iterations == 1 else f"{self.iterations} steps"
        known = "" if self.distance is None else f", distance {self.distance:.1f} from known blurs"
        return (
            f"reblur residual {decibels(self.before):.1f} to {decibels(self.after):.1f} dB in {steps}"
            f" and {self.seconds:.1f} s{known}{''.join(f'; {note}' for note in self.notes)}"
        )


def deblur_by_search(
    source: Source,
    plan: SearchPlan | None = None,
    model: str | PathLike[str] | nn.Module | Pipeline | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    consistency: int | None = None,
    check: bool = True,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Searched:
    """Make a blurry picture sharp: the network's answer first, then a search for what explains the photo better.

    Parameters
    ----------
    source : path, Picture or Tensor
        A file, or a picture in memory; a tensor is (3, H, W) or (1, 3, H, W), RGB in [0, 1].
    plan : SearchPlan, optional
        How to search.
    model, device, dtype, tile, consistency, check, max_pixels, progress
        See `unblur.deblur`; a number for `tile` is the side of the tiles of the search, too.

    Raises
    ------
    UnblurError
        The file cannot be read, an option cannot be met, or memory ran out.

    Examples
    --------
    >>> found = unblur.deblur_by_search("photo.jpg")                 # doctest: +SKIP
    >>> found.save("sharp.jpg"); print(found)                        # doctest: +SKIP
    """
    plan = plan or SearchPlan()
    plan.options()
    picture, pipeline = opened(source, model, device, dtype, tile, max_pixels)
    work = _Work(plan.ready(pipeline.runner.device), pipeline.tile, pipeline.runner.dtype, progress)
    look, subject = Look(picture, pipeline, consistency, progress), name_of(picture)
    try:
        found = work.run(picture.pixels[None], look.sharp()[None])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        remedy = f"use a smaller --tile, down to {work.smallest}"
        raise UnblurError(subject, "memory ran out in the search", remedy) from None
    return work.report(look.finished(to_output_range(found[0], subject), check))


class _Work:
    """The search on one picture, in tiles where it is large."""

    def __init__(self, plan: SearchPlan, tile: int | str, dtype: torch.dtype, progress: Progress | None) -> None:
        self.plan, self.options, self.dtype, self.progress = plan, plan.options(), dtype, progress
        self.space, self.backbone = cast(BlurSpace, plan.space), cast("Backbone | None", plan.backbone)
        self.cell = self.space.network.cell
        self.smallest = smallest_tile(OVERLAP, self.cell)
        self.side = max(tile, self.smallest) if isinstance(tile, int) else TILE
        self.tiles = 1
        self.begun = time.monotonic()
        self.found: list[tuple[Found, int, float | None]] = []

    def run(self, blurry: Tensor, sharp: Tensor) -> Tensor:
        """(1, 3, H, W) in [0, 1] of both to the sharp picture that was found."""
        self.begun = time.monotonic()
        code = start_code(self.space, self.plan.begins, sharp, blurry)
        layout = {"tile": self.side, "overlap": OVERLAP, "multiple": self.cell}
        self.tiles = math.prod(len(lay_out(length, **layout).starts) for length in blurry.shape[-2:])
        return tiled(self._one, blurry, sharp, coarse=[(code, self.cell)], **layout)

    def _one(self, blurry: Tensor, sharp: Tensor, code: Tensor) -> Tensor:
        device, plan, network = self.space.device, self.plan, self.space.network
        code = network.fitted(code.to(device), *blurry.shape[-2:])
        found = search(
            network,
            blurry.to(device),
            sharp.to(device),
            code,
            self.options,
            backbone=self.backbone,
            seed=plan.seed,
            seconds=self._share(),
            dtype=self.dtype,
            tell=self._tell,
        )
        far = getattr(network, "distance", None)
        with torch.no_grad():
            distance = None if far is None else float(far(found.code).square().mean())
        self.found.append((found, blurry.shape[-2] * blurry.shape[-1], distance))
        return found.sharp

    def _share(self) -> float | None:
        """Of the seconds that are left, what this tile may take: those that others did not need are handed on."""
        if self.plan.seconds is None:
            return None
        left = self.plan.seconds - (time.monotonic() - self.begun)
        return max(left, 0.0) / max(self.tiles - len(self.found), 1)

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            tile = f"tile {len(self.found) + 1} of {self.tiles}, " if self.tiles > 1 else ""
            self.progress(tile + stage, done, total)

    def report(self, sharpened: dict[str, Any]) -> Searched:
        """Of all tiles together; with the fields of `Sharpened`."""
        found, pixels = [each for each, _, _ in self.found], [count for _, count, _ in self.found]
        mean = lambda values: sum(v * n for v, n in zip(values, pixels, strict=True)) / sum(pixels)  # noqa: E731
        distances = [distance for _, _, distance in self.found if distance is not None]
        return Searched(
            **sharpened,
            before=math.sqrt(mean([each.before**2 for each in found])),
            after=math.sqrt(mean([each.after**2 for each in found])),
            iterations=max(each.steps for each in found),
            seconds=sum(each.seconds for each in found),
            stopped=max((each.stopped for each in found), key=("steps", "plateau", "seconds").index),
            code_norm=math.sqrt(sum(float(each.code.square().sum()) for each in found)),
            distance=math.sqrt(mean(distances)) if distances else None,
            tiles=len(found),
            notes=tuple(self._notes()),
            space=self.space,
        )

    def _notes(self) -> Iterator[str]:
        if self.backbone is None and any(self.options.perceptual):
            yield "no perceptual weights: 1 - SSIM in their place"
        if len(self.found) > 1:
            yield f"searched in {len(self.found)} tiles"


def start_code(space: BlurSpace, start: str, sharp: Tensor, blurry: Tensor) -> Tensor:
    """The code to begin with.

    Parameters
    ----------
    start : str
        See `SearchPlan`.
    sharp, blurry : Tensor
        (1, 3, H, W) in [0, 1].

    Returns
    -------
    Tensor
        (1, C, h, w), of the picture's grid, on the space's device.

    Raises
    ------
    UnblurError
        The file cannot be read, or its code belongs to another blur space.
    """
    network, (height, width) = space.network, sharp.shape[-2:]
    if start in ("network", "identity"):
        other = blurry if start == "network" else sharp
        with torch.inference_mode():
            return network.encode(sharp.to(space.device), other.to(space.device)).mean.clone()
    if start == "mean":
        mean = getattr(network, "prior_mean", None)
        zeros = torch.zeros(1, network.channels, *network.grid(height, width), device=space.device)
        return zeros if mean is None else zeros + mean[:, None, None]
    if not Path(start).exists():
        remedy = f"{choose_from(STARTS, start)}, or the file of a code"
        raise UnblurError(f"--start {start}", "is no start and no file", remedy)
    code = BlurCode.load(start)
    space.check(code, f"--start {start}")
    with torch.inference_mode():
        of = (code.height, code.width)
        return network.fitted(code.values[None].to(space.device), height, width, of=of).clone()
