from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.networks.dlib_resnet import DlibResNet


def reference(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    def scaled(name: str, x: Tensor, stride: int, padding: int) -> Tensor:
        parts = [weights[f"{name}.{part}"] for part in ("convolution.weight", "convolution.bias", "scale", "shift")]
        out = F.conv2d(x, parts[0], parts[1], stride, padding)
        return out * parts[2].view(-1, 1, 1) + parts[3].view(-1, 1, 1)

    x = F.max_pool2d(scaled("intro", x, 2, 0).relu(), 3, 2)
    sides = [x.shape[-1]]
    for number in range(14):
        halves = number in (3, 7, 10, 13)
        y = scaled(f"body.{number}.first", x, 2 if halves else 1, 0 if halves else 1).relu()
        y = scaled(f"body.{number}.second", y, 1, 1)
        if halves:
            x = F.avg_pool2d(x, 2)
            sides.append(x.shape[-1])
        out = torch.zeros(len(x), y.shape[1], *x.shape[2:])
        out[:, :, : y.shape[2], : y.shape[3]] += y
        out[:, : x.shape[1]] += x
        x = out.relu()
    assert sides == [35, 17, 8, 4, 2]
    return x.mean((2, 3)) @ weights["outro.weight"].T


def test_layer_by_layer() -> None:
    network = DlibResNet().eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if name.endswith("shift"):
            tensor.normal_(0, 0.1)
        elif name.endswith("scale"):
            tensor.uniform_(1, 2)
    pictures = torch.rand(2, 3, 150, 150)
    mean = torch.tensor([122.782, 117.001, 104.298]).view(3, 1, 1)
    expected = reference(network.state_dict(), (pictures * 255 - mean) / 255)
    assert expected.shape == (2, 128)
    assert torch.allclose(network(pictures), expected, rtol=1e-4, atol=1e-5), (
        "pictures of the right size are not resized"
    )
    assert network(torch.rand(1, 3, 64, 80)).shape == (1, 128)


def test_the_number_of_weights() -> None:
    # Kernels of 7 x 7 and 3 x 3, and the last layer; a bias, a scale and a shift for each channel.
    widths = [32] * 7 + [64] * 8 + [128] * 6 + [256] * 8
    kernels = 49 * 3 * 32 + 9 * sum(a * b for a, b in itertools.pairwise(widths)) + 256 * 128
    count = sum(parameter.numel() for parameter in DlibResNet().parameters())
    assert count == kernels + 3 * sum(widths) == 5_614_592


def test_larger_pictures_are_smoothed_as_they_shrink() -> None:
    """Else every third pixel would be all that is seen."""
    network, seen = DlibResNet(), []
    network.intro.register_forward_pre_hook(lambda _, given: seen.append(given[0] + network.mean))
    board = ((torch.arange(450)[:, None] + torch.arange(450)) % 2).float().expand(1, 3, -1, -1)
    with torch.inference_mode():
        network(board)
    assert (seen[0] - 0.5).abs().max() < 0.2
