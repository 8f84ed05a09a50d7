"""Released blur-to-video networks: how their names become ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

CASCADE: Rules = (
    (r"^generateFrame3\.", "before."),
    (r"^generateFrame5\.", "after."),
    (r"^generateFrame2_6\.", "second."),
    (r"^generateFrame1_7\.", "outermost."),
    # The file of the middle frame has no such start.
    (r"^(?!(?:before|after|second|outermost)\.)", "middle."),
    (r"^middle\.conv1_B\.", "middle.entry."),
    (r"\.conv1_B\.", ".entry_blurry."),
    (r"\.conv1_S1\.", ".entry_inner."),
    (r"\.conv1_S2\.", ".entry_near."),
    (r"^(\w+)\.conv2\.", r"\1.refinement.entry."),
    (r"^(\w+)\.norm3\.", r"\1.refinement.norm."),
    (r"^(\w+)\.conv3\.", r"\1.refinement.exit."),
    # The sums of two branches call the wider one 2, and have no 4.
    (r"((?:fuse\d|(?<!middle\.)GlobalGrad)\.0)\.norm2\.", r"\1.wide_norm."),
    (r"((?:fuse\d|(?<!middle\.)GlobalGrad)\.0)\.conv2\.", r"\1.wide."),
    (r"\.LocalGrad(\d)\.", lambda match: f".stages.stages.{int(match[1]) - 1}."),
    (r"\.fuse(\d)\.0\.", lambda match: f".stages.heads.{int(match[1]) - 1}."),
    (r"\.GlobalGrad\.0\.", ".refinement.block."),
    (r"\.norm1\.", ".point_norm."),
    (r"\.conv1\.", ".point."),
    (r"\.norm2\.", ".near_norm."),
    (r"\.conv2\.", ".near."),
    (r"\.norm4\.", ".far_norm."),
    (r"\.conv4\.", ".far."),
)
RECURRENT: Rules = (
    (r"^bie\.model\.", "pictures."),
    (r"^rvd\.flow_encoder\.model\.(\d)\.0\.", r"flow_levels.\1.entry."),
    (r"^rvd\.flow_encoder\.model\.(\d)\.1\.conv1\.", r"flow_levels.\1.first."),
    (r"^rvd\.flow_encoder\.model\.(\d)\.1\.conv2\.", r"flow_levels.\1.second."),
    (r"^rvd\.conv_lstm\.conv\.", "memory.gates."),
    (r"^rvd\.flow_decoder\.deconvs\.(\d)\.conv\.", r"decoder.enlarge.\1."),
    (r"^rvd\.flow_decoder\.convs\.", "decoder.heads."),
)
RUNNING = (".running_mean", ".running_var", ".num_batches_tracked")


def without_running(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the running means that instance norms of the torch of 2018 kept and never used."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(RUNNING)}
