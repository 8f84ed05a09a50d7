"""Films of pictures of any size: bands and tiles give what the whole gives, or an error."""

import pytest
import torch
from torch import nn

from unblur.errors import UnblurError
from unblur.exposure.average import average
from unblur.exposure.response import to_linear
from unblur.networks.kinds import FilmNetwork
from unblur.networks.path_film import PathFilm
from unblur.pipeline import film as film_module
from unblur.pipeline.film import MapFilm, RetiledFilm
from unblur.pipeline.motion import estimate_motion
from unblur.runtime import runner as runner_module
from unblur.runtime.runner import Runner, to_output_range

CPU = torch.device("cpu")
TIMES = [0.0, 0.3, 1.0]


class Small(PathFilm):
    """The film network, tiny, with motion."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__({"widths": (8, 8), "blocks": (1, 1)}, {"degree": 2, "widths": (8, 8), "blocks": (1, 1)})
        for unet in (self.restorer.unet, self.motion.unet):
            nn.init.normal_(unet.outro.weight, std=0.05)
        nn.init.constant_(self.motion.unet.outro.bias, 0.4)
        self.tile_overlap, self.multiple = 64, 4
        self.restorer.tile_overlap, self.restorer.multiple = 64, 4


class Moments(nn.Module, FilmNetwork):
    """A film network whose state is no map and whose decoder is a convolution."""

    tile_overlap, multiple, is_local = 32, 4, True

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 5, padding=2)
        self.second = nn.Conv2d(4, 3, 5, padding=2)
        self.encoded = 0

    def encode(self, blurry):
        self.encoded += 1
        return blurry, self.first(blurry)

    def decode(self, state, times):
        blurry, features = state
        return torch.stack([blurry + 0.3 * self.second(features * time) for time in times], 1)

    def forward(self, blurry, times):
        return self.decode(self.encode(blurry), times)


def picture(height, width, seed=1):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def runner_of(network, dtype=torch.float32):
    return Runner(network, CPU, dtype)


def film_of(runner, blurry, *, tile, subject):
    """In two stages where there are two: a sharp frame, and the film that follows from it."""
    if runner.network.starts_from == "blurry":
        return estimate_motion(runner, blurry, tile=tile, subject=subject)
    restorer = Runner(runner.network.restorer, CPU, runner.dtype)
    sharp, _ = restorer.sharpen(blurry, tile=tile, subject=subject)
    return estimate_motion(runner, blurry, sharp, tile=tile, subject=subject)


def limit(monkeypatch, size):
    monkeypatch.setattr(film_module, "working_memory", lambda device: size)
    monkeypatch.setattr(runner_module, "working_memory", lambda device: size)


def whole(network, blurry, times):
    with torch.inference_mode():
        return network(blurry, torch.tensor(times))[0].clamp(0, 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 3), (33, 50)])
@pytest.mark.parametrize("network", [Small, Moments])
def test_a_small_picture_is_run_whole(network, size):
    network, blurry = network().eval(), picture(*size)
    film = film_of(runner_of(network), blurry, tile="auto", subject="a.png")
    assert isinstance(film, MapFilm if isinstance(network, Small) else RetiledFilm)
    frames = torch.stack(list(film.frames(TIMES)))
    assert frames.shape == (3, 3, *size)
    assert not frames.is_inference()
    assert torch.allclose(frames, whole(network, blurry, TIMES), atol=1e-6)


def test_the_state_is_encoded_once_for_all_frames(monkeypatch):
    network = Moments().eval()
    film = film_of(runner_of(network), picture(40, 40), tile="auto", subject="a.png")
    list(film.frames([0.5]))
    before = network.encoded
    list(film.frames([i / 50 for i in range(51)]))
    assert network.encoded == before


def test_bands_are_exactly_the_whole(monkeypatch):
    network, blurry = Small().eval(), picture(400, 30)
    runner = runner_of(network)
    unbanded = torch.stack(list(film_of(runner, blurry, tile=512, subject="a.png").frames(TIMES)))
    limit(monkeypatch, 400_000)
    film = film_of(runner, blurry, tile=512, subject="a.png")
    assert film._rows(film._pixels()) < 200
    assert film._margin > 2
    assert torch.allclose(torch.stack(list(film.frames(TIMES))), unbanded, atol=5e-4)


def test_margins_matter(monkeypatch):
    """Bands without them would show; the test above sees it."""
    network, blurry = Small().eval(), picture(400, 30)
    runner = runner_of(network)
    unbanded = torch.stack(list(film_of(runner, blurry, tile=512, subject="a.png").frames(TIMES)))
    limit(monkeypatch, 400_000)
    monkeypatch.setattr(PathFilm, "reach", lambda self, state: torch.tensor(-2.0))
    film = film_of(runner, blurry, tile=512, subject="a.png")
    assert not torch.allclose(torch.stack(list(film.frames(TIMES))), unbanded, atol=1e-2)


def test_a_network_that_knows_no_reach_is_decoded_whole(monkeypatch):
    limit(monkeypatch, 400_000)
    monkeypatch.setattr(PathFilm, "reach", FilmNetwork.reach)
    film = film_of(runner_of(Small()), picture(300, 30), tile=512, subject="a.png")
    assert film._rows(film._pixels()) == 300


@pytest.mark.parametrize("network", [Small, Moments])
def test_tiled_is_whole_within_a_step_inside(network):
    network, blurry = network().eval(), picture(200, 260)
    film = film_of(runner_of(network), blurry, tile=128, subject="a.png")
    frames = torch.stack(list(film.frames(TIMES)))
    inside = (..., slice(24, -24), slice(24, -24))
    assert (frames - whole(network, blurry, TIMES))[inside].abs().max() < 1 / 255


@pytest.mark.parametrize(("network", "tile"), [(Small, 512), (Small, 128), (Moments, 512), (Moments, 64)])
def test_averages_are_those_of_the_frames(network, tile, monkeypatch):
    blurry = picture(150, 140)
    limit(monkeypatch, 1_000_000)
    film = film_of(runner_of(network()), blurry, tile=tile, subject="a.png")
    times = [i / 8 for i in range(9)]
    frames = torch.stack(list(film.frames(times)))[None]
    seen = torch.zeros(150)
    for rows, means in film.averages(times, ("srgb", "linear")):
        seen[rows] += 1
        for response, mean in zip(("srgb", "linear"), means, strict=True):
            expected = to_linear(average(frames, response), response)[0, :, rows]
            # Overlaps are blended in the light of the response, and with the stored values where frames are.
            assert (mean - expected).abs().max() < (1e-5 if tile == 512 else 1e-3)
    assert seen.eq(1).all()


@pytest.mark.parametrize("network", [Small, Moments])
def test_running_out_of_memory_ends_in_smaller_tiles(network):
    calls, network = [], network()
    name = "estimate_motion" if isinstance(network, Small) else "encode"
    method = getattr(network, name)

    def hungry(blurry, *more):
        calls.append(blurry.shape[-1])
        if blurry.shape[-1] > 130:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return method(blurry, *more)

    setattr(network, name, hungry)
    film = film_of(runner_of(network), picture(130, 300), tile=256, subject="a.png")
    frames = list(film.frames(TIMES))
    assert len(frames) == 3
    assert film.tile == 128
    assert max(calls) > 130


def test_running_out_of_memory_in_a_band_ends_in_thinner_bands():
    network = Small()
    decode = network.decode

    def hungry(state, times):
        if state.shape[-2] > 200:
            raise MemoryError
        return decode(state, times)

    film = film_of(runner_of(network), picture(300, 30), tile=512, subject="a.png")
    expected = torch.stack(list(film.frames(TIMES)))
    network.decode = hungry
    assert torch.allclose(torch.stack(list(film.frames(TIMES))), expected, atol=1e-4)
    network.decode = lambda state, times: (_ for _ in ()).throw(MemoryError())
    with pytest.raises(UnblurError, match="out of memory"):
        next(film.frames(TIMES))


@pytest.mark.parametrize("network", [Small, Moments])
def test_any_other_failure_in_a_tile_is_an_error(network):
    network, calls = network(), []
    name = "estimate_motion" if isinstance(network, Small) else "encode"
    method = getattr(network, name)

    def faulty(blurry, *more):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("shapes do not match")
        return method(blurry, *more)

    setattr(network, name, faulty)
    with pytest.raises(RuntimeError, match="shapes"):
        next(film_of(runner_of(network), picture(200, 300), tile=128, subject="a.png").frames([0.5]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("network", [Small, Moments])
def test_the_same_picture_gives_the_same_bytes(network, dtype):
    blurry = picture(150, 140)
    runs = [
        torch.stack(list(film_of(runner_of(network(), dtype), blurry, tile=128, subject="").frames(TIMES)))
        for _ in range(2)
    ]
    assert torch.equal(*runs)
    assert runs[0].dtype == torch.float32


def test_values_that_are_not_numbers_are_refused():
    with pytest.raises(UnblurError, match=r"a.png: .* not numbers; use `dtype=float32`"):
        to_output_range(torch.tensor([0.0, float("nan")]), "a.png")
    with pytest.raises(UnblurError):
        to_output_range(torch.tensor([0.0, float("inf")]), "a.png")
    assert to_output_range(torch.tensor([-1.0, 2.0]), "a.png").tolist() == [0, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("row", [0, 31])
def test_paths_that_are_not_numbers_are_refused(value, row, monkeypatch):
    """They would be drawn, without a word, as the first pixel."""
    runner, state = runner_of(Small()), torch.zeros(1, 7, 32, 2**16)
    state[0, 4, row, 9] = value
    monkeypatch.setattr(runner, "cost", lambda *about: 1.0)
    with pytest.raises(UnblurError, match=r"a.png: .* not numbers; use `dtype=float32`"):
        MapFilm(runner, state, 64, "a.png")


def beside(monkeypatch, film, room):
    """A film whose frames are drawn on a device of endless memory, while so many bytes are free on the CPU."""
    film.runner.device = torch.device("cuda")
    monkeypatch.setattr(film_module, "working_memory", lambda device: room if device.type == "cpu" else 10**12)
    return film


@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_what_is_done_to_the_state_takes_the_memory_of_where_it_lies(monkeypatch, place):
    """Not of the device that draws the frames."""
    film, sides = film_of(runner_of(Small()), picture(400, 30), tile=512, subject="a.png"), []
    beside(monkeypatch, film, 8_000_000).state = film.state.to(place)
    monkeypatch.setattr(film_module, "propagated", lambda *given, side: sides.append(side) or given[2])
    monkeypatch.setattr(film_module, "consistent", lambda *given, rows, **more: sides.append(rows) or given[1])
    monkeypatch.setattr(film, "_reach", lambda: film._margin)
    film.propagate_paths(picture(400, 30))
    film.make_consistent(picture(400, 30))
    here = [81, 133 - 2 * film._margin]  # of 4 MB, at 600 and 1000 bytes
    assert sides == (here if place == "cpu" else [28867, 400 - 2 * film._margin])


@pytest.mark.parametrize("network", [Small, Moments])
def test_frames_are_held_in_the_memory_of_where_they_are_put_together(monkeypatch, network):
    film, drawn = film_of(runner_of(network()), picture(10, 12), tile=512, subject="a.png"), []
    beside(monkeypatch, film, 3 * 12 * 10 * 12)

    def decoded(*given):
        times = next(each for each in given if isinstance(each, torch.Tensor) and each.ndim == 1)
        drawn.append(len(times))
        return torch.zeros(len(times), 3, 10, 12)

    monkeypatch.setattr(film, "_decoded", decoded)
    assert len(list(film.frames([i / 6 for i in range(7)]))) == 7
    assert drawn == [3, 3, 1]


def test_a_network_is_set_to_evaluation():
    network = Small().train()
    runner = runner_of(network)
    assert not network.training
    assert not runner.state(picture(8, 8), picture(8, 8)).requires_grad


def test_networks_with_global_pooling_fade_over_the_whole_overlap():
    network = Moments()
    network.is_local = False
    assert runner_of(network).ramp == 32
    assert runner_of(Moments()).ramp is None


def test_a_film_follows_a_sharp_frame_of_any_origin():
    """Whole and in tiles: its middle frame is that frame, whatever the network's own restorer would make."""
    network, blurry, sharp = Small().eval(), picture(150, 200), picture(150, 200, seed=2)
    with torch.inference_mode():
        expected = network.decode(
            network.orient(network.estimate_motion(blurry, sharp)), torch.tensor([0.0, 0.5, 1.0])
        )[0]
    for tile in (512, 128):
        film = estimate_motion(runner_of(network), blurry, sharp, tile=tile, subject="a.png")
        frames = torch.stack(list(film.frames([0.0, 0.5, 1.0])))
        assert torch.allclose(frames[1], sharp[0], atol=1e-4)
        inside = (..., slice(24, -24), slice(24, -24))
        assert (frames - expected.clamp(0, 1))[inside].abs().max() < 1 / 255


class Surveying(PathFilm):
    """One whose paths agree with their neighbours' over half the picture."""

    def __init__(self):
        torch.manual_seed(0)
        evidence = {"hidden": 8, "blocks": 1, "window": 16, "reaches": [3, 3], "sigma": 8.0, "updates": 1}
        shape = {"degree": 2, "widths": (8, 8, 8), "blocks": (1, 1, 1)}
        super().__init__({"widths": (8, 8), "blocks": (1, 1)}, {**shape, "spectral": evidence, "with_unet": False})
        for layer in (self.motion.spectral.head, self.motion.spectral.update.head):
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.normal_(layer.bias, std=0.1)
            layer.bias.data[-1] = 3.0


@pytest.mark.parametrize("size", [(150, 260), (203, 155)])
def test_what_is_known_of_the_whole_is_known_in_every_tile(size, monkeypatch):
    network, blurry, sharp = Surveying().eval(), picture(*size), picture(*size, seed=2)
    expected = network.estimate_motion(blurry, sharp).detach()
    state = estimate_motion(runner_of(network), blurry, sharp, tile=128, subject="a.png").state
    inside = (..., slice(24, -24), slice(24, -24))
    assert (state - network.orient(expected))[inside].abs().max() < 1e-4
    monkeypatch.setattr(PathFilm, "global_context", lambda self, blurry, sharp: None)
    state = estimate_motion(runner_of(network), blurry, sharp, tile=128, subject="a.png").state
    assert (state - network.orient(expected))[inside].abs().max() > 1e-2, "the test would see it"


def test_the_memory_of_a_tile_is_that_of_what_tiles_run():
    """Which is not the look at the whole picture: tiles are told what it found."""
    network, blurry = Surveying().eval(), picture(150, 260)
    runner, sizes, look = runner_of(network), [], network.motion.spectral.extract
    alone = runner_of(Surveying()).cost("state", lambda side: runner.state(runner.grey(side), runner.grey(side)))
    network.motion.spectral.extract = lambda *pair: sizes.append(tuple(pair[0].shape[-2:])) or look(*pair)
    estimate_motion(runner, blurry, blurry, tile="auto", subject="a.png")
    assert set(sizes) <= {(152, 264), (64, 64)}
    assert runner.cost("state", lambda side: pytest.fail("it is known")) < alone / 1.5


def test_both_stages_get_the_same_tiles_of_both_pictures():
    """The blurry and the sharp picture of a pass are of one place."""
    network, blurry = Small(), picture(150, 260)
    follow, seen = network.estimate_motion, []

    def watched(a, b):
        seen.append(torch.equal(a, b))
        return follow(a, b)

    network.estimate_motion = watched
    estimate_motion(runner_of(network), blurry, blurry.clone(), tile=128, subject="a.png")
    assert len(seen) > 4
    assert all(seen)


def test_a_network_is_tiled_as_it_prefers():
    network = Small()
    network.tile_size = 192
    runner = runner_of(network)
    assert runner.tile(5000, 5000, "auto", lambda: 1.0) == 192
    assert runner.tile(5000, 5000, 512, lambda: 1.0) == 512, "the user knows better"
    assert runner.tile(5000, 5000, "auto", lambda: 1e6) == runner.smallest, "memory knows better"
    network.tile_size = None
    assert runner_of(network).tile(5000, 5000, "auto", lambda: 1.0) == 4096


def test_smaller_tiles_after_running_out_of_memory_keep_the_stride():
    network, sides = Small(), []
    network.multiple = 48
    forward = network.restorer.forward

    def hungry(blurry):
        sides.append(blurry.shape[-1])
        if blurry.shape[-1] > 200:
            raise MemoryError
        return forward(blurry)

    network.restorer.forward, network.restorer.multiple = hungry, 48
    sharp, side = Runner(network.restorer, CPU, torch.float32).sharpen(picture(20, 500), tile=336, subject="a.png")
    assert sharp.shape == (1, 3, 20, 500)
    assert side == 192
    assert sides[0] == 336


def test_the_memory_model_grows_with_pixels_only():
    runner = runner_of(Small())
    cost = runner.cost("state", lambda side: runner.state(runner.grey(side), runner.grey(side)))
    assert 50 < cost < 1000
    assert runner.tile(5000, 5000, "auto", lambda: 1e6) == runner.smallest
    assert runner.tile(5000, 5000, "auto", lambda: cost) > 512


def test_a_tile_that_is_hardly_more_than_its_overlaps_is_refused():
    with pytest.raises(UnblurError, match=r"tile=100: too small for this network.*use 128 or more"):
        runner_of(Small()).tile(500, 500, 100, lambda: 1.0)
