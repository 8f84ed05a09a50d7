"""How well an order network tells which way time runs, by the protocol order-1: the films of val-1."""

from __future__ import annotations

import time
from os import PathLike
from pathlib import Path

from torch import Tensor

from unblur.evaluation.report import ALL, EvaluationReport, ScoreTable, class_rows, read_published
from unblur.evaluation.val1 import load_val1
from unblur.metrics.ordering import consistent, hit
from unblur.pipeline.frame_order import SIDE, Model, gathered, load_order_scorer
from unblur.pipeline.restore import Progress

NAME = "order-1"
COLUMNS = {
    **{"exposures": "exposures", "count": "n"},
    **{name: name for name in ("hit", "con@2", "con@3", "confidence")},
}


def evaluate_order(
    model: Model = None,
    data: str | PathLike[str] = ".",
    *,
    device: str = "auto",
    side: int = SIDE,
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    published: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure an order network by order-1: on the true frames of `unblur.evaluation.val1`.

    Parameters
    ----------
    model, device, side
        See `unblur.order`.
    data, limit, cache, published, progress
        See `unblur.evaluation.film_protocol.evaluate`.

    Returns
    -------
    EvaluationReport
        With the table ``results``, of each class and of all: shares of clips whose widest pair lies on the other side
        when it is reversed (``hit``), whose two and three symmetric pairs lie on one side (``con@2``, ``con@3``), and
        the mean ``confidence``.

    Raises
    ------
    UnblurError
        The model does not score orders; data that are missing or cannot be read.
    """
    begun = time.perf_counter()
    tables = read_published(published)
    order_scorer = load_order_scorer(model, device)
    progress = progress or (lambda stage, done, total: None)
    building = lambda done, total: progress(f"building {NAME}", done, total)  # noqa: E731
    classes = load_val1(Path(data), Path(cache) if cache else None, limit=limit, progress=building)
    clips = {name: list(zip(some.names, some.frames, strict=True)) for name, some in classes.items()}

    def measure(clip: tuple[str, Tensor]) -> dict[str, float]:
        name, frames = clip
        scored = order_scorer.score(gathered(((name, frame.float() / 255) for frame in frames), side), subject=name)
        forward, backward = scored.forward[None], scored.backward[None]
        shares = {"hit": hit(forward, backward)[:, 0]} | {f"con@{k}": consistent(forward, k) for k in (2, 3)}
        return {name: float(share) for name, share in shares.items()} | {"confidence": scored.direction.confidence}

    rows = tuple(class_rows(clips, measure, progress))
    settings = {"device": str(order_scorer.device), "dtype": "float32", "side": side}
    return EvaluationReport(
        protocol=NAME,
        model={**order_scorer.as_dict(), **settings},
        limit=limit,
        begun=begun,
        ended=time.perf_counter(),
        counted=f"{rows[-1].count} clips of seven frames",
        scores={"results": ScoreTable(COLUMNS, rows, group=lambda row: row.labels["exposures"] == ALL)},
        published=tables,
    )
