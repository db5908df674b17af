"""8-bit floats in the denoiser's blocks: rounding, calibration, graph and engine."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import soundfile
import torch
from torch import nn
from typer.testing import CliRunner

from export.__main__ import app
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.networks.catalogue import networks
from export.onnx.compare import ROUNDING
from export.precision.calibration import (
    FRAMES,
    LOOKAHEAD_FRAMES,
    Calibration,
    CalibrationError,
    largest_inputs,
)
from export.precision.fp8 import E4M3, LARGEST, Fp8Linear, layers_in_fp8, quantize_blocks
from export.precision.policy import Fp8Scale
from export.repository.exporter import Report, export_network, export_repository, write_config
from export.tensorrt.engines import (
    BuiltEngine,
    EngineError,
    Target,
    build_engine,
    installed_builder,
)
from export.tensorrt.profiles import Workload
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.manifest import read_manifest
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

STEP = 1 / 16
"""E4M3 has three bits of fraction: rounding changes a normal number by at most a sixteenth."""
MEDIA = ROOT / "docs" / "media"
SIZE = (64, 64)
CALIBRATION = Calibration(MEDIA / "portrait.png", MEDIA / "speech.wav", SIZE)
PORTRAIT, SPEECH = (
    ["--portrait", str(CALIBRATION.portrait)],
    ["--speech", str(CALIBRATION.speech)],
)
UNUSED_BY_FLASH = "q_audio"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    root = tmp_path_factory.mktemp("checkpoint")
    make_tiny(root, seed=0)
    return Checkpoint(root)


@pytest.fixture(scope="module")
def measured(tiny: Checkpoint) -> dict[str, float]:
    return largest_inputs(tiny, CALIBRATION)


def test_weights_are_rounded_to_three_bits() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 8)
    narrow = Fp8Linear(layer, 1.0)
    assert narrow.weight.dtype == E4M3
    widened = narrow.weight.float().T * narrow.scale.float()[:, None]
    large = layer.weight.abs() > layer.weight.abs().amax(dim=1, keepdim=True) / 64
    relative = ((widened - layer.weight) / layer.weight).abs()[large]
    assert 0 < relative.max() <= STEP * 1.01


def test_one_scale_for_a_weight_is_that_of_its_largest_value() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 8)
    one, each = Fp8Linear(layer, 1.0, "tensor"), Fp8Linear(layer, 1.0, "channel")
    assert one.scale.shape == ()
    assert each.scale.shape == (8,)
    assert one.scale == each.scale.max()
    assert float(one.weight.float().abs().max()) == LARGEST
    # The output that has the largest value has the same scale both ways.
    largest = int(each.scale.argmax())
    assert torch.equal(one.weight.float()[:, largest], each.weight.float()[:, largest])


@pytest.mark.parametrize("scale", get_args(Fp8Scale))
def test_a_product_errs_by_the_rounding_of_both_factors(scale: Fp8Scale) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(256, 64)
    x = torch.randn(100, 256)
    with torch.inference_mode():
        exact, actual = layer(x), Fp8Linear(layer, float(x.abs().max()), scale)(x).float()
    relative = float((actual - exact).norm() / exact.norm())
    assert 0 < relative < STEP


def test_what_is_larger_than_anything_seen_is_cut_off_and_stays_finite() -> None:
    layer = nn.Linear(4, 4, bias=False)
    nn.init.eye_(layer.weight)
    narrow = Fp8Linear(layer, 2.0)
    with torch.inference_mode():
        y = narrow(torch.tensor([[100.0, -100.0, 2.0, 0.0]]))
    torch.testing.assert_close(y.float(), torch.tensor([[2.0, -2.0, 2.0, 0.0]]), rtol=2e-3, atol=0)
    assert LARGEST == 448


def test_calibration_sees_every_layer_that_the_variant_uses(
    tiny: Checkpoint, measured: dict[str, float]
) -> None:
    denoiser = networks(tiny)["denoiser"](tiny).module
    used = {name for name in layers_in_fp8(denoiser) if UNUSED_BY_FLASH not in name}
    assert measured.keys() == used
    assert all(0 < largest < 1e4 for largest in measured.values())
    assert largest_inputs(tiny, CALIBRATION) == measured


def test_calibration_sees_every_layer_of_preview(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0, variant="preview")
    preview = Checkpoint(tmp_path)
    denoiser = networks(preview)["denoiser"](preview).module
    assert largest_inputs(preview, CALIBRATION).keys() == layers_in_fp8(denoiser).keys()


def test_silence_before_the_speech_changes_nothing(
    tiny: Checkpoint, measured: dict[str, float], tmp_path: Path
) -> None:
    speech, rate = soundfile.read(CALIBRATION.speech, dtype="float32")
    later = tmp_path / "later.wav"
    soundfile.write(later, np.concatenate([np.zeros(rate, np.float32), speech]), rate, "FLOAT")
    calibration = Calibration(CALIBRATION.portrait, later, SIZE)
    np.testing.assert_array_equal(calibration.stretches(), CALIBRATION.stretches())
    # And speech is heard: other speech, other inputs of the layers that see it.
    soundfile.write(later, speech[::-1], rate, "FLOAT")
    other = largest_inputs(tiny, calibration)
    heard = [name for name in measured if name.endswith("k_audio")]
    assert heard
    assert all(other[name] != measured[name] for name in heard)


def test_the_loudest_stretches_are_heard_and_none_twice(tmp_path: Path) -> None:
    length = (FRAMES + LOOKAHEAD_FRAMES) * MODEL_SAMPLES_PER_FRAME
    noise = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    loudness = (0.05, 0.02, 0.0, 0.1, 0.03)
    speech = tmp_path / "speech.wav"
    soundfile.write(speech, np.concatenate([noise * each for each in loudness]), 16000, "FLOAT")
    found = Calibration(speech, speech, SIZE).stretches()
    heard = [
        float(np.sqrt(np.square(stretch).mean() / np.square(noise).mean())) for stretch in found
    ]
    assert heard == pytest.approx([0.1, 0.05, 0.03], rel=0.1)
    # As many as there is room for.
    soundfile.write(speech, np.concatenate([noise, noise]) / 9, 16000, "FLOAT")
    assert 1 <= len(Calibration(speech, speech, SIZE).stretches()) <= 2


def test_every_stretch_and_the_size_count(
    tiny: Checkpoint, measured: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.precision.calibration.STRETCHES", 1)
    loudest = largest_inputs(tiny, CALIBRATION)
    assert all(loudest[name] <= measured[name] for name in measured)
    assert loudest != measured
    larger = replace(CALIBRATION, size=(96, 64))
    assert larger.digest() != CALIBRATION.digest()
    assert largest_inputs(tiny, larger) != loudest


def test_only_the_blocks_become_8_bits_wide(tiny: Checkpoint, measured: dict[str, float]) -> None:
    build = networks(tiny, "fp8")["denoiser"]
    narrow = build(tiny, largest_inputs=measured).module
    replaced = {name for name, layer in narrow.named_modules() if isinstance(layer, Fp8Linear)}
    assert replaced == measured.keys()
    assert all(name.startswith("blocks.") for name in replaced)
    with pytest.raises(ValueError, match="to scale it"):
        quantize_blocks(narrow, {})


@pytest.fixture(scope="module", params=get_args(Fp8Scale))
def exported(
    request: pytest.FixtureRequest,
    tiny: Checkpoint,
    measured: dict[str, float],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "denoiser"
    exportable = networks(tiny, "fp8")["denoiser"](
        tiny, largest_inputs=measured, fp8_scale=request.param
    )
    export_network(exportable, folder, lambda *_, **__: None, "fp8")
    write_config(exportable.network, folder, Workload("flash", [(128, 128)], [17]), "fp8")
    return folder


def test_the_graph_equals_the_module_and_rounds_both_factors_of_every_layer(
    exported: Path, measured: dict[str, float]
) -> None:
    # That it computes the same, ONNX Runtime against torch, is a part of the export.
    assert ROUNDING["fp8"] == 2 * STEP
    graph = onnx.load(exported / "1" / "model.onnx").graph
    made_by = {name: node for node in graph.node for name in node.output}
    narrow = {w.name for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT8E4M3FN}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    rounded = 0
    for product in products:
        x, weight = (made_by.get(name) for name in product.input)
        if weight is not None and weight.input[0] in narrow:
            assert x is not None
            chain = (x.op_type, made_by[x.input[0]].op_type, weight.op_type)
            assert chain == ("DequantizeLinear", "QuantizeLinear", "DequantizeLinear")
            rounded += 1
    assert rounded == len(measured) < len(products)


@pytest.mark.parametrize("compute_capability", ["8.9", "12.0"])
def test_tensorrt_builds_it(tmp_path: Path, exported: Path, compute_capability: str) -> None:
    built = build(exported, tmp_path, compute_capability)
    assert built.engine_bytes > 100_000


def test_tensorrt_says_why_an_older_gpu_cannot(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(EngineError, match="fp8"):
        build(exported, tmp_path, "8.6")
    assert not (tmp_path / "denoiser" / "1").exists()


def build(folder: Path, target: Path, compute_capability: str) -> BuiltEngine:
    return build_engine(
        folder,
        target / "denoiser",
        Workload("flash", [(128, 128)], [17, 5]),
        Target(compute_capability),
        installed_builder(),
        "fp8",
        "test",
    )


def test_the_denoiser_is_calibrated_anew_for_other_speech_only(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = networks(tiny, "fp8")
    some = {name: every[name] for name in ("time_modulation", "denoiser")}
    monkeypatch.setattr("export.repository.exporter.networks", lambda *_: some)
    repository, said = tmp_path / "repository", list[str]()

    def report(stage: str, *, result: bool = False) -> None:
        said.append(stage)

    def stop(stage: str, *, result: bool = False) -> None:
        report(stage)
        if stage == "denoiser: tracing":
            raise KeyboardInterrupt

    def export(calibration: Calibration, report: Report = report) -> None:
        said.clear()
        export_repository(
            tiny,
            repository,
            sizes=[(128, 128)],
            report=report,
            precision="fp8",
            calibration=calibration,
        )

    export(CALIBRATION)
    assert "denoiser: calibrating" in said
    kinds = {name: entry.precision for name, entry in read_manifest(repository).networks.items()}
    assert {"time_modulation": "fp32", "denoiser": "fp8"}.items() <= kinds.items()
    export(CALIBRATION)
    assert said[-2:] == ["time_modulation: kept", "denoiser: kept"]
    other = tmp_path / "other.wav"
    soundfile.write(other, np.random.default_rng(0).standard_normal(16000) / 9, 16000)
    with pytest.raises(KeyboardInterrupt):
        export(Calibration(CALIBRATION.portrait, other, SIZE), stop)
    assert said.index("denoiser: calibrating") == said.index("time_modulation: kept") + 1


def test_a_portrait_or_speech_of_no_use_is_one_line(tmp_path: Path) -> None:
    missing, short = tmp_path / "missing.png", tmp_path / "short.wav"
    soundfile.write(short, np.zeros(8000, np.float32), 16000)
    with pytest.raises(CalibrationError, match=r"missing\.png: No such file"):
        Calibration(missing, short, SIZE).check()
    with pytest.raises(CalibrationError, match=r"short\.wav: is a sound file"):
        Calibration(short, short, SIZE).picture()
    with pytest.raises(CalibrationError, match=r"short\.wav: 0\.50 s of speech; at least 0\.88 s"):
        Calibration(missing, short, SIZE).stretches()
    with pytest.raises(CalibrationError, match=r"portrait\.png"):
        Calibration(missing, MEDIA / "portrait.png", SIZE).stretches()
    soundfile.write(short, np.zeros(16000, np.float32), 16000)
    with pytest.raises(CalibrationError, match=r"short\.wav: is silent"):
        Calibration(missing, short, SIZE).stretches()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--precision", "fp8"], "--precision fp8, which needs"),
        ([*PORTRAIT, *SPEECH], "--precision fp8, which needs"),
        (PORTRAIT, "--precision fp8, which needs"),
        (["--precision", "fp8", *PORTRAIT], "--precision fp8, which needs"),
        (["--precision", "fp8", *PORTRAIT, "--speech", "nowhere.wav"], "does not exist"),
        (["--vae-precision", "int8"], "int8 is for matrices"),
        (["--precision", "fp16", "--fp8-scale", "tensor"], "--fp8-scale goes with"),
        (["--text-precision", "fp8"], "fp8 is for"),
        (["--image-precision", "fp8"], "fp8 is for"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    result = CliRunner().invoke(app, ["onnx", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
