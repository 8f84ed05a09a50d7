from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unblur.training.contact_sheets import contact_sheet, write_sheet


def test_layout() -> None:
    blurry = torch.zeros(1, 3, 4, 5)
    sheet = contact_sheet(blurry, torch.full((1, 1, 3, 4, 5), 0.5), torch.full((1, 1, 3, 4, 5), 2.0), gap=1)
    assert sheet.shape == (3, 4, 5 + 3 + 5 + 3 + 5)
    assert sheet[0, 0].tolist() == [0.0] * 5 + [1.0] * 3 + [0.5] * 5 + [1.0] * 3 + [1.0] * 5


def test_written_as_it_is(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.png", torch.tensor([0.0, 1.0, 0.5])[:, None, None].expand(3, 2, 3))
    with Image.open(path) as image:
        assert np.asarray(image)[1, 2].tolist() == [0, 255, 128]
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
