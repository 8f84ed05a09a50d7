"""What each kind of network takes and gives: a small Protocol a kind, which networks inherit.

A network states here what it is, so that nobody has to look: `kind`, what its tiles need, where its films start from.
Pictures are float tensors (B, 3, H, W), RGB in [0, 1]; times are (T,) or (B, T) in [0, 1]; frames (B, T, 3, H, W).
What is written below as a default holds for a network that says nothing else.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Code(NamedTuple):
    """A latent description of a blur operator, one vector for each cell of a picture.

    Attributes
    ----------
    mean : Tensor
        (B, C, h, w), the code itself.
    log_variance : Tensor or None
        Of the normal distribution around it, the same shape; None where an encoder is not variational.
    """

    mean: Tensor
    log_variance: Tensor | None = None

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A code from the distribution; the mean if there is none."""
        if self.log_variance is None:
            return self.mean
        # Drawn where the generator is, so that one seed gives the same code on every device.
        device = None if generator is None else generator.device
        noise = torch.randn(self.mean.shape, generator=generator, device=device or self.mean.device)
        return self.mean + (0.5 * self.log_variance).exp() * noise.to(self.mean)


Kind = Literal["restorer", "film", "refiner", "blur_space", "order", "prior", "critic", "denoiser"]
Start = Literal["blurry", "sharp"]
State = Any
"""Of a film network: whatever its frames are decoded from."""


class Network(Protocol):
    """Any network that weights can be kept of.

    Attributes
    ----------
    kind : str
        What it is for.
    arguments : dict
        Of its constructor, so that it can be built again.
    exports : tuple of str
        Names of the graphs that can be written of it, the foremost first; see `unblur.models.export_onnx`.
    """

    kind: ClassVar[Kind]
    exports: ClassVar[tuple[str, ...]] = ()
    arguments: dict[str, Any]


class Tiled(Network, Protocol):
    """A network that runs on pictures of any size, tile by tile.

    Attributes
    ----------
    multiple : int
        Of which the sides of a tile must be.
    tile_overlap : int
        Pixels that neighbouring tiles share.
    is_local : bool
        False if something in it sees the whole picture (channel attention): its tiles differ everywhere, so that
        neighbours fade into each other over all that they share.
    tile_size : int or None
        Side of the tiles that it does best with; None for as large as memory allows.
    has_scales : bool
        Whether ``scales(...)``, which takes what ``forward`` takes, gives coarser answers too, to be learned from.
    has_paths : bool
        Of a film network: whether its state is a map of a sharp frame (3 channels) and the coefficients of every
        pixel's path; see `layers.paths`.
    is_sequence : bool
        Of a film network: whether it learns all frames of an exposure at once: ``steps`` of them, at i / (steps - 1).
    has_displacements : bool
        Of a film network: whether ``displacements(state, times)`` tells where frames find their pixels.
    """

    multiple: int = 32
    tile_overlap: int = 64
    has_scales: ClassVar[bool] = False
    has_paths: ClassVar[bool] = False
    is_sequence: ClassVar[bool] = False
    has_displacements: ClassVar[bool] = False
    is_local: bool = True
    tile_size: int | None = None

    @property
    def graph_multiple(self) -> int:
        """Of which the sides of a picture must be where nothing pads it, as in an exported graph."""
        return self.multiple


class RestorerNetwork(Tiled, Protocol):
    """One blurry picture to the sharp one of the middle of the exposure."""

    kind: ClassVar[Kind] = "restorer"

    def __call__(self, blurry: Tensor) -> Tensor | list[Tensor]:
        """(B, 3, H, W), unclamped; a list of several scales ends with the finest."""
        ...


class FilmNetwork(Tiled, Protocol):
    """One blurry picture to frames at any time, or at fixed ones.

    Attributes
    ----------
    starts_from : {"blurry", "sharp"}
        What its state is made of: the blurry picture alone, by `encode`, or that and its sharp middle frame, by
        `estimate_motion`.
    own_restorer : nn.Module or None
        Its part that makes that middle frame; None where another model must, or where none is needed.
    has_map : bool
        Whether the state is a tensor (B, K, H, W) of the picture's size, which can be stitched from tiles.
    count : int or None
        How many frames it makes, at i / (count - 1), where that is fixed.
    cell : int
        Pixels a side of a cell of `global_context`.
    """

    kind: ClassVar[Kind] = "film"
    starts_from: ClassVar[Start] = "blurry"
    has_map: ClassVar[bool] = False
    count: int | None = None
    cell: int = 1

    @property
    def own_restorer(self) -> nn.Module | None:
        """See above."""
        return None

    def encode(self, blurry: Tensor) -> State:
        """The state, from the blurry picture alone."""
        raise NotImplementedError

    def global_context(self, blurry: Tensor, sharp: Tensor) -> Tensor | None:
        """What `estimate_motion` should know of the whole picture: (B, K, H / cell, W / cell), or nothing."""
        return None

    def estimate_motion(self, blurry: Tensor, sharp: Tensor, context: Tensor | None = None) -> State:
        """The state, from the blurry picture and its sharp middle frame."""
        raise NotImplementedError

    def decode(self, state: State, times: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W), unclamped."""
        ...

    def align(self, state: Tensor, reference: Tensor) -> Tensor:
        """The state of a tile with time as in `reference`, the same pixels of its neighbours; 0 where unknown."""
        return state

    def orientation(self, state: Tensor) -> Tensor | None:
        """What to multiply a state by, so that time runs in the canonical direction: (B, K, 1, 1), or nothing."""
        return None

    def reach(self, state: Tensor) -> Tensor | None:
        """How many pixels away a frame at any time looks for its content in the state; None for anywhere."""
        return None


class RefinerNetwork(Tiled, Protocol):
    """Better frames than another model's initial estimates, of these and the blurry picture."""

    kind: ClassVar[Kind] = "refiner"

    def __call__(self, blurry: Tensor, times: Tensor, estimates: Tensor) -> Tensor:
        """Frames at `times` of estimates (B, T, 2, 3, H, W): the frames at t, and at 1 - t."""
        ...


class BlurSpaceNetwork(Network, Protocol):
    """A learned space of blur operators: blur encoder and reblur operator.

    Attributes
    ----------
    channels : int
        Numbers in a code, for each cell.
    cell : int
        Pixels a side that one code describes.
    variational : bool
        Whether codes can be drawn.
    has_paths : bool
        Whether codes describe paths: ``paths(code)``, ``displacements(code, times, size)``, ``encode_paths(field)``.
    """

    kind: ClassVar[Kind] = "blur_space"
    has_paths: ClassVar[bool] = False
    channels: int
    cell: int
    variational: bool = False

    @property
    def mean_code(self) -> Tensor | None:
        """(channels,), the mean of the codes of training, if it is known."""
        return None

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the code of a picture."""
        ...

    def encode(self, sharp: Tensor, blurry: Tensor) -> Code:
        """The blur between two pictures, (B, channels, rows, columns)."""
        ...

    def reblur(self, sharp: Tensor, code: Tensor) -> Tensor:
        """Put a blur on a picture."""
        ...

    def fitted(self, code: Tensor, height: int, width: int, of: tuple[int, int] | None = None) -> Tensor:
        """A code for a picture of this size, from one that was read from another."""
        ...

    def draw(self, count: int, height: int, width: int, generator: Any = None) -> Tensor:
        """Random codes for pictures of this size."""
        ...

    def distance(self, code: Tensor) -> Tensor | None:
        """How far codes are from those of training, (B, rows, columns), about 1 for a known blur; None if unknown."""
        return None


class OrderNetwork(Network, Protocol):
    """The order score of two frames."""

    kind: ClassVar[Kind] = "order"

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """(B,), above 0 where `first` is the earlier one."""
        ...


class PriorNetwork(Network, Protocol):
    """The deep prior of one picture or code: noise to what it has learned of that one alone."""

    kind: ClassVar[Kind] = "prior"


class CriticNetwork(Network, Protocol):
    """Judges frames in adversarial training."""

    kind: ClassVar[Kind] = "critic"


class DenoiserNetwork(Tiled, Protocol):
    """A picture with white noise of a known strength to the clean one."""

    kind: ClassVar[Kind] = "denoiser"

    def __call__(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """(B, 3, H, W), unclamped, of `noisy` and its noise's standard deviation `sigma` (B,) or (B, 1, H, W)."""
        ...
