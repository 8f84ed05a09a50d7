import numpy as np
import torch

from unblur.data.stills import Still
from unblur.training.val_exposures import val_exposures


def stills() -> list[Still]:
    rng = np.random.default_rng(0)
    return [Still(rng.integers(0, 255, (h, w, 3), dtype=np.uint8), "x") for h, w in ((90, 70), (40, 60))]


def test_fixed_and_sized() -> None:
    first, second = (val_exposures(stills(), count=3, size=32, length=(4, 6), batch_size=2) for _ in "ab")
    assert [b["blurry"].shape for b in first] == [(2, 3, 32, 32), (1, 3, 32, 32)]
    assert first[0]["frames"].shape == (2, 3, 3, 32, 32)
    assert first[0]["times"].tolist() == [0, 0.5, 1]
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    other = val_exposures(stills(), count=3, size=32, length=(4, 6), batch_size=2, seed=1)
    assert not torch.equal(first[0]["blurry"], other[0]["blurry"])


def test_blurry_is_blurry() -> None:
    batch = val_exposures(stills(), count=1, size=32, length=(8, 8))[0]
    assert batch["blurry"].std() < 0.7 * batch["frames"][:, 1].std()
