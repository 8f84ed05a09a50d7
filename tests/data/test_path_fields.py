"""Fields of paths without pictures: exact where no thing stands in front, repeatable, of the asked length."""

import pytest
import torch

from unblur.data.path_fields import SyntheticFields
from unblur.exposure.camera import MotionSpec
from unblur.layers.paths import path_at


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
