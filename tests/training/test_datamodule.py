from itertools import chain, islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unblur.training.datamodule import ExposureData, Mixture, Steps


class Numbers:
    """Every batch is its own number."""

    def batch(self, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        return {"blurry": torch.tensor(step, device=device)}


def machine(rank: int, size: int, steps: int = 0, accumulate: int = 1) -> Any:
    return SimpleNamespace(
        world_size=size,
        global_rank=rank,
        global_step=steps,
        accumulate_grad_batches=accumulate,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


def seen(rank: int, size: int, *, steps: int = 0, prefetch: bool = False, accumulate: int = 1) -> list[int]:
    data = ExposureData(Numbers(), prefetch=prefetch)
    data.trainer = machine(rank, size, steps, accumulate)
    numbers = islice(data.train_dataloader(), 5)
    found = [int(data.on_after_batch_transfer(number, 0)["blurry"]) for number in numbers]
    data.teardown("fit")
    return found


@pytest.mark.parametrize("prefetch", [False, True])
def test_processes_share_the_batches_without_overlap(prefetch: bool) -> None:
    found = [seen(rank, 3, prefetch=prefetch) for rank in range(3)]
    assert sorted(chain.from_iterable(found)) == list(range(15))


def test_a_resumed_run_goes_on_with_the_next_batch() -> None:
    assert seen(0, 1, steps=7) == [7, 8, 9, 10, 11]
    assert seen(0, 1, steps=7, accumulate=2) == [14, 15, 16, 17, 18]


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("steps", [0, 3, 5])
def test_batches_are_used_again_and_rendered_once(prefetch: bool, steps: int) -> None:
    rendered = []

    class Counted(Numbers):
        def batch(self, step: int, device: torch.device) -> dict[str, torch.Tensor]:
            rendered.append(step)
            return super().batch(step, device)

    data = ExposureData(Counted(), prefetch=prefetch, echo=2, pool=3)
    data.trainer = machine(1, 2, steps)
    found = [int(data.on_after_batch_transfer(n, 0)["blurry"]) for n in islice(data.train_dataloader(), 10 - steps)]
    data.teardown("fit")
    assert found == [1, 3, 5, 1, 3, 5, 7, 9, 11, 7][steps:]
    assert len(rendered) == len(set(rendered))


def test_heldout_batches_are_left_alone() -> None:
    batch = {"blurry": torch.zeros(1)}
    data = ExposureData(Numbers(), [batch])
    assert data.on_after_batch_transfer(batch, 0) is batch
    assert [b["blurry"].shape for b in data.val_dataloader()] == [(1,)]


def test_steps_start_anew_each_time() -> None:
    steps = Steps(3)
    assert list(islice(steps, 2)) == list(islice(steps, 2)) == [3, 4]


def test_a_mixture_takes_turns_that_depend_on_seed_and_step_alone() -> None:
    class Constant:
        def __init__(self, value: int) -> None:
            self.value = value

        def batch(self, step: int, device: torch.device) -> dict[str, torch.Tensor]:
            return {"step": torch.tensor(step), "value": torch.tensor(self.value)}

    def turns(seed: int) -> list[int]:
        mixture = Mixture([(Constant(1), 3.0), (Constant(0), 1.0)], seed)
        batches = [mixture.batch(step, torch.device("cpu")) for step in range(400)]
        assert [int(batch["step"]) for batch in batches] == list(range(400))
        return [int(batch["value"]) for batch in batches]

    assert turns(1) == turns(1) != turns(2)
    assert 0.68 < sum(turns(1)) / 400 < 0.82
