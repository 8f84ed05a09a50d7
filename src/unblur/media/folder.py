"""Find the inputs that a user names (files, folders, patterns), and name the outputs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from unblur.errors import UnblurError
from unblur.media.atomic import atomic_folder, atomic_path

__all__ = [
    "CLIP_SUFFIXES",
    "IMAGE_SUFFIXES",
    "atomic_folder",
    "atomic_path",
    "find_clips",
    "find_images",
    "images_in",
    "is_clip",
    "is_folder",
    "output_path",
    "output_paths",
]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".dib"})
# Whether a WebP moves is decided by its content.
CLIP_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp"})

StrPath = str | os.PathLike[str]


def find_images(inputs: Sequence[StrPath]) -> tuple[list[Path], list[UnblurError]]:
    """The pictures that `inputs` name, and what is wrong with the rest.

    A file named outright is taken whatever its suffix: reading decides by content. A folder means the pictures in
    it (by suffix, not in sub-folders), a pattern (``*``, ``?``, ``[...]``, ``**`` for any depth) for those it matches.
    Hidden files are skipped unless named. Folders and patterns come in natural order (2 before 10); a file named
    twice comes once.

    Parameters
    ----------
    inputs : sequence of str or path
        Files, folders and patterns, as typed.

    Returns
    -------
    paths : list of Path
        In the order of `inputs`.
    errors : list of UnblurError
        One for each input that is missing, matches nothing, or is a folder without pictures.
    """

    def expand(folder: Path) -> list[Path]:
        return images_in(folder)

    return _find(inputs, expand, _looks_like_image, "picture")


def find_clips(inputs: Sequence[StrPath]) -> tuple[list[Path], list[UnblurError]]:
    """The clips that `inputs` name; as `find_images`.

    A folder with clips in it means those clips; a folder with pictures and no clips is itself one clip, whose frames
    are the pictures in natural order.
    """

    def expand(folder: Path) -> list[Path]:
        clips = _listed(folder, _looks_like_clip)
        return clips or ([folder] if images_in(folder) else [])

    return _find(inputs, expand, _looks_like_clip, "clip", folders_match=True)


def images_in(folder: StrPath) -> list[Path]:
    """The pictures in a folder, by suffix, without sub-folders and hidden files, in natural order.

    Raises
    ------
    UnblurError
        If the folder cannot be read.
    """
    return _listed(Path(folder), _looks_like_image)


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder; False too for a name that the system does not accept."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_clip(path: Path) -> bool:
    """Whether a file is a clip by its suffix; a WebP file by what is in it."""
    if path.suffix.lower() != ".webp":
        return path.suffix.lower() in CLIP_SUFFIXES
    from unblur.media.webp import is_animated

    try:
        with path.open("rb") as file:
            head = file.read(21)
    except OSError:
        return False
    return len(head) == 21 and is_animated(head)


def output_path(source: Path, out: StrPath, *, many: bool, suffix: str | None) -> Path:
    """The output path for one input, given what the user named as `out`.

    Parameters
    ----------
    source : Path
        The input.
    out : str or path
        A folder if it ends with ``/``, or is one, or `many`; else the output itself.
    many : bool
        Whether there are several inputs.
    suffix : str or None
        Of the output in a folder, with the dot; None keeps that of `source`, or ``.png`` where it is not a picture's.
        ``""`` names a folder of frames.

    Raises
    ------
    UnblurError
        If a folder is wanted and `out` is a file.
    """
    target = Path(out)
    if not (many or is_folder(target) or str(out).endswith(("/", os.sep))):
        return target
    if os.path.lexists(target) and not is_folder(target):
        raise UnblurError(out, "is a file, but several results need a folder", "name a folder as `out`")
    if suffix is None:
        suffix = source.suffix if source.suffix.lower() in IMAGE_SUFFIXES else ".png"
    # A folder of frames may have dots in its name; what follows is no suffix.
    stem = source.name if is_folder(source) else source.stem
    return target / f"{stem}{suffix}"


def output_paths(
    sources: Sequence[Path], out: StrPath, suffix: str | None = None, *, many: bool | None = None
) -> list[Path]:
    """`output_path` for a whole batch: no two alike, and none of them an input.

    Of inputs with the same stem the second gets ``-2`` behind its name, the third ``-3``; letters that differ only in
    case count as the same.

    Parameters
    ----------
    many : bool, optional
        Whether `out` is a folder for certain; by default if there is more than one source.

    Raises
    ------
    UnblurError
        If an output would overwrite an input, or a folder is wanted and `out` is a file.
    """
    inputs = {_identity(source) for source in sources}
    taken: set[str] = set()
    outputs = []
    for source in sources:
        first = output_path(source, out, many=len(sources) > 1 if many is None else many, suffix=suffix)
        target, number = first, 1
        while _folded(target) in taken:
            number += 1
            ending = "" if suffix == "" else first.suffix
            target = first.with_name(f"{first.name.removesuffix(ending)}-{number}{ending}")
        if _identity(target) in inputs:
            raise UnblurError(target, "would overwrite an input", "choose another folder or name for `out`")
        taken.add(_folded(target))
        outputs.append(target)
    return outputs


def _find(
    inputs: Sequence[StrPath],
    expand: Callable[[Path], list[Path]],
    wanted: Callable[[Path], bool],
    word: str,
    folders_match: bool = False,
) -> tuple[list[Path], list[UnblurError]]:
    found: dict[str, Path] = {}
    errors: list[UnblurError] = []
    for given in inputs:
        try:
            for path in _named(os.fspath(given), expand, wanted, word, folders_match):
                found.setdefault(os.path.realpath(path), path)
        except UnblurError as error:
            errors.append(error)
        except OSError as fault:
            errors.append(UnblurError(given, f"cannot be read ({fault.strerror})", "check the name"))
    return list(found.values()), errors


def _named(
    given: str, expand: Callable[[Path], list[Path]], wanted: Callable[[Path], bool], word: str, folders_match: bool
) -> list[Path]:
    """The files that one input names; never empty."""
    path = Path(given)
    if given and path.is_dir():
        files = expand(path)
        if not files:
            remedy = f"name a folder with {word}s in it, or '{path / '**' / '*'}' for its sub-folders too"
            raise UnblurError(given, f"holds no {word}", remedy)
        return files
    # A file whose name looks like a pattern is still a file.
    if given and os.path.lexists(path):
        return [path]
    if not glob.has_magic(given):
        raise UnblurError(given or "''", "does not exist", "check the name")
    # Whoever writes a suffix out means it.
    outright = re.search(r"\.\w+$", given) is not None
    files = []
    matches = glob.glob(given, recursive=True)  # noqa: PTH207, because Path.glob takes no absolute pattern
    for match in _naturally(Path(text) for text in matches):
        if not match.is_dir():
            files += [match] if outright or wanted(match) else []
        elif folders_match or given.endswith(("/", os.sep)):
            files += expand(match)
    if not files:
        raise UnblurError(given, f"matches no {word}", "check the pattern")
    return files


def _listed(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as fault:
        raise UnblurError(folder, f"cannot be read ({fault.strerror})", "check the permissions") from fault
    return _naturally(entry for entry in entries if wanted(entry))


def _looks_like_image(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()


def _looks_like_clip(path: Path) -> bool:
    return not path.name.startswith(".") and not path.is_dir() and is_clip(path)


def _naturally(paths: Iterable[Path]) -> list[Path]:
    """Sorted so that numbers in names count as numbers."""

    def key(path: Path) -> list[tuple[tuple[int, int, str], ...]]:
        return [
            tuple((0, int(piece), piece) if piece.isdecimal() else (1, 0, piece.casefold()) for piece in pieces)
            for pieces in (re.split(r"(\d+)", part) for part in path.parts)
        ]

    return sorted(paths, key=lambda path: (key(path), str(path)))


def _identity(path: Path) -> tuple[int, int] | str:
    """A key that all names of one file share, also through links; the resolved name where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _folded(path: Path) -> str:
    return os.path.realpath(path).casefold()
