from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unblur.evaluation import blur1 as module
from unblur.evaluation.blur1 import APART, load_transfers
from unblur.evaluation.val1 import KODAK


@pytest.fixture
def stills(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Pictures of squares, and a camera that puts one pixel in place of each, at a place that the seed decides."""
    made = [np.full((500, 500, 3), i, np.uint8) for i in range(len(KODAK))]

    def photo_exposure(still, front, length, layer, seed):  # type: ignore[no-untyped-def]
        assert still is front
        assert layer is False
        frames = torch.full((7, 3, 4, 4), int(still[0, 0, 0]), dtype=torch.uint8)
        frames[3] += 100
        return torch.full((3, 4, 4), seed % 251, dtype=torch.uint8), frames

    monkeypatch.setattr(module, "kodak_middles", lambda root: (made, str(root)))
    monkeypatch.setattr(module, "photo_exposure", photo_exposure)
    return made


def test_two_pictures_share_a_path(stills: list[np.ndarray], tmp_path: Path) -> None:
    classes = load_transfers(tmp_path / "data", tmp_path / "cache")
    assert list(classes) == ["mild", "medium", "strong"]
    for each in classes.values():
        assert len(each) == len(KODAK)
        assert torch.equal(each.blurry, each.truth), "one seed, one path"
        # The frame of the middle; of another picture.
        assert each.sharp[:, 0, 0, 0].tolist() == [100 + i for i in range(24)]
        assert each.other[:, 0, 0, 0].tolist() == [100 + (i + APART) % 24 for i in range(24)]
    assert not torch.equal(classes["mild"].blurry, classes["strong"].blurry)
    assert len(classes["mild"].blurry[:, 0, 0, 0].unique()) > 20


def test_they_are_kept_and_made_again_where_damaged(
    stills: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        module, "_transfer", lambda *arguments, real=module._transfer: made.append(1) or real(*arguments)
    )
    first = load_transfers(tmp_path / "data", tmp_path)
    count = len(made)
    again = load_transfers(tmp_path / "data", tmp_path, limit=2)
    assert len(made) == count
    assert torch.equal(again["medium"].truth, first["medium"].truth[:2])
    (entry,) = tmp_path.glob("blur-1-*.npz")
    entry.write_bytes(entry.read_bytes()[:900])
    load_transfers(tmp_path / "data", tmp_path)
    assert len(made) == 2 * count
    load_transfers(tmp_path / "other", tmp_path)
    assert len(made) == 3 * count, "other pictures, another entry"
