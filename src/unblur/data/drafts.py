"""Drafts: the frames that a film model made of exposures, for networks that correct them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from unblur.data.metadata import Entry, Metadata
from unblur.errors import UnblurError
from unblur.media.atomic import atomic_path

FOLDER = "drafts"
WEIGHTS = "weights.json"
"""In the folder of a model: the sum of the weights of each network that took part."""


def drafts_folder(metadata: Metadata, model: str) -> Path:
    """Where all drafts by a model are: ROOT/drafts/MODEL.

    Raises
    ------
    UnblurError
        A model is called what no folder can be called, or what leads out of this one.
    """
    if model in ("", "..") or PurePosixPath(model).name != model or "\\" in model or not model.isprintable():
        remedy = "give the model a name without slashes, in its card"
        raise UnblurError(f"drafts by {model!r}", "cannot be kept in a folder of that name", remedy)
    return metadata.root / FOLDER / model


def draft_paths(metadata: Metadata, entry: Entry, model: str) -> tuple[Path, ...]:
    """Where the drafts of an exposure are: ROOT/drafts/MODEL/path/of/the/blurry/picture/00.png, 01.png, ..."""
    blurry = PurePosixPath(entry.blurry)
    folder = drafts_folder(metadata, model) / blurry.parent / blurry.stem
    return tuple(folder / f"{number:02d}.png" for number in range(metadata.frame_count))


def has_drafts(metadata: Metadata, entry: Entry, model: str) -> bool:
    """Whether all of them are there; the last one is written last."""
    return draft_paths(metadata, entry, model)[-1].is_file()


def drafted(metadata: Metadata, model: str) -> Metadata:
    """Those exposures that have drafts.

    Raises
    ------
    UnblurError
        None has any.
    """
    chosen = tuple(entry for entry in metadata.entries if has_drafts(metadata, entry, model))
    if not chosen:
        remedy = f"make them with unblur data drafts {metadata.root} --model {model}"
        raise UnblurError(metadata.root, f"holds no drafts by {model}", remedy)
    return replace(metadata, entries=chosen)


def weights_of(metadata: Metadata, model: str) -> dict[str, str] | None:
    """The sum of the weights of each network that made the drafts by a model; None where that was not noted.

    Raises
    ------
    UnblurError
        The note cannot be read.
    """
    path = drafts_folder(metadata, model) / WEIGHTS
    if not path.is_file():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        raise UnblurError(
            path, "does not say which weights made these drafts", "remove the folder, and make them again"
        )
    return known


def check_weights(metadata: Metadata, model: str, known: Mapping[str, str], weights: Mapping[str, str]) -> None:
    """Refuse drafts whose weights, as far as they are `known`, are not `weights`.

    Raises
    ------
    UnblurError
        Naming the first network that has changed.
    """
    for name, value in weights.items():
        if known.get(name) != value:
            problem = f"holds drafts by other weights of {name}"
            raise UnblurError(drafts_folder(metadata, model), problem, "remove the folder, and make them again")


def note_weights(metadata: Metadata, model: str, weights: Mapping[str, str]) -> None:
    """Note which weights make the drafts by a model; see `weights_of`."""
    with atomic_path(drafts_folder(metadata, model) / WEIGHTS) as temporary:
        temporary.write_text(json.dumps(dict(weights), indent=1, sort_keys=True) + "\n", encoding="utf-8")
