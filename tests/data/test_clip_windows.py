from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unblur.data import clip_windows as passages
from unblur.data.clip_windows import ClipSequences
from unblur.data.sequences import SequenceBatches
from unblur.errors import UnblurError
from unblur.media.video import write_clip


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
    assert len(ClipSequences([still, moving], 4, 48, most=2)) == 2
    batch = SequenceBatches([(sequences, 1.0)], size=48, batch_size=2).batch(0)
    assert batch["frames"].shape == (2, 4, 3, 48, 48)


def test_clips_without_a_passage(tmp_path: Path) -> None:
    still = film(tmp_path / "still", 0, 20)
    with pytest.raises(UnblurError, match="hold no passage that moves"):
        ClipSequences([still], 4, 48)
    with pytest.raises(UnblurError, match="hold no passage that moves"):
        ClipSequences([film(tmp_path / "film")], 4, 90)
    with pytest.raises(UnblurError, match="too few"):
        ClipSequences([still], 1, 48)


def test_what_was_found_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = film(tmp_path / "film.mp4"), tmp_path / "cache"
    first = ClipSequences([path], 3, 48, cache=cache)
    assert len(list(cache.iterdir())) == 1
    found, calls = passages._found, []
    monkeypatch.setattr(passages, "_found", lambda *arguments: calls.append(arguments) or found(*arguments))
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
