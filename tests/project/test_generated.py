"""Files in git that are generated from others."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.checkpoint.layout import Checkpoint
from export.onnx.widths import PUBLIC_WIDTHS
from export.repository.model_config import config_pbtxt, model_config
from export.repository.origin import exporter_digest
from export.tensorrt.profiles import (
    SIZES,
    WINDOWS,
    Shape,
    Workload,
    warm_up_shapes,
)
from server.manifest import CHECKPOINT_PARAMETER, read_manifest
from server.triton.contract import NETWORKS as OF_VARIANT
from server.triton.contract import PORTRAIT_NETWORKS
from tests.support.paths import ROOT

PROTOS = ROOT / "protos"
OF_CHECKPOINT = OF_VARIANT["flash"]
NETWORKS = OF_CHECKPOINT | PORTRAIT_NETWORKS
WORKLOAD = Workload("flash", SIZES, WINDOWS)


def warm_up(name: str) -> Mapping[str, Shape]:
    return warm_up_shapes(NETWORKS[name], WORKLOAD, PUBLIC_WIDTHS)


def test_the_generated_code_is_that_of_the_contract(tmp_path: Path) -> None:
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    outputs = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"]
    subprocess.run([*command, *outputs, *sources], cwd=PROTOS, check=True)
    generated = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(generated) == 3 * len(sources)
    for path in generated:
        committed = PROTOS / path.relative_to(tmp_path)
        assert path.read_text() == committed.read_text(), f"{committed} is stale: run `make proto`"


@pytest.mark.parametrize("name", NETWORKS)
def test_config_pbtxt_in_git_is_what_the_export_writes(name: str) -> None:
    committed = (ROOT / "model_repository" / name / "config.pbtxt").read_text()
    assert committed == config_pbtxt(NETWORKS[name], PUBLIC_WIDTHS, warm_up(name))


def test_every_model_folder_is_a_network() -> None:
    folders = {path.parent.name for path in (ROOT / "model_repository").glob("*/config.pbtxt")}
    assert folders == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_config_names_every_tensor_with_its_shape(name: str) -> None:
    network = NETWORKS[name]
    fixed = {"text_width": 64, "image_width": 48, "audio_width": 32, "denoiser_width": 96}
    config = model_config(network, fixed, warm_up_shapes(network, WORKLOAD, fixed))
    assert [tensor.name for tensor in config.input] == [tensor.name for tensor in network.inputs]
    for printed, tensor in zip(config.output, network.outputs, strict=True):
        assert len(printed.dims) == len(tensor.dims)
        expected = [dim if isinstance(dim, int) else fixed.get(dim, -1) for dim in tensor.dims]
        assert list(printed.dims) == expected


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_config_names_the_checkpoint_if_there_is_one(precision: str) -> None:
    given = (NETWORKS["denoiser"], PUBLIC_WIDTHS, warm_up("denoiser"))
    without = model_config(*given, precision=precision).parameters
    assert CHECKPOINT_PARAMETER not in without
    config = model_config(*given, precision=precision, checkpoint="digest")
    assert config.parameters[CHECKPOINT_PARAMETER].string_value == "digest"
    assert config.parameters.keys() - without.keys() == {CHECKPOINT_PARAMETER}


def test_on_gpus_no_shape_is_stalled_by_a_search_of_kernels() -> None:
    given = (NETWORKS["vae_decoder"], PUBLIC_WIDTHS, warm_up("vae_decoder"))
    parameters = model_config(*given).parameters
    # As the native backend spells HEURISTIC and kSameAsRequested.
    assert parameters["cudnn_conv_algo_search"].string_value == "1"
    assert parameters["arena_extend_strategy"].string_value == "1"
    for backend, precision in (("onnxruntime", "int8"), ("tensorrt", "fp16")):
        elsewhere = model_config(*given, backend, precision).parameters
        assert "cudnn_conv_algo_search" not in elsewhere


@pytest.mark.parametrize("name", NETWORKS)
def test_a_config_merges_what_waits_and_says_what_is_kept(name: str) -> None:
    config = model_config(NETWORKS[name], PUBLIC_WIDTHS, warm_up(name))
    assert config.version_policy.latest.num_versions == 1
    # Anything more may hold executions back, or keep them apart: docs/triton.md.
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.ByteSize() == 0
    assert config.response_cache.enable == (name in ("text_encoder", "image_encoder"))
    (request,) = config.model_warmup
    assert {name: list(given.dims) for name, given in request.inputs.items()} == {
        name: list(shape[1:]) for name, shape in warm_up(name).items()
    }


DEMO = ROOT / "export" / "demo" / "model_repository"


@pytest.mark.parametrize("name", OF_CHECKPOINT)
def test_the_demos_models_are_what_this_exporter_makes(name: str) -> None:
    noted = json.loads((DEMO / name / "1" / "export.json").read_text())
    assert noted["exporter"] == exporter_digest("flash", name), (
        "run the export of `make train-demo`"
    )
    assert noted["checkpoint"] == Checkpoint(ROOT / "export" / "demo" / "checkpoint").digest()
    config = model_config_pb2.ModelConfig()  # pyright: ignore[reportAttributeAccessIssue]
    text_format.Parse((DEMO / name / "config.pbtxt").read_text(), config)
    named = config.parameters[CHECKPOINT_PARAMETER].string_value
    assert named == noted["checkpoint"] == read_manifest(DEMO).checkpoint_digest
