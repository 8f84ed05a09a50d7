"""Networks as ONNX graphs: of any batch and size, and what is only done for a CPU's caches left out."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.layers.attention import window_means
from unblur.models import export_onnx as export
from unblur.models.export_onnx import Graph, Port, graphs_of, write_graph
from unblur.networks.blur_kernel_space import BlurKernelSpace
from unblur.networks.cfmd import CFMD, CFMDRefiner
from unblur.networks.cfmd_critic import CFMDCritic
from unblur.networks.hypercut import HyperCUT
from unblur.networks.maxim import Maxim
from unblur.networks.mimo_unet import MimoUNet
from unblur.networks.nafnet import NAFNet
from unblur.networks.path_film import PathFilm

SMALL = {"widths": (4,), "blocks": (1,)}


def lively(network: nn.Module) -> nn.Module:
    """With nothing at zero, which a new network's last layers are."""
    for parameter in network.parameters():
        if not parameter.abs().max() > 0:
            nn.init.normal_(parameter, std=0.2)
    return network.eval().requires_grad_(False)


def answers(path, graph, *sides):
    """What the file and torch say of the same random pictures."""
    inputs = graph.example(*sides)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (said,) = session.run(None, {port.name: x.numpy() for port, x in zip(graph.inputs, inputs, strict=True)})
    return said, graph.network(*inputs).numpy()


class Means(nn.Module):
    """What NAFNet sees of pictures larger and smaller than a window."""

    def forward(self, blurry: Tensor) -> Tensor:
        return window_means(blurry, 5).expand_as(blurry)


def means() -> Graph:
    pictures = ("batch", 3, "height", "width")
    return Graph("means", Means(), (Port("blurry", pictures, ""),), Port("means", pictures, ""), 1, 1)


@pytest.mark.parametrize(
    ("made", "least"),
    [
        (means, 1),
        (lambda: graphs_of(lively(HyperCUT(4, 4, 1, fold=2)))["score"], 2),
        (lambda: graphs_of(lively(CFMD(4, 1, deformable=False)))["film"], 1),
    ],
)
def test_graphs_serve_other_sizes_than_they_were_traced_with(made, least, tmp_path):
    torch.manual_seed(0)
    graph = made()
    path = tmp_path / "graph.onnx"
    assert write_graph(graph, path) < 1e-4
    onnx.checker.check_model(str(path))
    for sides in ((1, 1, least, 7), (3, 2, 6, least)):
        said, known = answers(path, graph, *sides)
        np.testing.assert_allclose(said, known, atol=1e-3 * np.abs(known).max())
    inputs = {value.name: value for value in onnx.load(path).graph.input}
    sides = [side.dim_param or side.dim_value for side in inputs[graph.inputs[0].name].type.tensor_type.shape.dim]
    assert sides == ["batch", 3, "height", "width"]


@pytest.mark.parametrize(
    ("network", "inputs"),
    [
        (lambda: Maxim(8, 2, sizes=(4, 2), groups=1, bottlenecks=1), lambda: (torch.rand(2, 3, 32, 48),)),
        (lambda: MimoUNet(4, 1), lambda: (torch.rand(2, 3, 8, 12),)),
        (lambda: CFMD(4, 1), lambda: (torch.rand(2, 3, 8, 12), torch.rand(3))),
        (
            lambda: CFMDRefiner(24, 1, fold=2),
            lambda: (torch.rand(2, 3, 8, 16), torch.rand(3), torch.rand(2, 3, 2, 3, 8, 16)),
        ),
        (lambda: NAFNet(4, (1,), 1, (1,), pool=10), lambda: (torch.rand(1, 3, 8, 30),)),
    ],
)
def test_what_is_exported_is_what_runs(network, inputs, monkeypatch):
    torch.manual_seed(0)
    network, given = lively(network()), inputs()
    with torch.inference_mode():
        known = network(*given)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(network(*given), known, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 2, 5, 20), (1, 2, 20, 7), (1, 2, 6, 7), (1, 2, 19, 23)])
def test_means_over_windows_are_the_same_in_a_graph(shape, monkeypatch):
    features = torch.rand(shape)
    known = window_means(features, 7)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    made = window_means(features, 7)
    torch.testing.assert_close(made, known.expand_as(made), atol=1e-6, rtol=1e-5)


def test_graphs_say_what_they_take():
    assert list(graphs_of(PathFilm(dict(SMALL), dict(SMALL)))) == ["restorer"]
    encoder, decoder = graphs_of(BlurKernelSpace(4, 1, 1, 4, 1)).values()
    assert (encoder.does, decoder.does) == ("sharp, blurry -> code", "sharp, code -> reblurred")
    assert [x.shape for x in decoder.example(2, 1, 2, 3)] == [(2, 3, 256, 384), (2, 4, 2, 3)]
    corrects = graphs_of(CFMDRefiner(24, 1, fold=2))["film"]
    assert corrects.does == "blurry, times, estimates -> frames"
    assert corrects.multiple == 8
    assert str(corrects.inputs[1]) == "times (times), in [0, 1]: 0 shutter opens, 1 closes"
    assert graphs_of(CFMDCritic(4, 4)) == {}


def test_a_graph_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    torch.manual_seed(0)
    graph = graphs_of(lively(PathFilm(dict(SMALL), dict(SMALL))))["restorer"]
    path = tmp_path / "graph.onnx"
    write_graph(graph, path)
    program = type("Program", (), {"model_proto": onnx.load(path)})
    monkeypatch.setattr(export, "_traced", lambda *_: program)
    assert write_graph(graph, path) < 1e-4
    with pytest.raises(UnblurError, match="opset=19: torch wrote opset 18 instead"):
        write_graph(graph, path, opset=19)
    # No line of code of this machine, and nothing that hides behind a number.
    assert "unet.py" not in path.read_bytes().decode("latin-1")
    monkeypatch.setattr(graph.network, "forward", lambda blurry: blurry * float("nan"))
    with pytest.raises(UnblurError, match="answers up to nan"):
        write_graph(graph, path)
    monkeypatch.undo()
    monkeypatch.setattr(export, "_traced", lambda *_: program)
    with torch.no_grad():
        graph.network.unet.outro.bias.add_(0.1)
    with pytest.raises(UnblurError, match=r"restorer: its ONNX graph answers up to \d\.\de-0\d beside torch"):
        write_graph(graph, path)


def test_an_opset_that_cannot_be_is_refused_in_one_line(tmp_path):
    graph = graphs_of(lively(PathFilm(dict(SMALL), dict(SMALL))))["restorer"]
    with pytest.raises(UnblurError, match="opset=99: is not one that can be written; use 18 to"):
        write_graph(graph, tmp_path / "graph.onnx", opset=99)
