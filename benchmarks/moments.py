"""The network of moments, folded and batched, against its released formulation.

* ``released``: the mapping network on a full-size map of the time, its answers shrunk to each stage's size and laid
  beside the features, one frame at a time; with our deformable convolution, so that only the formulation differs;
* ``released, usual operator``: the same with deformable convolution as usually written in plain torch, nine times
  `grid_sample`; one frame, as it is slow;
* ``unblur``: `unblur.networks.moments`, in float32 and under bfloat16 autocast;
* ``MIMO-UNet``: what a single sharp picture costs without any time.

Each runs in a process of its own, with random weights of the released size, on random pictures; peak memory is that of
the process. A busy machine stretches the time, not the processor time of all threads.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from deformable import taps
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from unblur.layers.deformable import deformable_conv2d
from unblur.networks.mimo_unet import MimoUNet
from unblur.networks.moments import SLOPE, MomentNet

METHODS = ("released", "released, usual operator", "unblur", "unblur, bfloat16", "MIMO-UNet")


class Released(nn.Module):
    """The released formulation of a `MomentNet`, with its weights."""

    def __init__(self, network: MomentNet, operator: Callable[..., Tensor] = deformable_conv2d) -> None:
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


def run(method: str, frames: int, side: int, threads: int, out: Path) -> dict[str, float]:
    """One measurement, in this process; the frames go to `out`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = MomentNet().eval()
    for name, parameter in network.named_parameters():
        if ".offset." in name or ".mask." in name:
            nn.init.normal_(parameter, std=0.05)
    mimo, blurry, times = MimoUNet().eval(), torch.rand(1, 3, side, side), torch.linspace(0, 1, max(frames, 2))[:frames]
    ways: dict[str, Callable[[], Tensor]] = {
        "released": lambda: Released(network)(blurry, times),
        "released, usual operator": lambda: Released(network, taps)(blurry, times),
        "unblur": lambda: network(blurry, times),
        "unblur, bfloat16": lambda: network(blurry, times),
        "MIMO-UNet": lambda: mimo(blurry)[:, None],
    }
    half = torch.autocast("cpu", torch.bfloat16, "bfloat16" in method)
    with torch.inference_mode(), half:
        before = _peak()
        if frames == 1:
            ways[method]()
        start, start_cpu = time.perf_counter(), time.process_time()
        made = ways[method]()
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    np.save(out, made.float().numpy())
    return {"seconds": seconds, "cpu": cpu, "memory": _peak(), "before": before}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table, or, asked for one measurement, its numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="1 and 3 frames of 128x128")
    parser.add_argument("--only", action="append", choices=METHODS, help="these methods only")
    parser.add_argument("--one", nargs=4, metavar=("METHOD", "FRAMES", "SIDE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        method, frames, side, out = options.one
        print(json.dumps(run(method, int(frames), int(side), options.threads, Path(out))))
        return
    side, counts = (128, (1, 3)) if options.quick else (256, (1, 7, 51))
    table = Table(
        "method", title=f"frames of one {side}x{side} picture, {options.threads} threads, torch {torch.__version__}"
    )
    for name in (
        "frames",
        "time, s",
        "CPU time, s",
        "CPU time, released / this",
        "peak MiB",
        "of that by the run",
        "difference",
    ):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for frames in counts:
            base: tuple[float, np.ndarray] | None = None
            for method in METHODS if options.only is None else options.only:
                if frames > 1 and method in ("released, usual operator", "MIMO-UNet"):
                    continue
                out = Path(folder) / "frames.npy"
                one = ["--one", method, str(frames), str(side), str(out), "--threads", str(options.threads)]
                done = subprocess.run([sys.executable, __file__, *one], check=True, capture_output=True, text=True)
                numbers, made = json.loads(done.stdout.splitlines()[-1]), np.load(out)
                base = base or (numbers["cpu"], made)
                difference = (
                    np.abs(made - base[1]).max() / np.abs(base[1]).max() if "MIMO" not in method else float("nan")
                )
                table.add_row(
                    method,
                    str(frames),
                    f"{numbers['seconds']:.2f}",
                    f"{numbers['cpu']:.2f}",
                    f"{base[0] / numbers['cpu']:.2f}",
                    f"{numbers['memory']:.0f}",
                    f"{numbers['memory'] - numbers['before']:.0f}",
                    f"{difference:.1e}",
                )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
