"""What is searched: the pixels of a picture, the numbers of a code, or the weights of a deep prior of either."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unblur.networks.deep_image_prior import DeepCodePrior, DeepImagePrior
from unblur.pipeline.search_options import SearchOptions
from unblur.runtime.precision import autocast

NOISE = 0.1
"""Of deep priors' inputs: uniform from 0 to this."""


class Pixels:
    """A picture that is searched by gradient descent; where a step has made it worse, half of it is tried."""

    def __init__(self, start: Tensor, rate: float) -> None:
        self.now = start.clone().requires_grad_()
        self.rate = rate
        self.last: tuple[float, Tensor, Tensor] | None = None

    def value(self) -> Tensor:
        """The picture, (1, 3, H, W)."""
        return self.now

    def step(self, loss: float, share: float) -> None:
        """Descend by the gradient that was found, of means over all values, as if it were of sums."""
        assert self.now.grad is not None
        if self.last is not None and not loss <= self.last[0]:
            self.rate /= 2
        else:
            self.last = loss, self.now.detach(), self.now.grad * self.now.numel()
        _, point, gradient = self.last
        self.now = (point - self.rate * share * gradient).clamp(0, 1).requires_grad_()

    def forget(self) -> None:
        """What is minimised has changed."""
        self.last = None

    def clear(self) -> None:
        """No gradient is left over."""
        self.now.grad = None


class Free:
    """A code whose numbers are searched; at a rate of 0 it stays as it is."""

    def __init__(self, start: Tensor, rate: float) -> None:
        self.now = start.clone().requires_grad_(rate > 0)
        self.rate = rate
        self.descent = torch.optim.Adam([self.now], lr=rate, betas=(0.9, 0.99)) if rate else None

    def value(self) -> Tensor:
        """The code, (1, C, h, w)."""
        return self.now

    def step(self, loss: float, share: float) -> None:
        """One of Adam's."""
        if self.descent is not None:
            _adam(self.descent, self.rate * share)

    def replace(self, code: Tensor) -> None:
        """Go on with another code."""
        self.now = code.detach().clone()

    def clear(self) -> None:
        """No gradient is left over."""
        self.now.grad = None


class Deep:
    """What a network makes of noise; the network's weights are searched."""

    def __init__(
        self,
        network: nn.Module,
        noise: Tensor,
        rate: float,
        jitter: float,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.noise, self.rate, self.jitter, self.generator = network, noise, rate, jitter, generator
        self.dtype = dtype
        self.descent = torch.optim.Adam(network.parameters(), lr=rate)

    @classmethod
    def picture(cls, like: Tensor, options: SearchOptions, generator: torch.Generator, dtype: torch.dtype) -> Deep:
        """An `DeepImagePrior` for pictures of a size."""
        network = DeepImagePrior(padding=options.padding)
        size = (1, network.inputs, *like.shape[-2:])
        return cls._of(network, size, like, options.picture_rate, options.jitter, generator, dtype)

    @classmethod
    def code(cls, like: Tensor, options: SearchOptions, generator: torch.Generator, dtype: torch.dtype) -> Deep:
        """A `DeepCodePrior` for codes of a grid."""
        network = DeepCodePrior(channels=like.shape[1])
        size = (1, network.inputs, *(network.stride * side for side in like.shape[-2:]))
        return cls._of(network, size, like, options.code_rate, options.jitter, generator, dtype)

    @classmethod
    def _of(
        cls,
        network: nn.Module,
        size: tuple[int, ...],
        like: Tensor,
        rate: float,
        jitter: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> Deep:
        noise = NOISE * torch.rand(size, generator=generator)
        network = network.to(like.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        return cls(network, noise.to(like.device), rate, jitter, generator, dtype)

    def value(self) -> Tensor:
        """Of the noise, and a little more that is new every time."""
        more = self.jitter * torch.randn(self.noise.shape, generator=self.generator)
        seen = (self.noise + more.to(self.noise.device)).contiguous(memory_format=torch.channels_last)
        with autocast(seen.device, self.dtype):
            return self.network(seen).float()

    def step(self, loss: float, share: float) -> None:
        """One of Adam's."""
        _adam(self.descent, self.rate * share)

    def forget(self) -> None:
        """Nothing is remembered."""

    def clear(self) -> None:
        """No gradient is left over."""
        self.descent.zero_grad()


def _adam(descent: torch.optim.Optimizer, rate: float) -> None:
    for group in descent.param_groups:
        group["lr"] = rate
    descent.step()
    descent.zero_grad()
