"""What does it bring to choose a direction of time for films that are learned? Same exposures, steps and seeds.

    python research/order_ablation.py --train data/train --val data/val --cache runs/stills --out ablation.jsonl
    python research/order_ablation.py --out ablation.jsonl --table

Exposures of stills, 6 to 12 pixels long, of a camera that moves nearly straight and steadily, each stored in a
direction that a coin chose. A network learns them

* continuous (`networks.cfmd.CFMD`, three of the seven frames at a time), in the direction of a rule:
  ``none`` (as stored); ``sorted`` (frames by where the picture's content is, x, then y, then time, and rank in place of
  time, as CFMD-GAN does with the left eye); ``motion`` (of the optical flow); ``learned`` (of an order network);
  ``true`` (of the path itself); ``regularised`` (``learned``, and the order network's score of the predictions);
* ``redrawn``: the same rules for `networks.cfmd.CFMDRefiner`, which is given a sharp middle frame, and corrects it (the
  frame is `film-small`'s, and stays as it is);
* ``paths``: the same rules for a network that only learns how each pixel of that frame moves
  (`networks.path_film.MotionEstimator` without spectra);
* at seven fixed times (`networks.jin.Jin`): ``naive`` (frame by frame, as stored); ``invariant``
  (pairs of frames in any order); ``hypercut`` (that, and the order network's score of the predictions); ``learned``
  (frame by frame, in the order network's direction).

pPSNR in dB of each of the seven frames on exposures of other stills, the better direction of each clip; mean and
standard deviation over seeds. Every finished run is a line of the file, and is not done again.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from learning import add_line, learn, read_lines, run_parser, spread
from torch import Tensor, nn

from unblur.analysis.optical_flow import dominant_motion, optical_flow
from unblur.data.stills import load_stills
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.exposure.average import frame_times
from unblur.exposure.camera import MotionSpec, is_canonical
from unblur.layers.paths import follow_back, warp
from unblur.metrics.fidelity import psnr
from unblur.metrics.sequence import best_direction, directed
from unblur.models.weights import load_weights
from unblur.networks.cfmd import CFMD, CFMDRefiner
from unblur.networks.jin import Jin
from unblur.networks.path_film import MotionEstimator
from unblur.training.film_direction import order_network, runs_forward
from unblur.training.film_training import FilmTraining, Loss
from unblur.training.frames_training import FrameLoss, Frames

RULES = {
    "paths": ("none", "sorted", "motion", "learned", "true"),
    "continuous": ("none", "sorted", "motion", "learned", "true", "regularised"),
    "redrawn": ("none", "sorted", "motion", "learned", "true", "regularised"),
    "fixed": ("naive", "invariant", "hypercut", "learned"),
}
COUNT = 7


class Pool(NamedTuple):
    """Exposures: blurry (N, 3, S, S) and frames (N, 7, 3, S, S) in 8 bits, as stored, and the times of every rule."""

    blurry: Tensor
    frames: Tensor
    times: dict[str, Tensor]

    def batch(self, rows: Tensor, rule: str, some: Tensor | None = None) -> dict[str, Tensor]:
        """A batch of `film.Exposure`; some of the frames, or all seven in the order of the rule's times."""
        frames, times = self.frames[rows].float() / 255, self.times[rule][rows]
        order = times.argsort(1) if some is None else some.expand(len(rows), -1)
        each = torch.arange(len(rows))[:, None]
        return {"blurry": self.blurry[rows].float() / 255, "frames": frames[each, order], "times": times[each, order]}


def make_pool(root: Path, cache: Path | None, count: int, size: int, seed: int, order: str) -> Pool:
    """Render `count` exposures of the stills below `root`, and ask every rule for its times."""
    source = SyntheticExposures(
        load_stills(root, cache=cache),
        size=size,
        batch_size=20,
        times=COUNT,
        grid=True,
        motion=MotionSpec(length=(6.0, 12.0), rotation=0.1, zoom=0.1, tilt=0.0, tremor=0.1, layer=0.0),
        seed=seed,
    )
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for number in range(math.ceil(count / 20)):
        batch = source.batch(number)
        reverse = torch.rand(20, generator=torch.Generator().manual_seed(seed * 100003 + number)) < 0.5
        for name in ("frames", "paths"):
            batch[name] = torch.where(reverse[:, None, None, None, None], batch[name].flip(1), batch[name])
        parts["blurry"].append((batch["blurry"] * 255).round().to(torch.uint8))
        parts["frames"].append((batch["frames"] * 255).round().to(torch.uint8))
        # Content moves against where it is found.
        parts["net"].append(-batch["paths"].mean((-2, -1)))
        parts["reverse"].append(reverse)
    blurry, frames, net, reverse = (torch.cat(parts[name])[:count] for name in ("blurry", "frames", "net", "reverse"))
    forward = frame_times(COUNT).expand(count, -1)
    turned: Callable[[Tensor], Tensor] = lambda runs: torch.where(runs[:, None], forward, 1 - forward)  # noqa: E731
    times = {"none": forward, "true": turned(~reverse), "sorted": sorted_times(net)}
    times["motion"] = turned(torch.stack([moves_canonically(clip) for clip in frames]))
    network = order_network(order)
    asked = [runs_forward("learned", clip[None].float() / 255, forward[:1], network=network) for clip in frames]
    times["learned"] = times["regularised"] = turned(torch.cat(asked))
    return Pool(blurry, frames, times)


def sorted_times(net: Tensor) -> Tensor:
    """Ranks / (T - 1) of positions (N, T, 2) by x, then y, then time."""
    places = net.numpy().round(3)
    ranks = [np.lexsort((np.arange(COUNT), place[:, 1], place[:, 0])).argsort() for place in places]
    return torch.from_numpy(np.stack(ranks)).float() / (COUNT - 1)


def moves_canonically(clip: Tensor) -> Tensor:
    """Whether a clip (T, 3, S, S) in 8 bits moves as `is_canonical` says, by optical flow."""
    grey = [cv2.cvtColor(frame.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for frame in clip]
    return is_canonical(*dominant_motion([optical_flow(*two) for two in pairwise(grey)]))


class FromSharp(nn.Module):
    """A network that begins with a sharp middle frame, which stays as `film-small` has it."""

    def __init__(self) -> None:
        super().__init__()
        film: Any = load_weights("film-small").network
        # In a list, so that it is neither trained nor counted.
        self.restorer = [film.restorer.eval().requires_grad_(False)]

    @torch.no_grad()
    def sharp(self, blurry: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) to the middle frame, of the same shape, in [0, 1]."""
        return self.restorer[0](blurry).float().clamp(0, 1)


class Moved(FromSharp):
    """It is moved along paths that are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = MotionEstimator(degree=2, widths=(24, 48, 96), blocks=(1, 2, 3))

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, T) to (B, T, 3, H, W)."""
        sharp = self.sharp(blurry)
        return warp(sharp, follow_back(self.paths(blurry, sharp), times, 2))


class Redrawn(FromSharp):
    """It is an input of CFMD, whose frames are corrections of it."""

    def __init__(self) -> None:
        super().__init__()
        self.refiner = CFMDRefiner(channels=32, blocks=2, deformable=False, fold=2)

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, T) or (T,) to (B, T, 3, H, W)."""
        return self.refiner(blurry, times, self.beside(blurry, times))

    def scales(self, blurry: Tensor, times: Tensor) -> list[Tensor]:
        """The same at three sizes."""
        return self.refiner.scales(blurry, times, self.beside(blurry, times))

    def beside(self, blurry: Tensor, times: Tensor) -> Tensor:
        """The middle frame for every time: (B, T, 2, 3, H, W)."""
        return self.sharp(blurry)[:, None, None].expand(-1, times.shape[-1], 2, -1, -1, -1)


def system(family: str, rule: str, order: str, alpha: float) -> Any:
    """The network and what it is trained for."""
    if family == "paths":
        return FilmTraining(Moved())
    if family in ("continuous", "redrawn"):
        weight = alpha if rule == "regularised" else 0.0
        network = Redrawn() if family == "redrawn" else CFMD(channels=16, blocks=2, deformable=False)
        return FilmTraining(network, Loss(order=weight, order_network=order if weight else None))
    cascade = Jin(middle_width=32, middle_refine=16, side_width=24, side_refine=16)
    losses = {
        "naive": FrameLoss(),
        "learned": FrameLoss(),
        "invariant": FrameLoss(compare="pairs"),
        "hypercut": FrameLoss(compare="pairs", order=alpha, order_network=order),
    }
    return Frames(cascade, losses[rule])


def train(module: Any, pool: Pool, rule: str, arguments: argparse.Namespace, seed: int) -> None:
    """Crops at random places; see `learning.learn`."""
    chance = torch.Generator().manual_seed(seed)
    size = arguments.crop

    def batch_of(step: int) -> dict[str, Tensor]:
        rows = torch.randint(len(pool.blurry), (arguments.batch,), generator=chance)
        some = torch.randperm(COUNT, generator=chance)[:3] if isinstance(module, FilmTraining) else None
        batch = pool.batch(rows, rule if rule in pool.times else "none", some)
        top, left = torch.randint(pool.blurry.shape[-1] - size + 1, (2,), generator=chance).tolist()
        for name in ("blurry", "frames"):
            batch[name] = batch[name][..., top : top + size, left : left + size].contiguous()
        return batch

    learn(module, batch_of, steps=arguments.steps, lr=arguments.lr, ratio=arguments.ratio)


@torch.inference_mode()
def measure(module: Any, pool: Pool) -> dict[str, list[float]]:
    """The pPSNR of the seven frames, in time; of the blurry picture in their place, too."""
    module.network.eval()
    scores: dict[str, list[Tensor]] = defaultdict(list)
    for rows in torch.arange(len(pool.blurry)).split(8):
        batch = pool.batch(rows, "true")
        truth, blurry = batch["frames"], batch["blurry"]
        with torch.autocast("cpu", torch.bfloat16):
            film = module(blurry, frame_times(COUNT)) if isinstance(module, FilmTraining) else module(blurry)
        film = film.float().clamp(0, 1)
        film = directed(film, best_direction(film, truth))
        scores["ours"].append(psnr(film, truth))
        scores["blurry"].append(psnr(blurry[:, None].expand_as(truth), truth))
    return {name: torch.cat(values).mean(0).tolist() for name, values in scores.items()}


def table(lines: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, as Markdown."""
    runs: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for line in lines:
        runs[line["family"], line["rule"]].append(line["ours"])
    heads = " | ".join(f"{i}/6" for i in range(COUNT))
    rows = [f"| network | rule | seeds | {heads} | ends | mean |", "|---|---|---|" + "---|" * (COUNT + 2)]
    if lines:
        rows.append(_row("blurry picture", "", [lines[0]["blurry"]]))
    rows += [_row(*key, found) for key, found in sorted(runs.items())]
    return "\n".join(rows)


def _row(family: str, rule: str, found: list[list[float]]) -> str:
    values = np.array(found)
    columns = [*values.T, values[:, [0, -1]].mean(1), values.mean(1)]
    return f"| {family} | {rule} | {len(values)} | {' | '.join(map(spread, columns))} |"


def main() -> None:
    parser = run_parser(__doc__)
    parser.add_argument("--order", default="order-small", help="the order network")
    parser.add_argument("--families", default="paths,continuous,fixed")
    parser.add_argument("--rules", default="none,sorted,motion,learned,true,regularised,naive,invariant,hypercut")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=60, help="pixels; a multiple of 20 for the cascade")
    parser.add_argument("--size", type=int, default=80, help="of the exposures, pixels")
    parser.add_argument("--pool", type=int, default=3000, help="exposures to train on")
    parser.add_argument("--heldout", type=int, default=120)
    parser.add_argument("--ratio", type=float, default=8.0)
    parser.add_argument("--alpha", type=float, default=0.02, help="weight of the order of predictions")
    arguments = parser.parse_args()
    done = read_lines(arguments.out)
    if not arguments.table:
        pools = [
            make_pool(root, arguments.cache, count, arguments.size, seed, arguments.order)
            for root, count, seed in ((arguments.train, arguments.pool, 5), (arguments.val, arguments.heldout, 6))
        ]
        agree = {
            rule: float(((when - pools[0].times["true"]).abs().amax(1) < 1e-3).float().mean())
            for rule, when in pools[0].times.items()
        }
        print("as the path says: " + ", ".join(f"{rule} {share:.3f}" for rule, share in agree.items()), flush=True)
    known = {(line["family"], line["rule"], line["seed"]) for line in done}
    for seed in [] if arguments.table else [int(seed) for seed in arguments.seeds.split(",")]:
        for family in arguments.families.split(","):
            for rule in RULES[family]:
                if rule not in arguments.rules.split(",") or (family, rule, seed) in known:
                    continue
                torch.manual_seed(seed)
                module, begun = system(family, rule, arguments.order, arguments.alpha), time.process_time()
                train(module, pools[0], rule, arguments, seed)
                line = {
                    "family": family,
                    "rule": rule,
                    "seed": seed,
                    "steps": arguments.steps,
                    **measure(module, pools[1]),
                }
                line["seconds"] = round(time.process_time() - begun)
                done.append(line)
                add_line(arguments.out, line)
                print(family, rule, seed, " ".join(f"{value:.2f}" for value in line["ours"]), flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
