"""Stills of faces out of clips, to be moved along made-up paths: what the model of faces learned from beside windows.

    python research/face_stills.py data/train/face_video --landmarks data/faces/train/landmarks -o data/faces/stills
    unblur data blur data/faces/stills -o data/faces/moved --size 128 --count 350 --frames 5 --length 1,18 --layer 0.35

Each has its face with as much around it, and 175 to 290 pixels on its shorter side.
"""

import argparse
import random
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from unblur.datasets.face_windows import Mark, read_marks
from unblur.media.image import Picture
from unblur.media.video import read_clip

AROUND = 1.25
SIDES = (175, 290)


def face(frame: Tensor, mark: Mark, side: float) -> Tensor:
    """The part of a frame (3, H, W) about a face, no more than `side` pixels on its shorter side."""
    left, top, right, bottom = mark.box
    reach = AROUND * max(right - left, bottom - top)
    middle = ((top + bottom) / 2, (left + right) / 2)
    spans = [slice(int(max(0, at - reach)), int(at + reach)) for at in middle]
    cut = frame[:, spans[0], spans[1]]
    scale = side / min(cut.shape[1:])
    if scale >= 1:
        return cut.contiguous()
    small = F.interpolate(cut[None], scale_factor=scale, mode="bicubic", antialias=True, align_corners=False)
    return small[0].clamp(0, 1)


def main() -> None:
    """Cut them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--landmarks", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--each", type=int, default=14, help="stills of a clip")
    arguments = parser.parse_args()
    rng = random.Random(0)
    for clip in sorted(path for path in arguments.clips.iterdir() if path.is_file()):
        marks = read_marks(arguments.landmarks / f"{clip.stem}.csv")
        wanted = {int((i + 0.5) * len(marks) / arguments.each) for i in range(arguments.each)}
        for number, frame in enumerate(read_clip(clip)):
            if number < len(marks) and number in wanted and (mark := marks[number]) is not None:
                Picture(face(frame, mark, rng.uniform(*SIDES))).save(arguments.out / f"{clip.stem}_{number:05d}.png")


if __name__ == "__main__":
    main()
