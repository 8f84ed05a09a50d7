import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unblur.layers.attention import window_means
from unblur.networks.nafnet import Block, LayerNorm2d, NAFNet

GOPRO = {"encoder": (1, 1, 1, 28), "middle": 1, "decoder": (1, 1, 1, 1)}
SIDD = {"encoder": (2, 2, 4, 8), "middle": 12, "decoder": (2, 2, 2, 2)}


def small(pool: int | None = None) -> NAFNet:
    """A network of two sizes whose blocks do something: released ones are trained, new ones are the identity."""
    torch.manual_seed(0)
    network = NAFNet(4, (1, 2), 1, (1, 1), pool=pool).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("share"):
            nn.init.normal_(parameter, std=0.5)
    return network


@pytest.mark.parametrize(
    ("width", "blocks", "count"), [(32, GOPRO, 17_111_907), (64, GOPRO, 67_888_835), (32, SIDD, 29_159_715)]
)
def test_parameter_counts(width: int, blocks: dict, count: int) -> None:
    """The published ones: 17.1, 67.9 and 29.2 million."""
    with torch.device("meta"):
        assert sum(p.numel() for p in NAFNet(width, **blocks).parameters()) == count


def test_a_block_is_that_of_the_paper() -> None:
    """Every line as the paper's figure 3c has it, pixel by pixel."""
    torch.manual_seed(0)
    block = Block(4).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    features = torch.randn(1, 4, 5, 6, dtype=torch.float64)

    def normed(x: Tensor, norm: LayerNorm2d) -> Tensor:
        out = torch.empty_like(x)
        for i in range(5):
            for j in range(6):
                pixel = x[0, :, i, j]
                spread = ((pixel - pixel.mean()).square().mean() + 1e-6).sqrt()
                out[0, :, i, j] = (pixel - pixel.mean()) / spread * norm.weight + norm.bias
        return out

    def dense(x: Tensor, layer: nn.Conv2d) -> Tensor:
        return torch.einsum("oi,bihw->bohw", layer.weight[:, :, 0, 0], x) + layer.bias[:, None, None]

    def depthwise(x: Tensor, layer: nn.Conv2d) -> Tensor:
        out, padded = torch.zeros_like(x), F.pad(x, (1, 1, 1, 1))
        for i in range(3):
            for j in range(3):
                out += padded[..., i : i + 5, j : j + 6] * layer.weight[:, 0, i, j][:, None, None]
        return out + layer.bias[:, None, None]

    near = depthwise(dense(normed(features, block.near_norm), block.near_widen), block.near_mix)
    near = near[:, :4] * near[:, 4:]
    near = near * dense(near.mean((2, 3), keepdim=True), block.attention)
    middle = features + dense(near, block.near_merge) * block.near_share
    own = dense(normed(middle, block.own_norm), block.own_widen)
    expected = middle + dense(own[:, :4] * own[:, 4:], block.own_merge) * block.own_share
    torch.testing.assert_close(block(features), expected)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 21), st.integers(1, 21), st.integers(1, 2), st.sampled_from([None, 6]))
def test_any_size(height: int, width: int, batch: int, pool: int | None) -> None:
    network, blurry = small(pool), torch.rand(batch, 3, height, width)
    with torch.inference_mode():
        sharp = network(blurry)
        assert sharp.shape == blurry.shape
        assert torch.allclose(sharp[:1], network(blurry[:1]), atol=1e-5)


def test_arguments_rebuild_it() -> None:
    network = small(pool=8)
    again = NAFNet(**network.arguments)
    again.load_state_dict(network.state_dict())
    blurry = torch.rand(1, 3, 12, 20)
    assert torch.equal(network(blurry), again(blurry))
    with pytest.raises(ValueError, match="of one length"):
        NAFNet(4, (1, 1), 1, (1,))


def test_every_weight_learns() -> None:
    network = small()
    network(torch.rand(1, 3, 16, 16)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 14))
def test_window_means(height: int, width: int, window: int) -> None:
    features = torch.rand(2, 3, height, width)
    means = window_means(features, window).expand_as(features)
    down, across = min(window, height), min(window, width)
    for i in range(height):
        for j in range(width):
            top = min(max(i - (window - 1) // 2, 0), height - down)
            left = min(max(j - (window - 1) // 2, 0), width - across)
            seen = features[..., top : top + down, left : left + across]
            torch.testing.assert_close(means[..., i, j], seen.mean((-2, -1)))


def test_windows_as_large_as_the_picture_are_the_picture() -> None:
    blurry = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        assert torch.allclose(small(pool=24)(blurry), small()(blurry), atol=1e-6)
        assert not torch.allclose(small(pool=8)(blurry), small()(blurry), atol=1e-3)


def test_with_windows_it_is_local() -> None:
    blurry = torch.rand(1, 3, 16, 400)
    changed = blurry.clone()
    changed[..., 380:] = 0
    for pool, far in ((16, 0.0), (None, 1e-4)):
        network = small(pool)
        with torch.inference_mode():
            difference = (network(blurry) - network(changed)).abs()[..., :200].max()
        assert network.is_local == (pool is not None)
        assert difference == 0 if pool else difference > far


def test_a_new_network_changes_little() -> None:
    """The blocks begin as the identity, so deep ones can be trained."""
    network = Block(4)
    features = torch.rand(1, 4, 6, 6)
    assert torch.equal(network(features), features)
