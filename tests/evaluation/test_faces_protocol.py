import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from loaded_networks import SimpleFilm
from torch import nn
from written_faces import write_faces

from unblur.cli import main
from unblur.data.metadata_exposures import load_exposures
from unblur.errors import UnblurError
from unblur.evaluation import options as options_module
from unblur.evaluation.faces_protocol import _with_metrics, evaluate_faces
from unblur.evaluation.film_protocol import evaluate
from unblur.evaluation.film_scores import DISTANCES
from unblur.evaluation.options import FRECHET, METRICS, EvaluationOptions, MetricSet
from unblur.evaluation.report import INPUT
from unblur.losses.perceptual import Lpips, alexnet
from unblur.metrics.frechet import Moments, file_features, frechet_distance
from unblur.models.card import Card
from unblur.models.feature_networks import FeatureExtractor
from unblur.models.weights import save_weights
from unblur.networks.jin import Jin

ORDERS = [(2, 1, 0), (0, 1, 2), (1, 0, 2), (4, 2, 0, 1, 3), (0, 3, 2, 1, 4)]
CPU = {"device": "cpu", "dtype": "float32"}
PUBLISHED = Path(__file__).parents[2] / "research" / "published" / "faces.json"


class ByRank(SimpleFilm):
    """Makes the true frames in the order of their ranks, or backwards."""

    def __init__(self, slope=0.4):
        super().__init__()
        self.slope = slope

    def forward(self, blurry, times):
        return blurry[:, None] + self.slope * (times - 0.5).view(-1, 1, 1, 1)


@pytest.fixture
def faces(tmp_path):
    return write_faces(tmp_path / "faces", ORDERS)


def test_films_and_centres_in_both_orders(faces):
    report = evaluate_faces([ByRank(), ByRank(-0.4)], faces, **CPU)
    there, back = (str(one["name"]) for one in report.metadata["models"])
    assert (there, back) == ("ByRank", "ByRank (2)")
    assert report.film(there, 5, "rank").values["psnr"] > 50
    # What runs backwards is as good in its better direction, and only there.
    backwards = report.film(back, 5, "rank").values
    assert backwards["psnr"] < 30 < 50 < backwards["p_psnr"]
    # Of three exposures of three frames one is sorted as in time, and one the other way round.
    in_time = report.film(there, 3, "time").values
    assert in_time["psnr"] < in_time["p_psnr"] < report.film(there, 3, "rank").values["psnr"]
    assert report.centre(there, "rank").values["psnr"] > report.centre(there, "time").values["psnr"] + 10
    assert report.centre(there, "rank").count == 5
    assert report.film(INPUT, 3).values.keys() == {"psnr", "ssim"}


def test_all_lengths_together_are_weighted_by_their_frames(faces):
    report = evaluate_faces(ByRank(), faces, **CPU)
    for of, order in ((INPUT, None), ("ByRank", "time")):
        three, five, whole = (report.film(of, count, order) for count in (3, 5, None))
        assert (three.count, five.count, whole.count) == (3, 2, 5)
        for name, value in whole.values.items():
            assert value == pytest.approx((9 * three.values[name] + 10 * five.values[name]) / 19)


def test_by_rank_it_is_what_eval_says_of_the_metadata(faces):
    network = ByRank(0.1)
    ours = evaluate_faces(network, faces, **CPU).film("ByRank", 5, "rank").values
    options = EvaluationOptions(["psnr", "ssim"])
    other = evaluate(network, str(faces / "frames-05" / "metadata.json"), options=options, **CPU)
    for metric in ("psnr", "ssim"):
        assert ours[metric] == pytest.approx(
            other.scores["frames"].row(metric=metric, of="ByRank", direction="made").values["mean"], abs=1e-4
        )
        assert ours[f"p_{metric}"] == pytest.approx(
            other.scores["frames"].row(metric=metric, of="ByRank", direction="clip").values["mean"], abs=1e-4
        )


def test_a_network_of_seven_frames_makes_films_of_seven_alone(tmp_path):
    faces = write_faces(tmp_path, [(0, 1, 2), tuple(range(7))], size=20)
    report = evaluate_faces(Jin(8, 4, 8, 4), faces, **CPU)
    assert [row.labels["frames"] for row in report.scores["films"].rows if row.labels["of"] != INPUT] == [7, 7]
    assert report.centre("Jin").count == 2


class Toy(nn.Module):
    """Sees the light of three rows."""

    length = 3

    def forward(self, pictures):
        return pictures.mean(1)[:, :3].mean(-1)


class WithToy(EvaluationOptions):
    """Asks for a Frechet distance, and a metric of which less is better."""

    def load(self, device, cache=None):
        made = super().load(device, cache)
        made.metrics["lpips"] = lambda image, truth: (image - truth).abs().mean((-3, -2, -1))
        names = {**made.names, "lpips": "LPIPS", FRECHET: "Frechet distance, Toy"}
        return MetricSet(made.metrics, names, FeatureExtractor(Toy(), names[FRECHET]), ["a note"])


def test_what_is_measured_where_no_metric_is_named():
    assert _with_metrics(EvaluationOptions()).metrics == ("psnr", "ssim")
    assert _with_metrics(EvaluationOptions(lpips="a")).metrics == ("psnr", "ssim", "lpips", FRECHET)
    assert _with_metrics(EvaluationOptions(features="a", identity="b")).metrics == ("psnr", "ssim", "identity", FRECHET)
    assert _with_metrics(EvaluationOptions(["ssim"], lpips="a")).metrics == ("psnr", "ssim")


class Rows(nn.Module):
    """The light of four parts of a picture, as an embedding."""

    length = 4

    def forward(self, pictures):
        assert pictures.ndim == 4
        return nn.functional.adaptive_avg_pool2d(pictures.mean(1, keepdim=True), 2).flatten(1) - 0.3


def test_every_metric(faces, monkeypatch):
    lpips = Lpips(alexnet())
    nn.init.constant_(lpips.heads[0], 1.0)
    monkeypatch.setattr(options_module, "load_lpips", lambda path: lpips)
    monkeypatch.setattr(options_module, "load_identity", lambda path: FeatureExtractor(Rows(), "identity distance"))
    monkeypatch.setattr(options_module, "load_features", lambda path, like: FeatureExtractor(Rows(), "FID"))
    options = EvaluationOptions(METRICS, lpips="l", identity="i", features="f")
    report = evaluate_faces(ByRank(0.1), faces, options=options, **CPU)
    assert set(report.centre("ByRank").values) == set(METRICS)
    film = report.film("ByRank", 5, "rank").values
    assert set(film) == {*METRICS, *(f"p_{name}" for name in METRICS if name != FRECHET)}
    other = evaluate(ByRank(0.1), str(faces / "frames-05" / "metadata.json"), options=options, **CPU)
    for metric in film.keys() & set(METRICS) - {FRECHET}:
        made = other.scores["frames"].row(metric=metric, of="ByRank", direction="made").values["mean"]
        assert film[metric] == pytest.approx(made, abs=1e-4)
    assert film[FRECHET] == pytest.approx(other.scores["sets"].row(of="ByRank").values["frames"], abs=1e-4)


def test_frechet_distances(faces):
    shutil.copy(faces / "frames-03/sharp/0/02.png", faces / "frames-03/blurry/1.png")
    report = evaluate_faces(ByRank(-0.2), faces, options=WithToy(("psnr",)), **CPU)
    three, five, whole = (report.film("ByRank", count, "rank").values for count in (3, 5, None))
    assert whole["frechet"] == pytest.approx((three["frechet"] + five["frechet"]) / 2)
    # The same frames in whatever order.
    assert report.film("ByRank", 5, "time").values["frechet"] == five["frechet"]
    truth, made, still, middles, centres = (Moments(3) for _ in range(5))
    for count, number in ((3, 3), (5, 2)):
        path = faces / f"frames-{count:02d}" / "metadata.json"
        for batch in load_exposures(path)["test"].batches(4):
            assert len(batch["blurry"]) == number
            truth.add(file_features(Toy(), batch["frames"]).flatten(0, 1))
            film = ByRank(-0.2)(batch["blurry"], batch["times"]).clamp(0, 1)
            made.add(file_features(Toy(), film).flatten(0, 1))
            still.add(file_features(Toy(), batch["blurry"]).repeat_interleave(count, 0))
            middles.add(file_features(Toy(), batch["frames"][:, count // 2]))
            centres.add(file_features(Toy(), film[:, count // 2]))
    assert whole["frechet_pooled"] == pytest.approx(frechet_distance(made, truth), rel=1e-6)
    assert "frechet_pooled" not in three
    rank, time = (report.centre("ByRank", order).values["frechet"] for order in ("rank", "time"))
    assert rank != time
    assert rank == pytest.approx(frechet_distance(centres, middles), rel=1e-6)
    blurry = report.film(INPUT).values["frechet_pooled"]
    assert blurry == pytest.approx(frechet_distance(still, truth), rel=1e-6), "it stands for every frame"
    # Of a distance the better direction is the lower one.
    assert "lpips" in DISTANCES
    assert three["p_lpips"] < three["lpips"]
    assert "a note" in report.summary()
    assert "3 features each comes out too large" in report.summary()
    assert "| Frechet distance, Toy | pooled |" in report.tables()[1].markdown()


def test_a_page_with_the_worst_the_middle_and_the_best(faces, tmp_path):
    (faces / "frames-03" / "blurry" / "1.png").write_bytes(
        (faces / "frames-03" / "sharp" / "0" / "02.png").read_bytes()
    )
    report = evaluate_faces([ByRank(), ByRank(0.0)], faces, page=tmp_path / "out", published=PUBLISHED, **CPU)
    worst, median, best = report.examples
    assert (worst.chosen, worst.name, worst.frames) == ("worst", "clip_1", 3)
    assert (median.chosen, best.chosen) == ("median", "best")
    assert [strip.name for strip in best.strips] == [
        *(INPUT, "truth by FMR", "truth by time"),
        *("ByRank", "ByRank (2)"),
    ]
    assert [len(strip.pictures) for strip in best.strips] == [1, 3, 3, 3, 3]
    assert [int(picture.mean()) for picture in best.strips[1].pictures] == sorted(
        int(picture.mean()) for picture in best.strips[1].pictures
    )
    html, markdown = ((tmp_path / "out" / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    for text in (html, markdown):
        assert "the paper" in text
        assert "34.8496" not in text, "table 2 is for larger pictures"
        assert "33.8475" in text
        assert f"{report.film('ByRank', None, 'rank').values['psnr']:.2f}" in text
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 15
    assert str(tmp_path / "out" / "report.html") in report.summary()


def test_the_command(faces, tmp_path, capsys, film_network):
    weights = save_weights(tmp_path / "a.safetensors", film_network, Card("<b>toy</b>", "film"))
    command = ["eval", "faces-1", "--data", str(faces), "--model", str(weights), "--model", str(weights)]
    command += ["--device", "cpu", "--limit", "1", "--metrics", "ssim"]
    assert main([*command, "--report", str(tmp_path / "page.html"), "--json"]) == 0
    loaded = json.loads(capsys.readouterr().out)
    assert (loaded["protocol"], loaded["limit"]) == ("faces-1", 1)
    assert [model["name"] for model in loaded["models"]] == ["<b>toy</b>", "<b>toy</b> (2)"]
    assert {row["of"] for row in loaded["films"]} == {INPUT, "<b>toy</b>", "<b>toy</b> (2)"}
    assert loaded["centres"][0].keys() == {"of", "order", "count", "psnr", "ssim"}
    assert "<b>toy" not in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert main([*command[:6], "--limit", "1", "--device", "cpu", "--published", str(PUBLISHED)]) == 0
    printed = capsys.readouterr().out
    assert "| <b>toy</b> | FMR | ALL | 2 |" in printed
    assert "Table 5, ablation, centre frame: the paper's" in printed
    assert main(["eval", "val-1", "--model", "fast", "--model", "best"]) == 2
    assert main(["eval", "val-1", "--report", str(tmp_path)]) == 2
    assert main([*command, "--order", "order-small"]) == 2
    assert main([*command, "--report", str(weights)]) == 1
    assert "name a folder, or a file with the suffix .html" in capsys.readouterr().err


def test_refusals(faces):
    stages = []
    with pytest.raises(UnblurError, match="no-such"):
        evaluate_faces([ByRank(), "no-such"], faces, progress=lambda *stage: stages.append(stage), **CPU)
    assert stages == [], "before anything is measured"
    with pytest.raises(UnblurError, match="no such metric"):
        evaluate_faces(ByRank(), faces, options=EvaluationOptions(["fid"]), **CPU)
    with pytest.raises(UnblurError, match="has no exposure of train"):
        evaluate_faces(ByRank(), faces, options=replace(EvaluationOptions(), split="train"), **CPU)
