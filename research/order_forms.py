"""How well, and how soon, the forms of the order network learn which way time runs. Same exposures, steps and seeds.

    python research/order_forms.py --train data/train --val data/val --cache runs/stills --out forms.jsonl
    python research/order_forms.py --out forms.jsonl --table

* ``released``: as in HyperCUT's program: a linear stem, a hyperplane through the origin;
* ``offset``: the same with working activations and a true offset;
* ``antisymmetric``: half the difference of the pair's score and its reverse's;
* ``one-sided``: that, with `losses.order_loss.one_sided` in place of the paper's loss.

All with pixels folded by 2 (`--fold 1` for the paper's size), three symmetric pairs of clips of seven frames and
AdaMax. Hit (of the widest pair), con@2 and con@3 at the end on exposures of other stills, and the first step, of every
25th, at which hit and con@2 are 0.9 or more; mean and standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from learning import add_line, read_lines, run_parser, spread
from torch import Tensor

from unblur.data.stills import load_stills
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.exposure.camera import MotionSpec
from unblur.networks.hypercut import HyperCUT
from unblur.training.order_training import Ordering, OrderLoss

FORMS: dict[str, tuple[Any, Any]] = {
    "released": ("released", "paper"),
    "offset": ("offset", "paper"),
    "antisymmetric": ("antisymmetric", "paper"),
    "one-sided": ("antisymmetric", "one_sided"),
}
ENOUGH = 0.9


def clips(root: Path, cache: Path | None, count: int, size: int, seed: int) -> Tensor:
    """(count, 7, 3, size, size) in 8 bits, each in a direction that a coin chose."""
    motion = MotionSpec(length=(4.0, 20.0))
    stills = load_stills(root, cache=cache)
    source = SyntheticExposures(stills, size=size, batch_size=20, times=7, grid=True, motion=motion, seed=seed)
    parts = []
    for number in range(math.ceil(count / 20)):
        frames = (source.batch(number)["frames"] * 255).round().to(torch.uint8)
        reverse = torch.rand(20, generator=torch.Generator().manual_seed(seed * 100003 + number)) < 0.5
        parts.append(torch.where(reverse[:, None, None, None, None], frames.flip(1), frames))
    return torch.cat(parts)[:count]


@torch.inference_mode()
def measure(module: Ordering, heldout: Tensor) -> dict[str, float]:
    """Means of `Ordering.measure`."""
    scores: dict[str, list[Tensor]] = defaultdict(list)
    for part in heldout.split(20):
        with torch.autocast("cpu", torch.bfloat16):
            for name, values in module.measure({"frames": part.float() / 255}).scores.items():
                scores[name].append(values)
    return {name: float(torch.cat(values).mean()) for name, values in scores.items()}


def run(name: str, seed: int, train: Tensor, heldout: Tensor, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one form with one seed."""
    torch.manual_seed(seed)
    form, loss = FORMS[name]
    network = HyperCUT(fold=arguments.fold, form=form)
    module = Ordering(network, OrderLoss(form=loss, others=0), channels_last=True)
    optimizer = torch.optim.Adamax(network.parameters(), lr=arguments.lr)
    soon: int | None = None
    scores: dict[str, float] = {}
    for step in range(1, arguments.steps + 1):
        rows = torch.randint(len(train), (arguments.batch,))
        with torch.autocast("cpu", torch.bfloat16):
            terms = module.losses({"frames": train[rows].float() / 255})
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 0:
            scores = measure(module, heldout)
            if soon is None and min(scores["hit"], scores["con@2"]) >= ENOUGH:
                soon = step
            print(name, seed, step, {key: round(value, 3) for key, value in scores.items()}, flush=True)
    return {"form": name, "seed": seed, "steps": arguments.steps, **scores, "soon": soon}


def table(lines: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, as Markdown."""
    rows = ["| form | seeds | hit | con@2 | con@3 | steps to hit and con@2 of 0.9 |", "|---|---|---|---|---|---|"]
    for name in FORMS:
        found = [line for line in lines if line["form"] == name]
        if not found:
            continue
        cells = [spread([line[key] for line in found], 3) for key in ("hit", "con@2", "con@3")]
        cells.append(", ".join(str(line["soon"] or "never") for line in found))
        rows.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = run_parser(__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=96, help="pixels")
    parser.add_argument("--pool", type=int, default=2000, help="clips to train on")
    parser.add_argument("--heldout", type=int, default=160)
    parser.add_argument("--fold", type=int, default=2)
    arguments = parser.parse_args()
    done = read_lines(arguments.out)
    if not arguments.table:
        train, heldout = (
            clips(root, arguments.cache, count, arguments.size, seed)
            for root, count, seed in ((arguments.train, arguments.pool, 7), (arguments.val, arguments.heldout, 8))
        )
        known = {(line["form"], line["seed"]) for line in done}
        for seed in map(int, arguments.seeds.split(",")):
            for name in FORMS:
                if (name, seed) not in known:
                    done.append(run(name, seed, train, heldout, arguments))
                    add_line(arguments.out, done[-1])
    print(table(done))


if __name__ == "__main__":
    main()
