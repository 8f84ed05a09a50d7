"""Blur Kernel Space (Tran, Tran, Phung, Hoai, CVPR 2021, arXiv 2104.00317): what blurred a picture, as a code.

The blur encoder (the paper's G) reads a code from a sharp and a blurry picture; the reblur operator (its F) puts the
blur that a code describes on a sharp picture. Both are trained together, so that

    reblur(sharp, encode(sharp, blurry)) = blurry.

The topology is the released one; what is unsound in it is behind options, for old weights:

* `code_activation` "relu": the released operator sees only max(code, 0), so that half of every code is dead;
* `spread` "sigma": the released variational encoder gives a standard deviation that may be negative.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.bands import in_bands
from unblur.layers.padding import crop, pad_to_size
from unblur.layers.resample import stretched
from unblur.layers.strided import ResidualBlock, StridedEncoder
from unblur.networks.kinds import BlurSpaceNetwork, Code

CELL = 128
SMALLEST = 256
SLOPE = 0.1
DRAWN = 1.2
"""Released samples are drawn from this many times the standard normal distribution; the prior itself is 1."""
SHRUNK = 4
BAND = 2**18
"""Pixels of a large picture to work on at once where features are as many as pixels."""
LEAST_VARIANCE = 1e-12

Activation = Literal["none", "relu"]
Spread = Literal["log_variance", "sigma"]


class SmallBlock(ResidualBlock):
    """A residual block that starts small."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        for convolution in (self.first, self.second):
            nn.init.kaiming_normal_(convolution.weight)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
            with torch.no_grad():
                convolution.weight.mul_(0.1)


class Features(nn.Module):
    """Features of a picture at a quarter of its size, shared by the blur encoder and the reblur operator."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, channels, 3, padding=1)
        self.to_half = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.to_quarter = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(SmallBlock(channels) for _ in range(blocks)))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), H and W multiples of 4, to (B, C, H / 4, W / 4)."""
        return self.blocks(in_bands(self._shrunk, image, BAND, margin=2 * SHRUNK, step=SHRUNK))

    def _shrunk(self, image: Tensor) -> Tensor:
        features = image
        for convolution in (self.entry, self.to_half, self.to_quarter):
            features = F.leaky_relu(convolution(features), SLOPE, inplace=True)
        return features


class CodedUNet(nn.Module):
    """A U-Net of five scales that takes a code at its coarsest, all but one of its convolutions without bias.

    Parameters
    ----------
    features : int
        Channels in and out; at most eight times as many inside.
    channels : int
        Of the code.
    code_activation : {"none", "relu"}
        What the code goes through first.
    """

    def __init__(self, features: int, channels: int, code_activation: Activation) -> None:
        super().__init__()
        self.code_activation = code_activation
        widths = [features, features, 2 * features, 4 * features, 8 * features, 8 * features]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False) for a, b in pairwise(widths))
        # From coarse to fine; beside what comes from below each takes the code, or the features of its own scale.
        beside = [channels, *widths[-2:0:-1]]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below + extra, above, 4, stride=2, padding=1, bias=above_is_last)
            for below, extra, above, above_is_last in zip(
                widths[:0:-1], beside, widths[-2::-1], [False] * (len(beside) - 1) + [True], strict=True
            )
        )

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        """(B, features, H, W), multiples of 32, and (B, channels, H / 32, W / 32) to (B, features, H, W) in [-1, 1]."""
        skips = []
        for number, convolution in enumerate(self.down):
            features = convolution(F.leaky_relu(features, 0.2) if number else features)
            skips.append(features)
        features = skips.pop()
        beside = [F.relu(code) if self.code_activation == "relu" else code, *(F.relu(skip) for skip in reversed(skips))]
        for convolution, more in zip(self.up, beside, strict=True):
            features = convolution(torch.cat((F.relu(features), more), 1))
        return features.tanh()


class Reconstruction(nn.Module):
    """Features at a quarter of the size to what is to be added to the picture."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SmallBlock(channels) for _ in range(blocks)))
        self.to_half = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.to_full = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.refine = nn.Conv2d(channels, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H / 4, W / 4) to (B, 3, H, W), unbounded."""
        return in_bands(self._enlarged, self.blocks(features), BAND // SHRUNK**2, margin=4)

    def _enlarged(self, features: Tensor) -> Tensor:
        for convolution in (self.to_half, self.to_full):
            features = F.leaky_relu(F.pixel_shuffle(convolution(features), 2), SLOPE, inplace=True)
        return self.head(F.leaky_relu(self.refine(features), SLOPE, inplace=True))


class BlurKernelSpace(nn.Module, BlurSpaceNetwork):
    """A learned space of blur operators: 49,205,187 parameters as released, 115,265,475 if variational.

    Parameters
    ----------
    features : int
        Channels of pictures' features.
    front_blocks, back_blocks : int
        Residual blocks before the operator's U-Net, and after it.
    channels : int
        Of a code.
    encoder_blocks : int
        Residual blocks of the blur encoder.
    variational : bool
        Whether the encoder tells a distribution of codes, near the standard normal one, and codes can be drawn.
    code_activation : {"none", "relu"}
        "relu" for released weights: negative entries of a code have no effect.
    spread : {"log_variance", "sigma"}
        What the variational encoder's second half means; "sigma" for released weights.

    Attributes
    ----------
    cell : int
        Pixels that a cell of a code's grid covers along each side.
    """

    exports = ("encoder", "decoder")
    cell = CELL

    def __init__(
        self,
        features: int = 64,
        front_blocks: int = 10,
        back_blocks: int = 20,
        channels: int = 512,
        encoder_blocks: int = 4,
        variational: bool = False,
        code_activation: Activation = "none",
        spread: Spread = "log_variance",
    ) -> None:
        super().__init__()
        if code_activation not in ("none", "relu") or spread not in ("log_variance", "sigma"):
            raise ValueError(f"no such code_activation or spread: {code_activation!r}, {spread!r}")
        self.arguments: dict[str, object] = {
            "features": features,
            "front_blocks": front_blocks,
            "back_blocks": back_blocks,
            "channels": channels,
            "encoder_blocks": encoder_blocks,
            "variational": variational,
            "code_activation": code_activation,
            "spread": spread,
        }
        self.channels, self.variational, self.spread = channels, variational, spread
        self.features = Features(features, front_blocks)
        most = 2 * channels if variational else channels
        self.encoder = StridedEncoder(2 * features, features, most, encoder_blocks, bias=False)
        self.unet = CodedUNet(features, channels, code_activation)
        self.reconstruction = Reconstruction(features, back_blocks)

    @classmethod
    def released(cls, variational: bool = False) -> BlurKernelSpace:
        """As its authors released it, with the dead half of the code and the raw deviation."""
        return cls(variational=variational, code_activation="relu", spread="sigma")

    def encode(self, sharp: Tensor, blurry: Tensor) -> Code:
        """What blurred a picture.

        Parameters
        ----------
        sharp, blurry : Tensor
            (B, 3, H, W) in [0, 1], any size; padded by reflection to multiples of 128, at least 256.

        Returns
        -------
        Code
            Of shape (B, channels, *grid(H, W)).
        """
        if sharp.shape != blurry.shape:
            raise ValueError(f"shapes differ: {tuple(sharp.shape)} and {tuple(blurry.shape)}")
        features = [self.features(self._padded(image)) for image in (sharp, blurry)]
        mean = self.encoder(torch.cat(features, 1))
        if not self.variational:
            return Code(mean)
        mean, spread = mean.chunk(2, 1)
        if self.spread == "sigma":
            spread = spread.square().clamp_min(LEAST_VARIANCE).log()
        return Code(mean, spread)

    def reblur(self, sharp: Tensor, code: Tensor) -> Tensor:
        """Put the blur that a code describes on a picture.

        Parameters
        ----------
        sharp : Tensor
            (B, 3, H, W) in [0, 1], any size.
        code : Tensor
            (B, channels, *grid(H, W)); see `fitted` for one of another size.

        Returns
        -------
        Tensor
            (B, 3, H, W), unclamped.

        Raises
        ------
        ValueError
            If the code is not of the picture's grid.
        """
        height, width = sharp.shape[-2:]
        wanted = (len(sharp), self.channels, *self.grid(height, width))
        if tuple(code.shape) != wanted:
            raise ValueError(f"the code of this picture has shape {wanted}, not {tuple(code.shape)}")
        features = self.unet(self.features(self._padded(sharp)), code)
        return sharp + crop(self.reconstruction(features), (height, width))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the code of a picture: one for every 128 pixels, at least 2."""
        if min(height, width) < 1:
            raise ValueError(f"no picture is {height} x {width}")
        least = SMALLEST // CELL
        return max(least, -(-height // CELL)), max(least, -(-width // CELL))

    def fitted(self, code: Tensor, height: int, width: int, of: tuple[int, int] | None = None) -> Tensor:
        """A code of any grid, for a picture of this size.

        The grid is stretched over the picture: between its cells' centres the code is interpolated linearly, beyond the
        outermost it stays as it is. So a place keeps the blur of the same relative place, in pixels as long as it was.

        Parameters
        ----------
        code : Tensor
            (B, channels, h, w).
        of : (int, int), optional
            Height and width that it was read at; by default the grid is taken for the picture.

        Returns
        -------
        Tensor
            (B, channels, *grid(height, width)); `code` itself if it fits already.
        """
        if code.ndim != 4 or code.shape[1] != self.channels:
            raise ValueError(f"a code of this space is (B, {self.channels}, h, w), not {tuple(code.shape)}")
        grid = self.grid(height, width)
        if tuple(code.shape[-2:]) == grid and of in (None, (height, width)):
            return code
        if of is not None:
            return stretched(code, grid, (of[0] / height, of[1] / width), self.cell)
        return F.interpolate(code, grid, mode="bilinear", align_corners=False)

    def draw(
        self, count: int, height: int, width: int, generator: torch.Generator | None = None, *, scale: float = DRAWN
    ) -> Tensor:
        """Codes from the prior: blur sampling.

        Parameters
        ----------
        count : int
        height, width : int
            Of the picture.
        generator : torch.Generator, optional
            Decides the codes, wherever the network is.
        scale : float
            Times the standard normal distribution. The prior is 1; the released program draws at 1.2.

        Returns
        -------
        Tensor
            (count, channels, *grid(height, width)).

        Raises
        ------
        ValueError
            If the network is not variational.
        """
        if not self.variational:
            raise ValueError("codes can be drawn from a variational blur space only")
        home = next(self.parameters())
        device = home.device if generator is None else generator.device
        shape = (count, self.channels, *self.grid(height, width))
        return scale * torch.randn(shape, generator=generator, device=device).to(home)

    def _padded(self, image: Tensor) -> Tensor:
        rows, columns = self.grid(*image.shape[-2:])
        return pad_to_size(image, CELL * rows, CELL * columns)
