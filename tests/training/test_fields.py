"""A blur space learns from fields of paths alone, and knows afterwards what to draw."""

import json
from pathlib import Path

import pytest
import torch
from train_command import main

from unblur.models.weights import load_weights
from unblur.networks.path_blur_space import PathBlurSpace
from unblur.training.blur_space_training import BlurSpaceSystem, CodeLoss
from unblur.training.recipe import read_recipe

RECIPE = """
name: tiny
out: {out}
log_every: 10
save_minutes: 60
ema: 0
network:
  name: path_blur_space
  arguments: {{channels: 8, widths: [16, 16, 16, 16], blocks: [1, 1, 1, 1]}}
fields: {{size: 8, batch_size: 4, noise: 0.1, motion: {{length: [4.0, 12.0], layer: 0.0}}}}
data: {{val_count: 0}}
loss: {{learn: fields, kl: 0.001}}
optimizer: {{lr: 1.0e-2}}
trainer: {{max_steps: 120, accelerator: cpu}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(out=tmp_path / "run"))
    return path


def test_fields_are_learned_and_the_prior_is_kept(recipe: Path, tmp_path: Path) -> None:
    assert main([str(recipe), "--init_motion_from", "film-small"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    fields = [line["field"] for line in lines]
    assert fields[-1] < 0.7 * fields[0]
    network = load_weights(tmp_path / "run" / "last.safetensors").network
    assert isinstance(network, PathBlurSpace)
    assert not torch.equal(network.prior_factor, torch.eye(8))
    assert not torch.equal(network.known_factor, torch.eye(8))
    film = load_weights("film-small").network
    torch.testing.assert_close(network.spectral.state_dict(), film.motion.spectral.state_dict())


def test_the_error_is_in_pixels() -> None:
    network = PathBlurSpace(8, widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1))
    with torch.no_grad():
        network.unfold.outro.weight.zero_()
        network.unfold.outro.bias.zero_()
    field = torch.zeros(1, 6, 8, 8)
    field[:, 0] = 5.0
    loss = BlurSpaceSystem(network, CodeLoss(learn="fields")).losses({"field": field, "seen": field})
    # At the times 0, 0.2, 0.4 and their mirror images: 5 * |2 t - 1|.
    assert loss["field"].item() == pytest.approx((5 + 3 + 1) / 3, abs=0.01)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--init_motion_from", "maxim"], "init_motion_from maxim: maxim has no spectral motion network"),
        (["--network.name", "blur_kernel_space"], "no such key in a recipe"),
        (["--fields.sise", "8"], "fields.sise: no such key in a recipe; the nearest is fields.size"),
    ],
)
def test_mistakes_are_told_in_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    assert main([str(recipe), *words]) != 0
    assert problem in capsys.readouterr().err


def test_the_shipped_recipe_is_valid() -> None:
    recipe = read_recipe(Path(__file__).parents[2] / "recipes" / "blur-space-small.yaml")
    assert (recipe.loss.learn, recipe.init_motion_from, recipe.fields.motion.length) == (
        "fields",
        "film-small",
        (0.0, 40.0),
    )
