"""Every network says what it is, and answers as its kind promises."""

import ast
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import unblur
from unblur.models.card import Card
from unblur.models.convert.released import RELEASED
from unblur.models.registry import NETWORKS, SHIPPED, Source, network_class
from unblur.models.weights import load_weights, save_weights
from unblur.networks import kinds
from unblur.networks.kinds import Code

SRC = Path(__file__).parents[2] / "src" / "unblur"
PROTOCOLS: dict[str, Any] = {
    "restorer": kinds.RestorerNetwork,
    "film": kinds.FilmNetwork,
    "refiner": kinds.RefinerNetwork,
    "blur_space": kinds.BlurSpaceNetwork,
    "order": kinds.OrderNetwork,
    "prior": kinds.PriorNetwork,
    "critic": kinds.CriticNetwork,
    "denoiser": kinds.DenoiserNetwork,
}
UNET = {"widths": (4, 8), "blocks": (1, 1)}
SPECTRAL = {"hidden": 8, "blocks": 1, "window": 16, "reaches": (2, 3), "sigma": 2.0}
SMALL: dict[str, dict[str, Any]] = {
    "path_film": {"restorer": UNET, "motion": UNET | {"degree": 2}},
    "cfmd": {"channels": 4, "blocks": 1},
    "cfmd_refiner": {"channels": 12, "blocks": 1},
    "jin": {"middle_width": 8, "middle_refine": 4, "side_width": 8, "side_refine": 4},
    "purohit": {"width": 4, "hidden": 6, "flow_widths": (2, 3, 4)},
    "mimo_unet": {"channels": 4, "blocks": 1},
    "nafnet": {"width": 4, "encoder": (1, 1), "middle": 1, "decoder": (1, 1)},
    "maxim": {"features": 4, "stages": 2, "sizes": [4, 2], "groups": 1, "bottlenecks": 1, "reduction": 2},
    "path_blur_space": {
        **{"channels": 5, "widths": (4, 4, 6, 6), "blocks": (1, 1, 1, 1), "features": 8},
        **{"spectral": SPECTRAL, "gauss_newton_steps": 1},
    },
    "blur_kernel_space": {"features": 4, "front_blocks": 1, "back_blocks": 1, "channels": 8, "encoder_blocks": 1},
    "deep_image_prior": {"inputs": 3, "width": 4, "skip": 2, "scales": 2, "attended": 1},
    "deep_code_prior": {"inputs": 3, "width": 4, "blocks": 1},
    "hypercut": {"width": 4, "channels": 4, "blocks": 1},
    "drunet": {"widths": [4, 8], "blocks": 1},
    "cfmd_critic": {"width": 2, "widest": 4, "levels": 3},
}
PICTURE = torch.rand(1, 3, 40, 36, generator=torch.Generator().manual_seed(0))
TIMES = torch.tensor([0.0, 0.5, 1.0])
FRAMES = (1, 3, 3, 40, 36)


def keeps_its_protocol(network: Any, name: str) -> None:
    """Attributes of the right types, and answers of the shapes that `kinds` promises."""
    source = NETWORKS[name]
    assert network.kind == source.kind
    assert PROTOCOLS[source.kind] in type(network).__mro__
    assert isinstance(network.arguments, dict)
    assert type(network)(**network.arguments).arguments == network.arguments
    if source.kind in ("restorer", "film", "refiner"):
        assert network.multiple >= 1
        assert network.tile_overlap >= 0
        assert isinstance(network.is_local, bool)
        assert network.tile_size is None or network.tile_size >= 1
    with torch.inference_mode():
        CHECKS[source.kind](network)


def _restorer(network: Any) -> None:
    sharp = network(PICTURE)
    assert (sharp[-1] if isinstance(sharp, list) else sharp).shape == PICTURE.shape


def _film(network: Any) -> None:
    assert network.starts_from in ("blurry", "sharp")
    if network.own_restorer is not None:
        assert network.own_restorer.kind == "restorer"
    if network.starts_from == "sharp":
        context = network.global_context(PICTURE, PICTURE)
        more = () if context is None else (context,)
        state = network.estimate_motion(PICTURE, PICTURE, *more)
    else:
        state = network.encode(PICTURE)
    assert network.decode(state, TIMES).shape == FRAMES
    if network.count is not None:
        assert network.count >= 2
    if network.is_sequence:
        assert network.steps >= 2
    if network.has_map:
        assert state.shape[0] == 1
        assert state.shape[2:] == (40, 36)
        assert network.align(state, state).shape == state.shape
        orientation = network.orientation(state)
        assert orientation is None or (state * orientation).shape == state.shape
        reach = network.reach(state)
        assert reach is None or float(reach) >= 0
    if network.has_paths:
        assert state.shape[1] > 3
        assert state.shape[1] % 2 == 1


def _refiner(network: Any) -> None:
    assert network(PICTURE, TIMES, PICTURE[:, None, None].expand(-1, 3, 2, -1, -1, -1)).shape == FRAMES


def _blur_space(network: Any) -> None:
    code = network.encode(PICTURE, PICTURE.roll(2, -1)).mean
    assert code.shape == (1, network.channels, *network.grid(40, 36))
    assert network.reblur(PICTURE, code).shape == PICTURE.shape
    assert network.fitted(code, 40, 36).shape == code.shape
    distance = network.distance(code)
    assert distance is None or distance.shape == (1, *network.grid(40, 36))
    assert network.mean_code is None or network.mean_code.shape == (network.channels,)
    if network.variational:
        assert network.draw(2, 40, 36).shape == (2, network.channels, *network.grid(40, 36))


def _order(network: Any) -> None:
    forward, backward = network(PICTURE, PICTURE.flip(-1)), network(PICTURE.flip(-1), PICTURE)
    assert forward.shape == (1,)
    torch.testing.assert_close(forward, -backward)


def _denoiser(network: Any) -> None:
    assert network.multiple >= 1
    assert network.tile_overlap >= 0
    odd = PICTURE[..., :39, :33]
    assert network(odd, torch.tensor([0.1])).shape == odd.shape
    assert network(odd, torch.full((1, 1, 39, 33), 0.1)).shape == odd.shape


CHECKS: dict[str, Any] = {
    **{"restorer": _restorer, "film": _film, "refiner": _refiner, "blur_space": _blur_space, "order": _order},
    **{"prior": lambda network: None, "critic": lambda network: None, "denoiser": _denoiser},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_keeps_its_protocol(name: str) -> None:
    torch.manual_seed(0)
    keeps_its_protocol(network_class(name)(**SMALL[name]).eval(), name)


def test_every_kind_has_a_protocol_and_every_released_network_a_kind() -> None:
    assert {source.kind for source in NETWORKS.values()} == set(PROTOCOLS)
    assert RELEASED.keys() <= NETWORKS.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_network_keeps_its_protocol(name: str) -> None:
    loaded = load_weights(name)
    assert loaded.card.kind == SHIPPED[name].kind == loaded.network.kind
    keeps_its_protocol(loaded.network, loaded.card.network)


ADDED = '''
"""A restorer from outside of the package."""

from torch import Tensor, nn

from unblur.networks.kinds import RestorerNetwork


class Brighter(nn.Module, RestorerNetwork):
    multiple, tile_overlap = 4, 8

    def __init__(self, by: float = 0.1) -> None:
        super().__init__()
        self.arguments = {"by": by}
        self.by = by
        self.scale = nn.Parameter(nn.init.ones_(nn.Parameter(nn.init.torch.empty(1))))

    def forward(self, blurry: Tensor) -> Tensor:
        return self.scale * blurry + self.by
'''


def test_a_network_is_added_by_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("somebodys_brighter")
    exec(compile(ADDED, "somebodys_brighter.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "somebodys_brighter", module)
    monkeypatch.setitem(NETWORKS, "brighter", Source("somebodys_brighter", "Brighter", "restorer"))
    network = module.Brighter(0.2)
    keeps_its_protocol(network, "brighter")
    file = save_weights(tmp_path / "brighter.safetensors", network, Card("brighter", ""))
    loaded = load_weights(file)
    assert loaded.card.kind == "restorer"
    image = 0.5 * PICTURE[0]
    result = unblur.deblur(image, model=file, device="cpu", dtype="float32", data_consistency=0, check=False)
    torch.testing.assert_close(result.image, (image + 0.2).clamp(0, 1))
    assert len(unblur.frames(image, n=2, model=file, device="cpu", dtype="float32").tensor()) == 2


WHAT_IT_IS = {"hasattr", "isinstance", "issubclass"}
NAMES = {"network", "net", "module", "runner", "loaded"}


def asked_of_networks(tree: ast.AST) -> list[str]:
    """Calls that look at what a network is, in place of what it says."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in ("signature", "inspect.signature"):
            found.append(ast.unparse(node))
        if name in WHAT_IT_IS and node.args:
            asked = ast.unparse(node.args[0])
            types = ast.unparse(node.args[1]) if len(node.args) > 1 else ""
            of_network = asked.split(".")[-1].split("(")[0] in NAMES or any(
                source.name in types.split(".")[-1].split(" | ") for source in NETWORKS.values()
            )
            if of_network and types != "nn.Module":
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "path", sorted(p for p in SRC.rglob("*.py") if p.parent.name not in ("networks", "layers")), ids=lambda p: p.stem
)
def test_nobody_asks_a_network_what_it_is(path: Path) -> None:
    assert asked_of_networks(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_question_would_be_seen() -> None:
    for text in ("hasattr(network, 'decode')", "isinstance(self.runner.network, PathFilm)", "inspect.signature(f)"):
        assert asked_of_networks(ast.parse(text))
    assert inspect.isclass(nn.Module)


def test_a_code_without_a_variance_is_its_mean() -> None:
    mean = torch.randn(2, 3, 1, 1)
    assert Code(mean).sample() is mean


def test_samples_are_normal_around_the_mean() -> None:
    """The deviation is the root of the variance, each entry's own."""
    deviations = torch.tensor([0.1, 1.0, 3.0])
    code = Code(torch.tensor([5.0, -2.0, 0.0]).expand(40_000, 3), deviations.square().log().expand(40_000, 3))
    drawn = code.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), code.mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(0), deviations, rtol=0.02, atol=0)


def test_a_generator_decides() -> None:
    code = Code(torch.zeros(2, 3), torch.zeros(2, 3))
    draw = lambda seed: code.sample(torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    torch.manual_seed(0)
    assert not torch.equal(code.sample(), code.sample())


def test_gradients_reach_mean_and_variance() -> None:
    mean, log_variance = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    Code(mean, log_variance).sample().square().sum().backward()
    assert mean.grad is not None
    assert log_variance.grad is not None
    assert bool((log_variance.grad != 0).all())
