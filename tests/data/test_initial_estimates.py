from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unblur._version import PIPELINE_VERSION
from unblur.data.exposure_metadata import Entry, Metadata
from unblur.data.initial_estimates import (
    Note,
    estimate_paths,
    estimated,
    estimates_folder,
    has_estimates,
    note_weights,
    read_note,
    unknown_in,
)
from unblur.data.sequences import MetadataSequences, SequenceBatches, val_sequences
from unblur.errors import UnblurError
from unblur.media.image import Picture


def grey(path: Path, level: int, side: int = 16) -> None:
    Picture(torch.full((3, side, side), level / 255)).save(path)


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    """Two exposures of five frames, of which the second has estimates by "some", 100 brighter than its frames."""
    entries = []
    for number in range(2):
        frames = tuple(f"sharp/{number}/{i}.png" for i in range(5))
        for i, name in enumerate(frames):
            grey(tmp_path / name, 50 * number + i)
        grey(tmp_path / f"blurry/{number}.png", 50 * number + 10)
        entries.append(Entry(str(number), "keep", "train", f"blurry/{number}.png", frames))
    made = Metadata("tiny", 5, tuple(entries), tmp_path)
    for i, path in enumerate(estimate_paths(made, entries[1], "some")):
        grey(path, 150 + i)
    return made


def levels(pictures: torch.Tensor) -> list[int]:
    return (pictures.mean((-3, -2, -1)) * 255).round().int().flatten().tolist()


def test_they_lie_under_the_name_of_the_blurry_picture(metadata: Metadata, tmp_path: Path) -> None:
    paths = estimate_paths(metadata, metadata.entries[0], "maxim")
    assert paths[3] == tmp_path / "estimates/maxim/blurry/0/03.png"
    assert [has_estimates(metadata, entry, "some") for entry in metadata.entries] == [False, True]


@pytest.mark.parametrize("model", ["", ".", "..", "../a", "a/b", "/a", "a\\b", "a\nb"])
def test_no_name_of_a_model_leads_elsewhere(metadata: Metadata, model: str) -> None:
    with pytest.raises(UnblurError, match="cannot be kept in a folder of that name; give the model a name") as caught:
        estimate_paths(metadata, metadata.entries[0], model)
    assert "\n" not in str(caught.value)


def test_what_made_them_is_noted_and_older_notes_are_read(metadata: Metadata) -> None:
    assert unknown_in(read_note(metadata, "some")) == "weights"
    note_weights(metadata, "some", {"weights": "a", "some": "b"})
    assert read_note(metadata, "some") == Note({"weights": "a", "some": "b"}, PIPELINE_VERSION)
    assert unknown_in(read_note(metadata, "some")) is None
    path = estimates_folder(metadata, "some") / "weights.json"
    path.write_text('{"weights": "a", "some": "b"}')
    assert read_note(metadata, "some") == Note({"weights": "a", "some": "b"}, None)
    assert unknown_in(read_note(metadata, "some")) == "version of the method"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a": 1}',
        '{"method": 1}',
        '{"method": "1", "weights": {}}',
        '{"method": true, "weights": {}}',
        '{"weights": {"a": 1}}',
    ],
)
def test_a_note_that_says_nothing(metadata: Metadata, text: str) -> None:
    (estimates_folder(metadata, "some") / "weights.json").write_text(text)
    with pytest.raises(UnblurError, match="does not say which weights these estimates come from; remove the folder"):
        read_note(metadata, "some")


def test_an_interrupted_run_left_none(metadata: Metadata) -> None:
    estimate_paths(metadata, metadata.entries[1], "some")[-1].unlink()
    assert not has_estimates(metadata, metadata.entries[1], "some")
    with pytest.raises(UnblurError, match="no estimates by some"):
        estimated(metadata, "some")


def test_exposures_without_drafts_are_passed_over(metadata: Metadata) -> None:
    sequences = MetadataSequences(metadata, 3, estimates="some")
    assert len(sequences) == 1
    exposed = sequences.read(0)
    assert exposed.estimates is not None
    assert exposed.pictures[:, 0, 0, 0].tolist() == [60, 50, 52, 54]
    assert exposed.estimates[:, 0, 0, 0].tolist() == [150, 152, 154]
    assert MetadataSequences(metadata, 3).read(0).estimates is None


def test_batches_have_drafts_of_both_directions(metadata: Metadata) -> None:
    sets = [(MetadataSequences(metadata, 5, estimates="some"), 1.0)]
    batch = SequenceBatches(sets, size=8, batch_size=2, frames_per_sample=2).batch(3)
    assert batch["estimates"].shape == (2, 2, 2, 3, 8, 8)
    ranks = (batch["times"] * 4).round().int().flatten().tolist()
    assert levels(batch["frames"]) == [50 + rank for rank in ranks]
    assert levels(batch["estimates"][:, :, 0]) == [150 + rank for rank in ranks]
    assert levels(batch["estimates"][:, :, 1]) == [154 - rank for rank in ranks]
    assert levels(batch["blurry"]) == [60, 60]


def test_the_middle_first_takes_its_draft_along(metadata: Metadata) -> None:
    sets = [(MetadataSequences(metadata, 3, estimates="some"), 1.0)]
    batch = SequenceBatches(sets, size=8, batch_size=1, middle_first=True).batch(0)
    assert levels(batch["frames"]) == [52, 50, 54]
    assert levels(batch["estimates"][:, :, 0]) == [152, 150, 154]
    assert levels(batch["estimates"][:, :, 1]) == [152, 154, 150]


def test_held_out_exposures_have_theirs(metadata: Metadata) -> None:
    (batch,) = val_sequences([MetadataSequences(metadata, 3, estimates="some")], count=2, size=12)
    assert batch["estimates"].shape == (1, 3, 2, 3, 12, 12)
    assert levels(batch["estimates"][0, :, 0]) == [150, 152, 154]
    (plain,) = val_sequences([MetadataSequences(metadata, 3)], count=2, size=12)
    assert "estimates" not in plain


@pytest.mark.parametrize(("order", "expected"), [("ignore", [54, 52, 50]), ("keep", [50, 52, 54])])
def test_frames_whose_direction_nobody_knows_run_as_their_drafts(
    metadata: Metadata, order: Any, expected: list[int]
) -> None:
    entries = tuple(replace(entry, order=order) for entry in metadata.entries)
    for i, path in enumerate(estimate_paths(metadata, entries[1], "some")):
        grey(path, 56 - i)
    exposed = MetadataSequences(replace(metadata, entries=entries), 3, estimates="some").read(0)
    assert exposed.pictures[:, 0, 0, 0].tolist() == [60, *expected]
    assert exposed.estimates is not None
    assert exposed.estimates[:, 0, 0, 0].tolist() == [56, 54, 52]


def test_drafts_turn_no_frames_whose_direction_is_known_or_that_are_as_near_either_way(metadata: Metadata) -> None:
    def loaded(order: Any) -> list[int]:
        entries = tuple(replace(entry, order=order) for entry in metadata.entries)
        exposed = MetadataSequences(replace(metadata, entries=entries), 3, estimates="some").read(0)
        return exposed.pictures[1:, 0, 0, 0].tolist()

    assert loaded("reverse") == [54, 52, 50]
    for path in estimate_paths(metadata, metadata.entries[1], "some"):
        grey(path, 52)
    assert loaded("ignore") == [50, 52, 54]


def test_a_draft_of_another_size_is_told_of(metadata: Metadata) -> None:
    grey(estimate_paths(metadata, metadata.entries[1], "some")[2], 3, side=20)
    with pytest.raises(UnblurError, match="20 x 20"):
        MetadataSequences(metadata, 5, estimates="some").read(0)
