"""The pictures of docs/: what goes in and what comes out, failures included.

    python benchmarks/pictures.py gallery --photos PHOTO.png PHOTO.jpg
    python benchmarks/pictures.py blur-space --photos PHOTO.png PHOTO.jpg
    python benchmarks/pictures.py order
    python benchmarks/pictures.py face astronaut.png --part 80,0,380,300 --box 70,40,180,170

Photos are moved along synthetic paths, so the truth is known; `examples/pan.png` is a real exposure. The scores are
printed.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

import unblur
from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import CLEAN, render
from unblur.media.image import Picture, read_image
from unblur.metrics.fidelity import psnr
from unblur.tasks.plots import draw_psf_grid
from unblur.tasks.reblur import read_blur

ROOT = Path(__file__).parents[1]
TIMES = (0.0, 0.5, 1.0)
SIDE = 256
CLASSES = {"mild": (3.0, 6.0), "medium": (8.0, 14.0), "strong": (18.0, 28.0)}
"""Length of the path in pixels."""
TRANSFERS = (("medium", 0, 1, 3), ("medium", 1, 0, 4), ("strong", 1, 0, 5))
"""Class; the photo that a blur is read from, and the photo that it is applied to; the seed of the path."""
SHAKES = ((4, (3.0, 5.0)), (5, (5.0, 7.0)), (1, (9.0, 12.0)), (3, (9.0, 12.0)), (2, (9.0, 12.0)))
"""Seed, and length of the path in pixels."""
CLIP_FRAMES, CLIP_WIDTH = 25, 320


def exposures(photo: Path, length: tuple[float, float], layer: float, seed: int) -> tuple[Tensor, Tensor]:
    """Make a blurry picture (3, 256, 256), and its true frames (3, 3, 256, 256) at `TIMES`, from part of a photo."""
    pixels = read_image(photo).pixels[None]
    side = 340
    scale = side / min(pixels.shape[-2:])
    small = F.interpolate(pixels, scale_factor=scale, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = ((n - side) // 2 for n in small.shape[-2:])
    still = small[..., top : top + side, left : left + side]
    generator = torch.Generator().manual_seed(seed)
    exposure = render(
        still,
        (SIDE, SIDE),
        torch.tensor(TIMES),
        MotionSpec(length=length, layer=layer),
        foreground=still.flip(-1),
        scale=1.2,
        step=0.5,
        generator=generator,
    )
    return exposure.blurry[0], exposure.frames[0]


def beside(pictures: list[Tensor], gap: int = 6) -> Tensor:
    """Pictures (3, H, W) side by side, with white between."""
    white = torch.ones(3, pictures[0].shape[1], gap)
    return torch.cat([piece for picture in pictures for piece in (picture, white)][:-1], 2)


def below(rows: list[Tensor]) -> Tensor:
    """Rows (3, H, W) one below the other, with white between."""
    white = torch.ones(3, 6, rows[0].shape[2])
    return torch.cat([piece for row in rows for piece in (row, white)][:-1], 1)


def film_row(blurry: Tensor, truth: Tensor, pipeline: Any) -> tuple[Tensor, list[float]]:
    """Blurry, the film and the truth at `TIMES`, side by side; PSNR in dB of the blurry picture and of the film."""
    film = unblur.frames(blurry, times=TIMES, model=pipeline).tensor()
    if psnr(film.flip(0), truth).mean() > psnr(film, truth).mean():
        film = film.flip(0)  # the direction is free
    scores = [*psnr(blurry.expand_as(truth), truth).tolist(), *psnr(film, truth).tolist()]
    return beside([blurry, *film, *truth]), scores


def gallery(arguments: argparse.Namespace) -> None:
    """docs/gallery.md: synthetic exposures of three classes, and `examples/pan.png`."""
    pipeline = unblur.load(arguments.model)
    rows = []
    for number, photo in enumerate(arguments.photos):
        for name, length in CLASSES.items():
            blurry, truth = exposures(photo, length, layer=float(name == "strong"), seed=7 + number)
            picture, scores = film_row(blurry, truth, pipeline)
            rows.append(picture)
            texts = [f"{score:.2f}" for score in scores]
            print(photo.name, name, "blurry", texts[:3], "film", texts[3:])
    print(Picture(below(rows)).save(arguments.out / "contact_sheet.jpg", quality=88))
    pan = read_image(ROOT / "examples/pan.png")
    sharp = unblur.deblur(pan, model=pipeline)
    print(Picture(beside([pan.pixels, sharp.image], gap=8)).save(arguments.out / "before_after.png"), sharp.residual)
    film = unblur.frames(pan, times=TIMES, model=pipeline).tensor()
    crop = (slice(None), slice(180, 360), slice(180, 420))
    strip = beside([pan.pixels[crop], *(frame[crop] for frame in film)], gap=8)
    print(Picture(strip).save(arguments.out / "pan_film.png"))


def blur_space(arguments: argparse.Namespace) -> None:
    """docs/blur-space.md: a blur read and applied to another photo, random blurs, and blurs on points of light.

    Both photos of a transfer are moved along the same path, so the truth is known.
    """
    space = unblur.load_blur_space(arguments.model)
    rows = []
    for name, source, target, seed in TRANSFERS:
        photos = [arguments.photos[source], arguments.photos[target]]
        (blurry, frames), (truth, others) = (exposures(photo, CLASSES[name], 0.0, seed) for photo in photos)
        sharp, other = frames[1], others[1]
        applied = unblur.apply_blur(other, unblur.encode_blur(sharp, blurry, space), space).image
        scores = f"{psnr(other, truth):.2f} -> {psnr(applied, truth):.2f} dB"
        print(name, photos[0].name, "->", photos[1].name, scores)
        rows.append(beside([sharp, blurry, other, applied, truth]))
    print(Picture(below(rows)).save(arguments.out / "transfer.jpg", quality=88))
    photo = read_image(arguments.photos[1])
    samples = [sample.image for sample in unblur.sample_blur(photo, 3, 0, space)]
    print(Picture(beside([photo.pixels, *samples])).save(arguments.out / "samples.jpg", quality=88))
    reading = read_blur(ROOT / "examples/pan_truth.png", ROOT / "examples/pan.png", space)
    print(Picture(draw_psf_grid(space, reading.code)).save(arguments.out / "impulses.png"), reading)


def order(arguments: argparse.Namespace) -> None:
    """docs/order.md: the film of `examples/pan.png` beside its reverse, each with its score, as an animation."""
    film = unblur.frames(ROOT / "examples/pan.png", n=CLIP_FRAMES, model=arguments.model).tensor()
    small = F.interpolate(film, scale_factor=CLIP_WIDTH / film.shape[-1], mode="area")
    clips = []
    for frames in (small, small.flip(0)):
        found = unblur.order(frames)
        print(found)
        clips.append(captioned(frames, f"score {found.score:+.2f}, confidence {found.confidence:.2f}"))
    pairs = []
    for left, right in zip(*clips, strict=True):
        pair = Image.new("RGB", (2 * left.width + 6, left.height), "white")
        pair.paste(left, (0, 0))
        pair.paste(right, (left.width + 6, 0))
        pairs.append(pair)
    path = arguments.out / "order_film.webp"
    pairs[0].save(path, save_all=True, append_images=pairs[1:], duration=60, loop=0, quality=60)
    print(path)


def captioned(frames: Tensor, text: str) -> list[Image.Image]:
    """Frames (T, 3, H, W) as pictures with a line of text below."""
    pictures = []
    for frame in frames:
        pixels = (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        picture = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + 18), "white")
        picture.paste(Image.fromarray(pixels), (0, 0))
        ImageDraw.Draw(picture).text((6, pixels.shape[0] + 3), text, fill="black")
        pictures.append(picture)
    return pictures


def face(arguments: argparse.Namespace) -> None:
    """docs/faces.md: a face that a camera shook, restored by `best` alone and with the model of faces.

    PSNR is that of the middle frame within the box; the picture is of the last shake.
    """
    left, top, right, bottom = arguments.part
    part = read_image(arguments.photo).pixels[:, top:bottom, left:right]
    left, top, right, bottom = arguments.box
    best = unblur.load("best")
    faces = unblur.load_faces(arguments.model, detect=False, boxes=[(left, top, right, bottom)])
    print("| pixels of shake | blurry | best | with the model of faces |")
    print("| --- | ---: | ---: | ---: |")
    pictures: list[Tensor] = []
    for seed, length in SHAKES:
        generator = torch.Generator().manual_seed(seed)
        times = torch.linspace(0, 1, 33)
        motion = MotionSpec(length=length)
        exposure = render(part[None], (SIDE, SIDE), times, motion, CLEAN, scale=1.0, generator=generator)
        blurry, truth = exposure.blurry[0], exposure.frames[0, 16]
        restored = [unblur.deblur(blurry, model=best, faces=model).picture.pixels for model in (None, faces)]
        pictures = [blurry, *restored, truth]
        inside = [picture[:, top:bottom, left:right] for picture in pictures]
        scores = [f"{psnr(picture, inside[-1]):.2f}" for picture in inside[:-1]]
        print(f"| {length[0]:g} to {length[1]:g} | {' | '.join(scores)} |", flush=True)
    print(Picture(beside(pictures)).save(arguments.out / "face.jpg"))


def four_numbers(text: str) -> list[int]:
    """Parse `left,top,right,bottom`."""
    left, top, right, bottom = (int(number) for number in text.split(","))
    return [left, top, right, bottom]


def main() -> None:
    """Write the pictures of one page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="page")
    for name, run in (("gallery", gallery), ("blur-space", blur_space), ("order", order), ("face", face)):
        command = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0])
        command.set_defaults(run=run)
        command.add_argument("--model", help="in place of the default one")
        command.add_argument("--out", type=Path, default=ROOT / "docs/pictures", help="folder; default: docs/pictures")
        if run in (gallery, blur_space):
            command.add_argument("--photos", type=Path, nargs="+" if run is gallery else 2, required=True)
        if run is face:
            command.add_argument("photo", type=Path)
            command.add_argument("--part", type=four_numbers, required=True, help="of the photo: left,top,right,bottom")
            command.add_argument("--box", type=four_numbers, required=True, help="of the face, in that part")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
