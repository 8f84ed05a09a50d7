from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.losses.perceptual import Lpips, alexnet
from unblur.models import feature_networks as features
from unblur.models.feature_networks import load_features
from unblur.networks.inception import Inception


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """As released: without `body.`."""
    torch.manual_seed(0)
    state = Inception().state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return {name.removeprefix("body."): tensor for name, tensor in state.items()}


def head(classes: int) -> dict[str, Tensor]:
    return {"fc.weight": torch.zeros(classes, 2048), "fc.bias": torch.zeros(classes)}


@pytest.fixture(scope="module")
def google(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Old checkpoints have no counts of batches."""
    path = tmp_path_factory.mktemp("inception") / "any-name.pth"
    old = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    torch.save(old | head(1008), path)
    return path


def test_fid_is_what_is_the_released_file_alone(
    google: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_features(google)
    assert other.measure == "Frechet distance, Inception v3 of 1008 classes (not the released file)"
    monkeypatch.setattr(features, "FID", hashlib.sha256(google.read_bytes()).hexdigest())
    observer = load_features(google)
    assert (observer.measure, observer.length) == ("FID", 2048)
    assert observer.network.arguments == {"of": "fid", "resize": "corners"}
    assert load_features(google, "pytorch-fid").measure == "FID (as pytorch-fid)"
    assert load_features(google, "pytorch-fid").network.arguments == {"of": "fid", "resize": "centres"}
    assert not observer.network.training
    assert not any(parameter.requires_grad for parameter in observer.network.parameters())
    loaded = observer.network.state_dict()
    assert all(torch.equal(loaded[f"body.{name}"], tensor) for name, tensor in tensors.items())


def test_that_of_torchvision_is_another(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "pt_inception-2015-12-05-6726825d.safetensors"
    save_file(tensors | head(1000) | {"AuxLogits.fc.weight": torch.zeros(2)}, path)
    observer = load_features(path)
    assert observer.measure == "Frechet distance, Inception v3 of torchvision (not a released file)"
    assert observer.network.arguments == {"of": "torchvision", "resize": "centres"}
    spoilt = {name: tensor for name, tensor in tensors.items() if "Mixed_5b" not in name}
    save_file(spoilt | head(1000), path)
    with pytest.raises(UnblurError, match=r"has no body\.Mixed_5b"):
        load_features(path)


def test_the_alexnet_of_lpips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lpips = Lpips(alexnet())
    asked: list[Path] = []
    monkeypatch.setattr(features, "load_lpips", lambda path: asked.append(path) or lpips)
    (tmp_path / "package").write_bytes(gzip.compress(b"anything"))
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps({}))
    for name in ("package", "alexnet.ckpt"):
        observer = load_features(tmp_path / name)
        assert (observer.measure, observer.length) == ("Frechet distance, AlexNet of LPIPS", 256)
    assert [path.name for path in asked] == ["package", "alexnet.ckpt"]
    picture = torch.rand(2, 3, 64, 80)
    normalised = (picture - lpips.centre) / lpips.spread
    assert torch.allclose(observer.network(picture), lpips.backbone(normalised)[-1].mean((2, 3)))


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "resnet.pth")
    torch.save({"Mixed_7c.branch_pool.conv.weight": torch.zeros(3), **head(7)}, tmp_path / "seven.pth")
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    torch.save({"a": Evil()}, tmp_path / "evil.ckpt", _use_new_zipfile_serialization=False)
    layer = nn.Linear(2, 2)
    torch.export.save(torch.export.export(layer, (torch.zeros(1, 2),)), tmp_path / "a.pt2")
    (tmp_path / "renamed.pth").write_bytes((tmp_path / "a.pt2").read_bytes())
    torch.jit.save(torch.jit.trace(layer, torch.zeros(1, 2)), tmp_path / "script.pt")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as package:
        package.addfile(tarfile.TarInfo("a"), io.BytesIO())
    said = {
        "none.pth": "no such file",
        "resnet.pth": "holds no network whose features are known here; name pt_inception-2015-12-05-6726825d.pth",
        "seven.pth": "holds no network whose features are known here",
        "evil.pth": "could run code",
        "evil.ckpt": "damaged",
        "a.pt2": r"is a program of torch\.export, and loading it can run code; name pt_inception",
        "renamed.pth": r"is a program of torch\.export",
        "script.pt": "is a program of TorchScript",
        "other.tar.gz": "holds no weights of LPIPS",
    }
    for name, problem in said.items():
        with pytest.raises(UnblurError, match=problem) as caught:
            load_features(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "touched").exists()
