"""The protocol order-1 on clips that a made-up network reads the brightness of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from brighter import Brighter

from unblur.cli import main
from unblur.evaluation import order_protocol as module
from unblur.evaluation.order_protocol import evaluate_order
from unblur.evaluation.val1 import Exposures


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two clips whose light rises or falls all the time, and three whose narrow pair says the opposite."""
    found: dict[str, Any] = {}

    def clips(root: Path, cache: Path | None, *, limit: int | None, progress: Any) -> dict[str, Exposures]:
        found.update(root=root, cache=cache, limit=limit)
        progress(1, 1)
        steady = torch.tensor([10, 20, 30, 40, 50, 60, 70])
        lost = torch.tensor([10, 20, 50, 40, 30, 60, 70])
        clips = {"mild": torch.stack((steady, steady.flip(0))), "clips": lost.expand(3, -1)}
        frames = {
            name: light.to(torch.uint8)[..., None, None, None].expand(-1, -1, 3, 64, 64)
            for name, light in clips.items()
        }
        return {name: Exposures(f[:, 3], f, ("x",) * len(f), None, "exact") for name, f in frames.items()}

    monkeypatch.setattr(module, "load_val1", clips)
    return found


def test_shares_of_clips(asked: dict[str, Any], tmp_path: Path) -> None:
    report = evaluate_order(Brighter(), "somewhere", device="cpu", limit=3, cache=tmp_path)
    assert asked == {"root": Path("somewhere"), "cache": tmp_path, "limit": 3}
    mild, clips, total = report.rows
    names = ("hit", "con@2", "con@3")
    assert (mild.count, *(mild.values[name] for name in names)) == (2, 1, 1, 1)
    assert mild.values["confidence"] == pytest.approx(1)
    assert (clips.count, *(clips.values[name] for name in names)) == (3, 1, 1, 0)
    assert 0 < clips.values["confidence"] < 1
    assert (total.labels["exposures"], total.count, total.values["con@3"]) == ("all", 5, pytest.approx(0.4))
    assert report.markdown().count("\n") == 2 + len(report.rows)
    assert "5 clips of seven frames" in report.summary()
    assert json.loads(json.dumps(report.as_dict()))["results"][1]["con@3"] == 0


def test_what_means_nothing_to_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "order-1", "--refine"]) == 2
    assert "means nothing to order-1" in capsys.readouterr().err
