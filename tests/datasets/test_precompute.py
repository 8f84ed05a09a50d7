from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from loaded_networks import SimpleFilm
from torch import Tensor

from unblur._version import PIPELINE_VERSION
from unblur.cli import main
from unblur.data import initial_estimates as estimates
from unblur.data.exposure_metadata import Entry, Metadata, write_metadata
from unblur.data.initial_estimates import Note, estimate_paths, read_note
from unblur.datasets.precompute import precompute
from unblur.errors import UnblurError
from unblur.media.image import Picture, read_image
from unblur.models.card import Card
from unblur.models.registry import SHIPPED
from unblur.networks.jin import Jin
from unblur.pipeline.restore import Pipeline, load


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    generator = torch.Generator().manual_seed(0)
    entries = []
    for number in range(3):
        frames = tuple(f"sharp/{number}/{i}.png" for i in range(3))
        for name in (*frames, f"blurry/{number}.png"):
            Picture(torch.rand(3, 32, 32 + 8 * (number == 2), generator=generator)).save(tmp_path / "faces" / name)
        entries.append(Entry(str(number), "keep", "train", f"blurry/{number}.png", frames))
    made = Metadata("faces", 3, tuple(entries), tmp_path / "faces")
    write_metadata(tmp_path / "faces/metadata.json", made)
    return made


def test_drafts_are_the_films_of_the_model(metadata: Metadata, tmp_path: Path) -> None:
    pipeline = load("fast", device="cpu", dtype="float32")
    report = precompute([tmp_path], pipeline)
    assert not report.errors
    assert {"made": 3, "there": 0, "exposures": 3}.items() <= report.results[0].details.items()
    for entry in metadata.entries:
        blurry = read_image(metadata.root / entry.blurry).pixels[None]
        expected = pipeline.frames(blurry, torch.tensor([0.0, 0.5, 1.0]))[0]
        for path, frame in zip(estimate_paths(metadata, entry, "film-small"), expected, strict=True):
            assert (read_image(path).pixels - frame).abs().max() < 0.51 / 255


def test_a_second_run_adds_what_is_missing(metadata: Metadata) -> None:
    pipeline = load("fast", device="cpu", dtype="float32")
    precompute([metadata.root], pipeline, limit=1)
    there = [entry for entry in metadata.entries if estimate_paths(metadata, entry, "film-small")[-1].exists()]
    assert len(there) == 1
    first = estimate_paths(metadata, there[0], "film-small")[0]
    before = first.stat().st_mtime_ns
    report = precompute([metadata.root / "metadata.json"], pipeline)
    assert {"made": 2, "there": 1, "exposures": 3}.items() <= report.results[0].details.items()
    assert first.stat().st_mtime_ns == before


def test_drafts_know_the_weights_that_made_them(metadata: Metadata) -> None:
    pipeline = load("fast", device="cpu", dtype="float32")
    assert precompute([metadata.root], pipeline, limit=1).results[0].details["warning"] is None
    assert read_note(metadata, "film-small") == Note({"film-small": SHIPPED["film-small"].sha256}, PIPELINE_VERSION)
    other = Pipeline(
        pipeline.runner.network, Card("film-small", "film", sha256="0" * 64), device="cpu", dtype="float32"
    )
    (error,) = precompute([metadata.root], other).errors
    folder = metadata.root / "estimates/film-small"
    assert str(error) == (
        f"{folder}: holds estimates by other weights of film-small; remove the folder, and make them again"
    )
    (folder / "weights.json").unlink()
    outcome = precompute([metadata.root], other).results[0]
    assert outcome.details["made"] == 2
    assert "of unknown weights" in str(outcome.details["warning"])
    assert read_note(metadata, "film-small") is None, "some of them are by others"
    (folder / "weights.json").write_text("[]")
    assert "does not say which weights these estimates come from" in str(precompute([metadata.root], other).errors[0])


def test_drafts_know_the_version_of_the_method_that_made_them(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = load("fast", device="cpu", dtype="float32")
    precompute([metadata.root], pipeline, limit=1)
    note, weights = metadata.root / "estimates/film-small/weights.json", pipeline.weights
    with monkeypatch.context() as later:
        later.setattr(estimates, "PIPELINE_VERSION", PIPELINE_VERSION + 1)
        (error,) = precompute([metadata.root], pipeline).errors
        assert f"{note.parent}: holds estimates by another version of the method; remove the folder" in str(error)
    before = json.dumps(weights)
    note.write_text(before)
    outcome = precompute([metadata.root], pipeline).results[0]
    assert outcome.details["made"] == 2, "begun before there were versions, it goes on"
    assert "of unknown version of the method; remove" in str(outcome.details["warning"])
    assert note.read_text() == before, "some of them are by others"


def test_a_note_without_drafts_is_made_anew(metadata: Metadata) -> None:
    pipeline = load("fast", device="cpu", dtype="float32")
    note = metadata.root / "estimates/film-small/weights.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps(pipeline.weights))
    assert precompute([metadata.root], pipeline, limit=1).results[0].details["warning"] is None
    assert read_note(metadata, "film-small") == Note(pipeline.weights)


def test_only_the_blurry_picture_is_read(metadata: Metadata) -> None:
    for path in metadata.root.glob("sharp/*/*.png"):
        path.write_bytes(b"no picture")
    assert precompute([metadata.root], load("fast", device="cpu", dtype="float32"), limit=1).results


def test_a_folder_without_metadata(tmp_path: Path) -> None:
    report = precompute([tmp_path], "fast", "cpu")
    assert [type(error) for error in report.errors] == [UnblurError]
    assert "metadata.json" in str(report.errors[0])


def test_what_is_no_exposure_or_cannot_be_drafted(metadata: Metadata, tmp_path: Path) -> None:
    cascade = Pipeline(Jin(8, 8, 8, 8), Card("seven", "cascade"), device="cpu", dtype="float32")
    assert not precompute([metadata.root], cascade, limit=1).errors, "three frames are three of its seven"
    write_metadata(metadata.root / "metadata.json", replace(metadata, entries=()))
    (error,) = precompute([metadata.root], "fast", "cpu").errors
    assert "holds no exposure" in str(error)
    longer = [replace(e, frames=(*e.frames, *e.frames[:2])) for e in metadata.entries]
    write_metadata(metadata.root / "metadata.json", replace(metadata, frame_count=5, entries=tuple(longer)))
    (error,) = precompute([metadata.root], cascade).errors
    assert "seven makes 7 frames and none between" in str(error)
    assert "a" * 300 in str(precompute(["a" * 300], "fast", "cpu").errors[0])


def test_pictures_whose_drafts_would_lie_in_one_place(metadata: Metadata) -> None:
    Picture(torch.rand(3, 32, 32)).save(metadata.root / "blurry/0.jpg")
    twin = replace(metadata.entries[0], id="twin", blurry="blurry/0.jpg")
    write_metadata(metadata.root / "metadata.json", replace(metadata, entries=(*metadata.entries, twin)))
    (error,) = precompute([metadata.root], "fast", "cpu").errors
    assert "0.jpg: has estimates in the same place as blurry/0.png" in str(error)
    assert not (metadata.root / "estimates").exists()


def test_frames_that_are_no_numbers_are_not_kept(metadata: Metadata) -> None:
    class Lost(SimpleFilm):
        def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
            return blurry[:, None] * times.log().view(-1, 1, 1, 1)

    (error,) = precompute([metadata.root], Pipeline(Lost(), Card("lost", "lost"), device="cpu", dtype="float32")).errors
    assert "values that are not numbers; use `dtype=float32`" in str(error)
    assert not (metadata.root / "estimates").exists()


def test_the_command(metadata: Metadata, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "precompute", str(metadata.root), "--model", "fast", "--device", "cpu", "--limit", "1"]) == 0
    assert "1 of 3 exposures" in capsys.readouterr().out
    assert main(["data", "precompute", str(metadata.root / "sharp"), "--model", "fast"]) == 1
