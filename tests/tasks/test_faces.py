from __future__ import annotations

import json

import pytest
import torch
from drawn_faces import ColourDetector, draw_face
from torch import nn

from unblur.cli import main
from unblur.errors import UnblurError
from unblur.media.image import Picture, read_image, write_image
from unblur.networks.cfmd import CFMD
from unblur.networks.kinds import FilmNetwork
from unblur.pipeline.restore import Pipeline
from unblur.tasks import faces as task
from unblur.tasks.deblur import deblur
from unblur.tasks.faces import load_faces
from unblur.tasks.frames import frames


class Tinted(nn.Module, FilmNetwork):
    """A film network that moves nothing: it adds `by` at every time, and `drift` more at the end."""

    def __init__(self, by=0.0, drift=0.0):
        super().__init__()
        self.by, self.drift = by, drift
        self.weight = nn.Parameter(torch.zeros(1))

    def encode(self, blurry):
        return blurry

    def decode(self, state, times):
        added = self.by + self.drift * times
        return state[:, None] + added[None, :, None, None, None]


class Broken(Tinted):
    def decode(self, state, times):
        return super().decode(state, times) * float("nan")


def pipeline(network):
    return Pipeline(network, device="cpu", dtype="float32")


@pytest.fixture
def photo():
    """Two faces, a tiny one, and one that lies on its side."""
    picture = torch.full((3, 120, 200), 0.5)
    picture = draw_face(draw_face(picture, 20, 30, 32), 160, 60, 16)
    side = torch.rot90(draw_face(torch.full((3, 32, 32), 0.5), 0, 0, 32), -1, (1, 2))
    picture[:, 70:102, 90:122] = side
    return picture


def faces_of(network, **more):
    return load_faces(pipeline(network), detector=ColourDetector(), **more)


def test_faces_by_their_model_and_the_rest_by_the_general_one(photo):
    plain = deblur(photo, pipeline(Tinted()), check=False)
    made = deblur(photo, pipeline(Tinted()), check=False, faces=faces_of(Tinted(0.05)))
    statuses = made.faces.statuses
    assert [(s.became, s.turned) for s in statuses] == [("restored", 0), ("restored", 90), ("skipped", 0)]
    assert statuses[2].reason == "is 16 pixels large, and 24 are needed"
    assert statuses[0].box == pytest.approx((20, 30, 52, 62))
    difference = made.image - plain.image
    assert (difference[2, 34:38, 22:50] - 0.05).abs().max() < 1e-5
    # Exact outside of the faces, around the tiny one too.
    changed = difference.abs().amax(0) > 0
    assert changed[:, 150:].sum() == 0
    assert changed[:10].sum() == 0
    assert difference.min() >= -1e-6
    assert str(made.faces) == "3 faces: 2 restored, 1 skipped"


def test_a_face_that_lies_is_restored_upright(photo):
    class Striped(Tinted):
        def decode(self, state, times):
            made = super().decode(state, times).clone()
            made[..., : made.shape[-2] // 2, :] += 0.1  # the upper half
            return made

    plain = deblur(photo, pipeline(Tinted()), check=False)
    made = deblur(photo, pipeline(Tinted()), check=False, faces=faces_of(Striped()))
    difference = (made.image - plain.image)[1]
    # Its top points right: it was turned clockwise.
    assert difference[86, 118] > 0.05
    assert difference[86, 94] < 0.01


def test_no_face_is_an_answer():
    picture = torch.full((3, 60, 60), 0.5)
    made = deblur(picture, pipeline(Tinted()), check=False, faces=faces_of(Tinted(0.1)))
    assert torch.equal(made.image, deblur(picture, pipeline(Tinted()), check=False).image)
    assert (str(made.faces), made.faces.statuses) == ("no face found", ())


@pytest.mark.parametrize(
    ("network", "why"), [(Broken(), "not numbers"), (Tinted(0.4), "another picture"), (Tinted(0, 0.5), "another")]
)
def test_what_failed_is_not_pasted(photo, network, why):
    plain = deblur(photo, pipeline(Tinted()), check=False)
    made = deblur(photo, pipeline(Tinted()), check=False, faces=faces_of(network))
    assert torch.equal(made.image, plain.image)
    assert [status.became for status in made.faces.statuses] == ["failed", "failed", "skipped"]
    assert why in made.faces.statuses[0].reason


def test_faces_in_every_frame_in_the_direction_of_the_whole(photo):
    general = pipeline(Tinted(0.0, 0.05))
    plain = frames(photo, 3, model=general, check=False)
    for drift, start in ((0.05, 0.0), (-0.05, 0.05)):
        # The second one runs the other way by itself.
        film = frames(photo, 3, model=general, check=False, faces=faces_of(Tinted(start, drift)))
        assert len(film.faces.statuses) == 3
        assert torch.allclose(film.tensor(), plain.tensor(), atol=1e-5)
    film = frames(photo, 3, reverse=True, model=general, check=False, faces=faces_of(Tinted(0.05, -0.05)))
    assert torch.allclose(film.tensor(), plain.tensor().flip(0), atol=1e-5)
    assert film.residual.linear_light >= 0


def test_a_network_of_moments_and_paths(photo, film_network):
    torch.manual_seed(0)
    network = CFMD(4, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.3)
    film = frames(photo, 3, model=pipeline(film_network), faces=faces_of(network))
    assert film.tensor().shape == (3, 3, 120, 200)
    assert film.field is not None
    assert {status.became for status in film.faces.statuses} <= {"restored", "skipped", "failed"}


def test_boxes_by_hand(photo):
    hand = load_faces(pipeline(Tinted(0.05)), detect=False, boxes=[(20, 30, 52, 62), (300, 0, 340, 40)])
    made = deblur(photo, pipeline(Tinted()), check=False, faces=hand)
    first, second = made.faces.statuses
    assert (first.found, first.became, first.score) == ("hand", "restored", 1.0)
    assert (second.became, second.reason) == ("skipped", "lies outside of the picture")
    # With a detector too, a face is not restored twice.
    both = deblur(photo, pipeline(Tinted()), check=False, faces=faces_of(Tinted(0.05), boxes=[(18, 28, 54, 64)]))
    assert [status.found for status in both.faces.statuses] == ["hand", "detector", "detector"]
    with pytest.raises(UnblurError, match="boxes=5,5,5,9"):
        load_faces(pipeline(Tinted()), detect=False, boxes=[(5, 5, 5, 9)])


def test_overlapping_faces():
    picture = draw_face(draw_face(torch.full((3, 90, 120), 0.5), 20, 30, 24), 48, 30, 24)
    made = deblur(picture, pipeline(Tinted()), check=False, faces=faces_of(Tinted(0.05)))
    difference = made.image - deblur(picture, pipeline(Tinted()), check=False).image
    assert difference.max() < 0.0501


@pytest.fixture
def command(tmp_path, monkeypatch, photo, shipped):
    """A photo in a folder, and models by name."""
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "photo.png", Picture(photo))
    known = task.load

    def load(model, *more, **named):
        return pipeline(Tinted(0.05)) if model == "face.safetensors" else known(model, *more, **named)

    monkeypatch.setattr(task, "load", load)
    monkeypatch.setattr(task, "load_face_cascade", lambda: None)
    monkeypatch.setattr(task, "CascadeDetector", lambda network: ColourDetector())
    return tmp_path


def test_deblur_command(command, capsys):
    asked = ["deblur", "photo.png", "-o", "out.png", "--model", "fast", "--faces", "--face-model", "face.safetensors"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "; 3 faces: 2 restored, 1 skipped)" in out
    assert "  face 1 at 20,30,52,62 (found with 0.995) restored\n" in out
    assert "turned by 90 degrees) restored\n" in out
    assert "skipped: is 16 pixels large, and 24 are needed\n" in out
    assert main(["deblur", "photo.png", "-o", "plain.png", "--model", "fast"]) == 0
    both = [read_image(command / name).pixels for name in ("out.png", "plain.png")]
    assert not torch.equal(*both)
    assert torch.equal(both[0][:, :10], both[1][:, :10])
    capsys.readouterr()
    assert main([*asked, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    faces = report["results"][0]["faces"]
    assert [face["status"] for face in faces] == ["restored", "restored", "skipped"]
    assert report["face_model"]["network"] == "Tinted"


def test_frames_command(command, capsys):
    asked = ["frames", "photo.png", "-n", "3", "-o", "film/", "--model", "fast"]
    assert main([*asked, "--face-box", "20,30,52,62", "--face-model", "face.safetensors", "--json"]) == 0
    (face,) = json.loads(capsys.readouterr().out)["results"][0]["faces"]
    assert (face["found"], face["status"], face["box"]) == ("hand", "restored", [20, 30, 52, 62])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--face-model", "face.safetensors"], "none is asked for"),
        (["--face-box", "1,2,3"], "--face-box 1,2,3: is no box"),
        (["--face-box", "9,2,3,4", "--face-model", "face.safetensors"], "is no box"),
        (["--faces", "--face-model", "face.safetensors", "--method", "search"], "is for --method network"),
    ],
)
def test_wrong_usage(command, capsys, more, said):
    assert main(["deblur", "photo.png", "-o", "out.png", "--model", "fast", *more]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not (command / "out.png").exists()


def test_boxes_are_for_one_photo(command, capsys, photo):
    write_image(command / "other.png", Picture(photo))
    more = ["--face-box", "20,30,52,62", "--face-model", "face.safetensors"]
    assert main(["deblur", "photo.png", "other.png", "-o", "out/", "--model", "fast", *more]) == 2
    assert "is for one photo" in capsys.readouterr().err


def test_without_the_extra(command, capsys, monkeypatch):
    def absent():
        raise UnblurError("finding faces", "needs the extra faces, which is not installed", "x")

    monkeypatch.setattr(task, "load_face_cascade", absent)
    assert main(["deblur", "photo.png", "--faces", "--face-model", "face.safetensors"]) == 2
    captured = capsys.readouterr()
    assert "extra faces" in captured.err
    assert "pip install 'unblur[faces]'" in captured.err
    assert captured.err.count("\n") == 1


def test_a_model_of_faces_comes_along():
    faces = load_faces(detect=False, boxes=[(20, 30, 52, 62)], device="cpu")
    assert faces.pipeline.name == "cfmd-face-small"
    assert faces.pipeline.estimator.name == "maxim"
