"""Films that are made with another film before one's eyes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.networks.moments import MomentNet
from unblur.runtime.drafted import DraftedFilm
from unblur.runtime.film import RetiledFilm
from unblur.runtime.runner import Runner
from unblur.tasks.engine import Engine

CPU = torch.device("cpu")


class Fading(nn.Module):
    """A film that fades from the picture to black."""

    tile_overlap, multiple, is_local = 32, 4, True

    def encode(self, blurry: Tensor) -> Tensor:
        return blurry

    def decode(self, state: Tensor, times: Tensor) -> Tensor:
        return state[:, None] * (1 - times)[None, :, None, None, None]


class Telling(nn.Module):
    """Red is the draft's, green that of the other end, blue the picture's plus a tenth of the time."""

    drafts, tile_overlap, multiple, is_local = True, 32, 4, True

    def __init__(self) -> None:
        super().__init__()
        self.sides: set[int] = set()

    def encode(self, blurry: Tensor) -> Tensor:
        raise AssertionError("sees drafts")

    def decode(self, state: Tensor, times: Tensor) -> Tensor:
        raise AssertionError("sees drafts")

    def forward(self, blurry: Tensor, times: Tensor, drafts: Tensor) -> Tensor:
        self.sides.add(blurry.shape[-1])
        late = (blurry[:, None] + times[:, None, None, None] / 10)[:, :, 2]
        return torch.stack((drafts[:, :, 0, 0], drafts[:, :, 1, 1], late), 2)


def film_of(blurry: Tensor, network: nn.Module | None = None, tile: int = 1024) -> DraftedFilm:
    drafts = RetiledFilm(Runner(Fading(), CPU, torch.float32), blurry, 1024, "photo")
    runner = Runner(network or Telling(), CPU, torch.float32)
    return DraftedFilm(runner, blurry, drafts, tile=tile, subject="photo")


def test_every_frame_sees_its_own_draft_and_that_of_the_other_end() -> None:
    blurry = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    for time, frame in zip((0.25, 1.0), film_of(blurry).frames([0.25, 1.0]), strict=True):
        torch.testing.assert_close(frame[0], blurry[0, 0] * (1 - time))
        torch.testing.assert_close(frame[1], blurry[0, 1] * time)
        torch.testing.assert_close(frame[2], (blurry[0, 2] + time / 10).clamp(max=1))


def test_tiles_are_the_whole() -> None:
    blurry = torch.rand(1, 3, 150, 210, generator=torch.Generator().manual_seed(0))
    network = Telling()
    (whole,), (tiled,) = film_of(blurry).frames([0.3]), film_of(blurry, network, 96).frames([0.3])
    torch.testing.assert_close(tiled, whole)
    assert max(network.sides) <= 96


def test_averages_are_of_the_frames() -> None:
    blurry = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    film, times = film_of(blurry), [0.0, 0.5, 1.0]
    ((rows, mean),) = film.averages(times, ("linear",))
    assert rows == slice(0, 16)
    torch.testing.assert_close(mean[0], torch.stack(list(film.frames(times))).mean(0))


def test_numbers_that_are_none_are_refused() -> None:
    class Lost(Telling):
        def forward(self, blurry: Tensor, times: Tensor, drafts: Tensor) -> Tensor:
            return drafts[:, :, 0] * float("nan")

    with pytest.raises(UnblurError, match="not numbers"):
        list(film_of(torch.full((1, 3, 16, 16), 0.5), Lost()).frames([0.5]))


def test_an_engine_drafts_with_the_best_model_and_says_so() -> None:
    torch.manual_seed(0)
    network = MomentNet(channels=24, blocks=1, deformable=False, drafts=True, fold=2)
    engine = Engine(network, device="cpu", dtype="float32")
    assert engine.is_film
    assert engine.restorer is None
    engine.__dict__["drafter"] = Engine(Fading(), device="cpu", dtype="float32")
    assert engine.as_dict()["drafter"] == "Fading"
    assert "behind Fading" in str(engine)
    blurry = torch.rand(1, 3, 36, 40, generator=torch.Generator().manual_seed(0))
    seen = engine.see(blurry, "photo")
    frame = seen.middle("photo")
    with torch.inference_mode():
        drafts = (blurry / 2)[:, None, None].expand(-1, 1, 2, -1, -1, -1)
        expected = network(blurry, torch.tensor([0.5]), drafts)[0, 0].clamp(0, 1)
    torch.testing.assert_close(frame, expected)
