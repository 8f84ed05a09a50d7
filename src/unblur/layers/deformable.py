"""Modulated deformable convolution in plain torch (DCNv2: Zhu, Hu, Lin, Dai, CVPR 2019, eq. 1).

At every output pixel p and tap k the input is read at p + p_k + offset_k(p), bilinearly and as zero outside the
picture, multiplied by mask_k(p), and summed with the tap's weights:

    y(p) = sum_k w_k  x(p + p_k + offset_k(p))  mask_k(p)

How it is computed was found by measuring (``research/deformable.py``):

* the picture is a table of rows, one per pixel, of C numbers each, with rows of zeros around it so that no corner needs
  a test; a sample is a weighted sum of four rows, which `embedding_bag` does in one pass over contiguous memory;
* the samples of a pixel's nine taps lie side by side, like a picture nine times as wide, so their sum is a convolution
  of size 1x9 and stride 9, as fast as a plain one (a matrix product of that size is not, on every processor);
* it goes band by band, so that the samples never leave the cache; for gradients they are not kept but made again on the
  way back, which costs a tenth and saves nine times the input's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

# Bytes of samples made at once: a band that stays in a CPU's cache; on a GPU, as many whole pictures as memory bears.
BAND_BYTES = 5 * 2**20
PICTURES_BYTES = 2**30
# Positions are held within one pixel of the picture, where samples are zero; a corner lies at most one further.
RIM = (1, 2, 1, 2)
# Numbers in a vector register.
VECTOR = 16

# Of pictures and rows in them to dy, dx and mask as `_planes` lays them.
Planes = Callable[[slice, slice], Tensor]


def deformable_conv2d(
    image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Deformable convolution of stride 1 that keeps the picture's size.

    Parameters
    ----------
    image : Tensor (B, C, H, W)
        Any floating type; positions and interpolation weights are computed in float32 (float64 for float64).
    offset : Tensor (B, 2 * K, H, W)
        Displacement in pixels of each of the K = kH * kW taps, row by row: (dy, dx) of the first, of the second, ...
    mask : Tensor (B, K, H, W)
        What each sample is multiplied by.
    weight : Tensor (O, C, kH, kW)
        Odd kernel sizes.
    bias : Tensor (O,), optional

    Returns
    -------
    Tensor (B, O, H, W)
        In channels-last memory.

    Examples
    --------
    >>> image, weight = torch.rand(1, 2, 5, 5), torch.rand(3, 2, 3, 3)
    >>> still, whole = torch.zeros(1, 18, 5, 5), torch.ones(1, 9, 5, 5)
    >>> out = deformable_conv2d(image, still, whole, weight)
    >>> bool(torch.allclose(out, F.conv2d(image, weight, padding=1), atol=1e-6))
    True
    """
    _check(image, offset, mask, weight)
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
        return _by_grid_sample(image, offset, mask, weight, bias)
    differentiable = _is_differentiable(image, offset, mask, weight)
    if image.is_cuda or torch.compiler.is_compiling():
        return _by_pictures(image, offset, mask, weight, bias, differentiable)
    if differentiable:
        return _Bands.apply(image, offset, mask, weight, bias)
    return _by_bands(image, lambda one, rows: _planes(offset[one, :, rows], mask[one, :, rows]), weight, bias)


class Steering(NamedTuple):
    """A 3x3 convolution that gives offsets and masks.

    weight ((3 * K or more), C, 3, 3) and bias (3 * K or more): dy of every tap, dx of every tap, a number of every tap
    whose logistic function is the mask. What comes after is not used.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, offset: nn.Conv2d, mask: nn.Conv2d) -> Steering:
        """Of the two convolutions that make `deformable_conv2d`'s offsets and, but for the logistic function, masks.

        One convolution instead of two, and of as many channels as fill a processor's vectors: few leave it idle.
        """
        first, second = cast(Tensor, offset.bias), cast(Tensor, mask.bias)
        weight = torch.cat((offset.weight[0::2], offset.weight[1::2], mask.weight))
        bias = torch.cat((first[0::2], first[1::2], second))
        more = -len(bias) % VECTOR
        return cls(F.pad(weight, (0, 0, 0, 0, 0, 0, 0, more)), F.pad(bias, (0, more)))


def steered_conv2d(image: Tensor, steering: Steering, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`deformable_conv2d` with offsets and masks that a convolution of the same picture gives."""
    taps = weight.shape[2] * weight.shape[3]
    steered = F.conv2d(image, *steering, padding=1)[:, : 3 * taps].unflatten(1, (3, taps))
    in_bands = not (image.is_cuda or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export())
    if not in_bands or _is_differentiable(image, weight, steered):
        dy, dx, factor = steered.unbind(1)
        return deformable_conv2d(image, torch.stack((dy, dx), 2).flatten(1, 2), factor.sigmoid(), weight, bias)

    def planes(one: slice, rows: slice) -> Tensor:
        made = _leading(steered[one, :, :, rows].transpose(0, 1)).contiguous()
        made[2].sigmoid_()
        return made

    return _by_bands(image, planes, weight, bias)


def _is_differentiable(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _check(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> None:
    batch, channels, height, width = image.shape
    taps = weight.shape[2] * weight.shape[3]
    if weight.shape[1] != channels or weight.shape[2] % 2 == 0 or weight.shape[3] % 2 == 0:
        raise ValueError(f"weight {tuple(weight.shape)} does not fit an image {tuple(image.shape)}")
    if offset.shape != (batch, 2 * taps, height, width) or mask.shape != (batch, taps, height, width):
        raise ValueError(
            f"offset {tuple(offset.shape)} or mask {tuple(mask.shape)} does not fit {taps} taps "
            f"of an image {tuple(image.shape)}"
        )


def _bands(image: Tensor, weight: Tensor) -> list[tuple[slice, slice]]:
    """Pictures and rows to compute at once."""
    batch, _, height, width = image.shape
    most = max(1, BAND_BYTES // (weight[0].numel() * width * image.element_size()))
    # As few as need be, and all of one height: a low one costs nearly as much.
    band = -(-height // -(-height // most))
    rows = [slice(top, min(top + band, height)) for top in range(0, height, band)]
    return [(slice(index, index + 1), part) for index in range(batch) for part in rows]


def _by_bands(image: Tensor, planes: Planes, weight: Tensor, bias: Tensor | None) -> Tensor:
    batch, _, height, width = image.shape
    out = table = image
    bands = _bands(image, weight)
    grid = _grid(weight, 1, bands[0][1].stop, width, image)
    side = _side_by_side(weight)
    for one, rows in bands:
        table = _fresh_table(image[one]) if rows.start == 0 else table
        part = _rows(table, planes(one, rows), grid, side, bias, rows.start)
        if out is image:
            # Not before: under autocast only the result knows its type.
            out = part.new_empty(batch, height, width, weight.shape[0]).permute(0, 3, 1, 2)
        out[one, :, rows] = part
    return out


class _Bands(torch.autograd.Function):
    """`_by_bands` with gradients, band by band as well."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(image, offset, mask, weight, bias)
        ctx.autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        return _by_bands(image, lambda one, rows: _planes(offset[one, :, rows], mask[one, :, rows]), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, offset, mask, weight, bias = ctx.saved_tensors
        enabled, dtype = ctx.autocast
        weight = weight.detach().requires_grad_()
        bias = None if bias is None else bias.detach().requires_grad_()
        wanted = [weight] if bias is None else [weight, bias]
        totals = [torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for p in wanted]
        to_image, to_offset, to_mask = (torch.empty_like(t) for t in (image, offset, mask))
        table = to_table = image
        bands = _bands(image, weight)
        grid = _grid(weight, 1, bands[0][1].stop, image.shape[3], image)
        for one, rows in bands:
            if rows.start == 0:
                table = _fresh_table(image[one])
                to_table = torch.zeros_like(table)
            moves, factors = (t[one, :, rows].detach().requires_grad_() for t in (offset, mask))
            # No cache: a cast kept from band to band would belong to a graph that is gone.
            with torch.enable_grad(), torch.autocast("cpu", dtype, enabled, cache_enabled=False):
                out = _rows(table, _planes(moves, factors), grid, _side_by_side(weight), bias, rows.start, to_table)
            parts = torch.autograd.grad(out, (moves, factors, *wanted), gradient[one, :, rows])
            to_offset[one, :, rows], to_mask[one, :, rows] = parts[:2]
            for total, part in zip(totals, parts[2:], strict=True):
                total += part
            if rows.stop == image.shape[2]:
                to_image[one] = to_table[:, 1:-2, 1:-2].permute(0, 3, 1, 2)
        to_parameters = [total.to(p.dtype) for total, p in zip(totals, wanted, strict=True)]
        return to_image, to_offset, to_mask, *to_parameters, *([None] * (2 - len(wanted)))


def _by_pictures(
    image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, differentiable: bool
) -> Tensor:
    count = max(1, PICTURES_BYTES // (weight[0].numel() * image[0, 0].numel() * image.element_size()))
    parts = []
    for part in zip(image.split(count), offset.split(count), mask.split(count), strict=True):
        if differentiable:
            parts.append(checkpoint(_whole, *part, weight, bias, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_whole(*part, weight, bias))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _whole(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    grid = _grid(weight, image.shape[0], image.shape[2], image.shape[3], image)
    return _rows(_table(image), _planes(offset, mask), grid, _side_by_side(weight), bias, 0)


def _table(image: Tensor) -> Tensor:
    """(B, C, H, W) to rows of channels with zeros around: (B, H + 3, W + 3, C)."""
    return F.pad(image.permute(0, 2, 3, 1), (0, 0, *RIM))


def _fresh_table(image: Tensor) -> Tensor:
    """`_table` without gradients, where every number is written once instead of twice."""
    batch, channels, height, width = image.shape
    table = image.new_empty(batch, height + 3, width + 3, channels)
    table[:, 1 : height + 1, 1 : width + 1] = image.permute(0, 2, 3, 1)
    for rim in (table[:, :1], table[:, height + 1 :], table[:, :, :1], table[:, :, width + 1 :]):
        rim.zero_()
    return table


def _side_by_side(weight: Tensor) -> Tensor:
    """A kernel's taps in one row: (O, C, 1, K), channels last."""
    return weight.flatten(2).unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _leading(maps: Tensor) -> Tensor:
    """(..., B, K, H, W) to (..., B, H, W, K), in the precision of positions."""
    return maps.movedim(-3, -1).to(torch.float64 if maps.dtype == torch.float64 else torch.float32)


def _planes(offset: Tensor, mask: Tensor) -> Tensor:
    """(B, 2K, H, W) and (B, K, H, W) to dy, dx, mask: (3, B, H, W, K), each in a piece, on which arithmetic is fast."""
    dy, dx = _leading(offset.unflatten(1, (-1, 2)).movedim(2, 0))
    return torch.stack((dy, dx, _leading(mask)))


class _Grid(NamedTuple):
    """Where the taps read without an offset, as row and column of the table, (h, W, K); where each sample begins."""

    y: Tensor
    x: Tensor
    start: Tensor


def _grid(weight: Tensor, batch: int, rows: int, width: int, like: Tensor) -> _Grid:
    """For the first `rows` rows of `batch` pictures."""
    y, x = _reads((weight.shape[2], weight.shape[3]), rows, width, like)
    start = torch.arange(0, 4 * batch * y.numel(), 4, dtype=torch.int32, device=like.device)
    return _Grid(y + RIM[0], x + RIM[0], start)


def _reads(kernel: tuple[int, int], rows: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of the picture that each tap reads without an offset, (rows, W, K)."""
    precise = torch.float64 if like.dtype == torch.float64 else torch.float32
    tap = torch.arange(kernel[0] * kernel[1], device=like.device)
    y = torch.arange(rows, device=like.device).view(-1, 1, 1) + (tap // kernel[1] - kernel[0] // 2)
    x = torch.arange(width, device=like.device).view(1, -1, 1) + (tap % kernel[1] - kernel[1] // 2)
    shape = rows, width, len(tap)
    return y.to(precise).expand(shape).contiguous(), x.to(precise).expand(shape).contiguous()


def _rows(
    table: Tensor,
    planes: Tensor,
    grid: _Grid,
    weight: Tensor,
    bias: Tensor | None,
    top: int,
    to_table: Tensor | None = None,
) -> Tensor:
    """The output's rows from `top`, as many as `planes` (3, B, h, W, K) has, for weights (O, C, 1, K).

    `planes` is used up. On the way back the table's gradient is added to `to_table`, if that is given.
    """
    batch, rows, _, taps = planes.shape[1:]
    channels = table.shape[-1]
    index, share = _corners(planes, grid, table.shape[1] - 3, top)
    share = share.to(table.dtype)
    flat, start = table.reshape(-1, channels), grid.start[: planes[0].numel()]
    samples = F.embedding_bag(index.view(-1), flat.detach(), start, per_sample_weights=share.view(-1), mode="sum")
    if to_table is not None:
        samples = _AddToTable.apply(samples, share.detach(), index, to_table.view(-1, channels))
    elif flat.requires_grad:
        samples = _TableGradient.apply(samples, flat, share.detach(), index)
    samples = samples.view(batch, rows, -1, channels).permute(0, 3, 1, 2)
    return F.conv2d(samples, weight, bias, stride=(1, taps))


def _corners(planes: Tensor, grid: _Grid, height: int, top: int) -> tuple[Tensor, Tensor]:
    """Table row and share of the four corners of every sample: (B * h * W * K, 4) int32 and float."""
    dy, dx, mask = planes
    rows, width = dy.shape[1:3]
    stride = width + 3
    # Without gradients, into memory that is at hand and in the cache.
    keeps = planes.requires_grad or torch.compiler.is_compiling()
    over = lambda tensor: None if keeps else tensor  # noqa: E731
    y = torch.add(dy, grid.y[:rows], out=over(dy)).add_(top).clamp_(0, height + 1)
    x = torch.add(dx, grid.x[:rows], out=over(dx)).clamp_(0, width + 1)
    row = x.to(torch.int32).add_(y.to(torch.int32), alpha=stride)
    # What is not a number stays so through its share; its index must still be one.
    row.clamp_(0, (height + 1) * stride + width + 1)
    if len(row) > 1:
        row += torch.arange(len(row), dtype=torch.int32, device=row.device).view(-1, 1, 1, 1) * ((height + 3) * stride)
    down, right = y.frac_(), x.frac_()
    below = mask * down
    above = torch.sub(mask, below, out=over(mask))
    above_right = above * right
    above_left = torch.sub(above, above_right, out=over(above))
    below_right = torch.mul(below, right, out=over(right))
    below_left = torch.sub(below, below_right, out=over(below))
    shares = above_left, above_right, below_left, below_right
    return _corner_rows(row.flatten(), stride), _corner_shares(*(share.flatten() for share in shares))


def _corner_rows(row: Tensor, stride: int) -> Tensor:
    """(N,) int32 to row, row + 1, row + stride, row + stride + 1: (N, 4)."""
    if torch.compiler.is_compiling():
        return torch.stack((row, row + 1, row + stride, row + stride + 1), dim=-1)
    # Two numbers side by side are a complex one, whatever their bits mean, and written many times faster; an addition
    # to both of them is one to an integer of twice the size.
    above = torch.complex(row.view(torch.float32), (row + 1).view(torch.float32)).view(torch.int64)
    below = above + stride * (2**32 + 1)
    return torch.complex(above.view(torch.float64), below.view(torch.float64)).view(torch.int32).view(-1, 4)


def _corner_shares(above_left: Tensor, above_right: Tensor, below_left: Tensor, below_right: Tensor) -> Tensor:
    """Four of (N,) to (N, 4)."""
    above, below = torch.complex(above_left, above_right), torch.complex(below_left, below_right)
    if above.dtype == torch.complex128 or above.requires_grad or torch.compiler.is_compiling():
        return torch.view_as_real(torch.stack((above, below), dim=-1)).flatten(1)
    return torch.complex(above.view(torch.float64), below.view(torch.float64)).view(torch.float32).view(-1, 4)


class _TableGradient(torch.autograd.Function):
    """Passes samples on; on the way back gives the table its gradient."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor, table: Tensor, share: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(share, index)
        ctx.rows = table.shape[0]
        return samples.view_as(samples)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        share, index = ctx.saved_tensors
        row, order = index.flatten().sort()
        return gradient, _collect(gradient, share, row, order, ctx.rows), None, None


class _AddToTable(torch.autograd.Function):
    """Passes samples on; on the way back adds the table's gradient to a sum, touching only the rows that were read."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor, share: Tensor, index: Tensor, to_table: Tensor) -> Tensor:
        ctx.save_for_backward(share, index)
        ctx.to_table = to_table
        return samples.view_as(samples)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        share, index = ctx.saved_tensors
        row, order = index.flatten().sort()
        first, last = int(row[0]), int(row[-1])
        ctx.to_table[first : last + 1] += _collect(gradient, share, row - first, order, last + 1 - first)
        return gradient, None, None, None


def _collect(gradient: Tensor, share: Tensor, row: Tensor, order: Tensor, rows: int) -> Tensor:
    """The transpose of the weighted sum that makes samples: (S, C) to (rows, C).

    Every row gathers from the samples that read it. Sorting tells which they are, `row` and `order`, and the same fast
    sum does the rest; torch's own gradient of `embedding_bag` is five times slower.
    """
    counts = row.bincount(minlength=rows)
    start = (counts.cumsum(0) - counts).to(torch.int32)
    sample = torch.div(order, 4, rounding_mode="floor").to(torch.int32)
    shares = share.flatten()[order]
    return F.embedding_bag(sample, gradient.contiguous(), start, mode="sum", per_sample_weights=shares)


def _by_grid_sample(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same from operators that every exported graph knows."""
    batch, _, height, width = image.shape
    taps = mask.shape[1]
    dy, dx, factors = _planes(offset, mask)
    y, x = _reads((weight.shape[2], weight.shape[3]), height, width, offset)
    y, x = y + dy, x + dx
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    # Taps side by side again, as in `_rows`: (B, H, W * K, 2).
    grid = grid.reshape(batch, height, width * taps, 2)
    samples = F.grid_sample(image.to(grid.dtype), grid, padding_mode="zeros", align_corners=False)
    samples = samples * factors.reshape(batch, 1, height, width * taps)
    return F.conv2d(samples.to(image.dtype), weight.flatten(2).unsqueeze(2), bias, stride=(1, taps))
