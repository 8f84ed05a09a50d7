"""MAXIM as released, in the names that its authors gave to its parts, to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

LEVELS = 3
# The first convolution of a U-Net is given the same features twice, side by side.
TWICE = re.compile(r"stages\.\d+\.encoders\.0\.entry\.weight")

RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^UpSampleRatio_(\d+)\.Conv_0\.", lambda found: _signal(int(found[1]))),
    (r"^stage_\d+_output_conv_0\.", "head."),
    (r"^stage_(\d+)_input_conv_(\d)\.", r"stages.\1.inputs.\2."),
    (r"^stage_(\d+)_input_fuse_sam_(\d)\.", r"stages.\1.fuse.\2."),
    (r"^stage_(\d+)_encoder_block_(\d)\.", r"stages.\1.encoders.\2."),
    (r"^stage_(\d+)_global_block_(\d)\.", r"stages.\1.bottlenecks.\2."),
    (r"^stage_(\d+)_cross_gating_block_(\d)\.", r"stages.\1.gates.\2."),
    (r"^stage_(\d+)_decoder_block_(\d)\.(?:UNetEncoderBlock_0\.)?", r"stages.\1.decoders.\2."),
    (r"^stage_(\d+)_supervised_attention_module_(\d)\.", r"stages.\1.attend.\2."),
    (r"(attend\.\d\.)Conv_0\.", r"\1features."),
    (r"(attend\.\d\.)Conv_1\.", r"\1to_image."),
    (r"(attend\.\d\.)Conv_2\.", r"\1from_image."),
    (r"((?:en|de)coders\.\d\.)Conv_0\.", r"\1entry."),
    (r"(encoders\.\d\.)Conv_1\.", r"\1down."),
    (r"(decoders\.\d\.)ConvTranspose_0\.", r"\1up."),
    (r"\.input_proj\.", ".entry."),
    (r"\.cross_gating_block\.", ".cross."),
    (r"\.SplitHeadMultiAxisGmlpLayer_(\d+)\.", r".groups.mlps.\1."),
    (r"\.channel_attention_block_1_?(\d+)\.", r".groups.attentions.\1."),
    (r"\.channel_attention\.Conv_0\.", ".weights.squeeze."),
    (r"\.channel_attention\.Conv_1\.", ".weights.excite."),
    (r"\.(?:conv1|channel_mixing\.Dense_0)\.", ".first."),
    (r"\.(?:conv2|channel_mixing\.Dense_1)\.", ".second."),
    (r"\.(?:Grid|Block)GatingUnit\.intermediate_layernorm\.", ".gate_norm."),
    (r"\.(?:Grid|Block)GatingUnit\.Dense_0\.", ".mix."),
    (r"\.GridGmlpLayer\.", ".grid."),
    (r"\.BlockGmlpLayer\.", ".block."),
    (r"\.SplitHeadMultiAxisGating_([xy])\.", r".\1.gate."),
    (r"\.gate\.Dense_0\.", ".gate.grid."),
    (r"\.gate\.Dense_1\.", ".gate.block."),
    (r"\.ConvTranspose_0\.", ".enlarge."),
    (r"\.Conv_0\.", ".project_x."),
    (r"\.Conv_1\.", ".project_y."),
    (r"\.LayerNorm_([xy])\.", r".\1.norm."),
    (r"\.in_project_([xy])\.", r".\1.widen."),
    (r"\.out_project_([xy])\.", r".\1.narrow."),
    (r"\.LayerNorm(?:_in)?\.", ".norm."),
    (r"\.in_project\.", ".widen."),
    (r"\.out_project\.", ".narrow."),
)


def _signal(number: int) -> str:
    """Where the n-th skip signal belongs: they are numbered through, stage by stage, the smallest level first."""
    number, source = divmod(number, LEVELS)
    number, level = divmod(number, LEVELS)
    stage, kind = divmod(number, 2)
    return f"stages.{stage}.{('signals', 'skips')[kind]}.{LEVELS - 1 - level}.resized.{source}.project."


def folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions that are given the same features twice, as convolutions that are given them once."""
    ours = dict(tensors)
    for name, tensor in tensors.items():
        if TWICE.fullmatch(name) and tensor.ndim > 1 and tensor.shape[1] % 2 == 0:
            one, other = tensor.chunk(2, dim=1)
            ours[name] = one + other
    return ours
