"""Muon: momentum whose update is orthogonalised, for the convolutions inside a network.

Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks". A convolution's weight counts as the
matrix (out, in * height * width). `torch.optim.Muon` takes plain matrices only, and always computes in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from unblur.runtime.precision import has_fast_bfloat16


class Muon(torch.optim.AdamW):
    """Muon for the weights it is given as `hidden`, AdamW without decay for the `rest`.

    Both are in one optimizer, so that a schedule and a checkpoint see a single one.

    Parameters
    ----------
    hidden : iterable of Parameter
        Weights with two or more dimensions, from the inside of the network.
    rest : iterable of Parameter
        First and last layers, biases.
    lr : float
        Of AdamW.
    ratio : float
        Muon's learning rate is `ratio` times `lr`.
    momentum : float
        Of Muon.
    betas, eps : AdamW's.
    """

    def __init__(
        self,
        hidden: Iterable[nn.Parameter],
        rest: Iterable[nn.Parameter],
        lr: float = 5e-4,
        *,
        ratio: float = 10.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(hidden), "ratio": ratio, "momentum": momentum},
            {"params": list(rest)},
        ]
        super().__init__(groups, lr=lr, betas=betas, eps=eps, weight_decay=0.0)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        hidden, rest = groups
        for weight in hidden["params"]:
            if weight.grad is not None:
                self._orthogonal_step(weight, weight.grad, hidden)
        try:
            self.param_groups = [rest]
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _orthogonal_step(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            # AdamW wants every weight to have a step when it is loaded.
            state["step"], state["momentum_buffer"] = torch.zeros(()), torch.zeros_like(gradient)
        state["step"] += 1
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(buffer, group["momentum"]).flatten(1)
        # The update's root mean square is kept the same whatever the matrix' shape.
        scale = group["lr"] * group["ratio"] * max(1, ahead.shape[0] / ahead.shape[1]) ** 0.5
        weight.sub_(orthogonalise(ahead).to(weight).view_as(weight), alpha=scale)


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values end up between about 0.7 and 1.2.

    Newton-Schulz iteration with the quintic of Jordan et al. (2024), in bfloat16 where the hardware is fast at it,
    else in float32.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16() if has_fast_bfloat16(matrix.device) else matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.mT if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def split(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(hidden, rest) of a network: convolutions whose input and output are both wide are hidden."""
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for weight in network.parameters():
        inside = weight.ndim >= 2 and min(weight.shape[0], weight.shape[1]) >= 32
        (hidden if inside else rest).append(weight)
    return hidden, rest
