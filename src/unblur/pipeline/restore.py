"""The pipeline: a blurry picture to its sharp frame, how everything in it moved, and the film of its exposure.

What a user runs is what is measured, kept for training and exported: `Pipeline.restore` has the steps, in the order in
which they happen. `load` makes a `Pipeline` of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from unblur.analysis.motion_field import Field, measure_field
from unblur.errors import UsageError
from unblur.models.load import Choice, auto_select, display_name, weights_digest
from unblur.models.registry import ALIASES, DEFAULT, SHIPPED
from unblur.models.weights import load_weights
from unblur.networks.kinds import Kind
from unblur.pipeline.consistency import STEPS
from unblur.pipeline.film import AnyFilm, MapFilm, RefinerFilm
from unblur.pipeline.motion import estimate_motion
from unblur.pipeline.refine import Refinement, refine_paths
from unblur.pipeline.residual import Residual, measure_residual
from unblur.runtime.device import resolve_device
from unblur.runtime.precision import resolve_dtype
from unblur.runtime.runner import Runner, to_output_range

Progress = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all)."""

UNFIT: dict[Kind, tuple[str, str]] = {
    "blur_space": ("is a blur space, which sharpens nothing by itself", "use best or fast, or blur transfer"),
    "prior": ("is the deep prior of one picture or code, and knows nothing of others", "use best or fast"),
    "order": ("scores the order of frames, and makes none", "use best or fast, or `order`"),
    "critic": ("judges frames, and makes none", "use best or fast"),
    "denoiser": ("takes noise away, and no blur", "use best or fast"),
}
"""Kinds of network that restore nothing: what is wrong with them here, and what to use instead."""


@dataclass(frozen=True)
class Restoration:
    """What the pipeline made of a blurry picture.

    Attributes
    ----------
    blurry : Tensor
        (1, 3, H, W) in [0, 1].
    sharp : Tensor or None
        (1, 3, H, W), unclamped, on the CPU; None if the model makes frames only, the middle one among them.
    film : MapFilm, RetiledFilm, RefinerFilm or None
        None if no motion was estimated.
    tile : int
        Side of the tiles that the sharp picture was made in, else the film.
    subject : str
        The file, for messages.
    refinement : Refinement or None
        Of the paths, if it was asked for.
    """

    blurry: Tensor
    sharp: Tensor | None
    film: AnyFilm | None
    tile: int
    subject: str
    refinement: Refinement | None = None

    @cached_property
    def middle(self) -> Tensor:
        """The sharp picture, (3, H, W) in [0, 1]: the model's own, or the film's middle frame."""
        if self.sharp is not None:
            return to_output_range(self.sharp[0], self.subject)
        assert self.film is not None
        return next(self.film.frames([0.5]))

    @cached_property
    def residual(self) -> Residual | None:
        """How far the film, averaged over the exposure, is from the blurry picture."""
        return None if self.film is None else measure_residual(self.film, self.blurry[0])

    @cached_property
    def motion(self) -> Field | None:
        """The paths of the film, thinned out; None if it has none."""
        paths = None if self.film is None else self.film.paths
        return None if paths is None else measure_field(paths, self.blurry[0])


class Pipeline:
    """A model, ready to restore pictures: networks on a device, in a number format, with a size of tiles.

    Pass it as ``model`` to `unblur.deblur` and `unblur.frames` to load once for many pictures.

    Attributes
    ----------
    name : str
        Of the model.
    card : Card or None
        What is known of its weights; see `unblur.models.card.Card`.
    kind : str
        Of its network: "restorer", "film" or "refiner".
    runner : Runner
        Of its network.
    restorer : Runner or None
        Of the network that makes the sharp middle frame: its own, a part of it, or that of `sharpener`; None if its
        films start from the blurry picture.
    sharpener : str
        The name of the model that makes the middle frame for a network which moves one and makes none, or nothing.
    tile : int or "auto"
        Side of the tiles that large pictures are cut into.
    reason : str
        Why this model, where the choice was left to us.
    """

    def __init__(
        self,
        network: Any,
        card: Any = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        tile: int | str = "auto",
        reason: str = "",
        sharpener: str = DEFAULT,
    ) -> None:
        place = resolve_device(device)
        self.card = card
        self.name = display_name(network, card)
        self.kind: Kind = network.kind
        if self.kind in UNFIT:
            raise UsageError("model", self.name, *UNFIT[self.kind])
        self.runner = Runner(network, place, resolve_dtype(dtype, place))
        self.reason = reason
        self.sharpener = sharpener if needs_sharpener(self.runner.network) else ""
        self.restorer = self._restorer()
        self.tile = checked_tile(tile)
        (self.restorer or self.runner).check_tile(self.tile)

    def _restorer(self) -> Runner | None:
        if self.kind == "restorer":
            return self.runner
        if self.kind == "refiner" or self.runner.network.starts_from == "blurry":
            return None
        network = self.runner.network.own_restorer
        if network is None:
            network = load_weights(self.sharpener).network
            network = network if network.kind == "restorer" else network.own_restorer
        return Runner(network, self.runner.device, self.runner.dtype)

    @cached_property
    def film(self) -> Runner:
        """Of the network that makes the films: its own, or for a restorer that of `DEFAULT`."""
        if self.kind != "restorer":
            return self.runner
        return Runner(load_weights(DEFAULT).network, self.runner.device, self.runner.dtype)

    @cached_property
    def estimator(self) -> Pipeline | None:
        """What makes the initial estimates of a refiner."""
        if self.kind != "refiner":
            return None
        return load(ALIASES["best"], self.runner.device, self.runner.dtype, self.tile)

    @property
    def first(self) -> str:
        """The name of the other model whose pictures it begins with, or nothing."""
        return self.estimator.name if self.estimator else self.sharpener

    @property
    def full_name(self) -> str:
        """Its name, and that of the other model if there is one."""
        return f"{self.name} behind {self.first}" if self.first else self.name

    @property
    def has_paths(self) -> bool:
        """Whether its films are a sharp frame moved along paths, which can be drawn, refined and followed back."""
        return self.kind != "refiner" and self.film.network.has_paths

    @property
    def count(self) -> int | None:
        """How many frames it makes, where that is fixed."""
        return None if self.kind == "refiner" else self.film.network.count

    @property
    def weights(self) -> dict[str, str]:
        """The sha256 of the weights of every network that takes part, by name: of their files, or of the numbers."""
        others = {self.sharpener} - {""} | ({DEFAULT} if self.kind == "restorer" else set())
        own = getattr(self.card, "sha256", None) or weights_digest(self.runner.network)
        behind = self.estimator.weights if self.estimator else {}
        return {**behind, **{name: SHIPPED[name].sha256 for name in others}, self.name: own}

    def restore(
        self,
        blurry: Tensor,
        subject: str,
        *,
        sharp: Tensor | None = None,
        motion: bool = True,
        refine: bool = False,
        data_consistency: int = STEPS,
        residual: bool = False,
        progress: Progress | None = None,
    ) -> Restoration:
        """Make a picture sharp, and find how everything in it moved.

        Parameters
        ----------
        blurry : Tensor
            (1, 3, H, W) in [0, 1].
        subject : str
            The file, for messages.
        sharp : Tensor, optional
            The middle frame, the same shape, in place of one of its own; only where the film starts from one.
        motion : bool
            Estimate the motion; without it there is no film, and nothing after the sharp frame is done.
        refine : bool
            Refine the paths until the film's mean is nearer to the picture; only where the film has paths.
        data_consistency : int
            Steps that bring the sharp frame nearer to the picture; see `unblur.pipeline.consistency`. Where there are
            any, pixels first take the paths around them that explain it; see `unblur.pipeline.edges`. Only where the
            film has paths.
        residual : bool
            Add to the frames what their mean leaves of the picture; see `unblur.pipeline.residual`. The middle frame
            gets none of it, so only who wants the others needs it. Only where the film has paths and there are steps
            of data consistency.
        progress : callable, optional
            Called with (stage, steps done, steps in all).
        """
        if self.kind == "refiner":
            return self._refine_estimates(blurry, subject, data_consistency, progress)

        side = 0
        if sharp is None and self.restorer is not None:
            tell = _stage(progress, "sharpening")
            sharp, side = self.restorer.sharpen(blurry, tile=self.tile, subject=subject, progress=tell)
        if sharp is not None and not motion:
            return Restoration(blurry, sharp, None, side, subject)

        tell = _stage(progress, "estimating motion")
        film = estimate_motion(self.film, blurry, sharp, tile=self._film_tile, subject=subject, progress=tell)
        if sharp is None or not isinstance(film, MapFilm):
            return Restoration(blurry, None, film, film.tile, subject)
        del sharp  # It is part of the film: a large picture is not held twice.
        refinement = refine_paths(film, blurry, _stage(progress, "refining")) if refine else None

        if data_consistency and self.has_paths:
            _stage(progress, "comparing")
            film.propagate_paths(blurry)
            film.make_consistent(blurry, data_consistency)
            if residual:
                film.add_residual(blurry)
        return Restoration(blurry, film.state[:, :3].cpu(), film, side or film.tile, subject, refinement)

    def _refine_estimates(
        self, blurry: Tensor, subject: str, data_consistency: int, progress: Progress | None
    ) -> Restoration:
        assert self.estimator is not None
        made = self.estimator.restore(
            blurry, subject, data_consistency=data_consistency, residual=True, progress=progress
        )
        assert made.film is not None
        film = RefinerFilm(self.runner, blurry, made.film, tile=self.tile, subject=subject)
        return Restoration(blurry, None, film, film.tile, subject)

    @property
    def _film_tile(self) -> int | str:
        """Of two networks the one that `tile` is meant for is the first."""
        return self.tile if isinstance(self.tile, str) else max(self.tile, self.film.smallest)

    def frames(self, blurry: Tensor, times: Tensor, *, refine: bool = False, data_consistency: int = STEPS) -> Tensor:
        """The films of a batch, by the steps of `restore`: what is measured, and what refiners learn from.

        Parameters
        ----------
        blurry : Tensor
            (B, 3, H, W) in [0, 1].
        times : Tensor
            (T,) in [0, 1].
        refine, data_consistency
            As of `restore`.

        Returns
        -------
        Tensor
            (B, T, 3, H, W) in [0, 1], float32, on the device of `blurry`.
        """
        films = []
        for picture in blurry.cpu().split(1):
            made = self.restore(picture, "the picture", refine=refine, data_consistency=data_consistency, residual=True)
            assert made.film is not None
            films.append(torch.stack(list(made.film.frames(times.tolist()))))
        return torch.stack(films).to(blurry.device)

    def check_paths(self, argument: str = "model", value: object = None) -> None:
        """Refuse a model whose films have no paths; because of `argument`, if one asked for paths.

        Raises
        ------
        UsageError
        """
        if self.has_paths:
            return
        if argument == "model":
            raise UsageError("model", self.name, "makes films without paths", "use best or fast")
        problem = f"needs paths, and the films of {self.name} have none"
        raise UsageError(argument, value, problem, "leave one of the two out")

    def check_times(self, times: Sequence[float], argument: str = "times", value: object = None) -> None:
        """Refuse times at which a network of a fixed number of frames makes none.

        Raises
        ------
        UsageError
        """
        count = self.count
        if count is None or all(abs(time * (count - 1) - round(time * (count - 1))) < 1e-4 for time in times):
            return
        problem = f"{self.name} makes {count} frames and none between, at 0, 1/{count - 1}, ... 1"
        remedy = f"use `n={count}`, or a model that makes any number of frames"
        raise UsageError(argument, value, problem, remedy)

    def check_starts_from_sharp(self) -> None:
        """Refuse a model that cannot start from a sharp frame of another origin.

        Raises
        ------
        UsageError
        """
        if self.kind != "film" or self.film.network.starts_from != "sharp":
            raise UsageError("sharp", None, f"takes the place of what {self.name} makes", "leave one of the two out")

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {
            "name": self.name,
            "chosen": self.reason or None,
            "network": type(self.runner.network).__name__,
            "kind": self.kind,
            "paths": DEFAULT if self.kind == "restorer" else self.name,
            "device": str(self.runner.device),
            "dtype": str(self.runner.dtype).removeprefix("torch."),
            **({"sharpener": self.sharpener} if self.sharpener else {}),
            **({"estimator": self.estimator.name} if self.estimator else {}),
        }

    def __str__(self) -> str:
        known = self.as_dict()
        return f"{self.full_name} on {known['device']} in {known['dtype']}"


def needs_sharpener(network: Any) -> bool:
    """Whether a network moves a sharp frame, and has no part that makes it."""
    return network.kind == "film" and network.starts_from == "sharp" and network.own_restorer is None


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    """Progress within a stage, which begins now."""
    if progress is None:
        return None
    progress(stage, 0, 1)
    return lambda done, total: progress(stage, done, total)


def checked_tile(tile: int | str) -> int | str:
    """The argument `tile`: "auto", or a number of pixels.

    Raises
    ------
    UsageError
    """
    if isinstance(tile, str) and tile.lower() == "auto":
        return "auto"
    try:
        side = int(tile)
    except (TypeError, ValueError):
        side = 0
    if side < 1:
        raise UsageError("tile", tile, "not a size", "use auto or a number of pixels")
    return side


def load(
    model: str | PathLike[str] | nn.Module | Pipeline | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    sizes: Iterable[int] | None = None,
) -> Pipeline:
    """Load a model once, to use it on many pictures.

    Parameters
    ----------
    model : str, path, nn.Module or Pipeline, optional
        ``"best"``, ``"fast"``, a name from ``unblur models list``, a .safetensors file, or a network. A `Pipeline` is
        returned as it is, and the other arguments are ignored. If left out, one is chosen by `sizes`, or the fast one
        is taken.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ...
    dtype : str
        ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    tile : int or "auto"
        Side of the tiles that large pictures are cut into.
    sizes : iterable of int, optional
        Pixels of each picture that it is for; see `unblur.models.load.auto_select`. They also choose what makes
        the middle frame for a model that moves one and makes none.

    Raises
    ------
    UnblurError
        No such model, device, number format or tile.

    Examples
    --------
    >>> pipeline = unblur.load(device="cpu")                         # doctest: +SKIP
    >>> for photo in photos:                                         # doctest: +SKIP
    ...     unblur.deblur(photo, model=pipeline).save(out / photo.name)
    """
    if isinstance(model, Pipeline):
        return model
    if isinstance(model, nn.Module):
        return Pipeline(model, device=device, dtype=dtype, tile=tile)
    # Options are checked before a file is read.
    place = resolve_device(device)
    precision = resolve_dtype(dtype, place)
    choice = Choice(DEFAULT, "")
    if model is None and sizes is not None:
        choice = auto_select(sizes, place, precision, torch.get_num_threads())
    loaded = load_weights(choice.model if model is None else model)
    sharpener = DEFAULT
    if needs_sharpener(loaded.network) and sizes is not None:
        sharpener = auto_select(sizes, place, precision, torch.get_num_threads()).model
    return Pipeline(
        loaded.network, loaded.card, device=place, dtype=precision, tile=tile, reason=choice.reason, sharpener=sharpener
    )
