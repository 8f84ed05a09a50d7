"""Muon: momentum whose update is orthogonalised, for the convolutions inside a network.

Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks". A convolution's weight counts as the
matrix (out, in * height * width). torch has the optimizer for plain matrices only; this one also keeps everything
else on AdamW, in one object, so that a schedule and a checkpoint see a single optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Muon for the weights it is given as `hidden`, AdamW for the `rest`.

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
        defaults = {"lr": lr, "ratio": ratio, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__(
            [{"params": list(hidden), "orthogonal": True}, {"params": list(rest), "orthogonal": False}], defaults
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._orthogonal if group["orthogonal"] else self._adam
            for weight in group["params"]:
                if weight.grad is not None:
                    update(weight, weight.grad, group)
        return loss

    def _orthogonal(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        buffer = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(buffer, group["momentum"]).flatten(1)
        # The update's root mean square is kept the same whatever the matrix' shape.
        scale = group["lr"] * group["ratio"] * max(1, ahead.shape[0] / ahead.shape[1]) ** 0.5
        weight.sub_(orthogonalise(ahead).to(weight).view_as(weight), alpha=scale)

    def _adam(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        steps = float(state["step"])
        denominator = (state["square"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        weight.addcdiv_(state["mean"], denominator, value=-group["lr"] / (1 - first**steps))


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values end up between about 0.7 and 1.2.

    Newton-Schulz iteration with the quintic of Jordan et al. (2024), in bfloat16.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
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
