"""Every example runs, and writes what it says."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: Path) -> None:
    monkeypatch.setattr(sys, "argv", [name, *(str(argument) for argument in arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_film(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("unblur.models.load.PATIENCE", 0.0)  # the fast model
    run(monkeypatch, "film.py", EXAMPLES / "pan.png", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"sharp.png", "film.mp4"}
    assert "residual" in capsys.readouterr().out


def test_make_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "photo.png").write_bytes((EXAMPLES / "pan_truth.png").read_bytes())
    run(monkeypatch, "make_data.py", photos, out)
    assert len(list((out / "blurry").iterdir())) == 8
    assert len(list((out / "sharp").rglob("*.png"))) == 40
    assert "blurry (4, 3, 128, 128)" in capsys.readouterr().out


def test_all_are_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".png"}}
    assert all(f"`{name}`" in listed for name in names)
