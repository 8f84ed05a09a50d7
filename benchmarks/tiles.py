"""How far what is made in tiles, or in bfloat16, differs from what is made whole in float32.

    python benchmarks/tiles.py film-small --photos data/val/photos --overlaps 64 128 192 256 --ramps 0.25 0.5
    python benchmarks/tiles.py cfmd mimo_unet --photos data/val/photos --count 2 --side 512
    python benchmarks/tiles.py film-small --reach

A model is one that ships, a file, or the name of a network, whose weights are then random. Each picture is four photos
side by side, moved along a synthetic path. It is cut into two by two tiles that share just the overlap, so that every
seam is the worst that an overlap allows. Differences are in 1/255 over all pixels; the time is of the tiles,
relative to the whole picture's.

`--reach` prints how far an output pixel can look at most: the reach of the gradient in the network with all its weights
positive. For parts that see the whole picture (channel attention) there is no such number; what the spectra add
to the paths (`networks.spectral_motion`) does not show in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import render
from unblur.media.image import read_image
from unblur.models.registry import NETWORKS, network_class
from unblur.models.weights import load_weights
from unblur.networks.cfmd import CFMD
from unblur.networks.path_film import PathFilm
from unblur.runtime.runner import Runner
from unblur.runtime.tiling import tiled

LENGTH = (8.0, 20.0)
TIMES = torch.tensor([0.0, 0.5, 1.0])
Images = tuple[Tensor, ...]


class Part(NamedTuple):
    """Something that is made in tiles.

    `apply` makes a tile of the result out of tiles of the images, `finish` what a user sees out of the stitched result.
    """

    name: str
    runner: Runner
    apply: Callable[..., Tensor]
    images: Callable[[Tensor], Images]
    finish: Callable[[Tensor], Tensor]


def parts_of(network: nn.Module, dtype: torch.dtype) -> Iterator[Part]:
    """What of a network's work is done in tiles."""
    runner = Runner(network, torch.device("cpu"), dtype)
    alone, same = lambda blurry: (blurry,), lambda result: result
    if isinstance(network, PathFilm):
        restorer = Runner(network.restorer, runner.device, dtype)
        yield Part("sharp photo", restorer, restorer.restore, alone, same)
        draw = lambda state: runner.decode(network.orient(state), TIMES, mixed=False)[0]  # noqa: E731
        yield Part("film", runner, runner.state, lambda blurry: (blurry, restorer.restore(blurry)), draw)
    elif isinstance(network, CFMD):
        draw = lambda blurry: runner.decode(runner.state(blurry), TIMES[:1], mixed=True)[0]  # noqa: E731
        yield Part("film", runner, draw, alone, same)
    else:
        yield Part("sharp photo", runner, runner.restore, alone, same)


def pictures(folder: Path, count: int, side: int) -> list[Tensor]:
    """Blurry (1, 3, side, side)."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in {".png", ".jpg", ".webp"})
    made = []
    for number in range(count):
        photos = [read_image(file).pixels for file in files[4 * number : 4 * number + 4]]
        height, width = (min(photo.shape[axis] for photo in photos) for axis in (1, 2))
        corners = [photo[:, :height, :width] for photo in photos]
        still = torch.cat([torch.cat(corners[:2], 2), torch.cat(corners[2:], 2)], 1)[None]
        generator = torch.Generator().manual_seed(number)
        motion = MotionSpec(length=LENGTH)
        front = still.flip(-1)
        made.append(render(still, (side, side), TIMES, motion, foreground=front, generator=generator).blurry)
    return made


def in_tiles(part: Part, images: Images, overlap: int, ramp: float) -> Tensor:
    """The result from two by two tiles that share `overlap` pixels."""
    multiple = part.runner.multiple
    side = (images[0].shape[-1] + overlap) // 2 // multiple * multiple
    align = getattr(part.runner.network, "align", None) if len(images) > 1 else None
    fade = round(ramp * overlap)
    state = tiled(part.apply, *images, tile=side, overlap=overlap, multiple=multiple, ramp=fade, align=align)
    return part.finish(state)


def whole(part: Part, images: Images) -> Tensor:
    """The result in one piece."""
    return part.finish(part.apply(*images))


def measured(run: Callable[..., Tensor], images: list[Images], *options: float) -> tuple[list[Tensor], float]:
    """What ``run(images, *options)`` returns, clamped, and the processor seconds it took."""
    start = time.process_time()
    results = [run(some, *options).clamp(0, 1) for some in images]
    return results, time.process_time() - start


def row(name: str, cells: list[str], made: list[Tensor], exact: list[Tensor], ratio: float) -> None:
    """Print one row of the table."""
    every = 255 * torch.cat([(a - b).abs().flatten() for a, b in zip(made, exact, strict=True)])
    high = every.kthvalue(round(0.999 * every.numel())).values
    numbers = f"{every.max():.2f} | {high:.2f} | {every.mean():.3f} | {ratio:.2f}"
    print(f"| {name} | {' | '.join(cells)} | {numbers} |", flush=True)


@torch.inference_mode()
def compare(name: str, network: nn.Module, blurry: list[Tensor], overlaps: list[int], ramps: list[float]) -> None:
    """Print the rows of a network."""
    for part, half in zip(parts_of(network, torch.float32), parts_of(network, torch.bfloat16), strict=True):
        title = f"{name}, {part.name}"
        images = [part.images(picture) for picture in blurry]
        exact, base = measured(partial(whole, part), images)
        for overlap in overlaps:
            for ramp in ramps:
                made, spent = measured(partial(in_tiles, part), images, overlap, ramp)
                row(title, [str(overlap), f"{ramp:g}"], made, exact, spent / base)
        made, spent = measured(partial(whole, half), images)
        row(title, ["bfloat16", "whole"], made, exact, spent / base)


def reach(network: nn.Module, inputs: int, side: int = 1024) -> int:
    """How many pixels away an output pixel can look at most, along a row."""
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.0 if parameter.ndim == 1 else 1 / parameter[0].numel())
    # Without parts in single precision, so that the farthest gradients, which are very small, do not vanish.
    dtype = torch.float64 if inputs == 1 else torch.float32
    network = network.to(dtype)
    multiple = int(getattr(network, "multiple", 32))
    # Such that all that a network takes the difference of is positive.
    images = [0.9 - 0.2 * i + 0.05 * torch.rand(1, 3, multiple, side, dtype=dtype) for i in range(inputs)]
    images = [image.requires_grad_() for image in images]
    out = network(*images)
    out = out if isinstance(out, Tensor) else out[-1]
    farthest = 0
    for x in range(side // 2, side // 2 + multiple):
        (gradient, *_) = torch.autograd.grad(out[..., x].sum(), images, retain_graph=True)
        seen = gradient.abs().amax((0, 1, 2)).nonzero()
        farthest = max(farthest, x - int(seen.min()), int(seen.max()) - x)
    return farthest


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--photos", type=Path, help="folder of photos, four to a picture")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--side", type=int, default=736)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[64, 96, 128, 160, 192, 256])
    parser.add_argument("--ramps", type=float, nargs="+", default=[0.25], help="shares of the overlap")
    parser.add_argument("--reach", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    for name in args.models:
        network = network_class(name)() if name in NETWORKS else load_weights(name).network
        if args.reach:
            parts = {"": (network, 1)}
            if isinstance(network, PathFilm):
                parts = {"restorer": (network.restorer, 1), "paths": (network.motion, 2)}
            for part, (module, inputs) in parts.items():
                print(name, part, "looks at most", reach(module, inputs), "pixels far", flush=True)
            continue
        print("| model, result | overlap | ramp | max | 99.9 % | mean | time |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        compare(name, network.eval(), pictures(args.photos, args.count, args.side), args.overlaps, args.ramps)


if __name__ == "__main__":
    main()
