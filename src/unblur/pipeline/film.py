"""The film of one picture, of any size, in bounded memory.

There are three, by what the frames are made of:

* `MapFilm`: the network's state is a map of the picture's size. Its tiles are stitched once. Every frame is then
  decoded from the whole map, in bands of rows with as much margin as the network's `reach` asks for, so a band is
  exactly what it would be in the whole.
* `RetiledFilm`: the state is whatever the network likes. A picture that fits in one tile is encoded once. A larger one
  is run tile by tile for every few frames, and the frames are blended. Encoding is repeated each time, which bounds the
  memory.
* `RefinerFilm`: a refiner corrects the frames of another film, its initial estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import isfinite, isqrt
from typing import Any

import torch
from torch import Tensor

from unblur.exposure.response import Response, to_linear
from unblur.layers.bands import Band
from unblur.pipeline.consistency import STEPS, consistent
from unblur.pipeline.edges import propagated
from unblur.pipeline.residual import INSTANTS, film_residual, with_residual
from unblur.runtime.memory import working_memory
from unblur.runtime.runner import Runner, not_numbers, to_output_range
from unblur.runtime.tiling import until_it_fits

CACHED = 2**18
"""Pixels on a CPU, from which on most of the time goes into handing out memory."""
CONSISTENCY_COST = 1000
"""Bytes that a step of `consistency` takes for a pixel."""
PROPAGATION_COST = 600
"""Bytes that a round of `propagation` takes for a pixel."""
FRAME_COST = 12
"""Bytes that a finished frame takes for a pixel."""
KEPT_ESTIMATES = 1 / 4
"""Share of the memory for a pass that initial estimates take which are kept for later frames."""
DECIMALS = 6
"""Of times, beyond which two are one."""
CPU = torch.device("cpu")
Average = tuple[slice, Tensor]
NOTHING = torch.zeros(())


class MapFilm:
    """Frames from a stitched state; see the module's description.

    Attributes
    ----------
    tile : int
        Side of the tiles that were used.
    """

    def __init__(self, runner: Runner, state: Tensor, tile: int, subject: str) -> None:
        self.runner, self.state, self.tile, self.subject = runner, state, tile, subject
        self._height, self._width = state.shape[-2:]
        self._cost = runner.cost("decode", self._probe)
        self._margin = self._reach()
        self._left: Tensor | None = None

    @property
    def paths(self) -> Tensor | None:
        """Coefficients (2 * degree, H, W) in pixels, see `unblur.layers.paths`; None if the network has no paths."""
        return self.state[0, 3:] if self.runner.network.has_paths else None

    def propagate_paths(self, blurry: Tensor) -> None:
        """Let pixels take the paths around them that explain the photo (1, 3, H, W), in tiles; see `pipeline.edges`."""
        sharp, paths = self.state[:, :3], self.state[:, 3:]
        side = max(isqrt(_at_once(self.state.device, PROPAGATION_COST)), 64)
        attempt = partial(propagated, blurry, sharp, paths)
        with torch.inference_mode():
            found, _ = until_it_fits(
                lambda side: attempt(side=side), side, smallest=16, subject=self.subject, multiple=1
            )
            self.state[:, 3:] = found
        self.paths_changed()

    def make_consistent(self, blurry: Tensor, steps: int = STEPS) -> None:
        """Bring the sharp frame nearer to the photo (1, 3, H, W) that it was made of, in bands; see `consistency`."""

        def attempt(rows: int) -> Tensor:
            sharp, paths = self.state[:, :3], self.state[:, 3:]
            return consistent(blurry, sharp, paths, steps=steps, rows=rows, margin=self._margin)

        rows = self._rows(_at_once(self.state.device, CONSISTENCY_COST))
        sharp, _ = until_it_fits(attempt, rows, smallest=16, subject=self.subject, multiple=1)
        with torch.inference_mode():
            self.state[:, :3] = sharp

    def paths_changed(self) -> None:
        """Look again how far frames reach, after the paths in `state` were changed."""
        self._margin = self._reach()

    def add_residual(self, blurry: Tensor) -> None:
        """Give the frames what their mean leaves of the photo (1, 3, H, W) that they were made of; see
        `film_residual`.
        """
        self._left = None
        left = torch.empty(blurry.shape[1:], dtype=torch.float16)
        for band, (mean,) in self.averages(INSTANTS, ("srgb",)):
            left[:, band] = film_residual(blurry[0, :, band].cpu().float(), mean).half()
        self._left = left

    def frames(self, times: Sequence[float]) -> Iterator[Tensor]:
        """(3, H, W) in [0, 1] on the CPU, for every time, one after the other."""
        most = min(self._pixels(), working_memory(CPU) // FRAME_COST)
        batch = max(most // (self._height * self._width), 1)
        for chosen in torch.tensor(times, dtype=torch.float32).split(batch):
            frames = torch.empty(len(chosen), 3, self._height, self._width)
            for band, drawn in self._banded(partial(self._decoded, chosen)):
                frames[:, :, band] = drawn
            for frame in frames:
                yield to_output_range(frame, self.subject)

    def averages(self, times: Sequence[float], responses: Sequence[Response]) -> Iterator[Average]:
        """The mean of the clamped frames at `times` in the light of each response, band by band.

        Yields
        ------
        (slice, Tensor)
            Rows of the picture, and (R, 3, rows, W) on the CPU.
        """
        chosen = torch.tensor(times, dtype=torch.float32)

        def averaged(band: slice) -> Tensor:
            batch = max(self._pixels() // ((band.stop - band.start) * self._width), 1)
            light = (_light(self._decoded(some, band), responses) for some in chosen.split(batch))
            return sum(light, NOTHING) / len(chosen)

        for band, average in self._banded(averaged):
            yield band, average.cpu()

    def _banded(self, run: Callable[[slice], Tensor]) -> Iterator[tuple[slice, Tensor]]:
        """Run over bands of rows from the top; with thinner ones from where memory ran out."""
        top, rows = 0, self._rows(self._pixels())

        def attempt(rows: int) -> tuple[slice, Tensor]:
            band = slice(top, min(top + rows, self._height))
            return band, run(band)

        while top < self._height:
            smallest = min(rows, 16)
            (band, result), rows = until_it_fits(attempt, rows, smallest=smallest, subject=self.subject, multiple=1)
            yield band, result
            top = band.stop

    def _decoded(self, times: Tensor, band: slice) -> Tensor:
        """Frames (T, 3, rows, W) of some rows."""
        _, seen, kept = Band.of(band, self._margin, self._height)
        state = self.state[:, :, seen].to(self.runner.device)
        frames = self.runner.decode(state, times, mixed=False)[0, :, :, kept]
        return frames if self._left is None else with_residual(frames, self._left[:, band].to(frames), times)

    def _rows(self, pixels: int) -> int:
        """Rows of a band, so that with its margins it has about as many pixels, but is no thinner than they are."""
        if self._margin >= self._height:
            return self._height
        return max(min(pixels // self._width, self._height) - 2 * self._margin, 2 * self._margin, 64)

    def _pixels(self) -> int:
        """Pixels of frames to draw at once; on the network's device, wherever the state is."""
        return _at_once(self.runner.device, self._cost)

    def _probe(self, side: int) -> Tensor:
        state = torch.zeros(1, self.state.shape[1], side, side, device=self.runner.device)
        return self.runner.decode(state, torch.tensor([0.5]), mixed=False)

    def _reach(self) -> int:
        """Rows of margin that a band needs: what the network says of its state, else all of them.

        Raises
        ------
        UnblurError
            Paths that lead nowhere: frames would be drawn, of the picture's first pixel.
        """
        reach = self.runner.network.reach
        rows = max(2**20 // self._width, 1)
        with self.runner.inference(mixed=False):
            reaches = [reach(band) for band in self.state.split(rows, 2)]
        if None in reaches:
            return self._height
        reaches = [float(each) for each in reaches]
        if not all(map(isfinite, reaches)):
            raise not_numbers(self.subject)
        return int(min(max(reaches), self._height)) + 2


def _at_once(device: torch.device, cost: float) -> int:
    """Pixels to work on at once on a device, at `cost` bytes each."""
    # Half of the memory: the state, the frame and what is being written are there too.
    pixels = int(working_memory(device) / 2 / cost)
    return min(pixels, CACHED) if device.type == "cpu" else pixels


class RetiledFilm:
    """Frames from tiles run anew; see the module's description."""

    paths: Tensor | None = None

    def __init__(self, runner: Runner, blurry: Tensor, tile: int, subject: str) -> None:
        self.runner, self.blurry, self.tile, self.subject = runner, blurry, tile, subject
        self._height, self._width = blurry.shape[-2:]
        self._state: Any = None

    def frames(self, times: Sequence[float]) -> Iterator[Tensor]:
        """(3, H, W) in [0, 1] on the CPU, for every time, one after the other."""
        # Of tiles on the device, and of the whole picture where they are put together.
        batch = min(self._batch(self._height * self._width * FRAME_COST, place) for place in (self.runner.device, CPU))
        for first in range(0, len(times), batch):
            chosen = torch.tensor(times[first : first + batch], dtype=torch.float32)
            for frame in self._tiled(lambda piece, t=chosen: self._decoded(piece, t)):
                yield to_output_range(frame, self.subject)

    def averages(self, times: Sequence[float], responses: Sequence[Response]) -> Iterator[Average]:
        """As `MapFilm.averages`, in a single band; every tile is encoded once for all times."""
        chosen = torch.tensor(times, dtype=torch.float32)

        def averaged(piece: Tensor) -> Tensor:
            batch = self._batch(int(self._cost() * piece.shape[-2] * piece.shape[-1]))
            state = self._encoded(piece)
            decoded = (self.runner.decode(state, some, mixed=True)[0] for some in chosen.split(batch))
            return sum((_light(frames, responses) for frames in decoded), NOTHING) / len(chosen)

        yield slice(0, self._height), self._tiled(averaged)

    def _tiled(self, apply: Any) -> Tensor:
        # A smaller tile is kept for the frames that follow.
        result, self.tile = self.runner.tiled(apply, self.blurry, tile=self.tile, subject=self.subject)
        return result

    def _encoded(self, piece: Tensor) -> Any:
        if piece.shape != self.blurry.shape:
            self._state = None
            return self.runner.state(piece)
        if self._state is None:
            self._state = self.runner.state(piece)
        return self._state

    def _decoded(self, piece: Tensor, times: Tensor) -> Tensor:
        """Frames (T, 3, h, w) of a tile, a few at a time."""
        state = self._encoded(piece)
        batch = self._batch(int(self._cost() * piece.shape[-2] * piece.shape[-1]))
        return torch.cat([self.runner.decode(state, some, mixed=True)[0] for some in times.split(batch)])

    def _cost(self) -> float:
        return frame_cost(self.runner)

    def _batch(self, size: int, device: torch.device | None = None) -> int:
        """How many things of `size` bytes to hold at once, on the network's device or another."""
        return max(int(working_memory(device or self.runner.device) / max(size, 1)), 1)


def frame_cost(runner: Runner) -> float:
    """Bytes per pixel of one frame that is made of a tile alone."""
    half = torch.tensor([0.5])
    return runner.cost("frame", lambda side: runner.decode(runner.state(runner.grey(side)), half, mixed=True))


def averaged(frames: Iterator[Tensor], responses: Sequence[Response]) -> Iterator[Average]:
    """The mean of (3, H, W) frames in the light of each response, in a single band, as `MapFilm.averages` has bands."""
    total: Tensor | None = None
    count = 0
    for frame in frames:
        count += 1
        light = torch.stack([to_linear(frame, response) for response in responses])
        total = light if total is None else total.add_(light)
    if total is not None:
        yield slice(0, total.shape[-2]), total / count


def _light(frames: Tensor, responses: Sequence[Response]) -> Tensor:
    """Sum over (T, 3, h, w) frames, clamped, in the light of each response: (R, 3, h, w)."""
    frames = frames.float().clamp(0, 1)
    return torch.stack([to_linear(frames, response).sum(0) for response in responses])


def time_and_mirror(times: Sequence[float]) -> list[tuple[float, float]]:
    """Each time and 1 minus it, rounded: what is one moment is one number."""
    return [(round(time, DECIMALS), round(1 - time, DECIMALS)) for time in times]


class RefinerFilm:
    """Frames of a refiner, which corrects the initial estimates of another film.

    Attributes
    ----------
    estimates : MapFilm, RetiledFilm or RefinerFilm
        The other film.
    tile : int
        Side of the tiles that were used.
    """

    def __init__(self, runner: Runner, blurry: Tensor, estimates: AnyFilm, *, tile: int | str, subject: str) -> None:
        self.runner, self.blurry, self.estimates, self.subject = runner, blurry, estimates, subject
        half = torch.tensor([0.5])

        def probe(side: int) -> Tensor:
            grey = runner.grey(side)
            return self._refined(half, grey, grey, grey)

        self.tile = runner.tile(blurry.shape[-2], blurry.shape[-1], tile, lambda: runner.cost("estimated", probe))

    @property
    def paths(self) -> Tensor | None:
        """Those of the initial estimates."""
        return self.estimates.paths

    def frames(self, times: Sequence[float]) -> Iterator[Tensor]:
        """(3, H, W) in [0, 1] on the CPU, for every time, one after the other."""
        for time, (there, back) in zip(times, self._estimated(times), strict=True):
            moment = torch.tensor([time], dtype=torch.float32)
            frame, self.tile = self.runner.tiled(
                lambda *pictures, moment=moment: self._refined(moment, *pictures),
                self.blurry,
                there[None],
                back[None],
                tile=self.tile,
                subject=self.subject,
            )
            yield to_output_range(frame[0], self.subject)

    def averages(self, times: Sequence[float], responses: Sequence[Response]) -> Iterator[Average]:
        """As `unblur.pipeline.film.MapFilm.averages`, in a single band."""
        yield from averaged(self.frames(times), responses)

    def _estimated(self, times: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
        """Those (3, H, W) at each time and at 1 minus it; as far as memory goes, none is made twice."""
        pairs = time_and_mirror(times)
        most = int(working_memory(CPU) * KEPT_ESTIMATES) // (4 * self.blurry[0].numel())
        kept: dict[float, Tensor] = {}
        for number, (time, pair) in enumerate(zip(times, pairs, strict=True), 1):
            missing = {key: when for key, when in zip(pair, (time, 1 - time), strict=True) if key not in kept}
            kept.update(zip(missing, self.estimates.frames(list(missing.values())), strict=True))
            yield kept[pair[0]], kept[pair[1]]
            # Where not all can stay, those do that are seen soonest.
            soon = dict.fromkeys(key for coming in pairs[number:] for key in coming if key in kept)
            kept = {key: _own_memory(kept[key]) for key in list(soon)[:most]}

    def _refined(self, time: Tensor, blurry: Tensor, there: Tensor, back: Tensor) -> Tensor:
        """The frame (1, 3, h, w) of a tile, with the estimates at its time and at 1 minus it."""
        return self.runner.refine(blurry, time, torch.stack((there, back), 1)[:, None])[:, 0]


def _own_memory(estimate: Tensor) -> Tensor:
    """Without the memory of others that were made with it."""
    return estimate if estimate.untyped_storage().nbytes() == estimate.nbytes else estimate.clone()


AnyFilm = MapFilm | RetiledFilm | RefinerFilm
"""Of a whole picture, by one model."""
