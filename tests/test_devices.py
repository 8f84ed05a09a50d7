"""Everything that computes, on a GPU that is pretended: nothing stays on the CPU by mistake; answers are the CPU's."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from pretended import CPU, CUDA, MixedDevices, Pretended, place, put
from torch import Tensor, nn
from written_faces import write_faces

import unblur
from unblur.analysis.blur_type import classify_blur
from unblur.analysis.motion_field import measure_field
from unblur.data.metadata_exposures import load_faces
from unblur.data.stills import Still
from unblur.data.synthetic_batches import SyntheticExposures, SyntheticFields
from unblur.evaluation.faces_protocol import FaceEvaluator
from unblur.evaluation.film_scores import score
from unblur.evaluation.options import MetricSet
from unblur.exposure.average import frame_times
from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import SensorSpec
from unblur.layers import deformable
from unblur.layers import paths as motion
from unblur.losses.perceptual import Lpips, alexnet
from unblur.metrics.fidelity import psnr, ssim
from unblur.metrics.frechet import Moments, file_features
from unblur.metrics.identity import IdentityDistance
from unblur.metrics.sequence import BothWays
from unblur.models.feature_networks import FeatureExtractor
from unblur.models.registry import NETWORKS, network_class
from unblur.networks.arcface import ArcFaceNet
from unblur.networks.cfmd import CFMDRefiner
from unblur.networks.deep_image_prior import DeepImagePrior
from unblur.networks.dlib_resnet import DlibResNet
from unblur.networks.hypercut import HyperCUT
from unblur.networks.inception import Inception
from unblur.pipeline import film as film_module
from unblur.pipeline import motion as motion_module
from unblur.pipeline import search as variables
from unblur.pipeline.blur_transfer import load_blur_space
from unblur.pipeline.consistency import consistent
from unblur.pipeline.film import RefinerFilm
from unblur.pipeline.motion import estimate_motion
from unblur.pipeline.refine import find_correction
from unblur.pipeline.search import search
from unblur.pipeline.search_options import SearchOptions
from unblur.runtime import device as device_module
from unblur.runtime import runner as runner_module
from unblur.runtime.runner import Runner
from unblur.tasks.search import SearchPlan
from unblur.training.blur_space_training import BlurSpaceSystem, CodeLoss
from unblur.training.code_statistics import fit_prior
from unblur.training.film_training import FilmTraining, Loss
from unblur.training.gan_training import AdversarialLoss, GanTraining
from unblur.training.muon import Muon, split

EVIDENCE = {"hidden": 8, "blocks": 1, "window": 16, "reaches": (2, 3), "sigma": 2.0}
UNET = {"widths": (4, 8), "blocks": (1, 1)}
FILM = {"restorer": UNET, "motion": UNET | {"degree": 2, "spectral": EVIDENCE | {"window": 12}}}
SMALL: dict[str, dict[str, Any]] = {
    "path_film": FILM,
    "cfmd": {"channels": 4, "blocks": 1},
    "cfmd_refiner": {"channels": 12, "blocks": 1},
    "mimo_unet": {"channels": 4, "blocks": 1},
    "nafnet": {"width": 4, "encoder": (1, 2), "middle": 1, "decoder": (1, 1), "pool": 16},
    "maxim": {"features": 4, "stages": 2, "sizes": [4, 2], "groups": 1, "bottlenecks": 1, "reduction": 2},
    "path_blur_space": {
        **{"channels": 5, "widths": (4, 4, 6, 6), "blocks": (1, 1, 1, 1), "features": 8},
        **{"spectral": EVIDENCE, "gauss_newton_steps": 1},
    },
    "blur_kernel_space": {"features": 4, "front_blocks": 1, "back_blocks": 1, "channels": 8, "encoder_blocks": 1},
    "deep_image_prior": {"inputs": 3, "width": 4, "skip": 2, "scales": 2, "attended": 1},
    "deep_code_prior": {"inputs": 3, "width": 4, "blocks": 1},
    "jin": {"middle_width": 8, "middle_refine": 4, "side_width": 8, "side_refine": 4},
    "purohit": {"width": 4, "hidden": 6, "flow_widths": (2, 3, 4)},
    "hypercut": {"width": 4, "channels": 4, "blocks": 1},
    "drunet": {"widths": [4, 8], "blocks": 1},
    "cfmd_critic": {"width": 2, "widest": 4, "levels": 3},
}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    """What only a GPU could say; and no warning that there is none."""
    for module in (runner_module, film_module, motion_module):
        monkeypatch.setattr(module, "working_memory", lambda device: 2**28)


pytestmark = pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")


def network_of(name: str) -> nn.Module:
    """A network whose every weight does something."""
    torch.manual_seed(0)
    network = network_class(name)(**SMALL[name]).eval()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    return network


def put_all(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: put(value, CUDA) for name, value in batch.items()}


def alike(run: Callable[[torch.device], Tensor], tolerance: float = 1e-4) -> None:
    """The same there as here, and left there."""
    torch.manual_seed(1)
    here = run(CPU)
    torch.manual_seed(1)
    with Pretended():
        there = run(CUDA)
    assert place(here) == CPU
    assert place(there) == CUDA
    torch.testing.assert_close(there, here, atol=tolerance, rtol=tolerance)


def test_what_cuda_refuses_is_refused():
    with Pretended():
        there, here = torch.rand(2, 3, device="cuda"), torch.rand(2, 3)
        layer = nn.Linear(3, 3).to("cuda")
        number = torch.tensor(2.0)
        refused = [
            lambda: there + here,
            lambda: here * there.sum(),
            lambda: torch.arange(3) * there,
            lambda: torch.stack((there.sum(), number)),
            lambda: torch.cat((there, torch.zeros(1, 3))),
            lambda: torch.where(here > 0, there, 0.0),
            lambda: layer(here),
            lambda: torch.einsum("ij,ij->i", there, here),
            lambda: here[there.sum(0).argmax()],
            lambda: there.index_select(0, torch.tensor([0])),
            lambda: here.add_(there),
            lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
            lambda: there.new_zeros(3) + torch.zeros_like(here[0]),
        ]
        for mixed in refused:
            with pytest.raises(MixedDevices):
                mixed()
        with pytest.raises(TypeError):
            there.numpy()


def test_what_cuda_takes_is_taken():
    with Pretended():
        there, here = torch.rand(2, 3).to("cuda"), torch.rand(2, 3)
        layer = nn.Linear(3, 3).to(there.device)
        layer(there).sum().backward()
        here.copy_(there)
        here[:1] = there[1:]
        made = [
            there * torch.tensor(2.0),
            there[torch.tensor([0])],
            torch.zeros(2, device=there.device) + there[:, 0],
            torch.ones(2, 3).to(there) * there.view(-1).unflatten(0, (2, 3)),
            here.to(there.device, torch.float64),
            there.double(),
            layer.weight.grad,
            deepcopy(layer).bias,
            there.max(0).indices,
            torch.autograd.grad(layer(there).sum(), layer.weight)[0],
        ]
        assert all(tensor.device == CUDA and tensor.is_cuda for tensor in made)
        kept = [here, there.cpu(), there.to("cpu") + here, torch.zeros(3), torch.tensor(there.tolist())]
        assert all(tensor.device == CPU for tensor in kept)


def test_a_planted_mistake_is_found(monkeypatch):
    def grid(displacement: Tensor) -> Tensor:
        h, w = displacement.shape[-2:]
        x, y = torch.arange(w) + displacement[:, 0], torch.arange(h)[:, None] + displacement[:, 1]
        return torch.stack(((x + 0.5) * (2 / w) - 1, (y + 0.5) * (2 / h) - 1), -1)

    network, blurry = network_of("path_film"), torch.rand(1, 3, 16, 16)
    expected = network(blurry, torch.tensor([0.0])).detach()
    monkeypatch.setattr(motion, "_grid", grid)
    torch.testing.assert_close(network(blurry, torch.tensor([0.0])).detach(), expected)
    with pytest.raises(MixedDevices, match="add"):
        alike(lambda device: network.to(device)(put(blurry, device), put(torch.tensor([0.0]), device)).detach())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("learning", [False, True])
def test_networks(name, learning):
    network, pair = network_of(name), torch.rand(2, 1, 3, 40, 36)
    times = torch.tensor([0.0, 0.3, 1.0])

    def run(device: torch.device) -> Tensor:
        own = deepcopy(network).to(device)
        sharp, blurry = put(pair, device)
        if own.kind == "blur_space":
            code = own.encode(sharp, blurry)
            return own.reblur(sharp, code.sample(torch.Generator().manual_seed(0)))
        if name in ("hypercut", "purohit"):
            return own(sharp, blurry)
        if name == "cfmd_critic":
            return torch.cat([part.flatten() for part in own(sharp, blurry)])
        if own.kind == "denoiser":
            return own(blurry, put(torch.tensor([0.1]), device))
        if own.kind == "refiner":
            return own(
                blurry, put(times, device), torch.stack((sharp, blurry), 1)[:, None].expand(-1, 3, -1, -1, -1, -1)
            )
        timed = own.kind == "film" and name != "jin"
        return own(blurry, put(times, device)) if timed else own(blurry)

    with torch.set_grad_enabled(learning):
        alike(lambda device: run(device).detach())


def test_every_way_into_a_path_space():
    space, pair = network_of("path_blur_space"), torch.rand(2, 1, 3, 130, 36)

    def run(device: torch.device) -> Tensor:
        own = deepcopy(space).to(device)
        sharp, blurry = put(pair, device)
        code = own.encode(sharp, blurry).mean
        fitted = own.reblur(sharp[..., :64, :], own.fitted(code, 64, 36))
        drawn = own.draw(1, 130, 36, torch.Generator().manual_seed(0))
        moved = own.displacements(code, put(torch.tensor([0.2]), device), (130, 36))
        parts = own.reblur(sharp, drawn), fitted, own.distance(code), own.distance(drawn), moved
        return torch.cat([part.flatten() for part in parts]).detach()

    alike(run)


def test_what_a_space_draws_is_fitted_where_it_is():
    def run(device: torch.device) -> Tensor:
        space = network_of("path_blur_space").to(device)
        fit_prior(space, SyntheticFields(size=8, batch_size=4), batches=2)
        return torch.cat((space.known_factor, space.prior_factor.abs(), space.prior_nearness[None]))

    alike(run, 1e-3)


def test_exposures_are_made_there():
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    sensor = SensorSpec(shot=(0.0, 0.01), read=(0.0, 0.01), jpeg=(60, 90), jpeg_share=0.7)
    options = {"size": 32, "batch_size": 3, "motion": MotionSpec((2, 9), layer=0.7), "sensor": sensor}
    source, fields = SyntheticExposures([Still(picture, "a")], **options), SyntheticFields(8, 2)
    for name in ("blurry", "frames", "times", "paths"):
        # A grey level of rounding may tip over.
        alike(lambda device, name=name: source.batch(1, device)[name], 5e-3)
    for name in ("field", "seen"):
        alike(lambda device, name=name: fields.batch(1, device)[name])


def exposures() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    frames, paths = torch.rand(2, 3, 3, 32, 32, generator=generator), torch.rand(2, 3, 2, 32, 32, generator=generator)
    times = torch.tensor([[0.5, 0.0, 0.9], [0.5, 1.0, 0.2]])
    return {"frames": frames, "blurry": frames.mean(1), "times": times, "paths": paths}


@pytest.mark.parametrize(
    "loss", [Loss(reblur=1.0), *(Loss(parts=part, paths=1.0) for part in ("both", "guess", "detail", "restorer"))]
)
def test_what_films_are_trained_for(loss):
    trained(FilmTraining(network_of("path_film"), loss), exposures())


@pytest.mark.parametrize("name", ["cfmd", "mimo_unet"])
def test_what_networks_of_three_sizes_are_trained_for(name, monkeypatch):
    # It looks at devices on the way back, where nothing is pretended.
    monkeypatch.setattr(deformable, "checkpoint", lambda run, *args, **options: run(*args))
    trained(FilmTraining(network_of(name)), exposures())


def test_what_networks_and_critics_are_trained_for(monkeypatch):
    monkeypatch.setattr(deformable, "checkpoint", lambda run, *args, **options: run(*args))
    wanted = AdversarialLoss(0.1, perceptual=0.0)
    system = GanTraining(network_of("cfmd"), network_of("cfmd_critic"), adversarial=wanted)
    trained(system, exposures())

    def run(device: torch.device) -> Tensor:
        own, batch = deepcopy(system).to(device), {name: put(value, device) for name, value in exposures().items()}
        return torch.stack(list(own._critic_terms(batch, batch["frames"].flip(1)).values())).detach()

    alike(run)


@pytest.mark.parametrize("name", ["path_blur_space", "blur_kernel_space"])
def test_what_blur_spaces_are_trained_for(name):
    batch = exposures()
    batch["sharp"] = batch["frames"][:, 0]
    variational = {"kl": 0.1, "paths": 1.0} if name == "path_blur_space" else {}
    trained(BlurSpaceSystem(network_of(name), CodeLoss(**variational)), batch)


def test_what_fields_are_trained_for():
    batch = SyntheticFields(8, 2).batch(0)
    trained(BlurSpaceSystem(network_of("path_blur_space"), CodeLoss(kl=0.1, learn="fields")), batch)


def trained(system: nn.Module, batch: dict[str, Tensor]) -> None:
    """The gradients are the same, of all terms, and so are the measures."""

    def run(device: torch.device) -> Tensor:
        own = deepcopy(system).to(device)
        moved = {name: put(value, device) for name, value in batch.items()}
        terms = own.losses(moved)
        sum(terms.values()).backward()
        gradients = [weight.grad.abs().sum() for weight in own.parameters() if weight.grad is not None]
        with torch.no_grad():
            # There frames are at the same times for the whole batch.
            even = moved | ({"times": put(torch.linspace(0, 1, 3), device)} if "times" in moved else {})
            scores = list(own.measure(even).scores.values()) if "blurry" in moved else []
        return torch.cat((torch.stack([*terms.values(), *gradients]).detach(), *scores))

    # Noise is drawn where the network is, in the same way here.
    alike(run, 1e-3)


def test_metrics():
    made, truth = torch.rand(2, 2, 3, 3, 70, 72)

    def run(device: torch.device) -> Tensor:
        a, b = put(made, device), put(truth, device)
        return torch.cat([psnr(a, b, levels=255), ssim(a, b), BothWays.of(a, b).best()])

    alike(run)
    with Pretended():
        there = put(made, CUDA)
        field = measure_field(put(torch.randn(6, 70, 72), CUDA), there[0, 0])
        assert field.motion().path_length > 0
        assert classify_blur(there[0, 0], 3.0) == classify_blur(made[0, 0], 3.0)


@pytest.mark.parametrize("kind", [Inception, ArcFaceNet, DlibResNet])
def test_what_networks_see_in_pictures(kind: Callable[[], nn.Module]) -> None:
    network, pictures = kind().eval().requires_grad_(False), torch.rand(1, 2, 3, 40, 44)
    if isinstance(network, Inception):
        network.body = network.body[:8]  # the others are like these, and hundreds

    def run(device: torch.device) -> Tensor:
        there = deepcopy(network).to(device)
        seen = file_features(there, put(pictures, device))
        moments = Moments(seen.shape[-1])
        moments.add(seen[0])
        assert place(moments.scatter) == CPU
        first, second = (put(pictures[:, i], device) for i in (0, 1))
        return torch.cat((seen.flatten(), IdentityDistance(there)(first, second)))

    alike(run, 1e-3)


def test_protocols():
    class Two:
        times, averaged, response = torch.linspace(0, 1, 3), None, "srgb"

        def batches(self, size: int):
            yield exposures()

    torch.manual_seed(0)
    network, orders, lpips = network_of("path_film"), HyperCUT(4, 4, 1), Lpips(alexnet())
    expected = score(network, Two(), metrics={"ssim": ssim, "lpips": lpips}, scorer=orders)
    with Pretended():
        metrics = {"ssim": ssim, "lpips": lpips.to("cuda")}
        there = score(network.to("cuda"), Two(), device="cuda", metrics=metrics, scorer=orders.to("cuda"))
    torch.testing.assert_close(there.psnr, expected.psnr, atol=1e-3, rtol=0)
    assert place(there.psnr) == CPU
    torch.testing.assert_close(there.both["ssim"].backward, expected.both["ssim"].backward, atol=1e-3, rtol=0)
    assert place(there.both["lpips"].forward) == place(there.order.hit) == CPU


def test_metrics_of_faces(tmp_path):
    classes, _ = load_faces(write_faces(tmp_path, [(2, 0, 1), (0, 1, 2), (4, 2, 0, 1, 3)]))
    found = []
    for context, device in ((torch.enable_grad(), CPU), (Pretended(), CUDA)):
        with context:
            extractor = FeatureExtractor(deepcopy(Few()).to(device), "Frechet distance")
            bench = FaceEvaluator.of(classes, MetricSet({"ssim": ssim}, {}, extractor), device)
            film = lambda blurry, times: blurry[:, None] * (0.5 + times)[:, None, None, None]  # noqa: E731
            made = [bench.measure(film, one, frame_times(one.frames).tolist()) for one in classes]
            centres, films = bench.rows("a", made)
            found.append([*(row.values for row in centres), *(row.values for row in films)])
    assert found[1] == [pytest.approx(values, rel=1e-3) for values in found[0]]


class Few(nn.Module):
    length = 2

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((1, 3))[:, :2]


def state_of(blurry: Tensor) -> Tensor:
    return torch.cat((blurry.roll(1, -1), torch.randn(1, 4, *blurry.shape[-2:]).cumsum(-1) / 4), 1)


def test_consistency_and_refinement():
    blurry = torch.rand(1, 3, 40, 36)
    state = state_of(blurry)

    def run(device: torch.device) -> Tensor:
        photo, there = put(blurry, device), put(state, device)
        found = find_correction(photo, there, steps=2)
        made = consistent(photo, there[:, :3], there[:, 3:], steps=2, rows=16, margin=16)
        return torch.cat((made.flatten(), found.grid.flatten()))

    alike(run, 1e-3)


@pytest.fixture
def _small_prior(monkeypatch):
    monkeypatch.setattr(variables, "DeepImagePrior", partial(DeepImagePrior, **SMALL["deep_image_prior"]))


@pytest.mark.usefixtures("_small_prior")
def test_search_of_a_prior():
    space, pair = network_of("path_blur_space"), torch.rand(2, 1, 3, 32, 40)
    wanted = SearchOptions(picture="prior", code="encoder", steps=4, reread=2, warmup=1, patience=0)

    def run(device: torch.device) -> Tensor:
        own = deepcopy(space).to(device)
        sharp, blurry = put(pair, device)
        with torch.no_grad():
            code = own.encode(sharp, blurry).mean
        return search(own, blurry, sharp, code, wanted).sharp

    alike(run, 1e-2)


def test_films_in_tiles():
    network, blurry = network_of("path_film"), torch.rand(1, 3, 150, 100)
    network.tile_overlap = network.restorer.tile_overlap = 24
    times = [0.0, 0.4, 1.0]
    films = []
    for context, device in ((torch.enable_grad(), CPU), (Pretended(), CUDA)):
        with context:
            runner = Runner(deepcopy(network), device, torch.float32)
            sharp = Runner(runner.network.restorer, device, torch.float32)
            middle, _ = sharp.sharpen(blurry, tile=96, subject="a.png")
            film = estimate_motion(runner, blurry, middle, tile=96, subject="a.png")
            film.make_consistent(blurry, 1)
            light = [average for _, average in film.averages(times, ["srgb", "linear"])]
            films.append(torch.cat([torch.stack(list(film.frames(times))).flatten(), *(a.flatten() for a in light)]))
    assert all(place(film) == CPU for film in films)
    torch.testing.assert_close(films[1], films[0], atol=1e-3, rtol=0)


def test_films_without_a_sharp_frame():
    network, blurry = network_of("cfmd"), torch.rand(1, 3, 40, 36)
    films = []
    for context, device in ((torch.enable_grad(), CPU), (Pretended(), CUDA)):
        with context:
            film = estimate_motion(Runner(deepcopy(network), device, torch.float32), blurry, tile=256, subject="a.png")
            films.append(torch.stack(list(film.frames([0.0, 1.0]))))
    torch.testing.assert_close(films[1], films[0], atol=1e-3, rtol=0)


def test_films_that_correct_others():
    torch.manual_seed(0)
    network = CFMDRefiner(channels=12, blocks=1, deformable=False)
    for parameter in network.skeleton.head_full.parameters():
        nn.init.normal_(parameter, std=0.01)
    blurry, films = torch.rand(1, 3, 40, 36), []
    for context, device in ((torch.enable_grad(), CPU), (Pretended(), CUDA)):
        with context:
            general = estimate_motion(
                Runner(network_of("cfmd"), device, torch.float32), blurry, tile=256, subject="a.png"
            )
            runner = Runner(deepcopy(network), device, torch.float32)
            film = RefinerFilm(runner, blurry, general, tile=256, subject="a.png")
            films.append(torch.stack(list(film.frames([0.0, 0.7]))))
    assert all(place(film) == CPU for film in films)
    torch.testing.assert_close(films[1], films[0], atol=1e-3, rtol=0)


@pytest.fixture
def _cuda_is_here(monkeypatch):
    monkeypatch.setattr(device_module, "_is_here", lambda device: True)


@pytest.mark.usefixtures("_cuda_is_here", "_small_prior")
def test_tasks():
    photo, other = torch.rand(2, 3, 40, 36)
    made = []
    for context, device in ((torch.enable_grad(), "cpu"), (Pretended(), "cuda")):
        with context:
            pipeline = unblur.load(network_of("path_film"), device, "float32")
            space = load_blur_space(network_of("path_blur_space"), device)
            film = unblur.frames(photo, 3, model=pipeline, refine=True, check=False)
            found = unblur.deblur_by_search(photo, SearchPlan(space, steps=2), pipeline)
            code = unblur.encode_blur(photo, other, model=space)
            blurred = unblur.apply_blur(other, code, model=space)
            (drawn,) = unblur.sample_blur(other, 1, model=space)
            inspected = unblur.inspect(photo, model=pipeline)
            parts = [film.tensor(), found.picture.pixels, code.values, blurred.picture.pixels, drawn.picture.pixels]
            assert inspected.motion.path_length > 0
            with torch.inference_mode():
                again = pipeline.frames(
                    photo[None].to(device), torch.tensor(film.times), refine=True, data_consistency=1
                )
            parts.append(again[0].cpu())
            made.append(torch.cat([part.flatten() for part in parts]))
    assert all(place(each) == CPU for each in made)
    torch.testing.assert_close(made[1], made[0], atol=1e-2, rtol=0)


def test_steps_of_muon():
    def run(device: torch.device) -> Tensor:
        torch.manual_seed(0)
        network = nn.Conv2d(32, 32, 1).to(device)
        optimizer = Muon(*split(network), lr=1e-2)
        for _ in range(2):
            network(torch.ones(1, 32, 2, 2).to(device)).square().sum().backward()
            optimizer.step()
        return network.weight.detach()

    alike(run, 1e-3)  # Some processors take these steps in bfloat16.
