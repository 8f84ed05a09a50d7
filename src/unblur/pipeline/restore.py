"""A model, ready to run: what `load` returns and the tasks share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from inspect import signature
from os import PathLike
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.models.auto_select import Choice, auto_select
from unblur.models.load import display_name, weights_digest
from unblur.models.registry import ALIASES, DEFAULT, SHIPPED
from unblur.models.weights import load_weights
from unblur.networks.cfmd_critic import CFMDCritic
from unblur.networks.deep_image_prior import DeepCodePrior, DeepImagePrior
from unblur.networks.hypercut import HyperCUT
from unblur.pipeline.consistency import STEPS
from unblur.pipeline.film import MapFilm, estimate_film, film_of
from unblur.pipeline.reblur_residual import Refinement, measure_residual
from unblur.pipeline.refine import find_correction
from unblur.pipeline.refiner_film import RefinerFilm, WholeFilm
from unblur.runtime.device import resolve_device
from unblur.runtime.precision import resolve_dtype
from unblur.runtime.runner import Runner, to_output_range
from unblur.tasks.blur_check import has_paths
from unblur.tasks.inputs import tile_option

Progress = Callable[[str, int, int], None]


class Restoration(NamedTuple):
    """What an pipeline made of a blurry picture.

    Attributes
    ----------
    sharp : Tensor or None
        (1, 3, H, W), unclamped, on the CPU; None if the model has only frames, the middle one among them.
    film : MapFilm, RetiledFilm or RefinerFilm
    tile : int
        Side of the tiles that the sharp picture was made in, else the film.
    refinement : Refinement or None
        Of the film's paths, if it was asked for.
    """

    sharp: Tensor | None
    film: WholeFilm
    tile: int
    refinement: Refinement | None = None

    def middle(self, subject: str) -> Tensor:
        """The sharp picture, (3, H, W) in [0, 1]: the model's own, or the film's middle frame."""
        return next(self.film.frames([0.5])) if self.sharp is None else to_output_range(self.sharp[0], subject)


class Pipeline:
    """A network with its card, on a device, in a number format, with a size of tiles.

    Pass it as ``model`` to `unblur.deblur` and `unblur.frames` to load once for many pictures.

    Attributes
    ----------
    name : str
        Of the model.
    card : object or None
        What is known of its weights; see `unblur.models.weights.Card`.
    runner : Runner
        Of its network.
    restorer : Runner or None
        Of the network that makes the sharp middle frame: its own, a part of it, or where it moves a frame of any origin
        and makes none that of `sharpener`; None if it only makes films.
    sharpener : str
        The name of that other network, or nothing.
    tile : int or "auto"
    reason : str
        Why this model, where the choice was left to us.
    """

    def __init__(
        self,
        network: nn.Module,
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
        if unfit := _unfit(network):
            raise UnblurError(f"--model {self.name}", *unfit)
        self.reason = reason
        self.runner = Runner(network, place, resolve_dtype(dtype, place))
        self.sharpener = sharpener if _needs_sharpener(network) else ""
        self.restorer = self._restorer()
        self.tile = tile_option(tile)
        (self.restorer or self.runner).check_tile(self.tile)

    def _restorer(self) -> Runner | None:
        if self.runner.starts_from_sharp:
            source = load_weights(self.sharpener).network if self.sharpener else self.runner.network
            restorer = getattr(source, "restorer", source)
            return Runner(restorer, self.runner.device, self.runner.dtype)
        return None if self.runner.is_film else self.runner

    @cached_property
    def film(self) -> Runner:
        """Of the network that makes the films: its own, or for a model of single pictures that of `DEFAULT`."""
        if self.is_film:
            return self.runner
        return Runner(load_weights(DEFAULT).network, self.runner.device, self.runner.dtype)

    @cached_property
    def estimator(self) -> Pipeline | None:
        """What makes the estimates of a network that sees some."""
        if not self.runner.takes_estimates:
            return None
        return load(ALIASES["best"], self.runner.device, self.runner.dtype, self.tile)

    @property
    def first(self) -> str:
        """The name of the other model whose pictures it begins with, or nothing."""
        return self.estimator.name if self.estimator else self.sharpener

    @property
    def is_film(self) -> bool:
        """Whether its network makes frames at any time, or a single sharp picture."""
        return self.runner.is_film

    @property
    def weights(self) -> dict[str, str]:
        """The sum of the weights of every network that takes part, by name: of their files, or of the numbers."""
        others = {self.sharpener} - {""} | (set() if self.is_film else {DEFAULT})
        own = getattr(self.card, "sha256", None) or weights_digest(self.runner.network)
        behind = self.estimator.weights if self.estimator else {}
        return {**behind, **{name: SHIPPED[name].sha256 for name in others}, self.name: own}

    def see(
        self,
        blurry: Tensor,
        subject: str,
        *,
        sharp: Tensor | None = None,
        refine: bool = False,
        consistency: int = STEPS,
        add_residual: bool = False,
        progress: Progress | None = None,
    ) -> Restoration:
        """Sharpen a picture, and find how everything in it moved.

        Parameters
        ----------
        blurry : Tensor
            (1, 3, H, W) in [0, 1].
        subject : str
            The file, for messages.
        sharp : Tensor, optional
            The middle frame, the same shape, in place of one of its own; only where the film `starts_from_sharp`.
        refine : bool
            Bend the paths until the film's mean is nearer to the picture; only where the film has paths.
        consistency : int
            Steps that bring the sharp frame nearer to the picture; see `unblur.pipeline.consistency`. Where there are
            any, pixels first take the paths around them that explain it; see `unblur.pipeline.edges`. Only where
            the film has paths.
        add_residual : bool
            Give the frames what their mean leaves of the picture, if there are such steps: for who wants them all, and
            not the middle one alone, which gets none of it. Only where the film has paths.
        progress : callable, optional
            Called with (stage, steps done, steps in all).
        """
        if self.estimator is not None:
            return self._corrected(self.estimator, blurry, subject, consistency, progress)
        side = None
        if sharp is None and self.restorer is not None:
            tell = _staged(progress, "sharpening")
            sharp, side = self.restorer.sharpen(blurry, tile=self.tile, subject=subject, progress=tell)
        # Of two networks the one that the tiles are meant for is the first.
        tile = self.tile if isinstance(self.tile, str) else max(self.tile, self.film.smallest)
        if sharp is None:
            alone = film_of(self.film, blurry, tile=tile, subject=subject)
            return Restoration(None, alone, alone.tile)
        film = estimate_film(
            self.film, blurry, sharp, tile=tile, subject=subject, progress=_staged(progress, "following")
        )
        del sharp  # which is in the film: a large picture is not held twice
        refinement = _refined(film, blurry, progress) if refine else None
        if consistency and has_paths(self.film):
            _staged(progress, "comparing")
            film.propagate(blurry)
            film.make_consistent(blurry, consistency)
            if add_residual:
                film.add_residual(blurry)
        return Restoration(film.state[:, :3].cpu(), film, side or film.tile, refinement)

    def _corrected(
        self, estimator: Pipeline, blurry: Tensor, subject: str, consistency: int, progress: Progress | None
    ) -> Restoration:
        estimates = estimator.see(blurry, subject, consistency=consistency, add_residual=True, progress=progress).film
        assert not isinstance(estimates, RefinerFilm)
        film = RefinerFilm(self.runner, blurry, estimates, tile=self.tile, subject=subject)
        return Restoration(None, film, film.tile)

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {
            "name": self.name,
            "chosen": self.reason or None,
            "network": type(self.runner.network).__name__,
            "makes": "film" if self.is_film else "picture",
            "paths": self.name if self.is_film else DEFAULT,
            "device": str(self.runner.device),
            "dtype": str(self.runner.dtype).removeprefix("torch."),
            **({"sharpener": self.sharpener} if self.sharpener else {}),
            **({"estimator": self.estimator.name} if self.estimator else {}),
        }

    def __str__(self) -> str:
        about = self.as_dict()
        behind = f" behind {self.first}" if self.first else ""
        return f"{about['name']}{behind} on {about['device']} in {about['dtype']}"


def _unfit(network: nn.Module) -> tuple[str, str] | None:
    """What a network is that makes neither sharp pictures nor films, and what to use in its place."""
    if hasattr(network, "reblur"):
        return "is a space of blurs, which sharpens nothing by itself", "use best or fast, or unblur reblur"
    if isinstance(network, DeepImagePrior | DeepCodePrior):
        return "is the deep prior of one picture or code, and knows nothing of others", "use best or fast"
    if isinstance(network, HyperCUT):
        return "scores the order of frames, and makes none", "use best or fast, or name it with --order"
    if isinstance(network, CFMDCritic):
        return "judges frames, and makes none", "use best or fast"
    return None


def _needs_sharpener(network: Any) -> bool:
    """Whether the network moves a sharp frame, and has no part that makes it."""
    takes = signature(network.estimate_motion).parameters if hasattr(network, "estimate_motion") else ()
    return len(takes) > 1 and not hasattr(network, "restorer")


def _refined(film: MapFilm, blurry: Tensor, progress: Progress | None) -> Refinement:
    before = measure_residual(film, blurry[0])
    correction = find_correction(blurry, film.state, progress=_staged(progress, "refining"))
    if not correction.helps:
        return Refinement(before, before, False, correction.shrinkage)
    film.bend(correction)
    return Refinement(before, measure_residual(film, blurry[0]), True, correction.shrinkage)


def _staged(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    """Progress within a stage, which begins now."""
    if progress is None:
        return None
    progress(stage, 0, 1)
    return lambda done, total: progress(stage, done, total)


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
        ``"best"``, ``"fast"``, a name from ``unblur models list``, a .safetensors file, or a network. An `Pipeline` is
        returned as it is, the other arguments unheeded. If left out, one is chosen by `sizes`, or the fast one taken.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ...
    dtype : str
        ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    tile : int or "auto"
        Side of the tiles that large pictures are cut into.
    sizes : iterable of int, optional
        Pixels of each picture that it is for; see `unblur.models.auto_select.choose`. By it is also chosen what
        sharpens the middle frame for a model that has nothing of its own for that.

    Raises
    ------
    UnblurError
        No such model, device, number format or tile.

    Examples
    --------
    >>> pipeline = load(device="cpu")                                  # doctest: +SKIP
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
    if _needs_sharpener(loaded.network) and sizes is not None:
        sharpener = auto_select(sizes, place, precision, torch.get_num_threads()).model
    return Pipeline(
        loaded.network, loaded.card, device=place, dtype=precision, tile=tile, reason=choice.reason, sharpener=sharpener
    )
