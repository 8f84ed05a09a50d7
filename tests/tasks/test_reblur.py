"""Blurs read, kept, carried and drawn: in Python and from the command line, with a small space in a file."""

import json

import pytest
import torch

import unblur
from unblur.cli import main
from unblur.errors import UnblurError
from unblur.media.image import Picture, read_image
from unblur.metrics.fidelity import psnr
from unblur.models.card import Card
from unblur.models.weights import save_weights
from unblur.networks.blur_kernel_space import BlurKernelSpace
from unblur.networks.path_blur_space import PathBlurSpace
from unblur.pipeline.blur_transfer import BlurCode, BlurSpace, load_blur_space
from unblur.tasks.plots import draw_psf_grid
from unblur.tasks.reblur import read_blur, seed_of

ARGUMENTS = {"widths": (4, 4, 6, 6), "blocks": (1, 1, 1, 1), "features": 8, "gauss_newton_steps": 1}
EVIDENCE = {"hidden": 8, "blocks": 1, "window": 16, "reaches": (2, 3)}


def network(seed=0):
    torch.manual_seed(seed)
    space = PathBlurSpace(6, **ARGUMENTS, spectral=EVIDENCE)
    torch.nn.init.normal_(space.unfold.outro.weight, std=0.3)
    return space


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return save_weights(
        tmp_path_factory.mktemp("space") / "tiny.safetensors", network(), Card("tiny", "path_blur_space")
    )


@pytest.fixture(scope="module")
def space(file):
    return load_blur_space(file, "cpu")


@pytest.fixture
def photos(tmp_path, leaves):
    """A folder with two sharp pictures, and a pair beside it."""
    (tmp_path / "in").mkdir()
    for name, rows in (("a", 90), ("b", 70)):
        Picture(leaves[:, :rows, :100]).save(tmp_path / "in" / f"{name}.png")
    Picture(leaves[:, :128, :140]).save(tmp_path / "sharp.png")
    Picture(leaves[:, :128, 2:142]).save(tmp_path / "blurry.png")
    return tmp_path


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_code_is_kept_and_read_again(tmp_path, space, leaves):
    code = unblur.encode_blur(leaves, leaves.roll(2, 2), space)
    assert (code.height, code.width, code.space) == (256, 320, "tiny")
    assert code.values.shape == (6, 2, 3)
    again = BlurCode.load(code.save(tmp_path / "code.safetensors"))
    assert torch.equal(code.values, again.values)
    assert again.fingerprint == code.fingerprint == space.fingerprint
    one, other = (unblur.apply_blur(leaves, each, space).image for each in (code, again))
    assert torch.equal(one, other)
    assert not torch.equal(one, leaves)


def test_a_code_is_put_on_pictures_of_any_size(space, leaves):
    code = unblur.encode_blur(leaves, leaves.roll(2, 2), space)
    for height, width in ((1, 1), (50, 300), (256, 200)):
        made = unblur.apply_blur(torch.rand(3, height, width), code, space)
        assert made.image.shape == (3, height, width)


def test_depth_alpha_and_greyness_stay(tmp_path, space):
    picture = Picture(torch.rand(1, 40, 50).expand(3, -1, -1), torch.rand(1, 40, 50), 16, True)
    made = unblur.sample_blur(picture, 1, 3, space)[0].picture
    assert (made.bits, made.grey) == (16, True)
    assert torch.equal(made.alpha, picture.alpha)


def test_draws_follow_the_seed(space, leaves):
    one, again, other = (unblur.sample_blur(leaves, 3, seed, space) for seed in (0, 0, 1))
    for k in range(3):
        assert torch.equal(one[k].image, again[k].image)
        assert float((one[k].image - other[k].image).abs().max()) > 0.05
    assert torch.equal(unblur.sample_blur(leaves, 1, 0, space)[0].image, one[0].image)
    assert seed_of(0, 1) == 26110817016874400
    # Neighbouring seeds share nothing.
    assert not torch.equal(one[1].image, other[0].image)


def test_the_reading_tells_how_good_it_is(space, leaves):
    reading = read_blur(leaves, leaves.roll(1, 2), space)
    assert set(reading.as_dict()) == {"reconstruction_psnr", "pair_psnr"}
    assert reading.before == pytest.approx(float(psnr(leaves, leaves.roll(1, 2))))
    again = unblur.apply_blur(leaves, reading.code, space).image
    assert reading.psnr == pytest.approx(float(psnr(again, leaves.roll(1, 2))))
    assert reading.psnr != reading.before
    assert f"{reading.psnr:.1f} dB (the pair is {reading.before:.1f} dB apart)" in str(reading)


def test_what_is_refused(tmp_path, space, leaves):
    with pytest.raises(UnblurError, match=r"is 320x255, but its sharp picture .* is 320x256"):
        unblur.encode_blur(leaves, leaves[:, 1:], space)
    stranger = BlurSpace(network(1), device="cpu")
    code = unblur.encode_blur(leaves, leaves, space)
    with pytest.raises(UnblurError, match="the code: was read by tiny and means nothing to PathBlurSpace"):
        unblur.apply_blur(leaves, code, stranger)
    with pytest.raises(UnblurError, match="film-small: is no blur space"):
        load_blur_space("film-small")
    plain = network()
    plain.variational = False
    with pytest.raises(UnblurError, match="is not variational, so no blur can be drawn"):
        unblur.sample_blur(leaves, 1, 0, BlurSpace(plain, device="cpu"))
    with pytest.raises(UnblurError, match="n=0: not a number"):
        unblur.sample_blur(leaves, 0, 0, space)


@pytest.mark.parametrize("contents", [None, b"", b"rubbish" * 99])
def test_a_file_that_is_no_code(tmp_path, contents):
    path = tmp_path / "code.safetensors"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(UnblurError, match=r"code\.safetensors: (no such file|is no blur code)"):
        BlurCode.load(path)


def test_weights_are_no_code(file):
    with pytest.raises(UnblurError, match="is no blur code; name a file that"):
        BlurCode.load(file)


def test_the_picture_of_a_blur(space):
    drawn = draw_psf_grid(space, space.draw(200, 300, 0))
    assert drawn.shape == (3, 3 * 256, 3 * 320)
    light = (drawn[0] - 0.06).clamp_min(0).unflatten(0, (4, -1)).unflatten(2, (5, -1)).amax((1, 3))
    # A point in every square that the picture reaches the middle of.
    assert bool((light[:3, :4] > 0.5).all())
    assert drawn.max() <= 1
    wide = draw_psf_grid(space, space.draw(64, 4000, 0))
    assert wide.shape == (3, 192, 4032)


class Shifted:
    """A space that moves everything three pixels to the right, and adds a touch of light everywhere."""

    def apply(self, sharp, code):
        return (sharp.roll(3, 2) + 1e-3).clamp(0, 1)


def test_the_picture_shows_the_blur_and_nothing_else():
    code = BlurCode(torch.zeros(1, 1, 1), 150, 90, "x", "y")
    drawn = draw_psf_grid(Shifted(), code)[0]  # three by two squares, seven times as large
    assert drawn.shape == (192 * 5, 128 * 5)
    bright = (drawn > 0.5).nonzero()
    middles = torch.tensor([32, 96])[:, None].expand(2, 1)
    assert {(int(y) // 5, int(x) // 5) for y, x in bright} == {
        (int(row) - up, 32 - left + 3) for (row,) in middles for up in (0, 1) for left in (0, 1)
    }
    # Squares that hold no point, cut off by the rim, are dark: what is faint there is not made bright.
    assert float(drawn.unflatten(0, (3, -1)).unflatten(2, (2, -1))[:, 2:, 1, 2:].max()) < 0.12


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 33), (40, 500)])
def test_small_pictures_have_a_point_too(space, height, width):
    drawn = draw_psf_grid(space, space.draw(height, width, 0))
    assert float(drawn.max()) > 0.9


def test_the_command_transfers(capsys, photos, file):
    out = photos / "out"
    pair = ("--like", photos / "sharp.png", photos / "blurry.png")
    drawn, kept = photos / "points.png", photos / "code.safetensors"
    more = ("--save-code", kept, "--psf-grid", drawn)
    code, said, err = run(capsys, "reblur", photos / "in", *pair, "-o", out, "--model", file, *more)
    assert (code, err) == (0, "")
    assert "2 reblurred in " in said
    assert "read the blur to " in said
    assert {path.name for path in out.iterdir()} == {"a.png", "b.png"}
    assert read_image(out / "a.png").pixels.shape == (3, 90, 100)
    assert read_image(drawn).height >= 128
    first = (out / "a.png").read_bytes()
    code, *_ = run(capsys, "reblur", photos / "in", "--code", kept, "-o", out, "--model", file)
    assert code == 0
    assert (out / "a.png").read_bytes() == first


def test_the_command_draws(capsys, photos, file):
    source = photos / "in" / "a.png"
    code, said, _ = run(capsys, "reblur", source, "--sample", 3, "--seed", 5, "--model", file)
    names = [f"a.{k:03d}.reblurred.png" for k in range(3)]
    assert code == 0
    assert sorted(path.name for path in (photos / "in").iterdir()) == sorted(["a.png", "b.png", *names])
    bytes_of = lambda folder: [(folder / name).read_bytes() for name in names]  # noqa: E731
    first = bytes_of(photos / "in")
    assert len(set(first)) == 3
    code, said, _ = run(capsys, "reblur", photos / "in", "--sample", 3, "--seed", 5, "--model", file, "--skip-existing")
    # What it made before is no input.
    assert "1 reblurred, 1 skipped" in said
    assert bytes_of(photos / "in") == first
    assert (photos / "in" / "b.002.reblurred.png").exists()


def test_the_report(capsys, photos, file):
    pair = ("--like", photos / "sharp.png", photos / "blurry.png")
    code, said, _ = run(capsys, "reblur", photos / "in", *pair, "-o", photos / "o", "--model", file, "--json")
    report = json.loads(said)
    assert (code, report["command"], report["ok"], len(report["results"])) == (0, "reblur", True, 2)
    assert set(report["reading"]) == {"reconstruction_psnr", "pair_psnr"}
    assert report["model"]["name"] == "tiny"


def test_what_the_blur_comes_from_is_never_replaced(capsys, photos, file):
    pair = ("--like", photos / "sharp.png", photos / "blurry.png")
    kept = photos / "code.safetensors"
    assert run(capsys, "reblur", *pair, "--save-code", kept, "--model", file)[0] == 0
    before = {path: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    photo = photos / "in" / "a.png"
    for words in (
        (photo, *pair, "-o", photos / "blurry.png"),
        (*pair, "--psf-grid", photos / "sharp.png"),
        (photo, *pair, "--save-code", photos / "x", "-o", photos / "in" / ".." / "x"),
        (photo, "--code", kept, "-o", kept),
        (photos / "in", *pair, "--psf-grid", photos / "o" / "b.png", "-o", photos / "o"),
    ):
        code, out, err = run(capsys, "reblur", *words, "--model", file)
        assert (code, out) == (1, "")
        assert "would overwrite an input or another output" in err
        assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in photos.iterdir() if path.is_file()} == before


def test_a_code_of_another_model_is_told_once_by_its_name(capsys, photos, file):
    kept = BlurCode(torch.zeros(6, 1, 1), 9, 9, "other", "0" * 64).save(photos / "other.code")
    code, out, err = run(capsys, "reblur", photos / "in", "--code", kept, "-o", photos / "o", "--model", file)
    assert (code, out) == (1, "")
    assert (
        "other.code: was read by other and means nothing to tiny; use the model it was read by (sha256 00000000" in err
    )
    assert err.count("\n") == 1
    assert not (photos / "o").exists()


def test_a_plain_model_asked_to_draw_is_told_once(capsys, photos):
    plain = BlurKernelSpace(features=4, front_blocks=1, back_blocks=1, channels=4, encoder_blocks=1)
    file = save_weights(photos / "plain.safetensors", plain, Card("plain", "blur_space"))
    code, out, err = run(capsys, "reblur", photos / "in", "--sample", 1, "--model", file)
    assert (code, out) == (2, "")
    assert "--model plain: is not variational, so no blur can be drawn from it" in err
    assert err.count("\n") == 1


def test_networks_without_a_file_are_told_apart(leaves):
    one, same, other = (BlurSpace(network(seed), device="cpu") for seed in (0, 0, 1))
    code = one.encode(leaves, leaves)
    same.check(code)
    with pytest.raises(UnblurError, match="means nothing to PathBlurSpace"):
        other.check(code)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "--like and --sample: are both missing"),
        (("--sample", "2", "--code", "x"), "--code and --sample: are given at once"),
        (("--sample", "0"), "--sample 0: not a number of blurs"),
        (("--sample", "1", "--save-code", "x"), "--save-code and --psf-grid: want one blur"),
        (("--code", "nothing.safetensors"), "nothing.safetensors: no such file"),
        (("--like", "nothing.png", "nothing.png"), "nothing.png: does not exist"),
        (("--sample", "1", "--model", "fast"), "--model film-small: is no blur space"),
    ],
)
def test_wrong_usage_is_one_line(capsys, photos, file, words, problem):
    model = () if "--model" in words else ("--model", file)
    code, out, err = run(capsys, "reblur", photos / "in", *words, *model)
    assert code != 0
    assert out == ""
    assert problem in err
    assert err.count("\n") == 1


def test_no_picture_but_a_drawing(capsys, photos, file):
    pair = ("--like", photos / "sharp.png", photos / "blurry.png")
    code, said, _ = run(capsys, "reblur", *pair, "--psf-grid", photos / "points.png", "--model", file)
    assert code == 0
    assert f"{photos / 'blurry.png'} -> {photos / 'points.png'}  (what it does to points of light)" in said
    assert (photos / "points.png").exists()
    assert "1 written in " in said
    _, said, _ = run(capsys, "reblur", *pair, "--psf-grid", photos / "points.png", "--model", file, "--json")
    assert [result["output"] for result in json.loads(said)["results"]] == [str(photos / "points.png")]
    for more in ((), ("--psf-grid", photos / "points.png", "-o", photos / "o")):
        code, _, err = run(capsys, "reblur", *pair, *more, "--model", file)
        assert code == 2
        assert err.startswith("unblur: SHARP: no picture is named")
