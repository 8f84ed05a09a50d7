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
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.losses.perceptual import Backbone
from unblur.losses.pixel import charbonnier
from unblur.losses.priors import code_norm, hyper_laplacian
from unblur.losses.similarity import dissimilarity
from unblur.networks.image_prior import CodePrior, ImagePrior
from unblur.runtime.precision import autocast

NOISE = 0.1
"""Of deep priors' inputs: uniform from 0 to this."""
PARTS = 5
"""The rates of deep priors and free codes fall after every fifth of the steps."""

Tell = Callable[[str, int, int], None]
Weight = tuple[float, ...]
Stopped = Literal["steps", "plateau", "seconds"]


DATA = ("square", "absolute", "unlikeness", "perceptual")
"""The distances to the photo."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search; every number may be changed.

    A weight is one number, or several, each for an equal share of the steps.

    Attributes
    ----------
    picture : {"pixels", "prior"}
        Search the pixels by gradient descent, or the weights of an `ImagePrior` by Adam.
    code : {"encoder", "free", "prior"}
        Read the code again from the picture that was reached, search its numbers by Adam, or the weights of a
        `CodePrior`.
    steps : int
        At most.
    patience : int
        Stop where so many steps have lowered the residual by less than `plateau` of itself; 0 for never.
    plateau : float
    reread : int
        Steps between two readings of the code, for "encoder".
    turns : tuple of int
        Steps of the picture, then of the code, in turns; both in every step if empty.
    picture_rate, code_rate : float
        Of the descent, or of Adam.
    decay : float
        What rates of Adam are multiplied by after every fifth of the steps.
    warmup : int
        Steps that fit each prior to where it is to begin.
    begin_blurry : bool
        Whether the picture's prior begins at the photo itself.
    jitter : float
        Deviation of what is added to the priors' inputs in every step.
    padding : {"reflect", "zeros"}
        Of the `ImagePrior`.
    square, absolute, unlikeness, perceptual : tuple of float
        Weights of the distance between reblurred picture and photo: half the mean square, Charbonnier's, 1 - SSIM,
        features of a `Backbone`.
    sparsity : tuple of float
        Of `hyper_laplacian`.
    code_length : tuple of float
        Of `code_norm`.
    familiarity : tuple of float
        Of the mean square of the space's own distance to known codes, if it has one, else of the code.
    anchor : tuple of float
        Of half the mean square between the picture and where it began.
    """

    picture: Literal["pixels", "prior"] = "pixels"
    code: Literal["encoder", "free", "prior"] = "encoder"
    steps: int = 20
    patience: int = 5
    plateau: float = 0.05
    reread: int = 5
    turns: tuple[int, ...] = ()
    picture_rate: float = 1.0
    code_rate: float = 0.02
    decay: float = 1.0
    warmup: int = 0
    begin_blurry: bool = False
    jitter: float = 0.001
    padding: Literal["reflect", "zeros"] = "reflect"
    square: Weight = (1.0,)
    absolute: Weight = (0.0,)
    unlikeness: Weight = (0.0,)
    perceptual: Weight = (0.0,)
    sparsity: Weight = (3e-5,)
    code_length: Weight = (0.0,)
    familiarity: Weight = (0.0,)
    anchor: Weight = (0.03,)

    def __post_init__(self) -> None:
        if self.turns and (len(self.turns) != 2 or not sum(self.turns)):
            raise ValueError(f"turns are two numbers of steps, got {self.turns}")
        if self.steps < 1 or self.reread < 1:
            raise ValueError(f"steps and reread are 1 or more, got {self.steps} and {self.reread}")

    @classmethod
    def released(cls) -> SearchOptions:
        """What the authors' program does; but the best picture is kept, not the last."""
        return cls(
            picture="prior",
            code="prior",
            steps=5000,
            patience=0,
            picture_rate=5e-4,
            code_rate=5e-4,
            decay=0.7,
            warmup=300,
            begin_blurry=True,
            padding="zeros",
            square=(0.0,),
            unlikeness=(1.0, 0.0),
            perceptual=(0.6, 1.0),
            sparsity=(0.02, 0.05),
            code_length=(5e-5, 5e-4),
            anchor=(0.0,),
        )

    def weight(self, name: str, step: int) -> float:
        """Of a term, in a step from 0 on."""
        weights: Weight = getattr(self, name)
        return weights[min(step * len(weights) // max(self.steps, 1), len(weights) - 1)]

    def without_backbone(self) -> SearchOptions:
        """1 - SSIM in the place of the perceptual term."""
        count = len(self.unlikeness) * len(self.perceptual)
        spread = lambda weights: [w for w in weights for _ in range(count // len(weights))]  # noqa: E731
        both = zip(spread(self.unlikeness), spread(self.perceptual), strict=True)
        return replace(self, unlikeness=tuple(a + b for a, b in both), perceptual=(0.0,))


class BlurSpaceLike(Protocol):
    """What the search asks of a blur space."""

    channels: int

    def encode(self, sharp: Tensor, blurry: Tensor) -> Any:
        """A `Code`."""

    def reblur(self, sharp: Tensor, code: Tensor) -> Tensor:
        """The photo that a picture and a code make."""


@dataclass(frozen=True)
class Found:
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
) -> Found:
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

    def run(self) -> Found:
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
        return Found(best[0].clamp(0, 1), best[1], residuals[0], min(residuals), len(residuals) - 1, seconds, stopped)

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
        """An `ImagePrior` for pictures of a size."""
        network = ImagePrior(padding=options.padding)
        size = (1, network.inputs, *like.shape[-2:])
        return cls._of(network, size, like, options.picture_rate, options.jitter, generator, dtype)

    @classmethod
    def code(cls, like: Tensor, options: SearchOptions, generator: torch.Generator, dtype: torch.dtype) -> Deep:
        """A `CodePrior` for codes of a grid."""
        network = CodePrior(channels=like.shape[1])
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
