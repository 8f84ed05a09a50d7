"""The order of clips in files: scored, measured as HyperCUT measures it, written as labels, and the reports of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from unblur.data.exposure_metadata import Entry, Metadata, Split, find_metadata, open_metadata
from unblur.datasets.metadata import checked_target, write_beside
from unblur.errors import UnblurError
from unblur.media.folder import find_clips
from unblur.media.image import read_image
from unblur.metrics.ordering import consistent, hit
from unblur.pipeline.frame_order import (
    SIDE,
    Model,
    OrderScorer,
    Scored,
    check_side,
    clip_frames,
    gathered,
    load_order_scorer,
    spread,
)
from unblur.run_report import Job, Listener, Outcome, RunReport, Silent, unexpected
from unblur.table import Table

LISTED = 20
"""Inconsistent clips that are named for people; the report for machines has all of them."""


@dataclass(frozen=True)
class ScoredClip:
    """A clip and its order."""

    id: str
    split: Split | None
    scored: Scored

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        direction = self.scored.direction
        return {
            "id": self.id,
            "split": self.split,
            "frames": self.scored.frames,
            "direction": direction.sign,
            "score": direction.score,
            "confidence": direction.confidence,
            "consistent": self.scored.consistent,
            "pairs": self.scored.forward.tolist(),
        }


@dataclass
class OrderReport(RunReport):
    """Clips with their directions: the `results` are `ScoredClip`."""

    @property
    def exit_code(self) -> int:
        """That of `RunReport`; 1 if there was no clip at all."""
        return super().exit_code or (0 if self.results else 1)

    @property
    def inconsistent(self) -> list[str]:
        """The clips whose symmetric pairs do not all lie on one side."""
        return [clip.id for clip in self.results if not clip.scored.consistent]

    def summary(self) -> str:
        """One line."""
        backwards = sum(clip.scored.direction.sign < 0 for clip in self.results)
        failed = f", {len(self.errors)} failed" if self.errors else ""
        counts = f"{len(self.results)} scored: {len(self.results) - backwards} as stored, {backwards} reversed"
        return f"{counts}, {len(self.inconsistent)} inconsistent{failed} in {self.seconds:.1f} s {self.suffix}"

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return super().as_dict() | {"inconsistent": self.inconsistent}

    def tables(self) -> list[Table]:
        """A row for each clip."""
        rows = []
        for clip in self.results:
            direction = clip.scored.direction
            numbers = [str(clip.scored.frames), f"{direction.score:+.3g}", f"{direction.confidence:.2f}"]
            runs = "as stored" if direction.sign > 0 else "reversed"
            rows.append([clip.id, *numbers, runs if clip.scored.consistent else f"{runs}, inconsistent"])
        return [Table(["clip", "frames", "score", "confidence", "direction"], rows)] if rows else []


@dataclass
class OrderEvaluation(OrderReport):
    """hit and con@k over clips, for each split and for all."""

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return super().as_dict() | {"measures": {name: measures(clips) for name, clips in self._splits()}}

    def tables(self) -> list[Table]:
        """A row for each split, and below it the clips that are inconsistent."""
        if not self.results:
            return []
        columns = list(measures(self.results))
        rows = []
        for name, clips in self._splits():
            values = measures(clips)
            rows.append([name, str(len(clips)), *(f"{values[key]:.3f}" if key in values else "-" for key in columns)])
        names = self.inconsistent
        more = f" and {len(names) - LISTED} more, all with `json`" if len(names) > LISTED else ""
        caption = f"inconsistent: {', '.join(names[:LISTED])}{more}" if names else ""
        return [Table(["clips", "n", *columns], rows, caption=caption)]

    def _splits(self) -> list[tuple[str, list[ScoredClip]]]:
        names = sorted({clip.split for clip in self.results if clip.split})
        splits = [(name, [clip for clip in self.results if clip.split == name]) for name in names]
        return [*(splits if len(splits) > 1 else []), ("all", list(self.results))]


@dataclass
class LabelReport(OrderEvaluation):
    """Labels that were written.

    Attributes
    ----------
    job : Job
        The metadata they were made from, and the file they are in.
    warning : str or None
    """

    job: Job | None = None
    warning: str | None = None

    def outcome(self) -> Outcome:
        """What became of the file."""
        assert self.job is not None
        details: dict[str, object] = {"warning": self.warning} if self.warning else {}
        backwards = sum(clip.scored.direction.sign < 0 for clip in self.results)
        return Outcome(self.job, f"{len(self.results) - backwards} keep, {backwards} reverse", details)

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        assert self.job is not None
        warning = {"warning": self.warning} if self.warning else {}
        return super().as_dict() | {"output": str(self.job.output), **warning}


def measures(clips: Sequence[ScoredClip]) -> dict[str, float]:
    """Shares of clips: hit of each symmetric pair, the widest first, con@2 and con@3, and the mean confidence.

    A clip that has no such pair does not count there.
    """
    if not clips:
        return {}
    most = max(len(clip.scored.forward) for clip in clips)
    values: dict[str, float] = {}
    for pair in range(most):
        with_it = [clip.scored for clip in clips if len(clip.scored.forward) > pair]
        hits = [hit(scored.forward[pair], scored.backward[pair]) for scored in with_it]
        values[f"hit {pair + 1}"] = float(torch.stack(hits).float().mean())
    for k in (2, 3):
        enough = [clip.scored.forward for clip in clips if len(clip.scored.forward) >= k]
        if enough:
            values[f"con@{k}"] = float(torch.stack([consistent(scores, k) for scores in enough]).float().mean())
    values["confidence"] = sum(clip.scored.direction.confidence for clip in clips) / len(clips)
    return values


ORDERED = ".ordered"
R = TypeVar("R", bound=OrderReport)
DIGITS = 5
"""Of scores in a file; more would differ between machines."""


@dataclass(frozen=True)
class OrderOptions:
    """How clips are scored.

    Attributes
    ----------
    model, device, side
        See `unblur.order`.
    split : {"train", "val", "test"}, optional
        Of metadata; all by default.
    root : str or path, optional
        Where the paths of metadata start; see `unblur.data.exposure_metadata.read_metadata`.
    """

    model: Model = None
    device: str = "auto"
    side: int = SIDE
    split: Split | None = None
    root: str | PathLike[str] | None = None


@dataclass(frozen=True)
class _Clip:
    """Something with frames: which of them are scored, and how many there are."""

    id: str
    place: str
    split: Split | None
    read: Callable[[], tuple[Tensor, Tensor, int]]


def score_files(
    inputs: Sequence[str], options: OrderOptions | None = None, listener: Listener | None = None
) -> OrderReport:
    """Score clips, folders of clips or pictures, globs, and all exposures of metadata.

    Whatever the order in metadata says, frames are scored as they are stored.

    Raises
    ------
    UnblurError
        There is no such model, device or side. Errors of single clips are in the report, and passed to `listener`.
    """
    return _scored(OrderReport("order score"), inputs, options or OrderOptions(), listener or Silent())


def eval_files(
    inputs: Sequence[str], options: OrderOptions | None = None, listener: Listener | None = None
) -> OrderEvaluation:
    """Measure hit, con@2 and con@3 over the same inputs as `score_files`, and name the clips that are inconsistent."""
    return _scored(OrderEvaluation("order eval"), inputs, options or OrderOptions(), listener or Silent())


def label_files(
    source: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    options: OrderOptions | None = None,
    listener: Listener | None = None,
) -> LabelReport:
    """Write metadata in which every clip says which way it runs.

    The order becomes "keep" or "reverse" by the score of all pairs; ``score``, ``confidence``, ``consistent`` and
    ``model`` are written beside it. Frames are scored as they are stored, without any augmentation and whatever the
    order was before, so that labelling twice gives the same file.

    Parameters
    ----------
    source : str or path
        A ``metadata.json``, or a folder with one.
    out : str or path, optional
        Another file; ``NAME.ordered.json`` beside the first by default. A name in ``.jsonl`` exports a manifest.

    Raises
    ------
    UnblurError
        There is nothing to label, or the file cannot be written. Clips that cannot be read keep the order that they
        had, and are in the report.
    """
    options, listener, report = options or OrderOptions(), listener or Silent(), LabelReport("order label")
    path = find_metadata(source)
    metadata = None if path is None else open_metadata(path, options.root)
    if path is None or metadata is None:
        raise UnblurError(source, "is no metadata", "make some of it: unblur data metadata")
    target = checked_target(path.with_suffix(f"{ORDERED}.json") if out is None else out, path)
    order_scorer = load_order_scorer(options.model, options.device)
    chosen = metadata.of_split(options.split)
    _score_all(report, _clips_of(chosen, check_side(options.side)), order_scorer, listener)
    scores = {clip.id: clip.scored for clip in report.results}
    labelled = tuple(_labelled(entry, scores.get(entry.id), order_scorer.as_dict()) for entry in metadata.entries)
    report.job = Job(path, target)
    report.warning = write_beside(target, replace(metadata, entries=labelled))
    report.ended = time.perf_counter()
    listener.done(report.outcome())
    return report


def _labelled(entry: Entry, scored: Scored | None, model: Mapping[str, str]) -> Entry:
    if scored is None:
        return entry
    direction = scored.direction
    more: dict[str, Any] = {"score": _rounded(direction.score), "confidence": _rounded(direction.confidence)}
    more |= {"consistent": scored.consistent, "model": dict(model)}
    return replace(entry, order="keep" if direction.sign > 0 else "reverse", more={**entry.more, **more})


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _scored(report: R, inputs: Sequence[str], options: OrderOptions, listener: Listener) -> R:
    side = check_side(options.side)
    clips: list[_Clip] = []
    for name in inputs:
        try:
            metadata = open_metadata(name, options.root)
            if metadata is None:
                paths, errors = find_clips([name])
                report.errors += errors
                clips += [_file(path, side) for path in paths]
            else:
                clips += _clips_of(metadata.of_split(options.split), side)
        except UnblurError as error:
            report.errors.append(error)
    for wrong in report.errors:
        listener.failed(wrong)
    _score_all(report, clips, load_order_scorer(options.model, options.device), listener)
    report.ended = time.perf_counter()
    return report


def _file(path: Path, side: int) -> _Clip:
    return _Clip(str(path), str(path), None, lambda: clip_frames(path, side))


def _clips_of(metadata: Metadata, side: int) -> list[_Clip]:
    return [_entry(metadata, entry, side) for entry in metadata.entries]


def _entry(metadata: Metadata, entry: Entry, side: int) -> _Clip:
    def read() -> tuple[Tensor, Tensor, int]:
        _, paths = metadata.paths(entry)
        indices = spread(len(paths))
        frames = ((str(paths[i]), read_image(paths[i]).pixels) for i in indices.tolist())
        return gathered(frames, side), indices, len(paths)

    return _Clip(entry.id, f"{metadata.name}, {entry.id}", entry.split, read)


def _score_all(report: OrderReport, clips: Sequence[_Clip], order_scorer: OrderScorer, listener: Listener) -> None:
    """Every clip by itself, so that its score does not depend on the others."""
    model = order_scorer.as_dict()
    report.metadata, report.suffix = {"model": model}, f"by {model['name']}"
    for number, (clip, frames) in enumerate(_ahead(clips)):
        listener.progress("scoring", number, len(clips))
        try:
            report.results.append(ScoredClip(clip.id, clip.split, order_scorer.score(*frames(), clip.place)))
        except Exception as cause:
            error = cause if isinstance(cause, UnblurError) else unexpected(clip.place, cause)
            report.errors.append(error)
            listener.failed(error, cause)


def _ahead(clips: Iterable[_Clip]) -> Iterator[tuple[_Clip, Callable[[], tuple[Tensor, Tensor, int]]]]:
    """Each clip with a function that gives its frames; the next one is read while this one is scored."""
    with ThreadPoolExecutor(1) as thread:
        before = None
        for clip in clips:
            coming = (clip, thread.submit(clip.read).result)
            if before is not None:
                yield before
            before = coming
        if before is not None:
            yield before
