from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from unblur.errors import UnblurError
from unblur.evaluation import val1
from unblur.evaluation.val1 import KODAK, LENGTHS, Exposures, default_cache, load_val1, photo_exposure
from unblur.exposure.response import from_linear, to_linear

GOLDEN = [118.52, 110.43, 110.74, 110.05, 109.83, 111.39, 112.18, 115.10]  # means in grey levels: blurry, each frame


def scene(seed: int, side: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), 90, np.uint8)
    for _ in range(40):
        (x, y), (w, h) = rng.integers(0, side, 2), rng.integers(4, 16, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return image


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A protocol of the same shape with two tiny pictures and one class, and a folder for it."""
    monkeypatch.setattr(val1, "KODAK", KODAK[:2])
    monkeypatch.setattr(val1, "STILL", 60)
    monkeypatch.setattr(val1, "LENGTHS", {"mild": (3.0, 6.0)})
    monkeypatch.setattr(val1, "photo_exposure", lambda *a, **k: photo_exposure(*a, **k, side=16))
    root = tmp_path / "data" / "photos" / "deep"
    root.mkdir(parents=True)
    for i, name in enumerate(KODAK[:2]):
        Image.fromarray(scene(i, 64)).save(root / f"{name}.png")
    return tmp_path / "data"


def test_exposures_are_what_they_were_when_published() -> None:
    # A change here changes the protocol: choose another name for it, and measure everything again.
    blurry, frames = photo_exposure(scene(0), scene(1), LENGTHS["medium"], layer=True, seed=2001, side=24)
    assert (blurry.shape, frames.shape) == ((3, 24, 24), (7, 3, 24, 24))
    assert blurry.dtype == frames.dtype == torch.uint8
    assert blurry.double().mean().item() == pytest.approx(GOLDEN[0], abs=0.05)
    assert frames.double().mean((1, 2, 3)).tolist() == pytest.approx(GOLDEN[1:], abs=0.05)


@pytest.mark.parametrize("layer", [False, True])
def test_the_truth_explains_the_blur(layer: bool) -> None:
    blurry, frames = photo_exposure(scene(2), scene(3), (3.0, 6.0), layer=layer, seed=5, side=24)
    light = to_linear(frames.float() / 255)
    weights = torch.tensor([1, 2, 2, 2, 2, 2, 1]) / 12
    again = from_linear(torch.einsum("tchw,t->chw", light, weights))
    difference = (again * 255 - blurry).abs()
    assert difference.mean() < 2.0
    assert (blurry.float() - frames[3]).abs().mean() > 3 * difference.mean()


def test_built_once_then_read(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[int, int]] = []
    first = load_val1(small, tmp_path / "cache", progress=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    monkeypatch.setattr(val1, "_build", lambda *_: pytest.fail("built again"))
    second = load_val1(small, tmp_path / "cache")
    assert first["mild"].sha256() == second["mild"].sha256()
    assert second["mild"].names == ("kodim01", "kodim02")
    assert len(load_val1(small, tmp_path / "cache", limit=1)["mild"]) == 1


def test_other_data_is_told(small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load_val1(small, tmp_path / "cache")["mild"].verified == "no"
    assert "not the data that published scores" in caplog.text
    assert "no clips" in caplog.text


def test_a_broken_cache_is_built_again(small: Path, tmp_path: Path) -> None:
    first = load_val1(small, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(entry.read_bytes()[:200])
    assert load_val1(small, tmp_path / "cache")["mild"].sha256() == first["mild"].sha256()
    Image.fromarray(scene(9, 64)).save(small / "photos" / "deep" / "kodim01.png")
    assert load_val1(small, tmp_path / "cache")["mild"].sha256() != first["mild"].sha256()


def test_missing_inputs_are_named(small: Path, tmp_path: Path) -> None:
    (small / f"{val1.CLIPS[0]}.mp4").write_bytes(b"a clip")
    with pytest.raises(UnblurError, match="needs all 5 clips, or none"):
        load_val1(small, tmp_path / "cache")
    (small / "photos" / "deep" / "kodim02.png").unlink()
    with pytest.raises(UnblurError, match=r"1 of the 24 Kodak pictures are missing \(kodim02\)"):
        load_val1(small, tmp_path / "cache")


def test_small_pictures_are_refused(small: Path, tmp_path: Path) -> None:
    Image.fromarray(scene(1, 50)).save(small / "photos" / "deep" / "kodim01.png")
    with pytest.raises(UnblurError, match="smaller than 60 x 60"):
        load_val1(small, tmp_path / "cache")


def test_exposures_of_a_clip(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 220, 3), np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(45):
        Image.fromarray(texture[10:106, i : i + 112]).save(folder / f"{i:03d}.png")
    found = val1.clip_exposures_of(folder, side=64, per_clip=2)
    assert [e.span for e in found] == [(0, 12), (26, 38)]
    assert found[0].frames.shape == (13, 3, 64, 64)
    assert found[0].direction == -1  # the window moves right, so the content moves left


def test_verification_forgives_roundings_only() -> None:
    generator = torch.Generator().manual_seed(0)
    blurry = torch.randint(0, 255, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    frames = torch.randint(0, 255, (2, 7, 3, 32, 32), generator=generator, dtype=torch.uint8)
    published = Exposures(blurry, frames, ("a", "b"))
    key = (published.sha256(), published.fingerprint())
    assert published.checked(*key).verified == "exact"
    rounded = blurry.clone()
    rounded[0, 0, 0, :3] += 1
    assert Exposures(rounded, frames, ("a", "b")).checked(*key).verified == "close"
    assert Exposures(blurry, frames.flip(1)[:, [0, 1, 2, 0, 4, 5, 6]], ("a", "b")).checked(*key).verified == "no"


def test_batches_are_in_range() -> None:
    exposures = Exposures(
        torch.full((3, 3, 8, 8), 255, dtype=torch.uint8), torch.zeros(3, 7, 3, 8, 8, dtype=torch.uint8), ("a",) * 3
    )
    batches = list(exposures.batches(2))
    assert [len(b["blurry"]) for b in batches] == [2, 1]
    assert batches[0]["blurry"].max() == 1
    assert batches[0]["times"].tolist() == pytest.approx([i / 6 for i in range(7)])


def test_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNBLUR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "unblur"
    monkeypatch.setenv("UNBLUR_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"
