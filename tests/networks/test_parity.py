"""Do our networks compute what the released ones compute, given their weights?

``golden/mimo.npz`` holds the released networks' parameter names and shapes, and what they answer to the input and the
weights that the recipe below makes: `NAME.i` is output i, every sixteenth pixel where it is large, `NAME.i.stats` its
mean, deviation and largest absolute value.
"""

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unblur.zoo.convert import convert
from unblur.zoo.weights import load_weights

GOLDEN = Path(__file__).parent / "golden" / "mimo.npz"


def _generator(label: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"unblur:{label}".encode()))


def _released_weights(golden: np.lib.npyio.NpzFile, name: str) -> dict[str, Tensor]:
    gain = 0.5 if name.startswith("mimo") else 1.0
    weights = {}
    for line in golden[f"{name}.keys"]:
        key, sides = line.decode().split()
        shape = [int(side) for side in sides.split("x")]
        scale = gain / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.05
        values = _generator(key).standard_normal(shape).astype(np.float32) * np.float32(scale)
        weights[key] = torch.from_numpy(values)
    return weights


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
            expected, (mean, deviation, largest) = golden[f"{name}.{index}"], golden[f"{name}.{index}.stats"]
            seen = answer[..., ::16, ::16] if answer.shape[-1] >= 64 else answer
            assert np.abs(seen.numpy() - expected).max() <= 1e-4 * largest
            statistics = (answer.mean(), answer.std(correction=0), answer.abs().max())
            np.testing.assert_allclose(statistics, (mean, deviation, largest), atol=1e-4 * largest)
