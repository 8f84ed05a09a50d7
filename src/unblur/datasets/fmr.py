"""`unblur data fmr`: exposures of faces out of clips, their frames in the order in which the left eye lies.

OUT/frames-07/blurry/NAME_000120.png      the exposure that begins with frame 120
OUT/frames-07/sharp/NAME_000120/00.png    its frames, sorted
OUT/frames-07/metadata.json               for training (`sequences` in recipes)
OUT/landmarks/NAME.csv                    where the face was, if a detector looked for it
OUT/options.json, OUT/statistics.json     the options of the run, and what sorting did
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from unblur.data.exposure_metadata import NAME as METADATA
from unblur.data.exposure_metadata import Entry, Metadata, Split, read_metadata, write_metadata
from unblur.data.layouts import SPLIT_FOLDERS
from unblur.datasets.face_windows import (
    FaceWindow,
    FmrStatistics,
    Marks,
    WindowRules,
    face_windows,
    find_marks,
    fmr_order,
    fmr_statistics,
    marked_windows,
    read_annotations,
    read_marks,
    write_marks,
)
from unblur.errors import UnblurError, UsageError
from unblur.media.folder import atomic_path, find_clips, images_in, is_folder
from unblur.media.image import Picture, write_image
from unblur.media.output_folder import OutputFolder
from unblur.media.video import read_clip
from unblur.models.feature_networks import load_face_cascade
from unblur.pipeline.face_detection import CascadeDetector, Detector
from unblur.run_report import Job, Listener, Outcome, RunReport, Silent, run
from unblur.table import Table

TEST = frozenset({"009", "010", "037", "039", "053", "158", "211", "406", "522"})
"""The clips of 300VW on which CFMD-GAN is measured; Ren et al., ICCV 2019."""
ANNOTATED = "annot"
LANDMARKS = "landmarks"
DEEP = 3
"""Folders below one that is named, in which clips are looked for."""


@dataclass(frozen=True)
class FmrOptions(WindowRules):
    """Options of `fmr_data`.

    Attributes
    ----------
    split : {"train", "val", "test"}
        Of clips in no folder of such a name; the clips of 300VW know theirs.
    """

    split: Split = "train"

    def checked(self) -> FmrOptions:
        """Validate; returns self."""
        if not self.frames or min(self.frames) < 2 or len(set(self.frames)) < len(self.frames):
            given = ",".join(map(str, self.frames))
            raise UsageError("frames", given, "are no lengths of windows", "use for instance 5,7,9,11,13")
        for name, least in (("every", 1), ("size", 16), ("margin", 0), ("sharpness", 0), ("min_length", 0)):
            value = getattr(self, name)
            if not value >= least:
                option = f"--{name.replace('_', '-')} {value:g}"
                raise UnblurError(option, "too small", f"use {least} or more")
        return self


@dataclass
class FmrReport(RunReport):
    """The report of `fmr_data`.

    Attributes
    ----------
    statistics : list of FmrStatistics
    """

    statistics: list[FmrStatistics] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return super().as_dict() | {"statistics": [_as_dict(one) for one in self.statistics]}

    @property
    def title(self) -> str:
        """Stands above the table in a terminal."""
        return "frames sorted by the left eye, against time"

    def tables(self) -> list[Table]:
        """The statistics."""
        if not self.statistics:
            return []
        headings = ["frames", "clips", "tau", "|tau|", "forward", "reversed", "monotone", "same centre"]
        rows = []
        for one in self.statistics:
            numbers = (one.tau, one.tau_size, one.forward, one.backward, one.monotone, one.centre)
            rows.append([str(one.frames), str(one.clips), *(f"{number:.3f}" for number in numbers)])
        return [Table(headings, rows)]


@dataclass(frozen=True)
class _Clip:
    """A clip, the folder of its annotations if it has one, and what it is for."""

    path: Path
    name: str
    annotations: Path | None
    split: Split


def fmr_data(
    sources: Sequence[str | PathLike[str]],
    out: str | PathLike[str] | None = None,
    options: FmrOptions | None = None,
    listener: Listener | None = None,
    *,
    landmarks: str | PathLike[str] | None = None,
    detector: Detector | None = None,
) -> FmrReport:
    """Make exposures of faces out of clips, or only measure what sorting their frames does.

    A clip that an earlier run with the same options finished is left alone.

    Parameters
    ----------
    sources : sequence of str or path
        300VW as downloaded, or one of its clips (a folder with a clip and ``annot``); clips; folders of clips or of
        folders of pictures, as REDS has them.
    out : str or path, optional
        Folder for the result; without it nothing is written, and no window is looked at for its sharpness.
    landmarks : str or path, optional
        A file with the marks of the one clip, or a folder of such files, NAME.csv or NAME.json; what a detector finds
        is kept there. ``landmarks`` in `out` by default.
    detector : Detector, optional
        Finds faces where there are no marks; by default the one of the extra ``faces``.

    Raises
    ------
    UnblurError
        Options that cannot be met, no usable source, an output that cannot be written or was made otherwise.
        What concerns one clip is in the report.
    """
    options, listener = (options or FmrOptions()).checked(), listener or Silent()
    report = FmrReport("data fmr", "cut" if out is not None else "looked at")
    clips = []
    for source in sources:
        try:
            clips += _clips(Path(source), options.split)
        except UnblurError as error:
            report.errors.append(error)
            listener.failed(error)
    _check_names(clips)
    maker = _Maker(None if out is None else Path(out), options, listener, landmarks, len(clips), detector)
    report.metadata = {"out": None if out is None else str(out), "options": asdict(options)}
    found = {clip.path: clip for clip in clips}
    jobs = [Job(clip.path, Path(out) if out is not None else clip.path) for clip in clips]
    work = lambda job: maker.one(job, found[job.source])  # noqa: E731
    with maker.folder:
        run(jobs, work, report, on_begin=listener.begin, on_done=listener.done, on_error=listener.failed)
    report.statistics = fmr_statistics(maker.orders())
    count = sum(one.clips for one in report.statistics)
    report.suffix = f"with {count} windows of faces"
    if out is not None:
        with atomic_path(Path(out) / "statistics.json") as temporary:
            text = json.dumps([_as_dict(one) for one in report.statistics], indent=2)
            temporary.write_text(text + "\n", encoding="ascii")
    return report


class _Maker:
    """Cuts one clip after the other, and keeps the lists."""

    def __init__(
        self,
        out: Path | None,
        options: FmrOptions,
        listener: Listener,
        landmarks: str | PathLike[str] | None,
        clips: int,
        detector: Detector | None,
    ) -> None:
        self.out, self.rules, self.listener = out, options, listener
        self.detector = detector
        self.marks = Path(landmarks) if landmarks is not None else out / LANDMARKS if out is not None else None
        if self.marks is not None and clips > 1 and self.marks.is_file():
            raise UnblurError(self.marks, f"holds the marks of one clip, but there are {clips}", "name a folder")
        self.folder: AbstractContextManager[object] = nullcontext()
        self._seen: list[list[int]] = []
        self.entries: dict[int, dict[str, Entry]] = {count: {} for count in self.rules.frames}
        if out is not None:
            self.folder = OutputFolder(out, asdict(options), beside=(LANDMARKS,))
            for count in self.rules.frames:
                path = self._folder(count) / METADATA
                if path.exists():
                    self.entries[count] = {entry.id: entry for entry in read_metadata(path).entries}

    def orders(self) -> Iterator[list[int]]:
        """Of all windows: those that were cut, or if nothing is written all that have a face."""
        yield from self._seen
        for entries in self.entries.values():
            for entry in entries.values():
                yield [int(rank) for rank in entry.more["fmr"]]

    def one(self, job: Job, clip: _Clip) -> Outcome:
        """All windows of a clip."""
        there = sum(entry.source == clip.name for all_ in self.entries.values() for entry in all_.values())
        if there:
            return Outcome(job, f"{there} windows there already", {"windows": there, "skipped": True})
        marks = self._marks_of(clip)
        seen = sum(mark is not None for mark in marks)
        details: dict[str, object] = {"frames": len(marks), "with_face": seen}
        if self.out is None:
            windows = [w for count in self.rules.frames for w in marked_windows(marks, count, self.rules.every)]
            self._seen += [fmr_order([mark.eye for mark in found]) for _, found in windows]
            return Outcome(job, f"a face in {seen} of {len(marks)} frames, {len(windows)} windows", details)
        dropped: Counter[str] = Counter()
        made = 0
        for window in face_windows(self._frames(clip, len(marks)), marks, self.rules, dropped):
            self._store(clip, window)
            made += 1
        self._list()
        left = "".join(f", {number} {why}" for why, number in sorted(dropped.items()))
        details |= {"windows": made, "dropped": dict(dropped)}
        if not made:
            details["warning"] = f"no window was taken of {seen} frames with a face{left}"
        return Outcome(job, f"{made} windows{left}", details)

    def _frames(self, clip: _Clip, count: int) -> Iterator[Tensor]:
        for number, frame in enumerate(read_clip(clip.path), 1):
            self.listener.progress("cutting", min(number, count), count)
            yield frame

    def _marks_of(self, clip: _Clip) -> Marks:
        if clip.annotations is not None:
            return read_annotations(clip.annotations)
        place = self.marks
        if place is not None and place.is_file():
            return read_marks(place)
        for suffix in (".csv", ".json", ".jsonl"):
            if place is not None and (place / f"{clip.name}{suffix}").is_file():
                return read_marks(place / f"{clip.name}{suffix}")
        self.detector = self.detector or CascadeDetector(load_face_cascade())
        opened = read_clip(clip.path)

        def frames() -> Iterator[Tensor]:
            for number, frame in enumerate(opened):
                self.listener.progress("finding faces", number, opened.count)
                yield frame

        marks = find_marks(frames(), self.detector)
        if place is not None:
            write_marks(place / f"{clip.name}.csv", marks)
        return marks

    def _folder(self, count: int) -> Path:
        assert self.out is not None
        return self.out / f"frames-{count:02d}"

    def _store(self, clip: _Clip, window: FaceWindow) -> None:
        count = len(window.order)
        folder, name = self._folder(count), f"{clip.name}_{window.start:06d}"
        files = [f"sharp/{name}/{i:02d}.png" for i in range(count)]
        blurry = f"blurry/{name}.png"
        for path, pixels in zip((*files, blurry), (*window.pictures[1:], window.pictures[0]), strict=True):
            write_image(folder / path, Picture(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255))
        # Sorted frames have the direction that is to be learned; that of others is unknown.
        self.entries[count][name] = Entry(
            name,
            "keep" if self.rules.sort == "fmr" else "ignore",
            clip.split,
            blurry,
            tuple(files),
            more={"sort": self.rules.sort, "fmr": list(window.ranks), "crop": list(window.crop)},
            source=clip.name,
            response=self.rules.response,
            size=(self.rules.size, self.rules.size),
            span=(window.start, window.start + count - 1),
        )

    def _list(self) -> None:
        for count, entries in self.entries.items():
            if entries:
                folder = self._folder(count)
                metadata = Metadata(folder.name, count, tuple(entries[name] for name in sorted(entries)), folder)
                write_metadata(folder / METADATA, metadata)


def _clips(source: Path, split: Split, above: str = "", deep: int = DEEP) -> list[_Clip]:
    """The clips that a name stands for; those of 300VW with their annotations."""
    if not is_folder(source):
        return [_Clip(path, path.stem, None, split) for path in _sure(source)]
    split = SPLIT_FOLDERS.get(source.name.partition("_")[0], split)
    name = f"{above}{source.name}"
    films = [path for path in find_clips([source])[0] if not path.is_dir()]
    if (source / ANNOTATED).is_dir():
        if len(films) != 1:
            raise UnblurError(source, f"has {ANNOTATED}/ but {len(films)} clips", "keep the one that is annotated")
        part: Split = "test" if source.name in TEST else "train"
        return [_Clip(films[0], name, source / ANNOTATED, part)]
    if films:
        return [_Clip(path, path.stem, None, split) for path in films]
    if images_in(source):
        return [_Clip(source, name, None, split)]
    below = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith(".")) if deep else []
    inside = above if deep == DEEP else f"{name}_"
    found = [clip for path in below for clip in _clips(path, split, inside, deep - 1)]
    if not found and deep == DEEP:
        raise UnblurError(source, "holds no clips", "name 300VW as downloaded, a clip, or a folder with some")
    return found


def _sure(source: Path) -> list[Path]:
    paths, errors = find_clips([source])
    if errors:
        raise errors[0]
    return paths


def _check_names(clips: Sequence[_Clip]) -> None:
    taken: dict[str, Path] = {}
    for clip in clips:
        other = taken.setdefault(clip.name.casefold(), clip.path)
        if other != clip.path:
            raise UnblurError(clip.path, f"has the name of {other}", "rename one, or make them in separate folders")


def _as_dict(one: FmrStatistics) -> dict[str, object]:
    return {**asdict(one), "monotone": one.monotone}
