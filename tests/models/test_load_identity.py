from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unblur.errors import UnblurError
from unblur.models import feature_networks as identity
from unblur.models.feature_networks import BLOCKS, MODEL, load_features, load_identity
from unblur.networks.arcface import ArcFaceNet
from unblur.networks.dlib_resnet import DlibResNet

THEIRS = {"convolution.weight": "conv/filters", "convolution.bias": "conv/bias", "scale": "scale/weights"}


@pytest.fixture(scope="module")
def arcface() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return ArcFaceNet().state_dict()


def test_arcface_under_any_name(arcface: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({f"module.{name}": tensor for name, tensor in arcface.items()}, tmp_path / "a.bin")
    assert load_identity(tmp_path / "a.bin").measure == "identity distance (ResNet18, no released file)"
    monkeypatch.setattr(identity, "ARCFACE", hashlib.sha256((tmp_path / "a.bin").read_bytes()).hexdigest())
    observer = load_identity(tmp_path / "a.bin")
    assert (observer.measure, observer.length) == ("ArcFace distance (ResNet18, gray 128)", 512)
    assert not observer.network.training
    loaded = observer.network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in arcface.items())
    with pytest.raises(UnblurError, match="whose features are known"):
        load_features(tmp_path / "a.bin")


def packed(network: DlibResNet, path: Path, *, spoil: str | None = None, cut: int = 0) -> Path:
    """As the package has it: large kernels in 8 bits, two shards."""
    listed, stored = [], []
    for name, tensor in network.state_dict().items():
        layer, _, part = name.partition(".")
        if layer == "outro":
            theirs = "fc"
        elif layer == "intro":
            theirs = f"conv32_down/{THEIRS.get(part, 'scale/biases')}"
        else:
            number, which, part = part.split(".", 2)
            theirs = f"{BLOCKS[int(number)]}/conv{1 + (which == 'second')}/{THEIRS.get(part, 'scale/biases')}"
        array = tensor.permute(2, 3, 1, 0).numpy() if tensor.ndim == 4 else tensor.t().numpy()
        entry: dict = {"name": theirs, "shape": list(array.shape), "dtype": "float32"}
        if tensor.ndim > 1:
            low, scale = float(array.min()), float(array.max() - array.min()) / 255
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            array = np.rint((array - low) / scale).astype(np.uint8)
        listed.append(entry)
        stored.append(np.ascontiguousarray(array).tobytes())
    if spoil is not None:
        listed[3]["name"] = spoil
    content = b"".join(stored)[cut:]
    half = len(content) // 2
    shards = {f"{MODEL}-shard1": content[:half], f"{MODEL}-shard2": content[half:]}
    manifest = json.dumps([{"paths": list(shards), "weights": listed}]).encode()
    files = {f"{MODEL}-weights_manifest.json": manifest, **shards, "model.json": b"{", "other.bin": b""}
    with tarfile.open(path, "w:gz", compresslevel=1) as package:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/model/{name}")
            member.size = len(data)
            package.addfile(member, io.BytesIO(data))
    return path


def test_the_package_of_npm(tmp_path: Path) -> None:
    network = DlibResNet()
    observer = load_identity(packed(network, tmp_path / "a.tgz"))
    assert (observer.measure, observer.length) == ("identity distance (ResNet of dlib)", 128)
    for name, tensor in network.state_dict().items():
        loaded = observer.network.state_dict()[name]
        step = float(tensor.max() - tensor.min()) / 255 if tensor.ndim > 1 else 0
        assert (loaded - tensor).abs().max() <= 0.51 * step + 1e-7, name


def test_files_that_are_none(tmp_path: Path, arcface: dict[str, Tensor]) -> None:
    torch.save({"fc5.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save({name: tensor for name, tensor in arcface.items() if name != "bn4.weight"}, tmp_path / "part.pth")
    packed(DlibResNet(), tmp_path / "strange.tgz", spoil="conv96_1/conv1/conv/bias")
    packed(DlibResNet(), tmp_path / "short.tgz", cut=5)
    with tarfile.open(tmp_path / "empty.tgz", "w:gz"):
        pass
    said = {
        "none.pth": "no such file",
        "other.pth": "no network of faces that is known here; name the ResNet of dlib: npm pack @vladmandic/face-api",
        "part.pth": r"has no bn4\.weight",
        "strange.tgz": "holds conv96_1/conv1/conv/bias, which is no part of the network of faces; get it again: npm",
        "short.tgz": "bytes of weights, the shards hold",
        "empty.tgz": f"has no {MODEL}-weights_manifest.json",
    }
    for name, problem in said.items():
        with pytest.raises(UnblurError, match=problem) as caught:
            load_identity(tmp_path / name)
        assert "\n" not in str(caught.value)
