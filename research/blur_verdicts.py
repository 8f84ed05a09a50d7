"""Is it motion blur? How often `unblur inspect` says so rightly, on made exposures whose blur is known.

    python research/blur_verdicts.py --val VAL/photos                        the tables of docs/inspect.md
    python research/blur_verdicts.py --train TRAIN/photos --fit              the coefficients, anew

Every photo is shrunk until it is sharp, and made into exposures of 288 x 384 pixels: moved along smooth paths, four in
ten with something else moving in front; seen out of focus, through discs and Gaussians in linear light; left sharp,
some with a camera's sharpening, some with only a part of them in focus. 60 in 100 get a sensor's noise, 60 in 100 JPEG.
One in six has a fifth of the contrast.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import process_time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import unblur
from unblur.analysis import blur_length as length
from unblur.analysis import blur_type as verdict
from unblur.analysis.blur_type import KINDS
from unblur.analysis.coefficients import write_coefficients
from unblur.analysis.motion_field import Field, Motion, textured
from unblur.data.stills import Still, load_stills
from unblur.exposure.camera import MotionSpec
from unblur.exposure.response import from_linear, to_linear
from unblur.exposure.synthetic_exposure import SensorSpec, random_masks, render
from unblur.media.folder import find_images
from unblur.media.image import read_image

COMMAND = "python research/blur_verdicts.py --train TRAIN/photos"
SIZE = (288, 384)
PER_STILL = {"sharp": 6, "motion": 8, "defocus": 6}
STILL = MotionSpec(length=(0.0, 0.0), layer=0.0)
FAINT = 0.2
PER_LENGTH, FITTED, NEAR = 14, (2.0, 45.0), 0.2
"""Of each still, to learn lengths from; from how many pixels to how many; how near a class is right, in logarithms."""


@dataclass(frozen=True)
class Example:
    """An exposure of known blur.

    Attributes
    ----------
    image : Tensor
        (3, H, W) uint8.
    kind : str
        sharp, motion or defocus.
    amount : float
        Pixels: the length of the motion; the disc's radius, or two Gaussian sigmas, which are as wide.
    faint : bool
        Whether the contrast is low.
    paths : Tensor or None
        (9, 2, H / 8, W / 8): where what is seen stood at nine times of the exposure, if it moved.
    part : bool
        Whether only a part of it is in focus.
    """

    image: Tensor
    kind: str
    amount: float
    faint: bool
    paths: Tensor | None = None
    part: bool = False


def examples(stills: list[Still], seed: int) -> Iterator[Example]:
    """All examples of some stills; the same for the same seed."""
    for number, still in enumerate(stills):
        rng = np.random.default_rng((seed, number))
        other = stills[int(rng.integers(len(stills)))]
        for kind, count in PER_STILL.items():
            for turn in range(count):
                yield example(still.pixels, other.pixels, kind, turn % 6 == 5, rng)


def moved(stills: list[Still], seed: int) -> Iterator[Example]:
    """Motions to learn lengths from: shorter and longer ones than are asked for, so that those are not the extremes."""
    for number, still in enumerate(stills):
        rng = np.random.default_rng((seed, number))
        other = stills[int(rng.integers(len(stills)))]
        for turn in range(PER_LENGTH):
            yield example(still.pixels, other.pixels, "motion", turn % 6 == 5, rng, FITTED)


def example(
    still: np.ndarray,
    other: np.ndarray,
    kind: str,
    faint: bool,
    rng: np.random.Generator,
    lengths: tuple[float, float] = (3, 28),
) -> Example:
    """One exposure of a part of a still."""
    low, high = (math.log(each) for each in lengths)
    amount = math.exp(rng.uniform(low, high)) if kind == "motion" else 0.0
    radius = math.exp(rng.uniform(math.log(1.5), math.log(9))) if kind == "defocus" else 0.0
    part = kind == "sharp" and rng.random() < 0.25
    scale = rng.uniform(1.0, 1.25)
    margin = math.ceil(0.7 * amount) + 4
    source = [patch(pixels, [math.ceil((side + margin) * scale) for side in SIZE], rng) for pixels in (still, other)]
    height, width = (min(side, int(got / scale) - margin) for side, got in zip(SIZE, source[0].shape[-2:], strict=True))
    if faint:
        source = [mean + FAINT * (each - mean) for each in source for mean in [each.mean((-1, -2), keepdim=True)]]
    generator = torch.Generator().manual_seed(int(rng.integers(2**60)))
    sensor = sensor_of(rng)
    if kind == "motion":
        motion = MotionSpec(length=(amount, amount), layer=0.4)
        front = F.interpolate(source[1], source[0].shape[-2:], mode="area")
        made = render(
            source[0],
            (height, width),
            torch.linspace(0, 1, 9),
            motion,
            sensor,
            foreground=front,
            scale=scale,
            generator=generator,
        )
        paths = -F.avg_pool2d(made.displacements[0], 8, ceil_mode=True)
        return Example(whole(made.blurry), kind, amount, faint, paths)
    light = to_linear(source[0])
    if kind == "defocus":
        light = blurred(light, kernel(scale * radius, disc=rng.random() < 0.6))
    elif part:
        mask = random_masks(1, (light.shape[-2], light.shape[-1]), generator)
        light = torch.lerp(blurred(light, kernel(scale * rng.uniform(3, 9), disc=True)), light, mask)
    elif rng.random() < 0.25:
        light = light + rng.uniform(0.3, 0.8) * (light - blurred(light, kernel(2.0, disc=False)))
    seen = from_linear(light.clamp(0, 1))
    made = render(seen, (height, width), torch.tensor([0.5]), STILL, sensor, scale=scale, generator=generator)
    return Example(whole(made.blurry), kind, radius, faint, part=part)


def patch(pixels: np.ndarray, size: list[int], rng: np.random.Generator) -> Tensor:
    """A random part of a still, (1, 3, h, w) in [0, 1], as large as `size` where the still is."""
    height, width = (min(side, have) for side, have in zip(size, pixels.shape[:2], strict=True))
    top, left = int(rng.integers(pixels.shape[0] - height + 1)), int(rng.integers(pixels.shape[1] - width + 1))
    piece = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    return torch.from_numpy(piece).permute(2, 0, 1)[None].float() / 255


def sensor_of(rng: np.random.Generator) -> SensorSpec:
    """What the camera adds."""
    noise = (0.003, 0.006) if rng.random() < 0.6 else (0.0, 0.0)
    quality = (60, 97) if rng.random() < 0.6 else None
    return SensorSpec((1.0, 3.0), (0.0, noise[0]), (0.0, noise[1]), quality, 1.0)


def kernel(radius: float, *, disc: bool) -> Tensor:
    """A disc of a radius in pixels, or the Gaussian with half of it as sigma, which is as wide: (n, n), odd n."""
    reach = math.ceil(radius if disc else 1.5 * radius) + 1
    fine = 5
    line = (torch.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    square = line[:, None] ** 2 + line**2
    drawn = (square <= radius**2).float() if disc else torch.exp(-2 * square / radius**2)
    drawn = F.avg_pool2d(drawn[None, None], fine)[0, 0]
    return drawn / drawn.sum()


def blurred(light: Tensor, kernel: Tensor) -> Tensor:
    """(1, 3, h, w) convolved, mirrored at its rim."""
    reach = kernel.shape[-1] // 2
    padded = F.pad(light, (reach, reach, reach, reach), mode="reflect")
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=size)
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * reach :, 2 * reach :]


def whole(image: Tensor) -> Tensor:
    """(1, 3, H, W) in [0, 1] to (3, H, W) uint8."""
    return (255 * image[0]).round().to(torch.uint8)


@dataclass(frozen=True)
class Found:
    """What was found in an example: its places as `verdict.describe` gives them, the verdict, and its motion."""

    example: Example
    places: Tensor
    kind: str
    motion: Motion | None = None
    truth: Motion | None = None

    @property
    def label(self) -> int:
        """In `KINDS`."""
        return KINDS.index(self.example.kind)


def find(root: Path, seed: int, model: str | None, limit: int | None) -> list[Found]:
    """Make the examples of a folder, and look at them, without a model only at the spectra."""
    pipeline = unblur.load(model, device="cpu", dtype="float32") if model else None
    found = []
    for made in examples(load_stills(root)[:limit], seed):
        image = made.image.float() / 255
        kind, motion, truth = verdict.classify_blur(image).kind, None, None
        if pipeline:
            seen = unblur.inspect(image, model=pipeline)
            # Whatever the verdict: how long it is if it moved.
            kind, motion = seen.verdict.kind, seen.field.motion(length.predict_length(image))
            truth = None if made.paths is None else truth_of(made)
        found.append(Found(made, verdict.describe(image), kind, motion, truth))
    return found


def truth_of(made: Example) -> Motion:
    """Of an exposure that moved, over the places with texture."""
    assert made.paths is not None
    return Field(F.avg_pool2d(made.paths, 2, ceil_mode=True), textured(made.image.float() / 255)).motion()


def regress(inputs: Tensor, loss: Callable[[Tensor], Tensor], decay: float, classes: int = 3) -> list[list[float]]:
    """For each class a row of coefficients, the last column its constant, that make `loss` of the logits least."""
    mean, spread = inputs.mean(0), inputs.std(0)
    table = torch.zeros(classes, inputs.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([table], max_iter=300, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        logits = (inputs - mean) / spread @ table[:, :-1].T + table[:, -1]
        value = loss(logits) + decay * table[:, :-1].square().sum()
        value.backward()
        return value

    optimiser.step(step)
    weights = table.detach()[:, :-1] / spread
    constant = table.detach()[:, -1:] - (weights @ mean)[:, None]
    return torch.cat((weights, constant), 1).tolist()


def fit(found: list[Found]) -> dict[str, Tensor]:
    """The coefficients of `unblur.analysis.blur_type`.

    The mean of the places' probabilities is to be the photo's, which leaves it open which of them moved. The classes
    count alike; photos of which only a part is in focus are left out.
    """
    found = [each for each in found if len(each.places) and not each.example.part]
    labels = torch.tensor([each.label for each in found])
    balance = 1 / torch.bincount(labels).float()[labels]
    counts = torch.tensor([len(each.places) for each in found])
    photo = torch.arange(len(found)).repeat_interleave(counts)

    def loss(logits: Tensor) -> Tensor:
        means = torch.zeros(len(found), 3).index_add(0, photo, logits.softmax(1)) / counts[:, None]
        right = means.gather(1, labels[:, None])[:, 0].clamp_min(1e-4)
        return -(right.log() * balance).sum() / balance.sum()

    places = torch.cat([each.places for each in found])
    centre = places.mean(0)
    table = regress(verdict.quadratic(places - centre), loss, 3e-4)
    return {"centre": rounded([centre.tolist()])[0], "table": rounded(table)}


def fit_lengths(made: Iterable[Example]) -> dict[str, Tensor]:
    """The coefficients of `unblur.analysis.blur_length`: the mean of the places' logits is to tell the photo's length.

    The classes next to the true length are right as well, as far as they are near: else a length between two would be
    told as one of them.
    """
    seen, wanted = [], []
    for each in made:
        grey = verdict.grey_of(each.image.float() / 255)
        fine, enough = verdict.spectral_features(grey)
        half, _ = verdict.spectral_features(F.avg_pool2d(grey[None], 2)[0])
        if enough:
            seen.append((length.seen(fine).mean(0, keepdim=True), length.seen(half)))
            wanted.append(math.log(max(truth_of(each).path_length, 1.0)))
    fine = torch.cat([each for each, _ in seen])
    half = torch.stack([each.mean(0) for _, each in seen if len(each)])
    mean = rounded([fine.mean(0).tolist(), half.mean(0).tolist()])
    inputs = torch.cat([length.joined(*each, mean=mean) for each in seen])
    classes = torch.tensor(length.LENGTHS).log()
    right = (-0.5 * ((torch.tensor(wanted)[:, None] - classes) / NEAR).square()).softmax(1)
    loss = lambda logits: -(right * logits.log_softmax(1)).sum(1).mean()  # noqa: E731
    return {"mean": mean, "table": rounded(regress(inputs, loss, 1e-2, len(classes)))}


def rounded(rows: list[list[float]]) -> Tensor:
    """Four digits are all that such a fit tells."""
    return torch.tensor([[float(f"{value:.4g}") for value in row] for row in rows])


def confusion(found: list[Found]) -> str:
    """A table: rows are the truth, columns the verdict."""
    groups: dict[str, Callable[[Example], bool]] = {
        "sharp": lambda e: e.kind == "sharp" and not e.part and not e.faint,
        "motion, 3 to 5 px": lambda e: e.kind == "motion" and e.amount < 5 and not e.faint,
        "motion, 5 to 10 px": lambda e: e.kind == "motion" and 5 <= e.amount < 10 and not e.faint,
        "motion, 10 to 28 px": lambda e: e.kind == "motion" and e.amount >= 10 and not e.faint,
        "out of focus, radius 1.5 to 2.5 px": lambda e: e.kind == "defocus" and e.amount < 2.5 and not e.faint,
        "out of focus, radius 2.5 to 9 px": lambda e: e.kind == "defocus" and e.amount >= 2.5 and not e.faint,
        "sharp in a part, the rest out of focus": lambda e: e.part and not e.faint,
        "a fifth of the contrast: sharp": lambda e: e.kind == "sharp" and e.faint and not e.part,
        "a fifth of the contrast: motion": lambda e: e.kind == "motion" and e.faint,
        "a fifth of the contrast: out of focus": lambda e: e.kind == "defocus" and e.faint,
    }
    columns = ("sharp", "motion", "defocus", "unsure")
    lines = [f"| truth | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name, belongs in groups.items():
        counts = Counter(each.kind for each in found if belongs(each.example))
        lines.append(f"| {name} | {' | '.join(str(counts[column]) for column in columns)} |")
    return "\n".join(lines)


def accuracy(found: list[Found]) -> str:
    """How many verdicts are right, unsure and wrong, where the contrast is full and the whole is sharp or blurred."""
    whole = [each for each in found if not each.example.part and not each.example.faint]
    said = [(each.kind, each.example.kind) for each in whole]
    right, unsure = sum(a == b for a, b in said), sum(a == verdict.UNSURE for a, _ in said)
    warned = sum(
        a in ("sharp", "defocus") and b == "motion" and e.example.amount >= 5
        for (a, b), e in zip(said, whole, strict=True)
    )
    moved = sum(e.example.kind == "motion" and e.example.amount >= 5 for e in whole)
    return (
        f"{len(said)} exposures: {100 * right / len(said):.0f} % right, {100 * unsure / len(said):.0f} % unsure, "
        f"{100 * (len(said) - right - unsure) / len(said):.0f} % wrong; "
        f"warned of {warned} of {moved} motions of 5 px and more"
    )


def untouched(root: Path) -> str:
    """The verdicts on the photos as they are, in a line."""
    counts = Counter(verdict.classify_blur(read_image(path).pixels).kind for path in find_images([f"{root}/**/*"])[0])
    return f"{counts.total()} photos as they are: {', '.join(f'{n} {kind}' for kind, n in counts.most_common())}"


def measures(found: list[Found]) -> str:
    """How near lengths and angle are to the truth, by the length; lengths as found / true, median (10 %, 90 %)."""
    lines = [
        "| true length | exposures | length | length where called motion | length_95 | path_length | angle error |"
    ]
    lines.append("|---|---:|---|---|---|---|---|")
    for low, high in ((3, 5), (5, 10), (10, 16), (16, 28)):
        some = [each for each in found if each.example.kind == "motion" and low <= each.example.amount < high]
        pairs = [(each.motion, each.truth, each.kind) for each in some if each.motion and each.truth]
        told = [(motion.length, motion.length_95, truth, kind) for motion, truth, kind in pairs]
        median = [(length / truth.path_length, kind) for length, _, truth, kind in told if length]
        columns = [
            [ratio for ratio, _ in median],
            [ratio for ratio, kind in median if kind == "motion"],
            [most / truth.path_length_95 for _, most, truth, _ in told if most],
            [motion.path_length / truth.path_length for motion, truth, _ in pairs],
        ]
        angle = torch.tensor([abs((motion.angle - truth.angle + 90) % 180 - 90) for motion, truth, _ in pairs])
        middle, most = angle.quantile(torch.tensor([0.5, 0.9])).tolist()
        cells = " | ".join(_quantiles(column) for column in columns)
        lines.append(f"| {low} to {high} px | {len(some)} | {cells} | {middle:.0f}, {most:.0f} degrees |")
    return "\n".join(lines)


def _quantiles(ratios: list[float]) -> str:
    if not ratios:
        return "-"
    low, middle, high = torch.tensor(ratios).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    return f"{middle:.2f} ({low:.2f}, {high:.2f})"


def seconds(look: Callable[[Tensor], object], pixels: int = 12_000_000) -> float:
    """What a look at a large photo costs, seconds of one core."""
    height = round((pixels * 3 / 4) ** 0.5)
    picture = torch.rand(3, height, pixels // height)
    begun = process_time()
    look(picture)
    return process_time() - begun


def main() -> None:
    """Print the tables, or write the coefficients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--val", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--fit", action="store_true", help="write the coefficients, from --train")
    parser.add_argument("--fit-lengths", action="store_true", help="write those of lengths, from --train")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--limit", type=int, help="of the photos")
    args = parser.parse_args()
    details = {"data": str(args.train.name) if args.train else "", "date": date.today().isoformat()}
    if args.fit_lengths:
        made = fit_lengths(moved(load_stills(args.train)[: args.limit], 7))
        write_coefficients("blur_length", made, details | {"command": f"{COMMAND} --fit-lengths"})
        return
    if args.fit:
        made = fit(find(args.train, 2, None, args.limit))
        write_coefficients("blur_type", made, details | {"command": f"{COMMAND} --fit"})
        return
    found = find(args.val, 1, args.model, args.limit)
    print(f"{accuracy(found)}\n\n{confusion(found)}\n\n{untouched(args.val)}\n\n{measures(found)}\n")
    print(f"a verdict on 12 megapixels: {seconds(verdict.classify_blur):.2f} s of one core, ", end="")
    print(f"a length {seconds(length.predict_length):.2f} s")


if __name__ == "__main__":
    main()
