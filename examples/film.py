"""A sharp photo and a film out of one blurry picture, with the check that needs no ground truth.

python examples/film.py examples/pan.png out
"""

import sys
from pathlib import Path

import unblur

source, out = Path(sys.argv[1]), Path(sys.argv[2])
sharp = unblur.deblur(source)
print("wrote", sharp.save(out / "sharp.png"))

film = unblur.frames(source, n=25)
print("wrote", film.save(out / "film.mp4", fps=25))
print("reblur residual:", film.residual)
