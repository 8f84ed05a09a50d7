"""The motion of a whole patch at once, from spectra: a coarse estimate for `paths.PathNet` to begin with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.exposure.response import to_linear
from unblur.layers.consensus import local_planes
from unblur.layers.spectral import blur_kernels, cepstra, faded, patches_of
from unblur.networks.unet import ResidualBlock

# Cells whose drawings are made at once: some 100 MB.
BAND = 1024


class Evidence(nn.Module):
    """Features of the motion in each cell of a picture, and a first guess of its path.

    The blur kernel of a patch is a drawing of its path; a network that is handed the drawing need not learn to
    deconvolve first. Where the middle frame is not sharp yet, its kernel says little: the cepstrum of the blurry patch
    stands beside it.

    Parameters
    ----------
    cell : int
        Side of a cell in pixels of the picture. Patches are looked at in half of its resolution.
    channels : int
        Of the features.
    outputs : int
        Numbers that describe a path.
    hidden, blocks : int
        Channels of the layer that reads the drawings; residual blocks in which cells confer with their neighbours.
    window : int
        Side of a patch in pixels.
    reaches : sequence of int
        Farthest motion seen, in pixels of the picture halved once, twice, ...: a patch for each.
    sigma : float
        Width in cells of the neighbourhood that a guess is made consistent with; 0 leaves every cell to itself.
    """

    def __init__(
        self,
        cell: int,
        channels: int,
        outputs: int,
        hidden: int = 192,
        blocks: int = 4,
        window: int = 32,
        reaches: Sequence[int] = (12,),
        sigma: float = 8.0,
    ) -> None:
        super().__init__()
        self.cell, self.window, self.reaches, self.sigma = cell, window, tuple(reaches), sigma
        drawn = sum((2 * reach + 1) ** 2 for reach in reaches) + (reaches[0] + 1) * (2 * reaches[0] + 1)
        self.read = nn.Conv2d(drawn, hidden, 1)
        self.narrow = nn.Conv2d(hidden, channels, 1)
        self.confer = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        # A path, how far it is to be trusted, and how far it follows its neighbourhood.
        self.guess = nn.Conv2d(channels, outputs + 2 * bool(sigma), 1)
        nn.init.zeros_(self.guess.weight)
        assert self.guess.bias is not None
        nn.init.zeros_(self.guess.bias)

    def forward(self, blurry: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, 3, H, W), H and W multiples of the cell, to features (B, channels, H / cell, W / cell) and guesses
        (B, outputs, H / cell, W / cell).
        """
        rows, columns = (side // self.cell for side in blurry.shape[-2:])
        # Without gradients in bands, so that a picture of any size is seen as a whole: a drawing takes much more room
        # than what is kept of it.
        step = rows if torch.is_grad_enabled() else max(BAND // columns, 1)
        bands = [slice(top, top + step) for top in range(0, rows, step)]
        patches = self.patches(torch.cat([self.light(blurry, sharp, band) for band in bands], 2))
        notes = [self.note(self.drawings([each[:, :, band] for each in patches])) for band in bands]
        return self.conclude(torch.cat(notes, 2))

    def light(self, blurry: Tensor, sharp: Tensor, rows: slice = slice(None)) -> Tensor:
        """The blurry and the sharp picture, grey, in linear light, at half size: (B, 2, H / 2, W / 2), float32.

        Of some `rows` of cells.
        """
        cells = [image.unflatten(2, (-1, self.cell))[:, :, rows].flatten(2, 3) for image in (blurry, sharp)]
        with torch.autocast(blurry.device.type, enabled=False):
            light = to_linear(torch.stack(cells, 1).float().clamp(0, 1), "srgb").mean(2)
            return F.avg_pool2d(light, 2)

    def patches(self, light: Tensor) -> list[Tensor]:
        """For each reach the patches of `light`, as views (B, 2, H / cell, W / cell, window, window)."""
        found, stride = [], self.cell // 2
        for _ in self.reaches:
            found.append(patches_of(light, self.window, stride))
            light, stride = F.avg_pool2d(light, 2), stride // 2
        return found

    def drawings(self, patches: Sequence[Tensor]) -> Tensor:
        """Kernels and cepstra of patches, see `patches`: (B, K, h, w), of order one."""
        with torch.autocast(patches[0].device.type, enabled=False):
            drawn = []
            for each, reach in zip(patches, self.reaches, strict=True):
                blurry, sharp = faded(each).unbind(1)
                drawn.append(8 * blur_kernels(blurry, sharp, reach))
                if len(drawn) == 1:
                    drawn.append(4 * cepstra(blurry, reach))
            return torch.cat([each.flatten(3) for each in drawn], -1).permute(0, 3, 1, 2)

    def note(self, drawings: Tensor) -> Tensor:
        """What is kept of each drawing: (B, K, h, w) to (B, channels, h, w)."""
        return self.narrow(F.relu(self.read(drawings)))

    def conclude(self, notes: Tensor) -> tuple[Tensor, Tensor]:
        """Features and guesses from the notes on a whole picture."""
        features = self.confer(notes)
        guess = self.guess(features)
        return features, self.agreed(guess.float()) if self.sigma else guess

    def agreed(self, guess: Tensor) -> Tensor:
        """Draw each path towards the smooth motion that its neighbourhood agrees on: a camera moves everything."""
        own, trust, follow = guess[:, :-2], guess[:, -2:-1], guess[:, -1:]
        with torch.autocast(guess.device.type, enabled=False):
            common = local_planes(own, trust.sigmoid() + 1e-3, self.sigma)
        return torch.lerp(own, common, follow.sigmoid())
