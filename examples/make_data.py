"""Training data out of your own photos and clips: as files for any training code, and as batches made while one trains.

python examples/make_data.py PHOTOS_FOLDER out
"""

import sys
from pathlib import Path

from unblur.data.stills import load_stills
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.datasets.blur import BlurOptions, blur_data

photos, out = Path(sys.argv[1]), Path(sys.argv[2])

report = blur_data([photos], out, BlurOptions(count=8, size=128, frames=5, length=(4.0, 16.0)))
count, listed = report.metadata["exposures"], report.metadata["metadata"]
print(f"wrote {count} exposures with 5 sharp frames each, listed in {listed}")

# The same without files: batch number `step` depends on nothing but the photos, the seed and the step.
exposures = SyntheticExposures(load_stills(photos), size=128, batch_size=4, times=3, seed=0)
for name, tensor in exposures.batch(step=0).items():
    print(name, tuple(tensor.shape))
