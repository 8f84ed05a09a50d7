"""Which device to run on."""

from __future__ import annotations

import torch

from unblur.errors import UsageError

CHOICES = "auto, cpu, cuda, cuda:1, mps"


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Turn the name of a device into one that is here.

    Parameters
    ----------
    name : str or torch.device
        ``"auto"`` takes the first CUDA GPU, else the CPU. Others (``"mps"``, ``"xpu"``) are used only when named: their
        results have not been compared with the CPU's.

    Raises
    ------
    UnblurError
        The name is not that of a device, or there is no such device on this machine.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if isinstance(name, str) and name.lower() == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError("device", name, "no such kind of device", f"use one of {CHOICES}") from None
    if not _is_here(device):
        raise UsageError("device", name, "this machine has no such device", "use cpu or auto")
    return device


def _is_here(device: torch.device) -> bool:
    if device.type == "cpu":
        return True
    backend = getattr(torch, device.type, None)
    if backend is None or not hasattr(backend, "is_available") or not backend.is_available():
        return False
    return device.index is None or device.index < backend.device_count()
