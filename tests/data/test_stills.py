from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from unblur.data.stills import edge_sharpness, load_stills, sharp_factor, shrink
from unblur.errors import UnblurError


def scene(seed: int, height: int = 224, width: int = 256) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    for _ in range(80):
        x, y = rng.integers(0, (width, height))
        w, h = rng.integers(8, 60, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return image


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def test_edge_sharpness_tells_sharp_from_blurred() -> None:
    sharp = scene(0)
    assert edge_sharpness(grey(sharp)) > 0.85
    assert edge_sharpness(grey(cv2.blur(sharp, (9, 9)))) < 0.7
    assert edge_sharpness(np.full((128, 128), 128, np.uint8)) == 0


def test_sharp_factor_shrinks_just_enough() -> None:
    large = cv2.GaussianBlur(np.kron(scene(1), np.ones((3, 3, 1), np.uint8)), (0, 0), 1.0)
    assert sharp_factor(grey(scene(1))) == 1
    factor = sharp_factor(grey(large))
    assert factor is not None
    assert 1.5 <= factor <= 4
    assert sharp_factor(grey(large), min_side=650) is None


def test_shrink_averages_light() -> None:
    checks = np.zeros((4, 4, 3), np.uint8)
    checks[::2] = 255
    # Half of the light is stored as 188, not as 128, in sRGB.
    assert np.unique(shrink(checks, 2.0)).tolist() == [188]


def test_finds_photos_and_frames_but_no_copies(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    Image.fromarray(scene(2)).save(tmp_path / "deep" / "a.png")
    Image.fromarray(scene(2)).save(tmp_path / "copy.png")
    Image.fromarray(cv2.blur(scene(3), (15, 15))).save(tmp_path / "blurred.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    # Three scenes with something that moves, and blurs, except around frames 4, 12 and 20.
    clip = []
    for i in range(24):
        frame = scene(10 + i // 8)
        x = 60 + 20 * max(0, abs(i % 8 - 4) - 1)
        frame[60:140, x : x + 80] = cv2.blur(scene(99), (1 + 8 * (i % 8 != 4), 1))[:80, :80]
        clip.append(frame)
    write_clip(tmp_path / "clip.mp4", clip)
    stills = load_stills(tmp_path, frames_per_clip=3)
    assert [s.source for s in stills] == ["clip.mp4#4", "clip.mp4#12", "clip.mp4#20", "copy.png"]
    assert all(s.pixels.dtype == np.uint8 and s.pixels.shape == (224, 256, 3) for s in stills)
    assert np.array_equal(stills[-1].pixels, scene(2))


def test_cache_gives_the_same_and_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    Image.fromarray(scene(4)).save(data / "a.png")
    first = load_stills(data, cache=cache)
    monkeypatch.setattr("unblur.data.stills._extract", lambda *_: pytest.fail("the cache was not used"))
    second = load_stills(data, cache=cache)
    assert np.array_equal(first[0].pixels, second[0].pixels)
    monkeypatch.undo()
    (entry,) = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    assert np.array_equal(load_stills(data, cache=cache)[0].pixels, first[0].pixels)
    with entry.open("wb") as file:
        np.savez(file, x=first[0].pixels)
    assert np.array_equal(load_stills(data, cache=cache)[0].pixels, first[0].pixels)
    Image.fromarray(scene(5)).save(data / "a.png")
    assert not np.array_equal(load_stills(data, cache=cache)[0].pixels, first[0].pixels)


def test_limits_of_size(tmp_path: Path) -> None:
    Image.fromarray(scene(6, 500, 700)).save(tmp_path / "a.png")
    assert max(load_stills(tmp_path, max_side=350)[0].pixels.shape) <= 350
    with pytest.raises(UnblurError, match="no sharp photo"):
        load_stills(tmp_path, min_side=600)
