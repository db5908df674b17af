"""Checkpoint folders, the export and what it refuses."""

import math
import weakref
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.networks.catalogue import networks
from export.networks.exportable import Exportable, Shape
from export.onnx.compare import ExportDiffersError, check_export, run_onnx
from export.onnx.trace import write_onnx
from export.precision.int8 import MIN_ROWS, Int8Linear, quantize_matrices
from export.precision.narrowing import DTYPES
from export.precision.policy import IN_32_BITS, Precision
from export.repository.exporter import export_network, export_repository, write_config
from export.tensorrt.profiles import SIZES, WINDOWS, Workload
from server.animation.tokens import PromptTokenizer
from server.manifest import FILE, ManifestError, read_manifest
from server.sessions.jobs import Offer
from server.triton.contract import FACE_DETECTOR, NETWORKS, Variant, check
from tests.support.serving import manifest, small_windows

INT8_ROUNDING = 1 / 254
SHAPE = Shape(batch=2, frames=2, height=4, width=6)
OF_A_CHECKPOINT = [
    (variant, name)
    for variant, of_variant in NETWORKS.items()
    for name in of_variant
    if name != FACE_DETECTOR.name
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    root = tmp_path_factory.mktemp("checkpoint")
    make_tiny(root, seed=0)
    return Checkpoint(root)


@pytest.fixture(scope="module")
def tiny_preview(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    root = tmp_path_factory.mktemp("checkpoint")
    make_tiny(root, seed=0, variant="preview")
    return Checkpoint(root)


def quiet(stage: str, *, result: bool = False) -> None:
    """A report that nobody reads."""


@pytest.mark.parametrize(("variant", "name"), OF_A_CHECKPOINT)
def test_every_network_of_a_tiny_checkpoint_keeps_the_contract(
    tiny: Checkpoint, tiny_preview: Checkpoint, variant: Variant, name: str
) -> None:
    checkpoint = tiny if variant == "flash" else tiny_preview
    assert checkpoint.variant == variant
    exportable = networks(checkpoint)[name](checkpoint)
    assert exportable.network == NETWORKS[variant][name]
    inputs = exportable.inputs(SHAPE)
    check(exportable.network.inputs, {k: v.numpy() for k, v in inputs.items()}, where=name)
    with torch.inference_mode():
        results = exportable.module(*inputs.values())
    outputs = results if isinstance(results, tuple) else (results,)
    named = {
        tensor.name: output.numpy()
        for tensor, output in zip(exportable.network.outputs, outputs, strict=True)
    }
    check(exportable.network.outputs, named, where=name)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(("variant", "name"), OF_A_CHECKPOINT)
def test_16_bits_keep_the_contract_and_err_by_little_more_than_rounding(
    tiny: Checkpoint, tiny_preview: Checkpoint, variant: Variant, name: str, precision: Precision
) -> None:
    checkpoint = tiny if variant == "flash" else tiny_preview
    wide = networks(checkpoint)[name](checkpoint)
    narrow = networks(checkpoint, precision)[name](checkpoint)
    inputs = wide.inputs(SHAPE)
    with torch.inference_mode():
        expected, actual = (
            results if isinstance(results, tuple) else (results,)
            for results in (module(*inputs.values()) for module in (wide.module, narrow.module))
        )
    narrowed = {tensor.dtype for tensor in narrow.module.state_dict().values()}
    assert (DTYPES[precision] in narrowed) == (name not in IN_32_BITS)
    for tensor, ours, theirs in zip(wide.network.outputs, actual, expected, strict=True):
        assert ours.dtype == theirs.dtype, tensor.name
        difference = (ours.double() - theirs.double()).norm() / theirs.double().norm()
        assert difference < 16 * torch.finfo(DTYPES[precision]).eps, tensor.name


def test_int8_rounds_each_weight_to_the_nearest_level() -> None:
    torch.manual_seed(0)
    linear, table = nn.Linear(48, 32), nn.Embedding(MIN_ROWS, 16)
    narrow = nn.ModuleDict(
        {"linear": linear, "table": table, "same": table, "kept": nn.Linear(2, 2)}
    )
    quantize_matrices(narrow, keep=["kept."])
    assert narrow["same"] is narrow["table"]
    assert isinstance(narrow["kept"], nn.Linear)
    for wide, rows in (
        (linear.weight, narrow["linear"](torch.eye(48)).T - linear.bias[:, None]),
        (table.weight, narrow["table"](torch.arange(MIN_ROWS))),
    ):
        step = wide.abs().amax(dim=1, keepdim=True) / 127
        assert ((rows - wide).abs() <= 0.501 * step).all()


@pytest.mark.parametrize("name", ["image_encoder", "denoiser"])
def test_int8_errs_by_little_more_than_rounding(tiny: Checkpoint, name: str) -> None:
    wide, narrow = networks(tiny)[name](tiny), networks(tiny, "int8")[name](tiny)
    inputs = wide.inputs(SHAPE)
    with torch.inference_mode():
        expected, actual = (each.module(*inputs.values()) for each in (wide, narrow))
    if isinstance(expected, tuple):
        expected, actual = expected[0], actual[0]
    assert 0 < (actual - expected).norm() / expected.norm() < 16 * INT8_ROUNDING


@pytest.mark.slow
def test_int8_is_stored_as_such_and_runs_on_the_cpu(tiny: Checkpoint, tmp_path: Path) -> None:
    build = networks(tiny, "fp16", others={"text_encoder": "int8"})["text_encoder"]
    export_network(build(tiny), tmp_path, quiet, "int8")
    model = onnx.load(tmp_path / "1" / "model.onnx")
    stored = Counter[int]()
    for weight in model.graph.initializer:
        stored[weight.data_type] += math.prod(weight.dims)
    assert stored[onnx.TensorProto.INT8] > 9 * stored[onnx.TensorProto.FLOAT]
    assert onnx.TensorProto.FLOAT16 not in stored
    workload = Workload("flash", SIZES, WINDOWS)
    write_config(NETWORKS["flash"]["text_encoder"], tmp_path, workload, "int8")
    config = (tmp_path / "config.pbtxt").read_text()
    assert "kind: KIND_CPU" in config


@pytest.mark.slow
def test_int8_multiplies_in_32_bits_in_whatever_session(tiny: Checkpoint, tmp_path: Path) -> None:
    exportable = networks(tiny, "int8")["image_encoder"](tiny)
    write_onnx(exportable, tmp_path / "model.onnx", "int8")
    graph = onnx.load(tmp_path / "model.onnx").graph
    narrow = [node for node in graph.node if node.op_type == "MatMulNBits"]
    layers = [each for each in exportable.module.modules() if isinstance(each, Int8Linear)]
    assert len(narrow) == len(layers) > 0
    assert {a.i for node in narrow for a in node.attribute if a.name == "accuracy_level"} == {1}
    # A session that nobody has told anything.
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    inputs = exportable.inputs(SHAPE)
    (actual,) = session.run(None, {name: array.numpy() for name, array in inputs.items()})
    with torch.inference_mode():
        expected = exportable.module(*inputs.values()).numpy()
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-4, atol=1e-4)


def test_a_layer_in_int8_is_a_product_with_its_weights() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 32)
    narrow = Int8Linear(layer)
    step = layer.weight.abs().amax(dim=1, keepdim=True) / 127
    rounded = (layer.weight / step).round() * step
    x = torch.randn(5, 48)
    torch.testing.assert_close(narrow(x), x @ rounded.T + layer.bias, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="36 inputs"):
        Int8Linear(nn.Linear(36, 32))


@pytest.mark.slow
def test_a_graph_in_16_bits_that_differs_by_more_than_rounding_fails(tmp_path: Path) -> None:
    export_network(stand_in(0.5), tmp_path, quiet, "fp16")
    model, inputs = tmp_path / "1" / "model.onnx", stand_in().inputs(SHAPE)
    network = stand_in().network
    assert check_export(network, model, stand_in(0.5002).module, inputs, "fp16") > 0
    with pytest.raises(ExportDiffersError, match="of its norm"):
        check_export(network, model, stand_in(0.52).module, inputs, "fp16")


@pytest.mark.slow
def test_large_weights_go_to_a_file_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.onnx.trace.EMBEDDED_BYTES", 0)
    export_network(stand_in(), tmp_path, quiet)
    assert [file.name for file in sorted((tmp_path / "1").iterdir())] == [
        "model.onnx",
        "model.onnx.data",
    ]
    assert not (tmp_path / "1.partial").exists()


def test_the_same_seed_gives_the_same_checkpoint(tiny: Checkpoint, tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0)
    assert Checkpoint(tmp_path).digest() == tiny.digest()
    texts = [each.existing(layout.TOKENIZER).read_text() for each in (tiny, Checkpoint(tmp_path))]
    assert texts[0] == texts[1]
    make_tiny(tmp_path, seed=1)
    assert Checkpoint(tmp_path).digest() != tiny.digest()


def test_the_tokenizer_is_the_one_transformers_reads(tiny: Checkpoint) -> None:
    folder = tiny.existing(layout.TOKENIZER).parent
    prompt = "cinematic portrait, soft light"
    theirs = AutoTokenizer.from_pretrained(folder)(
        prompt, padding="max_length", max_length=512, truncation=True, return_tensors="np"
    )
    token_ids, mask = PromptTokenizer(tiny.existing(layout.TOKENIZER))(prompt)
    np.testing.assert_array_equal(token_ids, theirs["input_ids"])
    np.testing.assert_array_equal(mask, theirs["attention_mask"])
    assert 3 < mask.sum() < 512


def test_a_long_prompt_is_cut_and_keeps_its_end(tiny: Checkpoint) -> None:
    token_ids, mask = PromptTokenizer(tiny.existing(layout.TOKENIZER))("portrait light " * 500)
    assert mask.all()
    assert token_ids[0, -1] == 1


class Scale(nn.Module):
    """Stands for the VAE decoder: small, and with a length that can be baked in."""

    def __init__(self, factor: float, *, baked: bool) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.baked = baked

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        frames = latents[:, :3].repeat_interleave(8, 3).repeat_interleave(8, 4)
        video = torch.cat([frames[:, :, :1], frames[:, :, 1:].repeat_interleave(4, 2)], 2)
        if self.baked:
            video = video * torch.ones(int(video.shape[2])).sum() / 9
        video = (video * self.factor).clamp(-1, 1)
        return ((video / 2 + 0.5) * 255).to(torch.uint8).permute(0, 2, 3, 4, 1), video


def stand_in(factor: float = 0.5, *, baked: bool = False) -> Exportable:
    return Exportable(
        NETWORKS["flash"]["vae_decoder"],
        Scale(factor, baked=baked).eval(),
        lambda shape: {"latents": torch.randn(shape.latents)},
    )


@pytest.mark.slow
def test_an_exported_network_runs_in_other_shapes_than_the_traced_one(tmp_path: Path) -> None:
    export_network(stand_in(), tmp_path, quiet)
    latents = np.zeros((1, 16, 7, 3, 5), np.float32)
    outputs = run_onnx(tmp_path / "1" / "model.onnx", {"latents": latents}, ["frames", "video"])
    assert outputs["frames"].shape == (1, 25, 24, 40, 3)
    assert outputs["video"].shape == (1, 3, 25, 24, 40)


@pytest.mark.slow
def test_an_export_that_differs_fails_and_leaves_nothing_to_serve(tmp_path: Path) -> None:
    different = stand_in(0.5)
    export_network(different, tmp_path, quiet)
    model = tmp_path / "1" / "model.onnx"
    with pytest.raises(ExportDiffersError, match="video"):
        check_export(
            different.network,
            model,
            stand_in(0.5002).module,
            different.inputs(SHAPE),
        )


@pytest.mark.slow
def test_an_interrupted_export_leaves_nothing_to_serve(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_text("an older manifest")
    builds = {"vae_decoder": lambda _: stand_in()}
    monkeypatch.setattr("export.repository.exporter.networks", lambda *_: builds)

    def interrupt(stage: str, *, result: bool = False) -> None:
        if "comparing" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_repository(tiny, tmp_path, sizes=[(128, 128)], report=interrupt)
    assert not list((tmp_path / "vae_decoder").rglob("1/*"))
    with pytest.raises(ManifestError, match="is missing"):
        read_manifest(tmp_path)


def test_a_style_bank_is_encoded_in_the_text_encoders_own_precision(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Precision] = []

    def encode(_: Checkpoint, prompts: Mapping[str, str], precision: Precision):
        asked.append(precision)
        return {name: np.zeros((1, 64), np.float32) for name in prompts}

    monkeypatch.setattr("export.repository.exporter.encode", encode)
    monkeypatch.setattr("export.repository.exporter.networks", lambda *_: {"text_encoder": None})
    how: dict[str, Any] = {
        "precision": "fp16",
        "others": {"text_encoder": "bf16"},
        "prompts": {"a": "b"},
    }
    export_repository(tiny, tmp_path, sizes=[(128, 128)], report=quiet, **how)
    assert asked == ["bf16"]


@pytest.mark.slow
def test_one_network_at_a_time_is_in_memory(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[nn.Module]] = []

    def build(name: str) -> Exportable:
        assert not [module for module in loaded if module() is not None]
        exportable = networks(tiny)[name](tiny)
        loaded.append(weakref.ref(exportable.module))
        return exportable

    names = ("time_modulation", "denoiser_cached")
    builds = {name: partial(lambda name, _: build(name), name) for name in names}
    monkeypatch.setattr("export.repository.exporter.networks", lambda *_: builds)
    export_repository(tiny, tmp_path, sizes=[(128, 128)], report=quiet)
    assert len(loaded) == len(names)


@pytest.mark.slow
def test_an_export_goes_on_at_the_network_where_it_stopped(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def build(name: str) -> Exportable:
        built.append(name)
        if name == "denoiser_cached" and built.count(name) == 1:
            raise KeyboardInterrupt
        return networks(tiny)[name](tiny)

    names = ("time_modulation", "denoiser_cached")
    builds = {name: partial(lambda name, _: build(name), name) for name in names}
    monkeypatch.setattr("export.repository.exporter.networks", lambda *_: builds)
    with pytest.raises(KeyboardInterrupt):
        export_repository(tiny, tmp_path, sizes=[(128, 128)], report=quiet)
    export_repository(tiny, tmp_path, sizes=[(128, 128)], report=quiet)
    assert built == ["time_modulation", "denoiser_cached", "denoiser_cached"]
    assert read_manifest(tmp_path).sizes == ((128, 128),)
    # Another option, another checkpoint or another exporter: nothing is kept.
    export_repository(tiny, tmp_path, sizes=[(128, 128)], report=quiet, halves=True)
    assert built[3:] == list(names)
    monkeypatch.setattr("export.repository.exporter.exporter_digest", lambda *_: "another")
    export_repository(tiny, tmp_path, sizes=[(128, 128)], report=quiet, halves=True)
    assert built[5:] == list(names)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "format: Field required"),
        ("not json", "Invalid JSON"),
        ('{"format": 99}', "has format 99, this gateway reads"),
        ('{"format": 3}', "variant: Field required"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ManifestError, match=problem) as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_repository_for_other_tensors_is_refused(tmp_path: Path) -> None:
    written = manifest().model_copy(update={"contract": "0" * 16})
    (tmp_path / FILE).write_text(written.model_dump_json())
    with pytest.raises(ManifestError, match="export again"):
        read_manifest(tmp_path)
    (tmp_path / FILE).write_text(manifest().model_dump_json())
    assert read_manifest(tmp_path) == manifest()


def test_windows_longer_than_the_engines_take_are_refused() -> None:
    engines = manifest().model_copy(update={"max_window_frames": 17})
    with pytest.raises(ManifestError, match="window_ladder goes up to 33"):
        Offer(small_windows(window_ladder=(9, 17, 33)), engines)
    assert Offer(small_windows(window_ladder=(9, 17)), engines).windows.longest == 17
