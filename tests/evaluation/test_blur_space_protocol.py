"""The protocol blur-1 on pictures made up here, with a space whose blur is a loss of brightness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unblur.cli import main
from unblur.evaluation import blur_space_protocol as module
from unblur.evaluation.blur_space_protocol import APART, Transfers, evaluate_space, load_transfers
from unblur.evaluation.val1 import KODAK, Exposures
from unblur.networks.kinds import BlurSpaceNetwork, Code


class Dimming(nn.Module, BlurSpaceNetwork):
    """Its code is by how much a picture is darker."""

    channels, cell, variational = 1, 128, False

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def encode(self, sharp: Tensor, blurry: Tensor) -> Code:
        return Code((blurry - sharp).mean((1, 2, 3), keepdim=True))

    def reblur(self, sharp: Tensor, code: Tensor) -> Tensor:
        return sharp + code

    def fitted(self, code: Tensor, height: int, width: int) -> Tensor:
        return code


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the protocol's data were asked for; readings are exact, transfers are 8 and 40 levels off."""
    found: dict[str, Any] = {}

    def readings(root: Path, cache: Path | None, *, limit: int | None, progress: Any) -> dict[str, Exposures]:
        found.update(root=root, cache=cache, limit=limit)
        progress(1, 1)
        frames = torch.full((3, 7, 3, 16, 16), 100, dtype=torch.uint8)
        frames[:, 3] = 120  # the middle
        return {"mild": Exposures(frames[:, 3] - 20, frames, ("x",) * 3, None, "exact")}

    def transfers(root: Path, cache: Path | None, *, limit: int | None, progress: Any) -> dict[str, Transfers]:
        sharp = torch.full((1, 3, 16, 16), 90, dtype=torch.uint8)
        near = Transfers(sharp, sharp - 50, sharp, sharp - 58)
        far = Transfers(*(torch.cat((part, part)) for part in (sharp, sharp - 50, sharp, sharp - 90)))
        return {"mild": near, "strong": far}

    monkeypatch.setattr(module, "load_val1", readings)
    monkeypatch.setattr(module, "load_transfers", transfers)
    return found


def test_readings_and_transfers(asked: dict[str, Any], tmp_path: Path) -> None:
    report = evaluate_space(Dimming(), "somewhere", device="cpu", limit=3, cache=tmp_path)
    assert asked == {"root": Path("somewhere"), "cache": tmp_path, "limit": 3}
    named = [(row.labels["task"], row.labels["exposures"], row.count) for row in report.rows]
    assert named == [
        *(("reading", "mild", 3), ("reading", "all", 3)),
        *(("transfer", "mild", 1), ("transfer", "strong", 2), ("transfer", "all", 3)),
    ]
    levels = lambda off: pytest.approx(-20 * torch.tensor(off / 255).log10().item(), abs=0.01)  # noqa: E731
    # Of the middle of the exposure: the other frames are as dark as the mean.
    values = {(row.labels["task"], row.labels["exposures"]): row.values for row in report.rows}
    assert values["reading", "all"]["psnr_sharp"] == levels(20)
    assert values["reading", "all"]["psnr"] > 90
    for name, before, after in (("mild", 58, 8), ("strong", 90, 40)):
        row = values["transfer", name]
        assert (row["psnr_sharp"], row["psnr"]) == (levels(before), levels(after))
    total = values["transfer", "all"]
    # Every exposure counts the same.
    expected = (values["transfer", "mild"]["psnr"] + 2 * values["transfer", "strong"]["psnr"]) / 3
    assert total["psnr"] == pytest.approx(expected)
    assert (values["reading", "all"]["reached_36"], total["reached_36"]) == (1, 0)
    assert report.markdown().count("\n") == 2 + len(report.rows)
    assert "3 readings, 3 transfers" in report.summary()
    assert json.loads(json.dumps(report.as_dict()))["results"][1]["psnr"] == values["reading", "all"]["psnr"]


@pytest.mark.parametrize("more", [["--refine"], ["--dtype", "bfloat16"], ["--data-consistency", "0"]])
def test_what_means_nothing_to_it_is_refused(capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert main(["eval", "blur-1", *more]) == 2
    assert "means nothing to blur-1" in capsys.readouterr().err


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
