from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unblur.data.val1 import Exposures
from unblur.errors import UnblurError
from unblur.metrics.fidelity import psnr
from unblur.metrics.sequence import best_direction, directed
from unblur.networks.frame_cascade import FrameCascade
from unblur.networks.frame_recurrent import FrameRecurrent
from unblur.tasks import evaluate as module
from unblur.tasks.evaluate import ALL, INPUT, evaluate


def exposures(count: int, verified: Any = "exact") -> Exposures:
    generator = torch.Generator().manual_seed(count)
    frames = torch.randint(0, 255, (count, 7, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Exposures(frames.float().mean(1).to(torch.uint8), frames, ("x",) * count, None, verified)


@pytest.fixture(autouse=True)
def protocol(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    asked: dict[str, Any] = {}

    def load(root: Path, cache: Path | None, *, limit: int | None, progress: Any) -> dict[str, Exposures]:
        asked.update(root=root, cache=cache, limit=limit)
        progress(1, 1)
        return {"mild": exposures(1), "strong": exposures(3, "close")}

    monkeypatch.setattr(module, "PROTOCOLS", {"val-1": load})
    return asked


class Film(nn.Module):
    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        return blurry[:, None] * (0.5 + times).view(-1, 1, 1, 1)


class Single(nn.Module):
    def forward(self, blurry: Tensor) -> list[Tensor]:
        return [blurry, blurry * 0.9]


def test_a_table_for_people_and_machines(protocol: dict[str, Any], tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    report = evaluate(
        Film(),
        data="somewhere",
        device="cpu",
        dtype="float32",
        limit=3,
        cache=tmp_path,
        progress=lambda *s: steps.append(s),
    )
    assert protocol == {"root": Path("somewhere"), "cache": tmp_path, "limit": 3}
    assert steps == [("building val-1", 1, 1), ("measuring mild", 1, 1), ("measuring strong", 3, 3)]
    assert [(row.exposures, row.of, row.count) for row in report.rows] == [
        ("mild", INPUT, 1),
        ("mild", "Film", 1),
        ("strong", INPUT, 3),
        ("strong", "Film", 3),
        (ALL, INPUT, 4),
        (ALL, "Film", 4),
    ]
    loaded = json.loads(json.dumps(report.as_dict()))
    assert loaded["data"] == {"mild": "exact", "strong": "close"}
    assert loaded["results"][1]["psnr@0.5"] == report.row("mild").values["psnr@0.5"]
    lines = report.markdown().splitlines()
    assert len(lines) == 8
    assert len({line.count("|") for line in lines}) == 1
    assert f"{report.row().values['psnr']:.2f}" in lines[-1]
    assert report.table().row_count == 6
    assert "3 of each class only" in report.summary()
    assert "published" not in report.summary()


def test_every_exposure_counts_the_same() -> None:
    report = evaluate(Film(), device="cpu", dtype="float32")
    mild, strong, both = (report.row(name).values["psnr"] for name in ("mild", "strong", ALL))
    assert mild is not None
    assert strong is not None
    assert both == pytest.approx((mild + 3 * strong) / 4)
    assert report.row(of_input=True).values["reblur"] is None


def test_of_networks_for_single_pictures_the_films_are_measured(shipped: None, film_network: nn.Module) -> None:
    def film(blurry: Tensor, times: Tensor) -> Tensor:
        return film_network.decode(film_network.orient(film_network.follow(blurry, blurry * 0.9)), times)

    with_one = evaluate(Single(), device="cpu", dtype="float32", consistency=0).row().values
    consistent = evaluate(Single(), device="cpu", dtype="float32").row().values
    assert consistent["reblur"] > with_one["reblur"] + 1

    class Whole(nn.Module):
        forward = staticmethod(film)

    assert with_one == evaluate(Whole(), device="cpu", dtype="float32").row().values
    assert with_one["psnr@0"] != with_one["psnr@0.5"]


def test_networks_of_seven_frames_are_measured(shipped: None, film_network: Any) -> None:
    torch.manual_seed(0)
    cascade, recurrent = FrameCascade(8, 4, 8, 4).eval(), FrameRecurrent(4, 6, (2, 3, 4)).eval()
    truth = next(exposures(3).batches(3))
    with torch.inference_mode():
        sharp = film_network.restorer(truth["blurry"])
        for network, pictures in ((cascade, ()), (recurrent, (sharp,))):
            report = evaluate(network, device="cpu", dtype="float32", consistency=0)
            frames = network(truth["blurry"], *pictures).clamp(0, 1)
            better = directed(frames, best_direction(frames, truth["frames"]))
            expected = psnr(better, truth["frames"]).mean()
            (row,) = [r for r in report.rows if r.exposures == "strong" and r.of == type(network).__name__]
            assert row.values["psnr"] == pytest.approx(float(expected), abs=1e-3)


def test_refined_films_are_measured(monkeypatch: pytest.MonkeyPatch, film_network: nn.Module) -> None:
    options = {"data": "x", "device": "cpu", "dtype": "float32", "consistency": 0}
    plain = evaluate(film_network, **options)
    halved = lambda blurry, state: torch.cat((state[:, :3], 0.5 * state[:, 3:]), 1)  # noqa: E731
    monkeypatch.setattr(module, "refined", halved)
    report = evaluate(film_network, refine=True, **options)
    assert (plain.model["refined"], report.model["refined"]) == (False, True)
    assert report.row().values["psnr@0.5"] == pytest.approx(plain.row().values["psnr@0.5"], abs=1e-3)
    assert report.row().values["psnr@0"] != pytest.approx(plain.row().values["psnr@0"], abs=1e-3)
    with pytest.raises(UnblurError, match="--refine"):
        evaluate(Film(), refine=True, **options)


def test_foreign_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROTOCOLS", {"val-1": lambda *a, **k: {"mild": exposures(1, "no")}})
    assert "not on the published data" in evaluate(Film(), device="cpu").summary()


def test_refusals() -> None:
    with pytest.raises(UnblurError, match="no such protocol; use val-1"):
        evaluate(Film(), "val-7")
