from __future__ import annotations

import json

import pytest
import torch
from drawn_faces import ColourDetector, draw_face

from unblur.cli import main
from unblur.data.exposure_metadata import read_metadata
from unblur.data.sequences import MetadataSequences, SequenceBatches
from unblur.datasets import fmr
from unblur.datasets.fmr import FmrOptions, fmr_data
from unblur.errors import UnblurError
from unblur.media.image import Picture, write_image
from unblur.media.video import write_clip

SMALL = FmrOptions(frames=(3, 5), every=4, size=32, sharpness=0.0)


def film(path, count=9, step=-3):
    """A face that goes left, as a folder of PNGs."""
    texture = torch.rand(3, 64, 120, generator=torch.Generator().manual_seed(1)) * 0.3
    return write_clip(path, [draw_face(texture, 60 + step * n, 20, 24) for n in range(count)])


def annotated(folder, name, count=9):
    film(folder / name / "vid", count).rename(folder / name / "vid-frames")
    write_clip(folder / name / "vid.mp4", [torch.rand(3, 64, 120) for _ in range(count)])
    for n in range(count):
        points = "\n".join(f"{60 - 3 * n + i % 20} {20 + i // 3}" for i in range(68))
        path = folder / name / "annot" / f"{n + 1:06d}.pts"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"version: 1\nn_points: 68\n{{\n{points}\n}}\n")


def test_clips_become_exposures_that_recipes_read(tmp_path):
    film(tmp_path / "clips" / "one"), film(tmp_path / "clips" / "two")
    report = fmr_data([tmp_path / "clips"], tmp_path / "out", SMALL, detector=ColourDetector())
    assert report.exit_code == 0
    assert [result.details["windows"] for result in report.results] == [4, 4]
    metadata = read_metadata(tmp_path / "out" / "frames-05" / "metadata.json")
    assert [entry.id for entry in metadata.entries] == ["one_000000", "one_000004", "two_000000", "two_000004"]
    entry = metadata.entries[0]
    assert (entry.order, entry.split) == ("keep", "train")
    assert (entry.more["fmr"], entry.span) == ([4, 3, 2, 1, 0], (0, 4))
    batch = SequenceBatches([(MetadataSequences(metadata, 5), 1.0)], size=32, batch_size=2).batch(0)
    assert batch["frames"].shape == (2, 5, 3, 32, 32)
    assert batch["times"].tolist() == [[0, 0.25, 0.5, 0.75, 1]] * 2
    # The face is red; sorted, it goes right.
    red = (batch["frames"][0, :, 0] - batch["frames"][0, :, 1]).clamp_min(0)
    columns = (red.sum(1) * torch.arange(32.0)).sum(1) / red.sum((1, 2))
    assert (columns.diff() > 0).all()
    assert len(read_metadata(tmp_path / "out" / "frames-03" / "metadata.json").entries) == 4
    assert (tmp_path / "out" / "landmarks" / "one.csv").is_file()
    three, five = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert (three["clips"], five["backward"], five["tau"]) == (4, 1.0, -1.0)


def test_a_second_run_leaves_what_is_there(tmp_path):
    film(tmp_path / "one"), film(tmp_path / "two")
    fmr_data([tmp_path / "one"], tmp_path / "out", SMALL, detector=ColourDetector())
    picture = tmp_path / "out" / "frames-03" / "blurry" / "one_000000.png"
    before = picture.stat().st_mtime_ns
    report = fmr_data([tmp_path / "one", tmp_path / "two"], tmp_path / "out", SMALL, detector=ColourDetector())
    assert report.results[0].details["skipped"]
    assert picture.stat().st_mtime_ns == before
    assert len(read_metadata(tmp_path / "out" / "frames-03" / "metadata.json").entries) == 4
    assert report.statistics[0].clips == 4
    with pytest.raises(UnblurError, match="made with another sharpness"):
        fmr_data([tmp_path / "one"], tmp_path / "out", FmrOptions(frames=(3, 5), every=4, size=32))


def test_300vw_as_downloaded(tmp_path):
    annotated(tmp_path / "300VW", "009"), annotated(tmp_path / "300VW", "001")
    report = fmr_data([tmp_path / "300VW"], tmp_path / "out", SMALL)
    assert not report.errors
    entries = read_metadata(tmp_path / "out" / "frames-03" / "metadata.json").entries
    assert {entry.id[:3]: entry.split for entry in entries} == {"001": "train", "009": "test"}


def test_reds(tmp_path):
    for folder in ("train_sharp/000", "val_sharp/000"):
        film(tmp_path / "REDS" / folder)
    fmr_data([tmp_path / "REDS"], tmp_path / "out", SMALL, detector=ColourDetector())
    entries = read_metadata(tmp_path / "out" / "frames-05" / "metadata.json").entries
    assert {(entry.id, entry.split) for entry in entries} == {
        (f"{part}_sharp_000_{start:06d}", part) for part in ("train", "val") for start in (0, 4)
    }


def test_statistics_alone_write_nothing(tmp_path, capsys, monkeypatch):
    annotated(tmp_path / "300VW", "001")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["data", "fmr", "300VW", "--dry-run", "--frames", "3", "--every", "4"]) == 0
    assert "| 3 | 2 | -1.000 | 1.000 | 0.000 | 1.000 | 1.000 | 1.000 |" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_without_faces(tmp_path):
    write_clip(tmp_path / "dark", [torch.zeros(3, 40, 40)] * 6)
    report = fmr_data([tmp_path / "dark"], tmp_path / "out", SMALL, detector=ColourDetector())
    assert report.exit_code == 0
    assert report.results[0].details["windows"] == 0
    assert "no window was taken" in report.results[0].details["warning"]
    assert report.statistics == []


def test_what_is_wrong_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(UnblurError, match="frames=1,5"):
        fmr_data([tmp_path], None, FmrOptions(frames=(1, 5)))
    assert fmr_data([tmp_path], None, SMALL).errors[0].problem == "holds no clips"
    film(tmp_path / "a" / "one"), film(tmp_path / "b" / "one")
    with pytest.raises(UnblurError, match="has the name of"):
        fmr_data([tmp_path / "a", tmp_path / "b"], None, SMALL, detector=ColourDetector())
    write_image(tmp_path / "photo.png", Picture(torch.rand(3, 8, 8)))
    assert fmr_data([tmp_path / "photo.png"], None, SMALL, detector=ColourDetector()).exit_code == 1
    assert main(["data", "fmr", str(tmp_path)]) == 2
    assert main(["data", "fmr", str(tmp_path), "--dry-run", "--frames", "x"]) == 2

    def absent():
        raise UnblurError("--faces", "finding faces needs the extra faces", "install it")

    monkeypatch.setattr(fmr, "load_face_cascade", absent)
    capsys.readouterr()
    assert main(["data", "fmr", str(tmp_path / "a" / "one"), "--dry-run"]) == 1
    assert "needs the extra faces" in capsys.readouterr().err
