"""Ways to write a modulated deformable convolution in plain torch, timed.

    python research/deformable.py [--threads 2] [--repeats 5]

Each is compared with a plain 3x3 convolution of the same size, forward and forward + backward, offsets of a few pixels:

* ``taps``: nine times `grid_sample` and a 1x1 convolution (the usual way);
* ``tall grid``: one `grid_sample` over the nine grids stacked, one matrix product;
* ``gather``: rows of a channels-last table taken with `index_select`, four corners, one matrix product;
* ``bags``: the four corners summed by `embedding_bag`, one matrix product;
* ``taps first``: every tap's 1x1 convolution first, then one bag of 36 rows per pixel;
* ``unblur``: `unblur.layers.deformable`: bags, a 1x9 convolution of stride 9, bands, and a backward pass of bags.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unblur.layers.deformable import _corners, _grid, _planes, _reads, _table, deformable_conv2d

SIZES = ((32, 256), (64, 128), (128, 64))
Way = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def taps(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Nine samplings of the picture."""
    grid = _sampling_grid(offset)
    out = torch.zeros(())
    for k in range(9):
        sample = F.grid_sample(image, grid[:, k], align_corners=False) * mask[:, k : k + 1]
        out = out + F.conv2d(sample, weight[:, :, k // 3, k % 3, None, None])
    return out


def tall_grid(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """One sampling of the picture on nine stacked grids."""
    batch, channels, height, width = image.shape
    samples = F.grid_sample(image, _sampling_grid(offset).flatten(1, 2), align_corners=False)
    samples = samples.view(batch, channels, 9, height, width) * mask[:, None]
    return (weight.flatten(1) @ samples.view(batch, 9 * channels, -1)).view(batch, -1, height, width)


def gather(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Four rows per sample, one after the other."""
    index, share = _read(image, offset, mask, weight)
    rows = _table(image).reshape(-1, image.shape[1])
    samples = sum(rows.index_select(0, index[:, i]) * share[:, i : i + 1] for i in range(4))
    return _product(samples, image, weight)


def bags(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Four rows per sample at once."""
    index, share = _read(image, offset, mask, weight)
    rows = _table(image).reshape(-1, image.shape[1])
    return _product(F.embedding_bag(index, rows, per_sample_weights=share, mode="sum"), image, weight)


def taps_first(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Thirty-six rows per pixel at once, of a table nine times as large."""
    batch, channels, height, width = image.shape
    index, share = _read(image, offset, mask, weight)
    index = (index.view(-1, 9, 4) * 9 + torch.arange(9, dtype=torch.int32)[:, None]).view(-1, 36)
    rows = _table(image).reshape(-1, channels) @ weight.permute(1, 2, 3, 0).reshape(channels, -1)
    rows = rows.view(-1, weight.shape[0])
    out = F.embedding_bag(index, rows, per_sample_weights=share.reshape(-1, 36), mode="sum")
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _read(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, height, width = image.shape
    return _corners(_planes(offset, mask), _grid(weight, batch, height, width, image), height, 0)


def _sampling_grid(offset: Tensor) -> Tensor:
    """For `grid_sample`: (B, 9, H, W, 2)."""
    height, width = offset.shape[-2:]
    y, x = (read.permute(2, 0, 1) + offset[:, i::2] for i, read in enumerate(_reads((3, 3), height, width, offset)))
    return torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)


def _product(samples: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    batch, channels, height, width = image.shape
    out = samples.view(-1, 9 * channels) @ weight.permute(2, 3, 1, 0).reshape(9 * channels, -1)
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def plain(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """What all are compared with."""
    return F.conv2d(image, weight, padding=1)


WAYS: dict[str, Way] = {
    "plain convolution": plain,
    "taps": taps,
    "tall grid": tall_grid,
    "gather": gather,
    "bags": bags,
    "taps first": taps_first,
    "unblur": deformable_conv2d,
}


def milliseconds(run: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """The fastest of several runs, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return 1e3 * min(times)


def measure(
    way: Way, channels: int, side: int, repeats: int, clock: Callable[[], float]
) -> tuple[float, float, Tensor]:
    """Forward, forward + backward in ms, and the output."""
    torch.manual_seed(0)
    shapes = ((1, channels, side, side), (1, 18, side, side), (1, 9, side, side))
    image, offset, mask = (torch.randn(shape).contiguous(memory_format=torch.channels_last) for shape in shapes)
    weight = torch.randn(channels, channels, 3, 3) / (9 * channels) ** 0.5
    if way in (taps, tall_grid):
        # `grid_sample` is faster plane by plane.
        image, offset, mask = image.contiguous(), offset.contiguous(), mask.contiguous()
    inputs = image, 2 * offset, mask.sigmoid(), weight
    with torch.no_grad():
        out = way(*inputs)
        forward = milliseconds(lambda: way(*inputs), repeats, clock)
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    upstream = torch.randn_like(out)
    both = milliseconds(
        lambda: torch.autograd.grad(way(*leaves), leaves, upstream, allow_unused=True), max(2, repeats // 2), clock
    )
    return forward, both, out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="time of all threads together: for a busy machine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    kind = "CPU time of all threads" if options.cpu_time else "time"
    table = Table("way", title=f"{kind} in ms (times a plain convolution), {options.threads} threads")
    for channels, side in SIZES:
        table.add_column(f"{channels} channels, {side}x{side}\nforward", justify="right")
        table.add_column("\nand backward", justify="right")
    results = {
        name: [measure(way, channels, side, options.repeats, clock) for channels, side in SIZES]
        for name, way in WAYS.items()
    }
    for name, row in results.items():
        cells = []
        for (forward, both, out), base, ours in zip(row, results["plain convolution"], results["unblur"], strict=True):
            assert name == "plain convolution" or (out - ours[2]).abs().max() < 1e-4 * out.abs().max(), name
            cells += [f"{forward:.1f} ({forward / base[0]:.1f})", f"{both:.1f} ({both / base[1]:.1f})"]
        table.add_row(name, *cells)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
