"""CFMD-GAN's released critic: how its names become ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^(en|de)code\.(\d)\.(?:layers\.)+", r"\1coder.\2."),
    (r"^global_cls\.", "whole."),
    (r"^pixel_cls\.", "local."),
    (r"^label_predict\.", "time."),
    (r"\.weight_orig$", ".weight"),
    (r"\.weight_u$", ".left"),
    (r"\.weight_v$", ".right"),
)


def arguments(tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """The constructor's arguments of a `CFMDCritic`."""
    numbers = {int(found[1]) for name in tensors if (found := re.match(r"encoder\.(\d)\.", name))}
    first, last = (tensors.get(f"encoder.{level}.2.weight") for level in (0, max(numbers, default=0)))
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        raise ValueError("encoder.0.2.weight is missing or misshapen")
    width, widest, levels = first.shape[0], last.shape[0], len(numbers)
    return {"width": width, "widest": widest, "levels": levels}
