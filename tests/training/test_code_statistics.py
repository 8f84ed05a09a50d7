"""What draws and distances of a blur space are made of."""

import pytest
import torch

from unblur.data.synthetic_batches import SyntheticFields
from unblur.networks.path_blur_space import PathBlurSpace
from unblur.training.code_statistics import fit_prior


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    evidence = {"hidden": 8, "blocks": 1, "window": 16, "reaches": (2, 3)}
    space = PathBlurSpace(6, widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), features=8, spectral=evidence).eval()
    source = SyntheticFields(size=24, batch_size=16, seed=3)
    fit_prior(space, source, batches=8)
    return space, source


def moments(codes):
    flat = codes.transpose(0, 1).flatten(1)
    return flat.mean(1), torch.cov(flat)


def test_draws_are_like_the_codes_of_moving_cameras(fitted):
    space, source = fitted
    camera = source.with_(24, type(source.motion)(length=(0.0, 40.0), power=1.6, layer=0.0))
    with torch.no_grad():
        codes = torch.cat([space.encode_paths(camera.batch(100 + k)["field"]).mean for k in range(8)])
    drawn = space.draw(200, 384, 384, torch.Generator().manual_seed(0))
    (mean, spread), (mean_drawn, spread_drawn) = moments(codes), moments(drawn)
    scale = spread.diagonal().sqrt()
    assert float(((mean - mean_drawn) / scale).abs().max()) < 0.35
    assert float((spread - spread_drawn).norm() / spread.norm()) < 0.4


def test_cameras_move_neighbouring_cells_alike(fitted):
    space, _ = fitted
    assert float(space.prior_nearness.max()) > 0.7
    assert bool((space.prior_nearness >= 0).all())


def test_known_fields_are_about_one_away(fitted):
    space, source = fitted
    with torch.no_grad():
        codes = space.encode_paths(source.batch(50)["field"]).mean
    assert 0.5 < float(space.distance(codes).mean()) < 1.3
    assert float(space.distance(5 + 5 * codes).mean()) > 2
