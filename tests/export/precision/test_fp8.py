"""8-bit floats in the denoiser's blocks: rounding, calibration, graph and engine."""

from collections.abc import Iterator
from pathlib import Path

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
from export.precision.calibration import Calibration, CalibrationError, largest_inputs
from export.precision.fp8 import E4M3, LARGEST, Fp8Linear, layers_in_fp8, quantize_blocks
from export.repository.exporter import Report, export_network, export_repository, write_config
from export.tensorrt.engines import (
    BuiltEngine,
    EngineError,
    Target,
    build_engine,
    installed_builder,
)
from export.tensorrt.profiles import Workload
from server.manifest import read_manifest
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

STEP = 1 / 16
"""E4M3 has three bits of fraction: rounding changes a normal number by at most a sixteenth."""
MEDIA = ROOT / "docs" / "media"
CALIBRATION = Calibration(MEDIA / "portrait.png", MEDIA / "speech.wav")
PORTRAIT, SPEECH = (
    ["--portrait", str(CALIBRATION.portrait)],
    ["--speech", str(CALIBRATION.speech)],
)
UNUSED_BY_FLASH = "q_audio"


@pytest.fixture(scope="module", autouse=True)
def _small_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.precision.calibration.SIDE_PX", 64)
        yield


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


def test_a_product_errs_by_the_rounding_of_both_factors() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(256, 64)
    x = torch.randn(100, 256)
    with torch.inference_mode():
        exact, actual = layer(x), Fp8Linear(layer, float(x.abs().max()))(x).float()
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
    calibration = Calibration(CALIBRATION.portrait, later)
    np.testing.assert_array_equal(calibration.samples(), CALIBRATION.samples())
    # And speech is heard: other speech, other inputs of the layers that see it.
    soundfile.write(later, speech[::-1], rate, "FLOAT")
    other = largest_inputs(tiny, calibration)
    heard = [name for name in measured if name.endswith("k_audio")]
    assert heard
    assert all(other[name] != measured[name] for name in heard)


def test_only_the_blocks_become_8_bits_wide(tiny: Checkpoint, measured: dict[str, float]) -> None:
    build = networks(tiny, "fp8")["denoiser"]
    narrow = build(tiny, largest_inputs=measured).module
    replaced = {name for name, layer in narrow.named_modules() if isinstance(layer, Fp8Linear)}
    assert replaced == measured.keys()
    assert all(name.startswith("blocks.") for name in replaced)
    with pytest.raises(ValueError, match="to scale it"):
        quantize_blocks(narrow, {})


@pytest.fixture(scope="module")
def exported(
    tiny: Checkpoint, measured: dict[str, float], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "denoiser"
    exportable = networks(tiny, "fp8")["denoiser"](tiny, largest_inputs=measured)
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
        export(Calibration(CALIBRATION.portrait, other), stop)
    assert said.index("denoiser: calibrating") == said.index("time_modulation: kept") + 1


def test_a_portrait_or_speech_of_no_use_is_one_line(tmp_path: Path) -> None:
    missing, short = tmp_path / "missing.png", tmp_path / "short.wav"
    soundfile.write(short, np.zeros(8000, np.float32), 16000)
    with pytest.raises(CalibrationError, match=r"missing\.png: No such file"):
        Calibration(missing, short).check()
    with pytest.raises(CalibrationError, match=r"short\.wav: is a sound file"):
        Calibration(short, short).picture()
    with pytest.raises(CalibrationError, match=r"short\.wav: 0\.50 s of speech; at least 0\.88 s"):
        Calibration(missing, short).samples()
    with pytest.raises(CalibrationError, match=r"portrait\.png"):
        Calibration(missing, MEDIA / "portrait.png").samples()
    soundfile.write(short, np.zeros(16000, np.float32), 16000)
    with pytest.raises(CalibrationError, match=r"short\.wav: is silent"):
        Calibration(missing, short).samples()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--precision", "fp8"], "--precision fp8, which needs"),
        ([*PORTRAIT, *SPEECH], "--precision fp8, which needs"),
        (PORTRAIT, "--precision fp8, which needs"),
        (["--precision", "fp8", *PORTRAIT], "--precision fp8, which needs"),
        (["--precision", "fp8", *PORTRAIT, "--speech", "nowhere.wav"], "does not exist"),
        (["--vae-precision", "int8"], "int8 is for matrices"),
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
