"""HyperCUT's released order network in our terms: its names, and what was done to pictures before it saw them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

BLOCKS_BEGIN = 13
RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^.*model\.1\.(weight|bias)$", r"encoder.entry.\1"),
    *((rf"^.*model\.{3 + 2 * level}\.(weight|bias)$", rf"encoder.down.{level}.\1") for level in range(5)),
    (r"^.*model\.(\d+)\.conv_block", lambda match: f"encoder.blocks.{int(match[1]) - BLOCKS_BEGIN}.conv_block"),
    (r"\.conv_block\.1\.", ".first."),
    (r"\.conv_block\.4\.", ".second."),
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, red, green, blue; the program trained on blue, green, red, and normalised these by the same three."""


def arguments(tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """The constructor's arguments of an `HyperCUT`."""
    entry, last = tensors.get("encoder.entry.weight"), tensors.get("encoder.down.4.weight")
    if entry is None or last is None or entry.ndim != 4 or last.ndim != 4:
        raise ValueError("encoder.entry.weight is missing or misshapen")
    numbers = {int(found[1]) for name in tensors if (found := re.match(r"encoder\.blocks\.(\d{1,3})\.", name))}
    return {"width": entry.shape[0], "channels": last.shape[0], "blocks": len(numbers), "form": "released"}


def folded(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors for pictures in [0, 1] with red first, and the hyperplane under our name.

    The normalisation goes into the first convolution, exactly, as its padding is a mirror. The hyperplane is the one
    vector that belongs to no layer.

    Raises
    ------
    ValueError
        If it is missing: it is drawn at random before the training, and nothing else tells it. Or if the convolutions
        that tell shapes are.
    """
    ours = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    arguments(ours)
    weight, bias = ours["encoder.entry.weight"], ours.get("encoder.entry.bias")
    if bias is None or weight.shape[1] != 6 or bias.shape != weight.shape[:1]:
        raise ValueError("its first convolution is not of two pictures")
    scale, mean = (torch.tensor(values).repeat(2)[:, None, None].to(weight) for values in (DEVIATION, MEAN))
    weight = weight / scale
    ours["encoder.entry.bias"] = bias - (weight * mean).sum((1, 2, 3))
    ours["encoder.entry.weight"] = weight.unflatten(1, (2, 3)).flip(2).flatten(1, 2)
    channels = ours["encoder.down.4.weight"].shape[0]
    planes = [tensor.flatten() for name, tensor in tensors.items() if name not in ours]
    planes = [plane for plane in planes if len(plane) == channels + 1]
    if len(planes) != 1:
        raise ValueError(f"{len(planes) or 'no'} vectors that could be its hyperplane")
    return ours | {"hyperplane": planes[0]}
