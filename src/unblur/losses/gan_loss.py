"""What a critic and the network that it judges are trained for: eq. 11 to 18 of the CFMD-GAN paper.

The critic tells true frames from made ones, the whole (D_enc) and pixel by pixel (D_dec), and when they were (Q). The
network is to make frames that it takes for true, and for the time that was asked for. The paper prints + log D of made
frames where the critic's loss needs log(1 - D); it is taken for the slip that it is.

The released program differs: it takes sigmoids of what has been through a sigmoid already, so that no output can cost
less than 0.313 (true) or 0.693 (made); and it halves what the critic is trained for.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.networks.cfmd_critic import Judged

Form = Literal["paper", "released"]


def taken_for_true(logits: Tensor, form: Form = "paper") -> Tensor:
    """The mean of -log D over logits of any shape, with D their sigmoid; as released, D = sigmoid(sigmoid(logits))."""
    return F.softplus(-(logits if form == "paper" else logits.sigmoid())).mean()


def taken_for_made(logits: Tensor, form: Form = "paper") -> Tensor:
    """The mean of -log(1 - D); see `taken_for_true`."""
    return F.softplus(logits if form == "paper" else logits.sigmoid()).mean()


def time_error(predicted: Tensor, times: Tensor) -> Tensor:
    """The mean squared error of times predicted pixel by pixel, (N, H, W), of frames at `times` (N,): eq. 13."""
    return (predicted - times[:, None, None]).square().mean()


def critic_terms(
    true: Judged, made: Judged, times: Tensor, regression: float = 0.05, form: Form = "paper"
) -> dict[str, Tensor]:
    """What a critic is trained for, by name: eq. 11 to 14.

    Parameters
    ----------
    true, made : Judged
        Its outputs for N true frames and on N made ones.
    times : Tensor
        (N,), when both were.
    regression : float
        Weight of the errors of time; 1 as released.
    form : {"paper", "released"}
        Released: half of everything.

    Returns
    -------
    dict
        ``critic_whole``, ``critic_local``, ``critic_time``; their sum is what is minimised.
    """
    share = 1.0 if form == "paper" else 0.5
    error = time_error(true.time, times) + time_error(made.time, times)
    return {
        "critic_whole": share * (taken_for_true(true.whole, form) + taken_for_made(made.whole, form)),
        "critic_local": share * (taken_for_true(true.local, form) + taken_for_made(made.local, form)),
        "critic_time": share * regression * error,
    }


def network_terms(
    made: Judged, times: Tensor, weight: float = 0.1, regression: float = 0.05, form: Form = "paper"
) -> dict[str, Tensor]:
    """What the network that makes frames is trained for beside their likeness to the true ones, by name: eq. 15, 18.

    Parameters
    ----------
    made : Judged
        The critic's output for N frames that the network made.
    times : Tensor
        (N,), the times that it was asked for.
    weight, regression : float
        Of both adversarial terms, and of the error of time; 0.01 and 0.05 as released.

    Returns
    -------
    dict
        ``adversarial``, ``regression``.
    """
    fooled = taken_for_true(made.whole, form) + taken_for_true(made.local, form)
    return {"adversarial": weight * fooled, "regression": regression * time_error(made.time, times)}


def released_pixel(outputs: list[Tensor], frames: Tensor) -> Tensor:
    """The sum of mean absolute differences over scales, of frames shrunk bilinearly: as released."""
    flat = frames.flatten(0, 1)
    errors = []
    for output in outputs:
        size = tuple(output.shape[-2:])
        truth = F.interpolate(flat, size, mode="bilinear", align_corners=False) if size != flat.shape[-2:] else flat
        errors.append((output.flatten(0, 1) - truth).abs().mean())
    return torch.stack(errors).sum()
