"""The weights inside the package: whole, small, described, and of use on the picture that the README shows."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import unblur
from unblur.analysis.optical_flow import compare
from unblur.exposure.average import frame_times
from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import render
from unblur.media.image import read_image
from unblur.metrics.fidelity import psnr
from unblur.models.registry import BLUR_SPACE, DEFAULT, DENOISER, FACES, ORDER, SHIPPED
from unblur.models.weights import FILES, load_weights

OURS = [name for name in SHIPPED if name != "maxim"]
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("name", OURS)
def test_whole_small_and_described(name):
    loaded = load_weights(name)  # which checks the sum, the names and that all is finite
    assert (FILES / SHIPPED[name].file).stat().st_size <= 16 * 2**20
    card = loaded.card
    assert card.name == name
    assert card.data
    assert card.licence == "Apache-2.0"
    protocols = {
        **{BLUR_SPACE: "blur-1", ORDER: "order-1", FACES: "faces-1, 24 exposures of each length"},
        DENOISER: "white noise on the 24 Kodak pictures, mean PSNR",
    }
    assert card.protocol == protocols.get(name, "val-1")
    assert card.score
    assert card.steps > 0


def test_maxim_comes_with_its_licences():
    loaded = load_weights("maxim")
    assert (FILES / SHIPPED["maxim"].file).stat().st_size <= 45 * 2**20
    assert (loaded.card.name, loaded.card.score) == ("maxim", {"psnr": 32.86})
    assert all(name in loaded.card.licence for name in ("Apache-2.0", "MIT"))
    notice = (FILES / "maxim.NOTICE.txt").read_text(encoding="utf-8")
    assert all(word in notice for word in ("Google", "Apache License", "Kevin Scott", "MIT License", "Changed"))
    licence = (FILES / "Apache-2.0.txt").read_text(encoding="utf-8")
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in licence


def test_nothing_else_lies_beside_them():
    texts = {"Apache-2.0.txt", "maxim.NOTICE.txt"}
    assert {path.name for path in FILES.iterdir()} == {shipped.file for shipped in SHIPPED.values()} | texts


def test_the_order_network_tells_a_film_from_its_reverse():
    """Of a photo moved along paths made up here: opposite scores, of which the pairs of frames are sure."""
    still = read_image(EXAMPLES / "pan_truth.png").pixels[None, :, :, 140:500].expand(6, -1, -1, -1)
    spec = MotionSpec(length=(8.0, 8.0), layer=0.0)
    made = render(still, (128, 128), frame_times(7), spec, scale=2.0, generator=torch.Generator().manual_seed(2))
    found = [(unblur.order(frames), unblur.order(frames.flip(0))) for frames in made.frames]
    for there, back in found:
        assert there.sign == -back.sign
        assert abs(there.score + back.score) < 1e-4 * abs(there.score)
    assert sum(there.confidence for there, _ in found) / len(found) > 0.8


def strange_pictures() -> dict[str, torch.Tensor]:
    """(1, 3, 64, 64) of what no clip of faces holds."""
    across, down = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="xy")
    flat = torch.zeros_like(across)
    return {
        "red": torch.stack((flat + 1, flat, flat))[None],
        "slopes": torch.stack((across, down, 1 - across))[None],
        "noise": torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)),
    }


@pytest.mark.parametrize("name", strange_pictures())
def test_the_model_of_faces_leaves_what_is_no_face_nearly_as_it_is(name):
    picture = strange_pictures()[name]
    estimates = picture[:, None, None].expand(-1, 2, 2, -1, -1, -1)
    with torch.inference_mode():
        made = load_weights(FACES).network.eval()(picture, torch.tensor([0.0, 0.5]), estimates)
    assert (made - picture[:, None]).abs().mean() < 0.06
    assert (made - picture[:, None]).abs().max() < 0.6


def test_the_example_becomes_sharper():
    blurry = read_image(EXAMPLES / "pan.png")
    truth = read_image(EXAMPLES / "pan_truth.png").pixels
    sharp = unblur.deblur(blurry, model=DEFAULT, device="cpu", dtype="float32")
    assert psnr(sharp.image, truth) > psnr(blurry.pixels, truth) + 0.5
    assert sharp.residual.linear_light_db > 30


def test_the_example_moves():
    film = unblur.frames(EXAMPLES / "pan.png", n=3, model=DEFAULT, device="cpu", dtype="float32").tensor()
    first, last = (np.round(255 * frame.mean(0).numpy()).astype(np.uint8) for frame in (film[0], film[2]))
    across, down = compare(first, last).flow.reshape(-1, 2).mean(0)
    # The camera pans to the right by about ten pixels; shown in the canonical direction, content moves to the right.
    assert 4 < across < 20
    assert abs(down) < across / 2


def scene(side=256):
    """Blobs and edges of all sizes, (1, 3, side, side): something to see everywhere, and nobody's picture."""
    generator = torch.Generator().manual_seed(7)
    layers = []
    for cells in (6, 12, 24, 48, 96):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        layers.append((F.interpolate(noise, (side, side), mode="bicubic", align_corners=False) > 0.5).float())
    blocks = sum(layer * weight for layer, weight in zip(layers, (0.35, 0.25, 0.2, 0.12, 0.08), strict=True))
    return F.avg_pool2d(F.pad(blocks, (1, 1, 1, 1), "reflect"), 3, 1)


@pytest.mark.parametrize(("seed", "length"), [(1, 5.0), (2, 11.0), (3, 11.0)])
def test_first_and_last_frame_are_near_the_truth(seed, length):
    spec = MotionSpec(length=(length, length), layer=0.0)
    generator = torch.Generator().manual_seed(seed)
    exposure = render(scene(320), (256, 256), frame_times(3), spec, generator=generator)
    blurry, truth = exposure.blurry[0], exposure.frames[0]
    made = unblur.frames(blurry, n=3, sharp=truth[1], model=DEFAULT, device="cpu", dtype="float32").tensor()
    ends = lambda film: psnr(film[[0, 2]], truth[[0, 2]]).mean()  # noqa: E731
    moved = max(ends(made), ends(made.flip(0)))
    assert moved > ends(blurry.expand(3, -1, -1, -1)) + 5
    assert moved > ends(truth[1].expand(3, -1, -1, -1)) + 5


@pytest.fixture(scope="module")
def space():
    return unblur.load_blur_space(device="cpu")


@pytest.fixture(scope="module")
def pair():
    """A scene, sharp in the middle of an exposure, and blurry; and another one along the same path."""
    made = []
    for turned in (False, True):
        still = scene(320).flip(-1) if turned else scene(320)
        generator = torch.Generator().manual_seed(4)
        spec = MotionSpec(length=(12.0, 12.0), layer=0.0)
        exposure = render(still, (256, 256), torch.tensor([0.5]), spec, generator=generator)
        made += [exposure.frames[0, 0], exposure.blurry[0]]
    return made


def test_a_blur_is_read_and_carried(space, pair):
    sharp, blurry, other, truth = pair
    code = unblur.encode_blur(sharp, blurry, space)
    again, carried = (unblur.apply_blur(image, code, space).image for image in (sharp, other))
    assert psnr(again, blurry) > max(34, psnr(sharp, blurry) + 8)
    assert psnr(carried, truth) > psnr(other, truth) + 8


def test_no_blur_is_read_as_none(space, pair):
    sharp, *_ = pair
    code = unblur.encode_blur(sharp, sharp, space)
    assert psnr(unblur.apply_blur(sharp, code, space).image, sharp) > 36


def test_a_code_fits_larger_pictures(space, pair):
    """An even motion stays what it is, in pixels, wherever it is put."""
    field = torch.zeros(1, 6, 16, 16)
    field[:, 0], field[:, 1] = 4.0, 3.0
    network = space.network
    with torch.inference_mode():
        larger = network.paths(network.fitted(network.encode_paths(field).mean, 720, 1280))
    # The rim of a picture is the hardest to draw.
    assert (larger - field[:, :, :1, :1]).abs().mean() < 0.15


def test_a_place_keeps_the_blur_of_the_same_relative_place(space):
    """Little motion at the left and much at the right, on a picture twice as wide; and further down, twice as high."""
    network = space.network
    slope = torch.linspace(1.0, 9.0, 16)
    for axis, size in ((-1, (256, 512)), (-2, (512, 256))):
        field = torch.zeros(1, 6, 16, 16)
        field[:, 0] = slope if axis == -1 else slope[:, None]
        with torch.inference_mode():
            larger = network.paths(network.fitted(network.encode_paths(field).mean, *size))[0, 0]
        along = larger.mean(0 if axis == -1 else 1)
        assert along.shape == (32,)
        assert F.l1_loss(along, torch.linspace(1.0, 9.0, 32)) < 0.3


@pytest.mark.parametrize(
    ("read", "put"), [((130, 130), (256, 256)), ((720, 1280), (360, 640)), ((129, 500), (256, 1000))]
)
def test_a_code_is_stretched_over_the_picture_not_over_its_cells(space, read, put):
    """A rotation stays one, in pixels, about the middle of the picture."""

    def turning(height, width):
        y = (torch.arange(-(-height // 16)) + 0.5) * 16 / height - 0.5
        x = (torch.arange(-(-width // 16)) + 0.5) * 16 / width - 0.5
        field = torch.zeros(1, 6, len(y), len(x))
        field[:, 0], field[:, 1] = -6 * y[:, None].clamp(-0.5, 0.5), 6 * x.clamp(-0.5, 0.5)
        field[:, 0] += 5
        return field

    network, wanted = space.network, turning(*put)
    with torch.inference_mode():
        code = network.encode_paths(turning(*read)).mean
        made = network.paths(network.fitted(code, *put, of=read))[..., : wanted.shape[2], : wanted.shape[3]]
    assert (made - wanted).square().mean().sqrt() < 0.35


def test_every_entry_of_a_code_acts(space):
    with torch.inference_mode():
        codes = space.network.draw(4, 256, 256, torch.Generator().manual_seed(0))
        before = space.network.paths(codes)
        spread = space.network.known_factor.square().sum(1).sqrt()
        for entry in range(codes.shape[1]):
            moved = codes.clone()
            moved[:, entry] += spread[entry]
            change = (space.network.paths(moved) - before).abs()
            assert change.amax() > 0.02, entry


def test_draws_are_blurs_that_differ(space, leaves):
    drawn = unblur.sample_blur(leaves, 4, 0, space)
    blurs = [each.image for each in drawn]
    assert all(15 < psnr(blur, leaves) < 40 for blur in blurs)
    assert all(psnr(one, other) < 40 for one in blurs for other in blurs if one is not other)
    again = unblur.sample_blur(leaves, 1, 0, space)[0].image
    assert torch.equal(again, blurs[0])


def test_strange_codes_are_far(space, pair):
    sharp, blurry, *_ = pair
    known = unblur.encode_blur(sharp, blurry, space).values
    network = space.network
    with torch.inference_mode():
        assert network.distance(known[None]).mean() < 2
        assert network.distance(4 * torch.randn(1, *known.shape)).mean() > 3
