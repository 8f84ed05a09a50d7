"""Train `drunet-small`, the denoiser that camera shake is undone with: `python research/train_denoiser.py DATA -o OUT`.

Photos and frames of clips, at half their size (compression and the camera's own noise are gone there), with white noise
of 0 to 0.2; Adam, mean absolute error, an average of the weights. It goes on from the weights it finds in OUT.
`--kodak FOLDER` measures the result and writes the score into the card; with `--minutes 0` nothing else.
"""

from __future__ import annotations

import argparse
import math
import time
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.media.folder import find_clips, find_images
from unblur.media.image import read_image
from unblur.media.video import read_clip
from unblur.metrics.fidelity import psnr
from unblur.models.card import Card
from unblur.models.weights import load_weights, save_weights
from unblur.networks.drunet import DRUNet

NAME = "drunet-small"
DATA = (
    "54 photos and 41 clips under permissive licences (Apache-2.0, MIT, BSD, CC0, CC-BY, CC-BY-SA), at half their size"
)
PROTOCOL = "white noise on the 24 Kodak pictures, mean PSNR"
SIGMA = 0.2
PATCH = 96


def pictures(folder: Path) -> list[Tensor]:
    """(3, H, W) uint8 each, half the size of the file."""
    folders = [path for path in folder.rglob("*") if path.is_dir()]
    found = [read_image(path).pixels for path in find_images(folders)[0]]
    for path in filter(Path.is_file, find_clips(folders)[0]):
        found += [frame for i, frame in enumerate(read_clip(path)) if i % 90 == 45]
    halves = (F.avg_pool2d(pixels[:3].expand(3, -1, -1), 2) for pixels in found)
    return [(half * 255).round().to(torch.uint8) for half in halves if min(half.shape[-2:]) >= PATCH]


def batch(images: list[Tensor], size: int, generator: torch.Generator) -> Tensor:
    """(size, 3, PATCH, PATCH) in [0, 1], turned and mirrored at random, darker or lighter."""
    draw = lambda n: int(torch.randint(n, (), generator=generator))  # noqa: E731
    patches = []
    for _ in range(size):
        image = images[draw(len(images))]
        top, left = draw(image.shape[-2] - PATCH + 1), draw(image.shape[-1] - PATCH + 1)
        patch = image[:, top : top + PATCH, left : left + PATCH].float() / 255
        patch = torch.rot90(patch.flip(-1) if draw(2) else patch, draw(4), (-2, -1))
        patches.append(patch * (0.5 + 0.5 * float(torch.rand((), generator=generator))))
    return torch.stack(patches)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--kodak", type=Path, help="the 24 Kodak pictures, to measure on")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    images = pictures(options.data)
    options.done, network = 0, DRUNet()
    if options.out.exists():
        loaded = load_weights(options.out)
        options.done, network = loaded.card.steps, loaded.network
    network.train().to(memory_format=torch.channels_last)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    began, step, loss_mean, saved = time.monotonic(), 0, 0.0, 0.0
    while (spent := (time.monotonic() - began) / 60) < options.minutes:
        falling = 0.02 + 0.49 * (1 + math.cos(math.pi * spent / options.minutes))
        rate = options.rate * min(1, (step + 1) / 200) * falling
        for group in optimizer.param_groups:
            group["lr"] = rate
        clean = batch(images, options.batch, generator).to(memory_format=torch.channels_last)
        sigma = SIGMA * torch.rand(len(clean), generator=generator) ** 1.5
        noisy = clean + sigma[:, None, None, None] * torch.randn(clean.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            loss = (network(noisy, sigma).float() - clean).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        for name, value in network.state_dict().items():
            average[name].lerp_(value, max(0.002, 1 / step))
        loss_mean += (float(loss.detach()) - loss_mean) / min(step, 500)
        if step % 500 == 0:
            print(f"{spent:.1f} min, step {step}: {loss_mean:.5f}", flush=True)
        if spent - saved > 3:
            saved = spent
            save(network, average, options, step)
    save(network, average, options, step, measured=options.kodak is not None)


def score(network: DRUNet, folder: Path) -> dict[str, float]:
    """Mean PSNR over pictures, for three strengths of white noise."""
    pictures, generator, found = find_images([folder])[0], torch.Generator().manual_seed(0), {}
    for sigma in (0.02, 0.05, 0.1):
        total = 0.0
        for path in pictures:
            clean = read_image(path).pixels[None]
            noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
            with torch.inference_mode():
                total += float(psnr(network(noisy, torch.tensor([sigma])), clean))
        found[f"psnr sigma={sigma}"] = round(total / len(pictures), 2)
    return found


def save(
    network: DRUNet, average: dict[str, Tensor], options: argparse.Namespace, step: int, *, measured: bool = False
) -> None:
    """Write the averaged weights."""
    copy = DRUNet(**network.arguments)
    copy.load_state_dict(average)
    card = Card(
        NAME,
        "drunet",
        summary="Takes known white noise away; the prior with which a shaken camera is undone",
        data=DATA,
        steps=options.done + step,
        protocol=PROTOCOL if measured else "",
        score=score(copy.eval(), options.kodak) if measured else {},
        licence="Apache-2.0",
        date=date.today().isoformat(),
    )
    save_weights(options.out, copy, card, half=True)


if __name__ == "__main__":
    main()
