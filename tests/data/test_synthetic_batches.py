import numpy as np
import pytest
import torch

from unblur.data.stills import Still
from unblur.data.synthetic_batches import SyntheticExposures, SyntheticFields
from unblur.exposure.camera import MotionSpec
from unblur.layers.paths import path_at


def grey(level: int, source: str, side: int = 60) -> Still:
    return Still(np.full((side, side, 3), level, np.uint8), source)


def source_of(stills: list[Still], **options: int) -> SyntheticExposures:
    return SyntheticExposures(stills, size=32, batch_size=2, times=3, **options)


def test_batches_follow_from_seed_and_step() -> None:
    stills = [grey(80, "a"), grey(200, "b")]
    first, again = (source_of(stills, seed=3).batch(5) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = source_of(stills, seed=4).batch(5)
    assert not torch.equal(first["paths"], other["paths"])


def test_shapes_and_the_middle_comes_first() -> None:
    batch = source_of([grey(80, "a")]).batch(0)
    shapes = {name: tuple(value.shape) for name, value in batch.items()}
    assert shapes == {
        "blurry": (2, 3, 32, 32),
        "frames": (2, 3, 3, 32, 32),
        "times": (2, 3),
        "paths": (2, 3, 2, 32, 32),
    }
    assert (batch["times"][:, 0] == 0.5).all()
    assert batch["paths"][:, 0].abs().max() < 1e-3


def test_a_clip_of_many_stills_does_not_crowd_out_the_photos() -> None:
    stills = [grey(0, "photo.png"), *(grey(255, f"clip.mp4#{i}") for i in range(9))]
    shares = source_of(stills)._shares
    assert shares.sum() == pytest.approx(1)
    assert shares[0] / shares[1:].sum() == pytest.approx(1 / 3)


def test_larger_stills_are_drawn_more_often() -> None:
    shares = source_of([grey(0, "a", 50), grey(0, "b", 100)])._shares
    assert shares[1] == pytest.approx(2 * shares[0])


def test_no_still_is_an_error() -> None:
    with pytest.raises(ValueError, match="still"):
        SyntheticExposures([])


def test_exposures_that_move_alike() -> None:
    made = SyntheticExposures([grey(80, "a"), grey(200, "b")], size=32, batch_size=4, times=3, shared_motion=2).batch(0)
    assert int(made["shared_motion"]) == 2
    assert made["times"].shape == (4, 3)
    with pytest.raises(ValueError, match="shared_motion must divide"):
        SyntheticExposures([grey(80, "a")], size=32, batch_size=3, shared_motion=2)


def source(**options):
    return SyntheticFields(size=8, batch_size=4, **options)


def test_a_batch_is_a_function_of_seed_and_step():
    one, same = (source(seed=1).batch(5) for _ in range(2))
    assert torch.equal(one["field"], same["field"])
    assert torch.equal(one["seen"], same["seen"])
    assert not torch.equal(one["field"], source(seed=2).batch(5)["field"])
    assert not torch.equal(one["field"], source(seed=1).batch(6)["field"])
    assert one["field"].shape == (4, 6, 8, 8)


@pytest.mark.parametrize("length", [3.0, 12.0, 30.0])
def test_paths_have_the_asked_length(length):
    motion = MotionSpec(length=(length, length), layer=0.0, rotation=0.0, zoom=0.0, tilt=0.0)
    field = source(motion=motion).batch(0)["field"]
    way = path_at(field, torch.linspace(0, 1, 33)).diff(dim=1).norm(dim=2).sum(1)
    # A polynomial of the third degree cuts the corners of a tremor.
    assert float(way.mean()) == pytest.approx(length, rel=0.1)
    # Shifts alone move everything alike.
    assert float(field.std((2, 3)).max()) < 1e-3


def test_things_in_front_move_by_themselves():
    still = MotionSpec(length=(10.0, 10.0), layer=0.0, rotation=0.0, zoom=0.0, tilt=0.0)
    with_things = MotionSpec(length=(10.0, 10.0), layer=1.0, rotation=0.0, zoom=0.0, tilt=0.0)
    apart = source().with_(8, with_things).batch(0)["field"].std((2, 3)).mean()
    assert apart > 0.3
    assert source().with_(8, still).batch(0)["field"].std((2, 3)).mean() < 1e-3


def test_noise_is_as_large_as_asked():
    batch = SyntheticFields(size=16, batch_size=64, noise=0.3).batch(0)
    assert 0.05 < float((batch["seen"] - batch["field"]).std()) < 0.3
    silent = source(noise=0.0).batch(0)
    assert torch.equal(silent["seen"], silent["field"])
