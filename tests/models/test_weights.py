import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from unblur.errors import UnblurError
from unblur.models import registry as table
from unblur.models import weights
from unblur.models.card import Card
from unblur.models.weights import load_weights, save_weights
from unblur.networks.cfmd import CFMD
from unblur.networks.mimo_unet import MimoUNet

CARD = Card("little", "mimo_unet", "A network for tests.", steps=3, score={"psnr": 20.5}, licence="Apache-2.0")


@pytest.fixture
def network() -> MimoUNet:
    torch.manual_seed(0)
    return MimoUNet(channels=4, blocks=1)


@pytest.fixture
def saved(network: MimoUNet, tmp_path: Path) -> Path:
    return save_weights(tmp_path / "little.safetensors", network, CARD)


def _refusal(path: str | Path) -> str:
    with pytest.raises(UnblurError) as caught:
        load_weights(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def _rewrite(path: Path, tensors: dict | None = None, **metadata: str | None) -> None:
    with safe_open(path, "pt") as file:
        old = file.metadata()
    new = {key: value for key, value in (old | metadata).items() if value is not None}
    save_file(load_file(path) if tensors is None else tensors, path, new)


def test_round_trip(network: MimoUNet, saved: Path) -> None:
    loaded = load_weights(saved)
    assert isinstance(loaded.network, MimoUNet)
    assert not loaded.network.training
    assert loaded.network.arguments == network.arguments
    assert replace(loaded.card, sha256=None) == replace(CARD, kind="restorer")
    assert loaded.card.sha256 is not None
    assert len(loaded.card.sha256) == 64
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)


def test_the_card_follows_the_network(tmp_path: Path) -> None:
    network = CFMD(channels=4, blocks=1, mask_range=1.0)
    loaded = load_weights(save_weights(tmp_path / "a.safetensors", network, replace(CARD, network="film")))
    assert loaded.card.network == "cfmd"
    assert loaded.network.arguments == network.arguments


def test_halves_are_read_as_wholes(network: MimoUNet, saved: Path, tmp_path: Path) -> None:
    half = save_weights(tmp_path / "half.safetensors", network, CARD, half=True)
    assert half.stat().st_size < 0.7 * saved.stat().st_size
    for name, tensor in load_weights(half).network.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, network.state_dict()[name], atol=1e-4, rtol=1e-3)


def test_weights_that_share_memory_or_are_strided_are_written(network: MimoUNet, tmp_path: Path) -> None:
    network.to(memory_format=torch.channels_last)
    first, second = network.stages[0][0].first, network.stages[0][0].second
    first.weight = second.weight
    loaded = load_weights(save_weights(tmp_path / "a.safetensors", network, CARD)).network
    assert torch.equal(loaded.stages[0][0].first.weight, second.weight)


def test_shipped_names(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = load_weights(saved).card.sha256
    monkeypatch.setattr(weights, "FILES", saved.parent)
    monkeypatch.setitem(table.SHIPPED, "little", table.Shipped("restorer", saved.name, str(sha256)))
    assert load_weights("little").card.name == "little"
    with pytest.raises(UnblurError, match=r"litle: is neither a model nor a file; did you mean little\?"):
        load_weights("litle")
    monkeypatch.setitem(table.SHIPPED, "little", table.Shipped("restorer", saved.name, 64 * "0"))
    with pytest.raises(UnblurError, match="sha256"):
        load_weights("little")


def test_what_ships_is_there() -> None:
    for name in table.SHIPPED:
        assert load_weights(name).card.name == name


def test_no_such_file(tmp_path: Path) -> None:
    assert "neither a model nor a file" in _refusal(tmp_path / "absent.safetensors")
    assert "is not a file" in _refusal(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 100, 2000, -1])
def test_truncated(saved: Path, length: int) -> None:
    saved.write_bytes(saved.read_bytes()[:length])
    assert ("is empty" if length == 0 else "cut short") in _refusal(saved)


def test_other_formats_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1)}, path)
    assert "unblur models convert" in _refusal(path)


def test_wrong_names_and_shapes(saved: Path) -> None:
    good = load_file(saved)
    name = "skeleton.entry.weight"
    _rewrite(saved, {key: tensor for key, tensor in good.items() if key != name})
    assert f"has no {name}" in _refusal(saved)
    _rewrite(saved, good | {"surplus": torch.zeros(1)})
    assert "holds surplus" in _refusal(saved)
    _rewrite(saved, good | {name: torch.zeros(4, 3, 1, 1)})
    assert f"{name} has shape (4, 3, 1, 1), not (4, 3, 3, 3)" in _refusal(saved)
    _rewrite(saved, good | {name: torch.zeros(4, 3, 3, 3, dtype=torch.int64)})
    assert f"{name} holds torch.int64" in _refusal(saved)
    _rewrite(saved, good)
    load_weights(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite(network: MimoUNet, saved: Path, value: float) -> None:
    tensors = load_file(saved)
    tensors["skeleton.entry.bias"][1] = value
    _rewrite(saved, tensors)
    assert "skeleton.entry.bias holds numbers that are not finite" in _refusal(saved)
    with torch.no_grad():
        network.skeleton.entry.bias[1] = value
    before = saved.read_bytes()
    with pytest.raises(UnblurError, match=r"skeleton\.entry\.bias"):
        save_weights(saved, network, CARD)
    assert saved.read_bytes() == before


def test_too_large_for_halves(network: MimoUNet, tmp_path: Path) -> None:
    with torch.no_grad():
        network.skeleton.entry.bias[0] = 1e6
    with pytest.raises(UnblurError, match="not finite"):
        save_weights(tmp_path / "a.safetensors", network, CARD, half=True)
    assert not list(tmp_path.iterdir())


def test_unknown_network(saved: Path) -> None:
    _rewrite(saved, network="mimo_unnet")
    assert "mimo_unnet" in (message := _refusal(saved))
    assert "did you mean mimo_unet?" in message


@pytest.mark.parametrize(
    "metadata",
    [
        {"arguments": "{"},
        {"arguments": json.dumps({"channels": 4, "colour": 1})},
        {"arguments": json.dumps([4])},
        {"arguments": None},
        {"card": None},
        {"card": json.dumps({"name": "a", "network": "mimo_unet", "sha256": "0"})},
        {"card": json.dumps({"name": "a", "network": "moments"})},
        {"card": json.dumps({"name": 3, "network": "mimo_unet"})},
    ],
)
def test_damaged_descriptions(saved: Path, metadata: dict[str, str | None]) -> None:
    _rewrite(saved, **metadata)
    assert "description is damaged" in _refusal(saved)


def test_a_stranger_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert "does not say which network" in _refusal(tmp_path / "a.safetensors")


def test_only_networks_in_the_table_are_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Linear"):
        save_weights(tmp_path / "a.safetensors", nn.Linear(1, 1), CARD)


def test_the_table_names_classes() -> None:
    for name in table.NETWORKS:
        assert issubclass(table.network_class(name), nn.Module)


def test_cards_survive_any_text() -> None:
    card = replace(CARD, summary='Schärfe "so" \n 鋭', date="2026-11-21")
    assert Card.from_json(card.to_json()) == card
