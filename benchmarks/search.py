"""Is a search that begins at a network's answer worth it, and what does the released schedule reach? In one run.

    python benchmarks/search.py --data data/val --classes medium,strong,clips --count 2
    python benchmarks/search.py --data data/val --classes medium --count 1 --released --device cuda
    python benchmarks/search.py --photos PHOTO.png PHOTO.jpg --classes medium,strong --out docs/pictures

For pictures of the protocol val-1, or for photos moved along paths as in docs/gallery.md: PSNR in dB against the true
middle frame of the photo, of the model alone, of its consistent frame (what `unblur deblur` gives), of the default
search from there, and of the released preset of ``unblur deblur --method search`` from the same blur space and knowing
nothing of the network's answer: 600 steps of warm-up and 5000 of search. Seconds are of the search alone; those of the
model's answer are told apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pictures import CLASSES, below, beside, exposures
from torch import Tensor

from unblur.evaluation.val1 import load_val1
from unblur.media.image import Picture
from unblur.metrics.fidelity import psnr
from unblur.pipeline.blur_transfer import load_blur_space
from unblur.pipeline.restore import load
from unblur.pipeline.search import SearchResult, search
from unblur.pipeline.search_options import SearchOptions
from unblur.tasks.search import start_code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the pictures of val-1")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="or these")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--classes", default="medium,strong,clips")
    parser.add_argument("--count", type=int, default=2, help="exposures of each class")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them")
    parser.add_argument("--side", type=int, default=256, help="of the middle that is cut out, pixels")
    parser.add_argument("--dtype", default="float32", help="of networks and deep priors")
    parser.add_argument("--model", default="best")
    parser.add_argument("--space")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--released", action="store_true", help="run the released preset, too: hours on a CPU")
    parser.add_argument("--steps", type=int, help="of the released preset, in place of 5000")
    parser.add_argument("--out", type=Path, help="folder for search.jpg, the pictures side by side")
    arguments = parser.parse_args()
    pipeline, space = (
        load(arguments.model, arguments.device, arguments.dtype),
        load_blur_space(arguments.space, arguments.device),
    )
    heads = ("blurry", "model", "consistent", "default", "released")[: 4 + arguments.released]
    print(f"| exposure | {' | '.join(heads)} | seconds: answer, {', '.join(heads[3:])} | steps |")
    print("|---|" + "---|" * (len(heads) + 2))
    start, rows = (256 - arguments.side) // 2, []
    middle = (..., slice(start, start + arguments.side), slice(start, start + arguments.side))
    for name, blurry, truth in shown(arguments):
        rows.append(row(name, blurry[None][middle], truth[None][middle], pipeline, space, arguments))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        Picture(below(rows)).save(arguments.out / "search.jpg", quality=88)


def shown(arguments: argparse.Namespace) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, blurry picture and true middle frame of each exposure, (3, 256, 256)."""
    kinds = arguments.classes.split(",")
    for number, photo in enumerate(arguments.photos):
        for kind in kinds:
            blurry, truth = exposures(photo, CLASSES[kind], layer=float(kind == "strong"), seed=7 + number)
            yield f"{kind} {photo.stem}", blurry, truth[1]
    if arguments.photos:
        return
    last = arguments.first + arguments.count
    classes = load_val1(arguments.data, arguments.cache, limit=last)
    for kind in kinds:
        for number in range(arguments.first, min(last, len(classes[kind]))):
            exposure = classes[kind].head(number + 1)
            yield (
                f"{kind} {exposure.names[-1]}",
                exposure.blurry[-1].float() / 255,
                exposure.frames[-1, 3].float() / 255,
            )


def row(name: str, blurry: Tensor, truth: Tensor, pipeline: Any, space: Any, arguments: argparse.Namespace) -> Tensor:
    """Measure one exposure and print what it came to; the pictures side by side."""
    plain = pipeline.restore(blurry, name, data_consistency=0).sharp.clamp(0, 1)
    begun = time.perf_counter()
    sharp = pipeline.restore(blurry, name).sharp.clamp(0, 1)
    seconds = [time.perf_counter() - begun]
    run: Callable[..., SearchResult] = lambda start, *more: search(  # noqa: E731
        space.network,
        blurry.to(space.device),
        sharp.to(space.device),
        start_code(space, start, sharp, blurry),
        *more,
        dtype=pipeline.runner.dtype,
    )
    found = [run("network")]
    if arguments.released:
        options = SearchOptions.released()
        found.append(run("mean", options if arguments.steps is None else replace(options, steps=arguments.steps)))
    pictures = [blurry, plain, sharp, *(each.sharp.cpu() for each in found), truth]
    scores = [float(psnr(picture, truth)) for picture in pictures[:-1]]
    seconds += [each.seconds for each in found]
    print(
        f"| {name} | {' | '.join(f'{score:.2f}' for score in scores)} |"
        f" {', '.join(f'{each:.1f}' for each in seconds)} | {', '.join(str(each.steps) for each in found)} |",
        flush=True,
    )
    return beside([picture[0] for picture in pictures])


if __name__ == "__main__":
    main()
