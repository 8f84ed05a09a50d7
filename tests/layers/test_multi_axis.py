import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers import dense
from unblur.layers.dense import Mix
from unblur.layers.multi_axis import GatedMlp, MultiAxis, MultiAxisMlp, bands, by_blocks


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
    monkeypatch.setattr(dense, "BAND", band)
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
        monkeypatch.setattr(dense, "BAND", band)
        gradients.append(torch.autograd.grad(mlp(features).square().sum(), [features, *mlp.parameters()]))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_graph_that_is_exported_holds_no_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "BAND", 1)
    cut = by_blocks(torch.zeros(1, 8, 8, 3), 2)
    assert len(bands(cut)) > 1
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert bands(cut) == [()]
