"""Which small network learns most in equal processor time? Trains one candidate for some processor seconds (all
cores together) and measures it.

    python benchmarks/presets.py cascade --data data/train --val data/val --seconds 300
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.data.stills import load_stills
from unblur.data.synthetic import SyntheticExposures
from unblur.exposure.camera import MotionSpec
from unblur.losses.film import part_terms
from unblur.losses.pixel import charbonnier
from unblur.networks.paths import FilmNet, follow_back, warp
from unblur.networks.unet import UNet
from unblur.training.muon import Muon, split


class Joint(FilmNet):
    """One trunk for the sharp frame and the paths."""

    def __init__(self, widths=(48, 96, 160, 208), blocks=(3, 3, 3, 3)):
        nn.Module.__init__(self)
        self.unet, self.iterations, self.coarse = UNet(3, 12 + 6, widths, blocks), 2, True

    def encode(self, blurry: Tensor) -> Tensor:
        out = self.unet(blurry - 0.5).float()
        paths = F.interpolate(8 * out[:, 12:], scale_factor=2, mode="bilinear", align_corners=False)
        return torch.cat((blurry + F.pixel_shuffle(out[:, :12], 2), paths), 1)


class Decoder(nn.Module):
    """Encoder once, a light decoder per time: features modulated by t, no warping."""

    def __init__(self, widths=(48, 96, 160, 208), blocks=(3, 3, 3, 3), light=32):
        super().__init__()
        self.unet = UNet(3, 12 + 2 * light, widths, blocks)
        self.mix = nn.ModuleList(nn.Conv2d(light, light, 3, padding=1) for _ in range(2))
        self.time = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 4 * light))
        self.out = nn.Conv2d(light, 12, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.normal_(self.unet.outro.weight, std=0.02)
        self.light = light

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        out = self.unet(blurry - 0.5)
        b, t = times.shape
        tau = 2 * times - 1
        control = self.time(torch.stack((tau, tau**2, tau**3), -1)).view(b * t, 4, self.light, 1, 1)
        fixed, odd = out[:, 12 : 12 + self.light], out[:, 12 + self.light :]
        repeat = lambda x: x.repeat_interleave(t, 0)  # noqa: E731
        x = repeat(fixed) * (1 + control[:, 0]) + repeat(odd) * control[:, 1]
        x = x + self.mix[1](F.relu(self.mix[0](x) * (1 + control[:, 2]) + control[:, 3]))
        frames = F.pixel_shuffle(repeat(out[:, :12]) + self.out(F.relu(x)), 2)
        return (repeat(blurry) + frames).unflatten(0, (b, t)).float()


def loss_of(name: str, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    blurry, frames, times = batch["blurry"], batch["frames"], batch["times"]
    if name in ("decoder", "joint", "cascade-end-to-end"):
        return charbonnier(network(blurry, times), frames)
    if name == "joint-paths":
        state = network.encode(blurry)
        back = follow_back(state[:, 3:], times, network.iterations)
        truth = frames[:, 0]
        paths = charbonnier(warp(truth, back[:, 1:]), frames[:, 1:])
        return charbonnier(state[:, :3], truth) + paths + 0.02 * (back - batch["paths"]).abs().mean()
    return sum(part_terms(network, blurry, frames, times, batch["paths"]).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidate")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--val", type=Path)
    parser.add_argument("--seconds", type=float, default=300, help="processor seconds")
    parser.add_argument("--muon", type=float, help="use Muon, at this ratio of its learning rate to AdamW's")
    parser.add_argument("--lr", type=float, default=8e-4)
    args = parser.parse_args()
    torch.manual_seed(0)
    network = {"decoder": Decoder, "joint": Joint, "joint-paths": Joint}.get(args.candidate, FilmNet)()
    network = network.to(memory_format=torch.channels_last)
    print(args.candidate, sum(p.numel() for p in network.parameters()) / 1e6, "M parameters", flush=True)
    source = SyntheticExposures(load_stills(args.data, cache=Path("runs/stills")), step=1.5)
    heldout = Ends(
        load_stills(args.val / "photos", cache=Path("runs/stills-val")),
        size=192,
        batch_size=12,
        motion=MotionSpec(length=(8, 14)),
        seed=1,
    )
    batches = [heldout.batch(i) for i in range(2)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, weight_decay=0)
    if args.muon:
        optimizer = Muon(*split(network), lr=args.lr, ratio=args.muon)
    start, step, report = time.process_time(), 0, args.seconds / 5
    spent_rendering = 0.0
    while (spent := time.process_time() - start) < args.seconds:
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, step / 100) * max(0.02, 1 - spent / args.seconds)
        before = time.process_time()
        batch = source.batch(step)
        batch["blurry"] = batch["blurry"].contiguous(memory_format=torch.channels_last)
        spent_rendering += time.process_time() - before
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(args.candidate, network, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        if spent > report:
            report += args.seconds / 5
            measure(network, batches, f"{spent:.0f} s ({spent_rendering:.0f} rendering), {step} steps")
    measure(network, batches, f"end: {step} steps")


@torch.no_grad()
def measure(network: nn.Module, batches: list[dict[str, Tensor]], title: str) -> None:
    moments = torch.tensor([0.0, 0.5, 1.0])
    rows = []
    for batch in batches:
        truth = batch["frames"]
        with torch.autocast("cpu", torch.bfloat16):
            film = network(batch["blurry"], moments.expand(len(truth), -1)).float()
        score = lambda a, truth=truth: -10 * torch.log10(((a.clamp(0, 1) - truth) ** 2).mean((2, 3, 4)))  # noqa: E731
        forward, back = score(film), score(film.flip(1))
        best = torch.where((forward.mean(1) > back.mean(1))[:, None], forward, back)
        rows.append(torch.cat((score(batch["blurry"][:, None].expand_as(truth)), best), 1))
    mean = torch.cat(rows).mean(0).tolist()
    print(title, "blurry", [round(v, 2) for v in mean[:3]], "film", [round(v, 2) for v in mean[3:]], flush=True)


class Ends(SyntheticExposures):
    """Exposures with their truth at t = 0, 0.5 and 1."""

    def _times(self, generator: torch.Generator) -> Tensor:
        return torch.tensor([0.0, 0.5, 1.0]).repeat(self.batch_size, 1)


if __name__ == "__main__":
    main()
