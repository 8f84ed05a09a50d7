"""An order network that was taught nothing."""

from torch import Tensor

from unblur.networks.hypercut import HyperCUT


class Brighter(HyperCUT):
    """Says that the darker frame comes first."""

    def __init__(self) -> None:
        super().__init__(width=4, channels=4, blocks=1)

    def pairs(self, frames: Tensor, pairs: Tensor) -> Tensor:
        light = frames.mean((2, 3, 4))
        return light[:, pairs[:, 1]] - light[:, pairs[:, 0]]
