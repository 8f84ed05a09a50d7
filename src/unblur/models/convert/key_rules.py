"""What the authors' names of weights are called here, network by network, and what their shapes tell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
"""Regular expressions of their names, and what stands for them here; each is tried in turn."""

SKELETON: Rules = (
    (r"feat_extract\.0\.main\.0\.", "skeleton.entry."),
    (r"feat_extract\.1\.main\.0\.", "skeleton.down_half."),
    (r"feat_extract\.2\.main\.0\.", "skeleton.down_quarter."),
    (r"feat_extract\.3\.main\.0\.", "skeleton.up_half."),
    (r"feat_extract\.4\.main\.0\.", "skeleton.up_full."),
    (r"feat_extract\.5\.main\.0\.", "skeleton.head_full."),
    (r"Convs\.0\.main\.0\.", "skeleton.merge_half."),
    (r"Convs\.1\.main\.0\.", "skeleton.merge_full."),
    (r"ConvsOut\.0\.main\.0\.", "skeleton.head_quarter."),
    (r"ConvsOut\.1\.main\.0\.", "skeleton.head_half."),
    (r"AFFs\.0\.conv\.0\.main\.0\.", "skeleton.fuse_full.narrow."),
    (r"AFFs\.0\.conv\.1\.main\.0\.", "skeleton.fuse_full.smooth."),
    (r"AFFs\.1\.conv\.0\.main\.0\.", "skeleton.fuse_half.narrow."),
    (r"AFFs\.1\.conv\.1\.main\.0\.", "skeleton.fuse_half.smooth."),
    (r"FAM1\.merge\.main\.0\.", "skeleton.attend_quarter.merge."),
    (r"FAM2\.merge\.main\.0\.", "skeleton.attend_half.merge."),
    (r"SCM1\.main\.(\d)\.main\.0\.", r"skeleton.shallow_quarter.convolutions.\1."),
    (r"SCM2\.main\.(\d)\.main\.0\.", r"skeleton.shallow_half.convolutions.\1."),
    (r"SCM1\.conv\.main\.0\.", "skeleton.shallow_quarter.merge."),
    (r"SCM2\.conv\.main\.0\.", "skeleton.shallow_half.merge."),
)
STAGES: Rules = (
    (r"Encoder\.([012])\.layers\.", r"stages.\1."),
    (r"Decoder\.([012])\.layers\.", lambda found: f"stages.{3 + int(found[1])}."),
)
MIMO_UNET: Rules = (
    *SKELETON,
    *STAGES,
    (r"\.main\.0\.main\.0\.", ".first."),
    (r"\.main\.1\.main\.0\.", ".second."),
)
CFMD: Rules = (
    *SKELETON,
    *STAGES,
    (r"\.conv1\.main\.0\.", ".first."),
    (r"\.conv2\.conv\.", ".fuse."),
    (r"\.conv2\.offset_conv\.", ".offset."),
    (r"\.conv2\.modulator_conv\.", ".mask."),
    (r"\.conv2\.regular_conv\.", ".second."),
    (r"\.ch_att\.conv\.", ".refuse."),
    (r"\.ch_att\.conv_du\.0\.", ".gate.narrow."),
    (r"\.ch_att\.conv_du\.2\.", ".gate.widen."),
    (r"mapping_net\.shared\.(\d)\.layer\.0\.", r"control.shared.\1."),
    (r"mapping_net\.enc_unshared\.([012])\.layer\.0\.", r"control.stages.\1."),
    (r"mapping_net\.dec_unshared\.([012])\.layer\.0\.", lambda found: f"control.stages.{3 + int(found[1])}."),
)


STRIDED: Rules = (
    *((rf"^encoder\.{4 + 3 * level}\.", f"encoder.down.{level}.") for level in range(5)),
    (r"^encoder\.1\.", "encoder.entry."),
    (r"^encoder\.(\d+)\.conv_block", lambda match: f"encoder.blocks.{int(match[1]) - 19}.conv_block"),
    (r"\.conv_block\.1\.", ".first."),
    (r"\.conv_block\.5\.", ".second."),
)
BLUR_KERNEL_SPACE: Rules = (
    (r"^feature_extractor\.0\.", "features.entry."),
    (r"^feature_extractor\.2\.", "features.to_half."),
    (r"^feature_extractor\.4\.", "features.to_quarter."),
    (r"^feature_extractor\.(\d+)\.", lambda match: f"features.blocks.{int(match[1]) - 6}."),
    (r"^recon_trunk\.20\.", "reconstruction.to_half."),
    (r"^recon_trunk\.23\.", "reconstruction.to_full."),
    (r"^recon_trunk\.26\.", "reconstruction.refine."),
    (r"^recon_trunk\.28\.", "reconstruction.head."),
    (r"^recon_trunk\.(\d+)\.", r"reconstruction.blocks.\1."),
    (r"\.conv1\.", ".first."),
    (r"\.conv2\.", ".second."),
    # Each scale lies within the one above.
    (r"^adapter\.model\.((?:submodule\.)*)down\.\d\.", lambda match: f"unet.down.{match[1].count('.')}."),
    (r"^adapter\.model\.((?:submodule\.)*)up\.\d\.", lambda match: f"unet.up.{4 - match[1].count('.')}."),
    (r"^kernel_extractor\.model\.", "encoder."),
    *STRIDED,
)
CODE_PRIOR: Rules = ((r"^model\.", "encoder."), *STRIDED)
IMAGE_PRIOR: Rules = (
    (r"^model\.9\.0\.", "head."),
    # Each scale lies within the coarser branch of the one above.
    (r"^model((?:\.1\.1\.[78])*)\.", lambda match: f"scales.{match[1].count('.1.1.')}."),
    (r"^(scales\.\d)\.1\.0\.1\.0\.", r"\1.aside."),
    (r"^(scales\.\d)\.1\.0\.2\.", r"\1.aside_norm."),
    (r"^(scales\.\d)\.1\.1\.1\.0\.", r"\1.shrink."),
    (r"^(scales\.\d)\.1\.1\.2\.", r"\1.shrink_norm."),
    (r"^(scales\.\d)\.1\.1\.4\.g\.0\.", r"\1.attend.values."),
    (r"^(scales\.\d)\.1\.1\.4\.phi\.0\.", r"\1.attend.keys."),
    (r"^(scales\.\d)\.1\.1\.4\.theta\.", r"\1.attend.queries."),
    (r"^(scales\.\d)\.1\.1\.4\.W\.0\.", r"\1.attend.back."),
    (r"^(scales\.\d)\.1\.1\.4\.W\.1\.", r"\1.attend.gate."),
    (r"^(scales\.\d)\.1\.1\.[45]\.0\.", r"\1.deepen."),
    (r"^(scales\.\d)\.1\.1\.[56]\.", r"\1.deepen_norm."),
    (r"^(scales\.\d)\.2\.", r"\1.both_norm."),
    (r"^(scales\.\d)\.3\.0\.", r"\1.merge."),
    (r"^(scales\.\d)\.4\.", r"\1.merge_norm."),
    (r"^(scales\.\d)\.6\.0\.", r"\1.mix."),
    (r"^(scales\.\d)\.7\.", r"\1.mix_norm."),
)


JIN: Rules = (
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
PUROHIT: Rules = (
    (r"^bie\.model\.", "pictures."),
    (r"^rvd\.flow_encoder\.model\.(\d)\.0\.", r"flow_levels.\1.entry."),
    (r"^rvd\.flow_encoder\.model\.(\d)\.1\.", r"flow_levels.\1."),
    (r"\.conv1\.", ".first."),
    (r"\.conv2\.", ".second."),
    (r"^rvd\.conv_lstm\.conv\.", "memory.gates."),
    (r"^rvd\.flow_decoder\.deconvs\.(\d)\.conv\.", r"decoder.enlarge.\1."),
    (r"^rvd\.flow_decoder\.convs\.", "decoder.heads."),
)
RUNNING = (".running_mean", ".running_var", ".num_batches_tracked")


def without_running(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the running means that instance norms of the torch of 2018 kept and never used."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(RUNNING)}


BLOCKS_BEGIN = 13
HYPERCUT: Rules = (
    (r"^.*model\.1\.(weight|bias)$", r"encoder.entry.\1"),
    *((rf"^.*model\.{3 + 2 * level}\.(weight|bias)$", rf"encoder.down.{level}.\1") for level in range(5)),
    (r"^.*model\.(\d+)\.conv_block", lambda match: f"encoder.blocks.{int(match[1]) - BLOCKS_BEGIN}.conv_block"),
    (r"\.conv_block\.1\.", ".first."),
    (r"\.conv_block\.4\.", ".second."),
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, red, green, blue; the program trained on blue, green, red, and normalised these by the same three."""


def hypercut_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `HyperCUT`."""
    width, channels = _side(tensors, "encoder.entry.weight"), _side(tensors, "encoder.down.4.weight")
    return {"width": width, "channels": channels, "blocks": _count(tensors, r"encoder\.blocks\."), "form": "released"}


def hypercut_folded(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors for pictures in [0, 1] with red first, and the hyperplane under our name.

    The normalisation goes into the first convolution, exactly, as its padding is a mirror. The hyperplane is the one
    vector that belongs to no layer.

    Raises
    ------
    ValueError
        If it is missing: it is drawn at random before the training, and nothing else tells it. Or if the convolutions
        that tell shapes are.
    """
    ours = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    hypercut_arguments(ours)
    weight, bias = ours["encoder.entry.weight"], ours.get("encoder.entry.bias")
    if bias is None or weight.ndim != 4 or weight.shape[1] != 6 or bias.shape != weight.shape[:1]:
        raise ValueError("its first convolution is not of two pictures")
    scale, mean = (torch.tensor(values).repeat(2)[:, None, None].to(weight) for values in (DEVIATION, MEAN))
    weight = weight / scale
    ours["encoder.entry.bias"] = bias - (weight * mean).sum((1, 2, 3))
    ours["encoder.entry.weight"] = weight.unflatten(1, (2, 3)).flip(2).flatten(1, 2)
    channels = ours["encoder.down.4.weight"].shape[0]
    planes = [tensor.flatten() for name, tensor in tensors.items() if name not in ours]
    planes = [plane for plane in planes if len(plane) == channels + 1]
    if len(planes) != 1:
        raise ValueError(f"{len(planes) or 'no'} vectors that could be its hyperplane")
    return ours | {"hyperplane": planes[0]}


LEVELS = 3
# The first convolution of a U-Net is given the same features twice, side by side.
TWICE = re.compile(r"stages\.\d+\.encoders\.0\.entry\.weight")

MAXIM: Rules = (
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


def maxim_folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions that are given the same features twice, as convolutions that are given them once."""
    ours = dict(tensors)
    for name, tensor in tensors.items():
        if TWICE.fullmatch(name) and tensor.ndim > 1 and tensor.shape[1] % 2 == 0:
            one, other = tensor.chunk(2, dim=1)
            ours[name] = one + other
    return ours


CFMD_CRITIC: Rules = (
    (r"^(en|de)code\.(\d)\.(?:layers\.)+", r"\1coder.\2."),
    (r"^global_cls\.", "whole."),
    (r"^pixel_cls\.", "local."),
    (r"^label_predict\.", "time."),
    (r"\.weight_orig$", ".weight"),
    (r"\.weight_u$", ".left"),
    (r"\.weight_v$", ".right"),
)


def cfmd_critic_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `CFMDCritic`."""
    levels = _count(tensors, r"encoder\.")
    width, widest = (_side(tensors, f"encoder.{level}.2.weight") for level in (0, levels - 1))
    return {"width": width, "widest": widest, "levels": levels}


NAFNET: Rules = (
    (r"^encoders\.", "encoder."),
    (r"^decoders\.", "decoder."),
    (r"^middle_blks\.", "middle."),
    (r"^downs\.", "down."),
    (r"^ups\.(\d)\.0\.", r"up.\1."),
    (r"\.norm1\.", ".near_norm."),
    (r"\.conv1\.", ".near_widen."),
    (r"\.conv2\.", ".near_mix."),
    (r"\.sca\.1\.", ".attention."),
    (r"\.conv3\.", ".near_merge."),
    (r"\.beta$", ".near_share"),
    (r"\.norm2\.", ".own_norm."),
    (r"\.conv4\.", ".own_widen."),
    (r"\.conv5\.", ".own_merge."),
    (r"\.gamma$", ".own_share"),
)
# 1.5 times the crops of 256 that the released ones learned from: what their authors measure them with (arXiv
# 2112.04491). On smaller pictures it changes nothing.
NAFNET_POOL = 384


def mimo_unet_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor's arguments of a `MimoUNet`, as its tensors tell them."""
    return {"channels": _side(tensors, "skeleton.entry.weight", 4), "blocks": _count(tensors, r"stages\.\d\.")}


def cfmd_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `CFMD`."""
    deformable = any(".offset." in name for name in tensors)
    attention = any(".refuse." in name for name in tensors)
    return {**mimo_unet_arguments(tensors), "deformable": deformable, "attention": attention}


def nafnet_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `NAFNet`."""
    stacks = {
        side: [_count(tensors, rf"{side}\.{level}\.") for level in range(_count(tensors, rf"{side}\."))]
        for side in ("encoder", "decoder")
    }
    width, middle = _side(tensors, "intro.weight"), _count(tensors, r"middle\.")
    return {"width": width, **stacks, "middle": middle, "pool": NAFNET_POOL}


def maxim_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `Maxim`."""
    levels = range(_count(tensors, r"stages\.0\.encoders\."))
    features, entry = _side(tensors, "stages.0.inputs.0.weight"), "stages.0.encoders.0.groups"
    return {
        "features": features,
        "stages": _count(tensors, r"stages\."),
        "sizes": [
            math.isqrt(_side(tensors, f"stages.0.encoders.{level}.groups.mlps.0.grid.mix.weight")) for level in levels
        ],
        "groups": _count(tensors, rf"{entry}\.mlps\."),
        "bottlenecks": _count(tensors, r"stages\.0\.bottlenecks\."),
        "reduction": max(1, features // _side(tensors, f"{entry}.attentions.0.weights.squeeze.weight")),
    }


def blur_kernel_space_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `BlurKernelSpace`."""
    features = _side(tensors, "features.entry.weight")
    channels = _side(tensors, "unet.up.0.weight") - 8 * features
    return {
        "features": features,
        "front_blocks": _count(tensors, r"features\.blocks\."),
        "back_blocks": _count(tensors, r"reconstruction\.blocks\."),
        "channels": channels,
        "encoder_blocks": _count(tensors, r"encoder\.blocks\."),
        "variational": _side(tensors, "encoder.down.4.weight") == 2 * channels,
        "code_activation": "relu",
        "spread": "sigma",
    }


def deep_image_prior_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of an `DeepImagePrior`."""
    attended = [name for name in tensors if name.endswith(".attend.back.weight")]
    return {
        "inputs": _side(tensors, "scales.0.aside.weight", dimension=1),
        "width": _side(tensors, "head.weight", dimension=1),
        "skip": _side(tensors, "scales.0.aside.weight"),
        "scales": _count(tensors, r"scales\."),
        "attended": len(attended),
        "padding": "zeros",
    }


def deep_code_prior_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `DeepCodePrior`."""
    entry = "encoder.entry.weight"
    return {
        "inputs": _side(tensors, entry, dimension=1),
        "width": _side(tensors, entry),
        "channels": _side(tensors, "encoder.down.4.weight"),
        "blocks": _count(tensors, r"encoder\.blocks\."),
    }


def jin_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `Jin`."""
    return {
        "middle_width": _side(tensors, "middle.entry.weight"),
        "middle_refine": _side(tensors, "middle.refinement.entry.weight"),
        "side_width": 2 * _side(tensors, "outermost.entry_blurry.weight", 2),
        "side_refine": _side(tensors, "outermost.refinement.entry.weight"),
    }


def purohit_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a `Purohit`."""
    return {
        "width": _side(tensors, "pictures.0.weight"),
        "hidden": _side(tensors, "memory.gates.weight", 4) // 4,
        "flow_widths": [_side(tensors, f"flow_levels.{level}.entry.weight") for level in range(3)],
        "released": True,
    }


def _side(tensors: Mapping[str, Tensor], name: str, multiple: int = 1, dimension: int = 0) -> int:
    """A dimension, the first, of a tensor that must be there."""
    tensor = tensors.get(name)
    side = tensor.shape[dimension] if tensor is not None and tensor.ndim > dimension else 0
    if not side or side % multiple:
        raise ValueError(f"{name} is missing or misshapen")
    return side


def _count(tensors: Mapping[str, Tensor], start: str) -> int:
    """How many things are numbered after `start`; never more than there are tensors."""
    found = [re.match(rf"{start}(\d{{1,9}})\.", name) for name in tensors]
    numbers = {int(match[1]) for match in found if match}
    if numbers != set(range(len(numbers))) or not numbers:
        raise ValueError(f"{start} has gaps")
    return len(numbers)
