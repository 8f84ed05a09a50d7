"""Whether a photo is what this package is for: blurred by motion; and what to say where it is not."""

from __future__ import annotations

from torch import Tensor

from unblur.analysis.blur_type import Verdict, classify_blur
from unblur.analysis.motion_field import Field, measure_field
from unblur.errors import UnblurError
from unblur.networks.path_film import PathFilm
from unblur.pipeline.compositing import PatchedFilm
from unblur.pipeline.film import MapFilm
from unblur.pipeline.refiner_film import RefinerFilm, WholeFilm
from unblur.runtime.runner import Runner


def has_paths(runner: Runner) -> bool:
    """Whether the films of a network are a sharp frame moved along paths, that can be drawn, bent and followed back."""
    return isinstance(runner.network, PathFilm)


def check_has_paths(runner: Runner, model: str, option: str | None = None) -> None:
    """Refuse a model whose films are made in another way; because of `option`, if one asked for paths."""
    if has_paths(runner):
        return
    if option is None:
        raise UnblurError(f"--model {model}", "makes films without paths", "use best or fast")
    raise UnblurError(option, f"needs paths, and the films of --model {model} have none", "leave one of the two out")


def field_of(film: WholeFilm | PatchedFilm, blurry: Tensor) -> Field | None:
    """The paths that a film of (3, H, W) was made of, thinned out; None if it was made in another way."""
    if isinstance(film, PatchedFilm):
        film = film.general
    if isinstance(film, RefinerFilm):
        film = film.estimates
    if isinstance(film, MapFilm) and has_paths(film.runner):
        return measure_field(film.state[0, 3:], blurry)
    return None


def verdict_of(film: WholeFilm, blurry: Tensor) -> Verdict:
    """What kind of blur (3, H, W) has, by itself and by the paths of its film."""
    field = field_of(film, blurry)
    return classify_blur(blurry, None if field is None else field.motion().path_length)


def warning_of(verdict: Verdict | None) -> str | None:
    """What to tell who wants a photo sharpened that motion did not blur, in one line."""
    if verdict is None:
        return None
    if verdict.kind == "defocus":
        return "looks out of focus rather than moved, and motion is all that is undone here"
    if verdict.kind == "sharp":
        return "looks sharp already, so there is little to undo"
    return None
