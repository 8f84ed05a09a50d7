import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from nested import same
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from train_command import main

from unblur.errors import UnblurError
from unblur.losses.gan_loss import critic_terms, network_terms, released_pixel
from unblur.losses.perceptual import Lpips, alexnet
from unblur.losses.pixel import multi_scale
from unblur.models.weights import load_weights
from unblur.networks.cfmd import CFMD, CFMDRefiner
from unblur.networks.cfmd_critic import CFMDCritic
from unblur.networks.mimo_unet import MimoUNet
from unblur.networks.path_film import PathFilm
from unblur.training.base import Optimizer
from unblur.training.build import _in_turns
from unblur.training.film_training import FilmTraining, Loss
from unblur.training.gan_training import AdversarialLoss, GanTraining
from unblur.training.recipe import read_recipe
from unblur.training.schedule import Schedule

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = {"width": 2, "widest": 4, "levels": 3}
NO_LPIPS = AdversarialLoss(0.1, perceptual=0.0)


def _critic() -> CFMDCritic:
    torch.manual_seed(5)
    return CFMDCritic(**TINY)


def _system(network: nn.Module, adversarial: AdversarialLoss = NO_LPIPS, **options: Any) -> GanTraining:
    return GanTraining(network, _critic(), adversarial=adversarial, **options)


def _moments() -> CFMD:
    torch.manual_seed(0)
    return CFMD(channels=4, blocks=1)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames, times = torch.rand(2, 3, 3, 16, 16, generator=generator), torch.rand(2, 3, generator=generator)
    return {"blurry": frames.mean(1), "frames": frames, "times": times}


def test_the_network_is_trained_for_the_papers_sum(batch: dict[str, Tensor]) -> None:
    system = _system(_moments()).eval()
    blurry, frames, times = batch["blurry"], batch["frames"], batch["times"]
    outputs = system.network.scales(blurry, times)
    pictures = blurry.repeat_interleave(3, 0)
    judged = system.critic(outputs[-1].flatten(0, 1), pictures)
    expected = {"pixel": multi_scale(outputs, frames)} | network_terms(judged, times.flatten(), 0.1, 0.05)
    terms = system.losses(batch)
    assert list(terms) == ["pixel", "adversarial", "regression"]
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    true = system.critic(frames.flatten(0, 1), pictures)
    expected = critic_terms(true, judged, times.flatten(), 0.05)
    for name, value in system._critic_terms(batch, outputs[-1]).items():
        torch.testing.assert_close(value, expected[name])


def test_the_released_form(batch: dict[str, Tensor]) -> None:
    wanted = AdversarialLoss(0.01, 0.05, 1.0, "released", 0.0)
    system = _system(_moments(), wanted).eval()
    outputs = system.network.scales(batch["blurry"], batch["times"])
    torch.testing.assert_close(system.losses(batch)["pixel"], released_pixel(outputs, batch["frames"]))
    judged = system._judged(outputs[-1], batch["blurry"])
    expected = network_terms(judged, batch["times"].flatten(), 0.01, 0.05, "released")
    torch.testing.assert_close(system.losses(batch)["adversarial"], expected["adversarial"])
    true = system._judged(batch["frames"], batch["blurry"])
    expected = critic_terms(true, judged, batch["times"].flatten(), 1.0, "released")
    torch.testing.assert_close(system._critic_terms(batch, outputs[-1])["critic_time"], expected["critic_time"])


def test_frames_are_learned_and_judged_in_the_direction_of_the_film(batch: dict[str, Tensor]) -> None:
    paths = torch.zeros(2, 3, 2, 16, 16)
    order = batch["times"].argsort(1)
    for clip, sign in enumerate((1.0, -1.0)):
        paths[clip, order[clip, 0], 0], paths[clip, order[clip, 2], 0] = sign, -sign
    system = _system(_moments(), loss=Loss(direction="motion"))
    times = system._timed(batch | {"paths": paths})["times"]
    kept = [torch.equal(times[clip], batch["times"][clip]) for clip in range(2)]
    assert sorted(kept) == [False, True]
    torch.testing.assert_close(times[kept.index(False)], 1 - batch["times"][kept.index(False)])
    assert torch.equal(times, FilmTraining(_moments(), Loss(direction="motion"))._directed(batch | {"paths": paths}))


def test_lpips_where_it_is_and_a_line_where_it_is_not(
    batch: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(1)
    lpips = Lpips(alexnet())
    for head in lpips.heads:
        nn.init.uniform_(head)
    monkeypatch.setattr("unblur.training.film_training.load_lpips", lambda path: lpips)
    there = tmp_path / "there.ckpt"
    there.touch()
    system = _system(_moments(), AdversarialLoss(0.1, perceptual=0.01, lpips=str(there))).eval()
    made = system.network(batch["blurry"], batch["times"])
    torch.testing.assert_close(system.losses(batch)["perceptual"], 0.01 * lpips(made, batch["frames"]).mean())
    assert not any("lpips" in name or "heads" in name for name in system.state_dict())
    alone = FilmTraining(_moments(), Loss(perceptual=0.02, lpips=str(there))).eval()
    made = alone.network(batch["blurry"], batch["times"])
    torch.testing.assert_close(alone.losses(batch)["perceptual"], 0.02 * lpips(made, batch["frames"]).mean())
    shown = FilmTraining(_moments(), Loss(lpips=str(there))).eval()
    assert "perceptual" not in shown.losses(batch)
    assert {name for name in shown.measure(batch).scores if name.startswith("lpips")}
    assert not {name for name in FilmTraining(_moments()).measure(batch).scores if name.startswith("lpips")}
    twice = Loss(perceptual=0.02, lpips=str(there))
    with pytest.raises(UnblurError, match=r"adversarial\.perceptual: .* set one of the two to 0"):
        _system(_moments(), AdversarialLoss(0.1, lpips=str(there)), loss=twice)
    beside = _system(_moments(), NO_LPIPS, loss=twice)
    made = beside.network(batch["blurry"], batch["times"])
    torch.testing.assert_close(beside.losses(batch)["perceptual"], 0.02 * lpips(made, batch["frames"]).mean())
    assert not caplog.records
    for missing, told in ((None, "adversarial.lpips"), ("none.ckpt", "none.ckpt")):
        caplog.clear()
        system = _system(_moments(), AdversarialLoss(0.1, perceptual=0.01, lpips=missing))
        (line,) = caplog.messages
        assert told in line
        assert "pip download" in line
        assert "perceptual" not in system.losses(batch)


class Stop(Callback):
    """Ends the training after `step` steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


@pytest.mark.parametrize(("stop", "gather", "prefetch"), [(3, 1, True), (4, 2, False)])
def test_interrupted_and_resumed_equals_uninterrupted(
    fit: Callable[..., Any], tmp_path: Path, stop: int, gather: int, prefetch: bool
) -> None:
    wanted = AdversarialLoss(0.1, perceptual=0.0)
    build = partial(_built, adversarial=wanted, accumulate=gather)
    options = {"build": build, "gather": gather, "prefetch": prefetch}
    trainer, _ = fit(tmp_path / "whole", steps=6, **options)
    assert trainer.global_step == 6
    trainer, _ = fit(tmp_path / "parts", steps=6, callbacks=[Stop(stop)], **options)
    assert trainer.global_step == stop
    fit(tmp_path / "parts", steps=6, ckpt_path=tmp_path / "parts" / "last.ckpt", **options)
    whole, parts = (torch.load(tmp_path / name / "last.ckpt", weights_only=False) for name in ("whole", "parts"))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(whole[part], parts[part]), part
    assert len(whole["optimizer_states"]) == 2
    assert any(name.startswith("critic.") and name.endswith("left") for name in whole["state_dict"])
    exported = [torch.load(tmp_path / name / "weights.pt") for name in ("whole", "parts")]
    assert same(*exported)


def _built(network: nn.Module, **options: Any) -> GanTraining:
    return GanTraining(network, _critic(), **options)


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_both_learn_and_one_step_is_one_step(fit: Callable[..., Any], tmp_path: Path) -> None:
    how = {"critic_optimizer": Optimizer(lr=2e-2), "critic_schedule": Schedule("constant", warmup=0)}
    _, system = fit(tmp_path, steps=4, build=partial(_built, adversarial=NO_LPIPS, **how))
    assert not same(system.critic.state_dict(), _critic().state_dict())
    assert all(weight.requires_grad for weight in system.critic.parameters())
    lines = [line for line in _lines(tmp_path) if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    names = {"pixel", "adversarial", "regression", "critic_whole", "critic_local", "critic_time"}
    assert names <= lines[0].keys()
    assert lines[0]["loss"] == pytest.approx(sum(lines[0][n] for n in ("pixel", "adversarial", "regression")), rel=1e-5)
    # The journal tells the network's rate; the critic has its own.
    assert lines[1]["lr"] == pytest.approx(1e-2)
    network, critic = (one.param_groups[0]["lr"] for one in system.trainer.optimizers)
    assert (network < 1e-2, critic) == (True, 2e-2)


@pytest.mark.parametrize("frozen", ["network", "critic"])
def test_neither_moves_the_other(frozen: str, fit: Callable[..., Any], tmp_path: Path) -> None:
    rates = {"optimizer": Optimizer(lr=1e-2), "critic_optimizer": Optimizer(lr=1e-2)}
    rates["optimizer" if frozen == "network" else "critic_optimizer"] = Optimizer(lr=0.0)

    def build(network: nn.Module, **options: Any) -> GanTraining:
        return _built(network, **options | rates, adversarial=NO_LPIPS)

    first, second = (fit(tmp_path / str(steps), steps=steps, build=build)[1] for steps in (1, 3))
    for part in ("network", "critic"):
        before, after = (dict(getattr(one, part).named_parameters()) for one in (first, second))
        assert same(before, after) is (part == frozen)


class Gradients(Callback):
    """Those of the network before each of its steps."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        found = [p.grad.flatten() for p in pl_module.network.parameters() if p.grad is not None]
        self.seen.append(torch.cat(found))


def test_gathered_gradients_are_means(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Of weights that stay as they are, of a network that looks at each picture by itself."""

    def build(network: nn.Module, gather: int, **options: Any) -> GanTraining:
        options |= {"optimizer": Optimizer(lr=0.0), "accumulate": gather, "clip": None}
        return GanTraining(_moments(), _critic(), adversarial=NO_LPIPS, **options)

    kept = Gradients()
    for gather, steps in ((1, 2), (2, 1)):
        options = {"build": partial(build, gather=gather), "gather": gather, "callbacks": [kept]}
        fit(tmp_path / str(gather), steps=steps, **options)
    first, second, both = kept.seen
    torch.testing.assert_close(both, (first + second) / 2)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("clip", [1e-3, None])
def test_gradients_are_clipped(clip: float | None, fit: Callable[..., Any], tmp_path: Path) -> None:
    kept = Gradients()
    fit(tmp_path, steps=2, build=partial(_built, adversarial=NO_LPIPS, clip=clip), callbacks=[kept])
    largest = max(each.norm().item() for each in kept.seen)
    assert (largest <= 1.001e-3) is (clip is not None)


def test_what_cannot_be_trained_so_is_refused() -> None:
    film = PathFilm({"widths": (4, 8), "blocks": (1, 1)}, {"widths": (4, 8), "blocks": (1, 1)})
    with pytest.raises(UnblurError, match=r"loss\.parts"):
        _system(film, loss=Loss(parts="both"))
    with pytest.raises(UnblurError, match="MimoUNet makes one"):
        _system(MimoUNet(4, 1))


def test_the_papers_settings() -> None:
    recipe = read_recipe(RECIPES / "cfmd-face.yaml")
    epoch = 12_000 // recipe.sequences.batch_size
    assert (recipe.sequences.batch_size, recipe.sequences.size) == (8, 256)
    assert recipe.trainer.max_steps == 200 * epoch
    for optimizer, schedule in (
        (recipe.optimizer, recipe.schedule),
        (recipe.critic.optimizer, recipe.critic.schedule),
    ):
        assert (optimizer.lr, optimizer.betas, optimizer.weight_decay) == (1e-4, (0.9, 0.999), 0)
        factors = [schedule.factor(n * epoch, recipe.trainer.max_steps) for n in (0, 1, 199)]
        assert factors == pytest.approx([1, 0.99, 0.99**199])
    wanted = recipe.adversarial
    assert (wanted.weight, wanted.regression, wanted.critic_regression, wanted.perceptual) == (0.1, 0.05, 0.05, 0.01)
    assert (wanted.form, recipe.sequences.frames_per_sample, recipe.loss.scales, recipe.loss.eps) == (
        "paper",
        1,
        3,
        1e-3,
    )
    assert [one.frames for one in recipe.sequences.train] == [5, 7, 9, 11, 13]
    how = recipe.augmentation
    assert (how.enlarge, how.affine, how.jitter, how.noise, how.mirror) == (1.5, 0, 0, 0, 0)
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in network.parameters())
            for network in (CFMD(**vars(recipe.network.arguments)), CFMDCritic(**vars(recipe.critic.arguments)))
        ]
    assert counts == [8_558_195, 40_296_448]


def test_the_small_recipe_is_for_cpus() -> None:
    recipe = read_recipe(RECIPES / "cfmd-face-small.yaml")
    with torch.device("meta"):
        critic = CFMDCritic(**vars(recipe.critic.arguments))
        network = CFMDRefiner(**vars(recipe.network.arguments))
    assert 1e6 <= sum(p.numel() for p in critic.parameters()) <= 2e6
    assert sum(p.numel() for p in network.parameters()) == 2_432_908
    # What ships learned without a critic, and to correct estimates.
    assert (recipe.adversarial.weight, network.kind) == (0, "refiner")
    assert {one.estimates for one in [*recipe.sequences.train, *recipe.sequences.val]} == {"maxim"}


RECIPE = """
name: tiny
network: {{name: cfmd, arguments: {{channels: 4, blocks: 1, {ablation}}}}}
out: {run}
data: {{train: {stills}, val: {stills}, val_count: 2, val_size: 24}}
exposures: {{size: 16, batch_size: 2, times: 2, motion: {{length: [2, 6]}}}}
adversarial: {{weight: 0.1, perceptual: 0}}
critic: {{arguments: {{width: 2, widest: 4, levels: 3}}, optimizer: {{lr: 1e-3}}}}
schedule: {{warmup: 1}}
log_every: 1
validate_every: 2
trainer: {{max_steps: 2, accelerator: cpu, gradient_clip_val: 1.0, accumulate_grad_batches: 2}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    stills = tmp_path / "stills"
    stills.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (210, 210, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stills / "a.png")
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(run=tmp_path / "run", stills=stills, ablation="attention: true"))
    return path


def test_recipes_are_trained_and_resumed_and_begun_from_weights(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = recipe.parent / "run", recipe.parent / "other"
    assert main([str(recipe)]) == 0
    names = {"journal.jsonl", "last.ckpt", "last.safetensors", "critic.safetensors", "recipe.yaml", "sheet-0000002.png"}
    assert {path.name for path in run.iterdir()} == names
    assert [line["step"] for line in _lines(run)] == [1, 2, 2]
    critic = load_weights(run / "critic.safetensors")
    assert (critic.card.network, critic.network.arguments) == ("cfmd_critic", TINY)
    assert load_weights(run / "last.safetensors").card.network == "cfmd"
    assert main([str(recipe), "--resume", "auto", "--trainer.max_steps", "3", "--trainer.precision", "bf16-mixed"]) == 0
    weights = ["--weights", str(run / "last.safetensors"), "--critic.weights", str(run / "critic.safetensors")]
    still = ["--optimizer.lr", "0", "--critic.optimizer.lr", "0", "--ema", "0", "--trainer.max_steps", "1"]
    assert main([str(recipe), *weights, *still, "--out", str(other)]) == 0
    for name in ("last.safetensors", "critic.safetensors"):
        first, second = (load_file(folder / name) for folder in (run, other))
        # Power iterations go on.
        assert all(torch.equal(first[key], second[key]) for key in first if key.endswith("weight"))


@pytest.mark.parametrize("ablation", ["deformable: false", "attention: false"])
def test_ablations(ablation: str, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("attention: true", ablation))
    assert main([str(recipe), "--loss.direction", "random", "--trainer.max_steps", "1", "--data.val_count", "0"]) == 0


@pytest.mark.parametrize(
    ("devices", "nodes", "asked", "expected"),
    [
        ("auto", 1, "auto", "auto"),
        (1, 1, "auto", "auto"),
        (2, 1, "auto", "ddp_find_unused_parameters_true"),
        (2, 1, "ddp", "ddp_find_unused_parameters_true"),
        ("0,1", 1, "ddp", "ddp_find_unused_parameters_true"),
        (1, 2, "auto", "ddp_find_unused_parameters_true"),
        ("auto", 2, "fsdp", "fsdp"),
    ],
)
def test_several_devices_bear_steps_of_one_network(devices: int | str, nodes: int, asked: str, expected: str) -> None:
    machine = {"strategy": asked, "devices": devices, "num_nodes": nodes, "accelerator": "cpu"}
    assert _in_turns(machine) == expected


def test_without_a_weight_there_is_no_critic(recipe: Path) -> None:
    words = ["--adversarial.weight", "0", "--trainer.max_steps", "1", "--data.val_count", "0"]
    assert main([str(recipe), *words]) == 0
    assert not (recipe.parent / "run" / "critic.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--trainer.precision", "16-mixed"], 1, "use bf16-mixed"),
        (["--critic.arguments.levels", "1"], 1, "critic.arguments: are refused"),
        (["--critic.weights", "none"], 1, "none"),
        (["--critic.width", "3"], 2, "critic.arguments.width"),
        (["--adversarial.form", "relaesed"], 2, "adversarial.form"),
        (["--network.name", "cfmd_critic"], 2, "adversarial.weight"),
        (["--sequences.train", "[{path: a, frames: 5}, {path: b}]"], 2, "set sequences.frames_per_sample"),
        (
            ["--sequences.train", "[{path: a, frames: 5}]", "--sequences.frames_per_sample", "6"],
            2,
            "sequences.frames_per_sample",
        ),
        (
            ["--sequences.train", "[{path: a}]", "--sequences.frames_per_sample", "1", "--loss.direction", "random"],
            1,
            "whole exposures",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, told: str
) -> None:
    assert main([str(recipe), *words]) == status
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
