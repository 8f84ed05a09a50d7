"""Devices and number formats: what is here is found, what is not is refused in one line."""

import pytest
import torch

from unblur.errors import UnblurError
from unblur.runtime import precision
from unblur.runtime.device import resolve_device
from unblur.runtime.precision import autocast, resolve_dtype


def test_auto_is_a_device_that_is_here():
    device = resolve_device()
    torch.zeros(1, device=device)
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", "meta"])
def test_a_device_that_is_not_here(name):
    with pytest.raises(UnblurError, match=f"device={name}: .*; use"):
        resolve_device(name)


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_named_formats(name, dtype):
    assert resolve_dtype(name, "cpu") is dtype
    assert resolve_dtype(dtype, "cpu") is dtype


@pytest.mark.parametrize("name", ["float64", "int8", torch.float64, "float16"])
def test_formats_that_cpus_do_not_run(name):
    with pytest.raises(UnblurError, match="dtype="):
        resolve_dtype(name, "cpu")


@pytest.mark.parametrize("fast", [True, False])
def test_auto_follows_the_hardware(monkeypatch, fast):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda device: fast)
    assert resolve_dtype("auto", "cpu") is (torch.bfloat16 if fast else torch.float32)


def test_autocast_casts_convolutions_only_when_asked():
    image, kernel = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 3, 3)
    with autocast(torch.device("cpu"), torch.bfloat16):
        assert torch.conv2d(image, kernel).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), torch.float32):
        assert torch.conv2d(image, kernel).dtype == torch.float32
