"""A training, built from its recipe: network, losses, data, trainer."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn

from unblur.data.augmentation import NO_CHANGE
from unblur.data.exposure_metadata import Metadata, open_metadata
from unblur.data.initial_estimates import check_weights, read_note, unknown_in
from unblur.data.pairs import ExposurePairs, PairBatches, Pairs, open_pairs, val_batches
from unblur.data.sequences import (
    ClipSequences,
    MetadataSequences,
    SequenceBatches,
    Sequences,
    val_sequences,
)
from unblur.data.stills import Still, load_stills
from unblur.data.synthetic_batches import SyntheticExposures, SyntheticFields
from unblur.errors import UnblurError
from unblur.media.folder import find_clips
from unblur.models.registry import NETWORKS, SHIPPED, network_class
from unblur.networks.cfmd_critic import CFMDCritic
from unblur.training.base import System
from unblur.training.blur_space_training import BlurSpaceSystem
from unblur.training.checkpoint import LAST, Keeper
from unblur.training.code_statistics import fit_prior
from unblur.training.datamodule import ExposureData, Mixture, Source
from unblur.training.ema import MovingAverage
from unblur.training.export_weights import export_weights, init_motion_from, start_from
from unblur.training.film_training import FilmTraining
from unblur.training.frames_training import Frames
from unblur.training.gan_training import GanTraining, no_half
from unblur.training.metrics_log import Journal
from unblur.training.order_training import Ordering
from unblur.training.recipe import is_blur_space, is_film, is_frames, is_order
from unblur.training.schema import PairSet, SequenceSet
from unblur.training.val_exposures import val_exposures

PRIOR_BATCHES = 16
log = logging.getLogger(__name__)


class Trained(NamedTuple):
    """What a training came to.

    Attributes
    ----------
    trainer : Trainer
        Lightning's.
    folder : Path
        Of the run.
    steps : int
        That were done in all.
    weights : tuple of Path
        Files that were written.
    score : dict of str to float
        Of the last validation.
    """

    trainer: Trainer
    folder: Path
    steps: int
    weights: tuple[Path, ...]
    score: dict[str, float]


def train(recipe: Namespace) -> Trained:
    """Train what `recipe` (see `recipe.read_recipe`) says.

    Raises
    ------
    UnblurError
        Missing data, weights that do not fit, a folder that already holds a run, a loss that is not a number.
    """
    folder = Path(recipe.out)
    resume = _checkpoint(recipe.resume, folder)
    torch.manual_seed(recipe.seed)
    network = _network(recipe)
    if recipe.weights:
        start_from(network, recipe.weights, strict=recipe.strict_weights)
    if recipe.init_motion_from:
        init_motion_from(network, recipe.init_motion_from)
    blurs = is_blur_space(recipe.network.name)
    module = _system(recipe, network)
    data = _data(recipe, blurs)
    trainer = make_trainer(recipe, folder)
    journal = next(each for each in trainer.callbacks if isinstance(each, Journal))  # type: ignore[attr-defined]
    folder.mkdir(parents=True, exist_ok=True)
    if trainer.is_global_zero:
        (folder / "recipe.yaml").write_text(recipe.record, encoding="utf-8")
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    weights = tuple(sorted(folder.glob("*.safetensors")))
    return Trained(trainer, folder, trainer.global_step, weights, journal.score)


def _system(recipe: Namespace, network: Any) -> System:
    name, loss, how = recipe.network.name, recipe.loss, (recipe.optimizer, recipe.schedule)
    options = {"seed": recipe.seed, "compile": recipe.compile, "channels_last": recipe.channels_last}
    if _is_judged(recipe):
        no_half(recipe.trainer.precision)
        return GanTraining(
            *(network, _critic(recipe), loss, *how),
            adversarial=recipe.adversarial,
            critic_optimizer=recipe.critic.optimizer,
            critic_schedule=recipe.critic.schedule,
            clip=recipe.trainer.gradient_clip_val,
            accumulate=recipe.trainer.accumulate_grad_batches,
            **options,
        )
    if is_blur_space(name):
        return BlurSpaceSystem(network, loss, *how, **options)
    if is_order(name):
        return Ordering(network, loss, *how, **options)
    return Frames(network, loss, *how, **options) if is_frames(name) else FilmTraining(network, loss, *how, **options)


def _is_judged(recipe: Namespace) -> bool:
    """Whether the network is trained against a critic."""
    return is_film(recipe.network.name) and recipe.adversarial.weight > 0


def _critic(recipe: Namespace) -> CFMDCritic:
    try:
        critic = CFMDCritic(**vars(recipe.critic.arguments))
    except (TypeError, ValueError) as error:
        raise UnblurError("critic.arguments", f"are refused ({error})", "correct the recipe") from error
    if recipe.critic.weights:
        start_from(critic, recipe.critic.weights)
    return critic


def _network(recipe: Namespace) -> nn.Module:
    try:
        network: nn.Module = network_class(recipe.network.name)(**vars(recipe.network.arguments))
    except (TypeError, ValueError) as error:
        name = recipe.network.name
        raise UnblurError("network.arguments", f"{name} refuses them ({error})", "correct the recipe") from error
    return network


def make_trainer(recipe: Namespace, folder: Path) -> Trainer:
    """Lightning's trainer with the journal, the moving average and the keeper."""
    average = MovingAverage(recipe.ema) if recipe.ema else None
    journal = Journal(folder, recipe.log_every)

    def save_weights(module: LightningModule, steps: int, name: str) -> None:
        network: Any = module.network
        if network.kind == "blur_space" and network.has_paths:
            fit_prior(network, _fields(recipe, network.degree), PRIOR_BATCHES)
        export_weights(folder / f"{name}.safetensors", network, recipe, steps, journal.score, _protocol(recipe))
        if _is_judged(recipe) and name == LAST:
            critic: Any = module.critic
            export_weights(folder / "critic.safetensors", critic, recipe, steps)

    if recipe.best and not recipe.data.val_count:
        raise UnblurError("best", "needs a validation, and data.val_count is 0", "set it above 0, or leave best out")
    keeper = Keeper(
        *(folder, save_weights, average),
        every=recipe.save_minutes,
        budget=recipe.max_minutes,
        numbered_every=recipe.numbered_every,
        best=recipe.best,
        score=lambda: journal.score,
    )
    callbacks: list[Callback] = [journal, keeper]
    machine = vars(recipe.trainer)
    if _is_judged(recipe):
        # Where there are two optimizers, these are the system's affair.
        machine = machine | {"accumulate_grad_batches": 1, "gradient_clip_val": None, "strategy": _in_turns(machine)}
    return Trainer(
        **machine,
        callbacks=[average, *callbacks] if average else callbacks,
        max_epochs=-1,
        val_check_interval=recipe.validate_every * recipe.trainer.accumulate_grad_batches,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if recipe.data.val_count else 0,
        logger=_logger(recipe.logger, folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def _logger(kind: str, folder: Path) -> Logger | bool:
    """Lightning's logger, writing into the run's folder; False for none."""
    if kind == "csv":
        return CSVLogger(folder, name="", version=kind)
    if kind == "tensorboard":
        try:
            return TensorBoardLogger(folder, name="", version=kind)
        except ModuleNotFoundError as error:
            raise UnblurError("logger tensorboard", "is not installed", "needs pip install tensorboard") from error
    return False


def _in_turns(machine: dict[str, Any]) -> str:
    """Lightning's strategy; that of several devices must bear steps that are not of all weights."""
    strategy, devices = machine["strategy"], machine["devices"]
    if devices in ("auto", -1, "-1"):
        devices = 1 if machine["accelerator"] == "cpu" else torch.cuda.device_count()
    several = devices > 1 if isinstance(devices, int) else "," in devices
    several = several or machine["num_nodes"] > 1
    return "ddp_find_unused_parameters_true" if several and strategy in ("auto", "ddp") else strategy


def _data(recipe: Namespace, blurs: bool) -> ExposureData:
    """What the recipe's network learns from, and what it is measured on: exposures of stills or clips, or pairs."""
    options = {"prefetch": recipe.data.prefetch, "echo": recipe.data.echo, "pool": recipe.data.pool}
    options["accumulate"] = recipe.trainer.accumulate_grad_batches
    if not blurs:
        _check_estimates(recipe)
    if not blurs and recipe.sequences.train:
        return ExposureData(_sequences(recipe), _heldout_of_sequences(recipe), **options)
    if not blurs:
        return ExposureData(_exposures(recipe), _heldout(recipe), **options)
    if recipe.loss.learn == "fields":
        source: Source = _fields(recipe, recipe.network.arguments.degree)
    else:
        source = _pairs(recipe)
    return ExposureData(source, _heldout_pairs(recipe), **options)


def _fields(recipe: Namespace, degree: int) -> SyntheticFields:
    return SyntheticFields(degree=degree, **vars(recipe.fields), seed=recipe.seed)


def _exposures(recipe: Namespace) -> SyntheticExposures:
    shared, count = recipe.exposures.shared_motion, recipe.exposures.batch_size
    if shared < 1 or count % shared:
        raise UnblurError(
            f"exposures.shared_motion {shared}", f"is no divisor of exposures.batch_size {count}", "choose another"
        )
    found = _stills(recipe, recipe.data.train)
    train = [still for still in found if not any(x in still.source for x in recipe.data.exclude)]
    if not train:
        raise UnblurError("data.exclude", "leaves no still to train on", "exclude less")
    if _on_grid(recipe.network.name) and not recipe.exposures.grid:
        raise UnblurError("exposures.grid", "false, but this network wants frames at fixed times", "set it to true")
    return SyntheticExposures(train, **vars(recipe.exposures), seed=recipe.seed)


def _heldout(recipe: Namespace, count: int | None = None) -> list[dict[str, Tensor]]:
    count = recipe.data.val_count if count is None else count
    if not count:
        return []
    stills = _stills(recipe, recipe.data.val)
    frames = recipe.exposures.times if _on_grid(recipe.network.name) else 3
    return val_exposures(stills, count=count, size=recipe.data.val_size, frames=frames)


def _on_grid(network: str) -> bool:
    return is_frames(network) or is_order(network)


def _stills(recipe: Namespace, root: str) -> list[Still]:
    cache = Path(recipe.data.cache) if recipe.data.cache else None
    if not Path(root).is_dir():
        raise UnblurError(root, "no such folder", "set data.train and data.val to folders with photos and clips")
    return load_stills(Path(root), frames_per_clip=recipe.data.frames_per_clip, cache=cache)


def _pairs(recipe: Namespace) -> Source:
    """Crops of pairs of pictures, or exposures of stills with the frame of the middle."""
    pairs = recipe.pairs
    if not pairs.train:
        return ExposurePairs(_exposures(recipe))
    if recipe.loss.paths:
        raise UnblurError("loss.paths", "needs paths that are known, and pictures do not tell them", "set it to 0")
    sets = [(_opened(one), one.weight) for one in pairs.train]
    return PairBatches(
        sets, size=pairs.size, batch_size=pairs.batch_size, seed=recipe.seed, threads=recipe.pairs.threads
    )


def _heldout_pairs(recipe: Namespace) -> list[dict[str, Tensor]]:
    if recipe.data.val_count and recipe.pairs.val:
        sets = [_opened(one) for one in recipe.pairs.val]
        return val_batches(sets, count=recipe.data.val_count, size=recipe.data.val_size)
    if recipe.pairs.train:
        if recipe.data.val_count:
            remedy = "name some, or set data.val_count to 0"
            raise UnblurError("pairs.val", f"names no pairs, but data.val_count is {recipe.data.val_count}", remedy)
        return []
    return [{"sharp": one["frames"][:, 1], "blurry": one["blurry"]} for one in _heldout(recipe)]


def _sequences(recipe: Namespace) -> Source:
    """Exposures of data sets and clips."""
    wanted, loss = recipe.sequences, recipe.loss
    parted = getattr(loss, "parts", "off") != "off"
    if wanted.frames_per_sample is not None and (
        parted or not is_film(recipe.network.name) or loss.order or loss.direction != "stored"
    ):
        problem = "leaves less than whole exposures, and this training needs them"
        raise UnblurError(f"sequences.frames_per_sample {wanted.frames_per_sample}", problem, "set it to null")
    if getattr(loss, "paths", 0):
        raise UnblurError("loss.paths", "needs paths that are known, and pictures do not tell them", "set it to 0")
    clips = SequenceBatches(
        [(_opened_sequences(one, recipe, wanted.size), one.weight) for one in wanted.train],
        size=wanted.size,
        batch_size=wanted.batch_size,
        seed=recipe.seed,
        threads=wanted.threads,
        augmentation=recipe.augmentation if wanted.augment else NO_CHANGE,
        middle_first=parted,
        frames_per_sample=wanted.frames_per_sample,
    )
    if not wanted.synthetic:
        return clips
    return Mixture([(clips, 1 - wanted.synthetic), (_exposures(recipe), wanted.synthetic)], recipe.seed)


def _check_estimates(recipe: Namespace) -> None:
    """Refuse a network that sees estimates where some exposures have none, and estimates that nobody sees."""
    wanted = recipe.sequences
    stills = wanted.synthetic > 0 or not wanted.train
    named = {one.estimates is not None for one in [*wanted.train, *wanted.val]} | ({False} if stills else set())
    sees = NETWORKS[recipe.network.name].kind == "refiner"
    if named != {sees}:
        problem = (
            "is a refiner, and some exposures have no estimates" if sees else "sees no estimates, but some are named"
        )
        remedy = "name estimates for every set, and set sequences.synthetic to 0; or for none"
        raise UnblurError(f"network.name {recipe.network.name}", problem, remedy)


def _heldout_of_sequences(recipe: Namespace) -> list[dict[str, Tensor]]:
    if not recipe.data.val_count:
        return []
    if not recipe.sequences.val:
        remedy = "name some, or set data.val_count to 0"
        raise UnblurError("sequences.val", f"names none, but data.val_count is {recipe.data.val_count}", remedy)
    count, size = recipe.data.val_count, recipe.data.val_size
    made = round(count * recipe.sequences.synthetic)
    sets = [_opened_sequences(one, recipe, size) for one in recipe.sequences.val]
    found = val_sequences(sets, count=count - made, size=size)
    return found + (_heldout(recipe, made) if made else [])


def _opened_sequences(one: SequenceSet, recipe: Namespace, size: int) -> Sequences:
    metadata, frames = open_metadata(one.path, one.root), one.frames or recipe.sequences.frames
    if metadata is not None:
        part = metadata.of_split(one.split)
        if one.direction == "estimates":
            part = replace(part, entries=tuple(replace(entry, order="ignore") for entry in part.entries))
        sequences = MetadataSequences(part, frames, recipe.seed, one.estimates)
        if one.estimates is not None:
            _check_weights(part, one.estimates)
        return sequences
    if one.estimates is not None:
        remedy = "make exposures of it, with unblur data fmr or data metadata"
        raise UnblurError(one.path, "is no metadata, and clips have no estimates", remedy)
    clips, errors = find_clips([one.path])
    if errors:
        raise errors[0]
    cache = Path(recipe.data.cache) if recipe.data.cache else None
    return ClipSequences(clips, frames, size, windows_per_clip=recipe.sequences.windows_per_clip, cache=cache)


def _check_weights(metadata: Metadata, model: str) -> None:
    """Refuse estimates by others than the models that ship, made as they are now: behind those the network will run."""
    note = read_note(metadata, model)
    if missing := unknown_in(note):
        log.warning("%s: its estimates by %s do not say by which %s", metadata.name, model, missing)
    if note is not None:
        shipped = {name: SHIPPED[name].sha256 for name in note.weights if name in SHIPPED}
        check_weights(metadata, model, note, shipped)


def _opened(one: PairSet) -> Pairs:
    return open_pairs(one.path, layout=one.layout, split=one.split, exclude=one.exclude)


def _protocol(recipe: Namespace) -> str:
    """What the numbers of the journal are measured on, for the card."""
    if is_blur_space(recipe.network.name):
        if recipe.pairs.val:
            return f"{recipe.data.val_count} validation pairs, {recipe.data.val_size} pixels a side"
        return f"{recipe.data.val_count} validation synthetic pairs, medium blur"
    if recipe.sequences.train:
        return f"{recipe.data.val_count} validation exposures, {recipe.data.val_size} pixels a side"
    return f"{recipe.data.val_count} validation synthetic exposures, medium blur"


def _checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint to go on from; refuses to write over another run."""
    own = folder / "last.ckpt"
    if resume == "auto":
        return own if own.exists() else None
    if resume is None:
        if own.exists():
            raise UnblurError(folder, "already holds a run", "pass `resume=auto` to go on, or another `out`")
        return None
    if not Path(resume).exists():
        raise UnblurError(resume, "no such checkpoint", "name a last.ckpt, or auto")
    return Path(resume)
