"""Blur moved from pairs of pictures to sharp ones, by the thousand: training data with blur that was measured.

Tran et al. (CVPR 2021), section on data augmentation: the code of a random crop of a random pair is put on a random
crop of a random sharp picture.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from unblur.data.contact_sheet import draw_grid
from unblur.data.layouts import PairSplit
from unblur.datasets.collection import Collection
from unblur.datasets.transfer import AugmentOptions, Maker
from unblur.errors import UnblurError, UsageError
from unblur.pipeline.blur_transfer import Model, load_blur_space
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
        Pairs: a folder, an LMDB, a manifest, or ``"SHARP,BLURRY"``; see `unblur.data.pairs.open_pairs`. None draws blur
        from a variational model.
    targets : str or path
        Sharp pictures: a folder, an LMDB or a manifest; of pairs the sharp halves.
    out : str or path
        A folder for ``blurry/``, ``sharp/`` and ``augment.jsonl``, which tells where every blur came from; or an LMDB,
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
    """`augment`, and its progress told to `listener`.

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
    maker = Maker(space, None if sources is None else str(sources), str(targets), options)
    report = RunReport("augment", "made", {"model": space.as_dict(), "out": str(out)}, f"by {space.name}")
    job = Job(Path(sources if sources is not None else targets), Path(f"{out}.preview.png") if preview else Path(out))
    for fault in maker.faults:
        _tell(fault, report, listener)
    listener.begin(job, 1, 1)
    with _single_threaded() as cores:
        workers = options.workers or (cores if space.device.type == "cpu" else 2)
        outcome = _preview(maker, job) if preview else _fill(maker, job, workers, report, listener)
    report.results.append(outcome)
    listener.done(outcome)
    return report


def _check_apart(out: Path, places: Sequence[str | PathLike[str]]) -> None:
    """Refuse an output among the pictures: a second run would take what the first has made for more of them."""
    inside = os.path.realpath(out)
    for place in (part for each in places for part in (str(each), *str(each).split(","))):
        if Path(place).is_dir() and Path(inside).is_relative_to(os.path.realpath(place)):
            raise UsageError("out", out, f"lies in {place}, which pictures are taken from", "choose another folder")


def _fill(maker: Maker, job: Job, workers: int, report: RunReport, listener: Listener) -> Outcome:
    """Make what is not there yet."""
    collection = Collection(job.output, maker.about(), free=("unblur", "places", "model"))
    missing = [index for index in range(maker.options.n) if index not in collection.entries]
    made, finished = 0, False
    try:
        for result in _each(maker, missing, workers):
            listener.progress("blurring", maker.options.n - len(missing) + made, maker.options.n)
            if isinstance(result, UnblurError):
                # What has a damaged head fails in other words when it is drawn.
                if result.subject not in {fault.subject for fault in maker.faults}:
                    _tell(result, report, listener)
                continue
            collection.add(result[0], result[1])
            made += 1
        finished = True
    finally:
        collection.close(finished=finished)
    entries = [collection.entries[index] for index in sorted(collection.entries)]
    report.count = made
    facts: dict[str, object] = {"pairs": len(entries), "made": made, "sources": maker.places["sources"]}
    said = f"{len(entries)} pairs" + (f", {len(entries) - made} there already" if made < len(entries) else "")
    read = [entry["reconstruction_psnr"] for entry in entries if "reconstruction_psnr" in entry]
    if read:
        facts["reconstruction_psnr"] = round(fmean(read), 3)
        said += f"; their blur was read to {fmean(read):.1f} dB"
    return Outcome(job, said, facts if made or not entries else {**facts, "skipped": True})


def _tell(fault: UnblurError, report: RunReport, listener: Listener) -> None:
    """Of a picture that cannot be used, once."""
    if str(fault) not in map(str, report.errors):
        report.errors.append(fault)
        listener.failed(fault)


Result = tuple[dict[str, Any], dict[str, bytes]] | UnblurError


def _each(maker: Maker, indices: Sequence[int], workers: int) -> Iterator[Result]:
    """Entry and files of each number, in order, a few made ahead; a picture that cannot be read is an error."""

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


def _preview(maker: Maker, job: Job) -> Outcome:
    """Rows of what the first pairs are made of."""
    made, faults = [], []
    for index in range(min(PREVIEWED, maker.options.n)):
        try:
            made.append(maker.make(index))
        except UnblurError as fault:
            faults.append(fault)
    if not made:
        raise faults[0]
    titles = ["sharp, given", "blurry, given", "blur read", "target", "target blurred"]
    rows = [[*one.source, one.sharp, one.blurry] for one in made]
    draw_grid(rows, titles[-len(rows[0]) :]).save(job.output)
    facts: dict[str, object] = {"preview": True, "pairs": len(made)}
    return Outcome(job, f"the first {len(made)} to look at; without `preview` they are made", facts)


@contextmanager
def _single_threaded() -> Iterator[int]:
    """Tells how many threads there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
