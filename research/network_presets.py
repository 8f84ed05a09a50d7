"""Which small network learns most in equal processor time? Trains each candidate and compares the films.

    python research/network_presets.py --data data/train --val data/val/photos --seconds 300
    python research/network_presets.py --only cascade --muon 8 --data data/train --val data/val/photos

From the photo alone:

* ``cascade``: `PathFilm`, restorer and path network taught apart (`losses.film_loss.part_terms`);
* ``end to end``: `PathFilm`, taught by its frames alone;
* ``joint``, ``joint, frames``: one trunk for the sharp frame and the paths, taught by both, and by its frames alone;
* ``decoder``: a trunk, then a light decoder per time, without warping.

From the photo and a sharp middle frame, which is the truth with some of the blur laid over it and noise:

* ``paths + sharp``: the path network alone, a U-Net; the film is the sharp frame moved;
* ``spectra + sharp``: the same with spectra and steps of Gauss and Newton in place of the U-Net, as it ships;
* ``decoder + sharp``: the decoder, with the sharp frame as three more channels of input.

The photo does not tell the direction of time, so every candidate is taught in the direction that it is nearer to.
Printed: PSNR in dB at t = 0, 0.5, 1 on exposures with 8 to 14 pixels of motion, in the better direction of each film,
and the mean error of displacements, relative to saying that nothing moved.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.data.stills import load_stills
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.exposure.camera import MotionSpec
from unblur.layers.paths import follow_back, warp
from unblur.losses.film_loss import guess_error, nearer_direction, part_terms, rule_error
from unblur.losses.pixel import charbonnier
from unblur.losses.priors import path_error
from unblur.networks.path_film import MotionEstimator, PathFilm
from unblur.networks.unet import UNet
from unblur.training.muon import Muon, split

Batch = dict[str, Tensor]
WIDTHS, BLOCKS = (48, 96, 160, 208), (3, 3, 3, 3)
PATH_WEIGHT = 0.04


class Candidate(nn.Module):
    """A network that makes a sharp middle frame and the path of every pixel; or, without paths, frames of its own."""

    def state(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The middle frame (B, 3, H, W) and path coefficients (B, 6, H, W)."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> Tensor:
        """What is minimised."""
        raise NotImplementedError

    def film(self, batch: Batch, times: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) at times (B, T)."""
        sharp, coefficients = self.state(batch)
        return warp(sharp, follow_back(coefficients, times))


class Cascade(Candidate):
    """`PathFilm`."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.network, self.apart = PathFilm(), apart

    def state(self, batch: Batch) -> tuple[Tensor, Tensor]:
        state = self.network.encode(batch["blurry"])
        return state[:, :3], state[:, 3:]

    def loss(self, batch: Batch) -> Tensor:
        if not self.apart:
            return frames_loss(batch, *self.state(batch))
        given = batch["blurry"], batch["frames"], batch["times"], batch["paths"]
        return sum(part_terms(self.network, *given, PATH_WEIGHT).values(), torch.zeros(()))


class Joint(Candidate):
    """One trunk for the sharp frame and the paths."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.unet, self.apart = UNet(3, 12 + 6, WIDTHS, BLOCKS), apart

    def state(self, batch: Batch) -> tuple[Tensor, Tensor]:
        out = self.unet(batch["blurry"] - 0.5).float()
        paths = F.interpolate(8 * out[:, 12:], scale_factor=2, mode="bilinear", align_corners=False)
        return batch["blurry"] + F.pixel_shuffle(out[:, :12], 2), paths

    def loss(self, batch: Batch) -> Tensor:
        sharp, coefficients = self.state(batch)
        if not self.apart:
            return frames_loss(batch, sharp, coefficients)
        return charbonnier(sharp, batch["frames"][:, 0]) + moving_loss(batch, coefficients)


class PathsFromSharp(Candidate):
    """The path network behind somebody else's restorer."""

    def __init__(self, **paths: Any) -> None:
        super().__init__()
        self.paths = MotionEstimator(**paths)

    def state(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch["sharp"], self.paths(batch["blurry"], batch["sharp"])

    def loss(self, batch: Batch) -> Tensor:
        if self.paths.spectral is None:
            return moving_loss(batch, self.state(batch)[1])
        true = batch["frames"][:, 0], batch["paths"], batch["times"]
        guesses, rightwards, downwards = self.paths.guesses(batch["blurry"], batch["sharp"])
        return sum((guess_error(guess, *true) for guess in guesses), rule_error(rightwards, downwards, *true))


class Decoder(Candidate):
    """Encoder once, a light decoder per time: features modulated by t, no warping."""

    def __init__(self, sharp: bool, light: int = 32) -> None:
        super().__init__()
        self.start = "sharp" if sharp else "blurry"
        self.unet = UNet(6 if sharp else 3, 12 + 2 * light, WIDTHS, BLOCKS)
        self.mix = nn.ModuleList(nn.Conv2d(light, light, 3, padding=1) for _ in range(2))
        self.time = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 4 * light))
        self.out = nn.Conv2d(light, 12, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.normal_(self.unet.outro.weight, std=0.02)
        self.light = light

    def film(self, batch: Batch, times: Tensor) -> Tensor:
        return self.decode(batch, self.encode(batch), times)

    def encode(self, batch: Batch) -> Tensor:
        seen = [batch["blurry"] - 0.5]
        if self.start == "sharp":
            seen = [batch["blurry"] - batch["sharp"], batch["sharp"] - 0.5]
        return self.unet(torch.cat(seen, 1))

    def decode(self, batch: Batch, state: Tensor, times: Tensor) -> Tensor:
        b, t = times.shape
        tau = 2 * times - 1
        control = self.time(torch.stack((tau, tau**2, tau**3), -1)).view(b * t, 4, self.light, 1, 1)
        still, fixed, odd = state.repeat_interleave(t, 0).split((12, self.light, self.light), 1)
        x = fixed * (1 + control[:, 0]) + odd * control[:, 1]
        x = x + self.mix[1](F.relu(self.mix[0](x) * (1 + control[:, 2]) + control[:, 3]))
        change = F.pixel_shuffle(still + self.out(F.relu(x)), 2)
        return batch[self.start][:, None] + change.unflatten(0, (b, t)).float()

    def loss(self, batch: Batch) -> Tensor:
        state, times, truth = self.encode(batch), batch["times"], batch["frames"]
        with torch.no_grad():
            error = lambda at: (self.decode(batch, state, at) - truth).square().mean((1, 2, 3, 4))  # noqa: E731
            turned = error(1 - times) < error(times)
        return charbonnier(self.decode(batch, state, torch.where(turned[:, None], 1 - times, times)), truth)


def frames_loss(batch: Batch, sharp: Tensor, coefficients: Tensor) -> Tensor:
    """Of the frames that a sharp frame and paths make."""
    coefficients = nearer_direction(coefficients, batch["paths"], batch["times"])
    return charbonnier(warp(sharp, follow_back(coefficients, batch["times"])), batch["frames"])


def moving_loss(batch: Batch, coefficients: Tensor) -> Tensor:
    """Of the paths, by what they make of the true middle frame, and by the true ones."""
    coefficients = nearer_direction(coefficients, batch["paths"], batch["times"])
    back = follow_back(coefficients, batch["times"])
    moved = charbonnier(warp(batch["frames"][:, 0], back[:, 1:]), batch["frames"][:, 1:])
    return moved + PATH_WEIGHT * path_error(back, batch["paths"])


CANDIDATES: dict[str, Callable[[], Candidate]] = {
    "cascade": lambda: Cascade(apart=True),
    "end to end": lambda: Cascade(apart=False),
    "joint": lambda: Joint(apart=True),
    "joint, frames": lambda: Joint(apart=False),
    "decoder": lambda: Decoder(sharp=False),
    "paths + sharp": PathsFromSharp,
    "spectra + sharp": lambda: PathsFromSharp(spectral={}, with_unet=False),
    "decoder + sharp": lambda: Decoder(sharp=True),
}


class Exposures(SyntheticExposures):
    """Synthetic exposures with a damaged middle frame, ``sharp``, beside them.

    The damage is what a restorer leaves: from none to two thirds of the difference to the photo, and noise.
    """

    ends = False

    def batch(self, step: int, device: torch.device | str = "cpu") -> Batch:
        batch = super().batch(step, device)
        generator = torch.Generator().manual_seed(step)
        left = 2 / 3 * torch.rand(self.batch_size, 1, 1, 1, generator=generator)
        truth = batch["frames"][:, 1 if self.ends else 0]
        noise = 0.01 * torch.randn(truth.shape, generator=generator)
        batch["sharp"] = torch.lerp(truth, batch["blurry"], left) + noise
        return {k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in batch.items()}

    def _times(self, generator: torch.Generator) -> Tensor:
        fixed = torch.tensor([0.0, 0.5, 1.0]).repeat(self.batch_size, 1)
        return fixed if self.ends else super()._times(generator)


def train(candidate: Candidate, source: Exposures, seconds: float, lr: float, muon: float | None) -> tuple[int, float]:
    """Train for some processor seconds, all cores together; steps done, and the share of time spent on rendering."""
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(candidate.parameters(), lr=lr, weight_decay=0)
    if muon:
        optimizer = Muon(*split(candidate), lr=lr, ratio=muon)
    start, step, rendering = time.process_time(), 0, 0.0
    while (spent := time.process_time() - start) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, step / 50) * max(0.02, 1 - spent / seconds)
        before = time.process_time()
        batch = source.batch(step)
        rendering += time.process_time() - before
        with torch.autocast("cpu", torch.bfloat16):
            loss = candidate.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(candidate.parameters(), 1.0)
        optimizer.step()
        step += 1
    return step, rendering / spent


@torch.no_grad()
def measure(candidate: Candidate, batches: list[Batch]) -> tuple[list[float], float]:
    """PSNR at t = 0, 0.5, 1 in the better direction, and the relative error of displacements; means over exposures."""
    scores, errors = [], []
    for batch in batches:
        truth, paths = batch["frames"], batch["paths"]
        with torch.autocast("cpu", torch.bfloat16):
            film = candidate.film(batch, batch["times"]).float()
            if not isinstance(candidate, Decoder):
                nearer = nearer_direction(candidate.state(batch)[1].float(), paths, batch["times"])
                back = follow_back(nearer, batch["times"])
                errors.append((back - paths).abs().flatten(1).mean(1) / paths.abs().flatten(1).mean(1))
        forward, turned = psnr(film, truth), psnr(film.flip(1), truth)
        scores.append(torch.where((forward.mean(1) > turned.mean(1))[:, None], forward, turned))
    return torch.cat(scores).mean(0).tolist(), float(torch.cat(errors).mean()) if errors else math.nan


def psnr(film: Tensor, truth: Tensor) -> Tensor:
    """(B, T) in dB."""
    return -10 * torch.log10((film.clamp(0, 1) - truth).square().mean((2, 3, 4)))


def main() -> None:
    """Train and measure one after the other; print the table's rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CANDIDATES, help="these candidates only")
    parser.add_argument("--data", type=Path, required=True, help="folder of photos and clips to train on")
    parser.add_argument("--val", type=Path, required=True, help="folder of photos to measure on")
    parser.add_argument("--cache", type=Path, default=Path("runs"), help="keeps the stills found")
    parser.add_argument("--seconds", type=float, default=300, help="processor seconds for each, rendering included")
    parser.add_argument("--muon", type=float, help="use Muon, at this ratio of its learning rate to AdamW's")
    parser.add_argument("--lr", type=float, default=8e-4)
    args = parser.parse_args()
    source = Exposures(load_stills(args.data, cache=args.cache / "stills"), step=2.0)
    heldout = Exposures(
        load_stills(args.val, cache=args.cache / "stills-val"),
        size=192,
        batch_size=12,
        motion=MotionSpec(length=(8, 14)),
        seed=1,
    )
    heldout.ends = True
    batches = [heldout.batch(step) for step in range(2)]
    print("| candidate | million weights | steps | rendering | t = 0 | t = 0.5 | t = 1 | displacements |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for title, key in (("blurry input", "blurry"), ("the sharp frame given", "sharp")):
        still = torch.cat([psnr(b[key][:, None].expand_as(b["frames"]), b["frames"]) for b in batches]).mean(0).tolist()
        print(f"| {title} | | | |", " | ".join(f"{score:.2f}" for score in still), "| 1.00 |", flush=True)
    for name in args.only or CANDIDATES:
        torch.manual_seed(0)
        candidate = CANDIDATES[name]().to(memory_format=torch.channels_last)
        weights = sum(p.numel() for p in candidate.parameters()) / 1e6
        steps, rendering = train(candidate, source, args.seconds, args.lr, args.muon)
        scores, error = measure(candidate, batches)
        cells = [f"{score:.2f}" for score in scores] + ["–" if math.isnan(error) else f"{error:.2f}"]
        print(f"| {name} | {weights:.1f} | {steps} | {rendering:.0%} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
