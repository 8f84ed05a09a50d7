"""Exposures of faces as `unblur data fmr` writes them, of frames that are told apart by their light."""

import numpy as np
import torch

from unblur.data.exposure_metadata import Entry, Metadata, write_metadata
from unblur.media.image import Picture, write_image


def light(rank, count):
    """Of the frame of a rank, in [0, 1]: it grows with the rank, evenly, and is the same for a middle of any count."""
    return 0.5 + 0.4 * (rank / (count - 1) - 0.5)


def frame(rank, count, size=16):
    texture = torch.rand(3, size, size, generator=torch.Generator().manual_seed(3)) * 0.1
    return (texture + light(rank, count)).clamp(0, 1)


def write_faces(root, orders, *, sort="fmr", split="test", size=16):
    """A folder for each length of the orders: of each rank, which frame it is in time."""
    for count in sorted({len(order) for order in orders}):
        folder, entries = root / f"frames-{count:02d}", []
        for number, fmr in enumerate(order for order in orders if len(order) == count):
            ranks = range(count) if sort == "fmr" else np.argsort(fmr)
            frames = [frame(int(rank), count, size) for rank in ranks]
            paths = [f"sharp/{number}/{i:02d}.png" for i in range(count)]
            blurry = f"blurry/{number}.png"
            for path, picture in zip((*paths, blurry), (*frames, torch.stack(frames).mean(0)), strict=True):
                write_image(folder / path, Picture(picture))
            more = {"fmr": list(fmr), "sort": sort, "response": "linear", "span": [0, count - 1]}
            order = "keep" if sort == "fmr" else "ignore"
            entries.append(Entry(f"clip_{number}", order, split, blurry, tuple(paths), None, more))
        write_metadata(folder / "metadata.json", Metadata(folder.name, count, tuple(entries), folder))
    return root
