"""One direction of time for the pictures of a burst."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import unblur
from unblur.analysis.motion_field import Field
from unblur.cli import main
from unblur.errors import UnblurError
from unblur.exposure.average import average
from unblur.exposure.camera import is_canonical
from unblur.media.image import Picture
from unblur.media.video import read_clip
from unblur.models.card import Card
from unblur.models.weights import save_weights
from unblur.networks.cfmd import CFMD
from unblur.networks.hypercut import HyperCUT
from unblur.pipeline.restore import Pipeline
from unblur.tasks import batch_films as module
from unblur.tasks.batch_films import BurstQueue
from unblur.tasks.burst import HELD, PULL, REMEMBERED, Burst, Shot, _agreement, _passages, passage
from unblur.tasks.frames import Film
from unblur.tasks.inputs import PictureFile

ON = ["--device", "cpu", "--dtype", "float32"]


def noise(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def shot(x: float, y: float, grey: np.ndarray | None = None, order: float | None = None) -> Shot:
    """Everything moves by (x, y)."""
    ends = torch.tensor([[-x / 2, -y / 2], [x / 2, y / 2]])[:, :, None, None].expand(-1, -1, 4, 4)
    return Shot(Field(ends.clone(), torch.ones(4, 4, dtype=torch.bool)), noise(0) if grey is None else grey, order)


def apart(count: int) -> list[np.ndarray]:
    """Pictures that show nothing in common."""
    return [noise(1 + i) for i in range(count)]


def ways(shots: list[Shot], burst: Burst | None = None) -> list[tuple[float, float]]:
    signs = (burst or Burst()).directions(shots)
    return [tuple((sign * one.field.way[:, 0, 0]).tolist()) for one, sign in zip(shots, signs, strict=True)]


def test_neighbours_agree_where_each_alone_would_not() -> None:
    # Motion up to the right: which of the two ways is canonical hangs on a pixel.
    assert is_canonical(10, -9)
    assert is_canonical(-9, 10)
    one, other = apart(2)
    assert ways([shot(10, -9, one), shot(-9, 10, other)]) == [(10, -9), (9, -10)]


def test_a_picture_where_nothing_moved_breaks_nothing() -> None:
    greys = apart(3)
    made = ways([shot(9, -7, greys[0]), shot(-0.01, 0.02, greys[1]), shot(-7, 8, greys[2])])
    assert made[0] == (9, -7)
    assert made[2] == (7, -8)


def test_motion_may_turn_from_picture_to_picture() -> None:
    turned = [(10, 0), (7, -7), (0, -10), (-7, -7), (-10, 0)]
    shots = [
        shot(x * sign, y * sign, grey) for (x, y), sign, grey in zip(turned, (1, -1, -1, 1, 1), apart(5), strict=True)
    ]
    made = ways(shots)
    assert made in ([*map(tuple, turned)], [(-x, -y) for x, y in turned])


def test_the_whole_is_canonical_where_nothing_else_tells() -> None:
    greys = apart(2)
    burst = Burst()
    assert ways([shot(3, -1, greys[0]), shot(-9, 0.5, greys[1])], burst) == [(3, -1), (9, -0.5)]
    assert burst.by == "convention"
    assert ways([shot(-1, 0.5, greys[0]), shot(-9, 5, greys[1])]) == [(1, -0.5), (9, -5)]


@pytest.mark.parametrize("way", [(6, 0), (-6, 0), (-4, -4), (4, -5)])
def test_what_moved_from_picture_to_picture_decides(way: tuple[int, int], leaves: Tensor) -> None:
    grey = (leaves.mean(0) * 255).to(torch.uint8).numpy()
    greys = [np.ascontiguousarray(np.roll(grey, (i * way[1], i * way[0]), (0, 1))[30:200, 40:260]) for i in range(3)]
    moved = passage(greys[0], greys[1], (4, 4))
    assert moved is not None
    assert torch.allclose(moved[:, 1:3, 1:3].mean((1, 2)), torch.tensor(way).float(), atol=1)
    burst = Burst()
    shots = [shot(5 * s, 0.3, one) if way[0] else shot(0, 5 * s, one) for s, one in zip((1, -1, 1), greys, strict=True)]
    made = ways(shots, burst)
    assert burst.by == "motion"
    assert all(x * way[0] > 0 for x, _ in made)


def test_a_film_that_turns_sharply_goes_on_as_things_go_from_picture_to_picture(leaves: Tensor) -> None:
    grey = (leaves.mean(0) * 255).to(torch.uint8).numpy()
    places = ((0, 0), (6, 0), (4, 8))
    greys = [np.ascontiguousarray(np.roll(grey, place[::-1], (0, 1))[30:200, 40:260]) for place in places]
    moves = ((6, 0), (5, 1), (-5, 4))  # the third against the second
    assert ways([shot(*way, one) for way, one in zip(moves, apart(3), strict=True)])[2] == (5, -4)
    assert ways([shot(*way, one) for way, one in zip(moves, greys, strict=True)]) == [*moves]
    assert ways([shot(-x, -y, one) for (x, y), one in zip(moves, greys, strict=True)]) == [*moves]


def test_once_the_whole_is_decided_films_agree_and_the_ways_between_them_say_nothing(leaves: Tensor) -> None:
    grey = (leaves.mean(0) * 255).to(torch.uint8).numpy()
    greys = [np.ascontiguousarray(np.roll(grey, place, (0, 1))[30:200, 40:260]) for place in ((0, 0), (0, 6), (8, 4))]
    moves = ((6, 0), (5, 1), (-5, 4))  # as above, where the third goes on from the second
    shots = [shot(*way, one) for way, one in zip(moves, greys, strict=True)]
    assert ways(shots, Burst(by="motion"))[2] == (-5, 4)
    for by in ("order", "convention"):
        first, second, third = ways(shots, Burst(by=by))
        assert (first[0] * second[0] > 0, second[0] * third[0] + second[1] * third[1] > 0) == (True, True)


def test_pictures_far_apart_pull_no_harder_than_the_film_moves(leaves: Tensor) -> None:
    grey = (leaves.mean(0) * 255).to(torch.uint8).numpy()
    greys = [np.ascontiguousarray(np.roll(grey, 6 * i, 1)[30:200, 40:260]) for i in range(2)]
    pulls, _ = _passages([shot(1, 0, one) for one in greys])
    assert pulls.tolist() == pytest.approx([PULL, PULL], rel=0.2)


def test_films_are_compared_where_both_have_texture() -> None:
    one, other = shot(2, 0).paths, shot(3, 0).paths
    one.paths[:, :, 0] *= -100
    one.textured[0] = False
    assert _agreement(one, other) == _agreement(other, one) == pytest.approx(6)


def test_only_the_last_films_are_looked_back_at() -> None:
    burst = Burst()
    for batch in range(2):
        assert len(burst.directions([shot(3, 1, noise(HELD * batch + i)) for i in range(HELD)])) == HELD
        assert len(burst._before) == REMEMBERED


def test_pictures_that_have_nothing_in_common_tell_nothing(leaves: Tensor) -> None:
    grey = (leaves.mean(0) * 255).to(torch.uint8).numpy()
    assert passage(grey, np.ascontiguousarray(grey[::-1, ::-1]), (4, 4)) is None
    assert passage(*apart(2), (4, 4)) is None
    flat = np.full((64, 64), 128, np.uint8)
    assert passage(flat, flat, (4, 4)) is None


def test_an_order_network_decides_the_whole() -> None:
    burst = Burst()
    greys = apart(2)
    shots = [shot(8, 1, greys[0], order=1.0), shot(-8, -1, greys[1], order=3.0)]
    assert ways(shots, burst) == [(-8, -1), (-8, -1)], "the second is the surer one"
    assert burst.by == "order"


def test_films_without_paths_go_by_their_scores() -> None:
    shots = [Shot(None, noise(i), order) for i, order in enumerate((2.0, -1.0, 0.0))]
    assert Burst().directions(shots) == [1, -1, 1]
    burst = Burst()
    assert burst.directions([Shot(None, noise(i)) for i in range(2)]) == [1, 1]
    assert burst.by is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=1, max_size=5))
def test_it_does_not_matter_which_way_each_film_ran_by_its_own_rule(seed: int, turned: list[bool]) -> None:
    moves = 10 * torch.randn(len(turned), 2, generator=torch.Generator().manual_seed(seed))
    greys = apart(len(turned))
    plain = [shot(*way, grey) for way, grey in zip(moves.tolist(), greys, strict=True)]
    signs = [-1 if turn else 1 for turn in turned]
    other = [shot(s * x, s * y, grey) for s, (x, y), grey in zip(signs, moves.tolist(), greys, strict=True)]
    assert ways(plain) == ways(other)


@pytest.fixture
def photos(tmp_path: Path, leaves: Tensor) -> list[Path]:
    """A scene that passes by, seen three times."""
    places = [tmp_path / f"{name}.png" for name in "abc"]
    for i, place in enumerate(places):
        moving = torch.stack([leaves.roll((12 * i + j) // 2, -1)[:, 20:84, 20:100] for j in range(8)])
        Picture(average(moving[None])[0]).save(place)
    return places


def queued(files: list[PictureFile], pipeline: Pipeline, **options: Any) -> BurstQueue:
    """Short films of files, without data consistency."""
    make = lambda file: unblur.frames(file.read(), n=3, model=pipeline, data_consistency=0)  # noqa: E731
    return BurstQueue(files, make, **options)


def test_films_are_made_a_few_ahead(photos: list[Path], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    files = [PictureFile(path) for path in photos]

    def make(file: PictureFile) -> Film:
        made.append(file.path.name)
        return unblur.frames(file.read(), n=3, model=pipeline, data_consistency=0)

    whole = BurstQueue(files, make)
    together = [whole.film(file).reverse for file in files]
    monkeypatch.setattr(module, "HELD", 2)
    made.clear()
    queue = BurstQueue(files, make)
    turned = [queue.film(files[0]).reverse]
    assert made == ["a.png", "b.png"]
    turned += [queue.film(file).reverse for file in files[1:]]
    assert made == ["a.png", "b.png", "c.png"]
    assert turned == together
    assert [entry["pictures"] for entry in queue.as_dict()] == [3]
    assert queue._ready == {}, "a film that was given out is held no longer"
    monkeypatch.setattr(module, "working_memory", lambda device: 1)
    made.clear()
    BurstQueue(files, make).film(files[0])
    assert made == ["a.png"], "no more than memory holds"
    alone = BurstQueue(files, make, together=False)
    assert [alone.film(file).reverse for file in files] == [False] * 3
    assert alone.as_dict() == []


def test_a_picture_that_fails_breaks_no_burst(photos: list[Path], pipeline: Pipeline) -> None:
    photos[1].write_bytes(b"no")
    files = [PictureFile(path) for path in photos]
    queue = queued(files, pipeline)
    queue.film(files[0])
    with pytest.raises(UnblurError, match=r"b\.png"):
        queue.film(files[1])
    queue.film(files[2])
    assert [entry["pictures"] for entry in queue.as_dict()] == [3]


def test_another_size_is_another_burst(photos: list[Path], pipeline: Pipeline, tmp_path: Path) -> None:
    small = Picture(torch.rand(3, 40, 40)).save(tmp_path / "small.png")
    paths = [photos[0], photos[1], small, photos[2]]
    files = [PictureFile(path) for path in paths]
    queue = queued(files, pipeline)
    assert [count for _, count in queue.bursts] == [2, 1, 1]
    films = unblur.burst(paths, n=3, model=pipeline, data_consistency=0)
    assert [film.reverse for film in films] == [queue.film(file).reverse for file in files]


def test_the_twin_and_reverse(photos: list[Path], pipeline: Pipeline) -> None:
    films = unblur.burst(photos, n=3, model=pipeline, data_consistency=0)
    turned = unblur.burst(photos, n=3, model=pipeline, data_consistency=0, reverse=True)
    assert [film.reverse for film in turned] == [not film.reverse for film in films]
    assert torch.equal(films[1].tensor(), turned[1].tensor().flip(0))
    # What the films show runs one way.
    shown = [(-1 if film.reverse else 1) * film.field.way.mean((1, 2)) for film in films]
    assert (shown[0] * shown[1]).sum() > 0
    assert (shown[1] * shown[2]).sum() > 0


def test_an_order_network_is_refused_by_the_name_of_its_own_option(photos: list[Path], pipeline: Pipeline) -> None:
    with pytest.raises(UnblurError, match=r"order=PathFilm: does not score the order of frames"):
        unblur.burst(photos[:1], n=3, model=pipeline, order=pipeline.film.network)


def test_an_order_network_turns_a_single_film_too(photos: list[Path], pipeline: Pipeline) -> None:
    class Later(HyperCUT):
        """Says that every film runs backwards."""

        def pairs(self, frames: Tensor, pairs: Tensor) -> Tensor:
            return -torch.ones(len(frames), len(pairs))

    (film,) = unblur.burst(photos[:1], n=3, model=pipeline, order=Later(4, 4, 1))
    assert film.reverse
    network = CFMD(channels=4, blocks=1)
    (film,) = unblur.burst(photos[:1], n=3, model=network, device="cpu", dtype="float32", order=Later(4, 4, 1))
    assert film.reverse, "it needs no paths for that"


def exposed(picture: Tensor, start: Tensor, way: Tensor) -> Tensor:
    """A crop (3, 160, 160) of a picture whose content moves from `start` by `way`, pixels (x, y), on average."""
    y, x = torch.meshgrid(torch.arange(160.0) + 45, torch.arange(160.0) + 75, indexing="ij")
    frames = []
    for time in torch.linspace(0, 1, 21):
        dx, dy = start + time * way
        grid = torch.stack(((x - dx + 0.5) * 2 / 320 - 1, (y - dy + 0.5) * 2 / 256 - 1), -1)
        frames.append(F.grid_sample(picture[None], grid[None], align_corners=False)[0])
    return average(torch.stack(frames)[None])[0]


@pytest.mark.parametrize("forward", [1, -1])
def test_one_movement_over_three_photos_with_the_model_that_ships(leaves: Tensor, forward: int) -> None:
    """It crosses the jump of the rule for each photo alone, and in the second photo all but stops."""
    moves = [forward * torch.tensor(way) for way in ((11.0, -8.5), (0.4, -0.4), (8.5, -11.0))]
    starts = [torch.zeros(2), moves[0] + moves[1], moves[0] + 2 * moves[1]]
    photos = [exposed(leaves, start, way) for start, way in zip(starts, moves, strict=True)]
    films = unblur.burst(photos, n=3, model="fast", device="cpu", dtype="float32", check=False)
    signs = [-1 if film.reverse else 1 for film in films]
    shown = [sign * film.field.way.mean((1, 2)) for sign, film in zip(signs, films, strict=True)]
    assert signs[0] != signs[2], "by the rule for each alone they would run against each other"
    for i in (0, 2):
        assert torch.cosine_similarity(shown[i], moves[i], dim=0) > 0.8


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(list(map(str, arguments)))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def weights(film_network: nn.Module, tmp_path: Path) -> list[object]:
    return ["--model", save_weights(tmp_path / "w.safetensors", film_network, Card("toy", "film")), "--no-check", *ON]


def test_the_command_tells_of_one_direction(
    photos: list[Path], weights: list[object], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = run(capsys, "frames", *photos, "-n", 3, "-o", tmp_path / "films", *weights)
    assert (code, "; 3 in one direction of time" in out) == (0, True)
    assert len(list((tmp_path / "films").glob("*.mp4"))) == 3
    command = ["frames", *photos, "-n", 3, "-o", tmp_path / "films", "--json", *weights]
    report = json.loads(run(capsys, *command)[1])
    assert [burst["pictures"] for burst in report["bursts"]] == [3]
    turned = json.loads(run(capsys, *command, "--reverse")[1])
    for one, other in zip(report["results"], turned["results"], strict=True):
        assert one["reverse"] is not other["reverse"]
    assert json.loads(run(capsys, *command, "--no-burst")[1])["bursts"] == []
    folder = photos[0].parent
    (folder / "photos").mkdir()
    for photo in photos:
        photo.rename(folder / "photos" / photo.name)
    command = ["frames", folder / "photos", "-n", 2, "-o", tmp_path / "films", "--json", *weights]
    assert json.loads(run(capsys, *command)[1])["bursts"] == [], "a folder may hold anything"
    assert len(json.loads(run(capsys, *command, "--burst")[1])["bursts"]) == 1


def test_one_file_for_several_pictures_holds_all_their_films(
    photos: list[Path], weights: list[object], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, "frames", *photos, "-n", 4, "-o", tmp_path / "all.gif", *weights)
    assert (code, err) == (0, "")
    assert "(12 frames of 3 pictures, 80x64)" in out
    assert "3 filmed in" in out
    assert read_clip(tmp_path / "all.gif").count == 12
    report = json.loads(run(capsys, "frames", *photos, "-n", 4, "-o", tmp_path / "all.gif", "--json", *weights)[1])
    (result,) = report["results"]
    assert [Path(part["input"]).name for part in result["pictures"]] == ["a.png", "b.png", "c.png"]
    assert all(part["frames"] == 4 for part in result["pictures"])
    before = (tmp_path / "all.gif").read_bytes()
    Picture(torch.rand(3, 40, 40)).save(tmp_path / "small.png")
    code, _, err = run(capsys, "frames", *photos, tmp_path / "small.png", "-o", tmp_path / "all.gif", *weights)
    assert (code, err.count("\n")) == (1, 1)
    assert "is 40x40, but the first picture 80x64; name pictures of one size" in err
    assert (tmp_path / "all.gif").read_bytes() == before


def test_a_film_replaces_no_picture(weights: list[object], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    photos = [Picture(torch.rand(3, 40, 40)).save(tmp_path / f"{name}.webp") for name in "ab"]
    before = photos[0].read_bytes()
    for named in (photos, photos[:1]):
        code, _, err = run(capsys, "frames", *named, "-n", 2, "-o", photos[0], *weights)
        assert (code, err.count("\n")) == (2, 1)
        assert "is an input too" in err
    assert photos[0].read_bytes() == before
