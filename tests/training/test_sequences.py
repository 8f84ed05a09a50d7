from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_command import main

from unblur._version import PIPELINE_VERSION
from unblur.data.exposure_metadata import Entry, Metadata, read_metadata, write_metadata
from unblur.data.initial_estimates import estimate_paths, estimates_folder, note_weights
from unblur.errors import UnblurError
from unblur.media.image import Picture, read_image
from unblur.media.video import write_clip
from unblur.models.registry import SHIPPED
from unblur.models.weights import load_weights
from unblur.networks.cfmd import CFMDRefiner
from unblur.networks.path_film import PathFilm
from unblur.training.build import _data
from unblur.training.film_training import FilmTraining, Loss
from unblur.training.recipe import is_blur_space, read_recipe

RECIPE = """
name: tiny
network: {network}
out: {run}
data: {{val_count: 3, val_size: 32}}
sequences:
  train: [{{path: {root}, split: train}}, {{path: {film}, weight: 0.5}}]
  val: [{{path: {root}/metadata.json, split: val}}]
  frames: 3
  size: 32
  batch_size: 2
augmentation: {{noise_on: all, rotate: 2}}
schedule: {{warmup: 1}}
log_every: 1
validate_every: 2
trainer: {{max_steps: 2, accelerator: cpu}}
"""
FILM = (
    "{name: path_film, arguments: {restorer: {widths: [8, 8], blocks: [1, 1]}, "
    "motion: {widths: [8, 8], blocks: [1, 1]}}}"
)
FRAMES = "{name: purohit, arguments: {width: 4, hidden: 4, flow_widths: [2, 2, 2], steps: 3}}"
ORDER = "{name: hypercut, arguments: {width: 4, channels: 4, blocks: 1}}"


def exposures(root: Path) -> Path:
    rng, entries = np.random.default_rng(0), []
    for number in range(5):
        names = [f"{number}/{part}.png" for part in ("blur", "1", "2", "3")]
        for name in names:
            Picture(torch.from_numpy(rng.random((3, 40, 44), np.float32))).save(root / name)
        split = "train" if number < 2 else "val"
        entries.append(Entry(f"{number}", "random", split, names[0], tuple(names[1:])))  # type: ignore[arg-type]
    return write_metadata(root / "metadata.json", Metadata("set", 3, tuple(entries), root))


def clip(path: Path) -> Path:
    texture = torch.rand(3, 12, 40).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return write_clip(path, [texture[:, :, x : x + 60] for x in range(30)])


def written(tmp_path: Path, network: str) -> Path:
    exposures(tmp_path / "set")
    path = tmp_path / "tiny.yaml"
    text = RECIPE.format(network=network, run=tmp_path / "run", root=tmp_path / "set", film=clip(tmp_path / "film"))
    path.write_text(text)
    return path


@pytest.mark.parametrize(("network", "score"), [(FILM, "psnr@0.5"), (FRAMES, "psnr@1"), (ORDER, "confidence")])
def test_a_recipe_trains_on_exposures_whose_frames_are_known(tmp_path: Path, network: str, score: str) -> None:
    path = written(tmp_path, network)
    assert main([str(path)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2]
    assert score in lines[-1]
    card = load_weights(tmp_path / "run" / "last.safetensors").card
    assert card.protocol == "3 validation exposures, 32 pixels a side"
    # Its own record is a recipe.
    assert read_recipe(tmp_path / "run" / "recipe.yaml").sequences.train[1].weight == 0.5


def data(path: Path, *overrides: str) -> Any:
    recipe = read_recipe(path, overrides)
    return _data(recipe, is_blur_space(recipe.network.name))


def test_what_a_recipe_says_of_sequences_is_done(tmp_path: Path) -> None:
    path = written(tmp_path, FILM)
    source = data(path).source
    assert (source.augmentation.noise_on, source.augmentation.rotate, source.middle_first) == ("all", 2, False)
    assert [len(one) for one in source.sets] == [2, 2]
    assert source._shares.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert [len(batch["blurry"]) for batch in data(path).heldout] == [3]
    plain = data(path, "--sequences.augment", "false", "--loss.parts", "restorer").source
    assert (plain.augmentation.affine, plain.middle_first) == (0, True)
    assert plain.batch(0)["times"][0].tolist() == [0.5, 0, 1]
    assert data(path, "--data.val_count", "0").heldout == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (["--loss.paths", "0.1"], "loss.paths: needs paths that are known"),
        (["--sequences.val", "[]"], "sequences.val: names none, but data.val_count is 3"),
        (["--sequences.frames", "4"], "of which 4 cannot be evenly spaced"),
        (["--sequences.size", "41"], "smaller than crops"),
        (["--sequences.size", "0"], "must be 1 or more"),
        (["--sequences.batch_size", "0"], "must be 1 or more"),
        (
            ["--sequences.synthetic", "0.5", "--exposures.shared_motion", "3"],
            r"shared_motion 3: is no divisor of exposures\.batch_size",
        ),
    ],
)
def test_what_cannot_be_met_is_told(tmp_path: Path, change: list[str], problem: str) -> None:
    with pytest.raises(UnblurError, match=problem):
        data(written(tmp_path, FILM), *change)


def test_mistakes_in_sets_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, FILM)
    path.write_text(path.read_text().replace("split: val", "splits: val"))
    with pytest.raises(UnblurError, match=r"sequences\.val, number 1: splits: no such key .* split"):
        read_recipe(path)
    path.write_text(path.read_text().replace("splits: val", "split: some"))
    with pytest.raises(UnblurError):
        read_recipe(path)
    path.write_text(path.read_text().replace("split: some", "split: test"))
    with pytest.raises(UnblurError, match="split test: has no entry"):
        data(path)
    metadata = tmp_path / "set" / "metadata.json"
    metadata.write_text(metadata.read_text()[:100])
    assert main([str(path)]) == 1


DRAFTED = """
name: tiny
network: {{name: {name}, arguments: {{channels: 12, blocks: 1, deformable: false}}}}
out: {run}
data: {{val_count: 2, val_size: 32, train: {root}, val: {root}}}
sequences:
  train: [{{path: {root}, split: train, estimates: {train}}}]
  val: [{{path: {root}, split: val, estimates: {val}}}]
  frames: 3
  frames_per_sample: 2
  size: 32
  batch_size: 2
  synthetic: {synthetic}
schedule: {{warmup: 1}}
log_every: 1
validate_every: 2
trainer: {{max_steps: 2, accelerator: cpu}}
adversarial: {{weight: {weight}, perceptual: 0}}
critic: {{arguments: {{width: 4, widest: 8}}}}
"""


def estimated(tmp_path: Path, **more: Any) -> Path:
    metadata = read_metadata(exposures(tmp_path / "set"))
    for entry in metadata.entries:
        for estimate, frame in zip(estimate_paths(metadata, entry, "some"), entry.frames, strict=True):
            read_image(metadata.root / frame).save(estimate)
    given = {"name": "cfmd_refiner", "train": "some", "val": "some", "synthetic": 0, "weight": 0} | more
    path = tmp_path / "recipe.yaml"
    path.write_text(DRAFTED.format(run=tmp_path / "run", root=tmp_path / "set", **given))
    return path


@pytest.mark.parametrize("weight", [0, 0.1])
def test_a_network_learns_to_correct_drafts(tmp_path: Path, weight: float) -> None:
    assert main([str(estimated(tmp_path, weight=weight))]) == 0
    *_, last = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    # The estimates of this set are the truth; two steps cannot have led far away.
    assert last["psnr@0.5"] > last["input@0.5"] + 3
    assert load_weights(tmp_path / "run" / "last.safetensors").network.kind == "refiner"


@pytest.mark.parametrize("more", [{"name": "cfmd"}, {"train": "null"}, {"val": "null"}, {"synthetic": 0.5}])
def test_drafts_for_some_exposures_alone_are_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(UnblurError, match=r"network\.name cfmd"):
        data(estimated(tmp_path, **more))


def test_stills_and_clips_have_no_drafts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = estimated(tmp_path)
    text = path.read_text()
    path.write_text(re.sub(r"(?m)^  (train|val): \[.*\n", "", text))
    assert main([str(path)]) == 1
    assert "network.name cfmd_refiner: is a refiner" in "".join(capsys.readouterr())
    clip = tmp_path / "clip.mp4"
    clip.touch()
    path.write_text(re.sub(rf"train: \[{{path: {tmp_path / 'set'}", f"train: [{{path: {clip}", text))
    assert main([str(path)]) == 1
    assert f"{clip}: is no metadata, and clips have no estimates; make exposures" in "".join(capsys.readouterr())


def test_frames_that_run_as_their_drafts(tmp_path: Path) -> None:
    path = estimated(tmp_path)
    metadata = read_metadata(tmp_path / "set" / "metadata.json")
    for entry in metadata.entries:
        estimates = estimate_paths(metadata, entry, "some")
        pictures = [read_image(estimate) for estimate in estimates]
        for estimate, picture in zip(reversed(estimates), pictures, strict=True):
            picture.save(estimate)
    kept = [replace(entry, order="keep") for entry in metadata.entries]
    write_metadata(tmp_path / "set" / "metadata.json", replace(metadata, entries=tuple(kept)))
    path.write_text(path.read_text().replace("estimates: some}", "estimates: some, direction: estimates}"))
    for batch in (data(path).source.batch(0), *data(path).heldout):
        torch.testing.assert_close(batch["frames"], batch["estimates"][:, :, 0])
    path.write_text(path.read_text().replace("estimates: some, ", ""))
    with pytest.raises(UnblurError, match="needs estimates"):
        read_recipe(path)


def test_drafts_that_were_never_made(tmp_path: Path) -> None:
    with pytest.raises(UnblurError, match=r"unblur data precompute .* `model=others`"):
        data(estimated(tmp_path, train="others"))


def test_drafts_by_other_weights_than_those_that_ship(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = estimated(tmp_path)
    metadata = read_metadata(tmp_path / "set" / "metadata.json")
    data(path)
    assert "its estimates by some do not say by which weights" in caplog.text
    caplog.clear()
    note_weights(metadata, "some", {"some": "0" * 64, "film-small": SHIPPED["film-small"].sha256})
    data(path)
    assert not caplog.text
    note_weights(metadata, "some", {"some": "0" * 64, "film-small": "0" * 64})
    with pytest.raises(UnblurError, match="estimates/some: holds estimates by other weights of film-small; remove"):
        data(path)
    note = estimates_folder(metadata, "some") / "weights.json"
    note.write_text(json.dumps({"some": "0" * 64}))
    data(path)
    assert "its estimates by some do not say by which version of the method" in caplog.text
    note.write_text(json.dumps({"method": PIPELINE_VERSION + 1, "weights": {"some": "0" * 64}}))
    with pytest.raises(UnblurError, match="estimates/some: holds estimates by another version of the method; remove"):
        data(path)


def test_drafts_are_of_times_that_were_drafted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(estimated(tmp_path)), "--loss.reblur", "0.1"]) == 1
    assert "at times that have no estimates" in "".join(capsys.readouterr())


def test_a_direction_that_is_sought_finds_no_drafts() -> None:
    network = CFMDRefiner(channels=12, blocks=1, deformable=False)
    with pytest.raises(UnblurError, match="at times that have no estimates; set reblur and order to 0, direction to"):
        FilmTraining(network, Loss(direction="nearest"))
    with pytest.raises(UnblurError, match=r"loss\.perceptual: needs frames"):
        FilmTraining(PathFilm(), Loss(parts="paths", perceptual=0.1))
