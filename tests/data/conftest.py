from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Write a picture of noise that its name decides: ``picture(path, height=20, width=24)``."""

    def write(path: Path, height: int = 20, width: int = 24) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(path.as_posix().encode()))
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def root(tmp_path: Path, picture: Callable[..., Path]) -> Path:
    """Four pairs; the blurry picture is the negative of the sharp one, so that a mistake shows."""
    folder = tmp_path / "pairs"
    for i in range(4):
        sharp = picture(folder / "sharp_imgs" / "s" / f"{i}.png", 20 + i, 30)
        negative = 255 - np.asarray(Image.open(sharp))
        (folder / "blur_imgs" / "s").mkdir(parents=True, exist_ok=True)
        Image.fromarray(negative).save(folder / "blur_imgs" / "s" / f"{i}.png")
    return folder
