"""Networks as ONNX graphs, for programs without Python or torch: of any batch, height and width.

`graphs_of` says which graphs a network can be, `write_graph` writes one and compares what it answers with torch. Where
a network does other things for speed than a graph can hold, it asks ``torch.compiler.is_exporting()``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError, UsageError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
INSTALL = "pip install 'unblur[export]'"
OPSET = 18
"""The first for which torch writes every operator; its own opset, so nothing is translated."""
NEWEST = 24
"""The last that onnxruntime was seen to read when torch wrote it."""
TOLERANCE = 1e-3
"""Of what a graph answers; where answers go far beyond 1, as those to noise may, a share of the largest."""
RGB = "RGB in [0, 1]"


class Port(NamedTuple):
    """An input or output of a graph.

    Attributes
    ----------
    name : str
    axes : tuple of int or str
        Fixed sides, and the names of the others: batch, times, height, width, or those in cells: rows, columns.
    range : str
        What its numbers are.
    """

    name: str
    axes: tuple[int | str, ...]
    range: str

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(map(str, self.axes))}), {self.range}"


@dataclass(frozen=True)
class Graph:
    """What can be exported of a network.

    Attributes
    ----------
    part : str
        Its name among the network's graphs.
    network : nn.Module
        Tensors to one tensor, in evaluation mode.
    inputs : tuple of Port
    output : Port
    multiple : int
        Of which height and width must be; also the side of a cell.
    least : int
        Height and width that it needs.
    """

    part: str
    network: nn.Module
    inputs: tuple[Port, ...]
    output: Port
    multiple: int
    least: int

    @property
    def does(self) -> str:
        """Its inputs' names, and its output's."""
        return f"{', '.join(port.name for port in self.inputs)} -> {self.output.name}"

    def example(self, batch: int, times: int, rows: int, columns: int) -> tuple[Tensor, ...]:
        """Random inputs in [0, 1] for pictures of so many multiples; the same for the same sides."""
        sides = {"batch": batch, "times": times, "rows": rows, "columns": columns}
        sides |= {"height": self.multiple * rows, "width": self.multiple * columns}
        generator = torch.Generator().manual_seed(0)
        shapes = ([axis if isinstance(axis, int) else sides[axis] for axis in port.axes] for port in self.inputs)
        return tuple(torch.rand(shape, generator=generator) for shape in shapes)


def graphs_of(network: Any) -> dict[str, Graph]:
    """What can be exported of a network, by the names of its parts, the foremost first; see `Network.exports`."""
    return {part: GRAPHS[part](network) for part in network.exports}


PICTURES = ("batch", 3, "height", "width")
BLURRY = Port("blurry", PICTURES, RGB)


def _restorer(network: Any) -> Graph:
    # The paths of a film come from spectra and from solving linear equations, which ONNX has no operators for.
    restorer = network.own_restorer if network.kind == "film" else network
    sharp = Port("sharp", PICTURES, f"{RGB}, not yet clamped")
    return Graph("restorer", restorer, (BLURRY,), sharp, restorer.stride, restorer.stride)


def _film(network: Any) -> Graph:
    inputs = [BLURRY, Port("times", ("times",), "in [0, 1]: 0 shutter opens, 1 closes")]
    pictures = (3, "height", "width")
    if network.kind == "refiner":
        inputs.append(Port("estimates", ("batch", "times", 2, *pictures), f"{RGB}: frames at t, and at 1 - t"))
    frames = Port("frames", ("batch", "times", *pictures), f"{RGB}, not yet clamped")
    return Graph("film", network, tuple(inputs), frames, network.multiple, network.multiple)


def _score(network: Any) -> Graph:
    frames = Port("first", PICTURES, RGB), Port("second", PICTURES, RGB)
    return Graph("score", network, frames, Port("score", ("batch",), "above 0: first is earlier"), 32, 64)


def _code(network: Any) -> Port:
    return Port("code", ("batch", network.channels, "rows", "columns"), f"a vector per {network.cell} pixels")


def _encoder(network: Any) -> Graph:
    pair = (Port("sharp", PICTURES, RGB), BLURRY)
    return Graph("encoder", _Encoder(network), pair, _code(network), network.cell, 2 * network.cell)


def _decoder(network: Any) -> Graph:
    reblurred = Port("reblurred", PICTURES, f"{RGB}, not yet clamped")
    inputs = (Port("sharp", PICTURES, RGB), _code(network))
    return Graph("decoder", _Decoder(network), inputs, reblurred, network.cell, 2 * network.cell)


GRAPHS: dict[str, Callable[[Any], Graph]] = {
    "restorer": _restorer,
    "film": _film,
    "score": _score,
    "encoder": _encoder,
    "decoder": _decoder,
}
"""How to make each graph that a network may name in `exports`."""


class _Encoder(nn.Module):
    """The code between two pictures; its mean, where it is a distribution."""

    def __init__(self, space: Any) -> None:
        super().__init__()
        self.space = space

    def forward(self, sharp: Tensor, blurry: Tensor) -> Tensor:
        return self.space.encode(sharp, blurry).mean


class _Decoder(nn.Module):
    """A picture, blurred as a code says."""

    def __init__(self, space: Any) -> None:
        super().__init__()
        self.space = space

    def forward(self, sharp: Tensor, code: Tensor) -> Tensor:
        return self.space.reblur(sharp, code)


def check_installed() -> None:
    """Refuse to begin without the packages of the extra ``export``.

    Raises
    ------
    UnblurError
        Naming those that are missing.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UnblurError("models export", f"needs {', '.join(missing)}", INSTALL)


def write_graph(
    graph: Graph, path: str | PathLike[str], *, opset: int = OPSET, properties: Mapping[str, str] | None = None
) -> float:
    """Write a graph as ONNX, float32 and weights included, and compare what it answers with torch.

    Parameters
    ----------
    graph : Graph
        Its network on the CPU.
    path : str or path
        Written in place; see `unblur.media.atomic`.
    opset : int
        Of ONNX's operators.
    properties : mapping, optional
        Facts for the file's metadata, beside those of the inputs and the output.

    Returns
    -------
    float
        The largest difference from torch, on random pictures of two sizes that it was not traced with; divided by the
        largest answer where that is above 1.

    Raises
    ------
    UnblurError
        The opset cannot be written, or the difference is above `TOLERANCE`.
    """
    import onnx

    if not OPSET <= opset <= NEWEST:
        raise UsageError("opset", opset, "is not one that can be written", f"use {OPSET} to {NEWEST}")
    model = _traced(graph, opset).model_proto
    # Where torch cannot translate a graph it writes another opset, and says so in a log.
    if (written := next(known.version for known in model.opset_import if not known.domain)) != opset:
        raise UsageError("opset", opset, f"torch wrote opset {written} instead", f"use {OPSET}")
    _describe(model, graph, properties or {})
    onnx.save_model(model, str(path))
    difference = _difference(graph, Path(path))
    if not difference <= TOLERANCE:
        problem = f"its ONNX graph answers up to {difference:.1e} beside torch, so it was not kept"
        raise UnblurError(graph.part, problem, "try another `opset`, or report the model")
    return difference


def _traced(graph: Graph, opset: int) -> Any:
    cells = {axis: torch.export.Dim(axis, min=2) for axis in ("rows", "columns")}
    dims = {axis: torch.export.Dim(axis, min=2) for axis in ("batch", "times")} | cells
    dims |= {"height": graph.multiple * cells["rows"], "width": graph.multiple * cells["columns"]}
    shapes = tuple({i: dims[axis] for i, axis in enumerate(port.axes) if axis in dims} for port in graph.inputs)
    with _quiet(), torch.no_grad():
        try:
            # Sides that differ from each other and from 1, which torch would take for fixed ones.
            return torch.onnx.export(
                graph.network,
                graph.example(2, 3, 4, 5),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=[port.name for port in graph.inputs],
                output_names=[graph.output.name],
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            problem = f"torch cannot write it with opset {opset} ({' '.join(str(error).split())[:100]})"
            raise UnblurError(graph.part, problem, f"use `opset={OPSET}`, or report the model") from error


def _describe(model: Any, graph: Graph, properties: Mapping[str, str]) -> None:
    """Names of sides as `Port` has them, and facts for whoever has nothing but the file."""
    for value, port in zip((*model.graph.input, *model.graph.output), (*graph.inputs, graph.output), strict=True):
        for side, axis in zip(value.type.tensor_type.shape.dim, port.axes, strict=True):
            if isinstance(axis, str):
                side.dim_param = axis
    # Shapes in between, under the names that torch gave to sides.
    del model.graph.value_info[:]
    facts = dict(properties) | {"part": graph.part, "does": graph.does}
    facts |= {f"input.{port.name}": str(port) for port in graph.inputs}
    facts |= {f"output.{graph.output.name}": str(graph.output)}
    facts |= {"sides.multiple": str(graph.multiple), "sides.least": str(graph.least)}
    # Where torch's lines of code lie on this machine.
    for node in _nodes(model):
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del model.metadata_props[:]
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "unblur", facts.get("unblur", "")


def _nodes(model: Any) -> Iterator[Any]:
    """All of a model, those of functions and of graphs within nodes, too."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        inner = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
        waiting += [each for graph in inner for each in graph.node]


def _difference(graph: Graph, path: Path) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of which onnxruntime has a class for every kind of fault
        problem = f"onnxruntime cannot read what torch wrote ({type(error).__name__})"
        raise UnblurError(graph.part, problem, f"use `opset={OPSET}`, or report the model") from error
    least, most = graph.least // graph.multiple, max(2, 64 // graph.multiple)
    differences = []
    for sides in ((1, 1, most + 1, least), (2, 2, max(least, most - 1), most + 3)):
        inputs = graph.example(*sides)
        with torch.inference_mode():
            known = graph.network(*inputs)
        feed = {port.name: tensor.numpy() for port, tensor in zip(graph.inputs, inputs, strict=True)}
        (answer,) = session.run(None, feed)
        if answer.shape != tuple(known.shape):
            return float("inf")
        difference = (torch.from_numpy(answer) - known).abs().max() / known.abs().max().clamp_min(1)
        differences.append(float(difference))
    # What is not a number would hide among numbers from `max`.
    return max(differences, key=lambda difference: (difference != difference, difference))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are for who writes networks."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
