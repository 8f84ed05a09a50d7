"""What there is: networks by name, and the weights inside this package."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn


class Shipped(NamedTuple):
    """A file in ``unblur/zoo/files`` and the sha256 it must have."""

    file: str
    sha256: str


NETWORKS: dict[str, tuple[str, str]] = {
    "film": ("unblur.networks.path_film", "PathFilm"),
    "moments": ("unblur.networks.cfmd", "CFMD"),
    "frame_cascade": ("unblur.networks.jin", "Jin"),
    "frame_recurrent": ("unblur.networks.purohit", "Purohit"),
    "mimo_unet": ("unblur.networks.mimo_unet", "MimoUNet"),
    "nafnet": ("unblur.networks.nafnet", "NAFNet"),
    "maxim": ("unblur.networks.maxim", "Maxim"),
    "path_space": ("unblur.networks.path_blur_space", "PathBlurSpace"),
    "blur_space": ("unblur.networks.blur_kernel_space", "BlurKernelSpace"),
    "image_prior": ("unblur.networks.deep_image_prior", "DeepImagePrior"),
    "code_prior": ("unblur.networks.deep_image_prior", "DeepCodePrior"),
    "order_net": ("unblur.networks.hypercut", "HyperCUT"),
    "moment_critic": ("unblur.networks.cfmd_critic", "CFMDCritic"),
}

SHIPPED: dict[str, Shipped] = {
    "film-small": Shipped("film-small.safetensors", "f3e03c269d55bd216ea7510d7ebb29fa721ca6b1726911631e8823654e81078f"),
    "blur-space-small": Shipped(
        "blur-space-small.safetensors", "6907acf69e4a3c778236f33f9d58e10ebbe36336fe146403d46478df27554678"
    ),
    "order-small": Shipped(
        "order-small.safetensors", "247e485f84728bcd5a9fea57d1944e755f30be1222d8b58dc9014878fce2001e"
    ),
    "cfmd-face-small": Shipped(
        "cfmd-face-small.safetensors", "24ff6e30bc6a518c694911dbc47cf6253570b5a8dfa063a4cca20e8bd3aacf3b"
    ),
    "maxim": Shipped("maxim.safetensors", "f136c30c69950773f49e5601c33feb6d343e5fd309462bb0e8452c46a9e3e366"),
}

ALIASES: dict[str, str] = {
    "best": "maxim",
    "fast": "film-small",
}

DEFAULT = "film-small"
"""Where nothing is known of the picture; also whose paths make films of other models' sharp frames."""


BLUR_SPACE = "blur-space-small"
"""Whose codes are meant where no blur space is named."""


ORDER = "order-small"
"""Who scores the order of frames where no model is named."""


FACES = "cfmd-face-small"
"""What restores faces where no model of faces is named."""


def network_class(name: str) -> type[nn.Module]:
    """The class behind a name in `NETWORKS`."""
    module, attribute = NETWORKS[name]
    return getattr(importlib.import_module(module), attribute)


def network_name(network: nn.Module) -> str:
    """The name in `NETWORKS` of a network's class."""
    own = type(network)
    for name, place in NETWORKS.items():
        if place == (own.__module__, own.__qualname__):
            return name
    raise ValueError(f"{own.__qualname__} is not in unblur.models.registry.NETWORKS")


def choose_from(names: Iterable[str], wanted: str) -> str:
    """A remedy for a name that is not there: the nearest one that is, and the others."""
    names = list(names)
    near = difflib.get_close_matches(wanted, names, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"there are: {', '.join(names) or 'none'}"
