"""Paths are asked of networks that have them, by one rule everywhere."""

import pytest
import torch
from torch import Tensor, nn

import unblur
from unblur.errors import UnblurError
from unblur.evaluation.film_protocol import evaluate
from unblur.networks.cfmd import CFMDRefiner
from unblur.networks.kinds import FilmNetwork, RestorerNetwork
from unblur.pipeline.restore import Pipeline
from unblur.tasks.batch import model_note


class Sharp(nn.Module, RestorerNetwork):
    """Leaves a picture as it is."""

    def forward(self, blurry: Tensor) -> Tensor:
        return blurry


class Fading(nn.Module, FilmNetwork):
    """Films from a sharp frame of any origin, in which nothing moves: brightness says what the time is."""

    starts_from, has_map = "sharp", True

    def __init__(self) -> None:
        super().__init__()
        self.restorer = Sharp()

    @property
    def own_restorer(self) -> nn.Module:
        return self.restorer

    def encode(self, blurry: Tensor) -> Tensor:
        return self.estimate_motion(blurry, blurry)

    def estimate_motion(self, blurry: Tensor, sharp: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.cat((sharp, blurry - 0.5), 1)

    def decode(self, state: Tensor, times: Tensor) -> Tensor:
        still, change = state[:, :3], state[:, 3:]
        return still[:, None] + (times - 0.5)[:, None, None, None] * change[:, None]

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        return self.decode(self.encode(blurry), times)

    @staticmethod
    def reach(state: Tensor) -> float:
        return 0.0


@pytest.fixture
def fading():
    return Pipeline(Fading(), device="cpu", dtype="float32")


def test_what_follows_a_sharp_frame_need_not_have_paths(fading, pipeline):
    assert not fading.has_paths
    assert pipeline.has_paths
    assert fading.restore(torch.rand(1, 3, 40, 40), "a.png").motion is None


def test_such_a_film_is_neither_refined_nor_inspected(fading, tmp_path):
    photo = torch.rand(3, 40, 40)
    with pytest.raises(UnblurError, match="refine: needs paths, and the films of Fading have none"):
        unblur.frames(photo, model=fading, refine=True)
    with pytest.raises(UnblurError, match="refine: needs paths"):
        evaluate(fading, data=tmp_path, refine=True)
    with pytest.raises(UnblurError, match="model=Fading: makes films without paths"):
        unblur.inspect(photo, model=fading)


def test_a_film_that_corrects_drafts_is_not_refined_and_says_who_made_them(fading):
    network = CFMDRefiner(channels=12, blocks=1, deformable=False)
    pipeline = Pipeline(network, device="cpu", dtype="float32")
    pipeline.__dict__["estimator"] = fading
    with pytest.raises(UnblurError, match="refine: needs paths, and the films of CFMDRefiner have none"):
        pipeline.check_paths("refine")
    with pytest.raises(UnblurError, match="refine: needs paths"):
        unblur.frames(torch.rand(3, 40, 40), model=pipeline, refine=True)
    assert model_note(pipeline) == "with CFMDRefiner behind Fading"
    assert model_note(fading) == "with Fading"


def test_light_is_given_back_where_the_film_is_wanted_and_starts_from_a_sharp_frame(pipeline):
    photo = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))

    def ends(**asked):
        return torch.stack(list(pipeline.restore(photo, "a.png", **asked).film.frames([0.0, 0.5])))

    plain, given = ends(), ends(residual=True)
    assert not torch.equal(given[0], plain[0])
    assert torch.allclose(given[1], plain[1], atol=1e-6)
    assert torch.equal(ends(residual=True, data_consistency=0), ends(data_consistency=0))
    shown = torch.stack(list(unblur.frames(photo[0], times=[0.0, 0.5], model=pipeline)))
    assert torch.equal(shown, given)


def test_such_a_film_is_left_as_it_is(fading):
    """Its state is no sharp frame with paths, along which a photo's light could be followed."""
    photo, times = torch.rand(1, 3, 40, 40), torch.tensor([0.0, 1.0])
    assert torch.equal(
        fading.restore(photo, "a.png", data_consistency=4).film.state, fading.runner.network.encode(photo)
    )
    assert torch.equal(fading.frames(photo, times), fading.runner.network(photo, times).clamp(0, 1))
