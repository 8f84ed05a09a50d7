from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from train_command import main

from unblur.errors import UnblurError
from unblur.losses.pixel import charbonnier
from unblur.losses.priors import divergence, released_divergence
from unblur.metrics.fidelity import psnr
from unblur.models.weights import load_weights
from unblur.networks.blur_kernel_space import BlurKernelSpace
from unblur.networks.kinds import BlurSpaceNetwork, Code
from unblur.networks.path_blur_space import PathBlurSpace
from unblur.training.blur_space_training import BlurSpaceSystem, CodeLoss


class Toy(nn.Module, BlurSpaceNetwork):
    """A blur space whose code is the mean difference of the pair, and whose operator adds it."""

    cell = 128
    has_paths = True

    def __init__(self, variational: bool = False) -> None:
        super().__init__()
        self.variational = variational
        self.gain = nn.Parameter(torch.tensor(0.5))

    def encode(self, sharp: Tensor, blurry: Tensor) -> Code:
        mean = self.gain * (blurry - sharp).mean((2, 3), keepdim=True)
        return Code(mean, self.gain + 0 * mean if self.variational else None)

    def reblur(self, sharp: Tensor, code: Tensor) -> Tensor:
        return sharp + code

    def displacements(self, code: Tensor, times: Tensor, size: tuple[int, int]) -> Tensor:
        since = (times - 0.5)[..., None, None, None]
        return (self.gain * since).expand(*times.shape, 2, *size)


@pytest.fixture
def pair() -> dict[str, Tensor]:
    sharp = torch.rand(2, 3, 16, 24)
    times = torch.tensor([[0.0, 0.75], [0.25, 1.0]])
    signs = torch.tensor([1.0, -1.0])[:, None]  # of time
    paths = (0.5 * signs * (times - 0.5))[..., None, None, None].expand(2, 2, 2, 16, 24)
    return {"sharp": sharp, "blurry": 0.8 * sharp, "times": times, "paths": paths}


def test_the_pixel_term_is_a_mean_and_the_released_one_a_sum(pair: dict[str, Tensor]) -> None:
    network = Toy()
    terms = BlurSpaceSystem(network).losses(pair)
    again = network.reblur(pair["sharp"], network.encode(pair["sharp"], pair["blurry"]).mean)
    released = ((again - pair["blurry"]).square() + 1e-6).sqrt().sum()
    assert terms.keys() == {"pixel"}
    torch.testing.assert_close(terms["pixel"] * (3 * 16 * 24 * 2), released)


def test_it_learns(pair: dict[str, Tensor]) -> None:
    network = Toy()
    system = BlurSpaceSystem(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    flat = {"sharp": pair["sharp"], "blurry": pair["sharp"] - 0.2}
    for _ in range(60):
        optimizer.zero_grad()
        system.losses(flat)["pixel"].backward()
        optimizer.step()
    assert network.gain.item() == pytest.approx(1, abs=0.05)
    measured = system.measure(flat).scores  # type: ignore[arg-type]
    assert (measured["reconstruction"] > measured["input"] + 20).all()


def test_codes_are_drawn_and_their_divergence_is_weighed(pair: dict[str, Tensor]) -> None:
    network = Toy(variational=True)
    system = BlurSpaceSystem(network, CodeLoss(kl=0.5))
    torch.manual_seed(1)
    terms = system.losses(pair)
    torch.manual_seed(1)
    code = network.encode(pair["sharp"], pair["blurry"])
    again = network.reblur(pair["sharp"], code.sample())
    torch.testing.assert_close(terms["pixel"], charbonnier(again, pair["blurry"]))
    torch.testing.assert_close(terms["kl"], 0.5 * divergence(code))
    released = BlurSpaceSystem(network, CodeLoss(kl=10, kl_form="released")).losses(pair)
    # Both terms over the same number: their ratio is that of the released sums.
    torch.testing.assert_close(released["kl"] * pair["blurry"].numel(), 10 * released_divergence(code))


def test_the_divergence_comes_slowly(pair: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    system = BlurSpaceSystem(Toy(variational=True), CodeLoss(kl=1.0, kl_warmup=9))
    weights = []
    for step in (0, 4, 9, 500):
        monkeypatch.setattr(BlurSpaceSystem, "global_step", step)
        weights.append(system.losses(pair)["kl"].item())
    assert [weight / weights[-1] for weight in weights] == pytest.approx([0.1, 0.5, 1, 1])


def test_paths_are_compared_in_the_nearer_direction(pair: dict[str, Tensor]) -> None:
    terms = BlurSpaceSystem(Toy(), CodeLoss(paths=0.1)).losses(pair)
    assert terms["paths"].item() == pytest.approx(0)
    wrong = pair | {"paths": pair["paths"] + 1}
    expected = torch.stack([(sign * pair["paths"] - wrong["paths"]).abs().flatten(1).mean(1) for sign in (1, -1)])
    terms = BlurSpaceSystem(Toy(), CodeLoss(paths=0.1)).losses(wrong)
    torch.testing.assert_close(terms["paths"], 0.1 * expected.amin(0).mean())
    unknown = {name: pair[name] for name in ("sharp", "blurry")}
    assert BlurSpaceSystem(Toy(), CodeLoss(paths=0.1)).losses(unknown).keys() == {"pixel"}


def test_reconstruction_is_measured_beside_the_input(pair: dict[str, Tensor]) -> None:
    network = Toy()
    measured = BlurSpaceSystem(network).measure(pair)  # type: ignore[arg-type]
    again = network.reblur(pair["sharp"], network.encode(pair["sharp"], pair["blurry"]).mean)
    torch.testing.assert_close(measured.scores["reconstruction"], psnr(again, pair["blurry"]))
    torch.testing.assert_close(measured.scores["input"], psnr(pair["sharp"], pair["blurry"]))
    assert measured.sheet[1].shape == measured.sheet[2].shape == (2, 1, 3, 16, 24)


def test_terms_that_the_network_has_nothing_for_are_refused() -> None:
    with pytest.raises(UnblurError, match=r"loss\.kl: this Toy is not variational"):
        BlurSpaceSystem(Toy(), CodeLoss(kl=1))
    with pytest.raises(UnblurError, match=r"loss\.paths: a BlurKernelSpace knows no displacements"):
        BlurSpaceSystem(BlurKernelSpace(4, 1, 1, 8, 1), CodeLoss(paths=1))


def test_the_shipped_kind_of_network_learns_from_all_terms(pair: dict[str, Tensor]) -> None:
    network = PathBlurSpace(
        channels=4, widths=[8] * 4, blocks=[1] * 4, features=16, gauss_newton_steps=1, spectral={"reaches": [2, 2]}
    )
    terms = BlurSpaceSystem(network, CodeLoss(kl=0.1, paths=0.1)).losses(pair)  # type: ignore[arg-type]
    torch.stack(list(terms.values())).sum().backward()
    for part in (network.fold, network.unfold):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


RECIPE = """
name: tiny
network:
  name: blur_kernel_space
  arguments: {{features: 4, front_blocks: 1, back_blocks: 1, channels: 8, encoder_blocks: 1}}
out: {run}
pairs: {{train: [{{path: {pairs}}}], val: [{{path: {pairs}}}], size: 32, batch_size: 2}}
data: {{train: {pairs}, val: {pairs}, val_count: 2, val_size: 32}}
schedule: {{shape: restarts, warmup: 0, periods: [2, 4]}}
log_every: 1
validate_every: 2
trainer: {{max_steps: 2, accelerator: cpu}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    pairs, rng = tmp_path / "pairs", np.random.default_rng(0)
    for i in range(3):
        sharp = rng.integers(0, 256, (220, 230, 3), np.uint8)
        for half, pixels in (("sharp_imgs", sharp), ("blur_imgs", sharp // 2)):
            (pairs / half).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(pairs / half / f"{i}.png")
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(run=tmp_path / "run", pairs=pairs))
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_a_recipe_trains_a_blur_space_on_pairs_and_goes_on(recipe: Path) -> None:
    run = recipe.parent / "run"
    assert main([str(recipe)]) == 0
    assert main([str(recipe), "--resume", "auto", "--trainer.max_steps", "4"]) == 0
    training = [line for line in lines(run) if "loss" in line]
    assert [line["step"] for line in training] == [1, 2, 3, 4]
    whole = recipe.parent / "whole"
    assert main([str(recipe), "--out", str(whole), "--trainer.max_steps", "4"]) == 0
    kept = [line["loss"] for line in lines(whole) if "loss" in line]
    assert [line["loss"] for line in training] == pytest.approx(kept, abs=1e-7)
    score = next(line for line in lines(run) if "input" in line)
    assert score["reconstruction"] > 0
    card = load_weights(run / "last.safetensors").card
    assert card.protocol == "2 validation pairs, 32 pixels a side"
    assert card.score.keys() == {"reconstruction", "input"}
    with Image.open(run / "sheet-0000002.png") as sheet:
        assert sheet.size == (32 * 3 + 2 * 12, 32 * 2 + 4)


def test_without_pairs_it_learns_from_exposures_of_stills(recipe: Path) -> None:
    stills = recipe.parent / "pairs" / "sharp_imgs"
    words = ["--pairs.train", "[]", "--pairs.val", "[]", "--data.train", str(stills), "--data.val", str(stills)]
    words += ["--exposures.size", "32", "--exposures.batch_size", "2"]
    assert main([str(recipe), *words]) == 0
    card = load_weights(recipe.parent / "run" / "last.safetensors").card
    assert card.protocol == "2 validation synthetic pairs, medium blur"


def test_starting_from_weights_that_fit_in_part(
    recipe: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--data.val_count", "0", "--trainer.max_steps", "1"]
    assert main([str(recipe), *short]) == 0
    weights = str(recipe.parent / "run" / "last.safetensors")
    words = [str(recipe), *short, "--weights", weights, "--network.arguments.variational", "true"]
    words += ["--loss.kl", "10", "--loss.kl_form", "released", "--optimizer.lr", "0", "--ema", "0"]
    assert main([*words, "--out", str(recipe.parent / "strict")]) == 1
    assert "has shape" in capsys.readouterr().err
    with caplog.at_level("INFO", "unblur"):
        assert main([*words, "--out", str(recipe.parent / "partly"), "--strict_weights", "false"]) == 0
    told = next(record.getMessage() for record in caplog.records if "are taken from it" in record.getMessage())
    plain = load_weights(weights).network.state_dict()
    wide = load_weights(recipe.parent / "partly" / "last.safetensors").network.state_dict()
    for name, value in wide.items():
        if name in plain and plain[name].shape == value.shape:
            assert torch.equal(value, plain[name])
        else:
            assert name in told


def test_weights_of_something_else_are_refused_even_in_part(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(recipe), "--weights", "film-small", "--strict_weights", "false"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "film-small: holds nothing that the network has" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--loss.kl", "1"], "loss.kl: this BlurKernelSpace is not variational"),
        (["--loss.paths", "1"], "loss.paths: a BlurKernelSpace knows no displacements"),
        (["--pairs.train", "[{path: nowhere}]"], "nowhere: does not exist"),
        (["--pairs.val", "[]"], "pairs.val: names no pairs, but data.val_count is 2"),
        (["--pairs.size", "500"], "smaller than crops of 500 x 500"),
    ],
)
def test_mistakes_are_told_in_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main([str(recipe), *words]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
