from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.data import sequences as module
from unblur.data.augmentation import NO_CHANGE, Augmentation, enlarged, moved, noisy, recoloured
from unblur.data.exposure_metadata import Entry, Metadata
from unblur.data.sequences import (
    ClipSequences,
    Exposed,
    MetadataSequences,
    SequenceBatches,
    near,
    val_sequences,
)
from unblur.errors import UnblurError
from unblur.media.image import Picture
from unblur.media.video import write_clip

ALWAYS = Augmentation(affine=1, jitter=1, noise=0)


class Made:
    """Exposures of one colour that tell their number, and frames that tell their place."""

    place = "made"

    def __init__(self, number: int = 0, box: Any = None, side: int = 40) -> None:
        self.number, self.box, self.side = number, box, side

    def __len__(self) -> int:
        return 3

    def read(self, index: int) -> Exposed:
        values = [100 * self.number + 10 * index + i for i in range(4)]
        return Exposed(np.stack([np.full((self.side, self.side + 8, 3), v, np.uint8) for v in values]), self.box)


def stored(root: Path, count: int = 7, clips: int = 2, side: int = 24, **more: Any) -> Metadata:
    entries = []
    for number in range(clips):
        frames = tuple(f"{number}/sharp/0_{i}.png" for i in range(1, count + 1))
        for i, name in enumerate(frames):
            Picture(torch.full((3, side, side + 4), (10 * number + i) / 255)).save(root / name)
        Picture(torch.full((3, side, side + 4), (10 * number + count // 2) / 255)).save(root / f"{number}/blur/0.png")
        entries.append(Entry(f"{number}/0", "keep", "train", f"{number}/blur/0.png", frames, **more))
    return Metadata("tiny", count, tuple(entries), root)


def levels(frames: torch.Tensor) -> list[int]:
    return (frames.mean((-3, -2, -1)) * 255).round().int().flatten().tolist()


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    how = Augmentation()
    one, other = (
        SequenceBatches([(Made(), 1.0)], size=16, batch_size=4, seed=5, threads=n, augmentation=how) for n in (1, 3)
    )
    one.batch(0)
    for key, value in one.batch(7).items():
        assert torch.equal(value, other.batch(7)[key])
    assert not torch.equal(one.batch(7)["blurry"], one.batch(8)["blurry"])
    assert not torch.equal(
        SequenceBatches([(Made(), 1.0)], size=16, batch_size=4, seed=6, augmentation=how).batch(7)["blurry"],
        one.batch(7)["blurry"],
    )


def test_a_batch(tmp_path: Path) -> None:
    source = SequenceBatches([(MetadataSequences(stored(tmp_path)), 1.0)], size=16, batch_size=3)
    batch = source.batch(0)
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "blurry": (3, 3, 16, 16),
        "frames": (3, 7, 3, 16, 16),
        "times": (3, 7),
    }
    for blurry, frames, times in zip(batch["blurry"], batch["frames"], batch["times"], strict=True):
        start = levels(frames)[0]
        assert levels(frames) == list(range(start, start + 7))
        assert levels(blurry[None]) == [start + 3]
        assert torch.allclose(times, torch.arange(7) / 6)


@pytest.mark.parametrize("order", ["keep", "ignore", "reverse", "random"])
def test_the_order_is_honoured(tmp_path: Path, order: Any) -> None:
    metadata = stored(tmp_path, clips=6)
    entries = tuple(replace(entry, order=order) for entry in metadata.entries)
    sequences = MetadataSequences(replace(metadata, entries=entries), seed=3)
    rises = [levels(torch.from_numpy(sequences.read(i).pictures / 255))[1:] for i in range(6)]
    signs = [1 if frames[0] < frames[-1] else -1 for frames in rises]
    assert signs == [entry.direction(3) for entry in entries]
    assert set(signs) == {"reverse": {-1}, "random": {1, -1}}.get(order, {1})
    # A batch has the same direction every time that a clip is drawn.
    source = SequenceBatches([(sequences, 1.0)], size=16, batch_size=24)
    for frames in source.batch(0)["frames"]:
        values = levels(frames)
        assert (1 if values[0] < values[-1] else -1) == signs[min(values) // 10]


@pytest.mark.parametrize(
    ("there", "wanted", "taken"), [(7, 3, [0, 3, 6]), (13, 7, [0, 2, 4, 6, 8, 10, 12]), (5, 2, [0, 4])]
)
def test_frames_are_thinned_out_evenly(tmp_path: Path, there: int, wanted: int, taken: list[int]) -> None:
    sequences = MetadataSequences(stored(tmp_path, there, 1), wanted)
    assert levels(torch.from_numpy(sequences.read(0).pictures / 255))[1:] == taken


def test_frames_that_cannot_be_thinned_out(tmp_path: Path) -> None:
    with pytest.raises(
        UnblurError, match="has 7 frames of each exposure, of which 5 cannot be evenly spaced; use 2, 3, 4, 7"
    ):
        MetadataSequences(stored(tmp_path), 5)


def test_the_middle_may_come_first(tmp_path: Path) -> None:
    source = SequenceBatches([(MetadataSequences(stored(tmp_path, 5, 1), 5), 1.0)], size=16, middle_first=True)
    batch = source.batch(0)
    assert levels(batch["frames"][0]) == [2, 0, 1, 3, 4]
    assert torch.allclose(batch["times"][0], torch.tensor([0.5, 0, 0.25, 0.75, 1]))


def test_weights_say_how_often_a_set_is_drawn() -> None:
    source = SequenceBatches([(Made(0), 3.0), (Made(1), 1.0), (Made(2), 0.0)], size=16, batch_size=400)
    drawn = source.batch(0)["blurry"].mean((1, 2, 3)) * 255
    assert 0.7 < (drawn < 90).float().mean() < 0.8
    assert (drawn < 190).all()
    for bad in ([], [(Made(), 0.0)], [(Made(), -1.0)]):
        with pytest.raises(UnblurError, match="weight"):
            SequenceBatches(bad)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    metadata = stored(tmp_path)
    with pytest.raises(UnblurError, match="is 28 x 24, smaller than crops of 25 x 25"):
        SequenceBatches([(MetadataSequences(metadata), 1.0)], size=25)
    SequenceBatches([(MetadataSequences(metadata), 0.0), (Made(), 1.0)], size=25)
    Picture(torch.rand(3, 24, 20)).save(tmp_path / "0/sharp/0_3.png")
    with pytest.raises(UnblurError, match="is 20 x 24, its blurry picture 28 x 24"):
        MetadataSequences(metadata).read(0)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_a_blurry_picture_and_its_frames_change_alike(seed: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    changed = moved(np.stack([picture] * 4), ALWAYS, np.random.default_rng(seed))
    assert all(np.array_equal(changed[0], one) for one in changed)
    assert not np.array_equal(changed[0], picture)
    bright = recoloured(changed.astype(np.float32) / 255, ALWAYS, np.random.default_rng(seed))
    assert all(np.array_equal(bright[0], one) for one in bright)
    assert bright.min() >= 0
    assert bright.max() <= 1
    assert bright.dtype == np.float32


def test_how_far_pictures_move() -> None:
    spot = np.zeros((1, 101, 101, 3), np.uint8)
    spot[0, 48:53, 48:53] = 255
    shifts = []
    for seed in range(200):
        found = moved(spot, ALWAYS, np.random.default_rng(seed))[0, :, :, 0].astype(float)
        weights = found / found.sum()
        shifts.append([float((weights * place).sum()) - 50 for place in np.mgrid[:101, :101]])
    # The middle neither turns nor shears: what is left is the translation of up to 5 % of 101 pixels.
    largest = np.abs(shifts).max(0)
    assert (largest > 4).all()
    assert (largest < 5.1).all()


def test_pictures_turn_by_degrees() -> None:
    spot = np.zeros((1, 101, 101, 3), np.uint8)
    spot[0, 48:53, 88:93] = 255
    how = replace(ALWAYS, translate=0, shear=0)
    places = []
    for seed in range(50):
        found = moved(spot, how, np.random.default_rng(seed))[0, :, :, 0].astype(float)
        places.append(float((found / found.sum() * np.mgrid[:101, :101][0]).sum()) - 50)
    # 40 pixels from the middle, 5 degrees are 3.5 pixels.
    assert 3 < np.abs(places).max() < 3.6


def test_contrast_changes_about_the_blurry_pictures_mean() -> None:
    pictures = np.full((2, 8, 8, 3), 0.5, np.float32)
    pictures[0, :4], pictures[1, :2] = 0.4, 0.6
    made = recoloured(pictures, ALWAYS, np.random.default_rng(0))
    assert made[0, 7, 7, 0] == made[1, 7, 7, 0], "one value becomes one value"


def test_crops_reach_every_edge_and_may_be_all_there_is(tmp_path: Path) -> None:
    source = SequenceBatches([(Slope(side=18), 1.0)], size=16, batch_size=60, augmentation=NO_CHANGE)
    lefts = (source.batch(0)["blurry"][:, 0, 0, 0] * 255).round().unique().tolist()
    assert lefts == [0, 1, 2]
    whole = SequenceBatches([(MetadataSequences(stored(tmp_path)), 1.0)], size=24).batch(0)
    assert whole["blurry"].shape[-2:] == (24, 24)


def test_noisy_pictures_stay_pictures() -> None:
    made = noisy(
        np.stack([np.zeros((8, 8, 3)), np.ones((8, 8, 3))]).astype(np.float32),
        Augmentation(noise=1, noise_on="all"),
        np.random.default_rng(0),
    )
    assert (made.min(), made.max()) == (0, 1)


def test_noise_is_on_the_blurry_picture_alone_unless_asked_for() -> None:
    grey = np.full((3, 64, 64, 3), 0.5, np.float32)
    how = Augmentation(noise=1)
    for seed in range(10):
        made = noisy(grey, how, np.random.default_rng(seed))
        assert np.array_equal(made[1:], grey[1:])
        assert 0.012 < made[0].std() < 0.029
    everywhere = noisy(grey, replace(how, noise_on="all"), np.random.default_rng(0))
    assert everywhere[1].std() > 0.01
    assert not np.array_equal(everywhere[1], everywhere[2])


def test_shares_of_changes() -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), np.uint8)
    changed = [
        not np.array_equal(moved(pictures, Augmentation(), np.random.default_rng(s)), pictures) for s in range(300)
    ]
    assert 0.5 < np.mean(changed) < 0.7
    assert np.array_equal(moved(pictures, NO_CHANGE, np.random.default_rng(0)), pictures)


def test_people_are_cut_out() -> None:
    pictures = np.zeros((2, 100, 200, 3), np.uint8)
    pictures[:, 20:80, 50:110] = 255
    assert (near(pictures, (50, 20, 110, 80), 0.0, 32) == 255).all()
    wider = near(pictures, (50, 20, 110, 80, 0.9), 0.1, 32)
    assert wider.shape == (2, 32, 32, 3)
    assert wider[0, 16, 0].max() == 0
    assert wider[0, 16, 16].min() == 255
    # A box outside of the picture is none.
    assert near(pictures, (300, 300, 400, 400), 0.0, 32).mean() == pytest.approx(pictures.mean(), rel=0.1)
    source = SequenceBatches([(Made(box=(4, 4, 20, 30), side=24), 1.0)], size=32, batch_size=2)
    assert source.batch(0)["frames"].shape == (2, 3, 3, 32, 32)


def test_held_out_exposures_are_the_same_every_time(tmp_path: Path) -> None:
    metadata = stored(tmp_path, clips=5)
    box = tuple(replace(entry, box=(2.0, 2.0, 20.0, 20.0)) for entry in metadata.entries[:1])
    sets = [MetadataSequences(metadata), MetadataSequences(replace(metadata, entries=box))]
    batches = val_sequences(sets, count=4, size=16, batch_size=2)
    assert [tuple(batch["frames"].shape) for batch in batches] == [(2, 7, 3, 16, 16), (1, 7, 3, 16, 16)]
    assert levels(batches[0]["frames"][0]) == [*range(7)]
    assert levels(batches[0]["frames"][1]) == [*range(40, 47)]
    assert torch.allclose(batches[0]["times"], torch.arange(7) / 6)
    again = val_sequences(sets, count=4, size=16, batch_size=2)
    assert all(torch.equal(a[key], b[key]) for a, b in zip(batches, again, strict=True) for key in a)


def test_some_frames_of_each_with_their_times(tmp_path: Path) -> None:
    sets = [MetadataSequences(stored(tmp_path / str(n), n, 1), n) for n in (5, 9)]
    seen = set()
    for step in range(12):
        batch = SequenceBatches([(one, 1.0) for one in sets], size=16, batch_size=2, frames_per_sample=2, seed=3).batch(
            step
        )
        assert batch["frames"].shape == (2, 2, 3, 16, 16)
        assert (batch["times"].diff() > 0).all()
        for blurry, frames, times in zip(batch["blurry"], batch["frames"], batch["times"], strict=True):
            count = 5 if levels(blurry[None]) == [2] else 9
            assert levels(frames) == (times * (count - 1)).round().int().tolist()
            seen |= {(count, level) for level in levels(frames)}
    assert len(seen) > 10
    with pytest.raises(ValueError, match="not both"):
        SequenceBatches([(sets[0], 1.0)], frames_per_sample=1, middle_first=True)


def test_in_a_mirror_time_runs_the_other_way() -> None:
    plain, mirror = (
        SequenceBatches([(Slope(), 1.0)], size=16, batch_size=3, augmentation=replace(NO_CHANGE, mirror=share)).batch(1)
        for share in (0.0, 1.0)
    )
    for name in ("blurry", "frames"):
        assert torch.equal(mirror[name], plain[name].flip(-1))
    torch.testing.assert_close(mirror["times"], 1 - plain["times"])


class Slope(Made):
    """Brighter to the right."""

    def read(self, index: int) -> Exposed:
        line = np.arange(self.side, dtype=np.uint8)[None, None, :, None]
        return Exposed(np.broadcast_to(line, (4, self.side, self.side, 3)).copy())


def test_pictures_are_enlarged_alike() -> None:
    pictures = Slope().read(0).pictures
    how, rng = replace(NO_CHANGE, enlarge=1.5), np.random.default_rng(0)
    sides = {enlarged(pictures, how, rng).shape[1] for _ in range(20)}
    assert min(sides) >= 40
    assert max(sides) <= 60
    assert len(sides) > 5
    assert enlarged(pictures, NO_CHANGE, rng) is pictures
    slopes = SequenceBatches([(Slope(), 1.0)], size=40, batch_size=8, augmentation=how).batch(0)["blurry"]
    rises = (slopes[..., -5] - slopes[..., 4]).mean((1, 2)) * 255 / 31
    assert ((rises > 0.6) & (rises < 1.05)).all()
    with pytest.raises(ValueError, match="enlarge"):
        Augmentation(enlarge=0.9)


def film(path: Path, step: int = 1, count: int = 40) -> Path:
    """Content that moves left by `step` pixels per frame."""
    rng = np.random.default_rng(0)
    texture = torch.from_numpy(rng.random((3, 16, 60), np.float32)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return write_clip(path, [texture[:, :, x * step : x * step + 100] for x in range(count)])


def test_clips_are_exposures(tmp_path: Path) -> None:
    moving, still = film(tmp_path / "film"), film(tmp_path / "still", 0, 20)
    sequences = ClipSequences([still, moving], 4, 48)
    assert len(sequences) == 3
    pictures = torch.from_numpy(sequences.read(0).pictures).float()
    assert pictures.shape == (5, 60, 60, 3)
    # By 4 pixels from frame to frame of those that are kept.
    assert (pictures[2, :, :-4] - pictures[1, :, 4:]).abs().mean() < 1
    assert len(ClipSequences([still, moving], 4, 48, windows_per_clip=2)) == 2
    batch = SequenceBatches([(sequences, 1.0)], size=48, batch_size=2).batch(0)
    assert batch["frames"].shape == (2, 4, 3, 48, 48)


def test_clips_without_a_window(tmp_path: Path) -> None:
    still = film(tmp_path / "still", 0, 20)
    with pytest.raises(UnblurError, match="hold no window that moves"):
        ClipSequences([still], 4, 48)
    with pytest.raises(UnblurError, match="hold no window that moves"):
        ClipSequences([film(tmp_path / "film")], 4, 90)
    with pytest.raises(UnblurError, match="too few"):
        ClipSequences([still], 1, 48)


def test_what_was_found_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = film(tmp_path / "film.mp4"), tmp_path / "cache"
    first = ClipSequences([path], 3, 48, cache=cache)
    assert len(list(cache.iterdir())) == 1
    found, calls = module._found, []
    monkeypatch.setattr(module, "_found", lambda *arguments: calls.append(arguments) or found(*arguments))
    again = ClipSequences([path], 3, 48, cache=cache)
    assert not calls
    assert len(again) == len(first) > 0
    assert all(np.array_equal(first.read(i).pictures, again.read(i).pictures) for i in range(len(first)))
    ClipSequences([path], 4, 48, cache=cache)
    assert len(calls) == 1
    # What is damaged is made again.
    for entry in cache.iterdir():
        entry.write_bytes(b"PK")
    ClipSequences([path], 3, 48, cache=cache)
    assert len(calls) == 2
