"""The pictures of docs/blur-space.md: a blur read, carried to other pictures, drawn anew, and shown on points of light.

    python benchmarks/blur_pictures.py --data data/val --photo PHOTO.png --out docs/pictures

Of the transfers the truth is known; see `unblur.data.blur1`.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import unblur
from unblur.data.blur1 import load_transfers
from unblur.media.image import Picture, read_image
from unblur.metrics.fidelity import psnr
from unblur.tasks.impulses import draw_impulses
from unblur.tasks.reblur import read_blur

ROOT = Path(__file__).parents[1]
SHOWN = (("medium", 3), ("strong", 0), ("strong", 5))
SEED = 0


def main() -> None:
    """Write the pictures, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures")
    args = parser.parse_args()
    space = unblur.load_space(args.model)
    transfers = load_transfers(args.data, args.cache)
    rows = []
    for kind, number in SHOWN:
        sharp, blurry, other, truth = (part[number].float() / 255 for part in transfers[kind].parts())
        carried = unblur.apply_blur(other, unblur.encode_blur(sharp, blurry, space), space).image
        print(kind, number, f"{psnr(other, truth):.2f} -> {psnr(carried, truth):.2f} dB")
        rows.append(beside([sharp, blurry, other, carried, truth]))
    print(Picture(below(rows)).save(args.out / "transfer.jpg", quality=88))
    photo = read_image(args.photo)
    drawn = [made.image for made in unblur.sample_blur(photo, 3, SEED, space)]
    print(Picture(beside([photo.pixels, *drawn])).save(args.out / "samples.jpg", quality=88))
    reading = read_blur(ROOT / "examples/pan_truth.png", ROOT / "examples/pan.png", space)
    print(Picture(draw_impulses(space, reading.code)).save(args.out / "impulses.png"), reading)


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
