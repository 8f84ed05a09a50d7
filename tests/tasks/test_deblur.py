"""Sharpening through the Python twin: what goes through unchanged, and what is checked."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unblur
from unblur.errors import UnblurError
from unblur.exposure.average import average, frame_times
from unblur.exposure.response import to_linear
from unblur.media.image import Picture, read_image
from unblur.metrics.fidelity import psnr
from unblur.pipeline import restore as restore_module
from unblur.pipeline.residual import measure_residual
from unblur.pipeline.restore import Pipeline, load


def noise(height=20, width=30, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_twin_takes_paths_pictures_and_tensors(tmp_path, pipeline):
    file = Picture(noise(), bits=16).save(tmp_path / "ä b.png")
    picture = read_image(file)
    of_path = unblur.deblur(file, model=pipeline)
    assert of_path.image.shape == (3, 20, 30)
    for source in (str(file), picture, picture.pixels, picture.pixels[None]):
        assert torch.equal(unblur.deblur(source, model=pipeline).image, of_path.image)
    written = of_path.save(tmp_path / "sharp.png")
    assert (read_image(written).pixels - of_path.image).abs().max() < 1e-4


def test_the_result_is_the_middle_frame(pipeline):
    image = noise()
    sharp = unblur.deblur(image, model=pipeline).image
    assert torch.allclose(sharp, unblur.frames(image, n=1, model=pipeline).tensor()[0], atol=1e-5)
    assert (sharp - image).abs().mean() > 1e-3, "the network did something"


@pytest.mark.parametrize(
    "bad", [torch.rand(2, 3, 4, 4), torch.rand(4, 4), torch.rand(3, 0, 4), torch.zeros(3, 4, 4).int()]
)
def test_tensors_that_are_no_picture(pipeline, bad):
    with pytest.raises(ValueError, match="a picture is"):
        unblur.deblur(bad, model=pipeline)
    with pytest.raises(TypeError, match="expected a path"):
        unblur.deblur(3, model=pipeline)


def test_depth_alpha_and_name_go_through(tmp_path, pipeline):
    alpha = torch.linspace(0, 1, 600).reshape(1, 20, 30)
    file = Picture(noise(), alpha=alpha, bits=16).save(tmp_path / "a.png")
    read = read_image(file)
    back = read_image(unblur.deblur(file, model=pipeline).save(tmp_path / "b.png"))
    assert back.bits == 16
    assert torch.equal(back.alpha, read.alpha)
    assert len((back.pixels * 65535).round().unique()) > 256


def test_grey_stays_grey(tmp_path, pipeline):
    file = Picture(noise().mean(0, keepdim=True).expand(3, -1, -1), grey=True).save(tmp_path / "grey.png")
    result = unblur.deblur(file, model=pipeline)
    assert result.picture.grey
    assert torch.equal(result.image[0], result.image[2])
    film = unblur.frames(file, n=3, model=pipeline).tensor()
    assert torch.equal(film[:, 0], film[:, 1])
    assert torch.allclose(film[1, 0], result.image[0], atol=1e-5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_size(pipeline, height, width):
    result = unblur.deblur(noise(height, width), model=pipeline)
    assert result.image.shape == (3, height, width)
    assert result.image.min() >= 0
    assert result.image.max() <= 1


def test_the_residual_is_that_of_the_frames_averaged_again(pipeline):
    image = noise(40, 50)
    result = unblur.deblur(image, model=pipeline, data_consistency=0)
    frames = unblur.frames(image, n=9, model=pipeline, data_consistency=0).tensor()[None]
    stored = psnr(average(frames, "linear"), image[None])
    linear = psnr(to_linear(average(frames, "srgb")), to_linear(image[None]))
    assert result.residual.frames == 9
    assert result.residual.stored_values_db == pytest.approx(float(stored), abs=0.01)
    assert result.residual.linear_light_db == pytest.approx(float(linear), abs=0.01)
    entry = result.residual.as_dict()
    assert entry["linear_light"]["response"] == "srgb"
    assert entry["stored_values"]["response"] == "linear"
    assert "dB in linear light" in str(result.residual)


def test_a_film_that_explains_the_picture_has_no_residual():
    class Still:
        def averages(self, times, responses):
            assert times == frame_times(9).tolist()
            for top in (0, 8):
                rows = slice(top, top + 8)
                yield rows, torch.stack([to_linear(image[:, rows], response) for response in responses])

    image = noise(16, 5)
    assert measure_residual(Still(), image).linear_light_db == 120


def test_a_network_for_one_picture_is_checked_by_the_film_that_follows_from_it(shipped, picture_network, film_network):
    image = noise(40, 30)
    pipeline = Pipeline(picture_network, device="cpu", dtype="float32")
    result = unblur.deblur(image, model=pipeline, data_consistency=0)
    with torch.inference_mode():
        sharp = picture_network(image[None])
        state = film_network.orient(film_network.estimate_motion(image[None], sharp))
        frames = film_network.decode(state, frame_times(9)).clamp(0, 1)
    assert torch.allclose(result.image, sharp[0].clamp(0, 1), atol=1e-6)
    expected = psnr(average(frames, "linear"), image[None])
    assert result.residual.stored_values_db == pytest.approx(float(expected), abs=0.01)


def test_weights_are_read_when_they_are_needed(monkeypatch, picture_network):
    """The film's only once something is to be sharpened, and a model's own never where another is named."""
    read = []

    def load_weights(name):
        read.append(name)
        return SimpleNamespace(network=picture_network, card=None)

    monkeypatch.setattr(restore_module, "load_weights", load_weights)
    load("best", device="cpu")
    assert read == ["best"]


def test_tiles_of_either_network_fit_it(shipped, picture_network, film_network):
    """A side that is named is the restorer's; the film takes a larger one where it needs to."""
    picture_network.tile_overlap = 8
    pipeline = Pipeline(picture_network, device="cpu", dtype="float32", tile=96)
    result = unblur.deblur(noise(100, 200), model=pipeline)
    assert result.tile == 96
    assert pipeline.film.smallest == 128
    with pytest.raises(UnblurError, match="tile=16: too small"):
        Pipeline(picture_network, device="cpu", dtype="float32", tile=16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_bytes_every_time(film_network, dtype):
    pipeline = Pipeline(film_network, device="cpu", dtype=dtype, tile=128)
    image = noise(150, 140)
    assert torch.equal(unblur.deblur(image, model=pipeline).image, unblur.deblur(image, model=pipeline).image)


def test_a_failed_tile_leaves_no_file(tmp_path, film_network):
    pipeline = Pipeline(film_network, device="cpu", dtype="float32", tile=128)
    calls, follow = [], film_network.estimate_motion

    def faulty(blurry, sharp, *context):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("broken")
        return follow(blurry, sharp, *context)

    film_network.estimate_motion = faulty
    with pytest.raises(RuntimeError, match="broken"):
        unblur.deblur(noise(200, 200), model=pipeline).save(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_load_checks_its_options(film_network):
    pipeline = load(film_network, device="cpu", dtype="float32")
    assert load(pipeline) is pipeline
    assert pipeline.as_dict() == {
        "name": "PathFilm",
        "chosen": None,
        "network": "PathFilm",
        "kind": "film",
        "paths": "PathFilm",
        "device": "cpu",
        "dtype": "float32",
    }
    for options in ({"device": "gpu"}, {"dtype": "int4"}, {"tile": "large"}, {"tile": 0}, {"tile": 10}):
        with pytest.raises(UnblurError, match=r"=(gpu|int4|large|0|10): "):
            load(film_network, **{"device": "cpu", **options})


def test_motion_is_estimated_only_where_the_answer_needs_it(pipeline, monkeypatch):
    def refused(*given, **options):
        raise AssertionError("motion was estimated")

    monkeypatch.setattr(restore_module, "estimate_motion", refused)
    result = unblur.deblur(noise(), model=pipeline, data_consistency=0, check=False)
    assert result.residual is None
    assert result.verdict is None
    with pytest.raises(AssertionError, match="motion was estimated"):
        unblur.deblur(noise(), model=pipeline, data_consistency=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("steps", [0, 4])
def test_paths_that_are_not_numbers_are_refused(pipeline, monkeypatch, value, steps):
    """Frames along them are drawn, of the picture's first pixel."""
    network = pipeline.film.network
    estimate = network.estimate_motion

    def lost(blurry, sharp, *context):
        state = estimate(blurry, sharp, *context)
        state[0, 3, 5, 6] = value
        return state

    monkeypatch.setattr(network, "estimate_motion", lost)
    with pytest.raises(UnblurError, match="values that are not numbers"):
        pipeline.frames(torch.rand(1, 3, 32, 32), torch.tensor([0.0, 1.0]), data_consistency=steps)
