"""What `unblur order` reports: directions of clips, how far the pairs of their frames agree, and where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unblur.data.exposure_metadata import Split
from unblur.metrics.ordering import consistent, hit
from unblur.pipeline.frame_order import Scored
from unblur.run_report import Job, Outcome, RunReport
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
