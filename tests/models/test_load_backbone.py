import pytest
import torch
from safetensors.torch import save_file

from unblur.errors import UnblurError
from unblur.losses.perceptual import alexnet
from unblur.models.feature_networks import load_backbone


def test_checkpoints_of_torchvision(tmp_path) -> None:
    network = alexnet()
    tensors = network.state_dict() | {"classifier.6.weight": torch.zeros(3, 4)}
    torch.save(tensors, tmp_path / "a.pth")
    save_file(tensors, tmp_path / "a.safetensors")
    image = torch.rand(1, 3, 64, 64)
    for name in ("a.pth", "a.safetensors"):
        loaded = load_backbone(tmp_path / name)
        assert not any(parameter.requires_grad for parameter in loaded.parameters())
        assert torch.equal(loaded(image)[-1], network(image)[-1])


def test_files_that_are_none(tmp_path) -> None:
    (tmp_path / "b.safetensors").write_bytes(b"no")
    torch.save({"features.0.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "c.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "d.pth")
    said = {
        "a.pth": "no such file",
        "b.safetensors": "damaged",
        "c.pth": "neither a VGG-19",
        "d.pth": "has no features",
    }
    for name, problem in said.items():
        with pytest.raises(UnblurError, match=problem) as caught:
            load_backbone(tmp_path / name)
        assert "\n" not in str(caught.value)
