import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unblur.training.metrics_log import Journal


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_lines_and_pictures(fit: Any, tmp_path: Path) -> None:
    fit(tmp_path, steps=4, validate_every=2)
    training = [line for line in lines(tmp_path) if "loss" in line]
    validation = [line for line in lines(tmp_path) if "psnr@0.5" in line]
    assert [line["step"] for line in training] == [1, 2, 3, 4]
    assert all(line["loss"] == pytest.approx(line["pixel"]) and line["seconds_per_step"] > 0 for line in training)
    assert training[2]["lr"] < training[1]["lr"]
    assert [line["step"] for line in validation] == [2, 4]
    assert validation[0]["input@0"] == validation[1]["input@0"]
    assert validation[0]["psnr@0"] != validation[1]["psnr@0"]
    for step in (2, 4):
        with Image.open(tmp_path / f"sheet-{step:07d}.png") as sheet:
            # Two rows; blurry | 3 frames | 3 true frames of 8 pixels, gaps of 4 within groups, 12 between.
            assert sheet.size == (8 + 12 + 32 + 12 + 32, 8 + 4 + 8)


def test_means_over_several_steps(fit: Any, tmp_path: Path) -> None:
    fit(tmp_path / "each", steps=4, validate_every=100)
    each = [line["loss"] for line in lines(tmp_path / "each")]
    fit(tmp_path / "some", steps=4, validate_every=100, callbacks=[Journal(tmp_path / "pairs", 2)])
    assert [line["loss"] for line in lines(tmp_path / "pairs")] == pytest.approx(
        [sum(each[:2]) / 2, sum(each[2:]) / 2], abs=1e-6
    )


def test_a_resumed_run_forgets_the_lines_after_its_checkpoint(fit: Any, tmp_path: Path) -> None:
    fit(tmp_path, steps=3, validate_every=100)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 9.0}\n{"step": 5, "lo')
    fit(tmp_path, steps=4, validate_every=100, ckpt_path=tmp_path / "last.ckpt")
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert all(line["loss"] < 9 for line in lines(tmp_path))
