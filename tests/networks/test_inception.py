"""Inception v3 beside one that is written down layer by layer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.networks.inception import Inception, by_corners

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> Inception:
    torch.manual_seed(0)
    network = Inception("fid").eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bn.bias")):
            tensor.normal_(0, 0.1)
        elif name.endswith(("running_var", "bn.weight")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("conv.weight"):
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
    return network


def reference(weights: Weights, picture: Tensor, *, fid: bool) -> Tensor:
    """What is seen of a picture in [-1, 1], after Szegedy et al., 2016, figures 5 to 7 and 10."""

    def conv(name: str, x: Tensor, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
        x = F.conv2d(x, weights[f"{name}.conv.weight"], None, stride, padding)
        bn = [weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *bn, eps=0.001).relu()

    def pooled(x: Tensor) -> Tensor:
        inside = F.avg_pool2d(torch.ones_like(x), 3, 1, 1) if fid else 1
        return F.avg_pool2d(x, 3, 1, 1) / inside

    def five(b: str, x: Tensor) -> Tensor:
        wide = conv(f"{b}.branch5x5_2", conv(f"{b}.branch5x5_1", x), padding=2)
        twice = conv(f"{b}.branch3x3dbl_2", conv(f"{b}.branch3x3dbl_1", x), padding=1)
        twice = conv(f"{b}.branch3x3dbl_3", twice, padding=1)
        return torch.cat([conv(f"{b}.branch1x1", x), wide, twice, conv(f"{b}.branch_pool", pooled(x))], 1)

    def six(b: str, x: Tensor) -> Tensor:
        row, column = (0, 3), (3, 0)
        seven = conv(f"{b}.branch7x7_1", x)
        seven = conv(f"{b}.branch7x7_3", conv(f"{b}.branch7x7_2", seven, 1, row), 1, column)
        twice = conv(f"{b}.branch7x7dbl_1", x)
        for number, padding in ((2, column), (3, row), (4, column), (5, row)):
            twice = conv(f"{b}.branch7x7dbl_{number}", twice, 1, padding)
        return torch.cat([conv(f"{b}.branch1x1", x), seven, twice, conv(f"{b}.branch_pool", pooled(x))], 1)

    def seven(b: str, x: Tensor, pool: Tensor) -> Tensor:
        def cross(start: str, x: Tensor) -> list[Tensor]:
            return [conv(f"{start}a", x, 1, (0, 1)), conv(f"{start}b", x, 1, (1, 0))]

        three = cross(f"{b}.branch3x3_2", conv(f"{b}.branch3x3_1", x))
        twice = conv(f"{b}.branch3x3dbl_2", conv(f"{b}.branch3x3dbl_1", x), padding=1)
        twice = cross(f"{b}.branch3x3dbl_3", twice)
        return torch.cat([conv(f"{b}.branch1x1", x), *three, *twice, conv(f"{b}.branch_pool", pool)], 1)

    x = conv("Conv2d_1a_3x3", picture, 2)
    x = conv("Conv2d_2b_3x3", conv("Conv2d_2a_3x3", x), padding=1)
    x = conv("Conv2d_3b_1x1", F.max_pool2d(x, 3, 2))
    x = F.max_pool2d(conv("Conv2d_4a_3x3", x), 3, 2)
    for letter in "bcd":
        x = five(f"Mixed_5{letter}", x)
    twice = conv("Mixed_6a.branch3x3dbl_2", conv("Mixed_6a.branch3x3dbl_1", x), padding=1)
    twice = conv("Mixed_6a.branch3x3dbl_3", twice, 2)
    x = torch.cat([conv("Mixed_6a.branch3x3", x, 2), twice, F.max_pool2d(x, 3, 2)], 1)
    for letter in "bcde":
        x = six(f"Mixed_6{letter}", x)
    three = conv("Mixed_7a.branch3x3_2", conv("Mixed_7a.branch3x3_1", x), 2)
    along = conv("Mixed_7a.branch7x7x3_2", conv("Mixed_7a.branch7x7x3_1", x), 1, (0, 3))
    along = conv("Mixed_7a.branch7x7x3_4", conv("Mixed_7a.branch7x7x3_3", along, 1, (3, 0)), 2)
    x = torch.cat([three, along, F.max_pool2d(x, 3, 2)], 1)
    x = seven("Mixed_7b", x, pooled(x))
    x = seven("Mixed_7c", x, F.max_pool2d(x, 3, 1, 1) if fid else pooled(x))
    return x.mean((-2, -1))


@pytest.mark.parametrize("of", ["fid", "torchvision"])
def test_layer_by_layer(network: Inception, of: str) -> None:
    ours = Inception(of).eval()  # type: ignore[arg-type]
    ours.load_state_dict(network.state_dict())
    weights = {name.removeprefix("body."): tensor for name, tensor in network.state_dict().items()}
    picture = 2 * torch.rand(1, 3, 139, 107) - 1
    expected = reference(weights, picture, fid=of == "fid")
    other = reference(weights, picture, fid=of != "fid")
    with torch.inference_mode():
        seen = ours.features(picture)
    assert seen.shape == (1, 2048)
    assert torch.allclose(seen, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert not torch.allclose(seen, other, rtol=1e-2, atol=1e-3 * expected.max()), "the pools matter"


def test_the_number_of_weights(network: Inception) -> None:
    # With 1008 classes 23,850,960, and with 1000 those 23,834,568 that torchvision tells (without its second head).
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 21_785_568 == 23_850_960 - 2049 * 1008 == 23_834_568 - 2049 * 1000


def test_pictures_become_299_pixels_large(network: Inception, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(Inception, "features", lambda self, pictures: seen.append(pictures) or pictures)
    picture = torch.rand(1, 3, 23, 40)
    Inception("fid", "corners")(picture)
    Inception("fid", "centres")(picture)
    assert {tuple(each.shape) for each in seen} == {(1, 3, 299, 299)}
    corner, centre = seen
    # Pixels i * 23 / 299 down and i * 40 / 299 to the right, (v - 128) / 128 of 255 levels.
    row, column = 100 * 23 / 299, 200 * 40 / 299
    top, left = int(row), int(column)
    across = [picture[0, :, r, left].lerp(picture[0, :, r, left + 1], column - left) for r in (top, top + 1)]
    expected = across[0].lerp(across[1], row - top)
    assert torch.allclose(corner[0, :, 100, 200], (255 * expected - 128) / 128, atol=1e-4)
    assert torch.allclose(corner[0, :, 0, 0], (255 * picture[0, :, 0, 0] - 128) / 128, atol=1e-5)
    assert torch.allclose(corner[0, :, -1, -1], (255 * picture[0, :, -1, -1] - 128) / 128, atol=1e-5)
    assert centre.min() >= -1
    assert torch.allclose(centre.mean(), 2 * picture.mean() - 1, atol=1e-2)


def test_resizing_by_corners() -> None:
    ramp = torch.arange(4.0).expand(1, 1, 3, 4)
    made = by_corners(ramp, 8)
    assert made.shape == (1, 1, 8, 8)
    assert made[0, 0, 5].tolist() == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    assert by_corners(ramp, 2)[0, 0, 0].tolist() == pytest.approx([0, 2]), "nothing is smoothed"


def test_there_are_two() -> None:
    with pytest.raises(ValueError, match="no such Inception"):
        Inception("other")  # type: ignore[arg-type]
