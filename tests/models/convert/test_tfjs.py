"""Packages of TensorFlow.js: one made here becomes the network it was made from; hostile ones become one line."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unblur.cli import main
from unblur.errors import UnblurError
from unblur.models.convert import tfjs
from unblur.models.convert.released import convert
from unblur.models.weights import load_weights
from unblur.networks.maxim import Maxim

SIZE = {"features": 4, "stages": 2, "sizes": [4, 2, 2], "groups": 2, "bottlenecks": 1, "reduction": 2}
ROOT = "StatefulPartitionedCall/jax2tf_apply_/Wrapper/backbone/"
Pairs = Iterator[tuple[str, str]]


def _axes(flax: str, ours: str) -> Pairs:
    yield from ((f"{flax}/LayerNorm_in", f"{ours}.norm"), (f"{flax}/in_project", f"{ours}.widen"))
    yield f"{flax}/out_project", f"{ours}.narrow"


def _groups(flax: str, ours: str, attention: str, first: str, second: str) -> Pairs:
    for i in range(2):
        mlp, our_mlp = f"{flax}/SplitHeadMultiAxisGmlpLayer_{i}", f"{ours}.groups.mlps.{i}"
        yield from _axes(mlp, our_mlp)
        for axis in ("Grid", "Block"):
            layer, our_layer = f"{mlp}/{axis}GmlpLayer", f"{our_mlp}.{axis.lower()}"
            yield from ((f"{layer}/LayerNorm", f"{our_layer}.norm"), (f"{layer}/in_project", f"{our_layer}.widen"))
            yield f"{layer}/{axis}GatingUnit/intermediate_layernorm", f"{our_layer}.gate_norm"
            yield f"{layer}/{axis}GatingUnit/Dense_0", f"{our_layer}.mix"
            yield f"{layer}/out_project", f"{our_layer}.narrow"
        block, our_block = f"{flax}/{attention}{i}", f"{ours}.groups.attentions.{i}"
        yield from ((f"{block}/LayerNorm", f"{our_block}.norm"), (f"{block}/{first}", f"{our_block}.first"))
        yield f"{block}/{second}", f"{our_block}.second"
        yield f"{block}/channel_attention/Conv_0", f"{our_block}.weights.squeeze"
        yield f"{block}/channel_attention/Conv_1", f"{our_block}.weights.excite"


def _cross(flax: str, ours: str) -> Pairs:
    yield from ((f"{flax}/Conv_0", f"{ours}.project_x"), (f"{flax}/Conv_1", f"{ours}.project_y"))
    for side in "xy":
        yield from _axes(f"{flax}/SplitHeadMultiAxisGating_{side}", f"{ours}.{side}.gate")
        yield f"{flax}/SplitHeadMultiAxisGating_{side}/Dense_0", f"{ours}.{side}.gate.grid"
        yield f"{flax}/SplitHeadMultiAxisGating_{side}/Dense_1", f"{ours}.{side}.gate.block"
        for theirs, mine in (("LayerNorm", "norm"), ("in_project", "widen"), ("out_project", "narrow")):
            yield f"{flax}/{theirs}_{side}", f"{ours}.{side}.{mine}"


def _modules() -> Pairs:
    """The released names of all modules, and ours."""
    signal = 0
    for s, ours in ((0, "stages.0."), (1, "stages.1.")):
        for i in range(3):
            yield f"stage_{s}_input_conv_{i}", f"{ours}inputs.{i}"
            encoder, our_encoder = f"stage_{s}_encoder_block_{i}", f"{ours}encoders.{i}"
            yield from ((f"{encoder}/Conv_0", f"{our_encoder}.entry"), (f"{encoder}/Conv_1", f"{our_encoder}.down"))
            yield from _groups(encoder, our_encoder, "channel_attention_block_1", "conv1", "conv2")
            decoder, our_decoder = f"stage_{s}_decoder_block_{i}", f"{ours}decoders.{i}"
            yield f"{decoder}/ConvTranspose_0", f"{our_decoder}.up"
            yield f"{decoder}/UNetEncoderBlock_0/Conv_0", f"{our_decoder}.entry"
            yield from _groups(
                f"{decoder}/UNetEncoderBlock_0", our_decoder, "channel_attention_block_1", "conv1", "conv2"
            )
            yield from _cross(f"stage_{s}_cross_gating_block_{i}", f"{ours}gates.{i}")
            yield f"stage_{s}_cross_gating_block_{i}/ConvTranspose_0", f"{ours}gates.{i}.enlarge"
            if s == 0:
                for n, name in enumerate(("features", "to_image", "from_image")):
                    yield f"stage_0_supervised_attention_module_{i}/Conv_{n}", f"{ours}attend.{i}.{name}"
            else:
                yield from _cross(f"stage_1_input_fuse_sam_{i}", f"{ours}fuse.{i}")
                yield from _cross(f"{encoder}/cross_gating_block", f"{our_encoder}.cross")
        bottleneck, mixing = f"stage_{s}_global_block_0", "channel_mixing/Dense_"
        yield f"{bottleneck}/input_proj", f"{ours}bottlenecks.0.entry"
        yield from _groups(bottleneck, f"{ours}bottlenecks.0", "channel_attention_block_1_", mixing + "0", mixing + "1")
        for kind in ("signals", "skips"):
            for i in (2, 1, 0):
                for j in range(3):
                    yield f"UpSampleRatio_{signal}/Conv_0", f"{ours}{kind}.{i}.resized.{j}.project"
                    signal += 1
    yield "stage_1_output_conv_0", "head"


class Package:
    """A package's content, to be spoilt and written."""

    def __init__(self, network: nn.Module) -> None:
        state = network.state_dict()
        self.weights: list[tuple[str, np.ndarray]] = [("StatefulPartitionedCall/Const", np.array(0.2, np.float32))]
        self.nodes: list[dict] = []
        for flax, ours in _modules():
            weight, bias = (state.pop(f"{ours}.{part}").numpy() for part in ("weight", "bias"))
            self._add(flax, weight, bias)
        assert not state

    def _add(self, flax: str, weight: np.ndarray, bias: np.ndarray) -> None:
        scope, leaf = ROOT + flax, flax.rpartition("/")[2]
        row = bias.reshape(1, 1, 1, -1)
        self.weights.append((f"{scope}/Reshape/shape/3", np.array(bias.size, np.int32)))
        if "norm" in leaf.lower():
            self.weights += [(f"{scope}/Reshape_2", weight.reshape(1, 1, 1, -1)), (f"{scope}/Reshape_3", row)]
            return
        self.weights.append((f"{scope}/Reshape", row))
        if "Conv" in leaf or "conv" in leaf or leaf == "input_proj":
            weight = weight if weight.ndim == 4 else weight[..., None, None]
            if "encoder_block_0/Conv_0" in flax:
                half = np.random.default_rng(0).standard_normal(weight.shape).astype(np.float32)
                weight = np.concatenate((half, weight - half), 1)
            name = "transpose_4" if "Transpose" in leaf else "transpose_3"
            self.weights.append((f"{scope}/{name}", weight.transpose(2, 3, 1, 0)))
            return
        # Numbers that say nothing of where a kernel belongs.
        kernel = f"StatefulPartitionedCall/jax2tf_arg_{7 * len(self.nodes) % 1009}/ReadVariableOp"
        self.weights.append((kernel, weight.T))
        self.nodes.append({"name": f"{scope}/einsum/Einsum", "op": "Einsum", "input": [f"{scope}/x", kernel]})

    def files(self, shards: int = 3) -> dict[str, bytes]:
        content = b"".join(np.ascontiguousarray(array).tobytes() for _, array in self.weights)
        step = -(-len(content) // shards)
        parts = {f"group1-shard{i + 1}of{shards}.bin": content[i * step : (i + 1) * step] for i in range(shards)}
        listed = [{"name": n, "shape": list(a.shape), "dtype": str(a.dtype)} for n, a in self.weights]
        manifest = [{"paths": list(parts), "weights": listed}]
        model = {"modelTopology": {"node": self.nodes}, "weightsManifest": manifest}
        return {"model.json": json.dumps(model).encode(), **parts}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = Maxim(**SIZE).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture
def package(network: nn.Module) -> Package:
    return Package(network)


def _folder(files: dict[str, bytes], path: Path) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def _archive(files: dict[str, bytes], path: Path, *strange: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for member in strange:
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/models/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _refusal(source: Path, tmp_path: Path) -> str:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnblurError) as caught:
        convert(source, out=tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)
    assert str(source) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    return str(caught.value)


def _spoilt(model: dict, tmp_path: Path) -> str:
    return _refusal(_folder({"model.json": json.dumps(model).encode()}, tmp_path / "spoilt"), tmp_path)


@pytest.mark.parametrize("form", ["folder", "nested", "archive"])
def test_a_package_becomes_its_network(form: str, network: nn.Module, package: Package, tmp_path: Path) -> None:
    files = package.files()
    if form == "archive":
        source = _archive(files, tmp_path / "maxim.tgz", tarfile.TarInfo("package/README.md"))
    else:
        source = tmp_path / "maxim"
        _folder(files, source / ("package/models" if form == "nested" else ""))
    loaded = load_weights(convert(source, out=tmp_path / "out.safetensors"))
    assert loaded.network.arguments == network.arguments
    assert loaded.card.network == "maxim"
    assert "Apache-2.0" in loaded.card.licence
    assert "MIT" in loaded.card.licence
    assert loaded.card.score == {"psnr": 32.86}
    torch.testing.assert_close(loaded.network.state_dict(), network.state_dict())


def test_truncated_shards(package: Package, tmp_path: Path) -> None:
    files = package.files()
    name = "group1-shard2of3.bin"
    cut = files | {name: files[name][:-4]}
    assert "bytes of weights, the shards hold" in _refusal(_folder(cut, tmp_path / "cut"), tmp_path)
    assert "bytes of weights, the shards hold" in _refusal(_archive(cut, tmp_path / "cut.tgz"), tmp_path)
    del files[name]
    assert f"has no {name}" in _refusal(_folder(files, tmp_path / "missing"), tmp_path)


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9, 0.999])
def test_truncated_archives(share: float, package: Package, tmp_path: Path) -> None:
    whole = _archive(package.files(), tmp_path / "whole.tgz").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: max(3, int(share * len(whole)))])
    message = _refusal(tmp_path / "cut.tgz", tmp_path)
    assert "cut short or damaged" in message or "has no " in message


def test_the_command_says_it_in_one_line(package: Package, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    strange = tarfile.TarInfo("package/../../out.bin")
    (tmp_path / "in").mkdir()
    source, out = _archive(package.files(), tmp_path / "in" / "a.tgz", strange), tmp_path / "in" / "out.safetensors"
    before = sorted(tmp_path.rglob("*"))
    assert main(["models", "convert", str(source), str(out)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "is no plain file inside the package" in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_archives(tmp_path: Path) -> None:
    for content in (gzip.compress(b"no archive"), gzip.compress(b""), b"\x1f\x8bno gzip", gzip.compress(bytes(9999))):
        (tmp_path / "a.tgz").write_bytes(content)
        message = _refusal(tmp_path / "a.tgz", tmp_path)
        assert "cut short or damaged" in message or "has no model.json" in message


def test_shapes_that_lie(package: Package, tmp_path: Path) -> None:
    def lie(number: int, shape: object) -> str:
        files = package.files()
        model = json.loads(files["model.json"])
        model["weightsManifest"][0]["weights"][number]["shape"] = shape
        files["model.json"] = json.dumps(model).encode()
        source = tmp_path / f"{number}{len(list(tmp_path.iterdir()))}"
        return _refusal(_folder(files, source), tmp_path)

    kernel = next(i for i, (name, _) in enumerate(package.weights) if name.endswith("stage_0_input_conv_0/transpose_3"))
    dense = next(i for i, (name, a) in enumerate(package.weights) if "jax2tf_arg" in name and a.shape == (4, 8))
    assert "bytes of weights, the shards hold" in lie(kernel, [10**12, 10**12])
    assert "has a shape [-3" in lie(kernel, [-3, -3, 3, 4])
    assert "has a shape" in lie(kernel, ["3"])
    assert "has a shape" in lie(kernel, [True, 108])
    assert "has a shape" in lie(kernel, 108)
    assert "has shape (108, 1)" in lie(kernel, [108, 1])
    # As many numbers, but not where they belong.
    assert "has shape" in lie(kernel, [1, 9, 3, 4])
    assert "has shape (4, 8), not (8, 4)" in lie(dense, [8, 4])


def test_missing_and_surplus_tensors(package: Package, network: nn.Module, tmp_path: Path) -> None:
    whole, nodes = package.weights, package.nodes
    part = ROOT + "stage_1_global_block_0/SplitHeadMultiAxisGmlpLayer_1/LayerNorm_in/Reshape_2"
    package.weights = [entry for entry in whole if entry[0] != part]
    assert "has no stages.1.bottlenecks.0.groups.mlps.1.norm.weight" in _refusal(
        _folder(package.files(), tmp_path / "a"), tmp_path
    )
    package.weights = [*whole, (ROOT + "surplus/Reshape", np.zeros(3, np.float32))]
    assert "holds surplus.bias" in _refusal(_folder(package.files(), tmp_path / "b"), tmp_path)
    package.weights, package.nodes = whole, nodes[1:]
    assert "no dense layer uses" in _refusal(_folder(package.files(), tmp_path / "c"), tmp_path)
    package.nodes = [*nodes, nodes[0] | {"name": "another/einsum/Einsum"}]
    assert "two layers use" in _refusal(_folder(package.files(), tmp_path / "d"), tmp_path)
    package.nodes = nodes
    package.weights = [(name, np.full_like(array, np.nan)) for name, array in whole if array.dtype == np.float32]
    assert "are not finite" in _refusal(_folder(package.files(), tmp_path / "e"), tmp_path)


@pytest.mark.parametrize(
    "name", ["../../out.bin", "/etc/model.json", "package/../../model.json", "..\\model.json", "a/b/../../../c.bin"]
)
def test_paths_that_lead_out(name: str, package: Package, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = _archive(package.files(), tmp_path / "in" / "a.tgz", tarfile.TarInfo(name))
    assert "is no plain file inside the package" in _refusal(source, tmp_path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_what_is_no_file(kind: bytes, package: Package, tmp_path: Path) -> None:
    member = tarfile.TarInfo("package/models/model.json")
    member.type, member.linkname = kind, "/etc/passwd"
    if kind == tarfile.GNUTYPE_SPARSE:
        content = package.files()
        path = tmp_path / "a.tgz"
        # An empty map of data, and a size that is all holes.
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        header[483:495] = b"77777777777\0"
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
        with gzip.open(path, "wb") as file:
            file.write(bytes(header) + gzip.decompress(_archive(content, tmp_path / "b.tgz").read_bytes()))
    else:
        path = _archive(package.files(), tmp_path / "a.tgz", member)
    assert "is no plain file inside the package" in _refusal(path, tmp_path)


def test_huge_members(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfjs, "MOST_BYTES", 2**20)
    # A kilobyte that unpacks to four megabytes; one whose header says more than there is; one with a huge comment.
    bomb = _archive(package.files() | {"more.bin": bytes(2**22)}, tmp_path / "bomb.tgz")
    assert "unpacks to more than 1 MiB" in _refusal(bomb, tmp_path)
    lying = tarfile.TarInfo("package/readme")
    lying.size = 2**40
    with gzip.open(tmp_path / "lie.tgz", "wb") as file:
        file.write(lying.tobuf(tarfile.GNU_FORMAT))
    message = _refusal(tmp_path / "lie.tgz", tmp_path)
    assert "cut short" in message or "unpacks to more" in message
    comment = tarfile.TarInfo("package/readme")
    comment.pax_headers = {"comment": 2**21 * "a"}
    assert "unpacks to more than 1 MiB" in _refusal(_archive({}, tmp_path / "pax.tgz", comment), tmp_path)
    source = _folder(package.files() | {"more.bin": bytes(2**22)}, tmp_path / "folder")
    assert "holds more than 1 MiB" in _refusal(source, tmp_path)


def test_many_members(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfjs, "MOST_FILES", 8)
    many = [tarfile.TarInfo(f"package/{i}") for i in range(9)]
    assert "more than 8 files" in _refusal(_archive(package.files(), tmp_path / "a.tgz", *many), tmp_path)
    twice = tarfile.TarInfo("package/model.json")
    assert "twice" in _refusal(_archive(package.files(), tmp_path / "b.tgz", twice), tmp_path)


def test_shards_elsewhere_are_not_opened(package: Package, tmp_path: Path) -> None:
    files = package.files()
    (tmp_path / "secret.bin").write_bytes(files["group1-shard3of3.bin"])
    for number, name in enumerate(("../secret.bin", str(tmp_path / "secret.bin"))):
        model = json.loads(files["model.json"])
        model["weightsManifest"][0]["paths"][2] = name
        spoilt = files | {"model.json": json.dumps(model).encode()}
        source = _folder(spoilt, tmp_path / str(number))
        assert f"has no {name}" in _refusal(source, tmp_path)
    source = _folder(files, tmp_path / "link")
    (source / "group1-shard3of3.bin").unlink()
    (source / "group1-shard3of3.bin").symlink_to(tmp_path / "secret.bin")
    assert "is not a plain file" in _refusal(source, tmp_path)


@pytest.mark.parametrize(
    "model",
    [
        [],
        {},
        {"weightsManifest": 3, "modelTopology": {"node": []}},
        {"weightsManifest": [{"paths": [["a"]], "weights": []}], "modelTopology": {"node": []}},
        {"weightsManifest": [{"paths": [], "weights": [{}]}], "modelTopology": {"node": []}},
        {"weightsManifest": [], "modelTopology": {"node": [{"op": "Einsum", "input": [3]}]}},
        {"weightsManifest": [], "modelTopology": {"node": 3}},
        {"weightsManifest": [], "modelTopology": {"node": []}},
        {
            "weightsManifest": [{"paths": [], "weights": [{"name": "a", "shape": [0], "dtype": "string"}]}],
            "modelTopology": {"node": []},
        },
    ],
)
def test_other_models(model: object, tmp_path: Path) -> None:
    _spoilt(model, tmp_path)


def test_what_is_not_json(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"\xff\xfe", b"{", 10**5 * b"[")):
        assert "damaged" in _refusal(_folder({"model.json": content}, tmp_path / str(number)), tmp_path)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "has no model.json" in _refusal(tmp_path / "folder", tmp_path)


@pytest.mark.parametrize("fault", [{"scale": 10**400}, {"min": None}, {"dtype": "uint4"}, {}])
def test_numbers_that_stand_for_others_in_an_impossible_way(tmp_path: Path, fault: dict[str, object]) -> None:
    scale = {"dtype": "uint8", "scale": 0.5, "min": -1, **fault} if fault else [0.5, -1]
    weight = {"name": "a", "shape": [2], "dtype": "float32", "quantization": scale}
    files = {"m.bin": b"\x00\x02", "m-weights_manifest.json": json.dumps([{"paths": ["m.bin"], "weights": [weight]}])}
    with tarfile.open(tmp_path / "m.tgz", "w:gz") as package:
        for name, data in files.items():
            content = data if isinstance(data, bytes) else data.encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    with pytest.raises(UnblurError, match=r"m\.tgz: its m-weights_manifest\.json is damaged \("):
        tfjs.read_manifest(tmp_path / "m.tgz", "m")
