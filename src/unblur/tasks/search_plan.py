"""What a user chooses of a search, checked and loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from os import PathLike
from typing import Any, cast, get_args, get_type_hints

import torch
from torch import nn

from unblur.errors import UnblurError
from unblur.losses.perceptual import Backbone
from unblur.models.backbones import load_backbone
from unblur.models.registry import choose_from
from unblur.pipeline.blur_transfer import BlurSpace, load_blur_space
from unblur.pipeline.search_options import DATA, SearchOptions

PRESETS = ("default", "released")
REMEDY = "see docs/search.md"


@dataclass(frozen=True)
class SearchPlan:
    """What a user chooses of a search.

    Attributes
    ----------
    space : str, path, Module or BlurSpace, optional
        A blur space, "blur-space-small" if left out.
    preset : {"default", "released"}
        See `unblur.pipeline.search_options.SearchOptions`.
    steps : int, optional
        In place of the preset's.
    seconds : float, optional
        For each picture, without what the network's answer takes.
    seed : int
        Of deep priors.
    start : str, optional
        Where the code begins: "network" (read from the network's answer and the photo), "identity" (no blur), "mean"
        (of all codes), or a file that ``unblur reblur --save-code`` wrote. "mean" for the released preset, which began
        at an arbitrary code, else "network".
    backbone : str, path or Backbone, optional
        For the perceptual term: a file with the weights of a VGG-19 or an AlexNet; see `unblur.models.backbones`.
    changes : mapping of str to str
        Fields of `SearchOptions` by name, as text.
    """

    space: str | PathLike[str] | nn.Module | BlurSpace | None = None
    preset: str = "default"
    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    start: str | None = None
    backbone: str | PathLike[str] | Backbone | None = None
    changes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Iterable[str], **chosen: Any) -> SearchPlan:
        """From texts KEY=VALUE: fields of `SearchOptions`, and ``backbone=FILE``.

        Raises
        ------
        UnblurError
            One is no such text.
        """
        changes = {}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals or not value:
                raise UnblurError(f"--set {setting}", "is not KEY=VALUE", "use for instance --set sparsity=0.001")
            changes[name.strip()] = value.strip()
        return cls(**chosen, backbone=changes.pop("backbone", None), changes=changes)

    def options(self) -> SearchOptions:
        """The preset, changed as was asked for.

        Raises
        ------
        UnblurError
            There is no such preset or field, or a value is none for it.
        """
        if self.preset not in PRESETS:
            raise UnblurError(f"--preset {self.preset}", "no such preset", choose_from(PRESETS, self.preset))
        if self.seconds is not None and not self.seconds > 0:
            raise UnblurError(f"--seconds {self.seconds}", "no time to search in", "use more than 0")
        if not 0 <= self.seed < 2**63:
            raise UnblurError(f"--seed {self.seed}", "not a seed", f"use 0 to {2**63 - 1}")
        options = SearchOptions.released() if self.preset == "released" else SearchOptions()
        if self.begins != "network" and options.code == "encoder":
            # A code that was asked for is not read again from the picture.
            options = replace(options, code="free")
        changes = {name: _parsed(name, value) for name, value in self.changes.items()}
        if self.steps is not None:
            if self.steps < 1:
                raise UnblurError(f"--steps {self.steps}", "not a number of steps", "use 1 or more")
            changes["steps"] = self.steps
        try:
            options = replace(options, **changes)
        except ValueError as error:
            raise UnblurError("--set", str(error), REMEDY) from None
        if not any(any(getattr(options, name)) for name in DATA):
            raise UnblurError("--set", "leaves nothing that is asked of the photo", f"set one of {', '.join(DATA)}")
        return options

    @property
    def begins(self) -> str:
        """`start`, or what the preset begins with."""
        return self.start or ("mean" if self.preset == "released" else "network")

    @property
    def name(self) -> str:
        """Of the space, once it is loaded."""
        return cast(BlurSpace, self.space).name

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report, once it is loaded."""
        space = cast(BlurSpace, self.space)
        about = {"space": space.as_dict(), "preset": self.preset, "start": self.begins, "seed": self.seed}
        return {**about, "seconds": self.seconds, "options": asdict(self.options())}

    def ready(self, device: str | torch.device = "auto") -> SearchPlan:
        """The same with everything checked and loaded, to use on many pictures."""
        self.options()
        backbone = self.backbone
        if backbone is not None and not isinstance(backbone, Backbone):
            backbone = load_backbone(backbone)
        space = load_blur_space(self.space, device)
        return replace(self, space=space, backbone=None if backbone is None else backbone.to(space.device))


def _parsed(name: str, text: str) -> Any:
    """A value for a field of `SearchOptions`."""
    names = [each.name for each in fields(SearchOptions)]
    if name not in names:
        raise UnblurError(f"--set {name}={text}", "there is no such setting", choose_from(names, name))
    kind = get_type_hints(SearchOptions)[name]
    try:
        value = _as(kind, text)
    except ValueError as error:
        raise UnblurError(f"--set {name}={text}", f"is not {error}", REMEDY) from None
    return value


def _as(kind: Any, text: str) -> Any:
    choices = get_args(kind)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if choices and all(isinstance(choice, str) for choice in choices):
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text
    if choices:
        return tuple(_number(choices[0], part) for part in text.split(","))
    return _number(kind, text)


def _number(kind: type[int] | type[float], text: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("a number from 0 on")
    return value
