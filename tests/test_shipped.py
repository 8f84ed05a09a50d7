"""The weights inside the package: whole, small, described, and of use on the picture that the README shows."""

from pathlib import Path

import numpy as np
import pytest

import unblur
from unblur.data.flow import compare
from unblur.media.image import read_image
from unblur.metrics.fidelity import psnr
from unblur.zoo.table import DEFAULT, SHIPPED
from unblur.zoo.weights import FILES, load_weights

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
    assert card.protocol == "val-1"
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
