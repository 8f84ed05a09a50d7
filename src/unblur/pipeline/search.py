"""Search for the sharp picture and the blur that together explain a photo.

Blur Kernel Space (Tran et al., CVPR 2021) deblurs blindly by looking for a picture and a code at once, so that the
reblur operator makes the photo of them, and both are likely. `SearchOptions.released` is their program: both come out
of deep priors that begin anywhere. The default begins at a network's answer and changes it little: gradient descent on
the pixels,

    sharp <- sharp - rate * gradient of (|reblur(sharp, code) - photo|^2 / 2 + weights * priors),

which for a rate of 1 and no priors is Landweber's iteration; in turns the code is read again from what was reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.losses.perceptual import Backbone
from unblur.losses.pixel import charbonnier, dissimilarity
from unblur.losses.priors import code_norm, hyper_laplacian
from unblur.networks.deep_image_prior import DeepCodePrior, DeepImagePrior
from unblur.pipeline.search_options import SearchOptions
from unblur.runtime.precision import autocast

NOISE = 0.1
"""Of deep priors' inputs: uniform from 0 to this."""
PARTS = 5
"""The rates of deep priors and free codes fall after every fifth of the steps."""

Tell = Callable[[str, int, int], None]
Stopped = Literal["steps", "plateau", "seconds"]


class BlurSpaceLike(Protocol):
    """What the search asks of a blur space."""

    channels: int

    def encode(self, sharp: Tensor, blurry: Tensor) -> Any:
        """A `Code`."""

    def reblur(self, sharp: Tensor, code: Tensor) -> Tensor:
        """The photo that a picture and a code make."""


@dataclass(frozen=True)
class SearchResult:
    """What a search came to.

    Attributes
    ----------
    sharp : Tensor
        (1, 3, H, W) in [0, 1]: of all pictures that were met, the one that explains the photo best.
    code : Tensor
        (1, C, h, w), with it.
    before, after : float
        Root mean square of what the first and the best do not explain of the photo.
    steps : int
    seconds : float
    stopped : {"steps", "plateau", "seconds"}
        Why it ended.
    """

    sharp: Tensor
    code: Tensor
    before: float
    after: float
    steps: int
    seconds: float
    stopped: Stopped


def search(
    space: Any,
    blurry: Tensor,
    sharp: Tensor,
    code: Tensor,
    options: SearchOptions | None = None,
    *,
    backbone: Backbone | None = None,
    seed: int = 0,
    seconds: float | None = None,
    dtype: torch.dtype = torch.float32,
    tell: Tell | None = None,
) -> SearchResult:
    """Look for a picture and a code that explain a photo.

    Parameters
    ----------
    space : nn.Module
        See `BlurSpaceLike`; its weights stay as they are.
    blurry : Tensor
        (1, 3, H, W) in [0, 1].
    sharp, code : Tensor
        (1, 3, H, W) and (1, C, h, w), to begin with.
    options : SearchOptions, optional
    backbone : Backbone, optional
        For the perceptual term; without one it is left to 1 - SSIM.
    seed : int
        Of the deep priors. On a CPU the same seed finds the same picture.
    seconds : float, optional
        Stop when they are over, but take one step.
    dtype : torch.dtype
        What the convolutions of deep priors run in.
    tell : callable, optional
        Called with (stage with the residual, steps done, steps in all).
    """
    options = options or SearchOptions()
    if blurry.ndim != 4 or blurry.shape[:2] != (1, 3) or blurry.shape != sharp.shape or code.shape[0] != 1:
        raise ValueError(f"shapes do not fit: {tuple(blurry.shape)}, {tuple(sharp.shape)}, {tuple(code.shape)}")
    # Also where inference goes on around it.
    with torch.inference_mode(False), torch.enable_grad(), _frozen(space), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blurry, sharp, code = (each.detach().clone().float() for each in (blurry, sharp.clamp(0, 1), code))
        return _Search(space, blurry, sharp, code, options, backbone, seed, seconds, dtype, tell).run()


class _Search:
    """One search at work."""

    def __init__(
        self,
        space: BlurSpaceLike,
        blurry: Tensor,
        sharp: Tensor,
        code: Tensor,
        options: SearchOptions,
        backbone: Backbone | None,
        seed: int,
        seconds: float | None,
        dtype: torch.dtype,
        tell: Tell | None,
    ) -> None:
        self.begun = time.monotonic()
        self.space, self.blurry, self.start, self.seconds = space, blurry, sharp, seconds
        self.options = options if backbone is not None else options.without_backbone()
        self.tell = tell or (lambda stage, done, total: None)
        self.backbone = backbone
        self.seen = None if backbone is None else [each.detach() for each in backbone(blurry)]
        generator = torch.Generator().manual_seed(seed)
        self.picture: Pixels | Deep = (
            Pixels(sharp, options.picture_rate)
            if options.picture == "pixels"
            else Deep.picture(sharp, options, generator, dtype)
        )
        self.code: Free | Deep = (
            Deep.code(code, options, generator, dtype)
            if options.code == "prior"
            else Free(code, options.code_rate if options.code == "free" else 0.0)
        )
        self.targets = blurry if options.begin_blurry else sharp, code

    def run(self) -> SearchResult:
        """The whole of it."""
        self._warm_up()
        options, residuals, best = self.options, [], None
        for step in range(options.steps + 1):
            sharp, code = self.picture.value(), self.code.value()
            again = self.space.reblur(sharp, code)
            residual = float((again.detach() - self.blurry).square().mean().sqrt())
            if best is None or residual < min(residuals):
                best = sharp.detach().clone(), code.detach().clone()
            residuals.append(residual)
            self.tell(f"searching ({residual:.4f} unexplained)", step, options.steps)
            stopped = self._stopped(residuals)
            if stopped is not None:
                break
            self._step(step, sharp, code, again)
        assert best is not None
        assert stopped is not None
        seconds = time.monotonic() - self.begun
        return SearchResult(
            best[0].clamp(0, 1), best[1], residuals[0], min(residuals), len(residuals) - 1, seconds, stopped
        )

    def _stopped(self, residuals: list[float]) -> Stopped | None:
        """Why to end now, if there is a reason."""
        if len(residuals) > self.options.steps:
            return "steps"
        if self.seconds is not None and len(residuals) > 1 and time.monotonic() - self.begun >= self.seconds:
            return "seconds"
        recent = self.options.patience
        if 0 < recent < len(residuals) and min(residuals) > (1 - self.options.plateau) * min(residuals[:-recent]):
            return "plateau"
        return None

    def _step(self, step: int, sharp: Tensor, code: Tensor, again: Tensor) -> None:
        options = self.options
        loss = self._loss(step, sharp, code, again)
        loss.backward()  # type: ignore[no-untyped-call]
        turn = step % sum(options.turns) if options.turns else 0
        pictures_turn = not options.turns or turn < options.turns[0]
        share = options.decay ** ((step + 1) * PARTS // max(options.steps, 1))
        if pictures_turn:
            if turn == 0 and options.turns:
                # The code has changed since.
                self.picture.forget()
            self.picture.step(float(loss.detach()), share)
        if not options.turns or not pictures_turn:
            self.code.step(float(loss.detach()), share)
        # Nor may what the other's steps have added up count in its own.
        self.picture.clear()
        self.code.clear()
        if options.code == "encoder" and (step + 1) % options.reread == 0 and isinstance(self.code, Free):
            with torch.no_grad():
                self.code.replace(self.space.encode(self.picture.value().detach(), self.blurry).mean)
            self.picture.forget()

    def _loss(self, step: int, sharp: Tensor, code: Tensor, again: Tensor) -> Tensor:
        terms: dict[str, Callable[[], Tensor]] = {
            "square": lambda: (again - self.blurry).square().mean() / 2,
            "absolute": lambda: charbonnier(again, self.blurry),
            "unlikeness": lambda: dissimilarity(again, self.blurry),
            "perceptual": lambda: self._perceptual(again),
            "sparsity": lambda: hyper_laplacian(sharp),
            "code_length": lambda: code_norm(code),
            "familiarity": lambda: self._unfamiliar(code),
            "anchor": lambda: (sharp - self.start).square().mean() / 2,
        }
        loss = torch.zeros((), device=sharp.device)
        for name, term in terms.items():
            weight = self.options.weight(name, step)
            if weight:
                loss = loss + weight * term()
        return loss

    def _perceptual(self, again: Tensor) -> Tensor:
        assert self.backbone is not None
        assert self.seen is not None
        return self.backbone.distance(again, self.seen)

    def _unfamiliar(self, code: Tensor) -> Tensor:
        distance = getattr(self.space, "distance", None)
        return (code if distance is None else distance(code)).square().mean()

    def _warm_up(self) -> None:
        """Fit deep priors to where they are to begin."""
        for variable, target in zip((self.picture, self.code), self.targets, strict=True):
            if not isinstance(variable, Deep):
                continue
            for step in range(self.options.warmup):
                if self.seconds is not None and time.monotonic() - self.begun >= self.seconds:
                    return
                self.tell("warming up", step, self.options.warmup)
                F.mse_loss(variable.value(), target).backward()
                variable.step(0.0, 1.0)


@contextmanager
def _frozen(space: Any) -> Iterator[None]:
    """No gradients of the space's own weights."""
    learning = [weight for weight in space.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


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
