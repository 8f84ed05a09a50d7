"""How everything in a picture moved: the state of a film network, made of tiles where the picture is large."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unblur.pipeline.film import CPU, MapFilm, RetiledFilm, frame_cost
from unblur.runtime.memory import working_memory
from unblur.runtime.runner import Runner
from unblur.runtime.tiling import Progress


def estimate_motion(
    runner: Runner,
    blurry: Tensor,
    sharp: Tensor | None = None,
    *,
    tile: int | str,
    subject: str,
    progress: Progress | None = None,
) -> MapFilm | RetiledFilm:
    """Run a film network on a picture, once for all times.

    Parameters
    ----------
    runner : Runner
        Of a film network.
    blurry, sharp : Tensor
        (1, 3, H, W) in [0, 1]; `sharp`, the middle frame, only where the network starts from it. It may be unclamped.
    tile : int or "auto"
        Side of the tiles.
    subject : str
        The file, for messages.
    progress : callable, optional
        Called with (tiles done, tiles in all).

    Returns
    -------
    MapFilm or RetiledFilm
        The latter where the network's state is no map of the picture.
    """
    network, (height, width) = runner.network, blurry.shape[-2:]
    if not network.has_map:
        return RetiledFilm(runner, blurry, runner.tile(height, width, tile, lambda: frame_cost(runner)), subject)
    pictures = (blurry,) if sharp is None else (blurry, sharp)
    context = None if sharp is None else runner.global_context(blurry, sharp)
    coarse = () if context is None else ((context, network.cell),)
    cost = lambda: runner.cost("state", lambda side: _state(runner, side, len(pictures), coarse))  # noqa: E731
    state, side = runner.tiled(
        runner.state,
        *pictures,
        tile=runner.tile(height, width, tile, cost),
        subject=subject,
        coarse=coarse,
        store=_store(runner, 4 * runner.channels * height * width),
        progress=progress,
        align=network.align,
    )
    with torch.inference_mode():
        if (orientation := network.orientation(state)) is not None:
            # In place: of all that a film takes this is the most.
            state *= orientation
    return MapFilm(runner, state, side, subject)


def _state(runner: Runner, side: int, pictures: int, coarse: Sequence[tuple[Tensor, int]]) -> Tensor:
    """The state of a grey tile of this side, from the pictures and what is known of the whole."""
    grey = runner.grey(side)
    context = (known.new_zeros(1, known.shape[1], side // n, side // n) for known, n in coarse)
    return runner.state(*[grey] * pictures, *context)


def _store(runner: Runner, size: int) -> torch.device:
    """Where a state of `size` bytes is kept: on the device if that leaves most of it to the passes."""
    return runner.device if size < working_memory(runner.device) // 4 else CPU
