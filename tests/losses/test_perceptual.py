import pytest
import torch

from unblur.losses.perceptual import Backbone, Lpips, alexnet, vgg19


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
    for number, before in zip(network.taps, (None, *[torch.nn.MaxPool2d] * 4), strict=True):
        assert isinstance(network.features[number], torch.nn.ReLU)
        assert before is None or isinstance(network.features[number - 2], before)


def test_lpips_is_the_weighed_distance_of_normed_features() -> None:
    network = Lpips(alexnet())
    for head in network.heads:
        torch.nn.init.uniform_(head)
    image, truth = torch.rand(2, 2, 3, 70, 64)
    normed = lambda x: (x - network.centre) / network.spread  # noqa: E731
    expected = 0
    for head, *seen in zip(
        network.heads, network.backbone(normed(image)), network.backbone(normed(truth)), strict=True
    ):
        first, second = (torch.nn.functional.normalize(x, dim=1) for x in seen)
        expected = expected + ((first - second) ** 2 * head[:, None, None]).sum(1).mean((1, 2))
    assert torch.allclose(network(image, truth), expected, atol=1e-6)
    assert torch.allclose(network(image, truth), network(truth, image))
    assert network(image, image).tolist() == [0, 0]
    clips = network(image[None].expand(3, -1, -1, -1, -1), truth[None].expand(3, -1, -1, -1, -1))
    assert torch.allclose(clips, expected.expand(3, 2), atol=1e-5)
    with pytest.raises(ValueError, match="one shape"):
        network(image, truth[:1])
