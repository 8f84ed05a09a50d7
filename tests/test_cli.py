"""The command line's promises: exit codes, one-line errors, reports, and help that needs no torch."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from torch import nn

import unblur
import unblur.training
from unblur.cli import main, program
from unblur.cli.console import Spelling
from unblur.errors import UnblurError, UsageError
from unblur.media.image import Picture, read_image
from unblur.media.video import read_clip
from unblur.models import load as choice
from unblur.models.card import Card
from unblur.models.registry import ALIASES
from unblur.models.weights import save_weights
from unblur.networks.hypercut import HyperCUT
from unblur.networks.path_film import PathFilm, UNetRestorer
from unblur.pipeline import restore as engine_module

SMALL = {"widths": (8, 8), "blocks": (1, 1)}
CARD = Card("tiny", "film", licence="Apache-2.0")
ON = ["--device", "cpu", "--dtype", "float32"]
CPU = [*ON, "--model", "fast"]


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    """Small networks by the names of models that came with the package."""
    torch.manual_seed(0)
    film, single = PathFilm(dict(SMALL), {"degree": 2, **SMALL}), UNetRestorer(**SMALL)
    for unet in (film.restorer.unet, film.motion.unet, single.unet):
        nn.init.normal_(unet.outro.weight, std=0.05)

    def load_weights(name):
        name = ALIASES.get(name, name)
        if name not in ("film-small", "maxim"):
            raise unblur.UnblurError(name, "no such model", "see `unblur models list`")
        network = film if name == "film-small" else single
        return SimpleNamespace(network=network, card=SimpleNamespace(name=name))

    monkeypatch.setattr(engine_module, "load_weights", load_weights)
    monkeypatch.delenv("UNBLUR_DEBUG", raising=False)
    return film


@pytest.fixture
def photos(tmp_path):
    """A folder with two photos and one file that is none."""
    folder = tmp_path / "photos"
    for i, name in enumerate(("a.png", "b.jpg")):
        Picture(torch.rand(3, 24, 36, generator=torch.Generator().manual_seed(i))).save(folder / name)
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


def run(capsys, *arguments):
    """Exit code, stdout, lines of stderr."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["deblur", "--help"],
        ["inspect", "-h"],
        ["frames", "-h"],
        ["models", "--help"],
        ["augment", "-h"],
        ["data", "lmdb", "-h"],
        ["order", "label", "-h"],
        ["frames"],
    ],
)
def test_help_imports_nothing_heavy(arguments):
    heavy = ["torch", "numpy", "lightning", "PIL", "av", "cv2", "jsonargparse", "rich"]
    code = f"""
import sys
from unblur.cli import main, program
from unblur.cli.console import Spelling
from unblur.errors import UnblurError, UsageError
print(main({arguments!r}))
print([name for name in {heavy!r} if name in sys.modules])
"""
    done = python(code)
    assert done.stdout.splitlines()[-1] == "[]", done
    assert done.stdout.splitlines()[-2] == ("2" if arguments == ["frames"] else "0")


def test_importing_the_package_imports_no_torch():
    done = python("import sys, unblur; print('torch' in sys.modules, 'deblur' in dir(unblur)); unblur.nothing")
    assert done.stdout.split() == ["False", "True"]
    assert "has no attribute 'nothing'" in done.stderr


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"unblur {unblur.__version__}\n", [])


def test_python_m_unblur_is_the_command():
    done = subprocess.run([sys.executable, "-m", "unblur", "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "unblur: No such command 'nothing'; see `unblur --help`\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["deblur"], "PHOTO"),
        (["deblur", "a.png", "--colour"], "--colour"),
        (["deblur", "a.png", "--max-pixels", "0"], "--max-pixels"),
        (["frames", "a.png", "-n", "0"], "-n"),
        (["frames", "a.png", "--times", "0,2"], "--times"),
        (["frames", "a.png", "--times", "0,x"], "--times"),
        (["frames", "a.png", "--format", "avi"], "--format"),
        (["frames", "a.png", "--fps", "0"], "--fps"),
        (["sharpen", "a.png"], "sharpen"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys, arguments, said):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert len(err) == 1
    assert said in err[0]
    assert "--help" in err[0]


@pytest.mark.parametrize("option", [["--device", "gpu"], ["--dtype", "int4"], ["--tile", "10"], ["--tile", "big"]])
def test_options_that_cannot_be_met_are_wrong_usage(capsys, photos, option):
    code, out, err = run(capsys, "deblur", photos / "a.png", *option)
    assert code == 2
    assert out == ""
    assert len(err) == 1
    assert err[0].startswith(f"unblur: {' '.join(option)}: ")


def test_a_value_that_the_first_photo_shows_to_be_wrong_is_wrong_usage(capsys, photos):
    arguments = ["deblur", photos / "a.png", "--data-consistency", "-1", *CPU]
    code, _, err = run(capsys, *arguments)
    assert (code, err) == (2, ["unblur: --data-consistency -1: not a number of steps; use 0 or more"])
    code, out, _ = run(capsys, *arguments, "--json")
    (error,) = json.loads(out)["errors"]
    assert (code, error["input"]) == (2, "--data-consistency -1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "val-1"], "--model best, --json, and `quality`"),
        (["deblur", "a.png"], "--model best, --json, and --quality"),
        (["data", "blur", "a.png"], "`model=best`, --json, and `quality`"),
    ],
)
def test_messages_name_the_options_of_the_command(arguments, message):
    spelling = Spelling.of(typer.main.get_command(program.app), arguments)
    assert spelling.text("`model=best`, `json`, and `quality`") == message


def test_errors_name_the_options_of_the_command():
    command = typer.main.get_command(program.app)

    def spelled(words, error):
        return str(Spelling.of(command, words).error(error))

    boxes = UsageError("boxes", "1,2", "is no box", "add `face_model`")
    assert spelled(["deblur"], boxes) == "--face-box 1,2: is no box; add --face-model"
    assert spelled(["frames"], UsageError("n", 0, "too few", "use `n=1`")) == "-n 0: too few; use -n 1"
    assert spelled(["frames"], UsageError("format", "avi", "unknown", "use mp4")) == "--format avi: unknown; use mp4"
    assert spelled(["reblur"], UsageError("inputs", None, "missing", "name one")) == "SHARP: missing; name one"
    assert spelled(["reblur"], UnblurError("a.png", "too large", "use `max_pixels=9`")).endswith("use --max-pixels 9")


def test_a_photo_beside_itself(capsys, photos):
    code, out, err = run(capsys, "deblur", photos / "a.png", *CPU)
    assert (code, err) == (0, [])
    first, last = out.splitlines()
    assert first.startswith(f"{photos / 'a.png'} -> {photos / 'a.sharp.png'}  (36x24, reblur residual ")
    assert "dB in linear light" in first
    assert last.startswith("1 sharpened in ")
    assert read_image(photos / "a.sharp.png").pixels.shape == (3, 24, 36)


def test_a_folder_again_takes_no_results_for_photos(capsys, photos):
    (photos / "broken.png").unlink()
    for _ in range(2):
        code, out, _ = run(capsys, "deblur", photos, *CPU)
        assert code == 0
        assert out.splitlines()[-1].startswith("2 sharpened")
    assert sorted(path.name for path in photos.iterdir()) == ["a.png", "a.sharp.png", "b.jpg", "b.sharp.jpg"]


def test_a_bad_file_does_not_stop_the_others(capsys, photos, tmp_path):
    code, out, err = run(capsys, "deblur", photos, tmp_path / "missing.png", "-o", tmp_path / "out", *CPU)
    assert code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.jpg"]
    assert len(err) == 2
    assert all(line.startswith("unblur: ") and "; " in line for line in err)
    assert "missing.png" in err[0]
    assert "broken.png" in err[1]
    assert out.splitlines()[-1].startswith("2 sharpened, 2 failed in ")


def test_the_report(capsys, photos, tmp_path):
    code, out, err = run(capsys, "deblur", photos, "-o", tmp_path / "out", "--json", *CPU)
    report = json.loads(out)
    assert code == 1
    assert len(err) == 1
    assert report["command"] == "deblur"
    assert report["ok"] is False
    assert report["model"] == {
        "name": "film-small",
        "chosen": None,
        "network": "PathFilm",
        "kind": "film",
        "paths": "film-small",
        "device": "cpu",
        "dtype": "float32",
    }
    assert [entry["input"] for entry in report["results"]] == [str(photos / "a.png"), str(photos / "b.jpg")]
    first = report["results"][0]
    assert first["output"] == str(tmp_path / "out" / "a.png")
    assert (first["width"], first["height"], first["bits"], first["tile"]) == (36, 24, 8, None)
    assert first["seconds"] > 0
    assert first["residual"]["frames"] == 9
    assert first["residual"]["linear_light"]["response"] == "srgb"
    assert first["residual"]["stored_values"]["db"] > 0
    (error,) = report["errors"]
    assert error["input"] == str(photos / "broken.png")
    assert error["problem"]
    assert error["remedy"]


def test_a_model_for_one_picture_makes_pictures_and_films(capsys, photos, tmp_path):
    arguments = [photos / "a.png", "--model", "best", "--json", *ON]
    code, out, _ = run(capsys, "deblur", *arguments)
    report = json.loads(out)
    assert code == 0
    assert (report["model"]["name"], report["model"]["kind"]) == ("maxim", "restorer")
    assert report["model"]["paths"] == "film-small"
    assert report["results"][0]["residual"]["stored_values"]["db"] > 0
    code, out, _ = run(capsys, "frames", *arguments, "-n", 3, "-o", f"{tmp_path / 'frames'}/")
    assert code == 0
    assert json.loads(out)["model"]["name"] == "maxim"
    frames = [read_image(path).pixels for path in sorted((tmp_path / "frames").iterdir())]
    assert (frames[1] - read_image(photos / "a.sharp.png").pixels).abs().max() < 2 / 255
    assert not torch.equal(frames[0], frames[2])


def test_the_choice_of_a_model_is_told(capsys, photos, monkeypatch):
    (photos / "broken.png").unlink()
    code, out, _ = run(capsys, "deblur", photos, *ON)
    assert code == 0
    assert out.splitlines()[-1].startswith("2 sharpened in ")
    assert " s with maxim (best; --model fast takes 1/" in out.splitlines()[-1]
    monkeypatch.setattr(choice, "PATIENCE", 1e-6)
    report = json.loads(run(capsys, "frames", photos, "-n", 2, "--json", *ON)[1])
    assert report["model"]["name"] == "film-small"
    assert "--model best" in report["model"]["chosen"]
    code, out, _ = run(capsys, "deblur", photos / "a.png", *CPU)
    assert out.splitlines()[-1].endswith(" s with film-small"), "who names a model is not told why"
    code, out, _ = run(capsys, "deblur", photos / "a.png", "--skip-existing", *ON)
    assert "best" in out.splitlines()[-1], "what is there already takes no time"


def test_a_refined_film(capsys, photos, tmp_path):
    film = ("-n", "3", "-o", f"{tmp_path / 'film'}/", "--refine", *ON)
    code, out, _ = run(capsys, "frames", photos / "a.png", *film)
    assert code == 0
    assert "refined" in out
    code, out, _ = run(capsys, "frames", photos / "a.png", *film, "--json")
    refinement = json.loads(out)["results"][0]["refinement"]
    assert set(refinement) == {"kept", "shrinkage", "residual_before", "residual_after"}
    assert refinement["residual_before"]["linear_light"]["db"] > 0


def test_a_film_from_the_users_own_sharp_frame(capsys, photos, tmp_path):
    sharp = Picture(torch.rand(3, 24, 36)).save(tmp_path / "sharp.png")
    film = ["-n", 3, "-o", f"{tmp_path / 'frames'}/", "--json", *ON]
    code, out, _ = run(capsys, "frames", photos / "a.png", "--sharp", sharp, *film)
    report = json.loads(out)
    assert code == 0
    assert (report["sharp"], report["model"]["name"]) == (str(sharp), "film-small")
    middle = sorted((tmp_path / "frames").iterdir())[1]
    assert (read_image(middle).pixels - read_image(sharp).pixels).abs().max() < 2 / 255
    small = Picture(torch.rand(3, 24, 30)).save(tmp_path / "small.png")
    code, _, err = run(capsys, "frames", photos / "a.png", "--sharp", small, *film)
    assert (code, len(err)) == (1, 1)
    assert "is 30x24, but the photo 36x24" in err[0]
    code, _, err = run(capsys, "frames", photos, "--sharp", sharp, *ON)
    assert (code, len(err)) == (2, 1)
    assert "name one photo" in err[0]
    code, _, err = run(capsys, "frames", photos / "a.png", "--sharp", sharp, "--model", "best", *ON)
    assert (code, len(err)) == (2, 1)
    assert "leave one of the two out" in err[0]


def test_a_run_that_cannot_begin_still_reports(capsys, photos):
    code, out, err = run(capsys, "deblur", photos / "a.png", "--model", "nothing", "--json", *ON)
    report = json.loads(out)
    assert code == 1
    assert len(err) == 1
    assert (report["ok"], report["results"], report["errors"][0]["input"]) == (False, [], "nothing")


def test_an_input_is_never_replaced(capsys, photos):
    before = (photos / "a.png").read_bytes()
    for arguments in (["-o", photos], ["-o", photos / "a.png"]):
        code, out, err = run(capsys, "deblur", photos / "a.png", *arguments, *CPU)
        assert code == 1
        assert out == "" or out.startswith("0 sharpened")
        assert "input" in err[0]
    assert (photos / "a.png").read_bytes() == before


def test_one_file_for_many_pictures_is_refused(capsys, photos, tmp_path):
    code, _, err = run(capsys, "deblur", photos, "-o", tmp_path / "a.png", *CPU)
    assert code == 2
    assert "folder" in err[0]
    assert not (tmp_path / "a.png").exists()


def test_outputs_that_are_there_are_left_when_asked(capsys, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    code, said, _ = run(capsys, "deblur", photos / "a.png", photos / "b.jpg", "-o", out, "--skip-existing", *CPU)
    assert code == 0
    assert (out / "a.png").read_text() == "mine"
    assert "1 sharpened, 1 skipped" in said
    run(capsys, "deblur", photos / "a.png", "-o", f"{out}/", *CPU)
    assert read_image(out / "a.png").width == 36


def test_progress_is_shown_on_a_terminal_and_never_on_stdout(capsys, photos, monkeypatch):
    arguments = ["deblur", photos / "a.png", "--json", *CPU]
    assert run(capsys, *arguments)[2] == []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert json.loads(out)["ok"]
    assert any("a.png" in line for line in err)


def test_photos_are_inspected(capsys, photos):
    code, out, err = run(capsys, "inspect", photos, *CPU)
    assert (code, len(err)) == (1, 1)
    assert "broken.png" in err[0]
    first, _, last = out.splitlines()
    assert first.startswith(f"{photos / 'a.png'} -> {photos / 'a.paths.png'}  (36x24, cannot tell")
    assert last.startswith("2 inspected, 1 failed in ")
    assert read_image(photos / "a.paths.png").width == 800
    (photos / "broken.png").unlink()
    code, out, _ = run(capsys, "inspect", photos, *CPU)
    assert (code, len(out.splitlines())) == (0, 3), "the drawings are no photos"


def test_the_report_of_an_inspection(capsys, photos, tmp_path):
    code, out, _ = run(capsys, "inspect", photos, "-o", tmp_path / "out", "--json", *CPU)
    report = json.loads(out)
    assert (code, report["command"], report["ok"], len(report["errors"])) == (1, "inspect", False, 1)
    assert report["model"]["name"] == "film-small"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    for result in report["results"]:
        assert (result["width"], result["height"], result["tile"]) == (36, 24, None)
        assert (result["verdict"], result["places"]) == ("unsure", 0)
        assert set(result["probabilities"]) == {"sharp", "motion", "defocus"}
        assert (result["motion"].pop("length"), result["motion"].pop("length_95")) == (None, None), "too small to tell"
        assert set(result["motion"]) == {"angle", "spread", "camera", "path_length", "path_length_95"}
        assert all(isinstance(value, float) for value in result["motion"].values())


def test_what_is_no_motion_blur_is_warned_of(capsys, tmp_path, leaves, defocused):
    photo = Picture(defocused(leaves, 4)).save(tmp_path / "a.png")
    code, out, err = run(capsys, "deblur", photo, *CPU)
    assert (code, len(out.splitlines())) == (0, 2)
    assert err == [f"unblur: {photo}: looks out of focus rather than moved, and motion is all that is undone here"]
    code, out, err = run(capsys, "frames", photo, "-n", 2, "--json", *CPU)
    report = json.loads(out)
    assert (code, report["ok"], len(err)) == (0, True, 1)
    assert "out of focus" in report["results"][0]["warning"]
    code, out, err = run(capsys, "deblur", photo, "--no-check", "--json", *CPU)
    assert (code, err, json.loads(out)["results"][0]["warning"]) == (0, [], None)


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "film.webp"])
def test_a_film(capsys, photos, tmp_path, name):
    code, out, err = run(capsys, "frames", photos / "a.png", "-n", 5, "-o", tmp_path / name, "--fps", 10, *CPU)
    assert (code, err) == (0, [])
    assert "(5 frames, 36x24, reblur residual " in out
    assert read_clip(tmp_path / name).count == 5


def test_frames_at_times_in_a_folder(capsys, photos, tmp_path):
    arguments = ["frames", photos / "a.png", "--times", "0,0.25,1", "-o", f"{tmp_path / 'v1.0'}/", "--json", *CPU]
    code, out, _ = run(capsys, *arguments)
    (result,) = json.loads(out)["results"]
    assert code == 0
    assert result["times"] == [0, 0.25, 1]
    assert len(list((tmp_path / "v1.0").iterdir())) == 3
    forwards = [read_image(path).pixels for path in sorted((tmp_path / "v1.0").iterdir())]
    assert run(capsys, *arguments, "--reverse")[0] == 0
    backwards = [read_image(path).pixels for path in sorted((tmp_path / "v1.0").iterdir())]
    assert torch.equal(forwards[0], backwards[2])
    assert not torch.equal(forwards[1], backwards[1])


def test_films_of_many(capsys, photos, tmp_path):
    (photos / "broken.png").unlink()
    assert run(capsys, "frames", photos, "-n", 2, "-o", tmp_path / "films", *CPU)[0] == 0
    assert sorted(path.name for path in (tmp_path / "films").iterdir()) == ["a.mp4", "b.mp4"]
    assert run(capsys, "frames", photos / "a.png", "-n", 2, "--format", "png", *CPU)[0] == 0
    assert len(list((photos / "a.film").iterdir())) == 2


def test_an_unforeseen_failure_is_one_line_and_a_traceback_only_when_asked(capsys, photos, tmp_path, shipped):
    def faulty(state, times):
        raise RuntimeError("mat1 and mat2\nshapes cannot be multiplied")

    shipped.decode = faulty
    arguments = ["deblur", photos / "a.png", photos / "b.jpg", "-o", tmp_path / "out", *CPU]
    code, _, err = run(capsys, *arguments)
    assert code == 1
    assert len(err) == 2
    assert "a.png: unexpected RuntimeError: mat1 and mat2 shapes" in err[0]
    assert "--debug" in err[0]
    _, _, err = run(capsys, *arguments, "--debug")
    assert any("Traceback" in line for line in err)
    assert not (tmp_path / "out").exists()


def test_interruption_is_130_and_quiet(capsys, photos, shipped, tmp_path):
    def interrupted(blurry, sharp):
        raise KeyboardInterrupt

    shipped.estimate_motion = interrupted
    code, _, err = run(capsys, "deblur", photos / "a.png", "-o", tmp_path / "a.png", *CPU)
    assert code == 130
    assert len(err) == 1
    assert not (tmp_path / "a.png").exists()


def test_training_is_a_command_like_the_others(capsys, tmp_path):
    code, out, err = run(capsys, "train", "--help")
    assert code == 0
    assert "RECIPE.yaml" in "".join(out)
    recipe = Path(__file__).parents[1] / "recipes" / "film-small.yaml"
    code, out, err = run(capsys, "train", recipe, "--help")
    assert code == 0
    assert "--trainer.max_steps" in out
    code, out, err = run(capsys, "train", recipe, "--trainer.max-stepz", 3)
    assert (code, out, len(err)) == (2, "", 1)
    assert "the nearest is trainer.max_steps" in err[0]
    code, out, err = run(
        capsys, "train", recipe, "--data.train", tmp_path / "none", "--out", tmp_path / "run", "--json"
    )
    assert code == 1
    report = json.loads(out)
    assert (report["command"], report["ok"], len(report["errors"])) == ("train", False, 1)
    assert run(capsys, "train")[0] == 2


def test_models_are_told_of(capsys, tmp_path):
    file = save_weights(tmp_path / "a.safetensors", PathFilm(dict(SMALL), dict(SMALL)), CARD)
    code, out, err = run(capsys, "models", "show", file)
    assert (code, err) == (0, [])
    assert "Apache-2.0" in out
    code, out, _ = run(capsys, "models", "show", file, "--json")
    assert json.loads(out)["model"]["card"]["licence"] == "Apache-2.0"
    code, out, _ = run(capsys, "models", "list", "--json")
    assert code == 0
    assert "models" in json.loads(out)
    for arguments in (["show", "nothing"], ["convert", "nothing.pth", tmp_path / "b.safetensors"]):
        code, out, err = run(capsys, "models", *arguments)
        assert (code, out, len(err)) == (1, "", 1)


def test_a_protocol_is_measured(capsys, tmp_path, monkeypatch):
    from unblur.evaluation import film_protocol as evaluate
    from unblur.evaluation.report import EvaluationReport, ScoreRow, ScoreTable

    def exposures(root, cache, *, limit, progress):
        raise unblur.UnblurError(root, f"limit {limit}, cache {cache}", "none")

    monkeypatch.setitem(evaluate.PROTOCOLS, "val-1", exposures)
    code, out, err = run(capsys, "eval", "val-1", "--data", tmp_path, "--limit", 3, "--cache", tmp_path / "c", *CPU)
    assert (code, out) == (1, "")
    assert err == [f"unblur: {tmp_path}: limit 3, cache {tmp_path / 'c'}; none"]

    row = ScoreRow({"exposures": "all", "of": "film-small"}, 3, {"psnr": 30.0})
    scores = {"results": ScoreTable({"exposures": "exposures", "of": "of", "psnr": "PSNR"}, (row,))}
    report = EvaluationReport(protocol="val-1", model={"name": "film-small"}, counted="3 exposures", scores=scores)
    monkeypatch.setattr(evaluate, "evaluate", lambda *arguments, **options: report)
    code, out, err = run(capsys, "eval", "val-1")
    assert (code, err) == (0, [])
    assert "| all" in out
    assert out.splitlines()[-1].startswith("val-1: 3 exposures")
    assert json.loads(run(capsys, "eval", "val-1", "--json")[1])["protocol"] == "val-1"


def test_training_data_is_made(capsys, tmp_path):
    photo = Picture(torch.rand(3, 12, 12).repeat_interleave(12, 1).repeat_interleave(12, 2))
    photo.save(tmp_path / "photo.png")
    made = ["data", "blur", tmp_path / "photo.png", tmp_path / "none.png", "-o", tmp_path / "out", "--count", 2]
    code, out, err = run(capsys, *made, "--size", 48, "--frames", 3, "--length", "2,6", "--json")
    report = json.loads(out)
    assert (code, len(err)) == (1, 1)
    assert report["exposures"] == 2
    assert len(list((tmp_path / "out/blurry").glob("*.png"))) == 2
    assert len(list((tmp_path / "out/sharp").rglob("*.png"))) == 6
    assert run(capsys, *made, "--length", "2")[0] == 2
    assert run(capsys, *made, "--response", "film")[0] == 2


def test_metadata_is_made(capsys, tmp_path):
    for name in ("blur/0.png", "sharp/0_1.png", "sharp/0_2.png"):
        Picture(torch.rand(3, 8, 8)).save(tmp_path / "set/clip" / name)
    code, out, err = run(capsys, "data", "metadata", tmp_path / "set", "-o", tmp_path / "m.json")
    assert (code, err) == (0, [])
    assert out.splitlines()[0] == f"{tmp_path / 'set'} -> {tmp_path / 'm.json'}  (1 x 2 frames, rb2v)"
    assert json.loads((tmp_path / "m.json").read_text())["data"][0]["blur_path"] == "set/clip/blur/0.png"
    (tmp_path / "m.json").write_text("labels")
    again = ("data", "metadata", tmp_path / "set", "-o", tmp_path / "m.json")
    code, _, err = run(capsys, *again)
    assert (code, (tmp_path / "m.json").read_text()) == (1, "labels")
    assert "--overwrite" in err[0]
    assert run(capsys, *again, "--overwrite")[0] == 0
    assert json.loads((tmp_path / "m.json").read_text())["frame_per_seq"] == 2
    assert run(capsys, "data", "metadata", tmp_path / "set", "--layout", "gopro")[0] == 2
    assert run(capsys, "data", "metadata", tmp_path / "set", "--layout", "reds")[0] == 1
    assert run(capsys, "data", "metadata", tmp_path / "set", "--group", "1")[0] == 2


def test_orders_are_scored_checked_and_labelled(capsys, tmp_path):
    model = save_weights(tmp_path / "o.safetensors", HyperCUT(4, 4, 1), Card("o", "hypercut"))
    for clip in ("a", "b"):
        for name in ("blur/0.png", *(f"sharp/0_{i}.png" for i in range(1, 5))):
            Picture(torch.rand(3, 64, 64)).save(tmp_path / "set" / clip / name)
    metadata = tmp_path / "set" / "metadata.json"
    assert run(capsys, "data", "metadata", tmp_path / "set")[0] == 0
    how = ["--model", model, "--device", "cpu"]
    code, out, err = run(capsys, "order", "score", metadata, tmp_path / "set/a/sharp", *how)
    assert (code, err) == (0, [])
    assert [line.split(" | ")[0] for line in out.splitlines()[2:5]] == [
        "| a/0",
        "| b/0",
        f"| {tmp_path / 'set/a/sharp'}",
    ]
    code, out, err = run(capsys, "order", "eval", metadata, *how)
    assert (code, err) == (0, [])
    assert out.splitlines()[0] == "| clips | n | hit 1 | hit 2 | con@2 | confidence |"
    assert out.splitlines()[2].startswith("| all | 2 | 1.000 | 1.000 |")
    assert json.loads(run(capsys, "order", "eval", metadata, *how, "--json")[1])["measures"]["all"]["hit 1"] == 1
    code, out, err = run(capsys, "order", "label", metadata, "-o", tmp_path / "new.json", *how)
    assert (code, err) == (0, [])
    assert out.startswith(f"{metadata} -> {tmp_path / 'new.json'}  (")
    assert {one["order"] for one in json.loads((tmp_path / "new.json").read_text())["data"]} <= {"keep", "reverse"}
    assert run(capsys, "order", "label", tmp_path / "new.json", "-o", tmp_path / "x.json", "--split", "some")[0] == 2
    assert run(capsys, "order", "score", tmp_path / "none.mp4", *how)[0] == 1
    assert run(capsys, "order", "score", metadata, *how, "--side", "3")[0] == 2
    (metadata.parent / "a/sharp/0_2.png").unlink()
    code, out, err = run(capsys, "order", "label", metadata, "-o", tmp_path / "new.json", *how)
    assert (code, out) == (1, "")
    remedy = "add it, remove the entry, or name the folder where the paths start with --root"
    assert err == [f'unblur: {metadata}, entry 1 ("a/0"): names "a/sharp/0_2.png", which is not there; {remedy}']
