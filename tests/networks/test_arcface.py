from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.networks.arcface import ArcFaceNet


def lively(network: nn.Module) -> nn.Module:
    """In evaluation, with statistics that are not those of nothing."""
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return network.eval().requires_grad_(False)


def reference(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    def bn(name: str, x: Tensor) -> Tensor:
        parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts)

    def block(name: str, x: Tensor, stride: int) -> Tensor:
        slope = weights[f"{name}.prelu.weight"]
        y = F.conv2d(bn(f"{name}.bn0", x), weights[f"{name}.conv1.weight"], padding=1)
        y = F.conv2d(F.prelu(bn(f"{name}.bn1", y), slope), weights[f"{name}.conv2.weight"], stride=stride, padding=1)
        if f"{name}.downsample.0.weight" in weights:
            x = bn(f"{name}.downsample.1", F.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride))
        return F.prelu(bn(f"{name}.bn2", y) + x, slope)

    x = F.prelu(bn("bn1", F.conv2d(x, weights["conv1.weight"], padding=1)), weights["prelu.weight"])
    x = F.max_pool2d(x, 2, 2)
    for layer in range(1, 5):
        x = block(f"layer{layer}.0", x, 1 if layer == 1 else 2)
        x = block(f"layer{layer}.1", x, 1)
    return bn("bn5", F.linear(bn("bn4", x).flatten(1), weights["fc5.weight"], weights["fc5.bias"]))


def test_layer_by_layer() -> None:
    network = lively(ArcFaceNet())
    pictures = torch.rand(2, 3, 90, 100)
    gray = 0.2989 * pictures[:, 0] + 0.587 * pictures[:, 1] + 0.114 * pictures[:, 2]
    gray = F.interpolate(gray[:, None], (128, 128), mode="bilinear", align_corners=False) * 2 - 1
    expected = reference(network.state_dict(), gray)
    assert expected.shape == (2, 512)
    assert torch.allclose(network(pictures), expected, rtol=1e-4, atol=1e-4)


def test_the_number_of_weights() -> None:
    assert sum(parameter.numel() for parameter in ArcFaceNet().parameters()) == 25_627_081
