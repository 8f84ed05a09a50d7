"""Films through the Python twin: times, direction, streaming, files."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import unblur
from unblur.errors import UnblurError
from unblur.media.image import Picture, read_image
from unblur.media.video import read_clip
from unblur.models.card import Card
from unblur.models.weights import load_weights, save_weights
from unblur.networks.cfmd import CFMD
from unblur.networks.jin import Jin
from unblur.networks.purohit import Purohit
from unblur.pipeline import refine as refine_module
from unblur.pipeline import restore as engine_module
from unblur.pipeline.refine import Correction
from unblur.pipeline.restore import Pipeline
from unblur.tasks.batch import Options
from unblur.tasks.batch_films import FilmOptions, frames_files


def noise(height=20, width=30):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


def test_frames_are_those_of_the_network(pipeline, film_network):
    film = unblur.frames(noise(), n=5, model=pipeline, data_consistency=0)
    assert film.times == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert len(film) == 5
    with torch.inference_mode():
        expected = film_network(noise()[None], torch.tensor(film.times))[0].clamp(0, 1)
    assert torch.allclose(film.tensor(), expected, atol=1e-5)
    assert (expected[0] - expected[-1]).abs().mean() > 1e-3, "something moves"


def test_frames_come_one_by_one(pipeline, film_network):
    film = unblur.frames(noise(), n=1000, model=pipeline)
    film._film._pixels = lambda *_: 1
    decoded, decode = [], film_network.decode
    film_network.decode = lambda state, times: decoded.append(len(times)) or decode(state, times)
    assert next(iter(film)).shape == (3, 20, 30)
    assert decoded == [1]


def test_reverse_runs_the_other_way(pipeline):
    forwards = unblur.frames(noise(), n=4, model=pipeline)
    backwards = unblur.frames(noise(), n=4, reverse=True, model=pipeline)
    assert backwards.times == forwards.times
    assert torch.allclose(backwards.tensor(), forwards.tensor().flip(0), atol=1e-5)
    some = unblur.frames(noise(), times=[0.25, 1, 0], reverse=True, model=pipeline).tensor()
    same = unblur.frames(noise(), times=[0.75, 0, 1], model=pipeline).tensor()
    assert torch.allclose(some, same, atol=1e-5)


@pytest.mark.parametrize("options", [{"times": [0.5, 1.1]}, {"times": []}, {"times": [float("nan")]}, {"n": 0}])
def test_times_outside_the_exposure(pipeline, options):
    with pytest.raises(UnblurError, match="use"):
        unblur.frames(noise(), model=pipeline, **options)


def test_one_frame_is_the_middle(pipeline):
    assert unblur.frames(noise(), n=1, model=pipeline).times == (0.5,)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp"])
def test_clips_are_written(tmp_path, pipeline, name):
    told = []
    film = unblur.frames(noise(32, 48), n=6, model=pipeline)
    file = film.save(tmp_path / name, fps=12.5, progress=lambda *step: told.append(step))
    clip = read_clip(file)
    assert (clip.width, clip.height, clip.count) == (48, 32, 6)
    assert told == [("frames", i, 6) for i in range(1, 7)]


def test_a_folder_of_frames(tmp_path, pipeline):
    film = unblur.frames(noise(), n=3, model=pipeline)
    film.save(tmp_path / "moments")
    files = sorted((tmp_path / "moments").iterdir())
    assert len(files) == 3
    assert (read_image(files[2]).pixels - film.tensor()[2]).abs().max() <= 0.5 / 255 + 1e-6


def test_a_failure_while_writing_leaves_no_file(tmp_path, film_network):
    pipeline = Pipeline(film_network, device="cpu", dtype="float32")
    film = unblur.frames(noise(), n=100, model=pipeline)
    film._film._pixels = lambda *_: 1
    calls, decode = [], film_network.decode

    def faulty(state, times):
        calls.append(1)
        if len(calls) > 5:
            raise RuntimeError("broken")
        return decode(state, times)

    film_network.decode = faulty
    with pytest.raises(RuntimeError, match="broken"):
        film.save(tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_of_the_photo_is_given_back(pipeline):
    film = unblur.frames(noise(), times=(0, 0.5, 1), model=pipeline)
    deblurred = unblur.deblur(noise(), model=pipeline)
    assert film.residual.linear_light < 0.7 * deblurred.residual.linear_light
    torch.testing.assert_close(film.tensor()[1], deblurred.image, atol=1e-3, rtol=0)


def test_the_residual_comes_with_the_film(pipeline):
    film = unblur.frames(noise(), n=2, model=pipeline, data_consistency=0)
    assert film.residual == unblur.deblur(noise(), model=pipeline, data_consistency=0).residual


def test_any_restorer_makes_films(shipped, picture_network, film_network):
    pipeline = Pipeline(picture_network, device="cpu", dtype="float32")
    film = unblur.frames(noise(), times=[0, 0.5, 1], model=pipeline, data_consistency=0).tensor()
    with torch.inference_mode():
        state = film_network.orient(film_network.estimate_motion(noise()[None], picture_network(noise()[None])))
        expected = film_network.decode(state, torch.tensor([0, 0.5, 1.0]))[0].clamp(0, 1)
    assert torch.allclose(film, expected, atol=1e-5)
    assert not torch.allclose(film[0], film[2], atol=1e-3), "something moves"
    assert torch.allclose(film[1], unblur.deblur(noise(), model=pipeline, data_consistency=0).image, atol=1e-5)


def test_a_film_without_a_sharp_frame():
    """CFMD makes its frames by itself."""
    network = CFMD(channels=4, blocks=1)
    pipeline = Pipeline(network, device="cpu", dtype="float32")
    film = unblur.frames(noise(), n=3, model=pipeline)
    with torch.inference_mode():
        expected = network(noise()[None], torch.tensor([0, 0.5, 1.0]))[0].clamp(0, 1)
    assert torch.allclose(film.tensor(), expected, atol=1e-5)
    result = unblur.deblur(noise(), model=pipeline)
    assert torch.allclose(result.image, expected[1], atol=1e-5)
    assert result.residual == film.residual


def test_the_sharp_frame_may_be_the_users_own(tmp_path, pipeline, film_network):
    sharp = noise().flip(-1)
    file = Picture(sharp, bits=16).save(tmp_path / "sharp.png")
    film_network.restorer.forward = None
    film = unblur.frames(noise(), n=3, model=pipeline, sharp=file).tensor()
    assert torch.allclose(film[1], sharp, atol=1e-4)
    assert torch.equal(film, unblur.frames(noise(), n=3, model=pipeline, sharp=read_image(file)).tensor())
    with torch.inference_mode():
        state = film_network.orient(film_network.estimate_motion(noise()[None], read_image(file).pixels[None]))
        assert torch.allclose(film, film_network.decode(state, torch.tensor([0, 0.5, 1.0]))[0].clamp(0, 1), atol=1e-5)


def test_sharp_frames_that_do_not_fit(tmp_path, pipeline, picture_network):
    small = Picture(noise(20, 28)).save(tmp_path / "small.png")
    with pytest.raises(UnblurError, match=r"small.png: is 28x20, but the photo 30x20; give"):
        unblur.frames(noise(), model=pipeline, sharp=small)
    with pytest.raises(UnblurError, match=r"no.png: does not exist"):
        unblur.frames(noise(), model=pipeline, sharp=tmp_path / "no.png")
    for network in (picture_network, CFMD(channels=4, blocks=1)):
        other = Pipeline(network, device="cpu", dtype="float32")
        with pytest.raises(UnblurError, match=rf"sharp: takes the place of what {other.name} makes; leave"):
            unblur.frames(noise(), model=other, sharp=noise())


def test_with_a_sharp_frame_no_restorer_is_chosen(shipped, film_network):
    film = unblur.frames(noise(), n=3, device="cpu", sharp=noise())
    assert film.pipeline.name == "film-small"
    assert film.pipeline.runner.network is film_network


def test_pictures_keep_their_path_in_messages(tmp_path, pipeline):
    with pytest.raises(UnblurError, match=r"missing.png: "):
        unblur.frames(tmp_path / "missing.png", model=pipeline)
    file = Picture(noise()).save(tmp_path / "big.png")
    with pytest.raises(UnblurError, match=r"big.png: .*pixels"):
        unblur.deblur(file, model=pipeline, max_pixels=10)


def test_refined_paths_keep_the_middle_frame(pipeline):
    plain = unblur.frames(noise(40, 40), n=3, model=pipeline, data_consistency=0)
    refined = unblur.frames(noise(40, 40), n=3, model=pipeline, refine=True, data_consistency=0)
    assert plain.refinement is None
    assert refined.refinement.before == plain.residual
    assert torch.allclose(refined.tensor()[1], plain.tensor()[1], atol=1e-5)
    changed = not torch.equal(refined.tensor()[0], plain.tensor()[0])
    assert changed == refined.refinement.kept


def test_refined_paths_are_used_where_they_help(monkeypatch, pipeline):
    found = Correction(torch.ones(1, 4, 6, 6), 1.0, (2.0, 1.0))
    monkeypatch.setattr(refine_module, "find_correction", lambda *_, **__: found)
    plain, refined = (
        unblur.frames(noise(), n=3, model=pipeline, refine=refine, data_consistency=0) for refine in (False, True)
    )
    assert refined.refinement.kept
    assert torch.allclose(refined._film.state[:, 3:], plain._film.state[:, 3:] + 1)
    monkeypatch.setattr(refine_module, "find_correction", lambda *_, **__: replace(found, shrinkage=0.2))
    left = unblur.frames(noise(), n=3, model=pipeline, refine=True, data_consistency=0)
    assert not left.refinement.kept
    assert torch.equal(left.tensor(), plain.tensor())


def test_only_paths_are_refined():
    pipeline = Pipeline(CFMD(), device="cpu", dtype="float32")
    with pytest.raises(UnblurError, match="refine: needs paths"):
        unblur.frames(noise(), model=pipeline, refine=True)


def test_the_middle_frame_is_made_consistent_unless_it_is_the_users(pipeline):
    smooth = torch.nn.functional.avg_pool2d(noise(), 5, 1, 2)
    plain, made = (unblur.frames(smooth, n=3, model=pipeline, data_consistency=n) for n in (0, 4))
    assert made.residual.linear_light_db > plain.residual.linear_light_db + 1
    assert torch.equal(unblur.frames(smooth, n=3, model=pipeline).tensor(), made.tensor())
    own = unblur.frames(noise(), n=3, model=pipeline, sharp=noise()).tensor()
    assert torch.allclose(own[1], noise(), atol=1e-5)
    with pytest.raises(UnblurError, match="data_consistency=-1"):
        unblur.frames(noise(), model=pipeline, data_consistency=-1)


@pytest.fixture
def cascade():
    torch.manual_seed(0)
    network = Jin(8, 4, 8, 4)
    for part in (network.middle, network.before, network.after, network.second, network.outermost):
        torch.nn.init.normal_(part.refinement.exit.weight, std=0.1)
    return network


@pytest.fixture
def recurrent():
    torch.manual_seed(0)
    network = Purohit(4, 6, (2, 3, 4))
    for head in network.decoder.heads:
        torch.nn.init.normal_(head.bias, std=0.5)
    return network


def test_a_cascade_makes_seven_frames(cascade):
    pipeline = Pipeline(cascade, device="cpu", dtype="float32")
    film = unblur.frames(noise(), n=7, model=pipeline)
    with torch.inference_mode():
        expected = cascade(noise()[None])[0].clamp(0, 1)
    torch.testing.assert_close(film.tensor(), expected, atol=1e-5, rtol=1e-5)
    backwards = unblur.frames(noise(), times=[0, 0.5, 1], reverse=True, model=pipeline).tensor()
    torch.testing.assert_close(backwards, expected[[6, 3, 0]], atol=1e-5, rtol=1e-5)
    result = unblur.deblur(noise(), model=pipeline)
    torch.testing.assert_close(result.image, expected[3], atol=1e-5, rtol=1e-5)
    assert result.residual == film.residual
    for options, said in (({"n": 51}, "n=51"), ({"n": 5}, "n=5"), ({"times": [0.5, 0.6]}, "times")):
        with pytest.raises(UnblurError, match=f"^{said}: Jin makes 7 frames") as caught:
            unblur.frames(noise(), model=pipeline, **options)
        assert "use `n=7`" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_large_picture_in_tiles_of_a_cascade(cascade, monkeypatch):
    """Tiles that see other surroundings, and so might run the other way, are turned."""
    monkeypatch.setattr(Jin, "tile_overlap", 20)
    pipeline = Pipeline(cascade, device="cpu", dtype="float32", tile=60)
    film = unblur.frames(noise(70, 90), n=7, model=pipeline)
    assert film.tensor().shape == (7, 3, 70, 90)
    assert film.tile == 60


def test_the_recurrent_model_moves_what_another_network_sharpened(shipped, recurrent, film_network):
    pipeline = Pipeline(recurrent, device="cpu", dtype="float32")
    film = unblur.frames(noise(), n=11, model=pipeline, data_consistency=0)
    with torch.inference_mode():
        sharp = film_network.restorer(noise()[None])
        expected = recurrent(noise()[None], sharp, torch.arange(11) / 10)[0].clamp(0, 1)
    torch.testing.assert_close(film.tensor(), expected, atol=1e-5, rtol=1e-5)
    assert (expected[0] - expected[5]).abs().mean() > 1e-2, "something moves"
    assert (pipeline.sharpener, pipeline.as_dict()["sharpener"]) == ("film-small", "film-small")
    assert "behind film-small" in str(pipeline)
    other = noise().flip(-1)
    given = unblur.frames(noise(), n=7, model=pipeline, sharp=other, data_consistency=0).tensor()
    torch.testing.assert_close(given[3], other, atol=1e-5, rtol=1e-5)
    assert unblur.frames(noise(), n=3, model=pipeline).residual.linear_light > 0


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("kind", ["film_network", "picture_network", "recurrent", "cascade"])
def test_what_is_shown_is_what_is_measured(shipped, request, kind, steps):
    pipeline = Pipeline(request.getfixturevalue(kind), device="cpu", dtype="float32")
    shown = unblur.frames(noise(40, 36), n=7, model=pipeline, data_consistency=steps).tensor()
    with torch.inference_mode():
        measured = pipeline.frames(noise(40, 36)[None], torch.arange(7) / 6, data_consistency=steps)[0]
    torch.testing.assert_close(shown, measured, atol=2e-3, rtol=0)


def test_what_sharpens_is_chosen_by_the_size(shipped, recurrent, monkeypatch, tmp_path):
    named = {"film-small": None, "maxim": None}
    load = engine_module.load_weights
    found = SimpleNamespace(network=recurrent, card=SimpleNamespace(name="mine"))
    monkeypatch.setattr(engine_module, "load_weights", lambda name: load(name) if name in named else found)
    assert engine_module.load("mine", "cpu", sizes=[100]).sharpener == "maxim"
    assert engine_module.load("mine", "cpu", sizes=[10**9]).sharpener == "film-small"
    assert engine_module.load("film-small", "cpu", sizes=[100]).sharpener == ""


class _Silent:
    def begin(self, *_): ...
    def progress(self, *_): ...
    def done(self, *_): ...
    def failed(self, *_): ...


def test_methods_of_the_command(shipped, monkeypatch, tmp_path, cascade, recurrent):
    named = engine_module.load_weights
    files_too = lambda name: load_weights(name) if str(name).startswith(str(tmp_path)) else named(name)  # noqa: E731
    monkeypatch.setattr(engine_module, "load_weights", files_too)
    photo = Picture(noise(), bits=8).save(tmp_path / "photo.png")
    weights = {
        name: str(save_weights(tmp_path / f"{name}.safetensors", network, Card(name, name)))
        for name, network in (("jin", cascade), ("purohit", recurrent))
    }

    def run(method=None, model=None, **options):
        film = FilmOptions(format="png", method=method, **options)
        given = Options(model=model, device="cpu", dtype="float32", data_consistency=0)
        return frames_files([str(photo)], str(tmp_path / "film") + "/", given, _Silent(), film)

    assert run("jin", weights["jin"]).results[0].details["frames"] == 7
    moved = run("purohit", weights["purohit"], n=4)
    assert moved.results[0].details["frames"] == 4
    assert "with purohit behind maxim" in moved.suffix
    for method, model, options, said in (
        ("jin", None, {}, "method=jin: no weights of it come with this package; name a file"),
        ("jin", weights["purohit"], {}, "method=jin: purohit makes its films in another way"),
        ("purohit", weights["jin"], {}, "method=purohit: jin makes its films in another way"),
        ("paths", weights["jin"], {}, "method=paths: jin makes its films in another way"),
        ("jin", weights["jin"], {"n": 51}, "n=51: jin makes 7 frames"),
        (None, weights["jin"], {"times": [0.1]}, "times: jin makes 7 frames"),
        (None, weights["jin"], {"refine": True}, "refine: needs paths"),
        (None, weights["jin"], {"sharp": str(photo)}, "sharp: takes the place"),
    ):
        with pytest.raises(UnblurError) as caught:
            run(method, model, **options)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
