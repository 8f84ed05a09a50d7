from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import unblur
from unblur.cli import main
from unblur.data.lmdb_store import LmdbPictures
from unblur.data.pairs import open_pairs
from unblur.datasets import augment as module
from unblur.datasets.augment import AugmentOptions, Collection, augment, augment_files
from unblur.datasets.lmdb import store_pictures
from unblur.errors import UnblurError
from unblur.media.encode import encode
from unblur.media.image import read_image
from unblur.metrics.fidelity import psnr
from unblur.models.card import Card
from unblur.models.weights import save_weights
from unblur.networks.blur_kernel_space import BlurKernelSpace
from unblur.networks.path_blur_space import PathBlurSpace
from unblur.pipeline.blur_transfer import BlurSpace
from unblur.run_report import Silent


def texture(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Pairs, of which the blurry halves are shifted means; sharp pictures of several sizes, one too small."""
    for i in range(3):
        sharp = texture(i)
        for half, pixels in (("sharp", sharp), ("blurry", cv2.blur(sharp, (9, 1)))):
            (tmp_path / "pairs" / half).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "pairs" / half / f"{i}.png")
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.png", "deep/b.png", "deep/small.png")):
        size = (100 + i, 80 + i) if i < 2 else (30, 30)
        Image.fromarray(texture(10 + i, *size)).save(tmp_path / "photos" / name)
    return tmp_path / "pairs", tmp_path / "photos"


@pytest.fixture
def network() -> PathBlurSpace:
    torch.manual_seed(0)
    made = PathBlurSpace(
        channels=4, widths=[8] * 4, blocks=[1] * 4, features=16, gauss_newton_steps=1, spectral={"reaches": [2, 2]}
    )
    nn.init.normal_(made.unfold.outro.weight, std=0.3)
    return made.eval()


@pytest.fixture
def space(network: PathBlurSpace) -> BlurSpace:
    return BlurSpace(network, Card("toy", "path_blur_space", sha256="5e"), device="cpu")


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "augment.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "augment.jsonl").read_text().splitlines()]


def test_pairs_are_made_and_every_line_tells_how(places: tuple[Path, Path], space: BlurSpace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = augment(*places, out, 5, size=48, seed=3, model=space)
    assert report.exit_code == 0
    made = lines(out)
    assert [entry["index"] for entry in made] == list(range(5))
    for entry in made:
        assert entry["target"]["picture"] in ("a.png", "deep/b.png")  # the other is too small
        top, left, height, width = entry["target"]["crop"]
        target = read_image(places[1] / entry["target"]["picture"]).pixels[:, top : top + height, left : left + width]
        sharp, blurry = (read_image(out / entry[half]).pixels for half in ("sharp", "blurry"))
        assert torch.equal(sharp, target)
        top, left, height, width = entry["source"]["crop"]
        one, other = (
            read_image(places[0] / entry["source"][half]).pixels[:, top : top + height, left : left + width]
            for half in ("sharp", "blurry")
        )
        code = space.encode(one, other)
        torch.testing.assert_close(space.apply(sharp, code), blurry, atol=0.51 / 255, rtol=0)
        assert not torch.allclose(blurry, sharp, atol=2 / 255)
        again = space.apply(one, code)
        assert entry["reconstruction_psnr"] == pytest.approx(float(psnr(again, other, levels=255)), abs=0.01)
        assert (entry["seed"], entry["model"], entry["sha256"]) == (3, "toy", "5e")
    mean = np.mean([entry["reconstruction_psnr"] for entry in made])
    assert report.results[0].details["reconstruction_psnr"] == pytest.approx(mean, abs=1e-3)
    assert len(open_pairs(str(out))) == 5  # to train on


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_nothing(
    places: tuple[Path, Path], space: BlurSpace, tmp_path: Path, workers: int
) -> None:
    augment(*places, tmp_path / "one", 6, size=40, model=space, workers=1)
    before = torch.get_num_threads()
    augment(*places, tmp_path / "many", 6, size=40, model=space, workers=workers)
    assert torch.get_num_threads() == before
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_seeds_differ_and_more_can_be_made_later(places: tuple[Path, Path], space: BlurSpace, tmp_path: Path) -> None:
    augment(*places, tmp_path / "a", 3, size=40, model=space)
    augment(*places, tmp_path / "b", 3, size=40, model=space, seed=1)
    first = contents(tmp_path / "a")
    assert first["sharp/000/00000000.png"] != contents(tmp_path / "b")["sharp/000/00000000.png"]
    report = augment(*places, tmp_path / "a", 5, size=40, model=space)
    assert report.results[0].message.startswith("5 pairs, 3 there already; their blur was read to")
    augment(*places, tmp_path / "c", 5, size=40, model=space)
    assert contents(tmp_path / "a") == contents(tmp_path / "c")
    again = augment(*places, tmp_path / "a", 5, size=40, model=space)
    assert again.results[0].details["skipped"] is True


@pytest.mark.parametrize("name", ["out", "out.lmdb"])
def test_an_interrupted_run_is_taken_up(
    places: tuple[Path, Path], space: BlurSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole, out = tmp_path / "whole" / name, tmp_path / name
    augment(*places, whole, 6, size=40, model=space)
    add = Collection.add

    def killed(self: Collection, entry: dict[str, Any], files: dict[str, bytes]) -> None:
        if entry["index"] == 3:
            self._pictures.put(files)  # its pictures are there, its line is not
            raise KeyboardInterrupt
        add(self, entry, files)

    monkeypatch.setattr(Collection, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        augment(*places, out, 6, size=40, model=space)
    monkeypatch.undo()
    with (out / "augment.jsonl").open("a") as file:
        file.write('{"index": 4, "blurry": "bl')
    if name == "out":
        (out / "blurry" / "000" / ".0123456789abcdef.png").write_bytes(b"half")
        (out / "sharp" / "000" / "00000001.png").unlink()
    else:
        with pytest.raises(UnblurError, match="was not finished"):
            open_pairs(str(out))
    augment(*places, out, 6, size=40, model=space)
    if name == "out":
        assert contents(out) == contents(whole)
    else:
        assert lines(out) == lines(whole)
        one, other = LmdbPictures(out), LmdbPictures(whole)
        assert one.names == other.names
        assert all(one.contents(name) == other.contents(name) for name in one.names)


def test_lmdbs_in_and_out(places: tuple[Path, Path], space: BlurSpace, tmp_path: Path) -> None:
    stores = [tmp_path / f"{place.name}.lmdb" for place in places]
    for place, store in zip(places, stores, strict=True):
        store_pictures(place, store, module.Silent())
    augment(*places, tmp_path / "out", 4, size=40, model=space)
    augment(*stores, tmp_path / "out.lmdb", 4, size=40, model=space)
    assert lines(tmp_path / "out") == lines(tmp_path / "out.lmdb")
    made = LmdbPictures(tmp_path / "out.lmdb")
    assert len(open_pairs(str(tmp_path / "out.lmdb"))) == 4
    for name in made.names:
        assert made.contents(name) == (tmp_path / "out" / name).read_bytes()
    # A finished LMDB takes more.
    del made
    augment(*stores, tmp_path / "out.lmdb", 5, size=40, model=space)
    assert len(open_pairs(str(tmp_path / "out.lmdb"))) == 5


def test_blur_that_is_drawn(places: tuple[Path, Path], space: BlurSpace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    augment(None, places[1], out, 4, size=40, model=space)
    made = lines(out)
    assert all("source" not in entry and "reconstruction_psnr" not in entry for entry in made)
    assert len({entry["drawn"] for entry in made}) == 4
    entry = made[2]
    sharp, blurry = (read_image(out / entry[half]).pixels for half in ("sharp", "blurry"))
    drawn = space.apply(sharp, space.draw(40, 40, entry["drawn"]))
    torch.testing.assert_close(drawn, blurry, atol=0.51 / 255, rtol=0)


def test_whole_pictures(places: tuple[Path, Path], space: BlurSpace, tmp_path: Path) -> None:
    augment(*places, tmp_path / "out", 4, size=0, model=space)
    sizes = {tuple(entry["target"]["crop"]) for entry in lines(tmp_path / "out")}
    assert sizes <= {(0, 0, 100, 80), (0, 0, 101, 81), (0, 0, 30, 30)}
    for entry in lines(tmp_path / "out"):
        assert read_image(tmp_path / "out" / entry["blurry"]).pixels.shape[1:] == tuple(entry["target"]["crop"][2:])
        assert entry["source"]["crop"] == [0, 0, 90, 120]


def test_other_options_and_foreign_folders_are_refused(
    places: tuple[Path, Path], space: BlurSpace, network: PathBlurSpace, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    augment(*places, out, 2, size=40, model=space)
    before = contents(out)
    for change, told in (({"size": 48}, "size"), ({"seed": 1}, "seed")):
        with pytest.raises(UnblurError, match=f"made with another {told}"):
            augment(*places, out, 2, **{"size": 40, "model": space, **change})  # type: ignore[arg-type]
    other = BlurSpace(network, Card("toy", "path_blur_space", sha256="other"), device="cpu")
    with pytest.raises(UnblurError, match=r"made with another sha256"):
        augment(*places, out, 2, size=40, model=other)
    with pytest.raises(UnblurError, match="made with another sources"):
        augment(None, places[1], out, 2, size=40, model=space)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    with pytest.raises(UnblurError, match="holds something else"):
        augment(*places, tmp_path / "mine", 2, size=40, model=space)
    assert contents(out) == before


@pytest.mark.parametrize("out", ["photos", "photos/deep/out", "pairs/more.lmdb", "pairs/sharp/new"])
def test_an_output_among_the_pictures_is_refused(
    places: tuple[Path, Path], space: BlurSpace, tmp_path: Path, out: str
) -> None:
    before = contents(tmp_path)
    pairs = f"{places[0] / 'sharp'},{places[0] / 'blurry'}" if out.endswith("new") else places[0]
    with pytest.raises(UnblurError, match=r"out=.*: lies in .*, which pictures are taken from"):
        augment(pairs, places[1], tmp_path / out, 2, size=40, model=space)
    assert contents(tmp_path) == before


def test_a_damaged_picture_is_told_once_and_the_others_done(
    places: tuple[Path, Path], space: BlurSpace, tmp_path: Path
) -> None:
    damaged = places[0] / "blurry" / "1.png"
    data = damaged.read_bytes()
    damaged.write_bytes(data[:2000])
    report = augment(*places, tmp_path / "out", 12, size=40, model=space)
    assert report.exit_code == 1
    assert [str(error).count("1.png: is truncated") for error in report.errors] == [1]
    assert 0 < len(lines(tmp_path / "out")) < 12
    damaged.write_bytes(data)
    assert augment(*places, tmp_path / "out", 12, size=40, model=space).exit_code == 0
    augment(*places, tmp_path / "whole", 12, size=40, model=space)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("damage", [b"", b"no picture", "head"])
def test_pictures_with_damaged_heads_are_told_once_and_the_others_done(
    places: tuple[Path, Path], space: BlurSpace, tmp_path: Path, damage: Any
) -> None:
    """Also those that are not drawn; once they are mended, a second run makes what is missing."""
    victims = [places[0] / "sharp" / "1.png", places[1] / "a.png", places[1] / "deep" / "small.png"]
    whole = [path.read_bytes() for path in victims]
    for path, data in zip(victims, whole, strict=True):
        path.write_bytes(data[:20] if damage == "head" else damage)
    report = augment(*places, tmp_path / "out", 12, size=40, model=space)
    assert report.exit_code == 1
    assert [error.subject for error in report.errors] == [str(path) for path in victims]
    assert 0 < len(lines(tmp_path / "out")) < 12
    assert augment_files(*places, tmp_path / "p", AugmentOptions(5, 40), Silent(), model=space, preview=True).results
    for path, data in zip(victims[:2], whole, strict=False):
        path.write_bytes(data)
    report = augment(*places, tmp_path / "out", 12, size=40, model=space)
    assert [error.subject for error in report.errors] == [str(victims[2])]


def test_nothing_but_damaged_heads_is_an_end(places: tuple[Path, Path], space: BlurSpace, tmp_path: Path) -> None:
    for path in places[1].rglob("*.png"):
        path.write_bytes(b"no")
    with pytest.raises(UnblurError, match=r"is not a PNG"):
        augment(*places, tmp_path / "out", 3, size=40, model=space)


@pytest.fixture
def weights(network: PathBlurSpace, tmp_path: Path) -> Path:
    return save_weights(tmp_path / "toy.safetensors", network, Card("toy", "path_blur_space"))


def test_the_command_and_its_preview(
    places: tuple[Path, Path], weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["augment", *map(str, places), "-o", str(out), "-n", "3", "--size", "40", "--model", str(weights)]
    words += ["--device", "cpu"]
    assert main([*words, "--preview"]) == 0
    assert not out.exists()
    assert read_image(tmp_path / "out.preview.png").pixels.shape == (3, 26 + 3 * 46, 5 * 46)
    assert "out.preview.png" in capsys.readouterr().out
    assert main(words) == 0
    assert "3 pairs; their blur was read to" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["results"][0]["pairs"] == 3
    assert report["model"]["sha256"] == lines(out)[0]["sha256"]
    sample = ["augment", str(places[1]), "--sample", *words[3:]]
    sample[sample.index(str(out))] = str(tmp_path / "drawn")
    assert main([*sample, "--preview"]) == 0
    assert read_image(tmp_path / "drawn.preview.png").pixels.shape == (3, 26 + 3 * 46, 2 * 46)
    unblur.augment(*places, tmp_path / "twin", 3, size=40, model=weights, device="cpu")
    assert contents(tmp_path / "twin") == contents(out)


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        (["PHOTOS", "PHOTOS"], 1, "photos: holds no pairs; "),
        (["PAIRS", "nowhere"], 1, "nowhere: does not exist"),
        (["PAIRS", "PHOTOS", "--size", "500"], 1, "holds no picture as large as 500 x 500; use a smaller --size"),
        (["PAIRS", "PHOTOS", "-n", "0"], 2, "-n 0: too small"),
        (["PAIRS", "PHOTOS", "--seed", "-1"], 2, "--seed -1: too small"),
        (["PAIRS", "PHOTOS", "--workers", "0"], 2, "--workers 0: too small"),
        (["PAIRS", "PHOTOS", "--split", "some"], 2, "'some' is not one of"),
        (["PAIRS", "PHOTOS", "--split", "val"], 1, "has no pair of the split val"),
        (["PAIRS", "PHOTOS", "--model", "film-small"], 2, "--model film-small: is no blur space"),
        (["PAIRS", "PHOTOS", "--sample"], 2, "name one place with --sample"),
        (["PHOTOS"], 2, "name two places"),
        (["PAIRS,PHOTOS", "PHOTOS"], 1, "has no"),
    ],
)
def test_mistakes_are_told_in_one_line(
    places: tuple[Path, Path],
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    status: int,
    told: str,
) -> None:
    words = [word.replace("PAIRS", str(places[0])).replace("PHOTOS", str(places[1])) for word in change]
    words += [] if "--model" in words else ["--model", str(weights)]
    assert main(["augment", *words, "-o", str(tmp_path / "out"), "--device", "cpu"]) == status
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_plain_model_cannot_be_asked_to_draw(places: tuple[Path, Path], tmp_path: Path) -> None:
    plain = BlurKernelSpace(features=4, front_blocks=1, back_blocks=1, channels=4, encoder_blocks=1)
    with pytest.raises(UnblurError, match="is not variational, so no blur can be drawn"):
        augment(None, places[1], tmp_path / "out", 2, size=40, model=plain)
    report = augment(*places, tmp_path / "out", 2, size=40, model=plain)
    assert report.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out", "out.lmdb"])
def test_a_killed_process_loses_nothing(places: tuple[Path, Path], weights: Path, tmp_path: Path, name: str) -> None:
    out, whole = tmp_path / name, tmp_path / f"whole-{name}"
    options = ["-n", "16", "--size", "64", "--model", str(weights), "--device", "cpu"]
    command = [sys.executable, "-m", "unblur", "augment", *map(str, places), *options, "-o"]
    process = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if (out / "augment.jsonl").exists() and len((out / "augment.jsonl").read_text().splitlines()) > 3:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.005)
    assert process.returncode == -signal.SIGKILL
    assert main([*command[3:], str(out)]) == 0
    assert main([*command[3:], str(whole)]) == 0
    assert lines(out) == lines(whole)
    if name == "out":
        assert contents(out) == contents(whole)
    else:
        one, other = LmdbPictures(out), LmdbPictures(whole)
        assert {n: one.contents(n) for n in one.names} == {n: other.contents(n) for n in other.names}


PNG = encode(np.zeros((3, 4, 3), np.uint8), "png", 95, None, None)


def fill(out: Path, *indices: int, finished: bool = True) -> Collection:
    collection = Collection(out, {"seed": 1, "unblur": "x"}, free=("unblur",))
    for index in indices:
        names = {half: f"{half}/{index}.png" for half in ("blurry", "sharp")}
        collection.add({"index": index, **names}, dict.fromkeys(names.values(), PNG))
    collection.close(finished=finished)
    return collection


@pytest.mark.parametrize("name", ["out", "out.lmdb"])
def test_entries_come_back_in_order(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, 4, 1)
    assert list(fill(tmp_path / name, 0).entries) == [1, 4, 0]
    assert list(fill(tmp_path / name).entries) == [0, 1, 4]


def test_an_lmdb_that_is_not_finished_is_not_read(tmp_path: Path) -> None:
    out = tmp_path / "out.lmdb"
    fill(out, 0, finished=False)
    with pytest.raises(UnblurError, match="was not finished"):
        LmdbPictures(out)
    fill(out)
    assert LmdbPictures(out).names == ["blurry/0.png", "sharp/0.png"]


def test_what_speaks_of_other_options_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "out", 0)
    Collection(tmp_path / "out", {"seed": 1, "unblur": "y"}, free=("unblur",)).close(finished=True)
    with pytest.raises(UnblurError, match=r"made with another seed \(1\)"):
        Collection(tmp_path / "out", {"seed": 2})
    for text in ("{", "[]", "null"):
        (tmp_path / "out" / "augment.json").write_text(text)
        with pytest.raises(UnblurError, match="cannot be read"):
            Collection(tmp_path / "out", {"seed": 1})


@pytest.mark.parametrize("line", ["null", "[1]", '{"index": 1}', '{"index": "x", "blurry": 1, "sharp": 2}', "\x00"])
def test_lines_of_anything_else_are_dropped(tmp_path: Path, line: str) -> None:
    out = tmp_path / "out"
    fill(out, 0)
    with (out / "augment.jsonl").open("a") as file:
        file.write(line + "\n")
    assert list(fill(out).entries) == [0]
    assert len((out / "augment.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", ["out", "out.lmdb"])
def test_two_runs_cannot_write_at_once(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    one = Collection(out, {"seed": 1})
    unfinished = out / "blurry" / ".0123456789abcdef.png"
    unfinished.parent.mkdir(exist_ok=True)
    unfinished.write_bytes(b"of the one that is running")
    with pytest.raises(UnblurError, match="is being written by another run"):
        Collection(out, {"seed": 1})
    assert unfinished.exists()
    unfinished.unlink()
    names = {half: f"{half}/0.png" for half in ("blurry", "sharp")}
    one.add({"index": 0, **names}, dict.fromkeys(names.values(), PNG))
    one.close(finished=True)
    again = Collection(out, {"seed": 1})
    assert list(again.entries) == [0]
    again.close(finished=True)
