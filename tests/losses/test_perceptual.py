import pytest
import torch

from unblur.losses.perceptual import Backbone, alexnet, vgg19


@pytest.mark.parametrize(
    ("make", "count", "channels"),
    [(vgg19, 12_944_960, [64, 128, 256, 512, 512]), (alexnet, 2_469_696, [64, 192, 384, 256, 256])],
)
def test_networks(make, count: int, channels: list[int]) -> None:
    """Parameters of the published convolutions as far as they are looked at, and what is seen of a picture."""
    with torch.device("meta"):
        network = make()
        assert sum(parameter.numel() for parameter in network.parameters()) == count
        assert [seen.shape[1] for seen in network(torch.empty(1, 3, 64, 70))] == channels
        assert [seen.shape[1] for seen in network(torch.empty(1, 3, 1, 5))] == channels


def test_names_are_torchvisions() -> None:
    with torch.device("meta"):
        assert vgg19().state_dict()["features.28.weight"].shape == (512, 512, 3, 3)
        assert alexnet().state_dict()["features.10.bias"].shape == (256,)


def test_the_distance_counts_what_is_looked_at() -> None:
    layers = [torch.nn.Conv2d(3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(2, 4, 1), torch.nn.ReLU()]
    network = Backbone(layers, (1, 3), (0.5, 2.0))
    image, other = torch.rand(2, 1, 3, 40, 40)
    target = network(other)
    expected = sum(share * (a - b).abs().mean() for share, a, b in zip((0.5, 2.0), network(image), target, strict=True))
    assert torch.allclose(network.distance(image, target), expected)
    assert network.distance(other, target) == 0


def test_vgg_is_looked_at_as_in_blur_kernel_space() -> None:
    """After relu1_1, 2_1, 3_1, 4_1 and 5_1, with their released weights."""
    with torch.device("meta"):
        network = vgg19()
    assert network.shares == (0.2, 0.4, 0.8, 1.0, 3.0)
    for number, before in zip(network.looked, (None, *[torch.nn.MaxPool2d] * 4), strict=True):
        assert isinstance(network.features[number], torch.nn.ReLU)
        assert before is None or isinstance(network.features[number - 2], before)
