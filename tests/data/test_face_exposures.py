from dataclasses import replace

import pytest
import torch
from written_faces import light, write_faces

from unblur.data.exposure_metadata import read_metadata, write_metadata
from unblur.data.face_exposures import load_faces
from unblur.data.sequences import MetadataSequences
from unblur.errors import UnblurError

ORDERS = [(2, 0, 1), (0, 1, 2), (4, 2, 0, 1, 3)]


@pytest.mark.parametrize("sort", ["fmr", "time"])
def test_frames_are_found_by_rank_and_in_time(tmp_path, sort):
    classes, notes = load_faces(write_faces(tmp_path, ORDERS, sort=sort))
    assert notes == []
    assert [(one.frames, len(one), one.names) for one in classes] == [(3, 2, ["clip_0", "clip_1"]), (5, 1, ["clip_0"])]
    for one, orders in zip(classes, (ORDERS[:2], ORDERS[2:]), strict=True):
        for number, (batch, fmr) in enumerate(zip(one.batches(1), orders, strict=True)):
            seen = batch["frames"][0].mean((1, 2, 3)) - batch["frames"].mean() + 0.5
            by_rank = torch.tensor([light(rank, one.frames) for rank in range(one.frames)])
            assert torch.allclose(seen[batch["rank"][0]], by_rank, atol=0.01)
            # The frame of rank k was the fmr[k]-th in time.
            assert torch.allclose(seen[batch["time"][0]][list(fmr)], by_rank, atol=0.01)
            alone = one.one(number)
            assert all(torch.equal(alone[key], batch[key]) for key in ("blurry", "frames", "rank", "time"))


def test_reversed_entries_keep_their_orders(tmp_path):
    path = write_faces(tmp_path, ORDERS[2:]) / "frames-05" / "metadata.json"
    metadata = read_metadata(path)
    write_metadata(path, replace(metadata, entries=(replace(metadata.entries[0], order="reverse"),)))
    (batch,) = load_faces(tmp_path)[0][0].batches()
    light = batch["frames"][0].mean((1, 2, 3))
    assert (light.diff() < 0).all(), "loaded in reverse"
    assert (light[batch["rank"][0]].diff() > 0).all()
    assert light[batch["time"][0]].argsort().tolist() == list(ORDERS[2])


@pytest.mark.parametrize("sort", ["fmr", "time"])
def test_frames_are_put_in_either_order_for_training(tmp_path, sort):
    (one,) = load_faces(write_faces(tmp_path, ORDERS[2:], sort=sort))[0]
    reverse = replace(one.recorded.metadata.entries[0], order="reverse")
    path = tmp_path / "frames-05" / "metadata.json"
    for entry in (one.recorded.metadata.entries[0], reverse):
        write_metadata(path, replace(one.recorded.metadata, entries=(entry,)))
        (one,) = load_faces(tmp_path)[0]
        seen = {}
        for order in ("rank", "time"):
            pictures = MetadataSequences(one.in_order(order), 5).read(0).pictures
            seen[order] = pictures[1:].mean((1, 2, 3)).argsort().tolist()
        assert seen == {"rank": [0, 1, 2, 3, 4], "time": list(ORDERS[2])}


def test_which_are_taken(tmp_path):
    both = [write_faces(tmp_path / part, [(0, 1, 2)] * 3, split=part) for part in ("train", "test")]
    classes, notes = load_faces(both[0], limit=2)
    assert notes == ["no exposure is of the split test: all are measured on"]
    assert classes[0].names == ["clip_0", "clip_2"]
    with pytest.raises(UnblurError, match="has no exposure of val"):
        load_faces(both[1], split="val")
    path = both[0] / "frames-03" / "metadata.json"
    metadata = read_metadata(path)
    entries = (replace(metadata.entries[1], split="test"), *metadata.entries[2:])
    write_metadata(path, replace(metadata, entries=entries))
    assert load_faces(both[0])[0][0].names == ["clip_1"]
    assert load_faces(both[0], split="train")[0][0].names == ["clip_2"]


def test_lengths_without_a_middle_are_left_out(tmp_path):
    write_faces(tmp_path, [(0, 1, 2), (0, 1, 2, 3)])
    classes, notes = load_faces(tmp_path)
    assert [one.frames for one in classes] == [3]
    assert notes == ["frames-04 left out: of 4 frames none is the middle one"]
    with pytest.raises(UnblurError, match="no exposures of an odd number"):
        load_faces(write_faces(tmp_path / "even", [(0, 1)]))


def test_what_is_no_such_folder_is_told(tmp_path):
    with pytest.raises(UnblurError, match="is no folder"):
        load_faces(tmp_path / "none")
    with pytest.raises(UnblurError, match="has no frames"):
        load_faces(tmp_path)
    path = write_faces(tmp_path, [(0, 1, 2)]) / "frames-03" / "metadata.json"
    metadata = read_metadata(path)
    for fmr in (None, [0, 1, 1], [0, 1], ["0", "x", 2], ["0", "1", "2"], [True, 0, 2]):
        entry = replace(metadata.entries[0], more={} if fmr is None else {"fmr": fmr})
        write_metadata(path, replace(metadata, entries=(entry,)))
        with pytest.raises(UnblurError, match=r"metadata\.json: does not tell the order by FMR of clip_0"):
            load_faces(tmp_path)
