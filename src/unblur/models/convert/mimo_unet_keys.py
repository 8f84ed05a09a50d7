"""The names of the released MIMO-UNet, and of CFMD-GAN's generator, which is built on it, and ours."""

from __future__ import annotations

Rules = tuple[tuple[str, str], ...]

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
    (r"Decoder\.0\.layers\.", "stages.3."),
    (r"Decoder\.1\.layers\.", "stages.4."),
    (r"Decoder\.2\.layers\.", "stages.5."),
)
MIMO_UNET: Rules = (
    *SKELETON,
    *STAGES,
    (r"\.main\.0\.main\.0\.", ".first."),
    (r"\.main\.1\.main\.0\.", ".second."),
)
MOMENTS: Rules = (
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
    (r"mapping_net\.dec_unshared\.0\.layer\.0\.", "control.stages.3."),
    (r"mapping_net\.dec_unshared\.1\.layer\.0\.", "control.stages.4."),
    (r"mapping_net\.dec_unshared\.2\.layer\.0\.", "control.stages.5."),
)
