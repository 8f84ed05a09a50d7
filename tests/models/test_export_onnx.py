"""Models as ONNX files, through the command."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from unblur.cli import main
from unblur.errors import UnblurError
from unblur.models import export_onnx as runtime
from unblur.models.card import Card
from unblur.models.export_onnx import export_model
from unblur.models.weights import load_weights, save_weights
from unblur.networks.cfmd_critic import CFMDCritic
from unblur.networks.path_film import PathFilm

SMALL = {"widths": (4,), "blocks": (1,)}
EVIDENCE = {"hidden": 4, "blocks": 1}
CARD = Card("tiny", "film", summary="Tiny.", data="squares", licence="Apache-2.0", date="2026-11-22")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model and its ONNX file, and what the command said."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    network = PathFilm(dict(SMALL), {**SMALL, "spectral": EVIDENCE})
    torch.nn.init.normal_(network.restorer.unet.outro.weight, std=0.1)
    save_weights(folder / "tiny.safetensors", network, CARD)
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        code = main(["models", "export", str(folder / "tiny.safetensors"), "-o", str(folder / "tiny.onnx")])
    assert (code, told.getvalue()) == (0, "")
    (folder / "said.txt").write_text(said.getvalue())
    return folder


@pytest.fixture
def instant(folder, monkeypatch):
    """Without the wait: torch's exporter answers with the graph that is there."""
    program = type("Program", (), {"model_proto": onnx.load(folder / "tiny.onnx")})
    monkeypatch.setattr(runtime, "_traced", lambda *_: program)


def test_the_command_tells_what_was_written(folder):
    first, *lines = (folder / "said.txt").read_text().splitlines()
    assert first.startswith(f"{folder / 'tiny.safetensors'} -> {folder / 'tiny.onnx'}  (blurry -> sharp, ")
    assert first.endswith(" of torch)")
    assert lines == [
        "  in   blurry (batch, 3, height, width), RGB in [0, 1]",
        "  out  sharp (batch, 3, height, width), RGB in [0, 1], not yet clamped",
        "  height and width: multiples of 2",
        "  licence: Apache-2.0",
    ]


def test_the_file_answers_as_the_model_does(folder):
    session = onnxruntime.InferenceSession(str(folder / "tiny.onnx"), providers=["CPUExecutionProvider"])
    network = load_weights(folder / "tiny.safetensors").network.restorer
    for shape in ((1, 3, 2, 34), (5, 3, 22, 4)):
        blurry = torch.rand(shape)
        (sharp,) = session.run(["sharp"], {"blurry": blurry.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(sharp, network(blurry).numpy(), atol=1e-5)


def test_the_card_travels_with_the_file(folder):
    model = onnx.load(folder / "tiny.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    known = load_weights(folder / "tiny.safetensors").card
    assert metadata["sha256"] == known.sha256
    for key in ("licence", "data", "date", "summary"):
        assert metadata[key] == getattr(CARD, key)
    assert (metadata["model"], metadata["part"], metadata["sides.multiple"]) == ("tiny", "restorer", "2")
    assert metadata["input.blurry"] == "blurry (batch, 3, height, width), RGB in [0, 1]"
    assert metadata["output.sharp"].endswith("not yet clamped")
    assert metadata["unblur"] == model.producer_version


def test_a_report_for_machines(folder, instant, tmp_path, capsys):
    arguments = [str(folder / "tiny.safetensors"), "-o", str(tmp_path / "new" / "a.onnx"), "--json"]
    assert main(["models", "export", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["command"] == "models export"
    assert report["export"]["inputs"]["blurry"]["shape"] == ["batch", 3, "height", "width"]
    assert report["export"]["bytes"] == (tmp_path / "new" / "a.onnx").stat().st_size
    assert 0 <= report["export"]["difference"] < 1e-4


def test_a_file_that_is_there_stays(folder, instant, tmp_path):
    target = tmp_path / "a.onnx"
    target.write_bytes(b"mine")
    with pytest.raises(UnblurError, match=r"a\.onnx: is there already; .* `overwrite`"):
        export_model(folder / "tiny.safetensors", target)
    assert target.read_bytes() == b"mine"
    export_model(folder / "tiny.safetensors", target, overwrite=True)
    assert target.read_bytes() == (folder / "tiny.onnx").read_bytes()


@pytest.mark.parametrize("fault", [KeyboardInterrupt, UnblurError("--part restorer", "differs", "report it")])
def test_what_is_cut_short_leaves_nothing(folder, instant, fault, tmp_path, monkeypatch):
    target = tmp_path / "a.onnx"
    target.write_bytes(b"mine")

    def stop(*_):
        assert len(list(tmp_path.iterdir())) == 2, "it is written by now"
        raise fault

    monkeypatch.setattr(runtime, "_difference", stop)
    with pytest.raises((KeyboardInterrupt, UnblurError)):
        export_model(folder / "tiny.safetensors", target, overwrite=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_answers_that_are_not_torchs_are_not_kept(folder, instant, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "_difference", lambda *_: float("nan"))
    with pytest.raises(UnblurError, match="so it was not kept"):
        export_model(folder / "tiny.safetensors", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "a.onnx", "--part", "film"], "--part film: tiny finds paths by solving linear equations, which ONNX"),
        (["-o", "a.onnx", "--part", "restore"], "--part restore: tiny has no such part; did you mean restorer?"),
        (["-o", "a.pt"], "a.pt: is no name for an ONNX file; let it end in .onnx"),
        (["-o", "."], ".: is a folder; name a file, such as"),
        (["-o", "a.onnx", "--opset", "9"], "--opset"),
        ([], "-o"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(folder, arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["models", "export", str(folder / "tiny.safetensors"), *arguments]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_networks_of_which_no_graph_is_offered(tmp_path):
    path = save_weights(tmp_path / "critic.safetensors", CFMDCritic(4, 4), Card("critic", "cfmd_critic"))
    with pytest.raises(UnblurError, match="critic: is a CFMDCritic, of which no ONNX graph is offered; there are"):
        export_model(path, tmp_path / "a.onnx")


def test_without_the_extra_the_remedy_is_told(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "find_spec", lambda name: None if name == "onnxscript" else True)
    assert main(["models", "export", str(folder / "tiny.safetensors"), "-o", str(tmp_path / "a.onnx")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "unblur: models export: needs onnxscript; pip install 'unblur[export]'"


def test_the_ten_lines_of_the_manual(folder, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    (lines,) = (block for block in page.split("```python\n")[1:] if "onnxruntime" in block)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (71, 90, 3), np.uint8)).save(tmp_path / "photo.png")
    shutil.copy(folder / "tiny.onnx", tmp_path / "film.onnx")
    monkeypatch.chdir(tmp_path)
    exec(lines.split("```")[0], {})
    blurry = torch.from_numpy(np.array(Image.open("photo.png"))).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        sharp = load_weights(folder / "tiny.safetensors").network.restorer(blurry)[0]
    written = np.asarray(Image.open("sharp.png"))
    assert np.abs(written - 255 * sharp.clamp(0, 1).permute(1, 2, 0).numpy()).max() < 0.6
