import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.models.convert.released import RELEASED, _renamed, convert
from unblur.models.weights import load_weights
from unblur.networks.blur_kernel_space import BlurKernelSpace
from unblur.networks.cfmd import CFMD
from unblur.networks.deep_image_prior import DeepCodePrior, DeepImagePrior
from unblur.networks.hypercut import HyperCUT
from unblur.networks.jin import Jin
from unblur.networks.mimo_unet import MimoUNet
from unblur.networks.nafnet import NAFNet
from unblur.networks.purohit import Purohit

GOLDEN_NAMES = {"cfmd": "moments"}
GOLDEN = Path(__file__).parents[2] / "networks" / "golden" / "mimo.npz"


def _released(network: nn.Module, name: str) -> dict[str, Tensor]:
    """A small network's weights under the names and with the dimensions of the released one."""
    state, found = network.state_dict(), {}
    with np.load(GOLDEN) as golden:
        lines = [line.decode().split() for line in golden[f"{GOLDEN_NAMES.get(name, name)}.keys"]]
    for key, sides in lines:
        (ours,) = _renamed(Path("x"), {key: torch.empty(0)}, RELEASED[name].rules)
        if ours in state:
            ones = sides.count("x") + 1 - state[ours].ndim
            found[key] = state[ours].reshape(*state[ours].shape, *ones * (1,)).clone()
    assert len(found) == len(state)
    return found


@pytest.fixture
def moments() -> CFMD:
    torch.manual_seed(0)
    return CFMD(channels=4, blocks=2)


@pytest.fixture
def released(moments: CFMD) -> dict[str, Tensor]:
    return _released(moments, "cfmd")


def _refusal(content: object, tmp_path: Path, network: str | None = None) -> str:
    source, out = tmp_path / "a.pth", tmp_path / "out.safetensors"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        torch.save(content, source)
    with pytest.raises(UnblurError) as caught:
        convert(source, network, out=out)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return str(caught.value)


@pytest.mark.parametrize("network", [None, "cfmd"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: OrderedDict(tensors),
        lambda tensors: {"epoch": 3, "model": tensors},
        lambda tensors: {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
        lambda tensors: {"params": {"model": tensors}},
    ],
)
def test_cfmd(wrap, network, moments: CFMD, released: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(wrap(released), tmp_path / "a.pth")
    loaded = load_weights(convert(tmp_path / "a.pth", network, out=tmp_path / "a.safetensors"))
    assert loaded.network.arguments == moments.arguments
    assert loaded.card.network == "cfmd"
    assert "a.pth" in loaded.card.summary
    blurry, times = torch.rand(1, 3, 8, 8), torch.rand(2)
    assert torch.equal(loaded.network(blurry, times), moments(blurry, times))


@pytest.mark.parametrize("zipped", [True, False])
def test_mimo_unet(zipped: bool, tmp_path: Path) -> None:
    """Released as ``.pkl`` files of an old torch, which were no archives yet."""
    network = MimoUNet(channels=8, blocks=1)
    content = {"model": _released(network, "mimo_unet")}
    torch.save(content, tmp_path / "a.pkl", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnblurError, match="unblur models convert"):
        load_weights(tmp_path / "a.pkl")
    loaded = load_weights(convert(tmp_path / "a.pkl", out=tmp_path / "a.safetensors")).network
    assert loaded.arguments == {"channels": 8, "blocks": 1}
    blurry = torch.rand(1, 3, 8, 8)
    assert torch.equal(loaded(blurry), network(blurry))


BLOCK = {
    "near_norm": "norm1",
    "near_widen": "conv1",
    "near_mix": "conv2",
    "attention": "sca.1",
    "near_merge": "conv3",
    "near_share": "beta",
    "own_norm": "norm2",
    "own_widen": "conv4",
    "own_merge": "conv5",
    "own_share": "gamma",
}


def _nafnet() -> tuple[NAFNet, dict[str, Tensor]]:
    """A small one whose blocks are not the identity, and its weights under the names of the released ones."""
    network = NAFNet(4, (1, 1, 2), 2, (2, 1, 1), pool=384)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    parts = {"encoder": "encoders", "decoder": "decoders", "middle": "middle_blks", "down": "downs", "up": "ups"}
    found = {}
    for name, tensor in network.state_dict().items():
        first, *rest = name.split(".")
        rest = [BLOCK.get(word, word) for word in rest]
        if first == "up":
            rest.insert(1, "0")
        found[".".join((parts.get(first, first), *rest))] = tensor
    return network, found


@pytest.mark.parametrize("wrap", [lambda tensors: {"params": tensors}, lambda tensors: tensors])
def test_nafnet(wrap, tmp_path: Path) -> None:
    network, released = _nafnet()
    # Some of those that the released ones hold, as they spell them.
    spelled = {"encoders.2.1.conv1.weight", "middle_blks.0.norm1.bias", "ups.0.0.weight", "downs.1.bias", "intro.bias"}
    assert spelled | {"decoders.0.1.sca.1.bias", "middle_blks.1.beta", "ending.weight"} <= released.keys()
    torch.save(wrap(released), tmp_path / "NAFNet-GoPro-width32.pth")
    loaded = load_weights(convert(tmp_path / "NAFNet-GoPro-width32.pth", out=tmp_path / "a.safetensors"))
    assert loaded.card.name == "NAFNet-GoPro-width32"
    assert loaded.network.arguments == network.arguments
    blurry = torch.rand(1, 3, 16, 24)
    assert torch.equal(loaded.network(blurry), network(blurry))


def test_nafnets_that_are_not_whole(tmp_path: Path) -> None:
    _, released = _nafnet()
    less = {name: tensor for name, tensor in released.items() if not name.startswith("encoders.2.0.")}
    assert "not a whole nafnet" in _refusal(less, tmp_path)
    assert "not a whole nafnet" in _refusal({n: t for n, t in released.items() if n != "intro.weight"}, tmp_path)
    assert "not a whole nafnet" in _refusal(
        {n: t for n, t in released.items() if not n.startswith("decoders.1.")}, tmp_path
    )
    assert "has no middle.0.near_share" in _refusal(
        {n: t for n, t in released.items() if n != "middle_blks.0.beta"}, tmp_path
    )
    assert "down.0.bias has shape (1,)" in _refusal(released | {"downs.0.bias": torch.zeros(1)}, tmp_path)
    assert "are not finite" in _refusal(released | {"intro.bias": torch.full((4,), torch.nan)}, tmp_path)


def test_what_a_shape_asks_for_is_not_allocated(tmp_path: Path) -> None:
    """A file of megabytes whose shapes or numbers speak of a network of terabytes."""
    _, released = _nafnet()
    wide = released | {"intro.weight": torch.zeros(2**17, 3, 1, 1)}
    assert "has shape" in _refusal(wide, tmp_path)
    deep = released | {f"{side}coders.{n}.0.beta": torch.zeros(1) for n in range(3, 70) for side in ("en", "de")}
    assert "not a whole nafnet" in _refusal(deep, tmp_path)


def _spelled(
    network: nn.Module, name: str, keys_of: str, golden_file: str = "blur_space.npz", marked: bool = False
) -> dict[str, Tensor]:
    """A small network's weights under the names of the released one, as far as it has them."""
    state, found = network.state_dict(), {}
    with np.load(GOLDEN.with_name(golden_file)) as golden:
        keys = [line.decode().split()[0] for line in golden[f"{keys_of}.keys"]]
    for key in keys:
        plain = key.split(".", 1)[1] if marked else key
        (ours,) = _renamed(Path("x"), {plain: torch.empty(0)}, RELEASED[name].rules)
        if ours in state:
            found[key] = state[ours].clone()
    assert len(found) == len(state)
    return found


@pytest.mark.parametrize("variational", [False, True])
def test_blur_space(variational: bool, tmp_path: Path) -> None:
    arguments = {"features": 4, "front_blocks": 2, "back_blocks": 3, "channels": 8, "encoder_blocks": 1}
    network = BlurKernelSpace(**arguments, variational=variational, code_activation="relu", spread="sigma")
    released = _spelled(network, "blur_kernel_space", "blur_space_wvae")
    torch.save({f"module.{name}": tensor for name, tensor in released.items()}, tmp_path / "a.pth")
    loaded = load_weights(convert(tmp_path / "a.pth", out=tmp_path / "a.safetensors"))
    assert loaded.card.network == "blur_kernel_space"
    assert loaded.network.arguments == network.arguments
    sharp, blurry = torch.rand(2, 1, 3, 40, 50)
    assert torch.equal(loaded.network.encode(sharp, blurry).mean, network.encode(sharp, blurry).mean)
    less = {name: tensor for name, tensor in released.items() if "adapter.model.down" not in name}
    assert "has no unet.down.0.weight" in _refusal(less, tmp_path)
    assert "not a whole blur_kernel_space" in _refusal(
        {name: tensor for name, tensor in released.items() if ".up." not in name}, tmp_path
    )


def test_deep_priors(tmp_path: Path) -> None:
    for name, network in (
        ("image_prior", DeepImagePrior(2, 8, 4, padding="zeros")),
        ("code_prior", DeepCodePrior(3, 4, 8, 2)),
    ):
        torch.save(_spelled(network, f"deep_{name}", name), tmp_path / "a.pth")
        loaded = load_weights(convert(tmp_path / "a.pth", out=tmp_path / "a.safetensors"))
        assert loaded.card.network == f"deep_{name}"
        assert loaded.network.arguments == network.arguments
        noise = torch.rand(1, network.inputs, 64, 64)
        assert torch.equal(loaded.network(noise), network.eval()(noise))


def test_cascade_of_four_files(tmp_path: Path) -> None:
    network = Jin(8, 4, 8, 4)
    marked = _spelled(network, "jin", "jin", "frame_nets.npz", marked=True)
    # As the torch of that time wrote them.
    marked |= {
        "f17.generateFrame1_7.norm3.running_mean": torch.rand(4),
        "center.norm3.num_batches_tracked": torch.ones(()),
    }
    (tmp_path / "jin").mkdir()
    for mark in ("center", "f35", "f26", "f17"):
        part = {name.split(".", 1)[1]: tensor for name, tensor in marked.items() if name.startswith(f"{mark}.")}
        torch.save({"state_dict_G": part}, tmp_path / "jin" / f"{mark}.pth")
    loaded = load_weights(convert(tmp_path / "jin", out=tmp_path / "a.safetensors"))
    assert loaded.card.network == "jin"
    assert loaded.network.arguments == network.arguments
    blurry = torch.rand(1, 3, 20, 30)
    assert torch.equal(loaded.network(blurry), network(blurry))
    for source, said in ((tmp_path / "jin" / "center.pth", "four files"), (tmp_path / "jin", "as another file beside")):
        with pytest.raises(UnblurError, match=said):
            convert(source, out=tmp_path / "b.safetensors")
        torch.save(part, tmp_path / "jin" / "again.pth")


def test_recurrent(tmp_path: Path) -> None:
    network = Purohit(4, 6, (2, 3, 4), released=True)
    torch.save(_spelled(network, "purohit", "purohit", "frame_nets.npz"), tmp_path / "a.pth")
    loaded = load_weights(convert(tmp_path / "a.pth", out=tmp_path / "a.safetensors")).network
    assert loaded.arguments == network.arguments
    blurry, middle = torch.rand(2, 1, 3, 20, 30)
    assert torch.equal(loaded(blurry, middle), network(blurry, middle))


class _Bomb:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_code_is_not_run(released: dict[str, Tensor], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    message = _refusal(released | {"bomb": _Bomb(f"touch {mark}")}, tmp_path)
    assert "system" in message
    assert "could run code" in message
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut", b"\x80\x02"])
def test_damaged(content: bytes, tmp_path: Path) -> None:
    assert ("is empty" if not content else "is damaged") in _refusal(content, tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(share: float, released: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(released, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    assert "is damaged" in _refusal(whole[: int(share * len(whole))], tmp_path)


def test_no_such_file(tmp_path: Path) -> None:
    for source in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(UnblurError, match=r"no such file|is not a file"):
            convert(source, out=tmp_path / "out.safetensors")


def test_missing_surplus_and_misshapen(released: dict[str, Tensor], tmp_path: Path) -> None:
    name = "Encoder.1.layers.0.conv2.conv.weight"
    less = {key: tensor for key, tensor in released.items() if key != name}
    assert "has no stages.1.0.fuse.weight" in _refusal(less, tmp_path)
    assert "holds surplus" in _refusal(released | {"surplus": torch.zeros(1)}, tmp_path)
    assert "stages.1.0.fuse.weight has shape (1,)" in _refusal(released | {name: torch.zeros(1)}, tmp_path)
    assert "are not finite" in _refusal(released | {name: released[name] * float("nan")}, tmp_path)
    assert "not a whole cfmd" in _refusal(released | {"feat_extract.0.main.0.weight": torch.zeros(())}, tmp_path)
    huge = {"Encoder.0.layers.999999999.conv1.main.0.weight": torch.zeros(1)}
    assert "not a whole cfmd" in _refusal(released | huge, tmp_path)


def test_other_content(released: dict[str, Tensor], tmp_path: Path) -> None:
    assert "of no network that can be converted" in _refusal({"fc.weight": torch.zeros(1)}, tmp_path)
    assert "no dictionary" in _refusal([torch.zeros(1)], tmp_path)
    assert "no dictionary" in _refusal({"model": {}}, tmp_path)
    assert "'epoch' is not a tensor" in _refusal({"epoch": 3}, tmp_path)
    assert "did you mean cfmd?" in _refusal(released, tmp_path, "cfm")
    assert "is not a mimo_unet" in _refusal(released, tmp_path, "mimo_unet")


def _hypercut() -> dict[str, Tensor]:
    """A small order network's weights under the names of the released one."""
    found = {"anything": torch.randn(7)}
    state = HyperCUT(4, 6, 1, form="released").state_dict()
    for name, tensor in state.items():
        words = name.split(".")
        if words[:2] == ["encoder", "entry"]:
            found[f"H.model.1.{words[-1]}"] = tensor
        elif words[:2] == ["encoder", "down"]:
            found[f"H.model.{3 + 2 * int(words[2])}.{words[-1]}"] = tensor
        elif words[:2] == ["encoder", "blocks"]:
            place = 1 if words[3] == "first" else 4
            found[f"H.model.{13 + int(words[2])}.conv_block.{place}.{words[-1]}"] = tensor
    return found


def test_order_networks_that_are_not_whole(tmp_path: Path) -> None:
    released = _hypercut()
    torch.save(released, tmp_path / "a.pth")
    assert load_weights(convert(tmp_path / "a.pth", out=tmp_path / "a.safetensors")).card.network == "hypercut"
    entry = released["H.model.1.weight"]
    for broken in (
        released | {"other": torch.randn(7)},
        {name: tensor for name, tensor in released.items() if name != "anything"},
        {name: tensor for name, tensor in released.items() if name != "H.model.1.bias"},
        released | {"H.model.1.weight": entry[:, :5]},
        released | {"H.model.1.weight": entry[0]},
        released | {"H.model.1.bias": torch.zeros(3)},
    ):
        assert "not a whole hypercut" in _refusal(broken, tmp_path)


def test_a_checkpoint_is_not_written_over(tmp_path: Path) -> None:
    torch.save(_hypercut(), tmp_path / "a.pth")
    before = (tmp_path / "a.pth").read_bytes()
    with pytest.raises(UnblurError, match=r"a\.pth: is no name for a file of ours; let it end in \.safetensors"):
        convert(tmp_path / "a.pth", out=tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == before
