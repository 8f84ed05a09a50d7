"""The sections of a recipe that say how to run, on what data and on which machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from unblur.data.exposure_metadata import Split
from unblur.data.layouts import LayoutName, PairSplit


@dataclass(frozen=True)
class Run:
    """What a run is called, what it keeps, and where.

    Attributes
    ----------
    name, summary, sources, licence : str
        For the card of the weights; `sources` tells what they were trained on.
    out : str
        The run's folder.
    seed : int
        Of weights and data.
    ema : float
        Decay of the moving average of the weights; 0 for none.
    compile, channels_last
        See `film.Film`.
    log_every, validate_every : int
        Steps.
    logger : {"none", "csv", "tensorboard"}
        What is written besides ``journal.jsonl``, from the same lines: ``csv/metrics.csv``, or what TensorBoard reads,
        which must be installed.
    save_minutes : float
        Minutes between two saves of ``last.ckpt`` and ``last.safetensors``.
    numbered_every : int
        Steps between two files of weights that stay, ``step-0001000.safetensors``; 0 for none.
    best : list of str
        Metrics of the validation, such as ``psnr``, ``psnr@0.5`` or ``lpips``: the weights that did best in each are
        kept in ``best-METRIC.safetensors``.
    max_minutes : float, optional
        Minutes after which the training saves and ends.
    weights : str, optional
        Weights to start from.
    init_motion_from : str, optional
        Weights of a film network whose spectral motion network a `PathBlurSpace` begins with.
    strict_weights : bool
        Refuse weights that the network has not, or in another shape; else they are left out, and told of.
    resume : str, optional
        Checkpoint to go on from; "auto" takes the run's own if it has one.
    """

    name: str = "film"
    summary: str = ""
    sources: str = ""
    licence: str = ""
    out: str = "runs/film"
    seed: int = 0
    ema: float = 0.999
    compile: Literal["off", "default", "max-autotune"] = "off"
    channels_last: bool = False
    log_every: int = 50
    validate_every: int = 1000
    logger: Literal["none", "csv", "tensorboard"] = "none"
    save_minutes: float = 10.0
    numbered_every: int = 0
    best: list[str] = field(default_factory=list)
    max_minutes: float | None = None
    weights: str | None = None
    init_motion_from: str | None = None
    strict_weights: bool = True
    resume: str | None = None


@dataclass(frozen=True)
class Data:
    """Where the stills are. `val_count` exposures of `val` are measured; `cache` keeps the stills found in clips.

    Attributes
    ----------
    train, val : str
        Folders with photos and clips.
    exclude : list of str
        Stills whose source (see `data.stills.Still`) contains one of these are left alone.
    cache : str, optional
        Folder.
    frames_per_clip : int
        Stills taken from each clip.
    val_count : int
        Exposures to validate on; 0 for no validation.
    val_size : int
        Their height and width.
    prefetch : bool
        Render the next batch while the network trains on this one.
    echo, pool : int
        Train on each batch `echo` times, `pool` batches apart; see `data.ExposureData`.
    """

    train: str = "data/train"
    val: str = "data/val"
    exclude: list[str] = field(default_factory=list)
    cache: str | None = None
    frames_per_clip: int = 8
    val_count: int = 24
    val_size: int = 256
    prefetch: bool = False
    echo: int = 1
    pool: int = 32


@dataclass(frozen=True)
class PairSet:
    """Pairs of sharp and blurry pictures, for blur spaces.

    Attributes
    ----------
    path : str
        A folder, an LMDB, a ``metadata.json``, or ``SHARP,BLURRY``; see `data.pairs.open_pairs`.
    weight : float
        How often each of its pairs counts, where there are several sets.
    layout, part, exclude
        See `data.pairs.open_pairs`.
    """

    path: str
    weight: float = 1.0
    layout: LayoutName = "auto"
    split: PairSplit = "train"
    exclude: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PairData:
    """Pairs to train a blur space on, in place of exposures of stills.

    Attributes
    ----------
    train, val : list of PairSet
        To train on, and to measure: ``data.val_count`` of the latter, ``data.val_size`` pixels a side. Where `train`
        is empty, exposures are made of the stills in ``data.train``.
    size, batch_size : int
        Of the crops.
    threads : int
        That read pictures.
    """

    train: list[PairSet] = field(default_factory=list)
    val: list[PairSet] = field(default_factory=list)
    size: int = 256
    batch_size: int = 16
    threads: int = 4


@dataclass(frozen=True)
class SequenceSet:
    """Exposures whose frames are known.

    Attributes
    ----------
    path : str
        A ``metadata.json``, or a folder with one; or a clip, a folder of clips, a pattern.
    weight : float
        How often each of its exposures counts, where there are several sets.
    split : {"train", "val", "test"}, optional
        Of metadata; all of it by default.
    root : str, optional
        Where the paths of metadata start; see `data.exposure_metadata.read_metadata`.
    frames : int, optional
        Of each of its exposures, as ``sequences.frames`` by default.
    estimates : str, optional
        The model whose estimates the network sees beside the blurry picture; see ``unblur data precompute``.
    direction : {"stored", "estimates"}
        Which way frames run: as the metadata say, or as the estimates do.
    """

    path: str
    weight: float = 1.0
    split: Split | None = None
    root: str | None = None
    frames: int | None = None
    estimates: str | None = None
    direction: Literal["stored", "estimates"] = "stored"

    def __post_init__(self) -> None:
        if self.direction == "estimates" and self.estimates is None:
            raise ValueError("sequences: direction estimates needs estimates")


@dataclass(frozen=True)
class SequenceData:
    """Exposures of data sets and clips to learn films from, in place of exposures of stills.

    Attributes
    ----------
    train, val : list of SequenceSet
        To train on, and to measure: ``data.val_count`` of the latter, ``data.val_size`` pixels a side. Where `train`
        is empty, exposures are made of the stills in ``data.train``.
    frames : int
        Of each exposure.
    size, batch_size : int
        Of the crops.
    threads : int
        That read pictures.
    windows_per_clip : int
        Of each clip; they are kept in memory, and in ``data.cache``.
    augment : bool
        Change pictures as ``augmentation`` says; otherwise they are only cropped.
    synthetic : float
        Share of the batches that are exposures of the stills in ``data.train`` all the same, as ``exposures`` says; of
        the pictures to measure, too. Below 1.
    frames_per_sample : int, optional
        Learn so many frames of an exposure at a time, drawn at random; all of them by default. Then sets may have
        exposures of different numbers of frames.
    """

    train: list[SequenceSet] = field(default_factory=list)
    val: list[SequenceSet] = field(default_factory=list)
    frames: int = 7
    size: int = 256
    batch_size: int = 8
    threads: int = 4
    windows_per_clip: int = 8
    augment: bool = True
    synthetic: float = 0.0
    frames_per_sample: int | None = None

    def __post_init__(self) -> None:
        if min(self.size, self.batch_size) < 1:
            raise ValueError(f"sequences.size and batch_size must be 1 or more, got {self.size} and {self.batch_size}")
        counts = {one.frames or self.frames for one in self.train}
        if self.frames_per_sample is None and len(counts) > 1:
            raise ValueError(f"sequences.train have {sorted(counts)} frames; set sequences.frames_per_sample")
        if self.frames_per_sample is not None and not 1 <= self.frames_per_sample <= min(
            counts, default=self.frames_per_sample
        ):
            raise ValueError(f"sequences.frames_per_sample is 1 to the number of frames, got {self.frames_per_sample}")
        if not 0 <= self.synthetic < 1:
            raise ValueError(f"sequences.synthetic is a share below 1, got {self.synthetic}")


@dataclass(frozen=True)
class Machine:
    """What Lightning's Trainer is asked for, by its own names."""

    max_steps: int = 100000
    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = 1.0
    deterministic: bool = False
    benchmark: bool = False
