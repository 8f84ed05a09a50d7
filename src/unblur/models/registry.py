"""What there is: networks by name, and the weights inside this package."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from unblur.networks.kinds import Kind


class Source(NamedTuple):
    """Where a network's class is, and what it is for.

    Attributes
    ----------
    module, name : str
        Of the class.
    kind : str
        See `unblur.networks.kinds`.
    """

    module: str
    name: str
    kind: Kind


class Shipped(NamedTuple):
    """Weights inside this package.

    Attributes
    ----------
    kind : str
        Of their network, see `unblur.networks.kinds`.
    file : str
        In ``unblur/models/files``.
    sha256 : str
        That it must have.
    licence : str
    """

    kind: Kind
    file: str
    sha256: str
    licence: str = "Apache-2.0"


NETWORKS: dict[str, Source] = {
    "path_film": Source("unblur.networks.path_film", "PathFilm", "film"),
    "cfmd": Source("unblur.networks.cfmd", "CFMD", "film"),
    "cfmd_refiner": Source("unblur.networks.cfmd", "CFMDRefiner", "refiner"),
    "jin": Source("unblur.networks.jin", "Jin", "film"),
    "purohit": Source("unblur.networks.purohit", "Purohit", "film"),
    "mimo_unet": Source("unblur.networks.mimo_unet", "MimoUNet", "restorer"),
    "nafnet": Source("unblur.networks.nafnet", "NAFNet", "restorer"),
    "maxim": Source("unblur.networks.maxim", "Maxim", "restorer"),
    "path_blur_space": Source("unblur.networks.path_blur_space", "PathBlurSpace", "blur_space"),
    "blur_kernel_space": Source("unblur.networks.blur_kernel_space", "BlurKernelSpace", "blur_space"),
    "deep_image_prior": Source("unblur.networks.deep_image_prior", "DeepImagePrior", "prior"),
    "deep_code_prior": Source("unblur.networks.deep_image_prior", "DeepCodePrior", "prior"),
    "hypercut": Source("unblur.networks.hypercut", "HyperCUT", "order"),
    "cfmd_critic": Source("unblur.networks.cfmd_critic", "CFMDCritic", "critic"),
    "drunet": Source("unblur.networks.drunet", "DRUNet", "denoiser"),
}
"""Networks by name: to add one, add a line here."""

SHIPPED: dict[str, Shipped] = {
    "film-small": Shipped(
        "film", "film-small.safetensors", "945e101f0d708525aeb963726dd970d8e449ed384696fdf39d6a2a66ec95bc63"
    ),
    "blur-space-small": Shipped(
        "blur_space", "blur-space-small.safetensors", "612273d66de964d67ef39c67b166519cf44c2a8abc510490efb27cc67e2f9443"
    ),
    "order-small": Shipped(
        "order", "order-small.safetensors", "2e01fddb8115cc73dbba658366dd2991b8f00ca4d3470fabbba9c56034df4b09"
    ),
    "cfmd-face-small": Shipped(
        "refiner", "cfmd-face-small.safetensors", "d8c15b86107e8d7791357f81a8bc2ddb81f6e067c4c3ab2c6b4443ab27787e84"
    ),
    "maxim": Shipped(
        "restorer", "maxim.safetensors", "f136c30c69950773f49e5601c33feb6d343e5fd309462bb0e8452c46a9e3e366"
    ),
    "drunet-small": Shipped(
        "denoiser", "drunet-small.safetensors", "fc5c66fe0e75fc586090ea0115117f6fbf6d9db1d805b249c40701c680c96655"
    ),
}
"""Models by name, as a user types them."""

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


DENOISER = "drunet-small"
"""The prior with which a shaken camera is undone."""


def network_class(name: str) -> type[nn.Module]:
    """The class behind a name in `NETWORKS`."""
    source = NETWORKS[name]
    return getattr(importlib.import_module(source.module), source.name)


def network_name(network: nn.Module) -> str:
    """The name in `NETWORKS` of a network's class."""
    own = type(network)
    for name, source in NETWORKS.items():
        if (source.module, source.name) == (own.__module__, own.__qualname__):
            return name
    raise ValueError(f"{own.__qualname__} is not in unblur.models.registry.NETWORKS")


def choose_from(names: Iterable[str], wanted: str) -> str:
    """A remedy for a name that is not there: the nearest one that is, and the others."""
    names = list(names)
    near = difflib.get_close_matches(wanted, names, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"there are: {', '.join(names) or 'none'}"
