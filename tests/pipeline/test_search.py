"""The search on an operator that is simple enough to know the answer."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unblur.losses.perceptual import Backbone
from unblur.losses.pixel import charbonnier, dissimilarity
from unblur.losses.priors import hyper_laplacian
from unblur.metrics.fidelity import psnr
from unblur.networks.blur_kernel_space import BlurKernelSpace
from unblur.networks.deep_image_prior import DeepCodePrior, DeepImagePrior
from unblur.networks.kinds import Code
from unblur.pipeline import search as module
from unblur.pipeline import search as variables
from unblur.pipeline.search import Pixels, search
from unblur.pipeline.search_options import SearchOptions


class Mixing(nn.Module):
    """A code says how much of the picture is its own mean over nine pixels: 0 for no blur."""

    channels, cell = 2, 128

    def __init__(self):
        super().__init__()
        self.taps = nn.Parameter(torch.full((3, 1, 1, 9), 1 / 9))
        self.read = 0

    def encode(self, sharp, blurry):
        self.read += 1
        smooth = self.smoothed(sharp) - sharp
        share = (smooth * (blurry - sharp)).sum() / smooth.square().sum()
        return Code(share.expand(1, 2, 1, 1).clone())

    def reblur(self, sharp, code):
        return sharp + code[:, :1].mean((2, 3), keepdim=True) * (self.smoothed(sharp) - sharp)

    def smoothed(self, sharp):
        return F.conv2d(F.pad(sharp, (4, 4, 0, 0), mode="replicate"), self.taps, groups=3)

    def distance(self, code):
        return (code - 1).norm(dim=1)


@pytest.fixture(autouse=True)
def _small_priors(monkeypatch):
    monkeypatch.setattr(variables, "DeepImagePrior", partial(DeepImagePrior, inputs=2, width=8, skip=4))
    monkeypatch.setattr(variables, "DeepCodePrior", partial(DeepCodePrior, inputs=4, width=4, blocks=1))


@pytest.fixture
def scene(leaves):
    """The space, the truth, the photo, and a guess that is too smooth, with a code that is a little off."""
    space, truth = Mixing(), leaves[None, :, 60:124, 60:140]
    with torch.no_grad():
        blurry = space.reblur(truth, torch.full((1, 2, 1, 1), 0.9))
        guess = space.reblur(truth, torch.full((1, 2, 1, 1), 0.4))
    return space, truth, blurry, guess, torch.full((1, 2, 1, 1), 0.8)


def test_it_finds_a_sharper_picture_that_explains_the_photo(scene):
    space, truth, blurry, guess, code = scene
    found = search(space, blurry, guess, code)
    assert found.sharp.shape == blurry.shape
    assert found.after < 0.7 * found.before
    with torch.no_grad():
        explained = (space.reblur(found.sharp, found.code) - blurry).square().mean().sqrt()
    assert found.after == pytest.approx(float(explained), rel=1e-4)
    assert psnr(found.sharp, truth) > psnr(guess, truth) + 0.7
    assert 0 <= float(found.sharp.min()) <= float(found.sharp.max()) <= 1
    assert 1 <= found.steps <= 20
    assert space.read == found.steps // 5, "the code is read again in turns"
    assert space.taps.requires_grad
    assert space.taps.grad is None


@pytest.mark.parametrize("code", ["free", "prior", "encoder"])
@pytest.mark.parametrize("picture", ["pixels", "prior"])
def test_every_pair_of_variables(scene, picture, code):
    space, _, blurry, guess, start = scene
    options = SearchOptions(picture=picture, code=code, steps=12, patience=0, warmup=4)
    options = replace(options, picture_rate=1.0 if picture == "pixels" else 1e-3, code_rate=1e-3)
    found = search(space, blurry, guess, start, options, seed=3)
    assert found.steps == 12
    assert found.after < found.before
    again = search(space, blurry, guess, start, options, seed=3)
    assert torch.equal(found.sharp, again.sharp)
    assert torch.equal(found.code, again.code)
    if "prior" in (picture, code):
        other = search(space, blurry, guess, start, options, seed=4)
        assert not torch.equal(found.sharp, other.sharp)


def test_it_leaves_the_random_numbers_of_others_alone(scene):
    space, _, blurry, guess, code = scene
    options = SearchOptions(picture="prior", code="prior", steps=1, warmup=1, picture_rate=1e-3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    search(space, blurry, guess, code, options)
    assert torch.equal(torch.rand(3), expected)


def test_the_best_is_kept_and_not_the_last(scene, monkeypatch):
    space, _, blurry, guess, code = scene
    steps = iter([0.5, -3.0, -3.0])

    def wander(self, loss, share):
        self.now = (self.now - next(steps) * self.now.grad * self.now.numel()).detach().requires_grad_()

    monkeypatch.setattr(Pixels, "step", wander)
    found = search(space, blurry, guess, code, SearchOptions(steps=3, patience=0, reread=9))
    with torch.no_grad():
        once = guess - 0.5 * torch.autograd.functional.jacobian(
            lambda x: (space.reblur(x, code) - blurry).square().sum() / 2, guess
        )
    assert found.steps == 3
    assert (found.sharp - once.clamp(0, 1)).abs().max() < 0.02


def test_a_step_that_is_too_long_is_halved(scene):
    space, _, blurry, guess, code = scene
    plain = SearchOptions(steps=30, patience=0, reread=99, sparsity=(0.0,), anchor=(0.0,))
    wild = search(space, blurry, guess, code, replace(plain, picture_rate=64.0))
    calm = search(space, blurry, guess, code, plain)
    assert wild.after < 1.2 * calm.after


def test_it_ends_on_a_plateau_and_when_time_is_over(scene, monkeypatch):
    space, _, blurry, guess, code = scene
    options = SearchOptions(steps=500, patience=5, plateau=0.05)
    found = search(space, blurry, guess, code, options)
    assert found.stopped == "plateau"
    assert 5 <= found.steps < 100
    assert search(space, blurry, guess, code, SearchOptions(steps=2)).stopped == "steps"
    ticks = iter(range(1000))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(ticks))
    late = search(space, blurry, guess, code, replace(options, patience=0), seconds=7)
    assert late.stopped == "seconds"
    assert 1 <= late.steps < 10
    assert late.after < late.before


def test_weights_follow_the_steps():
    options = SearchOptions.released()
    assert [options.weight("perceptual", step) for step in (0, 2499, 2500, 4999, 5000)] == [0.6, 0.6, 1.0, 1.0, 1.0]
    assert [options.weight("sparsity", step) for step in (0, 2500)] == [0.02, 0.05]
    assert [options.weight("code_length", step) for step in (0, 2500)] == [5e-5, 5e-4]
    assert [options.weight("unlikeness", step) for step in (0, 2500)] == [1.0, 0.0]
    assert (options.warmup, options.picture_rate, options.decay, options.jitter) == (300, 5e-4, 0.7, 1e-3)
    without = options.without_backbone()
    assert [without.weight("unlikeness", step) for step in (0, 2500)] == [1.6, 1.0]
    assert not any(without.perceptual)
    odd = replace(options, unlikeness=(1.0, 2.0, 3.0), perceptual=(0.5,)).without_backbone()
    assert odd.unlikeness == (1.5, 2.5, 3.5)


def test_the_released_schedule_on_the_released_topology(leaves):
    """A small one of each, a few steps."""
    space = BlurKernelSpace(features=4, front_blocks=1, back_blocks=1, channels=8, encoder_blocks=1)
    blurry = leaves[None, :, :70, :90]
    options = replace(SearchOptions.released(), steps=4, warmup=2)
    stages = []
    code = torch.zeros(1, 8, 2, 2)
    found = search(space, blurry, blurry, code, options, tell=lambda stage, done, total: stages.append((stage, total)))
    assert found.steps == 4
    assert found.sharp.shape == blurry.shape
    assert [stage for stage, _ in stages[:4]] == ["warming up"] * 4
    assert all("unexplained" in stage for stage, _ in stages[4:])


def test_features_of_the_photo_are_computed_once(scene):
    space, _, blurry, guess, code = scene
    backbone = Backbone([nn.Conv2d(3, 4, 3), nn.ReLU()], (1,), (1.0,)).requires_grad_(False)
    seen = []
    backbone.register_forward_hook(lambda *_: seen.append(1))
    options = SearchOptions(square=(0.0,), perceptual=(1.0,), steps=3, patience=0, picture_rate=0.02)
    found = search(space, blurry, guess, code, options, backbone=backbone)
    assert len(seen) == 1 + 3
    assert found.after < found.before


def at_work(scene, **options):
    """A search before its first step."""
    space, _, blurry, guess, code = scene
    rest = {"backbone": None, "seed": 0, "seconds": None, "dtype": torch.float32, "tell": None}
    return module._Search(space, blurry, guess, code, SearchOptions(**options), **rest)


@pytest.mark.parametrize(
    "name", ["square", "absolute", "unlikeness", "sparsity", "code_length", "familiarity", "anchor"]
)
def test_every_weight_is_of_its_term(scene, name):
    space, truth, blurry, guess, code = scene
    nothing = dict.fromkeys(("square", "sparsity", "anchor"), (0.0,))
    searching = at_work(scene, **{**nothing, name: (0.5, 3.0)}, steps=10)
    sharp, code = truth.clone(), code + torch.tensor([0.3, -0.2])[:, None, None]
    again = space.reblur(sharp, code)
    expected = {
        "square": (again - blurry).square().mean() / 2,
        "absolute": charbonnier(again, blurry),
        "unlikeness": dissimilarity(again, blurry),
        "sparsity": hyper_laplacian(sharp),
        "code_length": code.norm(),
        "familiarity": ((code - 1) ** 2).sum(),
        "anchor": (sharp - guess).square().mean() / 2,
    }[name].detach()
    assert float(expected) > 1e-4
    for step, weight in ((0, 0.5), (9, 3.0)):
        assert float(searching._loss(step, sharp, code, again).detach()) == pytest.approx(weight * float(expected))


def test_a_prior_begins_where_it_is_told(scene):
    _, _, blurry, guess, code = scene
    for begin_blurry, picture in ((True, blurry), (False, guess)):
        searching = at_work(scene, picture="prior", code="prior", begin_blurry=begin_blurry, warmup=60)
        searching.options = replace(searching.options, jitter=0.0)
        for variable in (searching.picture, searching.code):
            variable.rate = 0.02
        before = [
            float((each.value() - target).square().mean().detach())
            for each, target in zip((searching.picture, searching.code), (picture, code), strict=True)
        ]
        searching._warm_up()
        for each, target, first in zip((searching.picture, searching.code), (picture, code), before, strict=True):
            assert float((each.value() - target).square().mean().detach()) < 0.5 * first
        assert searching.targets[0] is (searching.blurry if begin_blurry else searching.start)


def test_rates_fall_after_every_fifth_and_noise_is_jittered(scene, monkeypatch):
    space, _, blurry, guess, code = scene
    rates = []
    monkeypatch.setattr(variables, "_adam", lambda descent, rate: rates.append(rate))
    options = SearchOptions(picture="prior", code="prior", steps=10, patience=0, decay=0.5)
    search(space, blurry, guess, code, replace(options, picture_rate=1.0, code_rate=1e-3))
    shares = [0.5 ** ((step + 1) // 2) for step in range(10)]
    assert rates[0::2] == pytest.approx(shares)
    assert rates[1::2] == pytest.approx([1e-3 * share for share in shares])
    for jitter in (0.0, 0.5):
        prior = at_work(scene, picture="prior", jitter=jitter).picture
        assert torch.equal(prior.value(), prior.value()) is (jitter == 0)


def test_turns(scene):
    space, _, blurry, guess, code = scene
    plain = SearchOptions(code="free", steps=2, patience=0)
    codes_turn = search(space, blurry, guess, code, replace(plain, turns=(0, 2)))
    assert torch.equal(codes_turn.sharp, guess.clamp(0, 1))
    assert not torch.equal(codes_turn.code, code)
    pictures_turn = search(space, blurry, guess, code, replace(plain, turns=(2, 1)))
    assert torch.equal(pictures_turn.code, code)
    assert not torch.equal(pictures_turn.sharp, guess)


@pytest.mark.parametrize("size", [(1, 1), (3, 70)])
def test_any_size(size):
    found = search(Mixing(), *torch.rand(2, 1, 3, *size), torch.ones(1, 2, 1, 1), SearchOptions(steps=2, code="free"))
    assert found.sharp.shape == (1, 3, *size)
    assert found.sharp.isfinite().all()


def test_inside_inference(scene):
    space, _, blurry, guess, code = scene
    with torch.inference_mode():
        found = search(space, blurry.clone(), guess.clone(), code.clone(), SearchOptions(steps=2))
    assert found.after < found.before


def test_shapes_that_do_not_fit():
    space, code = Mixing(), torch.ones(1, 2, 1, 1)
    for pair in ((torch.rand(2, 3, 8, 8),) * 2, (torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))):
        with pytest.raises(ValueError, match="do not fit"):
            search(space, *pair, code)


def test_turns_do_not_add_up(scene):
    """After the other's turn a variable's gradient is that of one step."""
    searching = at_work(scene, turns=(1, 6), code="free", steps=16, patience=0)
    sizes, step = [], searching.picture.step

    def watched(loss, share):
        sizes.append(float(searching.picture.now.grad.norm()))
        step(loss, share)

    searching.picture.step = watched
    searching.run()
    assert len(sizes) == 3
    assert max(sizes[1:]) < 1.5 * sizes[0]
