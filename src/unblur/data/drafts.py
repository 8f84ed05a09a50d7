"""Drafts: the frames that a film model made of exposures, for networks that correct them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from unblur.data.metadata import Entry, Metadata
from unblur.errors import UnblurError

FOLDER = "drafts"


def draft_paths(metadata: Metadata, entry: Entry, model: str) -> tuple[Path, ...]:
    """Where the drafts of an exposure are: ROOT/drafts/MODEL/path/of/the/blurry/picture/00.png, 01.png, ...

    Raises
    ------
    UnblurError
        A model is called what no folder can be called, or what leads out of this one.
    """
    if model in ("", "..") or PurePosixPath(model).name != model or "\\" in model or not model.isprintable():
        remedy = "give the model a name without slashes, in its card"
        raise UnblurError(f"drafts by {model!r}", "cannot be kept in a folder of that name", remedy)
    blurry = PurePosixPath(entry.blurry)
    folder = metadata.root / FOLDER / model / blurry.parent / blurry.stem
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
