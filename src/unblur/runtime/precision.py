"""Which number format a pass runs in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from unblur.errors import UsageError

NAMES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
    "half": torch.float16,
}


def resolve_dtype(name: str | torch.dtype = "auto", device: torch.device | str = "cpu") -> torch.dtype:
    """Turn the name of a number format into the one to run in on `device`.

    Parameters
    ----------
    name : str or torch.dtype
        ``"auto"`` takes bfloat16 where the hardware multiplies it faster than float32, else float32.
    device : torch.device or str
        Where it is to run.

    Raises
    ------
    UnblurError
        The name is unknown, or the device cannot run it.

    Examples
    --------
    >>> resolve_dtype("fp32", "cpu")
    torch.float32
    """
    device = torch.device(device)
    if isinstance(name, str) and name.lower() == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    dtype = name if isinstance(name, torch.dtype) else NAMES.get(name.lower())
    if dtype is None or dtype not in NAMES.values():
        raise UsageError("dtype", name, "no such number format", "use auto, float32, bfloat16 or float16")
    if dtype is torch.float16 and device.type == "cpu":
        raise UsageError("dtype", "float16", "CPUs are slow in it and it overflows", "use bfloat16, float32 or auto")
    return dtype


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for bfloat16, so that it gains time and not only memory."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        # oneDNN takes bfloat16 on any AVX-512 and emulates it there, which is slower than float32.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return True


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """The context in which convolutions run in `dtype`; nothing at all for float32."""
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
