"""The pictures of docs/: what goes in and what comes out, failures among them.

    python benchmarks/gallery.py --photos PHOTO.png PHOTO.jpg --out docs/pictures

Photos are moved along synthetic paths, so the truth is known; `examples/pan.png` is a real exposure.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import unblur
from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import render
from unblur.media.image import Picture, read_image
from unblur.metrics.fidelity import psnr

ROOT = Path(__file__).parents[1]
TIMES = (0.0, 0.5, 1.0)
CASES = {"mild": (3.0, 6.0), "medium": (8.0, 14.0), "strong": (18.0, 28.0)}


def exposures(photo: Path, length: tuple[float, float], layer: float, seed: int) -> tuple[Tensor, Tensor]:
    """Blurry (3, 256, 256) and its truth (3, 3, 256, 256) at `TIMES`, from the middle of a photo."""
    pixels = read_image(photo).pixels[None]
    side = 340
    scale = side / min(pixels.shape[-2:])
    small = F.interpolate(pixels, scale_factor=scale, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = ((n - side) // 2 for n in small.shape[-2:])
    still = small[..., top : top + side, left : left + side]
    generator = torch.Generator().manual_seed(seed)
    made = render(
        still,
        (256, 256),
        torch.tensor(TIMES),
        MotionSpec(length=length, layer=layer),
        foreground=still.flip(-1),
        scale=1.2,
        step=0.5,
        generator=generator,
    )
    return made.blurry[0], made.frames[0]


def row(blurry: Tensor, truth: Tensor | None, pipeline: object) -> tuple[Tensor, list[float]]:
    """Blurry, the film at `TIMES`, the truth at `TIMES`, side by side; PSNR of blurry and of the film per time."""
    film = unblur.frames(blurry, times=TIMES, model=pipeline).tensor()
    pictures = [blurry, *film]
    scores: list[float] = []
    if truth is not None:
        if psnr(film.flip(0), truth).mean() > psnr(film, truth).mean():
            film = film.flip(0)  # the direction is free
            pictures = [blurry, *film]
        pictures += list(truth)
        scores = [*psnr(blurry.expand_as(truth), truth).tolist(), *psnr(film, truth).tolist()]
    gap = torch.ones(3, blurry.shape[1], 6)
    return torch.cat([piece for picture in pictures for piece in (picture, gap)][:-1], 2), scores


def main() -> None:
    """Write the pictures, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures")
    args = parser.parse_args()
    pipeline = unblur.load(args.model)
    rows = []
    for number, photo in enumerate(args.photos):
        for name, length in CASES.items():
            blurry, truth = exposures(photo, length, layer=float(name == "strong"), seed=7 + number)
            picture, scores = row(blurry, truth, pipeline)
            rows += [picture, torch.ones(3, 6, picture.shape[2])]
            print(
                photo.name, name, "blurry", [f"{s:.2f}" for s in scores[:3]], "film", [f"{s:.2f}" for s in scores[3:]]
            )
    print(Picture(torch.cat(rows[:-1], 1)).save(args.out / "contact_sheet.jpg", quality=88))
    pan = read_image(ROOT / "examples/pan.png")
    sharp = unblur.deblur(pan, model=pipeline)
    gap = torch.ones(3, pan.height, 8)
    print(Picture(torch.cat((pan.pixels, gap, sharp.image), 2)).save(args.out / "before_after.png"), sharp.residual)
    film = unblur.frames(pan, times=TIMES, model=pipeline).tensor()
    crop = (slice(None), slice(180, 360), slice(180, 420))
    strip = [pan.pixels[crop], *(frame[crop] for frame in film)]
    print(Picture(torch.cat([p for s in strip for p in (s, gap[:, :180])][:-1], 2)).save(args.out / "pan_film.png"))


if __name__ == "__main__":
    main()
