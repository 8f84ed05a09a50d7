"""Recipes: YAML whose every field is typed and checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from unblur.data.augmentation import Augmentation
from unblur.data.synthetic_batches import SyntheticExposures, SyntheticFields
from unblur.errors import UnblurError
from unblur.exposure.camera import MotionSpec
from unblur.exposure.synthetic_exposure import SensorSpec
from unblur.models.registry import NETWORKS, network_class
from unblur.networks.cfmd_critic import CFMDCritic
from unblur.training.base import Optimizer
from unblur.training.blur_space_training import CodeLoss
from unblur.training.film_training import Loss
from unblur.training.frames_training import FrameLoss
from unblur.training.gan_training import AdversarialLoss
from unblur.training.order_training import OrderLoss
from unblur.training.schedule import Schedule
from unblur.training.schema import Data, Machine, PairData, PairSet, Run, SequenceData, SequenceSet


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Namespace:
    """Read and check a recipe.

    Parameters
    ----------
    path : Path
        The YAML file.
    overrides : sequence of str
        ``--dotted.key value`` or ``--dotted.key=value``; they win.

    Returns
    -------
    Namespace
        Every field with its value: the fields of `Run`, and ``network.name``, ``network.arguments``, ``data``,
        ``exposures``, ``loss``, ``optimizer``, ``schedule``, ``trainer``, of blur spaces also ``pairs`` and ``fields``,
        of others ``sequences`` and ``augmentation``, of film networks also ``adversarial`` and ``critic.arguments``,
        ``critic.weights``, ``critic.optimizer``, ``critic.schedule``; and all of it as YAML in ``record``.

    Raises
    ------
    UnblurError
        On a missing file, an unknown key (the nearest valid one is named), or a value of the wrong type.
    """
    document = _load(path)
    name = _network_name(path, document, overrides)
    parser = _parser(name)
    keys = sorted(_valid_keys(parser))
    _check_sets(document)
    given = [*_keys(document, keys), *(o[2:].split("=")[0] for o in overrides if o.startswith("--"))]
    for key in given:
        if key not in keys:
            raise UnblurError(key, "no such key in a recipe", f"the nearest is {_nearest(key, keys)}")
    try:
        # Lists are replaced, not merged: an entry of an override has no field of the entry that it replaces.
        for key in LISTS:
            if any(o.split("=")[0] == f"--{key}" for o in overrides):
                _drop(document, key)
        values = parser.parse_args(["--recipe", yaml.safe_dump(document, sort_keys=False), *overrides])
        recipe = parser.instantiate_classes(values)
    except (ArgumentError, ValueError) as error:
        raise UnblurError(path, _one_line(error), "give a value of that type") from error
    recipe.record = parser.dump(values.clone(), skip_none=False)
    return recipe


def fields_help(path: Path, overrides: Sequence[str] = ()) -> str:
    """Every field that a recipe of its network may have, with its type, default and description."""
    return _parser(_network_name(path, _load(path), overrides)).format_help()


def is_blur_space(network: str) -> bool:
    """Whether a network of this name is trained as a blur space; else as one of films."""
    return NETWORKS[network].kind == "blur_space"


def is_frames(network: str) -> bool:
    """Whether a network of this name makes a fixed number of frames, and is trained so."""
    kind: Any = network_class(network)
    return NETWORKS[network].kind == "film" and kind.is_sequence


def is_order(network: str) -> bool:
    """Whether a network of this name scores the order of frames, and is trained so."""
    return NETWORKS[network].kind == "order"


def is_film(network: str) -> bool:
    """Whether a network of this name makes films of any number of frames, and can be trained against a critic."""
    return not (is_blur_space(network) or is_frames(network) or is_order(network))


def _parser(network: str) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", action="config")
    parser.add_class_arguments(Run, instantiate=False)
    parser.add_argument("--network.name", type=str, required=True)
    parser.add_class_arguments(network_class(network), "network.arguments", instantiate=False)
    # The optional parts of the source are groups of their own, so that their keys are known by name too.
    parts = {"motion": MotionSpec, "sensor": SensorSpec}
    parser.add_class_arguments(SyntheticExposures, "exposures", skip={"stills", "seed", *parts}, instantiate=False)
    groups: dict[str, type] = {f"exposures.{name}": part for name, part in parts.items()}
    groups |= {"data": Data, "optimizer": Optimizer, "schedule": Schedule, "trainer": Machine}
    if is_blur_space(network):
        groups |= {"loss": CodeLoss, "pairs": PairData}
    else:
        groups["loss"] = FrameLoss if is_frames(network) else OrderLoss if is_order(network) else Loss
        groups |= {"sequences": SequenceData, "augmentation": Augmentation}
    if is_film(network):
        groups |= {"adversarial": AdversarialLoss, "critic.optimizer": Optimizer, "critic.schedule": Schedule}
        parser.add_class_arguments(CFMDCritic, "critic.arguments", instantiate=False)
        parser.add_argument("--critic.weights", type=str | None, default=None)
    for group, settings in groups.items():
        parser.add_class_arguments(settings, group)
    if is_blur_space(network):
        own = {"degree", "patch", "seed", "motion"}
        parser.add_class_arguments(SyntheticFields, "fields", skip=own, instantiate=False)
        parser.add_class_arguments(MotionSpec, "fields.motion")
    return parser


LISTS = ("pairs.train", "pairs.val", "sequences.train", "sequences.val")
"""Fields that are lists of sections."""


def _drop(document: dict[str, Any], key: str) -> None:
    group, name = key.split(".")
    section = document.get(group)
    if isinstance(section, dict):
        section.pop(name, None)


def _load(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UnblurError(
            path, f"cannot be read ({error.strerror})", "name a recipe, such as recipes/film-small.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnblurError(path, f"is not YAML ({error})", "compare it with the shipped recipes") from error
    if not isinstance(document, dict):
        raise UnblurError(path, "holds no keys", "compare it with the shipped recipes")
    return document


def _network_name(path: Path, document: dict[str, Any], overrides: Sequence[str]) -> str:
    """The network decides which arguments are valid, so that its name is wanted before everything else."""
    section = document.get("network")
    name = section.get("name") if isinstance(section, dict) else None
    for i, word in enumerate(overrides):
        if word.startswith("--network.name"):
            name = word.split("=", 1)[1] if "=" in word else next(iter(overrides[i + 1 :]), None)
    if name is None:
        raise UnblurError(path, "names no network", f"set network.name to one of {', '.join(NETWORKS)}")
    if name == "cfmd_critic":
        remedy = "name a film network, such as cfmd, and set adversarial.weight"
        raise UnblurError("network.name cfmd_critic", "judges the frames of another network", remedy)
    if name not in NETWORKS:
        raise UnblurError(
            f"network.name {name}", "no such network", f"the nearest is {_nearest(str(name), list(NETWORKS))}"
        )
    return str(name)


def _valid_keys(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.dest not in ("help", "recipe"):
            yield action.dest


def _check_sets(document: dict[str, Any]) -> None:
    """Name the nearest field also inside the lists of sets, of which the parser tells less."""
    for group, kind in (("pairs", PairSet), ("sequences", SequenceSet)):
        known = [one.name for one in fields(kind)]
        section = document.get(group)
        for part in ("train", "val"):
            sets = section.get(part) if isinstance(section, dict) else None
            for number, one in enumerate(sets if isinstance(sets, list) else []):
                for key in one if isinstance(one, dict) else []:
                    if key not in known:
                        where = f"{group}.{part}, number {number + 1}: {key}"
                        nearest = f"the nearest is {_nearest(str(key), known)}"
                        raise UnblurError(where, "no such key in a recipe", nearest)


def _keys(node: dict[str, Any], valid: Sequence[str], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a document, down to the valid ones: what is inside a valid key is that key's own affair."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        inside = isinstance(value, dict) and any(other.startswith(key + ".") for other in valid)
        if inside and value:
            yield from _keys(value, valid, key + ".")
        elif not inside:
            yield key


def _nearest(key: str, keys: Sequence[str]) -> str:
    """The likeliest meaning: by the whole key, or by its last part."""
    last = key.rsplit(".", 1)[-1]
    close = difflib.get_close_matches(key, keys, 1, 0.6)
    by_last = [other for other in keys if other.rsplit(".", 1)[-1] == last]
    found = by_last or close or difflib.get_close_matches(key, keys, 1, 0.0)
    return found[0]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
