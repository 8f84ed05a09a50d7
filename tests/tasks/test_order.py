from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unblur
from unblur.data.exposure_metadata import Entry, Metadata, read_metadata, write_metadata
from unblur.datasets.metadata import read_manifest
from unblur.errors import UnblurError
from unblur.media import atomic
from unblur.media.image import Picture
from unblur.media.video import read_clip, write_clip
from unblur.models.card import Card
from unblur.models.weights import save_weights
from unblur.networks.hypercut import HyperCUT
from unblur.networks.path_film import UNetRestorer
from unblur.pipeline import frame_order
from unblur.pipeline.frame_order import OrderScorer, shrunk, spread
from unblur.tasks import order_files
from unblur.tasks.order import order, score_frames
from unblur.tasks.order_files import OrderOptions, OrderReport, eval_files, label_files, score_files


def network(form: str = "antisymmetric") -> HyperCUT:
    torch.manual_seed(3)
    made = HyperCUT(width=4, channels=6, blocks=1, form=form)  # type: ignore[arg-type]
    # Scores large enough that none of them is nothing but rounding.
    made.hyperplane *= 100
    return made


def frames(seed: int, count: int = 5, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    first, last = (torch.rand(3, 4, 4, generator=generator) for _ in range(2))
    weights = torch.linspace(0, 1, count)[:, None, None, None]
    mixed = (first * (1 - weights) + last * weights).repeat_interleave(side // 4, -1).repeat_interleave(side // 4, -2)
    return (mixed * 255).round() / 255


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_weights(tmp_path / "order.safetensors", network(), Card("tiny-order", "hypercut")))


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """Six clips of five frames each, of two splits."""
    root, entries = tmp_path / "set", []
    for number in range(6):
        names = tuple(f"{number}/sharp/0_{i}.png" for i in range(1, 6))
        for name, frame in zip(names, frames(number), strict=True):
            Picture(frame).save(root / name)
        Picture(frames(number).mean(0)).save(root / f"{number}/blur/0.png")
        orders = ("ignore", "keep", "reverse", "random")
        entries.append(Entry(f"{number}/0", orders[number % 4], "val" if number > 3 else "train", f"{number}/blur/0.png", names, more={"x": number}))  # type: ignore[arg-type]  # fmt: skip # noqa: E501
    return write_metadata(root / "metadata.json", Metadata("tiny", 5, tuple(entries), root))


@pytest.mark.parametrize("form", ["antisymmetric", "offset", "released"])
@pytest.mark.parametrize("count", [2, 3, 7, 12, 31])
def test_a_reversed_clip_has_the_opposite_score(form: str, count: int) -> None:
    net, clip = network(form), frames(1, count)
    one, other = order(clip, net), order(clip.flip(0), net)
    assert one.score == pytest.approx(-other.score, rel=1e-4)
    assert one.sign == -other.sign == (1 if one.score > 0 else -1)
    assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    assert 0 <= one.confidence <= 1


def test_a_clip_may_come_in_any_form(tmp_path: Path, model: str) -> None:
    clip = frames(2)
    wanted = unblur.order(clip, model, device="cpu")
    paths = [Picture(frame).save(tmp_path / "clip" / f"{i}.png").as_posix() for i, frame in enumerate(clip)]
    for given_ in (clip[None], list(clip), [Picture(frame) for frame in clip], paths, tmp_path / "clip"):
        assert unblur.order(given_, model, device="cpu") == pytest.approx(wanted, rel=1e-4)
    film = write_clip(tmp_path / "clip.mp4", clip)
    stored = list(read_clip(film))
    assert unblur.order(str(film), OrderScorer(network(), device="cpu")) == pytest.approx(unblur.order(stored, model))
    gif = write_clip(tmp_path / "clip.gif", clip)
    assert unblur.order(gif, model, device="cpu").sign in (1, -1)


def test_what_has_no_order(tmp_path: Path) -> None:
    net = network()
    with pytest.raises(UnblurError, match="fewer than two frames"):
        order(torch.rand(1, 3, 64, 64), net)
    with pytest.raises(UnblurError, match="fewer than two frames"):
        order(write_clip(tmp_path / "one.mp4", [torch.rand(3, 64, 64)]), net)
    with pytest.raises(UnblurError, match="is 70 x 64, the first frame is 64 x 64"):
        order([torch.rand(3, 64, 64), torch.rand(3, 64, 70)], net)
    for bad in (torch.rand(3, 64, 64), torch.rand(5, 4, 64, 64), torch.ones(5, 3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="frames are"):
            order(bad, net)
    with pytest.raises(UnblurError, match="does not score the order of frames"):
        order(frames(0), UNetRestorer(widths=(8, 8), blocks=(1, 1)))
    with pytest.raises(UnblurError, match="neither a model nor a file"):
        order(frames(0), "no-such-model")


@given(st.integers(2, 200))
def test_frames_are_taken_alike_from_both_ends(count: int) -> None:
    taken = spread(count)
    assert taken.tolist() == (count - 1 - taken.flip(0)).tolist()
    assert len(taken.unique()) == len(taken) == (count if count <= 9 else 9 - (count + 1) % 2)
    assert (taken[0], taken[-1]) == (0, count - 1)
    steps = taken.diff()
    assert steps.max() <= max(1, 2 * count / 9 + 1)


def test_large_frames_are_scored_small(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shrunk(torch.rand(3, 300, 600), 100).shape == (3, 100, 200)
    assert shrunk(torch.rand(3, 300, 600), 0).shape == (3, 300, 600)
    assert shrunk(torch.rand(3, 80, 60), 100).shape == (3, 80, 60)
    seen: list[tuple[int, ...]] = []
    net = network()
    pairs = net.pairs
    monkeypatch.setattr(net, "pairs", lambda f, p: seen.append((*f.shape, len(p))) or pairs(f, p))  # type: ignore[func-returns-value]
    wanted = score_frames(OrderScorer(net, device="cpu"), list(frames(1, 40, 128)), 64)
    assert wanted.frames == 40
    assert seen == [(1, 8, 3, 64, 64, 28)]
    # Few pairs at a time give the same score.
    monkeypatch.setattr(frame_order, "MOST", 3 * 64 * 64)
    again = score_frames(OrderScorer(net, device="cpu"), list(frames(1, 40, 128)), 64)
    assert max(shape[-1] for shape in seen[1:]) == 3
    assert again.direction == pytest.approx(wanted.direction, rel=1e-4)


def test_clips_of_all_kinds_are_scored(tmp_path: Path, model: str, metadata: Path) -> None:
    write_clip(tmp_path / "films" / "a.mp4", frames(1, 12))
    write_clip(tmp_path / "films" / "b.gif", frames(2, 3))
    (tmp_path / "films" / "c.mp4").write_bytes(b"no film")
    report = score_files([str(tmp_path / "films"), str(metadata.parent), "none.mp4"], OrderOptions(model, "cpu"))
    assert [row.scored.frames for row in report.results] == [12, 3] + [5] * 6
    assert [row.id for row in report.results][2:] == [f"{i}/0" for i in range(6)]
    assert len(report.errors) == 2
    assert report.exit_code == 1
    assert report.markdown().count("\n") == 10
    machine = json.loads(json.dumps(report.as_dict()))
    assert machine["model"]["name"] == "tiny-order"
    assert machine["results"][0]["direction"] in (1, -1)
    some = score_files([str(metadata)], OrderOptions(model, "cpu", split="val"))
    assert [row.id for row in some.results] == ["4/0", "5/0"]
    none = score_files([str(metadata)], OrderOptions(model, "cpu", split="test"))
    assert "has no entry" in str(none.errors[0])


def test_the_stored_order_changes_no_score(model: str, metadata: Path) -> None:
    before = score_files([str(metadata)], OrderOptions(model, "cpu")).results
    found = read_metadata(metadata)
    reversed_ = tuple(replace(entry, order="reverse") for entry in found.entries)
    write_metadata(metadata, replace(found, entries=reversed_))
    after = score_files([str(metadata)], OrderOptions(model, "cpu")).results
    assert [row.scored.direction for row in after] == [row.scored.direction for row in before]
    turned = tuple(replace(entry, frames=entry.frames[::-1]) for entry in found.entries)
    write_metadata(metadata, replace(found, entries=turned))
    opposite = score_files([str(metadata)], OrderOptions(model, "cpu")).results
    assert [row.scored.direction.sign for row in opposite] == [-row.scored.direction.sign for row in before]


class Judge(HyperCUT):
    """Scores pairs as it is told: one line for each clip, taken in turn."""

    def __init__(self, lines: list[list[float]]) -> None:
        super().__init__(width=4, channels=4, blocks=1, form="offset")
        self.lines = iter([line for line in lines for _ in range(2)])
        self.turn = 0

    def pairs(self, frames: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        if self.turn % 2 == 0:
            self.line = next(self.lines), next(self.lines)
        self.turn += 1
        values = self.line[0]
        ahead = bool(pairs[0, 0] < pairs[0, 1])
        symmetric = {(0, 4): 0, (1, 3): 1}
        scores = [values[symmetric.get((min(p), max(p)), 0)] for p in pairs.tolist()]
        signs = [1.0 if ahead else -1.0 if values[2] else 1.0] * len(scores)
        return torch.tensor([[score * sign for score, sign in zip(scores, signs, strict=True)]])


def test_hit_and_con_are_counted(metadata: Path) -> None:
    # Scores of the first and of the second symmetric pair, and whether the reversed pairs have the opposite sign.
    lines = [[1.0, 1.0, 1], [1.0, -1.0, 1], [-2.0, -1.0, 1], [1.0, 1.0, 0], [3.0, 1.0, 1], [1.0, -0.5, 1]]
    report = eval_files([str(metadata)], OrderOptions(Judge(lines), "cpu"))  # type: ignore[arg-type]
    found: dict[str, Any] = report.as_dict()["measures"]  # type: ignore[assignment]
    assert found["all"]["hit 1"] == found["all"]["hit 2"] == pytest.approx(5 / 6)
    assert found["all"]["con@2"] == pytest.approx(4 / 6)
    assert found["train"]["con@2"] == pytest.approx(3 / 4)
    assert "con@3" not in found["all"]
    assert report.inconsistent == ["1/0", "5/0"]
    assert "inconsistent: 1/0, 5/0" in report.markdown()
    assert "1/0, 5/0" in report.tables()[0].caption


def test_labels(model: str, metadata: Path, tmp_path: Path) -> None:
    report = label_files(metadata, options=OrderOptions(model, "cpu"))
    before, after = read_metadata(metadata), read_metadata(metadata.with_name("metadata.ordered.json"))
    assert report.job.output.name == "metadata.ordered.json"
    assert {entry.order for entry in after.entries} == {"keep", "reverse"}
    for old, new, row in zip(before.entries, after.entries, report.results, strict=True):
        assert replace(new, order=old.order, more=old.more) == old
        assert new.order == ("keep" if row.scored.direction.score > 0 else "reverse")
        assert new.more["x"] == old.more["x"]
        assert new.more["score"] == pytest.approx(row.scored.direction.score, rel=1e-4)
        assert new.more["consistent"] is row.scored.consistent
        assert new.more["model"] == {"name": "tiny-order", "sha256": report.metadata["model"]["sha256"]}
        assert len(new.more["model"]["sha256"]) == 64
    assert len(report.inconsistent) == sum(not entry.more["consistent"] for entry in after.entries)


def test_labelling_twice_gives_the_same_file(model: str, metadata: Path) -> None:
    first, second = metadata.with_name("1.json"), metadata.with_name("2.json")
    options = OrderOptions(model, "cpu")
    label_files(metadata, first, options)
    label_files(first, second, options)
    assert first.read_bytes() == second.read_bytes()
    # One split after the other is the same too.
    label_files(metadata, metadata.with_name("3.json"), replace(options, split="val"))
    partly = read_metadata(metadata.with_name("3.json"))
    assert ["score" in entry.more for entry in partly.entries] == [False] * 4 + [True] * 2
    label_files(metadata.with_name("3.json"), second, replace(options, split="train"))
    assert first.read_bytes() == second.read_bytes()


def test_labelling_killed_half_way_leaves_the_old_file(
    model: str, metadata: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, options = metadata.with_name("out.json"), OrderOptions(model, "cpu")
    out.write_text("old")
    calls: list[str] = []
    score = OrderScorer.score

    def killed(self: OrderScorer, *arguments: Any, **options: Any) -> Any:
        calls.append("score")
        if len(calls) == 4:
            raise KeyboardInterrupt
        return score(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(OrderScorer, "score", killed)
        with pytest.raises(KeyboardInterrupt):
            label_files(metadata, out, options)
    assert out.read_text() == "old"
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_sync", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            label_files(metadata, out, options)
    assert out.read_text() == "old"
    assert sorted(path.suffix for path in metadata.parent.iterdir() if path.is_file()) == [".json", ".json"]


def test_a_clip_that_cannot_be_read_keeps_its_order(model: str, metadata: Path) -> None:
    (metadata.parent / "2/sharp/0_3.png").write_bytes(b"\x89PNG")
    report = label_files(metadata, options=OrderOptions(model, "cpu"))
    assert report.exit_code == 1
    assert [error.subject.endswith("0_3.png") for error in report.errors] == [True]
    after = read_metadata(report.job.output)
    assert after.entries[2] == read_metadata(metadata).entries[2]
    assert sum("score" in entry.more for entry in after.entries) == 5


def test_labels_are_exported_as_a_manifest(model: str, metadata: Path) -> None:
    label_files(metadata, metadata.parent / "new.jsonl", OrderOptions(model, "cpu"))
    report = label_files(metadata, options=OrderOptions(model, "cpu"))
    signs = [row.scored.direction.sign for row in report.results]
    found = read_manifest(metadata.parent / "new.jsonl", "toy")
    assert [entry.order for entry in found.entries] == ["keep" if sign > 0 else "reverse" for sign in signs]
    with pytest.raises(UnblurError, match=r"new\.jsonl: is a manifest; make metadata of it"):
        label_files(metadata.parent / "new.jsonl", options=OrderOptions(model, "cpu"))


def test_what_cannot_be_labelled(model: str, metadata: Path, tmp_path: Path) -> None:
    options = OrderOptions(model, "cpu")
    film = write_clip(tmp_path / "a.mp4", frames(0))
    for source in (film, tmp_path / "none"):
        with pytest.raises(UnblurError, match="is no metadata; make some of it"):
            label_files(source, options=options)
    for source in (metadata, metadata.parent):
        with pytest.raises(UnblurError, match="would overwrite its input"):
            label_files(source, metadata, options)
    frame = metadata.parent / "0" / "sharp" / "0_1.png"
    before = frame.read_bytes()
    with pytest.raises(UnblurError, match="is no name of metadata"):
        label_files(metadata, frame, options)
    assert frame.read_bytes() == before
    with pytest.raises(UnblurError, match="side=5"):
        label_files(metadata, options=replace(options, side=5))
    with pytest.raises(UnblurError, match="split test: has no entry"):
        label_files(metadata, options=replace(options, split="test"))


class Brighter(HyperCUT):
    """Says that the darker frame comes first."""

    def pairs(self, frames: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        light = frames.mean((2, 3, 4))
        return light[:, pairs[:, 1]] - light[:, pairs[:, 0]]


def test_pairs_count_by_how_far_they_are_apart_in_the_whole_clip() -> None:
    # It falls by 0.4 from one frame to the next, and rises by 0.35 until the eleventh.
    clip = torch.tensor([0.5, 0.1, 0.45])[:, None, None, None].expand(-1, 3, 64, 64)
    order_scorer = OrderScorer(Brighter(4, 4, 1), device="cpu")
    scored = order_scorer.score(clip, torch.tensor([0, 1, 10]), 11)
    assert (scored.direction.sign, scored.frames) == (1, 11)
    assert scored.direction.score == pytest.approx((-0.4 - 0.05 * 10 + 0.35 * 9) / 20, abs=1e-5)
    assert order_scorer.score(clip).direction.sign == -1


def test_a_clip_in_which_nothing_moves_stays_as_it_is() -> None:
    still = order(torch.full((5, 3, 64, 64), 0.4), network())
    assert still == (1, 0, 0)


def test_a_clip_that_ends_early_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(list[torch.Tensor]):
        count = 5

    monkeypatch.setattr(frame_order, "read_clip", lambda path: Short(frames(0, 4)))
    with pytest.raises(UnblurError, match=r"a\.mp4: promises 5 frames and holds fewer"):
        order("a.mp4", network())


def test_sides_from_64_on_are_taken() -> None:
    assert [frame_order.check_side(side) for side in (0, 64, 500)] == [0, 64, 500]
    for side in (63, -1):
        with pytest.raises(UnblurError, match="too small"):
            frame_order.check_side(side)


def test_nothing_at_all_is_no_success() -> None:
    assert OrderReport("order score", {"name": "a"}, [], [], 0.0).exit_code == 1


def test_metadata_without_exposures_is_told_of(model: str, tmp_path: Path) -> None:
    path = write_metadata(tmp_path / "metadata.json", Metadata("none", 7, (), tmp_path))
    with pytest.raises(UnblurError, match=r"metadata\.json: holds no exposure"):
        label_files(path, options=OrderOptions(model, "cpu"))
    assert list(tmp_path.glob("*.ordered.json")) == []
    for report in (score_files([str(path)], OrderOptions(model, "cpu")), eval_files([str(path)], OrderOptions(model))):
        assert report.exit_code == 1
        assert "holds no exposure" in str(report.errors[0])


def test_the_next_clip_is_read_while_one_is_scored(model: str, metadata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most, waiting = 0, 0
    entry = order_files._entry

    def counted(*arguments: Any) -> Any:
        clip = entry(*arguments)

        def read() -> Any:
            nonlocal most, waiting
            waiting += 1
            most = max(most, waiting)
            return clip.read()

        return replace(clip, read=read)

    def scores(self: OrderScorer, *arguments: Any, **options: Any) -> Any:
        nonlocal waiting
        waiting -= 1
        return score(self, *arguments, **options)

    score = OrderScorer.score
    monkeypatch.setattr(order_files, "_entry", counted)
    monkeypatch.setattr(OrderScorer, "score", scores)
    assert len(score_files([str(metadata)], OrderOptions(model, "cpu")).results) == 6
    assert most <= 3
