from __future__ import annotations

import io
import pickle
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from unblur.errors import UnblurError
from unblur.models import feature_networks as mtcnn
from unblur.models.feature_networks import MTCNN_FILES, load_face_cascade
from unblur.networks.mtcnn import MTCNN

PADDING = b"\x03\xff\xff\xff"


class NumpyArrayWrapper:
    """What describes an array in these files; the numbers stand behind it."""

    def __init__(self, array):
        self.state = {"subclass": np.ndarray, "shape": array.shape, "order": "C", "dtype": array.dtype}


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"


class Writer(pickle._Pickler):
    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, np.ndarray):
            super().save(obj, save_persistent_id)
            return
        wrapper = NumpyArrayWrapper.__new__(NumpyArrayWrapper)
        wrapper.__dict__.update(NumpyArrayWrapper(obj).state)
        super().save(wrapper, save_persistent_id)
        self.framer.commit_frame(force=True)
        self.framer.file_write(PADDING + obj.tobytes())


def packed(arrays) -> bytes:
    file = io.BytesIO()
    Writer(file, protocol=4).dump(arrays)
    return file.getvalue()


def as_published(network: nn.Module) -> list[np.ndarray]:
    """The arrays of a network, layer by layer, in the order of dimensions that the published files have."""
    arrays = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            arrays += [layer.weight.permute(2, 3, 1, 0), layer.bias]
        elif isinstance(layer, nn.Linear):
            weight = layer.weight
            if name == "body.dense":
                weight = weight.unflatten(1, (-1, 3, 3)).permute(0, 3, 2, 1).flatten(1)
            arrays += [weight.T, layer.bias]
        elif isinstance(layer, nn.PReLU):
            arrays.append(layer.weight[None, None] if "body" not in name else layer.weight)
    return [np.ascontiguousarray(array.detach().numpy()) for array in arrays]


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder of weights as the package has them, not compressed, and the network that they are of."""
    joblib = ModuleType("joblib.numpy_pickle")
    joblib.NumpyArrayWrapper = NumpyArrayWrapper
    monkeypatch.setitem(sys.modules, "joblib", ModuleType("joblib"))
    monkeypatch.setitem(sys.modules, "joblib.numpy_pickle", joblib)
    lz4 = ModuleType("lz4")
    lz4.frame = ModuleType("lz4.frame")
    lz4.frame.decompress = lambda data: data
    monkeypatch.setitem(sys.modules, "lz4", lz4)
    monkeypatch.setitem(sys.modules, "lz4.frame", lz4.frame)
    torch.manual_seed(1)
    network = MTCNN()
    for part, file in MTCNN_FILES.items():
        (tmp_path / file).write_bytes(packed(as_published(getattr(network, part))))
    return tmp_path, network


def test_every_array_finds_its_place(published):
    folder, network = published
    loaded = load_face_cascade(folder)
    for (name, wanted), found in zip(network.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(wanted, found), name
    assert not any(p.requires_grad for p in loaded.parameters())


class Evil:
    def __reduce__(self):
        return exit, (3,)


@pytest.mark.parametrize("content", [b"", b"nothing", pickle.dumps([Evil()]), pickle.dumps([])])
def test_other_files_are_refused_and_never_run(published, content):
    folder, _ = published
    (folder / "rnet.lz4").write_bytes(content)
    with pytest.raises(UnblurError, match=r"rnet\.lz4: holds no weights of MTCNN"):
        load_face_cascade(folder)


def test_arrays_cut_short_or_too_many(published):
    folder, network = published
    whole = (folder / "onet.lz4").read_bytes()
    (folder / "onet.lz4").write_bytes(whole[:-100])
    with pytest.raises(UnblurError, match="holds no weights"):
        load_face_cascade(folder)
    (folder / "onet.lz4").write_bytes(packed([*as_published(network.describer), np.zeros(3, np.float32)]))
    with pytest.raises(UnblurError, match="holds no weights"):
        load_face_cascade(folder)
    (folder / "onet.lz4").unlink()
    with pytest.raises(UnblurError, match="cannot be read"):
        load_face_cascade(folder)


@pytest.mark.parametrize("missing", ["mtcnn", "lz4"])
def test_without_the_extra_one_line_names_it(monkeypatch, tmp_path, missing):
    there = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(mtcnn, "find_spec", lambda name: None if name == missing else there)
    with pytest.raises(UnblurError, match=r"extra faces.*pip install 'unblur\[faces\]'") as caught:
        load_face_cascade()
    assert "\n" not in str(caught.value)
