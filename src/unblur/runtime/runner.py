"""A network ready to run: on its device, in its precision, every pass the same."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.runtime.memory import WORKSPACE, peak_bytes, working_memory
from unblur.runtime.precision import autocast
from unblur.runtime.tiling import MULTIPLE, Align, Progress, smallest_tile, tile_that_fits, tiled, until_it_fits

PROBES = (64, 128)


class Runner:
    """Runs a network in inference, and knows what its tiles need.

    Networks for a single picture have ``forward(blurry)``. Film networks have ``encode(blurry)`` (what does not depend
    on the time) and ``decode(state, times)``; those that can start from any sharp frame have ``estimate_motion(blurry,
    sharp)`` too, whose state is a map of the picture's size, and may have ``global_context(blurry, sharp)``, which
    sees the picture as a whole and gives a map of ``cell`` times fewer pixels a side, for `estimate_motion` to take,
    or None. Those whose state is such a map though they start from the blurry picture have
    ``estimate_motion(blurry)``. Those with a true ``estimates`` take ``forward(blurry, times, estimates)``. All may
    declare

    * ``tile_overlap``: pixels that neighbouring tiles must share;
    * ``is_local``: False if something in them sees the whole picture (channel attention). Tiles of such a network
      differ everywhere, not only near their rims, so neighbours then fade into each other over all they share;
    * ``multiple``: their stride;
    * ``tile_size``: the side of tile they do best with;
    * ``reach(state)``: how many pixels away a decoded frame may look in the state.

    Parameters
    ----------
    network : nn.Module
        Moved to `device` and set to evaluation, in place.
    device : torch.device
    dtype : torch.dtype
        float32, or what convolutions are cast to.
    """

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.network: Any = network.to(device).eval()
        self.device = device
        self.dtype = dtype
        self.multiple = int(getattr(network, "multiple", MULTIPLE))
        self.overlap = int(getattr(network, "tile_overlap", 64))
        self.ramp = None if getattr(network, "is_local", True) else self.overlap
        self.preferred: int | None = getattr(network, "tile_size", None)
        self._costs: dict[str, float] = {}

    @property
    def is_film(self) -> bool:
        """Whether the network makes frames at any time, or a single picture."""
        return hasattr(self.network, "decode") and any(
            hasattr(self.network, name) for name in ("encode", "estimate_motion")
        )

    @property
    def takes_estimates(self) -> bool:
        """Whether the network makes frames with those of another film model before it."""
        return bool(getattr(self.network, "estimates", False))

    @property
    def starts_from_sharp(self) -> bool:
        """Whether the network makes films from a sharp frame of any origin."""
        return self.maps and len(inspect.signature(self.network.estimate_motion).parameters) > 1

    @property
    def maps(self) -> bool:
        """Whether all that its films are made of is a map of the picture's size."""
        return hasattr(self.network, "estimate_motion") and hasattr(self.network, "decode")

    @cached_property
    def channels(self) -> int:
        """Of the state of a network that `maps`."""
        probe = self.grey(PROBES[0])
        return self.estimate_motion(*[probe] * (2 if self.starts_from_sharp else 1)).shape[1]

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

    def encode(self, blurry: Tensor) -> Any:
        """State of (B, 3, h, w), on the device."""
        with self.inference():
            return self.network.encode(blurry.to(self.device))

    def global_context(self, blurry: Tensor, sharp: Tensor) -> Tensor | None:
        """What `estimate_motion` should know of the whole picture, on the device."""
        if not hasattr(self.network, "global_context"):
            return None
        with self.inference():
            return self.network.global_context(blurry.to(self.device), sharp.to(self.device))

    def estimate_motion(self, *pictures: Tensor) -> Tensor:
        """State (B, K, h, w) of (B, 3, h, w) blurry and what else it takes: sharp, and what `global_context` says of
        both.
        """
        with self.inference():
            return self.network.estimate_motion(*(picture.to(self.device) for picture in pictures))

    def decode(self, state: Any, times: Tensor, *, mixed: bool) -> Tensor:
        """Frames (B, T, 3, h, w), on the device."""
        with self.inference(mixed=mixed):
            return self.network.decode(state, times.to(self.device))

    def draw(self, blurry: Tensor, times: Tensor, estimates: Tensor) -> Tensor:
        """Frames (B, T, 3, h, w) of a network that sees `estimates` (B, T, 2, 3, h, w), on the device."""
        with self.inference():
            return self.network(*(given.to(self.device) for given in (blurry, times, estimates)))

    def forward(self, blurry: Tensor) -> Tensor:
        """Sharp (B, 3, h, w) of a network for a single picture, on the device; the finest if it returns several."""
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
            raise UnblurError(f"--tile {wanted}", problem, f"use {self.smallest} or more, or auto")

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
        cost = lambda: self.cost("forward", lambda side: self.forward(self.grey(side)))  # noqa: E731
        side = self.tile(height, width, tile, cost)
        return self.tiled(self.forward, blurry, tile=side, subject=subject, progress=progress)

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
    return UnblurError(subject, problem, "use --dtype float32, or another model")


def to_output_range(image: Tensor, subject: str) -> Tensor:
    """Clamp a result to [0, 1], float32 on the CPU; refuse one with values that are not numbers."""
    image = image.to("cpu", torch.float32)
    if not all(math.isfinite(extreme) for extreme in torch.aminmax(image)):
        raise not_numbers(subject)
    # In place where it may: the picture can be large.
    return image.clamp(0, 1) if image.is_inference() else image.clamp_(0, 1)
