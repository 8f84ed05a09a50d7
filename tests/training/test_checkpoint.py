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


def test_numbered_weights_stay(fit: Any, tmp_path: Path) -> None:
    fit(tmp_path, steps=5, keeper={"numbered_every": 2})
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-0000002.pt", "step-0000004.pt"]
    second, last = (torch.load(tmp_path / name)["last.weight"] for name in ("step-0000002.pt", "weights.pt"))
    assert not torch.equal(second, last)


class Scores:
    """Validations that go as they are told."""

    def __init__(self, *scores: dict[str, float]) -> None:
        self.scores, self.at = scores, -1

    def __call__(self) -> dict[str, float]:
        self.at += 1
        return self.scores[self.at]


def test_the_best_weights_are_kept(fit: Any, tmp_path: Path) -> None:
    psnr = [{"psnr@0": 20.0, "psnr@1": 22.0}, {"psnr@0": 24.0, "psnr@1": 20.0}, {"psnr@0": 21.0, "psnr@1": 21.5}]
    keeper = {"best": ["psnr"], "numbered_every": 2, "score": Scores(*psnr)}
    fit(tmp_path, steps=6, keeper=keeper)
    best, second = (torch.load(tmp_path / name) for name in ("best-psnr.pt", "step-0000004.pt"))
    assert all(torch.equal(best[name], second[name]) for name in best)


def test_of_a_distance_the_lowest_is_the_best_and_what_is_no_number_never(fit: Any, tmp_path: Path) -> None:
    lpips = [{"lpips@0.5": value} for value in (float("nan"), 0.2, 0.3)]
    fit(tmp_path, steps=6, keeper={"best": ["lpips@0.5"], "numbered_every": 2, "score": Scores(*lpips)})
    best, second = (torch.load(tmp_path / name) for name in ("best-lpips-0.5.pt", "step-0000004.pt"))
    assert all(torch.equal(best[name], second[name]) for name in best)


def test_a_resumed_run_knows_the_best_so_far(fit: Any, tmp_path: Path) -> None:
    fit(tmp_path, steps=3, keeper={"best": ["psnr"], "score": lambda: {"psnr": 30.0}})
    before = (tmp_path / "best-psnr.pt").read_bytes()
    again = {"best": ["psnr"], "score": lambda: {"psnr": 29.0}}
    fit(tmp_path, steps=6, ckpt_path=tmp_path / "last.ckpt", keeper=again)
    assert (tmp_path / "best-psnr.pt").read_bytes() == before


def test_a_best_of_something_unmeasured_is_refused(fit: Any, tmp_path: Path) -> None:
    with pytest.raises(UnblurError, match="best lpips: is not measured in validation; choose of psnr, input"):
        fit(tmp_path, keeper={"best": ["lpips"]})
