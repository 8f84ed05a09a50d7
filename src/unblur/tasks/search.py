"""A blurry picture in, a sharp one out, found by search in a space of blurs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError, UsageError
from unblur.losses.perceptual import Backbone
from unblur.models.feature_networks import load_backbone
from unblur.models.registry import choose_from
from unblur.pipeline.blur_transfer import BlurCode, BlurSpace, load_blur_space
from unblur.pipeline.consistency import consistency_steps
from unblur.pipeline.residual import decibels, rms_and_db
from unblur.pipeline.restore import Pipeline, Progress, load
from unblur.pipeline.search import SearchResult, search
from unblur.pipeline.search_options import DATA, SearchOptions
from unblur.runtime.runner import to_output_range
from unblur.runtime.tiling import is_out_of_memory, lay_out, smallest_tile, tiled
from unblur.tasks.blur_check import check_blur
from unblur.tasks.deblur import SharpenedByModel
from unblur.tasks.inputs import Source, name_of, open_picture

STARTS = ("network", "identity", "mean")
TILE, OVERLAP = 512, 128
"""A larger picture is searched in tiles: what gradients need grows with the picture."""
FAMILIAR = 2.0
"""Codes at most this far from those of training fields, whose own distance is about 1, are of a blur we know."""


PRESETS = ("default", "released")
REMEDY = "see docs/search.md"


@dataclass(frozen=True)
class SearchPlan:
    """What a user chooses of a search.

    Attributes
    ----------
    space : str, path, Module or BlurSpace, optional
        A blur space, "blur-space-small" if left out.
    preset : {"default", "released"}
        See `unblur.pipeline.search_options.SearchOptions`.
    steps : int, optional
        In place of the preset's.
    seconds : float, optional
        For each picture, without what the network's answer takes.
    seed : int
        Of deep priors.
    start : str, optional
        Where the code begins: "network" (read from the network's answer and the photo), "identity" (no blur), "mean"
        (of all codes), or a file that `BlurCode.save` wrote. "mean" for the released preset, which began
        at an arbitrary code, else "network".
    backbone : str, path or Backbone, optional
        For the perceptual term: a file with the weights of a VGG-19 or an AlexNet; see
        `unblur.models.feature_networks`.
    changes : mapping of str to str
        Fields of `SearchOptions` by name, as text.
    """

    space: str | PathLike[str] | nn.Module | BlurSpace | None = None
    preset: str = "default"
    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    start: str | None = None
    backbone: str | PathLike[str] | Backbone | None = None
    changes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Iterable[str], **chosen: Any) -> SearchPlan:
        """From texts KEY=VALUE: fields of `SearchOptions`, and ``backbone=FILE``.

        Raises
        ------
        UnblurError
            One is no such text.
        """
        changes = {}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals or not value:
                raise UsageError("settings", setting, "is not KEY=VALUE", "use for instance sparsity=0.001")
            changes[name.strip()] = value.strip()
        return cls(**chosen, backbone=changes.pop("backbone", None), changes=changes)

    def options(self) -> SearchOptions:
        """The preset, changed as was asked for.

        Raises
        ------
        UnblurError
            There is no such preset or field, or a value is none for it.
        """
        if self.preset not in PRESETS:
            raise UsageError("preset", self.preset, "no such preset", choose_from(PRESETS, self.preset))
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError("seconds", self.seconds, "no time to search in", "use more than 0")
        if not 0 <= self.seed < 2**63:
            raise UsageError("seed", self.seed, "not a seed", f"use 0 to {2**63 - 1}")
        options = SearchOptions.released() if self.preset == "released" else SearchOptions()
        if self.begins != "network" and options.code == "encoder":
            # A code that was asked for is not read again from the picture.
            options = replace(options, code="free")
        changes = {name: _parsed(name, value) for name, value in self.changes.items()}
        if self.steps is not None:
            if self.steps < 1:
                raise UsageError("steps", self.steps, "not a number of steps", "use 1 or more")
            changes["steps"] = self.steps
        try:
            options = replace(options, **changes)
        except ValueError as error:
            raise UsageError("settings", None, str(error), REMEDY) from None
        if not any(any(getattr(options, name)) for name in DATA):
            raise UsageError(
                "settings", None, "leaves nothing that is asked of the photo", f"set one of {', '.join(DATA)}"
            )
        return options

    @property
    def begins(self) -> str:
        """`start`, or what the preset begins with."""
        return self.start or ("mean" if self.preset == "released" else "network")

    @property
    def name(self) -> str:
        """Of the space, once it is loaded."""
        return cast(BlurSpace, self.space).name

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report, once it is loaded."""
        space = cast(BlurSpace, self.space)
        about = {"space": space.as_dict(), "preset": self.preset, "start": self.begins, "seed": self.seed}
        return {**about, "seconds": self.seconds, "options": asdict(self.options())}

    def ready(self, device: str | torch.device = "auto") -> SearchPlan:
        """The same with everything checked and loaded, to use on many pictures."""
        self.options()
        backbone = self.backbone
        if backbone is not None and not isinstance(backbone, Backbone):
            backbone = load_backbone(backbone)
        space = load_blur_space(self.space, device)
        return replace(self, space=space, backbone=None if backbone is None else backbone.to(space.device))


def _parsed(name: str, text: str) -> Any:
    """A value for a field of `SearchOptions`."""
    names = [each.name for each in fields(SearchOptions)]
    if name not in names:
        raise UsageError("settings", f"{name}={text}", "there is no such setting", choose_from(names, name))
    kind = get_type_hints(SearchOptions)[name]
    try:
        value = _as(kind, text)
    except ValueError as error:
        raise UsageError("settings", f"{name}={text}", f"is not {error}", REMEDY) from None
    return value


def _as(kind: Any, text: str) -> Any:
    choices = get_args(kind)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if choices and all(isinstance(choice, str) for choice in choices):
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text
    if choices:
        return tuple(_number(choices[0], part) for part in text.split(","))
    return _number(kind, text)


def _number(kind: type[int] | type[float], text: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("a number from 0 on")
    return value


@dataclass(frozen=True, kw_only=True)
class Searched(SharpenedByModel):
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
            "residual": {name: rms_and_db(rms) for name, rms in ends.items()},
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
    data_consistency: int | None = None,
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
    model, device, dtype, tile, data_consistency, check, max_pixels, progress
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
    steps = consistency_steps(data_consistency)
    picture = open_picture(source, max_pixels)
    pipeline, subject = load(model, device, dtype, tile, sizes=[picture.width * picture.height]), name_of(picture)
    work = _Work(plan.ready(pipeline.runner.device), pipeline.tile, pipeline.runner.dtype, progress)
    made = pipeline.restore(
        picture.pixels[None], subject, motion=check or steps > 0, data_consistency=steps, progress=progress
    )
    try:
        found = work.run(picture.pixels[None], made.middle[None])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        remedy = f"use a smaller `tile`, down to {work.smallest}"
        raise UnblurError(subject, "memory ran out in the search", remedy) from None
    sharp = picture.with_pixels(to_output_range(found[0], subject))
    verdict = check_blur(made) if check and made.film is not None else None
    return work.report({"picture": sharp, "pipeline": pipeline, "verdict": verdict})


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
        self.found: list[tuple[SearchResult, int, float | None]] = []

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
        with torch.no_grad():
            far = network.distance(found.code)
        distance = None if far is None else float(far.square().mean())
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
        """Of all tiles together; with the fields of `SharpenedByModel`."""
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
        mean = network.mean_code
        zeros = torch.zeros(1, network.channels, *network.grid(height, width), device=space.device)
        return zeros if mean is None else zeros + mean[:, None, None]
    if not Path(start).exists():
        remedy = f"{choose_from(STARTS, start)}, or the file of a code"
        raise UsageError("start", start, "is no start and no file", remedy)
    code = BlurCode.load(start)
    space.check(code, start)
    with torch.inference_mode():
        of = (code.height, code.width)
        return network.fitted(code.values[None].to(space.device), height, width, of=of).clone()
