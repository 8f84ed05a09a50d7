"""Blur moved from pairs of pictures to sharp ones, by the thousand: training data with blur that was measured.

Tran et al. (CVPR 2021), section on data augmentation: the code of a random crop of a random pair is put on a random
crop of a random sharp picture.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from unblur.data.layouts import PairSplit
from unblur.data.lmdb_store import SUFFIX, LmdbWriter, key_of
from unblur.data.pairs import open_pairs, open_sharp
from unblur.data.pictures import Pixels, draw_grid
from unblur.data.stills import to_uint8
from unblur.errors import UnblurError, UsageError, require
from unblur.media.atomic import atomic_path
from unblur.media.decode import check_picture
from unblur.media.encode import encode
from unblur.media.output_folder import OutputFolder
from unblur.metrics.fidelity import psnr
from unblur.pipeline.blur_transfer import BlurSpace, Model, load_blur_space, seed_of
from unblur.run_report import Job, Listener, Outcome, RunReport, Silent, unexpected

PREVIEWED = 6


def augment(
    sources: str | PathLike[str] | None,
    targets: str | PathLike[str],
    out: str | PathLike[str],
    n: int = 1000,
    *,
    size: int = 256,
    seed: int = 0,
    split: PairSplit = "train",
    model: Model = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
) -> RunReport:
    """Put the blur of random pairs of pictures on random sharp ones, or blur that is drawn.

    The same pictures, model and seed give the same files, whatever the number of workers. What is there from an earlier
    run is kept: one that was interrupted is taken up, and `n` may be raised.

    Parameters
    ----------
    sources : str, path or None
        Pairs: a folder, an LMDB, a ``metadata.json``, or ``"SHARP,BLURRY"``; see `unblur.data.pairs.open_pairs`. None
        draws blur from a variational model.
    targets : str or path
        Sharp pictures: a folder, an LMDB or a ``metadata.json``; of pairs the sharp halves.
    out : str or path
        A folder for ``blurry/``, ``sharp/`` and ``augment.jsonl``, which lists where every blur comes from; or an LMDB,
        if it ends in ``.lmdb``.
    n, size, seed, split, workers
        See `AugmentOptions`.
    model, device
        A blur space; see `unblur.encode_blur`.

    Returns
    -------
    RunReport
        With the mean PSNR of the sources reconstructed from their codes; an error for each picture that cannot be read.

    Raises
    ------
    UnblurError
        No such pictures, pairs that do not match, an output that holds something else, a model that is no blur space.

    Examples
    --------
    >>> unblur.augment("GOPRO_Large", "photos/", "more/", n=5000)        # doctest: +SKIP
    """
    options = AugmentOptions(n, size, seed, split, workers)
    return augment_files(sources, targets, out, options, Silent(), model=model, device=device)


def augment_files(
    sources: str | PathLike[str] | None,
    targets: str | PathLike[str],
    out: str | PathLike[str],
    options: AugmentOptions,
    listener: Listener,
    *,
    model: Model = None,
    device: str | torch.device = "auto",
    preview: bool = False,
) -> RunReport:
    """As `augment`, with progress reported to `listener`.

    Parameters
    ----------
    preview : bool
        Make nothing but a picture, ``OUT.preview.png``, of the first few.
    """
    options = options.checked()
    space = load_blur_space(model, device)
    if sources is None:
        space.check_draws()
    _check_apart(Path(out), [place for place in (sources, targets) if place is not None])
    maker = PairMaker(space, None if sources is None else str(sources), str(targets), options)
    report = RunReport("augment", "made", {"model": space.as_dict(), "out": str(out)}, f"by {space.name}")
    job = Job(Path(sources if sources is not None else targets), Path(f"{out}.preview.png") if preview else Path(out))
    for fault in maker.faults:
        _report_once(fault, report, listener)
    listener.begin(job, 1, 1)
    with _single_threaded() as cores:
        workers = options.workers or (cores if space.device.type == "cpu" else 2)
        outcome = _preview(maker, job) if preview else _fill(maker, job, workers, report, listener)
    report.results.append(outcome)
    listener.done(outcome)
    return report


def _check_apart(out: Path, places: Sequence[str | PathLike[str]]) -> None:
    """Refuse an output among the pictures: a second run would take the results of the first for more of them."""
    inside = os.path.realpath(out)
    for place in (part for each in places for part in (str(each), *str(each).split(","))):
        if Path(place).is_dir() and Path(inside).is_relative_to(os.path.realpath(place)):
            raise UsageError("out", out, f"lies in {place}, which pictures are taken from", "choose another folder")


def _fill(maker: PairMaker, job: Job, workers: int, report: RunReport, listener: Listener) -> Outcome:
    """Make what is not there yet."""
    collection = Collection(job.output, maker.about(), free=("places", "model"))
    missing = [index for index in range(maker.options.n) if index not in collection.entries]
    made, finished = 0, False
    try:
        for result in _each(maker, missing, workers):
            listener.progress("blurring", maker.options.n - len(missing) + made, maker.options.n)
            if isinstance(result, UnblurError):
                # What has a damaged head fails in other words when it is drawn.
                if result.subject not in {fault.subject for fault in maker.faults}:
                    _report_once(result, report, listener)
                continue
            collection.add(result[0], result[1])
            made += 1
        finished = True
    finally:
        collection.close(finished=finished)
    entries = [collection.entries[index] for index in sorted(collection.entries)]
    report.count = made
    details: dict[str, object] = {"pairs": len(entries), "made": made, "sources": maker.places["sources"]}
    message = f"{len(entries)} pairs" + (f", {len(entries) - made} there already" if made < len(entries) else "")
    read = [entry["reconstruction_psnr"] for entry in entries if "reconstruction_psnr" in entry]
    if read:
        details["reconstruction_psnr"] = round(fmean(read), 3)
        message += f"; their blur was read to {fmean(read):.1f} dB"
    return Outcome(job, message, details if made or not entries else {**details, "skipped": True})


def _report_once(fault: UnblurError, report: RunReport, listener: Listener) -> None:
    """Of a picture that cannot be used, once."""
    if str(fault) not in map(str, report.errors):
        report.errors.append(fault)
        listener.failed(fault)


Result = tuple[dict[str, Any], dict[str, bytes]] | UnblurError


def _each(maker: PairMaker, indices: Sequence[int], workers: int) -> Iterator[Result]:
    """Entry and files of each number, in order, a few ahead; a picture that cannot be read is an error."""

    def work(index: int) -> Result:
        try:
            made = maker.make(index)
        except UnblurError as error:
            return error
        except Exception as cause:
            return unexpected(f"pair number {index}", cause)
        return made.entry, made.files()

    # Each thread computes on one core: sums over more would depend on how many there are.
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[Result]] = deque()
    try:
        for index in indices:
            waiting.append(pool.submit(work, index))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _preview(maker: PairMaker, job: Job) -> Outcome:
    """Draw the first pairs, each in a row with its sources."""
    pairs, faults = [], []
    for index in range(min(PREVIEWED, maker.options.n)):
        try:
            pairs.append(maker.make(index))
        except UnblurError as fault:
            faults.append(fault)
    if not pairs:
        raise faults[0]
    titles = ["sharp, given", "blurry, given", "blur read", "target", "target blurred"]
    rows = [[*one.source, one.sharp, one.blurry] for one in pairs]
    draw_grid(rows, titles[-len(rows[0]) :]).save(job.output)
    details: dict[str, object] = {"preview": True, "pairs": len(pairs)}
    return Outcome(job, f"the first {len(pairs)} to look at; without `preview` they are made", details)


@contextmanager
def _single_threaded() -> Iterator[int]:
    """Tells how many threads there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


Crop = tuple[int, int, int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class AugmentOptions:
    """Options of `augment`.

    Attributes
    ----------
    n : int
        Pairs in all.
    size : int
        Height and width of the crops in pixels; 0 takes whole pictures, and fits the codes to them.
    seed : int
        Pair number i depends on this, on i and on the pictures alone.
    split : {"train", "val", "test", "all"}
        Of data sets that hold pictures out of training; see `unblur.data.layouts`.
    workers : int, optional
        Threads, each on one core; whatever their number, the pictures are the same. As many as torch uses on a CPU, 2
        elsewhere, if left out.
    """

    n: int = 1000
    size: int = 256
    seed: int = 0
    split: PairSplit = "train"
    workers: int | None = None

    def checked(self) -> AugmentOptions:
        """Validate; returns self."""
        for name, least in (("n", 1), ("size", 0), ("seed", 0), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(name, value, "too small", f"use {least} or more")
        return self


@dataclass(frozen=True)
class BlurredPair:
    """A sharp picture with the blur of another pair on it, or with a drawn one.

    Attributes
    ----------
    entry : dict
        Where everything in it came from; see `unblur.datasets.augment`.
    sharp, blurry : ndarray
        (H, W, 3) uint8.
    source : tuple of ndarray
        Sharp, blurry, and the sharp one with the code put on it; empty for blur that was drawn.
    """

    entry: dict[str, Any]
    sharp: Pixels
    blurry: Pixels
    source: tuple[Pixels, ...] = ()

    def files(self) -> dict[str, bytes]:
        """PNG files by their names."""
        return {self.entry[half]: encode(getattr(self, half), "png", 95, None, None) for half in ("blurry", "sharp")}


class PairMaker:
    """Makes any pair by its number.

    Attributes
    ----------
    faults : list of UnblurError
        Of pictures whose head cannot be read. They are drawn as the others are, and fail then: once they are mended,
        another run makes what is missing, the same as if nothing had been wrong.
    """

    def __init__(self, space: BlurSpace, sources: str | None, targets: str, options: AugmentOptions) -> None:
        self.space, self.options = space, options
        self.pairs = None if sources is None else open_pairs(sources, split=options.split)
        self.targets, names = open_sharp(targets, options.split)
        self.numbers: list[int] = []
        self.faults: list[UnblurError] = []
        if self.pairs is not None:
            self.numbers = self._large_enough(self.pairs.place, range(len(self.pairs)), self.pairs.size)
        self.names = self._large_enough(targets, names, self.targets.size)
        self.places = {"sources": sources, "targets": targets}

    def _large_enough(self, place: str, names: Sequence[T], size_of: Callable[[T], tuple[int, int]]) -> list[T]:
        """Those whose pictures hold a crop, and those whose size cannot be read."""
        found: list[T] = []
        known = False
        for name in names:
            try:
                if min(size_of(name)) < self.options.size:
                    continue
                known = True
            except UnblurError as fault:
                self.faults.append(fault)
            found.append(name)
        if not known and self.faults:
            raise self.faults[-1]
        if not known:
            size = self.options.size
            raise UnblurError(place, f"holds no picture as large as {size} x {size}", "use a smaller `size`")
        return found

    def about(self) -> dict[str, Any]:
        """What the pairs depend on; where the pictures lie is for people, their names and sizes count."""
        sources = [self.pairs.names[number] for number in self.numbers] if self.pairs else []
        return {
            "places": self.places,
            "model": self.space.name,
            "sha256": self.space.fingerprint,
            "size": self.options.size,
            "seed": self.options.seed,
            "sources": _sum([f"{sharp}\n{blurry}" for sharp, blurry in sources]),
            "targets": _sum(self.names),
        }

    def make(self, index: int) -> BlurredPair:
        """Pair number `index`; depends on the seed, that number and the pictures alone."""
        rng = np.random.default_rng((self.options.seed, index))
        name = self.names[rng.integers(len(self.names))]
        sharp, crop = _cropped([self.targets.read(name)], self.options.size, rng)
        folder, file = f"{index // 1000:03d}", f"{index:08d}.png"
        entry: dict[str, Any] = {
            "index": index,
            "blurry": f"blurry/{folder}/{file}",
            "sharp": f"sharp/{folder}/{file}",
            "target": {"picture": name, "crop": crop},
            "seed": self.options.seed,
            "model": self.space.name,
            "sha256": self.space.fingerprint,
        }
        target = _tensor(sharp[0])
        if self.pairs is None:
            number = seed_of(self.options.seed, index)
            code = self.space.draw(target.shape[1], target.shape[2], number)
            return BlurredPair(entry | {"drawn": number}, sharp[0], to_uint8(self.space.apply(target, code, name)))
        number = self.numbers[rng.integers(len(self.numbers))]
        halves, crop = _cropped(self.pairs.read(number), self.options.size, rng)
        names = dict(zip(("sharp", "blurry"), self.pairs.names[number], strict=True))
        one, other = (_tensor(half) for half in halves)
        code = self.space.encode(one, other, names["blurry"])
        again = self.space.apply(one, code, names["sharp"])
        entry["source"] = {**names, "crop": crop}
        entry["reconstruction_psnr"] = round(float(psnr(again, other, levels=255)), 3)
        made = to_uint8(self.space.apply(target, code, name))
        return BlurredPair(entry, sharp[0], made, (*halves, to_uint8(again)))


def _cropped(pictures: Sequence[Pixels], size: int, rng: np.random.Generator) -> tuple[list[Pixels], Crop]:
    """The same random crop of each, and its top, left, height and width."""
    height, width = pictures[0].shape[:2]
    if size == 0:
        return list(pictures), (0, 0, height, width)
    top, left = (int(rng.integers(side - size + 1)) for side in (height, width))
    return [picture[top : top + size, left : left + size] for picture in pictures], (top, left, size, size)


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255


def _sum(names: Sequence[str]) -> str:
    """Number and digest of names: other pictures have another one."""
    return f"{len(names)}:{hashlib.sha256(chr(0).join(names).encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


OPTIONS, LINES = "augment.json", "augment.jsonl"
HALVES = ("blurry", "sharp")
_FIELDS = {"index": int, "blurry": str, "sharp": str}
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.\w+")  # what `atomic_path` leaves behind when it is killed


class _Pictures(Protocol):
    def has(self, name: str) -> bool: ...
    def put(self, files: Mapping[str, bytes]) -> None: ...
    def close(self, names: list[str]) -> None: ...


class Collection:
    """Entries by number, in a folder or in an LMDB.

    Parameters
    ----------
    out : path
        A new or empty place, or one of an earlier run with the same `about`.
    about : mapping
        How the entries are made; JSON.
    free : collection of str
        Fields of `about` that may differ.

    Attributes
    ----------
    entries : dict of int to dict
        What is there, complete with its pictures: the lines.

    Raises
    ------
    UnblurError
        `out` holds something else or results of other settings, is being written by another run, or cannot be written.
    """

    def __init__(self, out: str | PathLike[str], about: Mapping[str, Any], free: tuple[str, ...] = ()) -> None:
        self.out = Path(out)
        if is_store(out):
            require("lmdb", "train")  # before anything is written
        folder = OutputFolder(out, about, note=OPTIONS, free=free)
        self._pictures: _Pictures = _Store(folder) if is_store(self.out) else _Folder(folder)
        self.entries = {entry["index"]: entry for entry in self._lines() if self._is_whole(entry)}
        self._write_lines()
        self._file = (self.out / LINES).open("a", encoding="utf-8")

    def add(self, entry: dict[str, Any], files: Mapping[str, bytes]) -> None:
        """Keep an entry: first its pictures, then its line.

        Parameters
        ----------
        entry : dict
            With its number in ``index``, and the names of its pictures in ``blurry`` and ``sharp``.
        """
        self._pictures.put(files)
        self._file.write(_line(entry))
        self._file.flush()
        self.entries[entry["index"]] = entry

    def close(self, *, finished: bool) -> None:
        """Put the lines in order, and if all is done, make an LMDB readable."""
        self._file.close()
        self._write_lines()
        names = [entry[half] for entry in self.entries.values() for half in HALVES]
        self._pictures.close(names if finished else [])

    def _lines(self) -> list[dict[str, Any]]:
        path = self.out / LINES
        if not path.exists():
            return []
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # half written when the run was killed
                continue
            if isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in _FIELDS.items()):
                found.append(entry)
        return found

    def _is_whole(self, entry: dict[str, Any]) -> bool:
        return all(self._pictures.has(entry[half]) for half in HALVES)

    def _write_lines(self) -> None:
        with atomic_path(self.out / LINES) as temporary:
            temporary.write_text("".join(_line(self.entries[i]) for i in sorted(self.entries)), encoding="utf-8")


class _Folder:
    """Pictures as files below a folder."""

    def __init__(self, folder: OutputFolder) -> None:
        self.folder, self.out = folder, folder.path
        for path in self.out.rglob(".*"):
            if _UNFINISHED.fullmatch(path.name):
                path.unlink()

    def has(self, name: str) -> bool:
        return (self.out / name).is_file()

    def put(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            with atomic_path(self.out / name) as temporary:
                temporary.write_bytes(data)

    def close(self, names: list[str]) -> None:
        self.folder.release()


class _Store:
    """Pictures in an LMDB."""

    def __init__(self, folder: OutputFolder) -> None:
        self.writer = LmdbWriter(folder.path, folder)
        self.there = self.writer.keys()
        self.sizes: dict[str, tuple[int, int]] = {}
        self.added = False

    def has(self, name: str) -> bool:
        return key_of(name) in self.there

    def put(self, files: Mapping[str, bytes]) -> None:
        self.sizes |= {name: check_picture(name, data) for name, data in files.items()}
        self.writer.add(files)
        self.added = True

    def close(self, names: list[str]) -> None:
        if names and (self.added or not self.writer.finished):
            self.writer.finish({name: self.sizes.get(name) or self.writer.measure(name) for name in names})
        self.writer.close()


def is_store(out: str | PathLike[str]) -> bool:
    """Whether an output of that name is an LMDB."""
    return Path(out).suffix.lower() == SUFFIX


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=True) + "\n"
