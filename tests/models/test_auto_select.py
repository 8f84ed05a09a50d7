"""Which model is taken where none is named."""

import itertools

import pytest
import torch

from unblur.models import load as choice
from unblur.models import registry as table
from unblur.models.load import COST, PATIENCE, auto_select
from unblur.pipeline.restore import load

CPU, GPU, FLOAT = torch.device("cpu"), torch.device("cuda:0"), torch.float32
BEST, FAST = table.ALIASES["best"], table.ALIASES["fast"]


def quick(threads, dtype=FLOAT):
    """Pixels that the best model does within the patience."""
    return int(0.99e6 * PATIENCE * threads / COST[BEST][dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 8])
def test_the_best_where_it_is_quick(threads, dtype):
    pixels = quick(threads, dtype)
    assert auto_select([pixels], CPU, dtype, threads).model == BEST
    assert auto_select([pixels // 2, pixels // 2], CPU, dtype, threads).model == BEST
    slow = auto_select([2 * pixels], CPU, dtype, threads)
    assert slow.model == FAST
    assert "`model=best`" in slow.reason
    assert auto_select([pixels // 2] * 3, CPU, dtype, threads).model == FAST, "many pictures are one wait"


def test_the_best_on_a_gpu():
    assert auto_select(itertools.repeat(10**9), GPU, torch.bfloat16, 1).model == BEST


def test_no_more_pictures_are_looked_at_than_needed():
    seen = []
    auto_select((seen.append(1) or quick(1) for _ in itertools.count()), CPU, FLOAT, 1)
    assert len(seen) == 2


def test_each_says_what_the_other_is_called():
    assert auto_select([1], CPU, FLOAT, 1).reason.startswith("best; `model=fast` takes 1/")
    assert auto_select([10**9], CPU, FLOAT, 1).reason.startswith("fast; `model=best` would take more than")


def test_load_asks_only_where_nothing_is_named(shipped, monkeypatch):
    monkeypatch.setattr(choice, "PATIENCE", 1e-9)
    assert load(device="cpu", sizes=[100]).name == FAST
    assert load("best", device="cpu", sizes=[100]).name == BEST
    assert load("best", device="cpu", sizes=[100]).reason == ""
    monkeypatch.setattr(choice, "PATIENCE", 1e9)
    assert load(device="cpu", sizes=[100]).name == BEST
    assert load(device="cpu").name == FAST, "where nothing is known of the pictures"


def test_aliases_name_models():
    assert set(table.ALIASES.values()) <= set(table.SHIPPED)
    assert not set(table.ALIASES) & set(table.SHIPPED)
    assert set(COST) == set(table.ALIASES.values())
