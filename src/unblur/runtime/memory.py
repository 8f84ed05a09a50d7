"""How much memory a pass may take, and how much it takes.

The model is one line: a pass over N pixels takes ``N * bytes_per_pixel``. That number is measured once per network,
device and number format: how the most bytes alive at once in tensors (`peak_bytes`) grow with the picture, times
`WORKSPACE` for what kernels need beside their inputs and outputs. A pass may take `working_memory`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MIB = 2**20
# On a CPU a pass takes no more than this, whatever is free: the rest belongs to the picture, its result and the user's
# other programs, and a fixed number gives the same tiles, hence the same bytes, on every run.
CPU_WORKING_MEMORY = 768 * MIB
CUDA_SHARE = 0.6
# Convolution workspaces and the allocator's rounding, which no tensor shows.
WORKSPACE = 1.5


def working_memory(device: torch.device) -> int:
    """Bytes that one pass on `device` may take for its tensors."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(CUDA_SHARE * (free + idle))
    return min(CPU_WORKING_MEMORY, physical_memory() // 4)


def physical_memory() -> int:
    """Bytes of memory that this process may ever have: the machine's, or its container's limit."""
    total = 8192 * MIB
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return total


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes alive at once in tensors made while `run` runs, its result included."""
    with _LiveTensors() as live:
        run()
    return live.peak


class _LiveTensors(TorchDispatchMode):
    """Adds up the storages that operators hand out, until they are freed."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else the first operator imports the compiler: seconds for something that is never compiled.
        return False

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What goes in is not new: weights, and the tensors that views share their storage with.
        for leaf in tree_leaves((args, kwargs)):
            self._note(leaf, 0)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            self._note(leaf, 1)
        self.peak = max(self.peak, self.now)
        return result

    def _note(self, leaf: object, share: int) -> None:
        if not isinstance(leaf, Tensor):
            return
        storage = leaf.untyped_storage()
        key, size = storage._cdata, share * storage.nbytes()
        if key in self._seen:
            return
        self.now += size

        def free(key: int = key, size: int = size) -> None:
            self.now -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.finalize(storage, free)
