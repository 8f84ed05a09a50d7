"""`deblur_camera_shake` and `unblur deblur --method shake`."""

import json
from pathlib import Path

import pytest
import torch

import unblur
from tests.pipeline.test_camera_shake import at_best_shift, blurred, curve, psnr, scene
from unblur.cli.program import main
from unblur.media.image import Picture, read_image


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shake") / "hand.png"
    return Picture(blurred(scene(), curve())).save(path)


def test_the_denoiser_makes_the_picture_better(photo: Path) -> None:
    made = unblur.deblur_camera_shake(photo, device="cpu")
    truth, blurry = scene()[..., 7:-7, 7:-7], read_image(photo).pixels
    assert at_best_shift(made.image, truth) > psnr(blurry, truth) + 4
    assert made.after < made.before
    assert 8 < made.length < 18
    assert made.warning is None


def test_tiles_make_the_same_picture(photo: Path) -> None:
    whole = unblur.deblur_camera_shake(photo, device="cpu", dtype="float32")
    tiled = unblur.deblur_camera_shake(photo, device="cpu", dtype="float32", tile=136)
    torch.testing.assert_close(tiled.image, whole.image, atol=2e-3, rtol=0)


@pytest.mark.parametrize("picture", [torch.full((3, 90, 90), 0.4), torch.rand(3, 20, 30)])
def test_what_tells_no_shake_stays_as_it_is(picture: torch.Tensor) -> None:
    made = unblur.deblur_camera_shake(picture)
    assert torch.equal(made.image, picture)
    assert made.warning is not None
    assert "stays as it is" in made.warning


def test_the_command(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sharp.png"
    assert main(["deblur", str(photo), "--method", "shake", "-o", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["method"] == "shake"
    assert 8 < report["results"][0]["shake_length"] < 18
    assert out.exists()


def test_options_of_a_model_are_refused(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deblur", str(photo), "--method", "shake", "--model", "best"]) == 2
    assert "--method shake" in capsys.readouterr().err
