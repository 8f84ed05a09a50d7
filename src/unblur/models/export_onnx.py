"""A model as an ONNX file of any batch, height and width, with its card, for programs without Python or torch."""

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

from unblur._version import __version__
from unblur.errors import UnblurError, UsageError
from unblur.media.atomic import atomic_path
from unblur.models.card import Card
from unblur.models.registry import choose_from
from unblur.models.weights import Loaded, load_weights

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
    return Graph("restorer", restorer, (BLURRY,), sharp, restorer.graph_multiple, restorer.graph_multiple)


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
        For the file's metadata, beside those of the inputs and the output.

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
    """Names of sides as `Port` has them, and what is known, for whoever has nothing but the file."""
    for value, port in zip((*model.graph.input, *model.graph.output), (*graph.inputs, graph.output), strict=True):
        for side, axis in zip(value.type.tensor_type.shape.dim, port.axes, strict=True):
            if isinstance(axis, str):
                side.dim_param = axis
    # Shapes in between, under the names that torch gave to sides.
    del model.graph.value_info[:]
    metadata = dict(properties) | {"part": graph.part, "does": graph.does}
    metadata |= {f"input.{port.name}": str(port) for port in graph.inputs}
    metadata |= {f"output.{graph.output.name}": str(graph.output)}
    metadata |= {"sides.multiple": str(graph.multiple), "sides.least": str(graph.least)}
    # Where torch's lines of code lie on this machine.
    for node in _nodes(model):
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "unblur", metadata.get("unblur", "")


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


OFFERED = "restorers (MAXIM, MIMO-UNet, NAFNet, film), CFMD, order networks and Blur Kernel Space"


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was written.

    Attributes
    ----------
    path : Path
    card : Card
        Of the model that it was made from.
    graph : Graph
    opset : int
    difference : float
        The largest from torch, on random pictures; as a share of the largest answer where that is above 1.
    size : int
        Bytes.
    others : tuple of str
        Parts of the model that can be exported, too.
    """

    path: Path
    card: Card
    graph: Graph
    opset: int
    difference: float
    size: int
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.graph.does}, {self.size / 2**20:.1f} MiB, within {self.difference:.1e} of torch"

    def lines(self) -> list[str]:
        """What else whoever runs it must know."""
        ports = [f"in   {port}" for port in self.graph.inputs] + [f"out  {self.graph.output}"]
        sides = f"height and width: multiples of {self.graph.multiple}"
        sides += f", at least {self.graph.least}" if self.graph.least > self.graph.multiple else ""
        others = [f"other parts: `part={' or '.join(self.others)}`"] if self.others else []
        # A foreign card may hold what moves a terminal's cursor.
        said = "".join(letter if letter.isprintable() else "?" for letter in self.card.licence)
        licence = [f"licence: {said}"] if said else []
        return [*ports, sides, *licence, *others]

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        ports = {port.name: {"shape": list(port.axes), "range": port.range} for port in self.graph.inputs}
        output = {"shape": list(self.graph.output.axes), "range": self.graph.output.range}
        return {
            "model": self.card.name,
            "sha256": self.card.sha256,
            "part": self.graph.part,
            "parts": [self.graph.part, *self.others],
            "inputs": ports,
            "outputs": {self.graph.output.name: output},
            "multiple": self.graph.multiple,
            "least": self.graph.least,
            "opset": self.opset,
            "difference": self.difference,
            "bytes": self.size,
        }


def export_model(
    model: str | PathLike[str],
    out: str | PathLike[str],
    part: str | None = None,
    *,
    opset: int = OPSET,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Exported:
    """Write a model as an ONNX file, and compare what it answers with torch.

    The file is the network alone: float32, any batch, height and width that its multiple allows. What commands do
    around a network (padding, tiles, consistency with the photo, clamping) is not in it.

    Parameters
    ----------
    model : str or path
        A name or a file.
    out : str or path
        Ends in ``.onnx``; written whole or not at all.
    part : str, optional
        See `unblur.models.export_onnx.graphs_of`; the foremost if left out.
    opset : int
        Of ONNX's operators.
    overwrite : bool
        Replace a file that is there.
    progress : callable, optional
        Called with (stage, steps done, steps in all).

    Raises
    ------
    UnblurError
        The extra ``export`` is not installed, there is no such model or part, nothing of it can be exported, the file
        is there or cannot be written, or its answers are not torch's.

    Examples
    --------
    >>> export_model("maxim", "maxim.onnx").graph.does                     # doctest: +SKIP
    'blurry -> sharp'
    """
    check_installed()
    target = _checked(Path(out), overwrite)
    loaded = load_weights(model)
    graphs = graphs_of(loaded.network)
    graph = _chosen(loaded, graphs, part)
    if progress is not None:
        progress("writing the graph, which takes minutes", 0, 1)
    with atomic_path(target) as temporary:
        difference = write_graph(graph, temporary, opset=opset, properties=_card_metadata(loaded.card))
        # Minutes later.
        _checked(target, overwrite)
    others = tuple(name for name in graphs if name != graph.part)
    return Exported(target, loaded.card, graph, opset, difference, target.stat().st_size, others)


def _checked(target: Path, overwrite: bool) -> Path:
    """Refused before the work."""
    if target.is_dir():
        raise UnblurError(target, "is a folder", f"name a file, such as {target / 'model.onnx'}")
    if target.suffix.lower() != ".onnx":
        raise UnblurError(target, "is no name for an ONNX file", "let it end in .onnx")
    if target.exists() and not overwrite:
        raise UnblurError(
            target, "is there already", "choose another name with `out`, or pass `overwrite` to replace it"
        )
    return target


def _chosen(loaded: Loaded, graphs: dict[str, Graph], part: str | None) -> Graph:
    name = loaded.card.name
    if not graphs:
        problem = f"is a {type(loaded.network).__name__}, of which no ONNX graph is offered"
        raise UnblurError(name, problem, f"there are graphs of {OFFERED}")
    if part is None:
        return next(iter(graphs.values()))
    if part not in graphs:
        raise UsageError("part", part, _missing(loaded.network, name, part), choose_from(graphs, part))
    return graphs[part]


def _missing(network: Any, name: str, part: str) -> str:
    if part == "film" and network.kind == "film" and network.has_paths:
        return f"{name} finds paths by solving linear equations, which ONNX has no operators for"
    return f"{name} has no such part"


def _card_metadata(card: Card) -> dict[str, str]:
    known = {"model": card.name, "network": card.network, "summary": card.summary, "licence": card.licence}
    known |= {"data": card.data, "date": card.date, "sha256": card.sha256 or "", "unblur": __version__}
    return {key: value for key, value in known.items() if value}
