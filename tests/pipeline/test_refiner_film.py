"""Films that are made with another film before one's eyes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.networks.cfmd import CFMDRefiner
from unblur.networks.kinds import FilmNetwork, RefinerNetwork
from unblur.pipeline import film as module
from unblur.pipeline import restore as restore_module
from unblur.pipeline.film import RefinerFilm, RetiledFilm
from unblur.pipeline.restore import Pipeline
from unblur.runtime.runner import Runner

CPU = torch.device("cpu")


class Fading(nn.Module, FilmNetwork):
    """A film that fades from the picture to black."""

    tile_overlap, multiple, is_local = 32, 4, True

    def __init__(self) -> None:
        super().__init__()
        self.made: list[float] = []

    def encode(self, blurry: Tensor) -> Tensor:
        return blurry

    def decode(self, state: Tensor, times: Tensor) -> Tensor:
        self.made += [round(float(time), 3) for time in times]
        return state[:, None] * (1 - times)[None, :, None, None, None]

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        return self.decode(blurry, times)


class Telling(nn.Module, RefinerNetwork):
    """Red is the estimate's, green that of the other end, blue the picture's plus a tenth of the time."""

    tile_overlap, multiple, is_local = 32, 4, True

    def __init__(self) -> None:
        super().__init__()
        self.sides: set[int] = set()

    def forward(self, blurry: Tensor, times: Tensor, estimates: Tensor) -> Tensor:
        self.sides.add(blurry.shape[-1])
        late = (blurry[:, None] + times[:, None, None, None] / 10)[:, :, 2]
        return torch.stack((estimates[:, :, 0, 0], estimates[:, :, 1, 1], late), 2)


def film_of(
    blurry: Tensor, network: nn.Module | None = None, tile: int = 1024, general: nn.Module | None = None
) -> RefinerFilm:
    estimates = RetiledFilm(Runner(general or Fading(), CPU, torch.float32), blurry, 1024, "photo")
    runner = Runner(network or Telling(), CPU, torch.float32)
    return RefinerFilm(runner, blurry, estimates, tile=tile, subject="photo")


def test_every_frame_sees_its_own_draft_and_that_of_the_other_end() -> None:
    blurry = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    times = [0.26, 0.2601, 1.0]
    for time, frame in zip(times, film_of(blurry).frames(times), strict=True):
        torch.testing.assert_close(frame[0], blurry[0, 0] * (1 - time))
        torch.testing.assert_close(frame[1], blurry[0, 1] * time)
        torch.testing.assert_close(frame[2], (blurry[0, 2] + time / 10).clamp(max=1))


def test_no_draft_is_made_twice_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    blurry = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    times = torch.linspace(0, 1, 7).tolist()

    def drawn(room: int) -> tuple[list[Tensor], list[float]]:
        monkeypatch.setattr(
            module, "working_memory", lambda device: int(room / module.KEPT_ESTIMATES) * 4 * 3 * 20 * 24
        )
        general = Fading()
        film = film_of(blurry, general=general)
        film.estimates._cost = lambda: 1.0  # measured with a network of its own frames
        return list(film.frames(times)), general.made

    frames, made = drawn(7)
    assert made == [0, 1, 0.167, 0.833, 0.333, 0.667, 0.5]
    for time, frame in zip(times, frames, strict=True):
        torch.testing.assert_close(frame[0], blurry[0, 0] * (1 - time))
        torch.testing.assert_close(frame[1], blurry[0, 1] * time)
    for room, again in ((2, [0.833, 0.167, 1, 0]), (0, [0.667, 0.333, 0.833, 0.167, 1, 0])):
        fewer, more = drawn(room)
        assert more == [*made, *again]
        assert all(torch.equal(one, other) for one, other in zip(frames, fewer, strict=True))


def test_a_draft_that_is_kept_keeps_no_other_in_memory() -> None:
    blurry = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    estimates = film_of(blurry)._estimated([0.25, 0.3, 0.75])
    made, (there, _), (again, _) = next(estimates), next(estimates), next(estimates)
    assert torch.equal(again, made[1])
    assert there.untyped_storage().nbytes() == 2 * there.nbytes, "made with another"
    assert again.untyped_storage().nbytes() == again.nbytes


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
        def forward(self, blurry: Tensor, times: Tensor, estimates: Tensor) -> Tensor:
            return estimates[:, :, 0] * float("nan")

    with pytest.raises(UnblurError, match="not numbers"):
        list(film_of(torch.full((1, 3, 16, 16), 0.5), Lost()).frames([0.5]))


def test_an_engine_drafts_with_the_best_model_and_says_so() -> None:
    torch.manual_seed(0)
    network = CFMDRefiner(channels=24, blocks=1, deformable=False, fold=2)
    pipeline = Pipeline(network, device="cpu", dtype="float32")
    assert pipeline.kind == "refiner"
    assert pipeline.restorer is None
    pipeline.__dict__["estimator"] = Pipeline(Fading(), device="cpu", dtype="float32")
    assert pipeline.as_dict()["estimator"] == "Fading"
    assert "behind Fading" in str(pipeline)
    blurry = torch.rand(1, 3, 36, 40, generator=torch.Generator().manual_seed(0))
    frame = pipeline.restore(blurry, "photo").middle
    with torch.inference_mode():
        estimates = (blurry / 2)[:, None, None].expand(-1, 1, 2, -1, -1, -1)
        expected = network(blurry, torch.tensor([0.5]), estimates)[0, 0].clamp(0, 1)
    torch.testing.assert_close(frame, expected)


def test_the_best_model_makes_the_drafts_as_the_engine_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    network = CFMDRefiner(channels=12, blocks=1, deformable=False)
    pipeline = Pipeline(network, device="cpu", dtype="bfloat16", tile=192)
    asked: list[object] = []
    monkeypatch.setattr(restore_module, "load", lambda *given: asked.extend(given))
    assert pipeline.estimator is None
    assert asked == ["maxim", CPU, torch.bfloat16, 192]


def test_what_is_measured_sees_the_drafts_of_each_time_and_of_the_other_end() -> None:
    pipeline = Pipeline(Telling(), device="cpu", dtype="float32")
    pipeline.__dict__["estimator"] = Pipeline(Fading(), device="cpu", dtype="float32")
    blurry = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.0, 0.25, 1.0])
    frames = pipeline.frames(blurry, times)
    assert pipeline.estimator.runner.network.made[2:] == 2 * [0, 1, 0.25, 0.75], "each once a picture"
    fading = lambda channel, times: (blurry[:, None, channel] * times.view(3, 1, 1)).clamp(0, 1)  # noqa: E731
    torch.testing.assert_close(frames[:, :, 0], fading(0, 1 - times))
    torch.testing.assert_close(frames[:, :, 1], fading(1, times))


@pytest.mark.parametrize("steps", [0, 4])
def test_drafts_are_seen_as_they_were_learned_from(steps: int) -> None:
    """With the photo's light given back, or without: what is measured, kept for training and shown is one film."""
    pipeline = Pipeline(CFMDRefiner(channels=12, blocks=1, deformable=False), device="cpu", dtype="float32")
    general = pipeline.__dict__["estimator"] = restore_module.load("fast", "cpu", "float32")
    blurry = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    (shown,) = pipeline.restore(blurry, "photo", data_consistency=steps).film.frames([0.25])
    quarter = torch.tensor([0.25])
    measured, kept = (one.frames(blurry, quarter, data_consistency=steps) for one in (pipeline, general))
    torch.testing.assert_close(measured, kept)  # A new network leaves them as they are.
    assert torch.equal(shown, measured[0, 0])
