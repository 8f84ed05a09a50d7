"""CFMD, folded and batched, against its released formulation.

* ``released``: the mapping network on a full-size map of the time, its answers shrunk to each stage's size and laid
  beside the features, one frame at a time; with our deformable convolution, so that only the formulation differs;
* ``released, usual operator``: the same with deformable convolution as usually written in plain torch, nine times
  `grid_sample`; one frame, as it is slow;
* ``unblur``: `unblur.networks.cfmd`, in float32 and under bfloat16 autocast;
* ``MIMO-UNet``: what a single sharp picture costs without any time.

Each runs in a process of its own, with random weights of the released size, on random pictures; peak memory is that of
the process. A busy machine stretches the time, and less so the processor time of all threads; the methods take turns, a
sixth of the frames at a time, so that all suffer alike. Differences are the largest, relative to the largest value.

    python research/cfmd_cost.py --frames 51 --only released --only unblur
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

import numpy as np
import torch
import torch.nn.functional as F
from deformable import taps
from torch import Tensor, nn

from unblur.layers.deformable import deformable_conv2d
from unblur.networks.cfmd import CFMD, SLOPE
from unblur.networks.mimo_unet import MimoUNet

METHODS = ("released", "released, usual operator", "unblur", "unblur, bfloat16", "MIMO-UNet")
Numbers = dict[str, float]
ONCE = ("released, usual operator", "MIMO-UNet")
PARTS = 6


class Released(nn.Module):
    """The released formulation of a `CFMD`, with its weights."""

    def __init__(self, network: CFMD, operator: Callable[..., Tensor] = deformable_conv2d) -> None:
        super().__init__()
        self.network, self.operator = network, operator

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        """Blurry (1, 3, H, W) and times (T,) to frames (1, T, 3, H, W), one by one."""
        return torch.stack([self._frame(blurry, float(time)) for time in times], dim=1)

    def _frame(self, blurry: Tensor, time: float) -> Tensor:
        net = self.network.skeleton
        maps = self._maps(torch.full_like(blurry[:, :1], time))
        half, quarter = F.interpolate(blurry, scale_factor=0.5), F.interpolate(blurry, scale_factor=0.25)
        full = self._stage(0, F.leaky_relu(net.entry(blurry), SLOPE), maps)
        e2 = F.leaky_relu(net.down_half(full), SLOPE)
        e2 = self._stage(1, e2 + net.attend_half.merge(e2 * self._shallow(net.shallow_half, half)), maps)
        e3 = F.leaky_relu(net.down_quarter(e2), SLOPE)
        e3 = self._stage(2, e3 + net.attend_quarter.merge(e3 * self._shallow(net.shallow_quarter, quarter)), maps)
        smaller, larger = F.interpolate(full, scale_factor=0.5), F.interpolate(e3, scale_factor=2)
        beside_half = self._fused(net.fuse_half, smaller, e2, larger)
        larger = F.interpolate(larger, scale_factor=2)
        beside_full = self._fused(net.fuse_full, full, F.interpolate(e2, scale_factor=2), larger)
        z = self._stage(3, e3, maps)
        net.head_quarter(z) + quarter
        z = F.leaky_relu(net.up_half(z), SLOPE)
        z = F.leaky_relu(net.merge_half(torch.cat((z, beside_half), 1)), SLOPE)
        z = self._stage(4, z, maps)
        net.head_half(z) + half
        z = F.leaky_relu(net.up_full(z), SLOPE)
        z = F.leaky_relu(net.merge_full(torch.cat((z, beside_full), 1)), SLOPE)
        return net.head_full(self._stage(5, z, maps)) + blurry

    def _maps(self, time: Tensor) -> list[Tensor]:
        control = time
        for layer in self.network.control.shared:
            control = F.leaky_relu(F.conv2d(control, layer.weight[..., None, None], layer.bias), SLOPE)
        maps = []
        half = F.interpolate(control, scale_factor=0.5)
        sizes = (control, half, F.interpolate(half, scale_factor=0.5))
        for layer, size in zip(self.network.control.stages, (*sizes, *sizes[::-1]), strict=True):
            maps.append(F.leaky_relu(F.conv2d(size, layer.weight[..., None, None], layer.bias), SLOPE))
        return maps

    def _stage(self, number: int, features: Tensor, maps: list[Tensor]) -> Tensor:
        for block in self.network.stages[number]:
            features = self._block(block, features, maps[number])
        return features

    def _block(self, block: nn.Module, features: Tensor, control: Tensor) -> Tensor:
        active = F.leaky_relu(block.first(features), SLOPE)
        fused = block.fuse(torch.cat((active, control), 1))
        mask = block.mask_range * torch.sigmoid(block.mask(fused))
        seen = self.operator(fused, block.offset(fused), mask, block.second.weight)
        seen = block.refuse(torch.cat((seen, control), 1))
        means = seen.mean((2, 3), keepdim=True)
        narrow = F.leaky_relu(F.conv2d(means, block.gate.narrow.weight[..., None, None]), SLOPE)
        gate = torch.sigmoid(F.conv2d(narrow, block.gate.widen.weight[..., None, None]))
        return seen * gate + features

    @staticmethod
    def _shallow(part: nn.Module, image: Tensor) -> Tensor:
        features = image
        for convolution in part.convolutions:
            features = F.leaky_relu(convolution(features), SLOPE)
        return part.merge(torch.cat((image, features), 1))

    @staticmethod
    def _fused(part: nn.Module, *features: Tensor) -> Tensor:
        return part.smooth(F.leaky_relu(part.narrow(torch.cat(features, 1)), SLOPE))


def serve(method: str, frames: int, side: int, out: Path) -> None:
    """Make the frames in as many parts as lines are read, the times taken printed after each; at the end to `out`."""
    torch.manual_seed(0)
    network, mimo = CFMD().eval(), MimoUNet().eval()
    for name, parameter in network.named_parameters():
        if ".offset." in name or ".mask." in name:
            nn.init.normal_(parameter, std=0.05)
    blurry, times = torch.rand(1, 3, side, side), torch.linspace(0, 1, max(frames, 2))[:frames]
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "released": lambda times: Released(network)(blurry, times),
        "released, usual operator": lambda times: Released(network, taps)(blurry, times),
        "unblur": lambda times: network(blurry, times),
        "unblur, bfloat16": lambda times: network(blurry, times),
        "MIMO-UNet": lambda times: mimo(blurry)[:, None],
    }
    before, made = _peak(), []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, "bfloat16" in method):
        if frames == 1:
            ways[method](times)
        for part in times.chunk(PARTS):
            print("ready", flush=True)
            sys.stdin.readline()
            start, start_cpu = time.perf_counter(), time.process_time()
            made.append(ways[method](part))
            numbers = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - start_cpu}
            print(json.dumps(numbers | {"memory": _peak(), "before": before}), flush=True)
    np.save(out, torch.cat(made, 1).float().numpy())


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_turns(
    methods: list[str], frames: int, side: int, folder: Path
) -> dict[str, tuple[dict[str, float], np.ndarray]]:
    """Every method in a process of its own, one part of the frames at a time in turns: numbers and frames of each."""
    others = {
        method: subprocess.Popen(
            [sys.executable, __file__, "--one", method, str(frames), str(side), str(folder / f"{number}.npy")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, method in enumerate(methods)
    }
    totals = {method: {"seconds": 0.0, "cpu": 0.0, "memory": 0.0, "before": 0.0} for method in methods}
    for _ in torch.arange(frames).chunk(PARTS):
        for method, other in others.items():
            to, back = cast(TextIO, other.stdin), cast(TextIO, other.stdout)
            assert back.readline() == "ready\n", method
            to.write("go\n")
            to.flush()
            numbers, total = json.loads(back.readline()), totals[method]
            total.update(numbers, seconds=total["seconds"] + numbers["seconds"], cpu=total["cpu"] + numbers["cpu"])
    for method, other in others.items():
        assert other.wait() == 0, method
    return {method: (totals[method], np.load(folder / f"{number}.npy")) for number, method in enumerate(methods)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 7, 51])
    parser.add_argument("--only", action="append", choices=METHODS, help="these methods only, the slow ones, too")
    parser.add_argument("--one", nargs=4, metavar=("METHOD", "FRAMES", "SIDE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.one:
        method, frames, side, out = options.one
        serve(method, int(frames), int(side), Path(out))
        return
    print(f"{options.side}x{options.side}, {options.threads} threads, torch {torch.__version__}\n")
    print("| method | frames | seconds | processor s | released / this | peak MiB | of that by the run | difference |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for frames in options.frames:
        methods = options.only or [method for method in METHODS if frames == 1 or method not in ONCE]
        with tempfile.TemporaryDirectory() as folder:
            results = in_turns(methods, frames, options.side, Path(folder))
        base, truth = results[methods[0]]
        for method, (numbers, made) in results.items():
            ratio, peak = base["cpu"] / numbers["cpu"], numbers["memory"]
            difference = f"{np.abs(made - truth).max() / np.abs(truth).max():.1e}" if "MIMO" not in method else "–"
            cells = f"{numbers['seconds']:.1f} | {numbers['cpu']:.2f} | {ratio:.2f} | {peak:.0f}"
            print(f"| {method} | {frames} | {cells} | {peak - numbers['before']:.0f} | {difference} |", flush=True)


if __name__ == "__main__":
    main()
