"""Initial estimates: the films of a model, stored beside the exposures, for refiners that learn to improve them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from unblur._version import PIPELINE_VERSION
from unblur.data.exposure_metadata import Entry, Metadata
from unblur.errors import UnblurError
from unblur.media.atomic import atomic_path

FOLDER = "estimates"
WEIGHTS = "weights.json"
"""In the folder of a model; see `Note`."""


def estimates_folder(metadata: Metadata, model: str) -> Path:
    """Where all estimates by a model are: ROOT/estimates/MODEL.

    Raises
    ------
    UnblurError
        A model is called what no folder can be called, or what leads out of this one.
    """
    if model in ("", "..") or PurePosixPath(model).name != model or "\\" in model or not model.isprintable():
        remedy = "give the model a name without slashes, in its card"
        raise UnblurError(f"estimates by {model!r}", "cannot be kept in a folder of that name", remedy)
    return metadata.root / FOLDER / model


def estimate_paths(metadata: Metadata, entry: Entry, model: str) -> tuple[Path, ...]:
    """Where the estimates of an exposure are: ROOT/estimates/MODEL/path/of/the/blurry/picture/00.png, 01.png, ..."""
    blurry = PurePosixPath(entry.blurry)
    folder = estimates_folder(metadata, model) / blurry.parent / blurry.stem
    return tuple(folder / f"{number:02d}.png" for number in range(metadata.frame_count))


def has_estimates(metadata: Metadata, entry: Entry, model: str) -> bool:
    """Whether all of them are there; the last one is written last."""
    return estimate_paths(metadata, entry, model)[-1].is_file()


def estimated(metadata: Metadata, model: str) -> Metadata:
    """Those exposures that have estimates.

    Raises
    ------
    UnblurError
        None has any.
    """
    chosen = tuple(entry for entry in metadata.entries if has_estimates(metadata, entry, model))
    if not chosen:
        remedy = f"make them with unblur data precompute {metadata.root} `model={model}`"
        raise UnblurError(metadata.root, f"holds no estimates by {model}", remedy)
    return replace(metadata, entries=chosen)


@dataclass(frozen=True)
class Note:
    """Which weights and which version of the method the estimates of a model come from.

    Attributes
    ----------
    weights : mapping of str to str
        The sum of the weights of each network that took part.
    method : int or None
        As `unblur._version.PIPELINE_VERSION` was; None for estimates of before there was one.
    """

    weights: Mapping[str, str]
    method: int | None = PIPELINE_VERSION


def read_note(metadata: Metadata, model: str) -> Note | None:
    """The note on the estimates of a model; None if there is none.

    Raises
    ------
    UnblurError
        The note cannot be read.
    """
    path = estimates_folder(metadata, model) / WEIGHTS
    if not path.is_file():
        return None
    try:
        return _read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        problem = "does not say which weights these estimates come from"
        raise UnblurError(path, problem, "remove the folder, and make them again") from error


def _read(known: object) -> Note:
    """Of a note as it is now, or as it was: the weights alone."""
    if isinstance(known, dict) and isinstance(known.get("weights"), dict):
        weights, method = known["weights"], known.get("method")
    else:
        weights, method = known, None
    if not isinstance(weights, dict) or not all(isinstance(value, str) for value in weights.values()):
        raise ValueError("no sums")
    if method is not None and type(method) is not int:
        raise ValueError("no version")
    return Note(weights, method)


def unknown_in(note: Note | None) -> str | None:
    """What a note does not tell, if anything: the weights, or the version of the method."""
    if note is None:
        return "weights"
    return "version of the method" if note.method is None else None


def check_weights(metadata: Metadata, model: str, note: Note, weights: Mapping[str, str]) -> None:
    """Refuse estimates of other weights, as far as the note tells, or of another version of the method.

    Raises
    ------
    UnblurError
        Naming the first that has changed.
    """
    changed = [f"other weights of {name}" for name, value in weights.items() if note.weights.get(name) != value]
    if note.method not in (None, PIPELINE_VERSION):
        changed.append("another version of the method")
    if changed:
        problem = f"holds estimates by {changed[0]}"
        raise UnblurError(estimates_folder(metadata, model), problem, "remove the folder, and make them again")


def note_weights(metadata: Metadata, model: str, weights: Mapping[str, str]) -> None:
    """Note which weights make the estimates by a model, by the method of now; see `read_note`."""
    note = {"method": PIPELINE_VERSION, "weights": dict(weights)}
    with atomic_path(estimates_folder(metadata, model) / WEIGHTS) as temporary:
        temporary.write_text(json.dumps(note, indent=1, sort_keys=True) + "\n", encoding="utf-8")
