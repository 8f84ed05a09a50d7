import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from unblur.errors import UnblurError


def test_a_budget_of_time_ends_in_order(fit: Any, tmp_path: Path) -> None:
    trainer, _ = fit(tmp_path, steps=50, keeper={"budget": 0.0})
    assert trainer.global_step == 1
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 1
    assert (tmp_path / "weights.pt").exists()


def test_saves_at_intervals_and_leaves_no_half_files(fit: Any, tmp_path: Path) -> None:
    found: list[int] = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step:
                found.append(torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"])

    fit(tmp_path, steps=4, callbacks=[Look()], keeper={"every": 0.0})
    assert found == [1, 2, 3]
    assert not list(tmp_path.glob(".*"))


def test_keeps_nothing_in_between_without_need(fit: Any, tmp_path: Path) -> None:
    class Look(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            assert not (tmp_path / "last.ckpt").exists()

    fit(tmp_path, steps=3, callbacks=[Look()])
    assert (tmp_path / "last.ckpt").exists()


def test_the_exported_weights_are_the_average(fit: Any, tmp_path: Path) -> None:
    _, film = fit(tmp_path, steps=5)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=False)
    average = {k.removeprefix("network."): v for k, v in kept["state_dict"].items() if k.startswith("network.")}
    exported = torch.load(tmp_path / "weights.pt")
    own = film.network.state_dict()
    assert set(average) == set(own)
    assert all(torch.equal(exported[name], value) for name, value in average.items())
    assert any(not torch.equal(exported[name], own[name]) for name in own)


def test_the_signal_is_handed_back(fit: Any, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    fit(tmp_path, steps=1)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_ctrl_c_stops_in_order(fit: Any, tmp_path: Path) -> None:
    class Interrupt(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    trainer, _ = fit(tmp_path, callbacks=[Interrupt()])
    assert trainer.global_step == 2
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 2


def test_a_loss_that_is_not_a_number_ends_the_run(fit: Any, tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
            if trainer.global_step == 2:
                module.network.last.weight.data.fill_(float("nan"))

    with pytest.raises(UnblurError, match="step 3: the loss is not a number"):
        fit(tmp_path, callbacks=[Spoil()])
    assert not (tmp_path / "last.ckpt").exists()
    assert len([json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]) == 4
