from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from unblur.data.exposure_metadata import Entry, read_metadata
from unblur.datasets import blur as module
from unblur.datasets.blur import BlurOptions, blur_data
from unblur.errors import UnblurError
from unblur.exposure.average import average
from unblur.exposure.response import to_linear
from unblur.media.image import read_image
from unblur.media.video import write_clip
from unblur.run_report import Job, Outcome

SMALL = BlurOptions(count=3, size=48, frames=4, length=(4.0, 8.0), seed=7)


def texture(seed: int, height: int = 90, width: int = 130) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def photo(path: Path, seed: int = 0, **size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(texture(seed, **size)).save(path)
    return path


def clip(path: Path, seed: int = 0, count: int = 30, step: int = 1) -> Path:
    """Content that moves left by `step` pixels per frame."""
    image = texture(seed, 64, 90 + count * abs(step))
    starts = [i * step if step > 0 else (i - count) * step for i in range(count)]
    frames = [torch.from_numpy(image[:, x : x + 80]).permute(2, 0, 1).float() / 255 for x in starts]
    return write_clip(path, frames)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def load(out: Path, record: Entry) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.stack([read_image(out / path).pixels for path in record.frames])
    return read_image(out / record.blurry).pixels, frames


def test_photos_become_exposures(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png", 0)
    photo(tmp_path / "in" / "b.jpg", 1)
    out = tmp_path / "out"
    report = blur_data([tmp_path / "in"], out, SMALL)
    assert report.exit_code == 0
    assert [o.details["exposures"] for o in report.results] == [2, 1]
    records = read_metadata(out / "metadata.json").entries
    assert [r.blurry for r in records] == ["blurry/a_0000.png", "blurry/a_0001.png", "blurry/b_0000.png"]
    assert records[0].frame_times() == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-5)
    assert len({r.seed for r in records}) == 3
    for record in records:
        blurry, frames = load(out, record)
        assert blurry.shape == (3, 48, 48)
        assert frames.shape == (4, 3, 48, 48)
        # The mean of the sharp frames is nearer to the blurry picture than any of them.
        light, target = to_linear(frames), to_linear(blurry)
        assert (light.mean(0) - target).abs().mean() < (light - target).abs().mean((1, 2, 3)).min()
        assert (record.source, record.order) == (record.blurry[7] + Path(str(record.source)).suffix, "keep")


def test_clips_are_averaged_and_their_direction_is_told(tmp_path: Path) -> None:
    left, right = clip(tmp_path / "left", 0), clip(tmp_path / "right", 1, step=-1)
    (tmp_path / "film").mkdir()
    for source in (left, right):
        frames = [read_image(p).pixels for p in sorted(source.iterdir())]
        write_clip(tmp_path / "film" / f"{source.name}.webp", frames)
    options = BlurOptions(count=4, size=48, frames=4, average=7)
    out = tmp_path / "out"
    blur_data([tmp_path / "film"], out, options)
    records = read_metadata(out / "metadata.json").entries
    assert [r.order for r in records] == ["reverse"] * 2 + ["keep"] * 2
    assert [r.span for r in records] == [(0, 6), (7, 13)] * 2
    assert all(r.seed is None for r in records)
    blurry, frames = load(out, records[0])
    assert frames.shape[0] == 4
    # In the order of the clip: content moves left.
    with_motion = (frames[1, :, :, :-2] - frames[0, :, :, 2:]).abs().mean()
    against_motion = (frames[1, :, :, 2:] - frames[0, :, :, :-2]).abs().mean()
    assert with_motion < against_motion / 3
    assert torch.allclose(blurry, average(frames[None], "srgb")[0], atol=0.15)


def test_what_clips_cannot_yield_photos_do(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "still.mp4", [torch.from_numpy(texture(0)).permute(2, 0, 1) / 255] * 15)
    report = blur_data([film, photo(tmp_path / "a.png")], tmp_path / "out", SMALL)
    assert report.exit_code == 1
    assert "no window that moves" in str(report.errors[0])
    assert [r.source for r in read_metadata(tmp_path / "out" / "metadata.json").entries] == ["a.png"] * 3


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    for out, seed in (("one", 7), ("two", 7), ("three", 8)):
        blur_data([source], tmp_path / out, BlurOptions(count=2, size=32, frames=2, seed=seed))
    one, two, three = (contents(tmp_path / out) for out in ("one", "two", "three"))
    assert one == two
    assert one.keys() == three.keys()
    assert one["blurry/a_0000.png"] != three["blurry/a_0000.png"]
    assert one["blurry/a_0000.png"] != one["blurry/a_0001.png"]


def test_an_interrupted_run_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = photo(tmp_path / "a.png"), tmp_path / "out"
    blur_data([source], tmp_path / "whole", SMALL)
    moved, calls = module._moved, []

    def failing(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return moved(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_moved", failing)
    with pytest.raises(KeyboardInterrupt):
        blur_data([source], out, SMALL)
    assert len(read_metadata(out / "metadata.json").entries) == 1
    report = blur_data([source], out, SMALL)
    assert len(calls) == 4
    assert report.results[0].message == "2 exposures, 1 there already"
    assert contents(out) == contents(tmp_path / "whole")
    again = blur_data([source], out, SMALL)
    assert len(calls) == 4
    assert again.results[0].details["skipped"] is True
    (out / "sharp" / "a_0001" / "02.png").unlink()
    blur_data([source], out, SMALL)
    assert len(calls) == 5
    assert contents(out) == contents(tmp_path / "whole")


def test_more_can_be_made_later_but_not_otherwise(tmp_path: Path) -> None:
    source, out = photo(tmp_path / "a.png"), tmp_path / "out"
    blur_data([source], out, BlurOptions(count=1, size=32, frames=2))
    blur_data([source], out, BlurOptions(count=2, size=32, frames=2))
    assert len(read_metadata(out / "metadata.json").entries) == 2
    with pytest.raises(UnblurError, match=r"made with another size \(32\)"):
        blur_data([source], out, BlurOptions(count=2, size=40, frames=2))
    other = photo(tmp_path / "other" / "a.jpg")
    report = blur_data([other], out, BlurOptions(count=2, size=32, frames=2))
    assert "comes from a.png, not from a.jpg" in str(report.errors[0])


def test_alike_names_do_not_clash(tmp_path: Path) -> None:
    one, two = photo(tmp_path / "1" / "a.png", 1), photo(tmp_path / "2" / "A.png", 2)
    report = blur_data([one, two], tmp_path / "out", BlurOptions(count=2, size=32, frames=1))
    assert report.exit_code == 0
    records = read_metadata(tmp_path / "out" / "metadata.json").entries
    assert sorted(r.blurry for r in records) == ["blurry/A-2_0000.png", "blurry/a_0000.png"]
    assert all(r.frame_times() == (0.5,) for r in records)


def test_bad_inputs_are_told_and_the_others_done(tmp_path: Path) -> None:
    class Listener:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def begin(self, job: Job, number: int, total: int) -> None:
            self.heard.append(f"{job.source.name} {number}/{total}")

        def progress(self, stage: str, done: int, total: int) -> None: ...

        def done(self, outcome: Outcome) -> None:
            self.heard.append(outcome.message)

        def failed(self, error: UnblurError, cause: BaseException | None = None) -> None:
            self.heard.append(str(error))

    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "broken.webp").write_bytes(b"RIFF1234WEBPVP8X")
    small, good = photo(tmp_path / "small.png", height=20), photo(tmp_path / "good.png")
    listener = Listener()
    inputs = [tmp_path / "missing.png", tmp_path / "broken.png", tmp_path / "broken.webp", small, good]
    report = blur_data(inputs, tmp_path / "out", BlurOptions(count=4, size=32, frames=2), listener)
    assert report.exit_code == 1
    assert len(report.errors) == 4
    assert "130 x 20 is smaller than 32 x 32; use `size=20`" in str(report.errors[-1])
    assert listener.heard[-1] == "4 exposures"
    assert not any("\n" in line for line in listener.heard)
    assert json.loads(json.dumps(report.as_dict()))["exposures"] == 4


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = blur_data([tmp_path / "empty"], tmp_path / "out", SMALL)
    assert report.exit_code == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (BlurOptions(count=0), "count=0"),
        (BlurOptions(size=8), "size=8"),
        (BlurOptions(frames=0), "frames=0"),
        (BlurOptions(length=(5, 2)), "length=5,2"),
        (BlurOptions(length=(float("nan"), 2)), "length=nan,2"),
        (BlurOptions(layer=1.5), "layer=1.5"),
        (BlurOptions(max_step=0), "max_step=0"),
        (BlurOptions(frames=7, average=12), "average=12: 7 frames cannot be equally spaced among them; use 13"),
        (BlurOptions(frames=1, average=4), "average=4"),
    ],
)
def test_options_that_cannot_be_met(options: BlurOptions, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UnblurError) as error:
        blur_data([tmp_path], tmp_path / "out", options)
    assert str(error.value).startswith(problem)


@pytest.mark.parametrize(("frames", "averaged"), [(1, 13), (2, 13), (5, 13), (7, 13), (9, 17), (30, 30)])
def test_frames_fall_on_averaged_ones(frames: int, averaged: int) -> None:
    assert BlurOptions(frames=frames).averaged == averaged
    assert BlurOptions(frames=frames, average=averaged).checked()


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    source, out = photo(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    (out / "metadata.json").write_text("mine")
    with pytest.raises(UnblurError, match=r"holds something else \(metadata.json\)"):
        blur_data([source], out, SMALL)
    assert contents(out) == {"metadata.json": b"mine"}
    (out / "options.json").write_text("[]")
    with pytest.raises(UnblurError, match="cannot be read"):
        blur_data([source], out, SMALL)
    with pytest.raises(UnblurError):
        blur_data([source], source, SMALL)


def test_names_that_do_not_print_and_the_split(tmp_path: Path) -> None:
    source = photo(tmp_path / "at 3.00\u202fPM.png")
    options = BlurOptions(count=1, size=32, frames=3, split="val")
    assert blur_data([source], tmp_path / "out", options).exit_code == 0
    (entry,) = read_metadata(tmp_path / "out" / "metadata.json").entries
    assert (entry.split, entry.blurry) == ("val", "blurry/at 3.00\u202fPM_0000.png")
