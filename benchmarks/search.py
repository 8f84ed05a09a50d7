"""Is a search that begins at a network's answer worth it, and what does the released schedule reach? In one run.

    python benchmarks/search.py --data data/val --classes medium,strong,clips --count 2
    python benchmarks/search.py --data data/val --classes medium --count 1 --released --device cuda --out searched/

For pictures of the protocol val-1: PSNR in dB against the true middle frame of the photo, of the model alone, of its
consistent frame (what `unblur deblur` gives), of the default search from there, and of the released preset of
``unblur deblur --method search`` from the same blur space and knowing nothing of the network's answer: 600 steps of
warm-up and 5000 of search. Seconds are of the search alone; those of the model's answer are told apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unblur.data.val1 import load_val1
from unblur.media.image import Picture
from unblur.metrics.fidelity import psnr
from unblur.runtime.search import Found, SearchOptions, search
from unblur.tasks.engine import load
from unblur.tasks.search import start_code
from unblur.tasks.space import load_space


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the pictures of val-1")
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
    parser.add_argument("--out", type=Path, help="folder for the pictures side by side")
    arguments = parser.parse_args()
    engine, space = (
        load(arguments.model, arguments.device, arguments.dtype),
        load_space(arguments.space, arguments.device),
    )
    classes = load_val1(arguments.data, arguments.cache, limit=arguments.first + arguments.count)
    heads = ("blurry", "model", "consistent", "default", "released")[: 4 + arguments.released]
    print(f"| exposure | {' | '.join(heads)} | seconds: answer, {', '.join(heads[3:])} | steps |")
    print("|---|" + "---|" * (len(heads) + 2))
    for name in arguments.classes.split(","):
        for number in range(arguments.first, len(classes[name])):
            exposure = classes[name].head(number + 1)
            start = (256 - arguments.side) // 2
            middle = (..., slice(start, start + arguments.side), slice(start, start + arguments.side))
            blurry, truth = exposure.blurry[-1:][middle].float() / 255, exposure.frames[-1:, 3][middle].float() / 255
            row(f"{name} {exposure.names[-1]}", blurry, truth, engine, space, arguments)


def row(name: str, blurry: Tensor, truth: Tensor, engine: Any, space: Any, arguments: argparse.Namespace) -> None:
    """Measure one exposure and print what it came to."""
    plain = engine.see(blurry, name, consistency=0).sharp.clamp(0, 1)
    begun = time.perf_counter()
    sharp = engine.see(blurry, name).sharp.clamp(0, 1)
    seconds = [time.perf_counter() - begun]
    run: Callable[..., Found] = lambda start, *more: search(  # noqa: E731
        space.network,
        blurry.to(space.device),
        sharp.to(space.device),
        start_code(space, start, sharp, blurry),
        *more,
        dtype=engine.runner.dtype,
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
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        side_by_side = torch.cat(pictures, -1)[0].contiguous()
        Picture(side_by_side).save(arguments.out / f"{name.replace(' ', '-').replace('#', '-')}.png")


if __name__ == "__main__":
    main()
