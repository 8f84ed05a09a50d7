"""The names of the released Blur Kernel Space and of its deep priors, and ours."""

from __future__ import annotations

import re
from collections.abc import Callable

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

STRIDED: Rules = (
    *((rf"^encoder\.{4 + 3 * level}\.", f"encoder.down.{level}.") for level in range(5)),
    (r"^encoder\.1\.", "encoder.entry."),
    (r"^encoder\.(\d+)\.conv_block", lambda match: f"encoder.blocks.{int(match[1]) - 19}.conv_block"),
    (r"\.conv_block\.1\.", ".first."),
    (r"\.conv_block\.5\.", ".second."),
)
BLUR_SPACE: Rules = (
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
