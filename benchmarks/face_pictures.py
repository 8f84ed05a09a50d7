"""A face that a camera shook: what the general model and the model of faces make of it, and a picture for docs.

    python benchmarks/face_pictures.py astronaut.png --part 80,0,380,300 --box 90,40,200,170 --out docs/pictures

PSNR is that of the middle frame within the box. The picture is of the last shake.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

import unblur
from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import CLEAN, render
from unblur.media.image import Picture, read_image

SIDE = 256
SHAKES = ((4, (3.0, 5.0)), (5, (5.0, 7.0)), (1, (9.0, 12.0)), (3, (9.0, 12.0)), (2, (9.0, 12.0)))
"""Seeds, and lengths in pixels."""


def shaken(part: Tensor, seed: int, length: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Blurry (3, SIDE, SIDE), and the frame of its middle."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.linspace(0, 1, 33)
    made = render(part[None], (SIDE, SIDE), times, MotionSpec(length=length), CLEAN, scale=1.0, generator=generator)
    return made.blurry[0], made.frames[0, 16]


def numbers(text: str) -> list[int]:
    """Four of them."""
    left, top, right, bottom = (int(number) for number in text.split(","))
    return [left, top, right, bottom]


def main() -> None:
    """Measure, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--part", type=numbers, required=True, help="of the photo: left, top, right, bottom")
    parser.add_argument("--box", type=numbers, required=True, help="of the face in that part, after the shake")
    parser.add_argument("--model", help="of faces, in place of the one that ships")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    left, top, right, bottom = arguments.part
    part = read_image(arguments.photo).pixels[:, top:bottom, left:right]
    left, top, right, bottom = arguments.box
    best = unblur.load("best")
    faces = unblur.load_faces(arguments.model, detect=False, boxes=[(left, top, right, bottom)])
    print("| pixels of shake | blurry | best | with the face's model |")
    print("| --- | ---: | ---: | ---: |")
    pictures: list[Tensor] = []
    for seed, length in SHAKES:
        blurry, truth = shaken(part, seed, length)
        made = [unblur.deblur(blurry, model=best, faces=each).picture.pixels for each in (None, faces)]
        pictures = [blurry, *made, truth]
        inside = [picture[:, top:bottom, left:right] for picture in pictures]
        scores = [peak_signal_noise_ratio(one, inside[-1], data_range=1.0) for one in inside[:-1]]
        print(f"| {length[0]:g} to {length[1]:g} | {' | '.join(f'{score:.2f}' for score in scores)} |", flush=True)
    if arguments.out is not None:
        gap = torch.ones(3, SIDE, 6)
        strip = torch.cat([piece for picture in pictures for piece in (picture, gap)][:-1], 2)
        Picture(strip).save(arguments.out / "face.jpg")


if __name__ == "__main__":
    main()
