"""Does the direction that an order network tells hang on motion, or on what a picture shows?

    python research/order_alike.py --val data/val --cache runs/stills [--model FILE]

Pairs of different pictures that move along the very same path: the share that get one direction, and the share of all
whose direction is that of the motion (`exposure.camera.is_canonical`); far from a half either way is one that hangs on
motion. Once along varied paths with something else moving in front of every second, once along nearly straight, steady
ones.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from unblur.data.stills import load_stills
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.exposure.camera import MotionSpec
from unblur.metrics.ordering import clip_order, symmetric_pairs
from unblur.models.weights import load_weights

PATHS = {
    "varied": MotionSpec(length=(4.0, 16.0)),
    "steady": MotionSpec(length=(6.0, 12.0), rotation=0.1, zoom=0.1, tilt=0.0, tremor=0.1, layer=0.0),
}


def main() -> None:
    """Print both shares for each kind of path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--model", default="order-small")
    parser.add_argument("--batches", type=int, default=8, help="of ten pairs")
    arguments = parser.parse_args()
    network: Any = load_weights(arguments.model).network.eval()
    pairs = symmetric_pairs(7)
    stills = load_stills(arguments.val, cache=arguments.cache)
    for name, motion in PATHS.items():
        options: dict[str, Any] = {
            "size": 128,
            "batch_size": 20,
            "times": 7,
            "step": 4.0,
            "shared_motion": 2,
            "seed": 9,
        }
        source = SyntheticExposures(stills, grid=True, motion=motion, **options)
        scores: list[torch.Tensor] = []
        for number in range(arguments.batches):
            with torch.inference_mode():
                forward, backward = network.both_ways(source.batch(number)["frames"], pairs)
                scores.append(clip_order(forward, backward, pairs).score)
        signs = torch.cat(scores).sign().unflatten(0, (-1, 2))
        alike, along = (signs[:, 0] == signs[:, 1]).float().mean(), (signs > 0).float().mean()
        print(f"{name}: {len(signs)} pairs, one direction {alike:.3f}; that of the motion {along:.3f}")


if __name__ == "__main__":
    main()
