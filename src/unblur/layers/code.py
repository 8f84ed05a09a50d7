"""What a blur encoder says of a blur: a code, or where codes that explain it lie."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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
