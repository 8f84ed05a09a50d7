"""A GPU that is not there, for tests of devices: values are real and on the CPU, what may meet what is as on CUDA.

Under `Pretended` whatever is put on "cuda" is computed as ever, but says that it is on "cuda", and so does what is made
of it. An operation of such a tensor and one left on the CPU raises, as CUDA does, unless the latter is a single number.
Tensors are told apart by their memory, which views share: nothing is changed in them, and gradients flow.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda:0")
CPU = torch.device("cpu")
READ = {
    Tensor.device.__get__: lambda tensor: place(tensor),
    Tensor.is_cuda.__get__: lambda tensor: place(tensor) == CUDA,
    Tensor.is_cpu.__get__: lambda tensor: place(tensor) == CPU,
}
LISTS = {"cat", "concat", "stack", "hstack", "vstack", "einsum", "cartesian_prod", "meshgrid"}
"""Operations that take no number from another device either."""
CROSS = {"copy_", "__set__", "_has_compatible_shallow_copy_type"}
"""Operations that may be of two devices: copies, and how a module takes other tensors for its parameters."""


class MixedDevices(RuntimeError):
    """What CUDA would refuse."""


def place(tensor: Tensor) -> torch.device:
    """Where a tensor says it is."""
    return getattr(tensor.untyped_storage(), "pretended", CPU)


def put(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A copy of a tensor that says it is on `device`; itself if it does so already."""
    device = CPU if torch.device(device).type == "cpu" else CUDA
    return tensor if place(tensor) == device else _mark(tensor.clone(), device)


class Pretended(TorchFunctionMode):
    """The context in which "cuda" is pretended."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        if func in READ:
            return READ[func](*args)
        if name in ("to", "cpu", "cuda") and isinstance(args[0], Tensor):
            return _moved(func, name, *args, **kwargs)
        device = kwargs.get("device")
        if device is not None:
            kwargs["device"] = CPU
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not _copies(name, args):
            _check(name, tensors)
        if device is None:
            device = CUDA if name not in CROSS and any(place(each) == CUDA for each in tensors) else CPU
        device = CPU if torch.device(device).type == "cpu" else CUDA
        _check_generator(kwargs.get("generator"), device)
        if name in ("numpy", "__array__") and device == CUDA:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        result = func(*args, **kwargs)
        if device == CUDA:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    _mark(leaf, device)
        return result


def _mark(tensor: Tensor, device: torch.device) -> Tensor:
    tensor.untyped_storage().pretended = device
    return tensor


def _moved(func: Callable[..., Tensor], name: str, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """What `Tensor.to`, `cpu` and `cuda` do."""
    if name != "to":
        return put(tensor, name)
    wanted, rest = place(tensor), []
    for option in (*args, *(kwargs.pop(key) for key in ("device", "other") if key in kwargs)):
        if isinstance(option, Tensor):
            wanted = place(option)
            rest.append(option.dtype)
        elif isinstance(option, torch.device | str):
            wanted = option
        elif isinstance(option, torch.dtype):
            rest.append(option)
    # A copy of another type is one that nobody has marked yet.
    there = func(tensor, *rest, **kwargs) if rest or kwargs else tensor
    if there.untyped_storage()._cdata != tensor.untyped_storage()._cdata:
        _mark(there, place(tensor))
    return put(there, wanted)


def _copies(name: str, args: Any) -> bool:
    """Whether an operation may cross from one device to the other."""
    if name == "__setitem__":
        return not any(isinstance(leaf, Tensor) for leaf in tree_leaves(args[1]))
    # Indices may be on the CPU whatever they index.
    on_cpu = [place(leaf) == CPU for leaf in tree_leaves(args[1:]) if isinstance(leaf, Tensor)]
    return name in CROSS or (name == "__getitem__" and all(on_cpu))


def _check(name: str, tensors: list[Tensor]) -> None:
    here = [tensor for tensor in tensors if place(tensor) == CPU]
    if len(here) in (0, len(tensors)):
        return
    changed = tensors[0] if (name.endswith("_") and not name.startswith("__")) or name.startswith("__i") else None
    if name in LISTS or any(tensor.ndim for tensor in here) or any(tensor is changed for tensor in here):
        shapes = [(str(place(tensor)), tuple(tensor.shape)) for tensor in tensors]
        raise MixedDevices(f"{name} of tensors on two devices: {shapes}")


def _check_generator(generator: torch.Generator | None, device: torch.device) -> None:
    if generator is not None and generator.device.type != device.type:
        raise MixedDevices(f"numbers on {device} from a generator on {generator.device}")
