import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unblur.layers import dense as module
from unblur.layers.dense import (
    EPSILON,
    Dense,
    GatedMlp,
    Mix,
    MultiAxis,
    MultiAxisMlp,
    Norm,
    Part,
    bands,
    by_bands,
    by_blocks,
    dense,
    mix,
    part,
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 9))
def test_dense_is_a_linear_map(shape: list[int], inputs: int, outputs: int) -> None:
    features, weight, bias = torch.randn(*shape, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    torch.testing.assert_close(dense(features, weight, bias), F.linear(features, weight, bias))
    torch.testing.assert_close(dense(features, weight), F.linear(features, weight))
    with torch.inference_mode():
        torch.testing.assert_close(dense(features, weight, bias), F.linear(features, weight, bias))
        torch.testing.assert_close(dense(features, weight), F.linear(features, weight))


@pytest.mark.parametrize("inference", [True, False])
def test_dense_of_a_part_of_the_weights(inference: bool) -> None:
    features, weight, wide = torch.randn(2, 3, 5, 4), torch.randn(6, 8), torch.randn(2, 3, 5, 8)
    with torch.inference_mode(inference):
        torch.testing.assert_close(dense(features, weight[:, 4:]), F.linear(features, weight[:, 4:]))
        torch.testing.assert_close(dense(wide[..., 4:], weight[:, 4:]), F.linear(wide[..., 4:], weight[:, 4:]))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans())
def test_mix_is_a_linear_map_of_positions(positions: int, outputs: int, rest: list[int], inference: bool) -> None:
    features, layer = torch.randn(positions, *rest), Mix(positions, outputs)
    with torch.inference_mode(inference):
        expected = torch.einsum("p...,qp->q...", features, layer.weight)
        torch.testing.assert_close(mix(features, layer.weight), expected)
        torch.testing.assert_close(layer(features), expected + layer.bias.view(-1, *len(rest) * [1]))


def test_dense_learns_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, features = Dense(6, 4), torch.randn(2, 6, 6, requires_grad=True)
    gradients = []
    for convolve in (True, False):
        monkeypatch.setattr(module, "_prefers_convolution", lambda _, answer=convolve: answer)
        gradients.append(torch.autograd.grad(layer(features).square().sum(), [features, *layer.parameters()]))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_joined_parts_are_as_side_by_side(channels: list[int]) -> None:
    parts, layer = [torch.randn(2, 3, count) for count in channels], Dense(sum(channels), 5)
    torch.testing.assert_close(layer.joined(map(part, parts)), layer(torch.cat(parts, -1)))


def test_parts_may_be_linear_maps_themselves() -> None:
    before, layer, parts = Dense(3, 4), Dense(6, 5), torch.randn(2, 7, 5).split((3, 2), -1)
    linear = Part(4, lambda weight, bias: dense(parts[0], weight @ before.weight, bias + weight @ before.bias))
    expected = layer(torch.cat([before(parts[0]), parts[1]], -1))
    torch.testing.assert_close(layer.joined([linear, part(parts[1])]), expected)


@pytest.mark.parametrize("inference", [True, False])
def test_norm_is_layer_norm(inference: bool) -> None:
    norm, features = Norm(6), 3 * torch.randn(4, 5, 6) + 2
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    features[0, 0] = 7.0
    features[0, 1] *= 1e-3
    before = features.clone()
    with torch.inference_mode(inference):
        out = norm(features)
    torch.testing.assert_close(out, F.layer_norm(features, (6,), *norm.parameters(), EPSILON), atol=1e-5, rtol=1e-5)
    assert torch.equal(features, before)


@pytest.mark.parametrize("band", [1, 7, 2**40])
def test_by_bands_is_as_at_once(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BAND", band)
    layer, features = Dense(4, 3), torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(by_bands(layer, features), layer(features))


def test_bands_may_go_where_one_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BAND", 8)
    some, others = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    expected = some * others
    with torch.inference_mode():
        out = by_bands(torch.mul, some, others, into=others)
    torch.testing.assert_close(out, expected)
    assert out.data_ptr() == others.data_ptr()


@pytest.mark.parametrize("inference", [True, False])
def test_activated_is_gelu_in_its_tanh_form(inference: bool) -> None:
    features, layer = torch.linspace(-30, 30, 4001)[:, None], Dense(1, 1)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    with torch.inference_mode(inference):
        out = layer.activated(features)
    torch.testing.assert_close(out, F.gelu(features, approximate="tanh"), atol=2e-6, rtol=1e-5)
    assert features[0] == -30


@pytest.mark.parametrize("inference", [True, False])
def test_bfloat16_under_autocast(inference: bool) -> None:
    features, layer, mixer = torch.randn(8, 3, 8), Dense(8, 8), Mix(8, 8)
    expected = mixer(layer.activated(features))
    with torch.inference_mode(inference), torch.autocast("cpu", torch.bfloat16):
        out = mixer(layer.activated(features))
    assert out.dtype is torch.bfloat16
    torch.testing.assert_close(out.float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("inference", [True, False])
def test_a_norm_may_go_into_the_layer_after_it(inference: bool) -> None:
    norm, layer, features = Norm(6), Dense(6, 5), (3 * torch.randn(4, 6, 5) + 2).mT
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    before = features.clone()
    with torch.inference_mode(inference):
        plain = norm.plain(features)
        torch.testing.assert_close(dense(plain, *norm.before(layer)), layer(norm(features)), atol=1e-5, rtol=1e-5)
        assert norm.plain(features.bfloat16()).dtype is torch.bfloat16
    assert plain.is_contiguous()
    assert torch.equal(features, before)


def test_every_thread_has_its_share_of_a_band() -> None:
    assert module.at_once() == module.BAND * torch.get_num_threads()


@pytest.fixture(autouse=True)
def _norms_do_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.LayerNorm, "reset_parameters", lambda norm: [nn.init.normal_(p) for p in norm.parameters()])


def _gated(layer: GatedMlp, tokens: Tensor) -> Tensor:
    """The gMLP layer for (P, C), in words of the paper."""
    u, v = F.gelu(F.linear(layer.norm(tokens), *layer.widen.parameters()), approximate="tanh").chunk(2, -1)
    v = F.linear(layer.gate_norm(v).T, *layer.mix.parameters()).T
    return tokens + F.linear(u * (v + 1), *layer.narrow.parameters())


def _mixed(layer: Mix, tokens: Tensor) -> Tensor:
    return F.linear(tokens.T, *layer.parameters()).T


def _by_loops(layer: MultiAxis, features: Tensor, axis) -> Tensor:
    """The sum that the layer adds, for a size of 2."""
    height, width, channels = features.shape[1:]
    out = F.gelu(F.linear(layer.norm(features), *layer.widen.parameters()), approximate="tanh")
    for picture in out:
        for i in range(height // 2):
            for j in range(width // 2):
                cells = picture[i :: height // 2, j :: width // 2, :channels]
                cells.copy_(axis(layer.grid, cells.reshape(4, channels)).view(2, 2, channels))
                block = picture[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, channels:]
                block.copy_(axis(layer.block, block.reshape(4, channels)).view(2, 2, channels))
    return F.linear(out, *layer.narrow.parameters())


# A strip at a time, and all at once.
@pytest.mark.parametrize("band", [1, 2**40])
@torch.no_grad()
def test_as_by_loops(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BAND", band)
    features = torch.rand(2, 4, 6, 3)
    mlp = MultiAxisMlp(3, 2)
    torch.testing.assert_close(mlp(features), features + _by_loops(mlp, features, _gated))
    gate = MultiAxis(3, 2, lambda: Mix(4, 4))
    torch.testing.assert_close(gate(features), _by_loops(gate, features, _mixed))
    with torch.inference_mode():
        torch.testing.assert_close(gate(features), _by_loops(gate, features, _mixed))


def test_learns_the_same_in_bands_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, features = MultiAxisMlp(4, 2), torch.rand(1, 4, 4, 4, requires_grad=True)
    gradients = []
    for band in (1, 2**40):
        monkeypatch.setattr(module, "BAND", band)
        gradients.append(torch.autograd.grad(mlp(features).square().sum(), [features, *mlp.parameters()]))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_graph_that_is_exported_holds_no_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BAND", 1)
    cut = by_blocks(torch.zeros(1, 8, 8, 3), 2)
    assert len(bands(cut)) > 1
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert bands(cut) == [()]
