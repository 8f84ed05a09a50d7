"""Sharpening by search: in Python and from the command line, with a small space."""

import json
from dataclasses import replace

import pytest
import torch

import unblur
from unblur.cli import main
from unblur.errors import UnblurError, UsageError
from unblur.media.image import Picture, read_image
from unblur.models.card import Card
from unblur.models.weights import save_weights
from unblur.networks.path_blur_space import PathBlurSpace
from unblur.pipeline.blur_transfer import BlurCode, load_blur_space
from unblur.pipeline.restore import Pipeline
from unblur.pipeline.search_options import SearchOptions
from unblur.tasks import search as module
from unblur.tasks.search import SearchPlan, deblur_by_search, start_code

ARGUMENTS = {"widths": (4, 4, 6, 6), "blocks": (1, 1, 1, 1), "features": 8, "gauss_newton_steps": 1}
EVIDENCE = {"hidden": 8, "blocks": 1, "window": 16, "reaches": (2, 3)}
QUICK = {"steps": "2", "patience": "0"}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(0)
    network = PathBlurSpace(6, **ARGUMENTS, spectral=EVIDENCE)
    torch.nn.init.normal_(network.unfold.outro.weight, std=0.1)
    network.prior_mean.fill_(0.25)
    return save_weights(tmp_path_factory.mktemp("space") / "tiny.safetensors", network, Card("tiny", "path_blur_space"))


@pytest.fixture(scope="module")
def space(file):
    return load_blur_space(file, "cpu")


@pytest.fixture
def plan(space):
    return SearchPlan(space, changes=QUICK)


@pytest.fixture
def model(tmp_path, film_network):
    return str(save_weights(tmp_path / "film.safetensors", film_network, Card("film", "film")))


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_goes_on_from_the_networks_answer(plan, pipeline, leaves):
    photo = leaves[:, :60, :70]
    guess = unblur.deblur(photo, pipeline).image
    stages = []
    found = unblur.deblur_by_search(photo, plan, pipeline, progress=lambda stage, done, total: stages.append(stage))
    assert found.after < found.before
    assert found.iterations == 2
    assert (found.stopped, found.tiles) == ("steps", 1)
    assert 0 < float((found.image - guess).abs().mean()) < 0.2
    network = plan.space.network
    with torch.no_grad():
        code = network.encode(guess[None], photo[None]).mean
        unexplained = (network.reblur(guess[None], code) - photo).square().mean().sqrt()
    assert found.before == pytest.approx(float(unexplained), rel=1e-3)
    assert found.distance == pytest.approx(float(network.distance(code).square().mean().sqrt()), rel=0.2)
    assert any("unexplained" in stage for stage in stages)
    assert torch.equal(found.image, unblur.deblur_by_search(photo, plan, pipeline).image)
    report = found.as_dict()
    assert report["residual"]["after"]["db"] > report["residual"]["before"]["db"]
    assert "in 2 steps" in str(found)


def test_a_large_picture_is_searched_in_tiles(plan, film_network, leaves):
    pipeline = Pipeline(film_network, device="cpu", dtype="float32", tile=256)
    photo = torch.cat((leaves, leaves.flip(-1)), -1)[:, :140, :500]
    whole = deblur_by_search(photo, plan, Pipeline(film_network, device="cpu", dtype="float32"), check=False)
    parts = deblur_by_search(photo, plan, pipeline, check=False)
    assert (whole.tiles, parts.tiles) == (1, 3)
    assert "searched in 3 tiles" in parts.notes
    assert parts.image.shape == photo.shape
    assert float((parts.image - whole.image).abs().mean()) < 0.01
    assert parts.before == pytest.approx(whole.before, rel=0.2)


def test_tiles_share_the_seconds_and_make_one_report(plan, film_network, leaves, monkeypatch):
    asked, real = [], module.search

    def searched(*arguments, seconds, **options):
        asked.append(seconds)
        found = real(*arguments, seconds=None, **options)
        return replace(found, code=torch.full_like(found.code, 2.0), seconds=1.5, steps=len(asked))

    monkeypatch.setattr(module, "search", searched)
    photo = torch.cat((leaves, leaves.flip(-1)), -1)[:, :140, :500]
    pipeline = Pipeline(film_network, device="cpu", dtype="float32", tile=256)
    found = deblur_by_search(photo, replace(plan, seconds=60.0), pipeline, check=False)
    # A third, then half of what is left, then all of it: no tile had used its own.
    assert all(expected - 5 < seconds < expected for seconds, expected in zip(asked, (20, 30, 60), strict=True))
    cells = 3 * 2 * 2  # of tiles of 256 x 256, six numbers each
    assert found.code_norm == pytest.approx((6 * cells * 4.0) ** 0.5)
    assert (found.iterations, found.seconds) == (3, 4.5)


def test_where_the_code_begins(space, tmp_path, leaves):
    sharp, blurry = leaves[None, :, :130, :100], leaves[None, :, :130, 3:103]
    network = space.network
    with torch.no_grad():
        read, still = network.encode(sharp, blurry).mean, network.encode(sharp, sharp).mean
    assert torch.equal(start_code(space, "network", sharp, blurry), read)
    assert torch.equal(start_code(space, "identity", sharp, blurry), still)
    assert torch.equal(start_code(space, "mean", sharp, blurry), torch.full((1, 6, 2, 1), 0.25))
    kept = str(space.encode(leaves, leaves).save(tmp_path / "a.code"))
    assert start_code(space, kept, sharp, blurry).shape == (1, 6, 2, 1)
    other = BlurCode(torch.zeros(6, 1, 1), 9, 9, "other", "0").save(tmp_path / "b.code")
    for start, said in ((str(other), "means nothing to tiny"), ("meen", "did you mean mean")):
        with pytest.raises(UnblurError, match=said):
            start_code(space, start, sharp, blurry)


def test_plans():
    assert SearchPlan().options() == SearchOptions()
    assert SearchPlan(preset="released").options() == SearchOptions.released()
    assert SearchPlan(preset="released").begins == "mean"
    assert SearchPlan(start="identity").options().code == "free"
    changed = SearchPlan.of(["sparsity=0.1,0.2", "picture=prior", "turns=3,2", "begin_blurry=true"], steps=7).options()
    assert (changed.sparsity, changed.picture, changed.turns) == ((0.1, 0.2), "prior", (3, 2))
    assert (changed.begin_blurry, changed.steps) == (True, 7)
    assert SearchPlan.of(["backbone=a.pth"]).backbone == "a.pth"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"preset": "relesed"}, "did you mean released"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"steps": 0}, "steps=0"),
        ({"seed": 2**63}, "seed=9223372036854775808: not a seed"),
        ({"seed": -1}, "seed=-1: not a seed"),
        ({"changes": {"sparsty": "1"}}, "did you mean sparsity"),
        ({"changes": {"sparsity": "few"}}, "is not a number from 0 on"),
        ({"changes": {"sparsity": "nan"}}, "is not a number from 0 on"),
        ({"changes": {"steps": "2.5"}}, "is not a number from 0 on"),
        ({"changes": {"picture": "film"}}, "is not one of pixels, prior"),
        ({"changes": {"begin_blurry": "maybe"}}, "is not true or false"),
        ({"changes": {"turns": "0"}}, "turns are two numbers of steps"),
        ({"changes": {"reread": "0"}}, "steps and reread are 1 or more"),
    ],
)
def test_what_cannot_be_met(wrong, said):
    with pytest.raises(UsageError, match=said) as caught:
        SearchPlan(**wrong).options()
    assert caught.value.argument in ("preset", "seconds", "steps", "seed", "settings")


def test_the_command(capsys, tmp_path, leaves, file, model):
    (tmp_path / "in").mkdir()
    for name in "ab":
        Picture(leaves[:, :50, :60]).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "c.png").write_bytes(b"no picture")
    words = ["deblur", tmp_path / "in", "-o", tmp_path / "out", "--method", "search", "--space", file, "--model", model]
    code, out, err = run(capsys, *words, "--steps", 2, "--set", "patience=0", "--json")
    assert code == 1
    assert "c.png" in err
    report = json.loads(out)
    assert report["method"] == "search"
    assert report["search"]["space"]["name"] == "tiny"
    assert report["search"]["options"]["steps"] == 2
    assert len(report["errors"]) == 1
    assert [result["iterations"] for result in report["results"]] == [2, 2]
    assert {"residual", "code_norm", "distance", "stopped", "search_seconds"} <= report["results"][0].keys()
    a, b = (read_image(tmp_path / "out" / f"{name}.png") for name in "ab")
    assert torch.equal(a.pixels, b.pixels)
    code, out, _ = run(capsys, *words[:1], tmp_path / "in" / "a.png", *words[2:], "--steps", 1)
    assert code == 0
    assert "dB in 1 step and" in out
    assert "searched in tiny" in out


def test_the_released_preset_says_what_it_lacks(capsys, tmp_path, leaves, file, model, monkeypatch):
    from functools import partial

    from unblur.networks.deep_image_prior import DeepImagePrior
    from unblur.pipeline import search as variables

    monkeypatch.setattr(variables, "DeepImagePrior", partial(DeepImagePrior, width=8, skip=4))
    photo = Picture(leaves[:, :50, :60]).save(tmp_path / "a.png")
    words = ["deblur", photo, "-o", tmp_path / "b.png", "--method", "search", "--space", file, "--model", model]
    code, out, _ = run(capsys, *words, "--preset", "released", "--steps", 1, "--set", "warmup=1")
    assert code == 0
    assert "no perceptual weights: 1 - SSIM in their place" in out


@pytest.mark.parametrize(
    "more",
    [
        *(["--steps", "0"], ["--seconds", "0"], ["--preset", "released"], ["--seed", "3"], ["--start", "mean"]),
        *(["--space", "blur-space-small"], ["--set", "sparsity=1"]),
    ],
)
def test_settings_of_the_search_want_the_search(capsys, tmp_path, more):
    code, _, err = run(capsys, "deblur", tmp_path / "a.png", *more)
    assert code == 2
    assert "a setting of the search: is for --method search" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "gan"], "is not one of"),
        (["--steps", "3"], "--method search"),
        (["--method", "search", "--set", "sparsity"], "is not KEY=VALUE"),
        (["--method", "search", "--set", "backbone=absent.pth"], "absent.pth: no such file"),
        (["--method", "search", "--space", "film-small"], "is no blur space"),
        (["--method", "search", "--start", "absent"], "is no start and no file"),
    ],
)
def test_wrong_usage(capsys, tmp_path, leaves, file, model, more, said):
    photo = Picture(leaves[:, :20, :20]).save(tmp_path / "a.png")
    space = [] if "--space" in more or "--method" not in more or "gan" in more else ["--space", file]
    code, _, err = run(capsys, "deblur", photo, "-o", tmp_path / "b.png", "--model", model, *space, *more)
    assert code in (1, 2)
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "b.png").exists()


def test_an_unknown_blur_is_warned_of(plan, pipeline, leaves):
    found = deblur_by_search(leaves[:, :40, :40], plan, pipeline, check=False)
    far = replace(found, distance=9.0)
    assert found.warning is None or found.distance > 2
    assert "unlike those that tiny knows" in far.warning


def test_memory_that_runs_out_is_one_line(plan, pipeline, leaves, monkeypatch):
    def greedy(*_, **__):
        raise MemoryError

    monkeypatch.setattr(module, "search", greedy)
    with pytest.raises(UnblurError, match="use a smaller `tile`"):
        deblur_by_search(leaves[:, :40, :40], plan, pipeline)


def test_a_search_must_ask_something_of_the_photo():
    with pytest.raises(UnblurError, match="settings: leaves nothing that is asked of the photo; set one of square"):
        SearchPlan(changes={"square": "0"}).options()
