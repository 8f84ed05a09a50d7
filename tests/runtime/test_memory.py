"""The memory model counts what is alive at once."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from unblur.runtime.memory import peak_bytes, physical_memory, working_memory


def test_the_peak_is_what_lives_at_once():
    image = torch.rand(1, 1, 64, 64)
    page = 64 * 64 * 4
    assert peak_bytes(lambda: image + 1) == page
    assert peak_bytes(lambda: image[:, :, 1:]) == 0, "views are free"

    def chain():
        step = image
        for _ in range(10):
            step = step + 1
        return step

    assert peak_bytes(chain) == 2 * page
    assert peak_bytes(lambda: [image + i for i in range(10)]) == 10 * page


def test_convolutions_are_counted_in_inference():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    with torch.inference_mode():
        image = torch.rand(1, 3, 32, 32)
        assert peak_bytes(lambda: network(image)) == 2 * 8 * 32 * 32 * 4


def test_a_cpu_pass_takes_a_fixed_and_modest_part():
    memory = working_memory(torch.device("cpu"))
    assert 0 < memory <= physical_memory() // 4
    assert memory == working_memory(torch.device("cpu"))


@pytest.mark.skipif(not hasattr(TorchDispatchMode, "_should_skip_dynamo"), reason="this torch always imports it")
def test_measuring_does_not_import_the_compiler():
    code = """
import sys, torch
from unblur.runtime.memory import peak_bytes
print(peak_bytes(lambda: torch.zeros(3) + 1), "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["24", "False"]
