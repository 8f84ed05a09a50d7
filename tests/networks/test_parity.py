"""Do our networks compute what the released ones compute, given their weights?

``golden/*.npz`` hold the released networks' parameter names and shapes, and what they answer to the input and the
weights that the recipe below makes: `NAME.i` is output i, every sixteenth pixel where it is large, `NAME.i.stats` its
mean, deviation and largest absolute value.
"""

import math
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unblur.errors import UnblurError
from unblur.models.convert.key_rules import DEVIATION, MEAN
from unblur.models.convert.released import RELEASED, _filled, _renamed, convert
from unblur.models.weights import load_weights

FOLDER = Path(__file__).parent / "golden"
GOLDEN, BLUR_SPACE, FRAME_NETS = (FOLDER / f"{name}.npz" for name in ("mimo", "blur_space", "frame_nets"))
ORDER = FOLDER / "order.npz"


def _generator(label: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"unblur:{label}".encode()))


def _released_weights(golden: np.lib.npyio.NpzFile, name: str) -> dict[str, Tensor]:
    gain = 0.5 if name.startswith("mimo") else 1.0
    weights = {}
    for line in golden[f"{name}.keys"]:
        key, sides = line.decode().split()
        shape = [int(side) for side in sides.split("x") if side != "-"]
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(0)
            continue
        scale = gain / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.05
        values = _generator(key).standard_normal(shape).astype(np.float32)
        values = np.abs(values) + np.float32(0.5) if key.endswith("running_var") else values * np.float32(scale)
        weights[key] = torch.from_numpy(values)
    return weights


def _check(golden: np.lib.npyio.NpzFile, name: str, answer: Tensor) -> None:
    expected, (mean, deviation, largest) = golden[name], golden[f"{name}.stats"]
    seen = answer[..., ::16, ::16] if answer.ndim >= 4 and answer.shape[-1] >= 64 else answer
    assert np.abs(seen.numpy() - expected).max() <= 1e-4 * largest
    statistics = (answer.mean(), answer.std(correction=1), answer.abs().max())
    np.testing.assert_allclose(statistics, (mean, deviation, largest), atol=1e-4 * largest)


@pytest.mark.parametrize("name", ["moments", "mimo_unet", "mimo_unet_plus"])
def test_answers_as_the_released_network_does(name: str, tmp_path: Path) -> None:
    with np.load(GOLDEN) as golden:
        torch.save({"model": _released_weights(golden, name)}, tmp_path / "released.pth")
        network = load_weights(convert(tmp_path / "released.pth", out=tmp_path / "ours.safetensors")).network
        blurry = torch.from_numpy(_generator(f"input:{name}").random((1, 3, 128, 128)).astype(np.float32))
        with torch.inference_mode():
            if name == "moments":
                answers = [frames[:, 0] for frames in network.scales(blurry, torch.tensor([0.3]))]
                last = network(blurry, torch.tensor([0.3]))[:, 0]
            else:
                answers, last = network.scales(blurry), network(blurry)
        torch.testing.assert_close(last, answers[-1])
        for index, answer in enumerate(answers):
            _check(golden, f"{name}.{index}", answer)


def _input(label: str, *shape: int) -> Tensor:
    return torch.from_numpy(_generator(f"input:{label}").random(shape).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("blur_space_wovae", "blur_kernel_space"),
        ("blur_space_wvae", "blur_kernel_space"),
        ("image_prior", "deep_image_prior"),
        ("code_prior", "deep_code_prior"),
    ],
)
def test_answers_as_the_released_blur_space_does(name: str, network: str) -> None:
    """Without files, which would be of half a gigabyte; the conversion of files is tested on small networks."""
    released, source = RELEASED[network], Path(name)
    with np.load(BLUR_SPACE) as golden, torch.inference_mode():
        weights = released.folded(_renamed(source, _released_weights(golden, name), released.rules))
        built = _filled(source, network, weights).eval()
        del weights
        if network != "blur_kernel_space":
            shape = (1, 8, 256, 256) if network == "deep_image_prior" else (1, 64, 64, 64)
            _check(golden, f"{name}.0", built(_input(name, *shape)))
            return
        sharp, blurry = (_input(f"{name}.{which}", 1, 3, 256, 256) for which in ("sharp", "blurry"))
        code = built.encode(sharp, blurry)
        _check(golden, f"{name}.0", code.mean)
        _check(golden, f"{name}.2", built.reblur(sharp, code.mean))
        if code.log_variance is None:
            assert not golden[f"{name}.1"].any()
        else:
            # Of a deviation that may be negative its square is what matters.
            deviation, largest = np.abs(golden[f"{name}.1"]), golden[f"{name}.1.stats"][2]
            assert np.abs((code.log_variance / 2).exp().numpy() - deviation).max() <= 1e-4 * largest


def test_answers_as_the_released_cascade_does() -> None:
    """Also without a file, of 70 megabytes; a mark in front of every name tells which of four files it was in."""
    released = RELEASED["jin"]
    with np.load(FRAME_NETS) as golden, torch.inference_mode():
        weights = {re.sub(r"^\w+\.", "", key): w for key, w in _released_weights(golden, "jin").items()}
        built = _filled(Path("jin"), "jin", _renamed(Path("jin"), weights, released.rules)).eval()
        _check(golden, "jin.0", built(_input("jin", 1, 3, 160, 160))[0])


def test_answers_as_the_released_recurrent_model_does() -> None:
    released = RELEASED["purohit"]
    with np.load(FRAME_NETS) as golden, torch.inference_mode():
        weights = _renamed(Path("purohit"), _released_weights(golden, "purohit"), released.rules)
        built = _filled(Path("purohit"), "purohit", weights).eval()
        moved = built.moved(*(_input(f"purohit.{which}", 1, 3, 128, 128) for which in ("blurry", "center")))
        for index, answer in enumerate([*reversed(moved.frames), *moved.flows[:3]]):
            _check(golden, f"purohit.{index}", answer)


def test_answers_as_the_released_order_network_does(tmp_path: Path) -> None:
    """The encoder alone; and a whole checkpoint, which saw pictures with blue first, less ImageNet's mean."""
    first, second = _input("order_encoder", 1, 6, 128, 128).split(3, 1)
    plane = torch.rand(129) * 2 - 1
    with np.load(ORDER) as golden, torch.inference_mode():
        weights = _released_weights(golden, "order_encoder")
        renamed = _renamed(Path("order"), weights, RELEASED["hypercut"].rules)
        built = _filled(Path("order"), "hypercut", renamed | {"hyperplane": plane}).eval()
        vector = built.encode(first, second)
        _check(golden, "order_encoder.0", vector)
        torch.testing.assert_close(built.score(first, second), vector @ plane[:-1] + plane[-1] * vector.sum(-1))
        whole = {f"h.f_func.{name}": weight for name, weight in weights.items()} | {"h.plane": plane}
        torch.save({"state_dict": whole}, tmp_path / "hypercut.pth")
        ours = load_weights(convert(tmp_path / "hypercut.pth", out=tmp_path / "ours.safetensors")).network
        mean, deviation = (torch.tensor(three)[:, None, None] for three in (MEAN, DEVIATION))
        seen = [(frame.flip(1) - mean) / deviation for frame in (first, second)]
        torch.testing.assert_close(ours.score(first, second), built.score(*seen), rtol=1e-4, atol=1e-4)


def test_an_order_network_without_its_hyperplane_is_refused(tmp_path: Path) -> None:
    with np.load(ORDER) as golden:
        torch.save(_released_weights(golden, "order_encoder"), tmp_path / "encoder.pth")
    with pytest.raises(UnblurError, match="hyperplane"):
        convert(tmp_path / "encoder.pth", out=tmp_path / "ours.safetensors")
    assert not (tmp_path / "ours.safetensors").exists()
