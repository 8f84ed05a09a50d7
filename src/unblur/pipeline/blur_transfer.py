"""A blur space, ready to run, and the codes that it reads from pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unblur.errors import UnblurError, UsageError
from unblur.media.atomic import atomic_path
from unblur.models.load import LoadedNetwork, display_name, fits_memory, resolve
from unblur.models.registry import BLUR_SPACE


@dataclass(frozen=True)
class BlurCode:
    """A blur that was read from two pictures, or drawn.

    Attributes
    ----------
    values : Tensor
        (C, h, w) float32, a vector for every 128 x 128 pixels.
    height, width : int
        Of the picture that it is for.
    space : str
        The blur space whose code it is.
    fingerprint : str
        Of that space's weights: the numbers mean nothing to others.
    """

    values: Tensor
    height: int
    width: int
    space: str
    fingerprint: str

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it as safetensors; whole or not at all."""
        metadata = {"height": self.height, "width": self.width, "space": self.space, "fingerprint": self.fingerprint}
        contents = save({"code": self.values.contiguous()}, {"blur_code": json.dumps(metadata, sort_keys=True)})
        with atomic_path(path) as temporary:
            temporary.write_bytes(contents)
        return Path(path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> BlurCode:
        """Read what `save` wrote.

        Raises
        ------
        UnblurError
            The file is missing, damaged, or no code.
        """
        remedy = "name a file that `BlurCode.save` wrote"
        if not Path(path).is_file():
            raise UnblurError(path, "no such file", remedy)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = json.loads((file.metadata() or {})["blur_code"])
                values = file.get_tensor("code")
            if values.ndim != 3 or not bool(torch.isfinite(values).all()):
                raise ValueError(f"its values are {tuple(values.shape)}")
            sides = int(metadata["height"]), int(metadata["width"])
            return cls(values.float(), *sides, str(metadata["space"]), str(metadata["fingerprint"]))
        except KeyError:
            raise UnblurError(path, "is no blur code", remedy) from None
        except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
            raise UnblurError(path, f"is no blur code, or is damaged ({error})", remedy) from None


class BlurSpace(LoadedNetwork):
    """A blur space with its card, on a device: its network has `encode`, `reblur`, `fitted` and `draw`.

    Pass it as ``model`` to `unblur.encode_blur` and the others to load once for many pictures. Attributes as of
    `LoadedNetwork`; see `unblur.networks.path_blur_space.PathBlurSpace`.
    """

    def __init__(self, network: Any, card: Any = None, *, device: str | torch.device = "auto") -> None:
        if network.kind != "blur_space":
            name = display_name(network, card)
            raise UsageError("model", name, "is no blur space", f"use {BLUR_SPACE}, or a file of one")
        super().__init__(network, card, device=device)

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {"name": self.name, "sha256": self.fingerprint, "device": str(self.device)}

    def check_draws(self) -> None:
        """Refuse a space from which no blur can be drawn.

        Raises
        ------
        UnblurError
            It is not variational: nothing is known of where its codes lie.
        """
        if not self.network.variational:
            problem = "is not variational, so no blur can be drawn from it"
            raise UsageError("model", self.name, problem, f"use {BLUR_SPACE}, or take the blur from pictures")

    def encode(self, sharp: Tensor, blurry: Tensor, subject: str = "the pair") -> BlurCode:
        """The blur between two (3, H, W) in [0, 1]."""
        with torch.inference_mode(), fits_memory(subject):
            code = self.network.encode(*(image[None].to(self.device) for image in (sharp, blurry))).mean
        return self._code(code, sharp)

    def check(self, code: BlurCode, subject: str | PathLike[str] = "the code") -> None:
        """Refuse the code of another blur space; `subject` is where it came from.

        Raises
        ------
        UnblurError
            Its numbers mean nothing here.
        """
        if code.fingerprint != self.fingerprint or code.values.shape[0] != self.network.channels:
            problem = f"was read by {code.space} and means nothing to {self.name}"
            raise UnblurError(subject, problem, f"use the model it was read by (sha256 {code.fingerprint[:8]}...)")

    def apply(self, sharp: Tensor, code: BlurCode, subject: str = "the picture") -> Tensor:
        """Blur (3, H, W) in [0, 1], of any size, as `code` says; a code of another size is fitted to it.

        Raises
        ------
        UnblurError
            The code belongs to another blur space, or memory ran out.
        """
        self.check(code)
        with torch.inference_mode(), fits_memory(subject):
            values = code.values[None].to(self.device)
            if sharp.shape[-2:] != (code.height, code.width):
                values = self.network.fitted(values, *sharp.shape[-2:], of=(code.height, code.width))
            return self.network.reblur(sharp[None].to(self.device), values)[0].float().clamp(0, 1).cpu()

    def draw(self, height: int, width: int, seed: int) -> BlurCode:
        """A random blur, for a picture of this size; the seed makes it repeatable.

        Raises
        ------
        UnblurError
            The space is not variational: nothing is known of where its codes lie.
        """
        self.check_draws()
        with torch.inference_mode():
            values = self.network.draw(1, height, width, torch.Generator().manual_seed(seed))[0]
        return BlurCode(values.float().cpu(), height, width, self.name, self.fingerprint)

    def _code(self, values: Tensor, picture: Tensor) -> BlurCode:
        height, width = picture.shape[-2:]
        return BlurCode(values[0].float().cpu(), height, width, self.name, self.fingerprint)


Model = str | PathLike[str] | nn.Module | BlurSpace | None


def load_blur_space(model: Model = None, device: str | torch.device = "auto") -> BlurSpace:
    """A blur space by its name or file, from a network, or as it is.

    Raises
    ------
    UnblurError
        No such model, it is no blur space, or there is no such device.
    """
    return model if isinstance(model, BlurSpace) else BlurSpace(*resolve(model, BLUR_SPACE), device=device)


def seed_of(seed: int, number: int) -> int:
    """A seed for each of several draws, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:7], "big")
