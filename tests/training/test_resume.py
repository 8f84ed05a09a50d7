import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from nested import same


class Terminate(Callback):
    """Sends SIGTERM to the process when the training has done `step` steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def journal(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in lines]


@pytest.mark.parametrize(("stop", "accumulate", "prefetch"), [(3, 1, False), (4, 1, True), (3, 2, False)])
def test_interrupted_and_resumed_equals_uninterrupted(
    fit: Callable[..., Any], tmp_path: Path, stop: int, accumulate: int, prefetch: bool
) -> None:
    options = {"accumulate_grad_batches": accumulate, "prefetch": prefetch}
    fit(tmp_path / "whole", **options)
    trainer, _ = fit(tmp_path / "parts", callbacks=[Terminate(stop)], **options)
    assert trainer.global_step == stop
    trainer, _ = fit(tmp_path / "parts", ckpt_path=tmp_path / "parts" / "last.ckpt", **options)
    assert trainer.global_step == 8
    whole, parts = (torch.load(tmp_path / name / "last.ckpt", weights_only=False) for name in ("whole", "parts"))
    for part in (
        "state_dict",
        "current_model_state",
        "averaging_state",
        "optimizer_states",
        "lr_schedulers",
        "global_step",
    ):
        assert same(whole[part], parts[part]), part
    exported = [torch.load(tmp_path / name / "weights.pt") for name in ("whole", "parts")]
    assert same(*exported)
    steps = {line["step"] for line in journal(tmp_path / "whole")}
    assert steps == set(range(1, 9))
    # Stopping validates once more, which the journal keeps; what both have must agree.
    extra = [line for line in journal(tmp_path / "parts") if line not in journal(tmp_path / "whole")]
    assert [line["step"] for line in extra] == ([stop] if stop % 2 else [])
    assert [line for line in journal(tmp_path / "whole") if line not in journal(tmp_path / "parts")] == []


def test_the_random_dropout_matters_to_this_test(fit: Callable[..., Any], tmp_path: Path) -> None:
    _, first = fit(tmp_path / "a", steps=2)
    _, second = fit(tmp_path / "b", steps=3)
    assert not same(first.network.state_dict(), second.network.state_dict())
