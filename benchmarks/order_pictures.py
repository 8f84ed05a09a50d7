"""The picture of docs/order.md: the film of `examples/pan.png` and its reverse, with their scores.

python benchmarks/order_pictures.py --out docs/pictures
"""

import argparse
from pathlib import Path

import torch.nn.functional as F
from gallery import ROOT
from PIL import Image, ImageDraw
from torch import Tensor

import unblur

COUNT, WIDTH = 25, 320


def captioned(frames: Tensor, text: str) -> list[Image.Image]:
    """Frames (T, 3, H, W) as pictures with a line of text below."""
    made = []
    for frame in frames:
        pixels = (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        picture = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + 18), "white")
        picture.paste(Image.fromarray(pixels), (0, 0))
        ImageDraw.Draw(picture).text((6, pixels.shape[0] + 3), text, fill="black")
        made.append(picture)
    return made


def film_and_reverse(out: Path, model: str | None) -> None:
    """Side by side, there and back, as an animation."""
    film = unblur.frames(ROOT / "examples/pan.png", n=COUNT, model=model).tensor()
    small = F.interpolate(film, scale_factor=WIDTH / film.shape[-1], mode="area")
    halves = []
    for frames in (small, small.flip(0)):
        found = unblur.order(frames)
        print(found)
        halves.append(captioned(frames, f"score {found.score:+.2f}, confidence {found.confidence:.2f}"))
    both = []
    for left, right in zip(*halves, strict=True):
        beside = Image.new("RGB", (2 * left.width + 6, left.height), "white")
        beside.paste(left, (0, 0))
        beside.paste(right, (left.width + 6, 0))
        both.append(beside)
    both[0].save(out / "order_film.webp", save_all=True, append_images=both[1:], duration=60, loop=0, quality=60)


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures")
    arguments = parser.parse_args()
    film_and_reverse(arguments.out, arguments.model)


if __name__ == "__main__":
    main()
