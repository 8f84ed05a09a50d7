from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from train_command import main

from unblur.models.weights import load_weights

RECIPE = """
name: tiny
network:
  name: path_film
  arguments:
    restorer: {{widths: [8, 8], blocks: [1, 1]}}
    motion: {{widths: [8, 8], blocks: [1, 1]}}
out: {run}
data: {{train: {stills}, val: {stills}, val_count: 2, val_size: 32}}
exposures: {{size: 32, batch_size: 2, motion: {{length: [2, 6]}}}}
loss: {{parts: both, paths: 0.02}}
schedule: {{warmup: 1}}
log_every: 1
validate_every: 2
trainer: {{max_steps: 2, accelerator: cpu}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    stills = tmp_path / "stills"
    stills.mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 255, (210, 220, 3), dtype=np.uint8)).save(stills / f"{name}.png")
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(run=tmp_path / "run", stills=stills))
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_trains_resumes_and_starts_from_weights(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe.parent / "run"
    assert main([str(recipe)]) == 0
    assert [line["step"] for line in lines(run)] == [1, 2, 2]
    assert {path.name for path in run.iterdir()} == {
        "journal.jsonl",
        "last.ckpt",
        "last.safetensors",
        "recipe.yaml",
        "sheet-0000002.png",
    }
    assert main([str(recipe)]) == 1
    assert "already holds a run; pass `resume=auto`" in capsys.readouterr().err
    assert main([str(recipe), "--resume", "auto", "--trainer.max_steps", "3"]) == 0
    assert [line["step"] for line in lines(run)] == [1, 2, 2, 3]
    other = recipe.parent / "other"
    weights = str(run / "last.safetensors")
    assert main([str(recipe), "--weights", weights, "--out", str(other), "--optimizer.lr", "0", "--ema", "0"]) == 0
    card = load_weights(run / "last.safetensors").card
    assert (card.name, card.network, card.steps) == ("tiny", "path_film", 3)
    assert card.score["psnr@0.5"] == pytest.approx(lines(run)[2]["psnr@0.5"], abs=1e-3)
    first, second = (load_file(folder / "last.safetensors") for folder in (run, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_record_of_a_run_is_a_recipe(recipe: Path) -> None:
    assert main([str(recipe), "--trainer.max_steps", "1", "--data.val_count", "0"]) == 0
    record = recipe.parent / "run" / "recipe.yaml"
    again = recipe.parent / "again"
    assert main([str(record), "--out", str(again)]) == 0
    assert lines(again)[0]["loss"] == lines(recipe.parent / "run")[0]["loss"]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--trainer.max_step", "3"], 2, "trainer.max_step: no such key in a recipe; the nearest is trainer.max_steps"),
        (["--trainer.max_steps", "x"], 2, "trainer.max_steps"),
        (["--data.train", "nowhere"], 1, "nowhere: no such folder"),
        (["--weights", "none.safetensors"], 1, "none.safetensors: "),
        (["--resume", "none.ckpt"], 1, "none.ckpt: no such checkpoint"),
        (["--network.arguments.restorer", "{widths: 3}"], 1, "network.arguments: path_film refuses them"),
        (["--data.exclude", "[.png]"], 1, "data.exclude"),
    ],
)
def test_mistakes_are_told_in_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, told: str
) -> None:
    assert main([str(recipe), *words]) == status
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_weights_of_another_network_are_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(recipe), "--data.val_count", "0", "--trainer.max_steps", "1"]) == 0
    words = ["--weights", str(recipe.parent / "run" / "last.safetensors"), "--out", str(recipe.parent / "b")]
    assert main([str(recipe), *words, "--network.arguments.motion", "{widths: [16, 16], blocks: [1, 1]}"]) == 1
    assert "convert or train it again" in capsys.readouterr().err


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "unblur train [OPTIONS] [RECIPE.yaml]" in capsys.readouterr().out


def test_weights_are_readable_by_others_as_the_umask_says(recipe: Path) -> None:
    assert main([str(recipe), "--data.val_count", "0", "--trainer.max_steps", "1"]) == 0
    run = recipe.parent / "run"
    modes = {path.name: path.stat().st_mode & 0o777 for path in run.iterdir()}
    assert modes["last.safetensors"] == modes["last.ckpt"]


def test_a_logger_has_the_lines_of_the_journal(recipe: Path) -> None:
    run = recipe.parent / "run"
    assert main([str(recipe), "--logger", "csv"]) == 0
    assert main([str(recipe), "--logger", "csv", "--resume", "auto", "--trainer.max_steps", "3"]) == 0
    with (run / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [line["step"] for line in lines(run)]
    for row, line in zip(rows, lines(run), strict=True):
        assert {name: float(value) for name, value in row.items() if value} == pytest.approx(line)


def test_tensorboard_where_it_is_installed(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installed = any(find_spec(name) for name in ("tensorboard", "tensorboardX"))
    code = main([str(recipe), "--logger", "tensorboard"])
    if installed:
        assert code == 0
        assert list((recipe.parent / "run" / "tensorboard").glob("events.*"))
    else:
        assert code == 1
        assert "logger tensorboard: is not installed; needs pip install tensorboard" in capsys.readouterr().err


def test_best_and_numbered_weights(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe.parent / "run"
    assert main([str(recipe), "--best", "[psnr]", "--numbered-every", "1"]) == 0
    names = ["best-psnr", "last", "step-0000001", "step-0000002"]
    assert [path.stem for path in sorted(run.glob("*.safetensors"))] == names
    cards = [load_weights(run / f"{name}.safetensors").card for name in names]
    assert [card.steps for card in cards] == [2, 2, 1, 2]
    assert cards[0].score["psnr@0.5"] == pytest.approx(lines(run)[2]["psnr@0.5"], abs=1e-3)
    other = ["--out", str(recipe.parent / "other")]
    assert main([str(recipe), *other, "--best", "[psnr]", "--data.val-count", "0"]) == 1
    assert "best: needs a validation" in capsys.readouterr().err
