"""What benchmarks that train have in common: a plain loop under a budget, and runs that are kept as lines of JSON."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unblur.training.muon import Muon, split

WARMUP = 50
"""Steps."""


def learn(
    module: Any,
    batch_of: Callable[[int], Any],
    *,
    lr: float,
    ratio: float,
    steps: int | None = None,
    seconds: float | None = None,
    every: int = 50,
) -> int:
    """Train a system of `unblur.training`: Muon, a cosine, bfloat16; return the steps that were taken.

    Parameters
    ----------
    module : System
    batch_of : callable
        The number of a step to its batch.
    lr, ratio : float
        See `unblur.training.muon.Muon`.
    steps : int, optional
        The budget.
    seconds : float, optional
        The budget in seconds of the process on all its cores, batches included.
    every : int
        Print the loss after so many steps.
    """
    module.network.to(memory_format=torch.channels_last).train()
    optimizer = Muon(*split(module.network), lr=lr, ratio=ratio, betas=(0.9, 0.99))
    begun, step, share = time.process_time(), 0, 0.0
    while share < 1:
        factor = min(1, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        batch = batch_of(step)
        with torch.autocast("cpu", torch.bfloat16):
            terms: dict[str, Tensor] = module.losses(batch)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % every == 0:
            said = " ".join(f"{name} {float(term.detach()):.4f}" for name, term in terms.items())
            print(f"    step {step} {said}", flush=True)
        share = step / steps if steps is not None else (time.process_time() - begun) / (seconds or 0)
    return step


def run_parser(text: str | None) -> argparse.ArgumentParser:
    """A parser with the options that the scripts which compare runs have in common.

    Parameters
    ----------
    text : str, optional
        The script's description.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--val", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON for each run")
    parser.add_argument("--table", action="store_true", help="only print the table of the file")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--lr", type=float, default=5e-4)
    return parser


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The runs that are finished."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_line(path: Path, line: dict[str, Any]) -> None:
    """Keep a run."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def spread(values: Any, digits: int = 2) -> str:
    """Mean and, of several, standard deviation."""
    values = np.asarray(values, np.float64)
    more = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{more}"
