"""A network ready to run: on its device, in its precision, every pass the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unblur.errors import UnblurError, UsageError
from unblur.runtime.memory import WORKSPACE, peak_bytes, working_memory
from unblur.runtime.precision import autocast
from unblur.runtime.tiling import Align, Progress, smallest_tile, tile_that_fits, tiled, until_it_fits

PROBES = (64, 128)


class Runner:
    """Runs a network in inference, and knows what its tiles need.

    Parameters
    ----------
    network : nn.Module
        Of a kind in `unblur.networks.kinds` that is `Tiled`; moved to `device` and set to evaluation, in place.
    device : torch.device
    dtype : torch.dtype
        float32, or what convolutions are cast to.

    Attributes
    ----------
    ramp : int or None
        Pixels over which neighbouring tiles fade into each other; None for a narrow rim.
    """

    def __init__(self, network: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.network = network.to(device).eval()
        self.device = device
        self.dtype = dtype
        self.multiple: int = self.network.multiple
        self.overlap: int = self.network.tile_overlap
        self.ramp = None if self.network.is_local else self.overlap
        self.preferred: int | None = self.network.tile_size
        self._costs: dict[str, float] = {}

    @cached_property
    def channels(self) -> int:
        """Of the state of a film network that has a map."""
        probe = self.grey(PROBES[0])
        return self.state(*[probe] * (2 if self.network.starts_from == "sharp" else 1)).shape[1]

    @property
    def smallest(self) -> int:
        """Side of the smallest tile to try."""
        return smallest_tile(self.overlap, self.multiple)

    @contextmanager
    def inference(self, *, mixed: bool = True) -> Iterator[None]:
        """The context of every pass: no gradients, no choice of kernels by stopwatch; `mixed` casts convolutions."""
        precise = autocast(self.device, self.dtype if mixed else torch.float32)
        kernels = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), kernels, precise:
            yield

    def global_context(self, blurry: Tensor, sharp: Tensor) -> Tensor | None:
        """What a film network should know of the whole picture, on the device."""
        with self.inference():
            return self.network.global_context(blurry.to(self.device), sharp.to(self.device))

    def state(self, blurry: Tensor, *others: Tensor) -> Any:
        """State of a film network, on the device, from (B, 3, h, w) blurry.

        `others` are the sharp middle frame where the network starts from it, and what `global_context` says of both.
        """
        run = self.network.encode if self.network.starts_from == "blurry" else self.network.estimate_motion
        with self.inference():
            return run(*(given.to(self.device) for given in (blurry, *others)))

    def decode(self, state: Any, times: Tensor, *, mixed: bool) -> Tensor:
        """Frames (B, T, 3, h, w), on the device."""
        with self.inference(mixed=mixed):
            return self.network.decode(state, times.to(self.device))

    def refine(self, blurry: Tensor, times: Tensor, estimates: Tensor) -> Tensor:
        """Frames (B, T, 3, h, w) of a refiner from initial `estimates` (B, T, 2, 3, h, w), on the device."""
        with self.inference():
            return self.network(*(given.to(self.device) for given in (blurry, times, estimates)))

    def restore(self, blurry: Tensor) -> Tensor:
        """Sharp (B, 3, h, w) of a restorer, on the device; the finest if it returns several scales."""
        with self.inference():
            sharp = self.network(blurry.to(self.device))
        return sharp if isinstance(sharp, Tensor) else sharp[-1]

    def tile(self, height: int, width: int, wanted: int | str, bytes_per_pixel: Callable[[], float]) -> int:
        """Side of the tiles for a picture: as wanted, or what the network prefers, or the largest that fits in memory.

        `bytes_per_pixel` is asked only where it matters.
        """
        self.check_tile(wanted)
        if isinstance(wanted, int):
            return wanted
        if max(height, width) <= self.smallest:
            return self.smallest
        most = {} if self.preferred is None else {"most": self.preferred}
        return tile_that_fits(bytes_per_pixel(), working_memory(self.device), self.overlap, self.multiple, **most)

    def check_tile(self, wanted: int | str) -> None:
        """Refuse tiles that are hardly more than their overlaps."""
        if isinstance(wanted, int) and wanted < self.smallest:
            problem = f"too small for this network, whose tiles share {self.overlap} pixels"
            raise UsageError("tile", wanted, problem, f"use {self.smallest} or more, or `tile=auto`")

    def tiled(
        self,
        apply: Callable[..., Tensor],
        *images: Tensor,
        tile: int,
        subject: str,
        coarse: Sequence[tuple[Tensor, int]] = (),
        store: torch.device | str = "cpu",
        progress: Progress | None = None,
        align: Align | None = None,
    ) -> tuple[Tensor, int]:
        """Run over pictures of any size, in smaller tiles where memory runs out.

        Parameters
        ----------
        tile : int
            Side of the tiles to begin with, from `tile`.
        subject : str
            The file, for messages.
        apply, images, coarse, store, progress, align
            See `unblur.runtime.tiling.tiled`.

        Returns
        -------
        (Tensor, int)
            (..., H, W) float32 on `store`, and the side of the tiles that it was made in.
        """
        stitch = lambda side: tiled(  # noqa: E731
            apply,
            *images,
            tile=side,
            overlap=self.overlap,
            multiple=self.multiple,
            ramp=self.ramp,
            coarse=coarse,
            store=store,
            progress=progress,
            align=align,
        )
        return until_it_fits(stitch, tile, smallest=self.smallest, subject=subject, multiple=self.multiple)

    def sharpen(
        self, blurry: Tensor, *, tile: int | str, subject: str, progress: Progress | None = None
    ) -> tuple[Tensor, int]:
        """What a network for a single picture makes of (1, 3, H, W) in [0, 1], of any size.

        Returns
        -------
        (Tensor, int)
            The same shape, float32, unclamped, on the CPU, and the side of the tiles that it was made in.
        """
        height, width = blurry.shape[-2:]
        cost = lambda: self.cost("restore", lambda side: self.restore(self.grey(side)))  # noqa: E731
        side = self.tile(height, width, tile, cost)
        return self.tiled(self.restore, blurry, tile=side, subject=subject, progress=progress)

    def denoise(self, noisy: Tensor, sigma: float, *, tile: int | str, subject: str) -> Tensor:
        """Without white noise of this standard deviation, by a denoiser: (1, 3, H, W) to the same, on the CPU."""
        level = torch.tensor([sigma], device=self.device)

        def attempt(piece: Tensor) -> Tensor:
            with self.inference():
                return self.network(piece.to(self.device), level)

        cost = lambda: self.cost("denoise", lambda side: attempt(self.grey(side)))  # noqa: E731
        side = self.tile(noisy.shape[-2], noisy.shape[-1], tile, cost)
        return self.tiled(attempt, noisy, tile=side, subject=subject)[0]

    def cost(self, name: str, run: Callable[[int], object]) -> float:
        """Bytes per pixel of `run`, which takes the side of a square picture; measured once per `name`.

        From two sizes, so that what does not grow with the picture (cast weights) drops out.
        """
        if name not in self._costs:
            small, large = (peak_bytes(lambda side=side: run(side)) for side in PROBES)  # type: ignore[misc]
            self._costs[name] = WORKSPACE * max(large - small, 1) / (PROBES[1] ** 2 - PROBES[0] ** 2)
        return self._costs[name]

    def grey(self, side: int) -> Tensor:
        """A picture to measure with, on the device."""
        return torch.full((1, 3, side, side), 0.5, device=self.device)


def not_numbers(subject: str) -> UnblurError:
    """What to tell of a network's result for a picture that cannot be drawn."""
    problem = "the network's result has values that are not numbers"
    return UnblurError(subject, problem, "use `dtype=float32`, or another model")


def to_output_range(image: Tensor, subject: str) -> Tensor:
    """Clamp a result to [0, 1], float32 on the CPU; refuse one with values that are not numbers."""
    image = image.to("cpu", torch.float32)
    if not all(math.isfinite(extreme) for extreme in torch.aminmax(image)):
        raise not_numbers(subject)
    # In place where it may: the picture can be large.
    return image.clamp(0, 1) if image.is_inference() else image.clamp_(0, 1)
