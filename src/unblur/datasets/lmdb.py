"""`unblur data lmdb`: the pictures of a folder in one file, as they are."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from unblur.data.exposure_metadata import NAME as METADATA
from unblur.data.lmdb_store import SUFFIX, LmdbWriter, key_of
from unblur.data.pictures import PictureFolder
from unblur.errors import UnblurError
from unblur.media.decode import check_picture
from unblur.run_report import Job, Listener, Outcome, RunReport

BATCH = 32 << 20  # bytes between two commits: what a kill may cost


def store_pictures(source: str | PathLike[str], out: str | PathLike[str], listener: Listener) -> RunReport:
    """Store the pictures of a folder, at any depth, in an LMDB; see `unblur.data.lmdb_store`.

    Files are copied as they are, one after the other. A run that is killed goes on where it stopped; what is there and
    was not changed since is left alone, what was changed is stored again. A picture that is damaged or cut short is
    reported and left out, and then the LMDB is not finished.

    Parameters
    ----------
    source : str or path
        A folder.
    out : str or path
        Ends in ``.lmdb``.
    listener : Listener
        Receives the progress and the errors.

    Returns
    -------
    RunReport
        One result, and an error for each picture that cannot be stored.

    Raises
    ------
    UnblurError
        No pictures, an output that is something else or holds pictures that the folder has not.
    """
    if Path(out).suffix.lower() != SUFFIX:
        raise UnblurError(
            out, "does not end in .lmdb", f"use for instance `out={Path(out).name or 'pictures'}{SUFFIX}`"
        )
    report = RunReport("data lmdb", "stored")
    pictures = PictureFolder(source)
    job = Job(Path(source), Path(out))
    listener.begin(job, 1, 1)
    with LmdbWriter(out) as writer:
        there = writer.keys()
        _check_same(pictures, there, out)
        storing = _Storing(pictures, writer, there, listener)
        storing.run()
        report.errors, report.count = storing.errors, storing.added
        if not storing.errors:
            metadata = pictures.text(METADATA)
            writer.finish(storing.sizes, {} if metadata is None else {METADATA: metadata})
            kept = len(pictures.names) - storing.added
            message = f"{len(pictures.names)} pictures" + (f", {kept} there already" if kept else "")
            details: dict[str, object] = {"pictures": len(pictures.names), "added": storing.added}
            report.results.append(Outcome(job, message, details if storing.added else {**details, "skipped": True}))
            listener.done(report.results[-1])
    return report


class _Storing:
    """Copies what is not there yet."""

    def __init__(self, pictures: PictureFolder, writer: LmdbWriter, there: set[bytes], listener: Listener) -> None:
        self.pictures, self.writer, self.there, self.listener = pictures, writer, there, listener
        self.sizes: dict[str, tuple[int, int]] = {}
        self.stamps: dict[str, str] = {}
        self.errors: list[UnblurError] = []
        self.added = 0

    def run(self) -> None:
        """All names in order; commits after every `BATCH` bytes."""
        waiting: dict[str, bytes] = {}
        total = len(self.pictures.names)
        for done, name in enumerate(self.pictures.names):
            self.listener.progress("storing", done, total)
            try:
                data = self._missing(name)
            except UnblurError as error:
                self.errors.append(error)
                self.listener.failed(error)
                continue
            if data is not None:
                waiting[name] = data
            if sum(map(len, waiting.values())) >= BATCH:
                self._commit(waiting)
                waiting = {}
        self._commit(waiting)
        self.writer.mark(self.stamps)  # of files that are as they were, though something about them was changed

    def _missing(self, name: str) -> bytes | None:
        """The file, if it is not stored already as it is; notes its size."""
        stamp = self.pictures.stamp(name)
        if key_of(name) in self.there and self.writer.stamp(name) == stamp:
            self.sizes[name] = self.writer.measure(name)
            return None
        data = self.pictures.contents(name)
        self.sizes[name] = check_picture(str(self.pictures.root / name), data)
        self.stamps[name] = stamp
        return None if self.writer.holds(name, data) else data

    def _commit(self, waiting: dict[str, bytes]) -> None:
        if waiting:
            self.writer.add(waiting, {name: self.stamps.pop(name) for name in waiting})
            self.added += len(waiting)


def _check_same(pictures: PictureFolder, there: set[bytes], out: str | PathLike[str]) -> None:
    """Whether all that is stored is from this folder."""
    known = {key_of(name) for name in pictures.names}
    others = [key for key in there if key not in known]
    if others:
        name = min(others).decode("utf-8", "replace")
        problem = f"holds pictures that {pictures.place} has not ({name})"
        raise UnblurError(out, problem, "choose another name, or delete it first")
