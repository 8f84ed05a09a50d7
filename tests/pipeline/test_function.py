"""Models as functions of blurry pictures and times."""

import pytest
import torch

from unblur.errors import UnblurError
from unblur.pipeline.function import film_function


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("steps", [0, 4])
def test_paths_that_are_not_numbers_are_refused(pipeline, monkeypatch, value, steps):
    """Frames along them are drawn, of the picture's first pixel."""
    network, film = pipeline.film.network, film_function(pipeline, False, steps)
    follow = network.estimate_motion

    def lost(blurry, sharp):
        state = follow(blurry, sharp)
        state[0, 3, 5, 6] = value
        return state

    monkeypatch.setattr(network, "estimate_motion", lost)
    with torch.inference_mode(), pytest.raises(UnblurError, match="makes paths with values that are not numbers"):
        film(torch.rand(1, 3, 32, 32), torch.tensor([0.0, 1.0]))
