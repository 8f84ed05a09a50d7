from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from train_command import main

from unblur.data.stills import Still
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.errors import UnblurError
from unblur.exposure.camera import MotionSpec
from unblur.losses.order_loss import naive, order_invariant, order_regulariser
from unblur.losses.pixel import shrink
from unblur.metrics.ordering import all_pairs, symmetric_pairs
from unblur.models.card import Card
from unblur.models.weights import load_weights, save_weights
from unblur.networks.hypercut import HyperCUT
from unblur.networks.jin import Jin
from unblur.networks.mimo_unet import MimoUNet
from unblur.networks.purohit import Purohit
from unblur.training.frames_training import FrameLoss, Frames
from unblur.training.recipe import read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def _cascade() -> Jin:
    torch.manual_seed(0)
    return Jin(8, 4, 8, 4)


def _recurrent() -> Purohit:
    torch.manual_seed(0)
    return Purohit(4, 6, (2, 3, 4))


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 7, 3, 20, 20, generator=generator)
    return {"blurry": frames.mean(1), "frames": frames, "times": torch.linspace(0, 1, 7)}


@pytest.fixture
def order(tmp_path: Path) -> str:
    torch.manual_seed(1)
    return str(save_weights(tmp_path / "order.safetensors", HyperCUT(4, 8, 1), Card("order", "hypercut")))


@pytest.fixture
def sharpener(tmp_path: Path) -> str:
    torch.manual_seed(2)
    return str(save_weights(tmp_path / "sharp.safetensors", MimoUNet(8, 1), Card("sharp", "mimo_unet")))


def test_the_cascade_learns_frames_or_pairs(batch: dict[str, Tensor]) -> None:
    network = _cascade()
    predicted, frames = network(batch["blurry"]), batch["frames"]
    terms = Frames(network).losses(batch)
    assert terms.keys() == {"pixel"}
    torch.testing.assert_close(terms["pixel"], naive(predicted, frames))
    for loss in (FrameLoss("pairs"), FrameLoss("pairs", distance="mse"), FrameLoss("pairs", released=True)):
        expected = order_invariant(predicted, frames, distance=loss.distance, released=loss.released)
        torch.testing.assert_close(Frames(network, loss).losses(batch)["pixel"], expected)


def test_pairs_need_nobody_to_tell_their_direction(batch: dict[str, Tensor]) -> None:
    network = _cascade()
    terms = Frames(network, FrameLoss("pairs", direction="learned")).losses(batch)
    torch.testing.assert_close(terms["pixel"], order_invariant(network(batch["blurry"]), batch["frames"]))


def test_predictions_are_pushed_to_the_order_of_the_network(batch: dict[str, Tensor], order: str) -> None:
    network, scorer = _cascade(), load_weights(order).network
    system = Frames(network, FrameLoss("pairs", order=0.2, order_network=order))
    terms = system.losses(batch)
    scores = scorer.pairs(network(batch["blurry"]), symmetric_pairs(7))
    torch.testing.assert_close(terms["order"], 0.2 * order_regulariser(scores))
    terms["order"].backward()
    assert network.middle.entry.weight.grad is not None
    released = Frames(network, FrameLoss("pairs", order=0.2, order_network=order, released=True)).losses(batch)
    torch.testing.assert_close(released["order"], 0.2 * order_regulariser(scores, released=True))
    # It is neither trained nor kept.
    assert not any("order" in name for name, _ in [*system.named_parameters(), *system.state_dict().items()])
    assert not any(p.requires_grad for p in system._frozen["order"].parameters())


def test_the_recurrent_network_learns_at_four_sizes(batch: dict[str, Tensor], sharpener: str) -> None:
    network = _recurrent()
    system = Frames(network, FrameLoss(flow=0.5, sharpener=sharpener))
    terms = system.losses(batch)
    moved = network.moved(batch["blurry"], batch["frames"][:, 3])
    assert [frames.shape[-1] for frames in moved.frames] == [3, 6, 12, 24]
    truth = F.pad(batch["frames"].flatten(0, 1), (0, 4, 0, 4), mode="reflect").unflatten(0, (2, 7))
    expected = torch.stack([naive(frames, shrink(truth, frames.shape[-2:])) for frames in moved.frames]).mean()
    torch.testing.assert_close(terms["pixel"], 7 * expected)
    flows = torch.stack([flow.abs().mean() for flow in moved.flows]).mean()
    torch.testing.assert_close(terms["flow"], 0.5 * flows)


def test_the_middle_frame_is_true_only_in_training(batch: dict[str, Tensor], sharpener: str) -> None:
    network, sharp = _recurrent(), load_weights(sharpener).network(batch["blurry"]).clamp(0, 1)
    given: list[Tensor] = []
    moved, follow = network.moved, network.estimate_motion
    network.moved = lambda blurry, middle: given.append(middle) or moved(blurry, middle)  # type: ignore[method-assign]
    network.estimate_motion = lambda blurry, middle: given.append(middle) or follow(blurry, middle)  # type: ignore[method-assign]
    for middle, expected in (("truth", batch["frames"][:, 3]), ("network", sharp)):
        system = Frames(network, FrameLoss(middle=middle, sharpener=sharpener))  # type: ignore[arg-type]
        system.losses(batch)
        with torch.no_grad():
            measured = system.measure(batch)
        torch.testing.assert_close(given[0], expected)
        torch.testing.assert_close(given[1], sharp)
        given.clear()
    assert measured.scores.keys() >= {"psnr@0", "psnr@0.5", "psnr@1", "input@0"}
    assert measured.sheet[1].shape == batch["frames"].shape


def test_the_direction_that_is_learned(batch: dict[str, Tensor], order: str) -> None:
    network, scorer = _cascade(), load_weights(order).network
    frames = batch["frames"]
    predicted = network(batch["blurry"])
    batch["frames"] = torch.stack((predicted[0], predicted.flip(1)[1])).detach()
    nearest = Frames(network, FrameLoss(direction="nearest")).losses(batch)
    torch.testing.assert_close(nearest["pixel"], torch.tensor(1e-3))
    # Found to the left of where it is in the middle frame: content moves rightwards.
    paths = torch.zeros(2, 7, 2, 20, 20)
    paths[0, :, 0], paths[1, :, 0] = (torch.linspace(a, -a, 7)[:, None, None] for a in (3.0, -3.0))
    motion = Frames(network, FrameLoss(direction="motion"))
    torch.testing.assert_close(motion.losses(batch | {"paths": paths})["pixel"], torch.tensor(1e-3))
    assert motion.losses(batch | {"paths": -paths})["pixel"] > 2e-3
    with pytest.raises(UnblurError, match="needs paths"):
        motion.losses(batch)
    # Frames that the network scores above 0 stay, and their reverse is turned.
    learned = Frames(network, FrameLoss(direction="learned", order_network=order))
    pairs = all_pairs(7)
    forward = (scorer.pairs(frames, pairs) * (pairs[:, 1] - pairs[:, 0])).sum(1) > 0
    expected = torch.where(forward[:, None, None, None, None], frames, frames.flip(1))
    for either in (frames, frames.flip(1)):
        torch.testing.assert_close(learned._directed(either, predicted, batch), expected)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused(batch: dict[str, Tensor], sharpener: str, order: str) -> None:
    with pytest.raises(UnblurError, match=r"loss\.order: needs a network that scores order"):
        Frames(_cascade(), FrameLoss(order=0.2))
    with pytest.raises(UnblurError, match=r"loss\.direction learned: needs"):
        Frames(_cascade(), FrameLoss(direction="learned"))
    with pytest.raises(UnblurError, match="scores no order"):
        Frames(_cascade(), FrameLoss(order=0.2, order_network=sharpener))
    with pytest.raises(UnblurError, match="has no flows"):
        Frames(_cascade(), FrameLoss(flow=0.1))
    blurs = save_weights(Path(order).with_name("a.safetensors"), _recurrent(), Card("a", "purohit"))
    with pytest.raises(UnblurError, match="makes no single sharp picture"):
        Frames(_recurrent(), FrameLoss(sharpener=str(blurs)))
    with pytest.raises(UnblurError, match="is a HyperCUT, which makes no single sharp picture"):
        Frames(_recurrent(), FrameLoss(sharpener=order))
    with pytest.raises(UnblurError, match="7") as caught:
        Frames(_cascade()).losses(batch | {"frames": batch["frames"][:, :5]})
    assert "exposures.times 7" in str(caught.value)


@pytest.mark.parametrize("kind", ["cascade", "recurrent"])
def test_training_learns(kind: str, batch: dict[str, Tensor], sharpener: str) -> None:
    network: nn.Module = _cascade() if kind == "cascade" else _recurrent()
    system = Frames(network, FrameLoss("pairs", sharpener=sharpener))  # type: ignore[arg-type]
    optimizer = torch.optim.Adamax(network.parameters(), 3e-3)
    seen = []
    for _ in range(6):
        loss = sum(system.losses(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.97 * seen[0]


def test_exposures_on_the_grid() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    options: dict[str, Any] = {"size": 16, "batch_size": 2, "motion": MotionSpec(length=(2.0, 6.0))}
    made = SyntheticExposures([Still(pixels, "a")], times=7, grid=True, **options).batch(0)
    torch.testing.assert_close(made["times"], (torch.arange(7) / 6).expand(2, 7))
    assert made["frames"].shape == (2, 7, 3, 16, 16)
    assert not made["paths"][:, 3].any()
    other = SyntheticExposures([Still(pixels, "a")], times=7, **options).batch(0)
    assert not torch.equal(other["times"], made["times"])


def test_the_papers_settings() -> None:
    for name in ("jin", "purohit"):
        recipe = read_recipe(RECIPES / f"{name}.yaml")
        assert (recipe.optimizer.kind, recipe.optimizer.lr, recipe.sequences.batch_size) == ("adamax", 5e-4, 8)
        epoch = 9000 // recipe.sequences.batch_size
        assert recipe.trainer.max_steps == 100 * epoch
        factors = [recipe.schedule.factor(n * epoch, recipe.trainer.max_steps) for n in (0, 2, 3, 99)]
        assert factors == pytest.approx([1, 1, 0.9, 0.9**33])
        assert (recipe.sequences.frames, recipe.exposures.times, recipe.exposures.grid) == (7, 7, True)
        assert recipe.sequences.size == recipe.exposures.size == (260 if name == "jin" else 256)
        assert recipe.loss.flow == (0 if name == "jin" else 0.02)


@pytest.mark.parametrize("kind", [Jin, Purohit])
def test_the_small_recipes_train_the_small_networks(kind: Any) -> None:
    recipe = read_recipe(RECIPES / f"{'jin' if kind is Jin else 'purohit'}-small.yaml")
    assert kind(**vars(recipe.network.arguments)).arguments == kind.small().arguments
    assert recipe.loss.middle == ("truth" if kind is Jin else "network")
    assert (recipe.exposures.times, recipe.exposures.grid) == (7, True)


RECIPE = """
name: tiny
network: {{name: {name}, arguments: {arguments}}}
out: {run}
data: {{train: {stills}, val: {stills}, val_count: 2, val_size: 24}}
exposures: {{size: 20, batch_size: 2, times: 7, grid: true, motion: {{length: [2, 6]}}}}
loss: {loss}
optimizer: {{kind: adamax}}
schedule: {{warmup: 1}}
log_every: 1
validate_every: 2
trainer: {{max_steps: 2, accelerator: cpu}}
"""


@pytest.mark.parametrize("name", ["jin", "purohit"])
def test_recipes_are_trained(
    name: str, tmp_path: Path, order: str, sharpener: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stills = tmp_path / "stills"
    stills.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (210, 210, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stills / "a.png")
    network = _cascade() if name == "jin" else _recurrent()
    loss = f"{{compare: pairs, order: 0.2, order_network: {order}, sharpener: {sharpener}}}"
    path = tmp_path / "tiny.yaml"
    run = tmp_path / "run"
    path.write_text(RECIPE.format(name=name, arguments=network.arguments, run=run, stills=stills, loss=loss))
    assert main([str(path)]) == 0
    loaded = load_weights(run / "last.safetensors")
    assert loaded.network.arguments == network.arguments
    assert loaded.card.score.keys() >= {"psnr@0", "psnr@0.5", "psnr@1"}
    if name == "purohit":
        assert main([str(path), "--resume", "auto", "--trainer.max_steps", "3"]) == 0
        return
    capsys.readouterr()
    assert main([str(path), "--out", str(tmp_path / "b"), "--exposures.grid", "false"]) == 1
    assert "exposures.grid: false" in capsys.readouterr().err
    assert main([str(path), "--out", str(tmp_path / "c"), "--exposures.times", "5"]) == 1
    assert "exposures.times 7" in capsys.readouterr().err
