import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unblur.networks.deep_image_prior import DeepCodePrior, DeepImagePrior, NonLocal


def _count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts() -> None:
    with torch.device("meta"):
        image, code = DeepImagePrior(), DeepCodePrior()
        assert _count(image) == 2_365_779
        assert sum(_count(module) for module in image.modules() if isinstance(module, NonLocal)) == 100_032
        assert _count(code) == 34_787_264
        assert code(torch.empty(1, 64, 64, 64)).shape == (1, 512, 2, 2)
        assert code(torch.empty(1, 64, 6 * 32, 10 * 32)).shape == (1, 512, 6, 10)


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from(["reflect", "zeros"]))
@example(1, 1, "reflect")
@example(32, 33, "zeros")
def test_a_picture_of_any_size(height: int, width: int, padding: str) -> None:
    """In training mode, as it is fitted: also where batch normalisation has few pixels."""
    network = DeepImagePrior(inputs=2, width=8, skip=4, padding=padding)
    picture = network(torch.rand(1, 2, height, width)).detach()
    assert picture.shape == (1, 3, height, width)
    assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


def test_padding_differs_at_the_rim_only() -> None:
    torch.manual_seed(0)
    reflecting = DeepImagePrior(inputs=2, width=8, skip=4, scales=1, attended=0)
    plain = DeepImagePrior(**{**reflecting.arguments, "padding": "zeros"})
    plain.load_state_dict(reflecting.state_dict())
    noise = torch.rand(1, 2, 32, 32)
    difference = (reflecting.eval()(noise) - plain.eval()(noise)).abs().amax((0, 1))
    assert difference[8:-8, 8:-8].max() == 0
    assert difference.max() > 0
    with pytest.raises(ValueError, match="no such padding"):
        DeepImagePrior(padding="reflection")


def test_non_local_is_the_product_of_all_places() -> None:
    block = NonLocal(8).eval()
    torch.nn.init.ones_(block.gate.weight)
    features = torch.rand(2, 8, 6, 4)
    queries = block.queries(features).flatten(2)
    keys, values = (F.max_pool2d(each(features), 2).flatten(2) for each in (block.keys, block.values))
    alike = queries.transpose(1, 2) @ keys / keys.shape[-1]
    said = (alike @ values.transpose(1, 2)).transpose(1, 2).reshape(2, 4, 6, 4)
    torch.testing.assert_close(block(features), features + block.gate(block.back(said)))


def test_non_local_says_nothing_at_first() -> None:
    features = torch.rand(1, 8, 5, 1)
    assert torch.equal(NonLocal(8)(features), features)


def test_it_can_be_fitted() -> None:
    torch.manual_seed(0)
    network, noise = DeepImagePrior(inputs=2, width=8, skip=4, scales=3, attended=1), 0.1 * torch.rand(1, 2, 32, 32)
    target = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    descent = torch.optim.Adam(network.parameters(), lr=1e-2)
    errors = []
    for _ in range(60):
        descent.zero_grad()
        error = F.mse_loss(network(noise), target)
        error.backward()
        descent.step()
        errors.append(error.item())
    assert errors[-1] < 0.1 * errors[0]


def test_arguments_rebuild_them() -> None:
    for network, shape in ((DeepImagePrior(2, 8, 4), (1, 2, 40, 40)), (DeepCodePrior(3, 4, 8, 1), (1, 3, 64, 32))):
        again = type(network)(**network.arguments)
        again.load_state_dict(network.state_dict())
        noise = torch.rand(shape)
        assert torch.equal(network(noise), again(noise))
