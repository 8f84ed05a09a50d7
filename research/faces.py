"""What do sorting, attention and frames at any time bring on faces? Baselines with the same data and budget.

    unblur data fmr data/train/face_video -o data/faces/train --split train --size 128
    unblur data fmr data/val/face_video -o data/faces/val --split test --size 128
    python research/faces.py --train data/faces/train --val data/faces/val --out faces.jsonl
    python research/faces.py --out faces.jsonl --table

Small networks, each trained with three seeds from nothing, without a critic, on the same windows of faces:

* ``cfmd``: `networks.cfmd.CFMD`, two frames of each window, which are sorted by FMR;
* ``cfmd, in time``: the same without FMR, frames in time's order (the paper's table 5);
* ``cfmd, no CACA``: sorted, with channel attention that is not told the time (table 5);
* ``cfmd, CADC``: sorted, with deformable convolutions: five times as slow, and so not among the usual ones;
* ``mimo``: `networks.mimo_unet.MimoUNet` as large, which learns the frame in the middle of time alone: the paper's
  networks with an asterisk, trained again on faces (tables 2 and 3);
* ``cascade``: `networks.jin.Jin`, smaller, windows of seven frames in time's order by the
  order-invariant loss (table 4).

The budget is the same for all: seconds of the process (--seconds), or steps (--steps). The usual five with three seeds
take about 40 minutes of one core (AMD EPYC, Zen 5), 35 of them to learn, the rest to measure; the time is proportional
to --seconds, to the number of --seeds and of --models; --every 8 halves what measuring takes.

Measured is by the protocol faces-1, on every fourth held-out window of each length. A finished run is a line of the
file, and is not done again; --weights keeps its weights, for `unblur eval faces-1 --model ... --report FOLDER`.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from learning import add_line, learn, read_lines, spread
from torch import Tensor

from unblur.data.augmentation import Augmentation
from unblur.data.metadata_exposures import FaceExposures, Order, load_faces
from unblur.data.sequences import MetadataSequences, SequenceBatches
from unblur.evaluation.faces_protocol import ClassMetrics, FaceEvaluator
from unblur.evaluation.options import EvaluationOptions
from unblur.evaluation.report import INPUT
from unblur.exposure.average import frame_times
from unblur.models.card import Card
from unblur.models.weights import save_weights
from unblur.networks.cfmd import CFMD
from unblur.networks.jin import FAINT, Jin
from unblur.networks.mimo_unet import MimoUNet
from unblur.runtime.precision import autocast, resolve_dtype
from unblur.training.film_training import FilmTraining
from unblur.training.frames_training import FrameLoss, Frames

CFMD_SIZE: dict[str, Any] = {"channels": 16, "blocks": 2, "deformable": False}
USUAL = "cfmd;cfmd, in time;cfmd, no CACA;mimo;cascade"
CHANGES = Augmentation(affine=0.0, jitter=0.0, noise=0.0, enlarge=1.2)
CPU = torch.device("cpu")


def _faint(network: Any) -> FilmTraining:
    """A network that begins with the blurry picture, as a new cascade does, so that short trainings tell something."""
    for head in (network.skeleton.head_quarter, network.skeleton.head_half, network.skeleton.head_full):
        torch.nn.init.normal_(head.weight, std=FAINT)
        torch.nn.init.zeros_(head.bias)
    return FilmTraining(network)


def _cfmd(**changes: Any) -> FilmTraining:
    return _faint(CFMD(**(CFMD_SIZE | changes)))


def _cascade() -> Frames:
    network = Jin(middle_width=32, middle_refine=16, side_width=24, side_refine=16)
    return Frames(network, FrameLoss(compare="pairs"))


MODELS: dict[str, tuple[Callable[[], Any], Order]] = {
    "cfmd": (_cfmd, "rank"),
    "cfmd, in time": (_cfmd, "time"),
    "cfmd, no CACA": (partial(_cfmd, attention=False), "rank"),
    "cfmd, CADC": (partial(_cfmd, deformable=True), "rank"),
    "mimo": (lambda: _faint(MimoUNet(channels=16, blocks=2)), "time"),
    "cascade": (_cascade, "time"),
}
"""How each is made, and in which order it sees the frames."""


def batches(name: str, module: Any, classes: list[FaceExposures], arguments: argparse.Namespace, seed: int) -> Any:
    """What a network learns from: the number of a step to its batch, four windows or as many frames of more."""
    order: Order = MODELS[name][1]
    kept = [one for one in classes if one.frames == Jin.count] if isinstance(module, Frames) else classes
    still = name == "mimo"
    # Of an odd number of frames the ends and the middle are evenly spaced.
    sets = [(MetadataSequences(one.in_order(order), 3 if still else one.frames), 1.0) for one in kept]
    source = SequenceBatches(
        sets,
        size=arguments.crop,
        batch_size=2 * arguments.batch if still else arguments.batch,
        seed=seed,
        threads=1,
        augmentation=CHANGES,
        frames_per_sample=None if still or isinstance(module, Frames) else 2,
    )

    def batch_of(step: int) -> dict[str, Tensor]:
        batch = source.batch(step)
        return batch | {"frames": batch["frames"][:, 1:2], "times": batch["times"][:, 1:2]} if still else batch

    return batch_of


def measure(name: str, module: Any, evaluator: FaceEvaluator) -> dict[str, Any]:
    """What faces-1 says of a network that was trained."""
    network = module.network.eval()
    dtype = resolve_dtype("auto", CPU)

    def film(blurry: Tensor, times: Tensor) -> Tensor:
        with autocast(CPU, dtype):
            if isinstance(network, Jin):
                return network.decode(network.encode(blurry), times)
            return module(blurry, times)

    measured = [evaluator.measure(film, one, _times(name, one.frames), 8) for one in evaluator.classes]
    return rows(evaluator, name, measured)


def _times(name: str, frames: int) -> list[float]:
    """Those at which a network makes frames of its own."""
    if name == "mimo" or (name == "cascade" and frames != Jin.count):
        return [0.5]
    return frame_times(frames).tolist()


def rows(evaluator: FaceEvaluator, name: str, measured: list[ClassMetrics]) -> dict[str, Any]:
    """The rows of faces-1: of centre frames by order, of films by order and length."""
    centres, films = evaluator.rows(name, measured)
    values: dict[str, Any] = {"centre": {row.labels["order"]: row.values for row in centres}, "films": {}}
    for row in films:
        order, frames = row.labels["order"] or "any", str(row.labels["frames"] or "all")
        values["films"].setdefault(order, {})[frames] = row.values
    return values


def run(
    name: str, seed: int, classes: list[FaceExposures], evaluator: FaceEvaluator, arguments: argparse.Namespace
) -> Any:
    """Train and measure one network."""
    torch.manual_seed(seed)
    module, begun = MODELS[name][0](), time.process_time()
    batch_of = batches(name, module, classes, arguments, seed)
    budget = {"steps": arguments.steps} if arguments.steps else {"seconds": arguments.seconds}
    steps = learn(module, batch_of, lr=arguments.lr, ratio=arguments.ratio, **budget)
    learned, begun = time.process_time() - begun, time.process_time()
    line = {"model": name, "seed": seed, "budget": said(arguments), "steps": steps, "learned": round(learned)}
    line |= measure(name, module, evaluator)
    line["measured"] = round(time.process_time() - begun)
    if arguments.weights:
        plain = re.sub(r"\W+", "-", name)
        kind = {"mimo": "mimo_unet", "cascade": "jin"}.get(name, "cfmd")
        card = Card(f"{plain}-{seed}", kind, "Benchmark of faces", steps=steps)
        save_weights(arguments.weights / f"{plain}-{seed}.safetensors", module.network, card)
    return line


def said(arguments: argparse.Namespace) -> str:
    """What must be the same for runs to be compared."""
    budget = f"{arguments.steps} steps" if arguments.steps else f"{arguments.seconds:g} s"
    return f"{budget}, {arguments.batch} windows, {arguments.crop} pixels, every {arguments.every}"


def table(lines: list[dict[str, Any]]) -> str:
    """Means and standard deviations over seeds of all runs with one budget, as Markdown."""
    heads = ["centre, FMR", "centre, time", "its SSIM, FMR", "films, FMR", "p, FMR", "p, time", "7: FMR", "7: p, time"]
    rows = [f"| network | seeds | steps | {' | '.join(heads)} |", "|---|---:|---:|" + "---:|" * len(heads)]
    names = [INPUT, *(name for name in MODELS if any(line["model"] == name for line in lines))]
    for name in names:
        found = [line for line in lines if line["model"] == name]
        if not found:
            continue
        cells = [_cell(found, *path) for path in _columns(name)]
        steps = "–" if name == INPUT else f"{sum(line['steps'] for line in found) / len(found):.0f}"
        rows.append(f"| {name} | {len(found)} | {steps} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _columns(name: str) -> list[tuple[str, ...]]:
    """Where the numbers of the table are in a line; the blurry input has no order and no direction."""
    rank, time_, better = ("any", "any", "psnr") if name == INPUT else ("rank", "time", "p_psnr")
    return [
        ("centre", "rank", "psnr"),
        ("centre", "time", "psnr"),
        ("centre", "rank", "ssim"),
        ("films", rank, "all", "psnr"),
        ("films", rank, "all", better),
        ("films", time_, "all", better),
        ("films", rank, "7", "psnr"),
        ("films", time_, "7", better),
    ]


def _cell(found: list[dict[str, Any]], *path: str) -> str:
    values = []
    for line in found:
        value: Any = line
        for key in path:
            value = value.get(key, {})
        values += [value] if isinstance(value, float) else []
    return spread(values, 4 if path[-1] == "ssim" else 2) if values else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, help="a folder that unblur data fmr made")
    parser.add_argument("--val", type=Path, help="another")
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON for each run")
    parser.add_argument("--table", action="store_true", help="only print the tables of the file")
    parser.add_argument("--models", default=USUAL, help=f"of {'; '.join(MODELS)}; between semicolons")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--seconds", type=float, default=140.0, help="of the process, for each run")
    parser.add_argument("--steps", type=int, help="for each run, in place of seconds")
    parser.add_argument("--batch", type=int, default=4, help="windows a step; twice as many of one frame")
    parser.add_argument("--crop", type=int, default=80, help="pixels; a multiple of 20 for the cascade")
    parser.add_argument("--every", type=int, default=4, help="measure every so many windows of each length")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--ratio", type=float, default=8.0)
    parser.add_argument("--lpips", type=Path, help="its weights, for LPIPS and a Frechet distance in the file")
    parser.add_argument("--weights", type=Path, help="folder to keep weights in")
    arguments = parser.parse_args()
    done = read_lines(arguments.out)
    if not arguments.table:
        _train_all(arguments, done)
    for budget in dict.fromkeys(line["budget"] for line in done):
        lines = [line for line in done if line["budget"] == budget]
        print(f"\n{budget}; PSNR in dB where nothing else is said\n\n{table(lines)}")


def _train_all(arguments: argparse.Namespace, done: list[dict[str, Any]]) -> None:
    names = [name.strip() for name in arguments.models.split(";")]
    for name in names:
        if name not in MODELS:
            raise SystemExit(f"--models {name}: use {'; '.join(MODELS)}")
    classes = load_faces(arguments.train, split="train")[0]
    heldout = [one.some(slice(None, None, arguments.every)) for one in load_faces(arguments.val)[0]]
    more = ("lpips", "frechet") if arguments.lpips else ()
    options = EvaluationOptions(("psnr", "ssim", *more), arguments.lpips)
    evaluator = FaceEvaluator.of(heldout, options.load(CPU), CPU)
    known = {(line["model"], line["seed"]) for line in done if line["budget"] == said(arguments)}
    if (INPUT, 0) not in known:
        still = [evaluator.measure(lambda blurry, times: blurry[:, None], one, [0.5]) for one in heldout]
        done.append({"model": INPUT, "seed": 0, "budget": said(arguments), **rows(evaluator, INPUT, still)})
        add_line(arguments.out, done[-1])
    for seed in map(int, arguments.seeds.split(",")):
        for name in names:
            if (name, seed) not in known:
                print(f"{name}, seed {seed}", flush=True)
                done.append(run(name, seed, classes, evaluator, arguments))
                add_line(arguments.out, done[-1])


if __name__ == "__main__":
    main()
