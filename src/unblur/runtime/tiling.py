"""Pictures of any size in bounded memory: tile by tile, with blended overlaps.

Tiles are squares of one size, laid on a grid whose steps are multiples of the network's stride, so that a tile sees the
same phase as the whole picture would. The last tile of a row is moved inwards, not cut.

Neighbours share at least `overlap` pixels. In the middle of what they share one fades into the other over `ramp` pixels
(linear); beyond the ramp a tile's own rim, where it lacked its surroundings, counts nothing. With the default ramp of a
quarter of the overlap every pixel in use has at least 3/8 of the overlap as context, so a network that needs R pixels
gives the same as without tiles when the overlap is 8/3 R or more, away from the picture's border.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from unblur.errors import UnblurError
from unblur.layers.padding import pad_to_multiple

Result = TypeVar("Result")
MULTIPLE = 32
Progress = Callable[[int, int], None]
Align = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Axis:
    """The tiles along one side of a picture.

    Attributes
    ----------
    length : int
        Pixels of the side.
    size : int
        Pixels of a tile; the whole side if there is one tile.
    starts : tuple of int
        First pixel of every tile. ``start + size`` may pass `length` by less than the stride.
    weights : tuple of Tensor
        For every tile, the (size,) share it has in each of its pixels. At each pixel the shares sum to 1.
    """

    length: int
    size: int
    starts: tuple[int, ...]
    weights: tuple[Tensor, ...]


def lay_out(length: int, tile: int, overlap: int, *, multiple: int = MULTIPLE, ramp: int | None = None) -> Axis:
    """Lay tiles along a side of `length` pixels.

    Parameters
    ----------
    length, tile, overlap : int
        In pixels; `tile` is the most, rounded down to a multiple of `multiple`, and `overlap` is rounded up to one.
    multiple : int
        Stride of the network; tiles start at multiples of it.
    ramp : int, optional
        Pixels over which neighbours fade into each other, at most `overlap`; a quarter of it by default.

    Raises
    ------
    ValueError
        A tile is too small for its overlaps.
    """
    if length <= tile:
        return Axis(length, length, (0,), (torch.ones(length),))
    size, shared, total = tile // multiple, -(-overlap // multiple), -(-length // multiple)
    if size <= shared or size < 2:
        raise ValueError(f"tiles of {tile} pixels cannot overlap by {overlap} on a stride of {multiple}")
    count = 1 + -(-(total - size) // (size - shared))
    # No larger than so many tiles need be: what they share beyond the overlap is work for nothing.
    size = -(-(total + (count - 1) * shared) // count)
    starts = tuple(i * (total - size) // max(count - 1, 1) * multiple for i in range(count))
    ramp = max(overlap // 4, 1) if ramp is None else max(min(ramp, overlap), 1)
    return Axis(length, size * multiple, starts, tuple(_shares(starts, size * multiple, ramp)))


def _shares(starts: tuple[int, ...], size: int, ramp: int) -> Iterator[Tensor]:
    """How much each tile counts at its pixels: what has faded in and not yet faded out, which sums to exactly 1."""
    centres = [(start + size + following) / 2 for start, following in pairwise(starts)]
    for i, start in enumerate(starts):
        pixels = torch.arange(start, start + size) + 0.5
        fade = lambda centre, at=pixels: ((at - centre) / ramp + 0.5).clamp(0, 1)  # noqa: E731
        entered = fade(centres[i - 1]) if i > 0 else torch.ones(size)
        left = fade(centres[i]) if i < len(centres) else torch.zeros(size)
        yield entered - left


def tiled(
    apply: Callable[..., Tensor],
    *images: Tensor,
    tile: int,
    overlap: int,
    multiple: int = MULTIPLE,
    ramp: int | None = None,
    coarse: Sequence[tuple[Tensor, int]] = (),
    store: torch.device | str | None = None,
    progress: Progress | None = None,
    align: Align | None = None,
) -> Tensor:
    """Run `apply` over `images` tile by tile and blend the results.

    Parameters
    ----------
    apply : callable
        As many (B, C, h, w) as there are images and maps to (..., h, w), of one shape for all tiles. Whatever it
        raises is passed on: there is never a picture with a tile missing.
    *images : Tensor
        (B, C, H, W), any size from 1x1, H and W the same in all. What is no larger than a tile is passed as it is.
    coarse : sequence of (Tensor, int)
        What `apply` gets after the images: maps (B, C, ceil(H / cell), ceil(W / cell)) and their cell, of which
        `multiple` is a multiple.
    tile, overlap, multiple, ramp : int
        See `lay_out`.
    store : torch.device, optional
        Where the result is gathered; where the first image is by default.
    progress : callable, optional
        Called with (tiles done, tiles in all).
    align : callable, optional
        ``align(result, reference)`` brings a tile's result into agreement with the same pixels of the tiles before it,
        where these are known only in part; for results that have a free sign, say.

    Returns
    -------
    Tensor
        (..., H, W) float32 on `store`.
    """
    height, width = images[0].shape[-2:]
    rows = lay_out(height, tile, overlap, multiple=multiple, ramp=ramp)
    columns = lay_out(width, tile, overlap, multiple=multiple, ramp=ramp)
    store = images[0].device if store is None else torch.device(store)
    total = len(rows.starts) * len(columns.starts)
    if total == 1:
        result = apply(*images, *(whole for whole, _ in coarse)).to(store, torch.float32)
        _tell(progress, 1, 1)
        return result
    canvas: Tensor | None = None
    corners = [(i, j) for i in range(len(rows.starts)) for j in range(len(columns.starts))]
    for done, (i, j) in enumerate(corners, 1):
        pieces = (
            _whole(_piece(image, rows, columns, i, j, cell), rows, columns, multiple, cell)
            for image, cell in (*((image, 1) for image in images), *coarse)
        )
        result = apply(*pieces)
        if canvas is None:
            canvas = torch.zeros(*result.shape[:-2], height, width, device=store)
        elif align is not None:
            result = align(result, _known(canvas, result, rows, columns, i, j))
        _add(canvas, result, rows, columns, i, j)
        _tell(progress, done, total)
    assert canvas is not None
    return canvas


def _piece(image: Tensor, rows: Axis, columns: Axis, i: int, j: int, cell: int = 1) -> Tensor:
    """What lies under a tile, short of it at the border; of a map with fewer pixels, all cells that it touches."""
    top, left = rows.starts[i] // cell, columns.starts[j] // cell
    return image[..., top : top - (-rows.size // cell), left : left - (-columns.size // cell)]


def _whole(piece: Tensor, rows: Axis, columns: Axis, multiple: int, cell: int) -> Tensor:
    """Pad a tile that passes the border; a side with a single tile is left to the network, which pads it itself."""
    height = piece.shape[-2] if len(rows.starts) == 1 else rows.size // cell
    width = piece.shape[-1] if len(columns.starts) == 1 else columns.size // cell
    if piece.shape[-2:] == (height, width):
        return piece
    return pad_to_multiple(piece, multiple // cell)[0][..., :height, :width]


def _known(canvas: Tensor, result: Tensor, rows: Axis, columns: Axis, i: int, j: int) -> Tensor:
    """What the tiles before this one say of its pixels: their blend, faded to nothing where they say nothing."""
    there = _piece(canvas, rows, columns, i, j)
    known = torch.zeros_like(result, dtype=torch.float32)
    known[..., : there.shape[-2], : there.shape[-1]] = there.to(result.device)
    return known


def _add(canvas: Tensor, result: Tensor, rows: Axis, columns: Axis, i: int, j: int) -> None:
    target = _piece(canvas, rows, columns, i, j)
    height, width = target.shape[-2:]
    down = rows.weights[i][:height, None].to(result.device)
    across = columns.weights[j][:width].to(result.device)
    target += (result[..., :height, :width].float() * down * across).to(canvas.device)


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def smallest_tile(overlap: int, multiple: int = MULTIPLE) -> int:
    """Side of the smallest tile worth running: half of it is new, in steps of the stride."""
    return max(2 * -(-overlap // multiple), 2) * multiple


def tile_that_fits(
    bytes_per_pixel: float, memory: int, overlap: int, multiple: int = MULTIPLE, most: int = 4096
) -> int:
    """Side of the largest square tile whose pass takes at most `memory` bytes, within [smallest_tile, `most`]."""
    side = math.isqrt(int(memory / max(bytes_per_pixel, 1.0)))
    return max(min(side, most) // multiple * multiple, smallest_tile(overlap, multiple))


def until_it_fits(
    run: Callable[[int], Result], tile: int, *, smallest: int, subject: str, multiple: int = MULTIPLE
) -> tuple[Result, int]:
    """Run a whole pass, and again with tiles of half the size for as long as memory runs out.

    Parameters
    ----------
    run : callable
        Takes the side of a tile and does the whole pass.
    tile, smallest : int
        The side to begin with, and the one below which there is no use in trying.
    subject : str
        The file, for the message.

    Returns
    -------
    (result, int)
        What `run` returned, and the tile it was given.

    Raises
    ------
    UnblurError
        Memory ran out with the smallest tile too. Anything else that `run` raises is passed on.
    """
    while True:
        try:
            return run(tile), tile
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, so that the failed pass's tensors are no longer held by its traceback.
        if tile <= smallest:
            raise UnblurError(
                subject,
                f"out of memory even in tiles of {tile} pixels",
                "close other programs, use `device=cpu`, or make the picture smaller",
            )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tile = max(tile // 2 // multiple * multiple, smallest)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, in any of the ways that torch and its back ends say so."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "could not create a memory")
    return isinstance(error, RuntimeError) and any(sign in said for sign in signs)
