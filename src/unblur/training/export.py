"""Weights out of a training, and into one."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace
from safetensors.torch import load_file, save_file
from torch import nn

from unblur.errors import UnblurError


def export_weights(path: Path, network: nn.Module, recipe: Namespace, steps: int) -> Path:
    """Write the weights of `network` after `steps` steps of `recipe`; the file is complete or not there."""
    temporary = path.with_name(f".{path.name}.part")
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, temporary, {"network": recipe.network.name, "steps": str(steps)})
    # Readable by whoever can read the checkpoint beside it: safetensors makes private files.
    temporary.chmod(path.with_name("last.ckpt").stat().st_mode)
    return temporary.replace(path)


def start_from(network: nn.Module, path: str | Path) -> None:
    """Load weights alone into `network`; names and shapes must be the same."""
    try:
        network.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise UnblurError(path, "no such file", "name a .safetensors file") from error
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise UnblurError(path, f"does not fit the network ({first})", "use the recipe it was trained with") from error
