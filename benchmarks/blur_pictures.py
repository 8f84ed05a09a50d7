"""The pictures of docs/blur-space.md: a blur read, carried to other pictures, drawn anew, and shown on points of light.

    python benchmarks/blur_pictures.py --photos PHOTO.png PHOTO.jpg --out docs/pictures

For the transfers two photos are moved along the very same path, so the truth is known.
"""

import argparse
from pathlib import Path

import torch
from gallery import CASES, ROOT, exposures
from torch import Tensor

import unblur
from unblur.media.image import Picture, read_image
from unblur.metrics.fidelity import psnr
from unblur.tasks.plots import draw_psf_grid
from unblur.tasks.reblur import read_blur

SHOWN = (("medium", 0, 1, 3), ("medium", 1, 0, 4), ("strong", 1, 0, 5))
"""Class; the photos that a blur is read from and put on; the path's seed."""
SEED = 0


def main() -> None:
    """Write the pictures, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs=2, required=True)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures")
    args = parser.parse_args()
    space = unblur.load_blur_space(args.model)
    rows = []
    for kind, read, put, seed in SHOWN:
        pairs = [exposures(args.photos[i], CASES[kind], layer=0.0, seed=seed) for i in (read, put)]
        (blurry, sharp), (truth, other) = ((blurry, frames[1]) for blurry, frames in pairs)
        carried = unblur.apply_blur(other, unblur.encode_blur(sharp, blurry, space), space).image
        print(
            kind,
            args.photos[read].name,
            "->",
            args.photos[put].name,
            f"{psnr(other, truth):.2f} -> {psnr(carried, truth):.2f} dB",
        )
        rows.append(beside([sharp, blurry, other, carried, truth]))
    print(Picture(below(rows)).save(args.out / "transfer.jpg", quality=88))
    photo = read_image(args.photos[1])
    drawn = [made.image for made in unblur.sample_blur(photo, 3, SEED, space)]
    print(Picture(beside([photo.pixels, *drawn])).save(args.out / "samples.jpg", quality=88))
    reading = read_blur(ROOT / "examples/pan_truth.png", ROOT / "examples/pan.png", space)
    print(Picture(draw_psf_grid(space, reading.code)).save(args.out / "impulses.png"), reading)


def beside(pictures: list[Tensor]) -> Tensor:
    """Side by side, with white between."""
    gap = torch.ones(3, pictures[0].shape[1], 6)
    return torch.cat([piece for picture in pictures for piece in (picture, gap)][:-1], 2)


def below(rows: list[Tensor]) -> Tensor:
    """One below the other."""
    gap = torch.ones(3, 6, rows[0].shape[2])
    return torch.cat([piece for row in rows for piece in (row, gap)][:-1], 1)


if __name__ == "__main__":
    main()
