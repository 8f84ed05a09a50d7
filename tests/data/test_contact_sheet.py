import numpy as np

from unblur.data.contact_sheet import draw_grid


def test_rows_and_columns() -> None:
    rows = [
        [np.full((40, 50, 3), 10, np.uint8), np.full((40, 50, 3), 200, np.uint8)],
        [np.full((1024, 512, 3), 30, np.uint8), np.full((20, 10, 3), 40, np.uint8)],
    ]
    drawn = (255 * draw_grid(rows, ["one", "two"]).pixels).round()
    assert drawn.shape == (3, 26 + 46 + 262, 134 + 56)
    assert drawn[:, 26 + 20, 20].tolist() == [10] * 3
    assert drawn[:, 26 + 20, 134 + 20].tolist() == [200] * 3
    assert drawn[:, 26 + 46 + 200, 100].tolist() == [30] * 3  # shrunk to 256 x 128
    assert drawn[:, 26 + 46 + 100, 134 + 30].tolist() == [255] * 3
    assert drawn[:, :26].min() < 100  # titles
