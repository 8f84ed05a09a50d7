"""`unblur data precompute`: the films of a model as initial estimates, which a refiner learns to improve."""

from __future__ import annotations

import random
from os import PathLike
from pathlib import Path

import torch

from unblur.data.exposure_metadata import NAME, Metadata, find_metadata, open_metadata
from unblur.data.initial_estimates import (
    check_weights,
    estimate_paths,
    estimates_folder,
    has_estimates,
    note_weights,
    read_note,
    unknown_in,
)
from unblur.data.pictures import read_pixels
from unblur.errors import UnblurError
from unblur.exposure.average import frame_times
from unblur.media.folder import is_folder
from unblur.media.image import Picture, write_image
from unblur.pipeline.restore import Pipeline, load
from unblur.run_report import Job, Listener, Outcome, RunReport, Silent, run


def precompute(
    sources: list[str | PathLike[str]],
    model: str | PathLike[str] | Pipeline | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    listener: Listener | None = None,
    *,
    limit: int | None = None,
) -> RunReport:
    """Write the film of a model for every exposure, at the times of its frames, beside the exposures.

    An exposure that has estimates by this model is left alone, so a run that was interrupted goes on. Estimates by
    other weights of the same name, or by another version of the method, are refused; those without a note are taken,
    with a warning.

    Parameters
    ----------
    sources : list of str or path
        A ``metadata.json``, or a folder with it in it or in folders of its own, as ``unblur data fmr`` makes them.
    model, device, dtype
        See `unblur.load`.
    limit : int, optional
        So many exposures of each file; always the same ones for the same number, and the first of those for any more.

    Raises
    ------
    UnblurError
        No such model or device. What concerns one source is in the report.
    """
    listener = listener or Silent()
    pipeline = load(model, device, dtype)
    report = RunReport("data precompute", "estimated")
    files: list[Path] = []
    for source in sources:
        try:
            files += _metadata_of(Path(source))
        except UnblurError as error:
            report.errors.append(error)
            listener.failed(error)
    report.metadata = {"model": pipeline.as_dict(), "limit": limit}
    work = lambda job: _precomputed(job, pipeline, limit, listener)  # noqa: E731
    jobs = [Job(file, file.parent) for file in files]
    run(jobs, work, report, on_begin=listener.begin, on_done=listener.done, on_error=listener.failed)
    report.suffix = f"with {pipeline}"
    return report


def _precomputed(job: Job, pipeline: Pipeline, limit: int | None, listener: Listener) -> Outcome:
    metadata = open_metadata(job.source)
    assert metadata is not None
    _check_apart(metadata, pipeline.name)
    times = frame_times(metadata.frame_count)
    pipeline.check_times(times.tolist(), "model", pipeline.name)
    chosen = random.Random(len(metadata.entries)).sample(range(len(metadata.entries)), len(metadata.entries))[:limit]
    missing = [index for index in chosen if not has_estimates(metadata, metadata.entries[index], pipeline.name)]
    is_noted, warning = _weights_noted(metadata, pipeline)
    for number, index in enumerate(missing):
        listener.progress("estimating", number, len(missing))
        entry = metadata.entries[index]
        blurry = torch.tensor(read_pixels(metadata.root / entry.blurry)).permute(2, 0, 1)[None].float() / 255
        frames = pipeline.frames(blurry.to(pipeline.runner.device), times)[0].cpu()
        if not is_noted:
            note_weights(metadata, pipeline.name, pipeline.weights)
            is_noted = True
        for path, frame in zip(estimate_paths(metadata, entry, pipeline.name), frames, strict=True):
            write_image(path, Picture(frame))
    message = f"{len(missing)} of {len(metadata.entries)} exposures" if missing else f"{len(chosen)} there already"
    details: dict[str, object] = {
        "made": len(missing),
        "there": len(chosen) - len(missing),
        "exposures": len(metadata.entries),
        "warning": warning,
    }
    return Outcome(job, message, details)


def _check_apart(metadata: Metadata, model: str) -> None:
    """Refuse blurry pictures that would have their estimates in one place."""
    known: dict[Path, str] = {}
    for entry in metadata.entries:
        other = known.setdefault(estimate_paths(metadata, entry, model)[0], entry.blurry)
        if other != entry.blurry:
            problem = f"has estimates in the same place as {other}, which has another suffix"
            raise UnblurError(metadata.root / entry.blurry, problem, "rename one of the two, and correct the metadata")


def _weights_noted(metadata: Metadata, pipeline: Pipeline) -> tuple[bool, str | None]:
    """Whether the note of the weights is complete, and a warning where estimates have none or an old one.

    Raises
    ------
    UnblurError
        The estimates that are there are by other weights, or by another version of the method.
    """
    note = read_note(metadata, pipeline.name)
    if note is not None:
        check_weights(metadata, pipeline.name, note, pipeline.weights)
    missing, folder = unknown_in(note), estimates_folder(metadata, pipeline.name)
    if missing is None:
        return True, None
    if next(folder.rglob("*.png"), None) is None:
        return False, None
    # The note stays as it is: some of the estimates may come from other weights.
    return (
        True,
        f"holds estimates by {pipeline.name} of unknown {missing}; remove {folder} to make them again",
    )


def _metadata_of(source: Path) -> list[Path]:
    """The metadata that a name stands for."""
    found = find_metadata(source)
    if found is not None:
        return [found]
    below = sorted(source.glob(f"*/{NAME}")) if is_folder(source) else []
    if not below:
        raise UnblurError(source, f"holds no {NAME}", "name the folder that unblur data fmr or data metadata made")
    return below
