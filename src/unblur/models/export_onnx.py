"""A model as an ONNX file, with its card in the metadata: for programs without Python or torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from unblur._version import __version__
from unblur.errors import UnblurError, UsageError
from unblur.media.atomic import atomic_path
from unblur.models.card import Card
from unblur.models.onnx_graph import OPSET, Graph, check_installed, graphs_of, write_graph
from unblur.models.registry import choose_from
from unblur.models.weights import Loaded, load_weights

OFFERED = "restorers (MAXIM, MIMO-UNet, NAFNet, film), networks of moments, order networks and Blur Kernel Space"


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
        See `unblur.models.onnx_graph.graphs_of`; the foremost if left out.
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
        difference = write_graph(graph, temporary, opset=opset, properties=_facts(loaded.card))
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
        raise UnblurError(target, "is there already", "choose another name with -o, or pass `overwrite` to replace it")
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


def _facts(card: Card) -> dict[str, str]:
    known = {"model": card.name, "network": card.network, "summary": card.summary, "licence": card.licence}
    known |= {"data": card.data, "date": card.date, "sha256": card.sha256 or "", "unblur": __version__}
    return {key: value for key, value in known.items() if value}
